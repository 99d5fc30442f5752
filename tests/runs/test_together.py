"""Several runs that answer as one: the mean of outputs, each of its own inputs, on items that none has seen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import striate
from striate import zoo
from striate.cli import main
from striate.data import Meaning, Pictures
from striate.data.series import Series
from striate.data.signals import Spectrogram
from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs import Card, conclude, evaluate_run, make_folder, open_session, predict, record, save_model
from striate.tasks import Classify, FindKeypoints, Localize, Regress, Segment
from striate.train import fit

DIGITS = Recipe(model="keras_mnist:width=0.25", data="digits", image_size=12, epochs=1, batch_size=100, device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of other seeds, so of other splits, and one of another network; of the digits."""
    out, folders = tmp_path_factory.mktemp("runs"), []
    for recipe in (DIGITS, replace(DIGITS, seed=1), replace(DIGITS, seed=2, model="nielsen_mnist")):
        session = open_session(recipe)
        folders.append(make_folder(session.recipe, out))
        for _ in record(fit(session.model, session.task, session.data, session.recipe), folders[-1]):
            pass
        conclude(session, folders[-1])
    return folders


def test_the_mean_is_over_outputs_each_of_its_own_inputs(runs: list[Path]) -> None:
    single = [striate.load(folder) for folder in runs]
    model, card = striate.load(*runs)
    assert len({card.preprocess.mean for _, card in single}) == 3  # measured on other training items
    image = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    with torch.no_grad():
        right = sum(net(own.preprocess(image)[None]) for net, own in single) / 3
        torch.testing.assert_close(model(card.preprocess(image)[None]), right)
    (found,) = predict(model, card, [image], top_k=10)
    probability = dict(zip(found.classes, found.probabilities, strict=True))
    assert [probability[name] for name in "0123456789"] == pytest.approx(right.softmax(1)[0].tolist(), abs=1e-6)
    assert not model.training


def test_they_are_scored_on_what_none_of_them_was_trained_on(runs: list[Path]) -> None:
    found = evaluate_run(runs[:2], device="cpu", resamples=20)
    first, second = (open_session(recipe).data for recipe in (DIGITS, replace(DIGITS, seed=1)))
    seen = {row.numpy().tobytes() for part in (second.train, second.validation) for row in part.inputs}
    left = [row for row in first.test.inputs if row.numpy().tobytes() not in seen]
    assert found.scores.n == len(left) < len(first.test)
    assert found.notes[1].startswith(f"{runs[1]}: left out {len(first.test) - len(left)} of {len(first.test)} items")
    low, high = found.intervals["accuracy"]
    assert low < found.scores.accuracy < high
    (runs[1] / "seen.npy").rename(runs[1] / "hidden.npy")
    try:
        assert "does not say which items it was trained on" in evaluate_run(runs[:2], device="cpu").notes[1]
    finally:
        (runs[1] / "hidden.npy").rename(runs[1] / "seen.npy")


