"""Training with its folder: interrupted, resumed, failed."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from striate.errors import DivergedError, InputError, StorageError
from striate.recipe import Recipe
from striate.runs import (
    CHECKPOINT,
    Session,
    conclude,
    evaluate_run,
    load,
    make_folder,
    open_session,
    predict,
    read_metrics,
    record,
    write_report,
)
from striate.runs.pictures import find_mistakes
from striate.runs.record import load_recipe_data
from striate.train import averaged, fit
from striate.zoo.cifar_fast import whitening

RECIPE = Recipe(
    model="keras_mnist:width=0.25", image_size=12, epochs=3, batch_size=100, learning_rate=0.05, device="cpu"
)


def train(folder: Path, recipe: Recipe = RECIPE, stop: int | None = None, **options: float) -> Session:
    """As the command line does: from the checkpoint if there is one."""
    session = open_session(recipe)
    checkpoint = folder / CHECKPOINT
    resume = checkpoint if checkpoint.is_file() else None
    steps = record(fit(session.model, session.task, session.data, recipe, resume=resume), folder, **options)
    for step in steps:
        if step.number == stop:
            steps.close()
    return session


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    conclude(train(whole), whole)
    for stop in (5, 9, 20, None):
        session = train(parts, stop=stop)
    conclude(session, parts)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    numbers = [line["step"] for line in read_metrics(parts) if line["kind"] == "step"]
    assert numbers == list(range(1, len(numbers) + 1))


def test_lines_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    train(tmp_path, stop=4)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"kind": "step", "step": 5}\n{"kind": "st')
    train(tmp_path)
    found = [line["step"] for line in read_metrics(tmp_path) if line["kind"] == "step"]
    assert found == list(range(1, 3 * 12 + 1))


def test_a_finished_run_can_be_finished_again(tmp_path: Path) -> None:
    first = conclude(train(tmp_path), tmp_path)
    before = read_metrics(tmp_path)
    assert conclude(train(tmp_path), tmp_path).scores == first.scores
    assert read_metrics(tmp_path) == before


def test_divergence_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    wild = replace(RECIPE, optimizer="sgd", learning_rate=1e20, schedule="constant", augment=())
    with pytest.raises(DivergedError, match=r"no longer finite|became (nan|inf) at step") as failure:
        train(tmp_path, wild, checkpoint_seconds=0)
    kept = tmp_path / "checkpoint.safetensors"
    assert kept.is_file() == (f"The last good checkpoint is kept: {kept}" in str(failure.value))


def test_folders_of_one_second_have_different_names(tmp_path: Path) -> None:
    folders = {make_folder(RECIPE, tmp_path) for _ in range(3)}
    assert len(folders) == 3
    assert all(Recipe.read(folder / "recipe.yaml") == RECIPE for folder in folders)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"cannot make a run folder: .*file: got Not a directory. Choose another --out"
    ):
        make_folder(RECIPE, tmp_path / "file")


def test_a_full_disk_is_said_and_leaves_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match="cannot write .*recipe.yaml: No space left on device"):
        make_folder(RECIPE, tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    session = open_session(RECIPE)
    steps = record(fit(session.model, session.task, session.data, RECIPE), tmp_path)
    next(steps)
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match="cannot write .*metrics.jsonl: No space left .* striate train --resume"):
        next(steps)


def test_the_recipe_of_a_session_can_be_replayed_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for k in range(10):
            Image.new("L", (12, 12), k).save(tmp_path / "pets" / name / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    session = open_session(Recipe(model="nielsen_mnist", data="folder:pets", image_size=12))
    assert session.recipe.data == f"folder:{tmp_path / 'pets'}"


def test_images_take_the_networks_size_where_theirs_is_too_small() -> None:
    assert open_session(Recipe(model="lenet5")).data.shape == (1, 32, 32)
    assert open_session(Recipe(model="nielsen_mnist")).data.shape == (1, 8, 8)


def test_mistakes_come_by_falling_confidence(tmp_path: Path) -> None:
    session = open_session(RECIPE)
    outcome = conclude(session, tmp_path)
    mistakes = find_mistakes(outcome)
    assert len(mistakes) == round(outcome.scores.n * (1 - outcome.scores.accuracy))
    confidence = [mistake.probability for mistake in mistakes]
    assert confidence == sorted(confidence, reverse=True)
    assert all(mistake.truth != mistake.predicted for mistake in mistakes)


def test_the_report_needs_no_convolution_and_no_validation(tmp_path: Path) -> None:
    from torch import nn

    session = replace(
        open_session(replace(RECIPE, validation=0.0)), model=nn.Sequential(nn.Flatten(), nn.Linear(144, 10))
    )
    for _ in record(fit(session.model, session.task, session.data, session.recipe), tmp_path):
        pass
    page = write_report(session, conclude(session, tmp_path), tmp_path)
    assert {p.stem for p in (tmp_path / "plots").iterdir()} == {
        "confusion",
        "curves",
        "examples",
        "mistakes",
        "reliability",
    }
    assert page.read_text().startswith("<!doctype html>")


def test_a_run_starts_from_the_weights_of_another_with_frozen_layers(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    before = train(first)
    conclude(before, first)
    after = train(second, replace(RECIPE, weights=str(first), freeze=("conv1", "conv2"), seed=1, epochs=1))
    ours, theirs = before.model.state_dict(), after.model.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == ["dense.weight", "dense.bias"]
    assert after.recipe.weights == str(first.resolve())


def test_scores_and_predictions_are_averaged_over_views(tmp_path: Path) -> None:
    recipe = replace(RECIPE, tta=("flip", "shift"), epochs=1)
    folder = make_folder(recipe, tmp_path)
    outcome = conclude(train(folder, recipe), folder)
    assert evaluate_run(folder, device="cpu").scores == outcome.scores
    plain, card = load(folder)
    assert card.tta == ("flip", "shift")
    x = card.preprocess.normalize(outcome.items.inputs[:3])
    with torch.no_grad():
        expected = averaged(plain, ("flip", "shift"))(x)
    torch.testing.assert_close(outcome.kept[:3], expected)
    assert not torch.allclose(outcome.kept[:3], plain(x))
    (answer,) = predict(plain, card, [outcome.items.inputs[0, 0].numpy()])
    assert answer.probabilities[0] == pytest.approx(float(expected[0].softmax(0).max()), abs=1e-4)


def test_views_are_of_whole_images_only() -> None:
    with pytest.raises(InputError, match="there is no such view of an image.*got 'turn'"):
        open_session(replace(RECIPE, tta=("turn",)))


def test_a_network_computes_what_it_prepares_from_training_images() -> None:
    session = open_session(replace(RECIPE, model="cifar_fast:width=0.125"))
    images = session.data.preprocess.normalize(session.data.train.inputs)
    torch.testing.assert_close(session.model.whiten.weight[:4], whitening(images, 2))


def test_the_image_size_of_the_inputs_goes_before_that_of_the_network() -> None:
    recipe = Recipe(model="cifar_fast:width=0.1", data="digits", inputs="pictures:image_size=16x24")
    assert load_recipe_data(recipe).preprocess.shape[1:] == (16, 24)
    with pytest.raises(InputError, match="two image sizes: pictures:.*: got 32 and 16x24. Give one of them"):
        load_recipe_data(replace(recipe, image_size=32))
