"""Explanations of a run's answers: by name, by class, as files and one page; wrongly asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from striate.cli import main
from striate.errors import InputError, StorageError
from striate.interpret import grad_cam, gradient
from striate.interpret.methods import METHODS, explain
from striate.runs import load
from striate.runs.explaining import explain_item


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digit") / "three.png"
    Image.fromarray((load_digits().images[3] * 15.9).astype(np.uint8)).save(path)
    return path


def test_one_method_of_one_file(run_folder: Path, digit: Path, tmp_path: Path, capsys) -> None:
    arguments = ["explain", str(run_folder), str(digit), "--method", "gradient", "--target", "5"]
    main([*arguments, "--out", str(tmp_path / "out"), "--json"])
    (told,) = json.loads(capsys.readouterr().out)
    assert told["explained"] == "output 5, 5"
    model, card = load(run_folder)
    x = card.preprocess(digit)[None]
    expected = gradient(model, x, target=5)
    np.testing.assert_allclose(told["gradient"]["scores"], expected.scores.numpy(), rtol=1e-5, atol=1e-7)
    folder = tmp_path / "out" / "three"
    assert sorted(path.name for path in folder.iterdir()) == [
        "gradient.json",
        "gradient.npz",
        "gradient.png",
        "index.html",
    ]
    with np.load(folder / "gradient.npz") as stored:
        np.testing.assert_allclose(stored["heatmap"], expected.heatmap().numpy(), rtol=1e-5, atol=1e-7)
        assert json.loads(str(stored["facts"]))["method"] == "gradient"
    page = (folder / "index.html").read_text()
    assert "striate explain" in page
    assert page.count("<img") == 2  # with the frame for enlarging


@pytest.mark.slow
def test_all_methods_on_one_page(run_folder: Path, digit: Path, tmp_path: Path) -> None:
    main(["explain", str(run_folder), str(digit), "--data", "own", "--set-size", "200", "--out", str(tmp_path)])
    page = (tmp_path / "three" / "index.html").read_text()
    made = {path.stem for path in (tmp_path / "three").glob("*.png")}
    left = set(METHODS) - made
    assert {"occlusion", "grad_cam", "integrated_gradients", "maximize", "embed", "top_patches"} <= made
    reasons = re.search('Methods that do not fit</h2><p class="reading">([^<]*)', page)
    assert reasons
    assert all(f"{name}: " in reasons[1] for name in left)
    assert "mutagenesis" in left


def test_a_layer_is_explained_or_looked_at(run_folder: Path, digit: Path) -> None:
    model, card = load(run_folder)
    methods = ["gradient", "grad_cam", "feature_maps", "invert:steps=2"]
    found = explain_item(model, card, digit, methods, target=7, layer="conv2")
    assert found.question == "output 7, 7; output 7, summed over its positions of conv2"
    by_name = {result.method: result.found for result in found.results}
    x = card.preprocess(digit)[None]
    torch.testing.assert_close(by_name["gradient"].scores, gradient(model, x, target=7, layer="conv2").scores)
    torch.testing.assert_close(by_name["grad_cam"].scores, grad_cam(model, x, target=7, layer="conv2").scores)
    assert by_name["feature_maps"].shown == "conv2"


def test_methods_are_listed(capsys) -> None:
    main(["explain"])
    assert "integrated_gradients" in capsys.readouterr().out
    main(["explain", "--json"])
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(METHODS)
    assert listed["integrated_gradients"]["options"]["steps"] == 50


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--method", "gradcam"], "unknown method: got 'gradcam'. Did you mean grad_cam"),
        (["--method", "occlusion:size=3"], "method occlusion has no option: got 'size'"),
        (["--method", "gradient", "--target", "eleven"], "no such class: got 'eleven'"),
        (["--method", "gradient", "--target", "10"], "no such target: expected 0 to 9"),
        (["--method", "gradient", "--layer", "convX"], "the network has no such layer: got 'convX'"),
        (["--method", "cam", "--layer", "conv1"], "method cam has no layer: got conv1. Leave it out, or see: "),
        (["--method", "embed"], "method embed looks at a set of items: expected batches, got none"),
    ],
)
def test_wrong_calls_are_told(run_folder: Path, digit: Path, tmp_path: Path, capsys, arguments, text: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["explain", str(run_folder), str(digit), *arguments, "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_file_is_told(run_folder: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["explain", str(run_folder)])
    assert "nothing to explain: expected files" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(run_folder: Path, digit: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model, card = load(run_folder)
    found = explain_item(model, card, digit, ["gradient"], name="three")
    with pytest.raises(StorageError, match="Choose another --out"):
        found.write(tmp_path / "file" / "x", "title", "command")


def test_letters_stand_for_positions(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    x = torch.eye(4)[torch.randint(4, (1, 120), generator=torch.Generator().manual_seed(0))].transpose(1, 2)
    found = explain(net, x, "deep_lift", target=1)
    bases = ["ACGT"[i] for i in x[0].argmax(0)]
    logo, words = found.lettered(bases), found.lettered([f"word{i}" for i in range(120)])
    for number, picture in enumerate((logo, words, found)):
        picture.plot().savefig(tmp_path / f"{number}.png")
    assert logo.parameters["letters"] == bases
    with pytest.raises(InputError, match="letters are one for each position: expected 120, got 3"):
        found.lettered("ACG")
