"""What moves a picture moves its mask, its box and its points: each checked against a picture that is moved alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data import build_augmentation
from striate.data.items import Meaning
from striate.errors import InputError
from striate.ops.boxes import edges

MOVES = ["flip:1", "flip:p=0.5,vertical=True", "crop:3", "shift:0.15", "scale:0.3", "rotate:40"]
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
PAIR = Meaning("points", ("left", "right"), mirror=(1, 0))
Joint = tuple[torch.Tensor, torch.Tensor]


def change(specs: list[str], inputs: torch.Tensor, targets: torch.Tensor, meaning: Meaning, seed: int = 0) -> Joint:
    augment = build_augmentation(specs, (inputs * 255).byte(), meaning)
    assert augment is not None
    return augment(inputs, targets, torch.Generator().manual_seed(seed))


def dots(points: torch.Tensor, height: int, width: int, spread: float = 1.5) -> torch.Tensor:
    """A picture of a round blob at each point (x, y): channel p shows point p."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    far = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    return torch.exp(-far / (2 * spread**2))


def centers(pictures: torch.Tensor) -> torch.Tensor:
    """The centroid (x, y) of each channel, in pixels."""
    height, width = pictures.shape[2:]
    weight = pictures.sum((2, 3))
    x = (pictures.sum(2) * torch.arange(width)).sum(2) / weight
    y = (pictures.sum(3) * torch.arange(height)).sum(2) / weight
    return torch.stack([x, y], 2)


@pytest.mark.parametrize("spec", MOVES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), x=st.floats(16, 30), y=st.floats(12, 22))
def test_points_move_to_where_a_picture_of_a_dot_shows_them(spec: str, seed: int, x: float, y: float) -> None:
    spec = spec if "flip" in spec else f"{spec},mode=zeros"  # no reflected dots
    points = torch.tensor([[[x, y], [46 - x, 34 - y]]]).repeat(3, 1, 1)
    pictures, moved = change([spec], dots(points, 35, 47), points, Meaning("points", ("a", "b"), mirror=(0, 1)), seed)
    torch.testing.assert_close(moved, centers(pictures), atol=0.3, rtol=0)


@pytest.mark.parametrize("spec", MOVES)
@pytest.mark.parametrize("mode", ["reflect", "edge", "zeros"])
def test_masks_are_the_moved_one_hot_pictures(spec: str, mode: str) -> None:
    spec = spec if "flip" in spec else f"{spec},mode={mode}"
    mask = torch.zeros(8, 20, 26, dtype=torch.uint8)
    mask[:, 4:13, 5:20] = 1
    mask[:, 9:18, 14:26] = 2
    shown = torch.stack([mask == k for k in range(3)], 1).float()
    pictures, moved = change([spec], shown, mask, Meaning("mask", ("a", "b", "c"), palette=PALETTE))
    sure, best = pictures.max(1)
    clear = sure > 0.75  # between two classes nearest and bilinear may differ
    assert clear.float().mean() > 0.8
    assert torch.equal(moved[clear].long(), best[clear])
    if mode != "zeros" or "flip" in spec:
        assert moved.max() <= 2
    elif spec.startswith(("crop", "shift", "rotate")):
        assert (moved[pictures.sum(1) < 0.01] == 255).all()
        assert (moved == 255).any()


def test_void_stays_void() -> None:
    mask = torch.full((4, 9, 9), 255, dtype=torch.uint8)
    _, moved = change(MOVES, torch.zeros(4, 1, 9, 9), mask, Meaning("mask", ("a", "b"), palette=PALETTE[:2]))
    assert torch.equal(moved, mask)


@pytest.mark.parametrize("spec", MOVES)
def test_boxes_are_the_hull_of_the_moved_rectangle(spec: str) -> None:
    picture = torch.zeros(30, 1, 40, 50)
    picture[:, :, 14:26, 17:33] = 1  # left 17, right 33, top 14, bottom 26
    label = torch.tensor([17.0, 14, 12, 16, 1, 0, 1]).repeat(30, 1)
    pictures, moved = change([spec], picture, label, Meaning("box", ("cat", "dog")))
    assert torch.equal(moved[:, 4:], label[:, 4:])
    for shown, box in zip(pictures[:, 0] > 0.02, edges(moved[:, :4]), strict=True):
        columns, rows = shown.any(0).nonzero().flatten(), shown.any(1).nonzero().flatten()
        found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        torch.testing.assert_close(box, found, atol=1.05, rtol=0)  # pixels that the border only touches


