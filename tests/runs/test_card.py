"""A trained model on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import striate
from striate.errors import InputError
from striate.runs import evaluate_run, list_runs, predict, read_metrics, read_run
from striate.train import read_tensors


def test_a_run_folder_is_complete(run_folder: Path) -> None:
    names = {str(p.relative_to(run_folder)) for p in run_folder.rglob("*") if p.is_file()}
    plots = {"confusion", "curves", "examples", "feature_maps", "filters", "mistakes", "reliability"}
    assert names == {
        "recipe.yaml", "metrics.jsonl", "checkpoint.safetensors", "model.safetensors", "model.json", "scores.json",
        "report.html", "seen.npy", *(f"plots/{name}.png" for name in plots),
    }  # fmt: skip
    for name in plots:
        with Image.open(run_folder / "plots" / f"{name}.png") as picture:
            picture.load()


def test_load_gives_the_model_ready_to_predict(run_folder: Path) -> None:
    model, card = striate.load(run_folder)
    assert not model.training
    assert (card.architecture, card.options["width"]) == ("keras_mnist", 0.25)
    assert card.class_names == tuple("0123456789")
    assert card.input_shape == (1, 12, 12)
    stored, _ = read_tensors(run_folder / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in model.state_dict().items())
    x = card.preprocess(Image.fromarray(np.zeros((30, 20), np.uint8)))
    assert x.shape == (1, 12, 12)
    torch.testing.assert_close(x, torch.full_like(x, -card.preprocess.mean[0] / card.preprocess.std[0]))


def test_evaluation_repeats_the_scores_of_the_training(run_folder: Path) -> None:
    found = evaluate_run(run_folder, device="cpu")
    scores = found.scores
    assert found.skipped == ()
    kept = json.loads((run_folder / "scores.json").read_text())
    assert json.loads(json.dumps(scores.json())) == kept
    assert striate.load(run_folder)[1].scores == scores.summary()


def test_predictions_agree_with_the_model(run_folder: Path) -> None:
    model, card = striate.load(run_folder)
    digits = striate.load_data("digits", image_size=12, seed=0, test=0.2)
    images = list(digits.test.inputs[:5])
    for image, prediction in zip(images, predict(model, card, images, top_k=3), strict=True):
        with torch.no_grad():
            values, places = model(card.preprocess.normalize(image[None])).softmax(1)[0].topk(3)
        assert prediction.classes == tuple(card.class_names[i] for i in places)
        assert prediction.probabilities == pytest.approx(values.tolist(), abs=1e-5)


def test_a_folder_without_a_model_says_what_to_do(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trained model: .*: expected model.json. Pass the folder of a run"):
        striate.load(tmp_path)
    shutil.copy(run_folder / "recipe.yaml", tmp_path)
    with pytest.raises(InputError, match="Finish it with: striate train --resume"):
        striate.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"preprocess": 3}'])
def test_a_broken_card_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"(cannot read the card of a model: .*model.json|stored preprocessing)"):
        striate.load(tmp_path)


def test_weights_of_another_network_are_named(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path, dirs_exist_ok=True)
    card = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(card | {"options": card["options"] | {"width": 0.5}}))
    with pytest.raises(
        InputError, match="weights are of another network: .*conv1.weight 8x1x3x3 in the file, 16x1x3x3"
    ):
        striate.load(tmp_path)


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    from striate.cli import main

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for k in range(10):
            grey = 20 * k + 10 * (name == "dog")
            Image.fromarray(np.full((12, 12), grey, np.uint8)).save(tmp_path / "pets" / name / f"{k}.png")
    data = f"folder:{tmp_path / 'pets'}"
    options = ["--model", "nielsen_mnist", "--image-size", "12", "--epochs", "1", "--out", str(tmp_path / "r")]
    main(["train", "--data", data, *options])
    (folder,) = (tmp_path / "r").iterdir()
    assert evaluate_run(folder).scores.n == 4
    Image.new("L", (12, 12), 255).save(tmp_path / "pets" / "cat" / "new.png")
    with pytest.raises(InputError, match="data is not what it was when the model was trained: .*--data NAME:PATH"):
        evaluate_run(folder)
    assert evaluate_run(folder, data).scores.n == 4 + 1  # what was not trained on


def test_metrics_tell_every_step_and_epoch(run_folder: Path) -> None:
    lines = read_metrics(run_folder)
    steps, epochs = ([line for line in lines if line["kind"] == kind] for kind in ("step", "epoch"))
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert epochs[1]["validation"].keys() == {"loss", "accuracy"}
    assert read_metrics(run_folder / "plots") == []


def test_runs_are_listed_with_what_differs(run_folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    shutil.copytree(run_folder, first)
    second.mkdir()
    recipe = replace(read_run(first).recipe, epochs=7, augment=())
    (second / "recipe.yaml").write_text(recipe.yaml())
    found = list_runs([tmp_path, first])
    assert [(run.state, run.epochs, run.recipe.epochs) for run in found.runs] == [
        ("trained", 2, 2),
        ("unfinished", 0, 7),
    ]
    assert found.differing == ("epochs", "augment")
    assert found.json()[0]["scores"]["n"] == 359
    assert len(found.table().rows) == 2


def test_no_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no runs here"):
        list_runs([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        list_runs([tmp_path / "x"])
    with pytest.raises(InputError, match="this folder is no run: .*: expected a recipe.yaml in it"):
        read_run(tmp_path)
