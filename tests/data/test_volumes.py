"""Volumes as input: sizes, moments, masks that follow, files, and the sources that give them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import striate
from striate.data import Data, Meaning, Volumes, load_data, read_input
from striate.data.images import Pictures
from striate.data.items import Reading
from striate.errors import InputError
from striate.train import evaluate


def clips(n: int = 3, channels: int = 1, shape: tuple[int, ...] = (4, 6, 8)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, *shape), generator=generator, dtype=torch.uint8)


def fitted(raw: object, **options: object) -> tuple[torch.Tensor, Volumes, list[int]]:
    return Volumes.fit(raw, Reading("clips", lambda _: np.array([0, 1])), **options)


def test_training_volumes_are_measured_and_standardized() -> None:
    raw = clips(channels=3)
    stored, volumes, corrupt = fitted(raw)
    assert torch.equal(stored, raw)
    assert corrupt == []
    known = raw[:2].double() / 255
    torch.testing.assert_close(volumes.mean, tuple(known.mean((0, 2, 3, 4)).tolist()))
    torch.testing.assert_close(volumes.std, tuple(known.std((0, 2, 3, 4), correction=0).tolist()))
    expected = (known - known.mean((0, 2, 3, 4), keepdim=True)) / known.std((0, 2, 3, 4), correction=0, keepdim=True)
    torch.testing.assert_close(volumes.normalize(raw[:2]), expected.float())
    torch.testing.assert_close(volumes.standardize(volumes.units(raw[:2])), expected.float())
    torch.testing.assert_close(volumes.unscaled().normalize(raw), raw / 255)
    assert read_input(volumes.json()) == volumes
    assert volumes(raw[0]).shape == (3, 4, 6, 8)


def test_each_frame_is_sized_as_a_picture_and_the_middle_is_taken() -> None:
    raw = clips()
    stored, volumes, _ = fitted(raw, frames=2, image_size=4)
    picture = Pictures((1, 4, 4), (0.0,), (1.0,))
    for item, clip in zip(stored, raw, strict=True):
        assert torch.equal(item, torch.stack([picture.read(frame) for frame in clip[0, 1:3]], 1))
    assert volumes.shape == (1, 2, 4, 4)
    masks = torch.randint(3, (3, 4, 6, 8), dtype=torch.uint8)
    placed = volumes.place(masks, Meaning("mask", ("a", "b", "c")), (4, 6, 8))
    assert torch.equal(placed[0, 0], picture.place(masks[0, 1:2], Meaning("mask", ("a", "b", "c")), (6, 8))[0])
    classes = torch.tensor([1, 0, 2])
    assert volumes.place(classes, Meaning("class", ("a", "b", "c")), (4, 6, 8)) is classes


def test_clips_in_files(tmp_path: Path) -> None:
    files = []
    for number, clip in enumerate(clips()[:, 0].numpy()):
        (tmp_path / str(number)).mkdir()
        for time, frame in enumerate(clip):
            Image.fromarray(frame).save(tmp_path / str(number) / f"{time}.png")
        files.append(tmp_path / str(number))
    reading = Reading("clips", lambda _: np.arange(3), cache=tmp_path / "cache")
    stored, volumes, _ = Volumes.fit(tuple(files), reading, frames=4, image_size=(6, 8))
    assert torch.equal(stored, clips())
    torch.testing.assert_close(volumes(files[1]), volumes.normalize(clips()[1:2])[0])
    (files[1] / "0.png").unlink()
    with pytest.raises(InputError, match="too short: .*1: expected 4 frames, got 3"):
        volumes.read(files[1])
    with pytest.raises(InputError, match="clips in files have no length and size of their own: clips. Give both"):
        Volumes.fit(tuple(files), Reading("clips"), frames=4)


def test_volumes_that_cannot_be() -> None:
    with pytest.raises(InputError, match="number of frames is not positive: expected at least 1, got 0"):
        Volumes((1, 0, 2, 2), (0.0,), (1.0,))
    with pytest.raises(InputError, match="stored preprocessing: expected shape .4 whole numbers."):
        Volumes.from_json({"shape": [1, 2, 3], "mean": [0], "std": [1]})


def test_sources_of_clips_and_strings(mnist: Path) -> None:
    data = load_data(f"moving:{mnist}", validation=0.0)
    assert data.shape == (1, 16, 32, 32)
    assert (len(data.train), len(data.test)) == (4000, 1000)
    assert data.train.names[7] == "moving train 7"
    assert data.class_names[:2] == ("north", "north-east")
    data = load_data(f"strings:{mnist}", validation=0.0)
    assert data.shape[1] == 32
    assert (len(data.train), len(data.test)) == (6000, 1000)
    assert data.meaning == Meaning("text", tuple("0123456789"))
    lengths = (data.test.targets >= 0).sum(1)
    assert lengths.min() == 3
    assert lengths.max() == 8


def test_the_stack_in_blocks(shared_data: Path) -> None:
    """No slice that is scored was trained on, every one of the last ten is scored, and blocks are parts of it."""
    data = load_data(f"isbi_volume:{shared_data / 'isbi-membrane' / 'membrane.tar.gz'}", validation=0.0)
    assert data.shape == (1, 16, 64, 64)
    firsts = [tuple(map(int, name.partition("(")[2].rstrip(")").split(","))) for name in data.train.names]
    assert {first[0] for first in firsts} == {0, 2, 4}
    slices = load_data(f"isbi:{shared_data / 'isbi-membrane' / 'membrane.tar.gz'}", test=0.0, validation=0.0).train
    for items, step in ((data.train, 37), (data.test, 9)):
        for i in range(0, len(items), step):
            z, y, x = map(int, items.names[i].partition("(")[2].rstrip(")").split(","))
            assert torch.equal(items.inputs[i, 0], slices.inputs[z : z + 16, 0, y : y + 64, x : x + 64])
            known = items.targets[i] != 255
            assert torch.equal(items.targets[i][known], slices.targets[z : z + 16, y : y + 64, x : x + 64][known])
    assert (data.train.targets != 255).all()
    assert (data.test.targets[:, :6] == 255).all()
    assert (data.test.targets[:, 6:] != 255).all()
    assert data.test.targets[:, 6:].numel() == 10 * 512 * 512


def test_a_short_stack_cannot_be_held_out(tmp_path: Path) -> None:
    stack = np.zeros((20, 64, 64), np.uint8)
    tifffile.imwrite(tmp_path / "train-volume.tif", stack)
    tifffile.imwrite(tmp_path / "train-labels.tif", stack)
    with pytest.raises(InputError, match="a stack is too small to hold out slices: .*: expected at least 26 .* got 20"):
        load_data(f"isbi_volume:{tmp_path}")


def trained_scores(recipe: striate.Recipe, data: Data | None = None) -> Any:
    """The scores of a training."""
    session = striate.open_session(recipe)
    data = data or session.data
    for _ in striate.fit(session.model, session.task, data, recipe):
        pass
    found = evaluate(session.model, session.task, data.tested, data.preprocess, torch.device("cpu"))
    return session.task.score(*found)


@pytest.mark.slow
def test_a_small_c3d_tells_the_direction(mnist: Path) -> None:
    """recipes/moving.yaml, small: 16 frames of 16x16 pixels, and digits that come with scikit-learn."""
    recipe = striate.Recipe(
        data=f"moving:{mnist}", model="c3d:width=0.06", image_size=16, validation=0.0, epochs=4, batch_size=64,
        optimizer="adamw", learning_rate=0.003, dropout=0.0, device="cpu",
    )  # fmt: skip
    assert trained_scores(recipe).accuracy > 0.5  # chance is 0.125


@pytest.mark.slow
def test_a_small_crnn_reads(mnist: Path) -> None:
    """recipes/reading.yaml, small: the first 3,000 strings, and digits that come with scikit-learn."""
    recipe = striate.Recipe(
        data=f"strings:{mnist}", model="crnn:width=0.25", validation=0.0, epochs=8, batch_size=32,
        optimizer="adamw", learning_rate=0.002, weight_decay=0.01, gradient_clip=1.0, device="cpu",
    )  # fmt: skip
    data = load_data(recipe.data, validation=0.0)
    few = replace(data, train=data.train.subset(range(3000)), test=data.test.subset(range(300)))
    assert trained_scores(recipe, few).letter_error_rate < 0.3  # nothing read is 1
