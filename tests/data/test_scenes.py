"""Scenes of digits and roads: what they show is what their labels say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from striate.data.scenes import INK, compose, scenes
from striate.data.steering import FOCAL, HEIGHT, HORIZON, LOOK_AHEAD, WIDTH, Roads, drives, render
from striate.ops.boxes import edges

LABELS = np.arange(20) % 10


def digits(level: int = 200) -> np.ndarray:
    """Solid rectangles 6 + label wide and 20 high: every pixel of their box is ink."""
    pictures = np.zeros((20, 28, 28), np.uint8)
    for picture, label in zip(pictures, LABELS, strict=True):
        picture[4:24, 8 : 14 + label] = level
    return pictures


def test_labels_say_where_the_digit_is_and_which() -> None:
    pictures, labels = scenes(digits(), LABELS, 60)
    assert pictures.shape == (60, 1, 64, 64)
    there = labels[:, 4] == 1
    assert 0.5 < there.double().mean() < 0.8
    assert torch.equal(labels[~there], torch.zeros_like(labels[~there]))
    assert torch.equal(labels[there, 5:].sum(1), torch.ones(int(there.sum())))
    for picture, label in zip(pictures[there, 0], labels[there], strict=True):
        left, top, right, bottom = edges(label[None, :4])[0].int().tolist()
        assert (picture[top:bottom, left:right] >= 200).all()
        assert 20 <= bottom - top <= 40
        assert right - left == round((6 + int(label[5:].argmax())) * (bottom - top) / 20)


def test_every_scene_is_its_own_and_the_seed_decides() -> None:
    first, labels = scenes(digits(), LABELS, 12, seed=3)
    again, same = scenes(digits(), LABELS, 12, seed=3)
    other, _ = scenes(digits(), LABELS, 12, seed=4)
    assert torch.equal(first, again)
    assert torch.equal(labels, same)
    assert not torch.equal(first, other)
    assert len(torch.unique(first.flatten(1), dim=0)) == 12


def test_two_objects_do_not_cover_each_other() -> None:
    for seed in range(30):
        scene, placed = compose(digits(), LABELS, np.array([2, 7]), seed=seed)
        one, two = placed
        assert not one.covers(two)
        for digit in placed:
            assert (scene[digit.top : digit.bottom, digit.left : digit.right] >= INK).all()
        assert [digit.label for digit in placed] == [2, 7]


def test_scenes_without_an_object_hold_fragments_only() -> None:
    scene, placed = compose(digits(), LABELS, np.array([], dtype=np.int64), seed=1)
    assert placed == ()
    assert 0 < (scene >= 200).mean() < 0.4


def test_commands_are_circles_through_the_road_ahead() -> None:
    still = torch.zeros(3)
    curve = torch.tensor([-0.02, 0.0, 0.02])
    # On a circle through the car, with its heading, the command is the curvature but for terms in (curvature L)^2.
    torch.testing.assert_close(Roads(curve, still, still).command(), curve, rtol=0.03, atol=0)
    offset = Roads(still, torch.tensor([-0.5, 0, 0.5]), still).command()
    radius = 1 / offset[2].item()
    assert (radius - 0.5) ** 2 + LOOK_AHEAD**2 == pytest.approx(radius**2)  # the circle about (radius, 0) meets it
    assert offset[0] == -offset[2]


def test_the_picture_shows_the_road_where_the_formula_puts_it() -> None:
    roads = Roads(torch.tensor([0.015] * 40), torch.tensor([0.4] * 40), torch.tensor([-0.03] * 40))
    pictures = render(roads, torch.Generator().manual_seed(0)).float()
    row = 45
    distance = FOCAL * 1.3 / (row + 0.5 - HORIZON)
    center = roads.center(torch.tensor(distance))[0].item() * FOCAL / distance + WIDTH / 2
    # Along a row the road is the stretch without the verge's color; its middle over many draws is the center.
    green = pictures[:, 1, row] - pictures[:, [0, 2], row].mean(1)
    smooth = torch.nn.functional.avg_pool1d(green[:, None], 9, 1, 4)[:, 0]
    on_road = smooth < (smooth.amin(1, keepdim=True) + smooth.amax(1, keepdim=True)) / 2
    columns = torch.arange(WIDTH) + 0.5
    middles = (on_road * columns).sum(1) / on_road.sum(1)
    assert middles.median().item() == pytest.approx(center, abs=3)


def test_drives_are_the_seeds() -> None:
    pictures, commands = drives(210, seed=2)
    assert pictures.shape == (210, 3, HEIGHT, WIDTH)
    assert pictures.dtype == torch.uint8
    assert commands.shape == (210, 1)
    assert torch.equal(drives(210, seed=2)[0], pictures)
    assert abs(commands.mean().item()) < 0.003
    assert 0.009 < commands.std().item() < 0.016