def test_boxes_are_clipped_and_a_gone_object_has_no_label() -> None:
    corner = torch.tensor([0.0, 0, 4, 8, 1, 1, 0]).repeat(400, 1)  # 8 wide, 4 tall, in the upper left corner of 40x40
    _, moved = change(["shift:0.4"], torch.zeros(400, 1, 40, 40), corner, Meaning("box", ("a", "b")))
    kept = moved[moved[:, 4] == 1]
    gone = moved[moved[:, 4] == 0]
    assert len(kept) > 100
    assert len(gone) > 100
    assert torch.equal(gone, torch.zeros_like(gone))
    left, top, right, bottom = edges(kept[:, :4]).unbind(1)
    assert min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= 40
    seen = (right - left) * (bottom - top) / 32
    assert 0.25 <= seen.min() < 0.35
    nothing = torch.zeros(400, 7)
    assert torch.equal(
        change(["rotate:20"], torch.zeros(400, 1, 40, 40), nothing, Meaning("box", ("a", "b")))[1], nothing
    )


def test_a_mirror_image_swaps_left_and_right_and_a_half_turn_does_not() -> None:
    points = torch.tensor([[[2.0, 3.0], [9.0, 4.0]]]).repeat(64, 1, 1)
    pictures = torch.zeros(64, 1, 11, 21)
    _, mirrored = change(["flip:1"], pictures, points, PAIR)
    assert mirrored[0].tolist() == [[11, 4], [18, 3]]  # what was right, at 9, is left now, at 20 - 9
    _, turned = change(["flip:p=1,vertical=True"], pictures, points, PAIR)
    assert turned[0].tolist() == [[18, 7], [11, 6]]
    _, some = change(["flip:0.5"], pictures, points, PAIR)
    assert {tuple(map(tuple, found)) for found in some.tolist()} == {((2, 3), (9, 4)), ((11, 4), (18, 3))}


def test_points_that_leave_the_picture_and_missing_ones_are_missing() -> None:
    points = torch.tensor([[[0.0, 5.0], [torch.nan, torch.nan]]]).repeat(200, 1, 1)
    _, moved = change(["shift:0.3"], torch.zeros(200, 1, 11, 11), points, PAIR)
    assert moved[:, 1].isnan().all()
    gone = moved[:, 0].isnan().all(1)
    assert 60 < gone.sum() < 140
    assert moved[~gone, 0].min() >= -0.5


def test_other_targets_and_changes_of_color_leave_targets_alone() -> None:
    values = torch.randn(4, 2)
    assert torch.equal(change(MOVES, torch.rand(4, 1, 9, 9), values, Meaning("values", ("a", "b")))[1], values)
    points = torch.rand(4, 2, 2) * 8
    assert torch.equal(change(["grey", "cutout:3"], torch.rand(4, 1, 9, 9), points, PAIR)[1], points)


def test_several_moves_together_keep_dots_and_points_together() -> None:
    points = torch.tensor([[[20.0, 26.0], [30.0, 24.0]]]).repeat(40, 1, 1)
    zeros = ["scale:0.2", "rotate:15", "shift:0.1", "crop:2"]
    specs = ["flip:0.5", *(f"{spec},mode=zeros" for spec in zeros)]
    pictures, moved = change(specs, dots(points, 50, 50), points, Meaning("points", ("a", "b"), mirror=(0, 1)))
    torch.testing.assert_close(moved, centers(pictures), atol=0.2, rtol=0)


def test_volumes_are_flipped_cropped_and_darkened_with_their_masks() -> None:
    mask = torch.randint(0, 2, (12, 6, 7, 8), dtype=torch.uint8)
    volumes = mask[:, None].float()
    meaning = Meaning("mask", ("a", "b"), palette=PALETTE[:2])
    for spec in ("flip:p=0.5,vertical=True", "crop:2", "crop:pad=2,mode=edge"):
        changed, moved = change([spec], volumes, mask, meaning)
        assert torch.equal(changed[:, 0], moved.float())
        assert not torch.equal(moved, mask)
    changed, moved = change(["grey"], volumes, mask, meaning)
    assert torch.equal(moved, mask)
    assert not torch.equal(changed, volumes)
    flipped, _ = change(["flip:1"], volumes, mask, meaning)
    assert torch.equal(flipped, volumes.flip(4))


@pytest.mark.parametrize("name", ["rotate", "shift", "scale", "cutout"])
def test_volumes_cannot_be_warped(name: str) -> None:
    text = rf"does not fit the inputs: {name}: expected pictures, got volumes of shape \(1, 4, 4, 4\). "
    with pytest.raises(InputError, match=text + "For volumes: flip, crop, cut, grey"):
        build_augmentation([name], torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8))


def test_a_series_cannot_be_flipped() -> None:
    with pytest.raises(InputError, match=r"flip: expected pictures or volumes, got signals of shape \(1, 90\)"):
        build_augmentation(["flip"], torch.zeros(1, 1, 90))


def test_words_cannot_be_flipped() -> None:
    with pytest.raises(InputError, match=r"flip: expected pictures or volumes, got inputs of shape \(90,\)"):
        build_augmentation(["flip"], torch.zeros(1, 90))


def test_points_without_partners_cannot_be_flipped() -> None:
    pixels = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(
        InputError, match="points without mirror partners cannot be flipped: flip:0.5: .* Leave flip out"
    ):
        build_augmentation(["flip:0.5"], pixels, Meaning("points", ("nose",)))
