"""A model is not tested on what it was trained on, whatever the data are called, and what is not known is said."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.cli import main
from striate.data import Items, Meaning
from striate.data.sound import write_sound
from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs import CHECKPOINT, Session, conclude, evaluate_run, make_folder, open_session, record
from striate.runs.seen import SEEN, hashes, read_seen, without_seen
from striate.train import fit


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("data") / "pets", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for k in range(10):
            Image.fromarray(random.integers(0, 256, (12, 12), dtype=np.uint8)).save(folder / name / f"{k}.png")
    return folder


def train(out: Path, recipe: Recipe, stop: int | None = None) -> tuple[Path, Session]:
    session = open_session(recipe)
    folder = make_folder(session.recipe, out)
    steps = record(fit(session.model, session.task, session.data, session.recipe), folder)
    for step in steps:
        if step.number == stop:
            steps.close()
    if stop is None:
        conclude(session, folder)
    return folder, session


def recipe(data: Path, **values: object) -> Recipe:
    plain = {"model": "nielsen_mnist", "image_size": 12, "epochs": 1, "batch_size": 8, "device": "cpu", "augment": ()}
    return Recipe(data=f"folder:{data}", **(plain | values))


def test_the_source_of_a_run_is_scored_on_its_test_part(pets: Path, tmp_path: Path) -> None:
    folder, _ = train(tmp_path, recipe(pets))
    own, same = evaluate_run(folder, device="cpu"), evaluate_run(folder, f"folder:{pets}", device="cpu")
    assert own.scores == same.scores
    assert own.notes == same.notes == ("scored: the 4 test items of the run's own split",)


def test_a_run_without_test_part_says_so(pets: Path, tmp_path: Path) -> None:
    watched, _ = train(tmp_path, recipe(pets, test=0.0))
    assert evaluate_run(watched, device="cpu").notes[0].startswith("scored: the 2 items that watched over the training")
    everything, _ = train(tmp_path, recipe(pets, test=0.0, validation=0.0))
    assert "the 20 items that the model was trained on" in evaluate_run(everything, device="cpu").notes[0]


def test_items_of_other_folders_that_it_was_trained_on_are_left_out(pets: Path, tmp_path: Path) -> None:
    folder, session = train(tmp_path, recipe(pets))
    other = tmp_path / "others"
    shutil.copytree(pets, other)  # the same pictures under other names
    (other / "cat" / "0.png").rename(other / "cat" / "first.png")
    Image.fromarray(np.eye(12, dtype=np.uint8) * 255).save(other / "dog" / "new.png")
    found = evaluate_run(folder, f"folder:{other}", device="cpu", resamples=10)
    trained = len(session.data.train) + len(session.data.validation)
    assert found.scores.n == 21 - trained == len(session.data.test) + 1
    assert found.notes == (f"left out {trained} of 21 items: the model was trained on them, or on the very same ones",)
    assert found.intervals
    names = [session.data.train.names[0]]
    alone = tmp_path / "alone" / "cat"
    alone.mkdir(parents=True)
    shutil.copy(names[0], alone)
    remembered = evaluate_run(folder, f"folder:{alone.parent}", device="cpu")
    assert (remembered.scores.n, len(remembered.notes)) == (1, 1)
    assert "was trained on all 1 of these items" in remembered.notes[0]
    (folder / SEEN).unlink()  # as of a run of an earlier version
    (note,) = evaluate_run(folder, f"folder:{other}", device="cpu").notes
    assert "does not say which items it was trained on" in note


def test_intervals_say_what_they_are_over(pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, names in (("known", ("ann", "bob", "cy")), ("others", ("di", "ed"))):
        (tmp_path / part).mkdir()
        for digit, name in itertools.product(range(10), names):
            write_sound(tmp_path / part / f"{digit}_{name}_7.wav", 0.1 * torch.randn(4000), 8000)
    plain = {"image_size": None, "model": "m5:width=0.1", "inputs": "waveform", "validation": 0.0}
    folder, _ = train(tmp_path, replace(recipe(pets, **plain, folds=3, fold=0), data=f"fsdd:{tmp_path / 'known'}"))
    main(["evaluate", str(folder), "--resamples", "10", "--json", "--device", "cpu"])
    said = json.loads(capsys.readouterr().out)
    assert said["intervals_over"] == "the 10 items of one group: too narrow, since items of a group are alike"
    assert {"accuracy", "loss"} < set(said["intervals"])
    main(["evaluate", str(folder), "--resamples", "10", "--device", "cpu"])
    assert said["intervals_over"] in " ".join(capsys.readouterr().out.split())
    found = evaluate_run(folder, f"fsdd:{tmp_path / 'others'}", device="cpu", resamples=10)
    assert found.intervals_over == "2 groups (20 items in all): too narrow, since so few groups were drawn from"


def test_a_single_item_has_no_intervals(run_folder: Path, tmp_path: Path) -> None:
    assert evaluate_run(run_folder, device="cpu", resamples=10).intervals_over == "359 items"
    (tmp_path / "7").mkdir()
    Image.fromarray(np.eye(12, dtype=np.uint8)).save(tmp_path / "7" / "a.png")
    found = evaluate_run(run_folder, f"folder:{tmp_path}", device="cpu", resamples=10)
    assert (found.intervals, found.intervals_over) == ({}, "")
    assert found.notes[-1] == "no intervals: a single item says nothing of how others differ"


def test_groups_follow_the_items() -> None:
    pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    groups = torch.tensor([7, 7, 8, 8, 9])
    items = Items(pixels, torch.zeros(5, dtype=torch.int64), Meaning("class", ("a", "b")), "abcde", groups)
    kept, note = without_seen(items, hashes(items.subset([1, 3])))
    assert (kept.names, kept.groups.tolist(), kept.inputs.flatten().tolist()) == (("a", "c", "e"), [7, 8, 9], [0, 2, 4])
    assert note.startswith("left out 2 of 5 items")
    assert without_seen(items, hashes(items)[:0]) == (items, "")
    with pytest.raises(InputError, match="inputs and targets differ in number: .*5 inputs.*2 groups"):
        Items(pixels, torch.zeros(5, dtype=torch.int64), items.meaning, "abcde", groups[:2])


def test_a_broken_list_of_items_is_named(tmp_path: Path) -> None:
    assert read_seen(tmp_path) is None
    (tmp_path / SEEN).write_bytes(b"no array")
    with pytest.raises(InputError, match=r"cannot read which items a model has seen: .*seen\.npy"):
        read_seen(tmp_path)


def test_weights_that_know_the_test_items_are_told_of(pets: Path, tmp_path: Path) -> None:
    first, _ = train(tmp_path, recipe(pets))
    again = open_session(recipe(pets, weights=str(first)))
    assert again.data.notes == ()
    other = open_session(recipe(pets, weights=str(first), seed=1))
    known = set(other.data.test.names) - set(open_session(recipe(pets)).data.test.names)
    (note,) = other.data.notes
    assert f"was trained on {len(known)} of the 4 items that this run is tested on: its scores will be too good" in note
    second, session = train(tmp_path, recipe(pets, weights=str(first), seed=1))
    data = session.data
    assert set(read_seen(second)) == {*read_seen(first), *hashes(data.train), *hashes(data.validation)}
    (first / SEEN).unlink()
    (note,) = open_session(recipe(pets, weights=str(first))).data.notes
    assert "does not say which items it was trained on" in note


def test_a_last_layer_of_other_classes_starts_anew(pets: Path, tmp_path: Path) -> None:
    first, before = train(tmp_path, recipe(pets))
    other = tmp_path / "others"
    for old, new in (("cat", "wolf"), ("dog", "fox")):
        shutil.copytree(pets / old, other / new)
    fresh = open_session(recipe(other))
    session = open_session(recipe(other, weights=str(first)))
    assert any("starts anew: " in note and "was trained to classify of cat, dog" in note for note in session.data.notes)
    own, theirs, drawn = (s.model.state_dict() for s in (session, before, fresh))
    last = list(own)[-1].rpartition(".")[0]
    for name in own:
        assert torch.equal(own[name], (drawn if name.startswith(last) else theirs)[name])


def test_a_resumed_run_needs_the_weights_it_began_with_no_more(pets: Path, tmp_path: Path) -> None:
    first, _ = train(tmp_path, recipe(pets))
    plan = recipe(pets, weights=str(first), epochs=3)
    whole = train(tmp_path, plan)[1].model.state_dict()
    stopped, _ = train(tmp_path, plan, stop=3)
    shutil.rmtree(first)
    session = open_session(replace(plan, weights=str(first)), resuming=True)
    for _ in fit(session.model, session.task, session.data, session.recipe, resume=stopped / CHECKPOINT):
        pass
    assert all(torch.equal(whole[name], tensor) for name, tensor in session.model.state_dict().items())