def test_the_command_line(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.png")
    names = [str(folder) for folder in runs]
    main(["evaluate", *names, "--device", "cpu"])
    shown = capsys.readouterr()
    assert "95 % from" in shown.out
    assert shown.err.count("left out") == 2
    main(["predict", *names, str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert (tmp_path / "out" / "predictions.csv").read_text().count("\n") == 2
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(runs[0] / "recipe.yaml", unfinished)
    for given, message in (
        ([names[0], names[1]], "nothing to predict"),
        ([names[0], str(unfinished), str(tmp_path / "a.png")], "this folder holds no trained model"),
        ([names[0], names[0], str(tmp_path / "a.png")], "a run is given twice"),
    ):
        with pytest.raises(SystemExit):
            main(["predict", *given])
        assert message in capsys.readouterr().err


def saved(folder: Path, net: nn.Module, name: str, options: dict[str, object], task: object, inputs: object) -> Path:
    meaning = Meaning("none")
    folder.mkdir()
    save_model(folder, net, Card(name, options, meaning, inputs, task.json()))  # type: ignore[attr-defined, arg-type]
    return folder


def linear(folder: Path, task: object, outputs: int = 2, inputs: object = None) -> Path:
    options = {"num_classes": outputs, "in_channels": 1, "input_size": (8, 8)}
    net = zoo.build("nielsen_mnist", **options)
    inputs = inputs or Pictures((1, 8, 8), (0.5,), (0.25,))
    return saved(folder, net, "nielsen_mnist", options,
                 task, inputs)  # fmt: skip


def test_runs_that_have_no_mean(tmp_path: Path) -> None:
    first = linear(tmp_path / "a", Classify(("cat", "dog")))
    message = r"runs that answer differently have no mean: .*a and .*b\d: expected {}, got {}. Choose runs"
    regress = Regress(("cat", "dog"), (0.0, 0.0), (1.0, 1.0))
    others = [(Classify(("dog", "cat")), "classify of dog, cat"), (regress, "regress of cat, dog")]
    for k, (task, said) in enumerate(others):
        folder = linear(tmp_path / f"b{k}", task)
        with pytest.raises(InputError, match=message.format("classify of cat, dog", said)):
            striate.load(first, folder)
    boxes = [Localize(("cat",), (8, 8), convention) for convention in ("center", "upward")]
    folders = [linear(tmp_path / f"{name}b{k}", task) for k, (name, task) in enumerate(zip("ax", boxes, strict=True))]
    with pytest.raises(InputError, match="expected localize of cat, convention center, got .*, convention upward"):
        striate.load(*folders)
    other = linear(tmp_path / "c", Classify(("cat", "dog")), inputs=Pictures((1, 9, 8), (0.5,), (0.25,)))
    with pytest.raises(
        InputError, match=r"take other inputs cannot answer together: .* expected .*\[1, 8, 8\].*, got .*9"
    ):
        striate.load(first, other)
    with pytest.raises(InputError, match="a run is given twice: "):
        striate.load(first, first)


def test_what_outputs_mean() -> None:
    box = Localize(("cat",), (8, 8))
    assert box.alike(replace(box, box_weight=1.0))
    assert not box.alike(replace(box, convention="center"))
    assert not Segment(("a", "b")).alike(Classify(("a", "b")))
    assert not FindKeypoints(("a", "b"), (8, 8)).alike(FindKeypoints(("b", "a"), (8, 8)))


def test_quantities_are_averaged_in_their_own_units() -> None:
    one, two = Regress(("age",), (10.0,), (2.0,)), Regress(("age",), (20.0,), (4.0,))
    output = torch.tensor([[1.5]])  # 26 years of the second, 8 deviations above the first's mean
    assert one.values(two.translated(output, one)).item() == two.values(output).item() == 26


def test_inputs_are_standardized_from_what_is_not() -> None:
    """`rescaled` of what `unscaled` makes is what the kind of input makes itself."""
    random = torch.Generator().manual_seed(0)
    samples = (torch.rand(2, 1, 800, generator=random) * 30000).short()
    sound = Spectrogram(8000, 800, bands=4, mean=(1.0, 2, 3, 4), std=(2.0, 2, 1, 1))
    pictures = Pictures((1, 4, 4), (0.3,), (0.2,))
    pixels = torch.randint(0, 256, (2, 1, 4, 4), dtype=torch.uint8, generator=random)
    series = Series(1, 5, "set", mean=(3.0,), std=(2.0,))
    cases = [(sound, samples), (replace(sound, form="channels"), samples), (pictures, pixels)]
    for kind, stored in (*cases, (series, torch.rand(2, 1, 5, generator=random))):
        torch.testing.assert_close(kind.rescaled(kind.unscaled().normalize(stored)), kind.normalize(stored))


def test_masks_of_several_networks_cover_a_picture_of_any_size(tmp_path: Path) -> None:
    """An ensemble is traced and tiled like one network."""
    folders, task = [], Segment(("a", "b"))
    for k in range(2):
        torch.manual_seed(k)
        options = {"num_classes": 2, "in_channels": 1, "width": 0.05}
        inputs = Pictures((1, 32, 32), (0.4 + k / 10,), (0.2,))
        folders.append(saved(tmp_path / str(k), zoo.build("unet", **options), "unet", options, task, inputs))
    given = np.random.default_rng(0).integers(0, 256, (48, 90), dtype=np.uint8)
    model, card = striate.load(*folders)
    (at_once,) = predict(model, card, [given], scale=1, batch_size=100)
    (tiled,) = predict(model, card, [given], scale=1, batch_size=1)
    assert at_once.mask.shape == (48, 90)
    assert (at_once.mask == tiled.mask).mean() > 0.999


def test_heads_are_averaged_one_by_one(tmp_path: Path) -> None:
    options = {"num_classes": 1, "in_channels": 1, "width": 0.1}
    task, inputs = Localize(("cat",), (64, 64)), Pictures((1, 64, 64), (0.5,), (0.25,))
    nets = [zoo.build("localizer", **options).eval() for _ in range(2)]
    folders = [saved(tmp_path / str(k), net, "localizer", options, task, inputs) for k, net in enumerate(nets)]
    model, _ = striate.load(*folders)
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        each = [net((x - 0.5) / 0.25) for net in nets]
        for mean, one, two in zip(model(x), *each, strict=True):
            torch.testing.assert_close(mean, (one + two) / 2)
