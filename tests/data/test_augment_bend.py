"""Elastic deformation and cut windows: against their definition, and pictures, masks, boxes and points together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from striate.data import Meaning, build_augmentation
from striate.data.augment import cut, elastic
from striate.data.augment.bend import Bend

checked = settings(max_examples=15, deadline=None)
MASK = Meaning("mask", tuple(map(str, range(4))))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def joint(spec: str, pixels: torch.Tensor, targets: torch.Tensor, meaning: Meaning, seed: int = 0):  # type: ignore[no-untyped-def]
    change = build_augmentation([spec], pixels, meaning)
    assert change is not None
    return change(pixels / 255, targets, generator(seed))


@checked
@given(st.integers(0, 999))
def test_elastic_reads_where_scipy_reads(seed: int) -> None:
    image = torch.rand(1, 1, 20, 30, generator=generator(seed), dtype=torch.float64)
    move = elastic(image, generator(seed), deviation=2)
    assert isinstance(move, Bend)
    offset = move.offset[0].numpy()
    rows, columns = np.indices((20, 30)).astype(float)
    want = ndimage.map_coordinates(image[0, 0], [rows + offset[1], columns + offset[0]], order=1, mode="reflect")
    np.testing.assert_allclose(move.pictures(image)[0, 0], want, atol=1e-6)


def test_offsets_have_the_stated_deviation_and_are_smooth() -> None:
    move = elastic(torch.zeros(400, 1, 33, 33), generator(0), deviation=10)
    assert isinstance(move, Bend)
    assert move.offset[:, :, 0, 0].std().item() == pytest.approx(10, rel=0.1)  # a drawn place: a corner
    assert move.offset.diff(dim=3).abs().max() < 10


@checked
@given(st.integers(0, 999))
def test_elastic_moves_the_mask_with_the_picture(seed: int) -> None:
    """A picture that shows its own mask still shows it afterwards, where it is not between two pixels."""
    mask = torch.zeros(2, 40, 40, dtype=torch.uint8)
    mask[:, 10:30, 5:25], mask[:, 20:, 20:] = 1, 3
    pixels = (mask * 80)[:, None]
    pictures, moved = joint("elastic:deviation=2", pixels, mask, MASK, seed)
    shown = pictures[:, 0] * 255 / 80
    near = (shown - shown.round()).abs() < 0.01
    assert near.float().mean() > 0.5
    assert (shown.round()[near] == moved[near]).float().mean() > 0.97
    assert (moved != mask).any()


@checked
@given(st.integers(0, 999))
def test_points_follow_the_bend(seed: int) -> None:
    """The brightest pixel of a smooth blob is where its point says."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    blob = torch.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 30)
    pixels = (blob * 255).to(torch.uint8)[None, None]
    meaning = Meaning("points", ("nose",), mirror=(0,))
    pictures, points = joint("elastic:deviation=3", pixels, torch.tensor([[[30.0, 20.0]]]), meaning, seed)
    row, column = divmod(int(pictures[0, 0].argmax()), 64)
    assert abs(points[0, 0, 0].item() - column) < 1.6
    assert abs(points[0, 0, 1].item() - row) < 1.6


def test_zero_deviation_changes_nothing() -> None:
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(elastic(image, generator(0), deviation=0).pictures(image), image)


@checked
@given(st.integers(0, 999))
def test_cut_keeps_one_window_of_picture_and_mask(seed: int) -> None:
    pixels = torch.arange(12 * 10, dtype=torch.uint8).view(1, 1, 12, 10)
    mask = (pixels[:, 0] % 4).to(torch.uint8)
    pictures, moved = joint("cut:0.4", pixels, mask, MASK, seed)
    assert pictures.shape == (1, 1, 5, 4)
    first = int((pictures[0, 0, 0, 0] * 255).round())
    row, column = divmod(first, 10)
    torch.testing.assert_close(pictures[0, 0] * 255, pixels[0, 0, row : row + 5, column : column + 4].float())
    assert torch.equal(moved, mask[:, row : row + 5, column : column + 4])


@checked
@given(st.integers(0, 999))
def test_boxes_and_points_of_a_cut_window(seed: int) -> None:
    pixels = torch.arange(10 * 10, dtype=torch.uint8).view(1, 1, 10, 10)
    points = torch.tensor([[[4.0, 6.0]]])
    pictures, moved = joint("cut:0.8", pixels, points, Meaning("points", ("p",), mirror=(0,)), seed)
    row, column = divmod(int((pictures[0, 0, 0, 0] * 255).round()), 10)
    assert moved.tolist() == [[[4 - column, 6 - row]]]
    box = torch.tensor([[3.0, 5, 2, 4, 1, 1]])
    _, placed = joint("cut:0.8", pixels, box, Meaning("box", ("b",)), seed)
    left, right, top, bottom = (max(0, 3 - column), min(8, 7 - column), max(0, 5 - row), min(8, 7 - row))
    assert placed.tolist() == [[left, top, bottom - top, right - left, 1, 1]]


def test_every_window_is_cut_alike_often() -> None:
    pixels = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).expand(2000, 1, 2, 2)
    pictures, _ = joint("cut:0.5", pixels.contiguous(), torch.zeros(2000, 2, 2, dtype=torch.uint8), MASK)
    counts = (pictures * 255).round().long().flatten().bincount()
    assert counts.min() > 400


def test_volumes_keep_their_depth() -> None:
    volume = torch.rand(2, 1, 3, 8, 8)
    assert cut(volume, generator(0), fraction=0.5).pictures(volume).shape == (2, 1, 3, 4, 4)
