"""Scenes composed of real digits: whole ones as objects, among fragments of others and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from striate.ops.boxes import boxes
from striate.shapes import Float, Tensor, UInt8

Bytes = npt.NDArray[np.uint8]
INK = 64  # the grey level from which a pixel belongs to a digit
HEIGHTS = (20, 40)  # of a whole digit, pixels
FRAGMENTS = (5, 10)  # in a scene
NOISE = 20.0  # standard deviation of the background's grey levels
ABSENT = 1 / 3  # of the scenes have no digit
TRIES = 50


@dataclass(frozen=True)
class Placed:
    """A whole digit in a scene: its class and the edges of its box."""

    label: int
    left: int
    top: int
    right: int
    bottom: int

    def covers(self, other: Placed) -> bool:
        """Whether the two boxes share a pixel."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def compose(
    digits: UInt8[np.ndarray, "m h w"],
    labels: npt.NDArray[np.integer],
    whole: npt.NDArray[np.integer],
    *,
    side: int = 64,
    seed: int = 0,
    first: int = 0,
) -> tuple[Bytes, tuple[Placed, ...]]:
    """Scene number `first` of a seed: the digits `whole` (positions; none, one or more) among fragments and noise.

    Each digit is cut out at its ink, made 20 to 40 pixels tall and put anywhere in the `side` x `side` picture where it
    covers no other one. Fragments are windows of a third to a half of a digit's height, cut from digits of the same
    sizes, so that neither size nor brightness tells an object from what surrounds it.
    """
    draw = np.random.default_rng((seed, first))
    scene = np.abs(draw.normal(0, NOISE, (side, side)))
    for _ in range(draw.integers(FRAGMENTS[0], FRAGMENTS[1] + 1)):
        piece = _fragment(digits, draw)
        top, left = (int(draw.integers(0, side - length + 1)) for length in piece.shape)
        _put(scene, piece, top, left)
    placed: list[Placed] = []
    for position in whole:
        placed.append(_place(scene, digits[position], int(labels[position]), placed, draw))
    return scene.clip(0, 255).astype(np.uint8), tuple(placed)


def scenes(
    digits: UInt8[np.ndarray, "m h w"], labels: npt.NDArray[np.integer], count: int, *, side: int = 64, seed: int = 0
) -> tuple[UInt8[Tensor, "n 1 s s"], Float[Tensor, "n v"]]:
    """`count` scenes of one digit or none, and the lectures' labels [x, y, height, width, presence, classes].

    Two in three show a digit, each another one. x, y is the box's left upper corner in pixels, y downward; without a
    digit the label is all zeros. The same seed gives the same scenes.
    """
    draw = np.random.default_rng((seed, count, len(digits)))
    order = draw.permutation(len(digits))
    pictures = np.empty((count, 1, side, side), np.uint8)
    targets = torch.zeros(count, 5 + int(labels.max()) + 1)
    for i in range(count):
        there = draw.random() >= ABSENT
        whole = order[[i % len(order)]] if there else order[:0]
        pictures[i, 0], placed = compose(digits, labels, whole, side=side, seed=seed, first=i)
        for digit in placed:
            found = torch.tensor([[digit.left, digit.top, digit.right, digit.bottom]])
            targets[i, :4] = boxes(found.float())[0]
            targets[i, 4] = targets[i, 5 + digit.label] = 1
    return torch.from_numpy(pictures), targets


def _place(scene: np.ndarray, digit: Bytes, label: int, others: list[Placed], draw: np.random.Generator) -> Placed:
    side = len(scene)
    for attempt in range(TRIES):
        # Where others leave no room at this size, it gets smaller.
        tall = int(draw.integers(HEIGHTS[0], max(HEIGHTS[0] + 1, HEIGHTS[1] + 1 - attempt)))
        piece = _resized(digit, tall, side)
        top, left = (int(draw.integers(0, side - length + 1)) for length in piece.shape)
        found = Placed(label, left, top, left + piece.shape[1], top + piece.shape[0])
        if not any(found.covers(other) for other in others):
            break
    _put(scene, piece, top, left)
    return found


def _resized(digit: Bytes, tall: int, side: int) -> Bytes:
    """The digit's ink, `tall` pixels high, with its proportions (at most as wide as the scene)."""
    rows, columns = (np.flatnonzero((digit >= INK).any(axis)) for axis in (1, 0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    wide = min(side, max(2, round(ink.shape[1] * tall / ink.shape[0])))
    return np.asarray(Image.fromarray(ink).resize((wide, tall), Image.Resampling.BILINEAR))


def _fragment(digits: Bytes, draw: np.random.Generator) -> Bytes:
    tall = int(draw.integers(HEIGHTS[0], HEIGHTS[1] + 1))
    piece = _resized(digits[draw.integers(len(digits))], tall, 2 * tall)
    length = round(tall * draw.uniform(1 / 3, 1 / 2))
    top, left = (int(draw.integers(0, max(1, side - length + 1))) for side in piece.shape)
    return piece[top : top + length, left : left + length]


def _put(scene: np.ndarray, piece: Bytes, top: int, left: int) -> None:
    window = scene[top : top + piece.shape[0], left : left + piece.shape[1]]
    np.maximum(window, piece, out=window)
