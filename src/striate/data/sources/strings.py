"""Composed pictures of digit strings: real handwritten digits set side by side."""

from __future__ import annotations

from pathlib import Path

import torch

from striate.data.items import Listing, Meaning
from striate.data.sources.parts import digits_in_parts, in_parts
from striate.data.sources.registry import source
from striate.errors import InputError
from striate.shapes import Int64, Tensor, UInt8

ROWS = 32
GAP = 2  # pixels between two digits, at most
COUNTS = {"train": 6000, "test": 1000}


@source("strings", size=(ROWS, 174), task="transcribe")
def strings(path: Path) -> Listing:
    """Composed lines of 3 to 8 real MNIST digits side by side, 32x174 grey pixels, to be read; PATH as for mnist.

    6,000 strings of training digits and 1,000 of test digits (`compose_strings`), the same ones each time.
    """
    parts = {}
    for seed, ((part, count), (pictures, labels)) in enumerate(zip(COUNTS.items(), digits_in_parts(path), strict=True)):
        parts[part] = compose_strings(pictures, labels, count, seed=seed)
    return in_parts("strings", parts, Meaning("text", tuple("0123456789")))


def compose_strings(
    pictures: UInt8[Tensor, "m h2 w2"],
    labels: Int64[Tensor, " m"],
    count: int,
    *,
    lengths: tuple[int, int] = (3, 8),
    seed: int = 0,
) -> tuple[UInt8[Tensor, "n c h w"], Int64[Tensor, "n l"]]:
    """`count` pictures of 32 rows with drawn strings of (least, most) digits, and their labels, padded with -1.

    Each digit is cut to its ink's columns and set 0 to 2 pixels after the one before, each at a height of its own; the
    string begins anywhere where it fits. The pictures are wide enough for `most` of the widest digits.

    Raises InputError for pictures of more than 32 rows, an empty picture, and lengths that are not 1 or more in order.
    """
    least, most = lengths
    if not 1 <= least <= most:
        raise InputError("lengths of strings", expected="1 or more, in order", got=f"{least} to {most}")
    if pictures.shape[1] > ROWS:
        raise InputError("digits do not fit the string", expected=f"at most {ROWS} rows", got=pictures.shape[1])
    ink = (pictures > 0).any(1).int()
    if not bool(ink.any(1).all()):
        raise InputError("a picture of a digit is empty", where=f"picture {int(ink.any(1).int().argmin())}")
    first, last = ink.argmax(1), ink.shape[1] - ink.flip(1).argmax(1)
    width = most * int((last - first).max()) + (most - 1) * GAP
    generator = torch.Generator().manual_seed(seed)

    def drawn(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    length, chosen = drawn(least, most, count), drawn(0, len(pictures) - 1, count, most)
    gaps, heights = drawn(0, GAP, count, most), drawn(0, ROWS - pictures.shape[1], count, most)
    margin = torch.rand(count, generator=generator)
    strings = torch.zeros(count, 1, ROWS, width, dtype=torch.uint8)
    for i, string in enumerate(strings[:, 0]):
        digits = chosen[i, : length[i]]
        ends = (last[digits] - first[digits] + gaps[i, : length[i]]).cumsum(0)
        left = int(margin[i] * (width - int(ends[-1] - gaps[i, length[i] - 1]) + 1))
        for k, digit in enumerate(digits.tolist()):
            cut = pictures[digit, :, first[digit] : last[digit]]
            at = left + int(ends[k] - gaps[i, k]) - cut.shape[1]
            string[heights[i, k] : heights[i, k] + len(cut), at : at + cut.shape[1]] = cut
    text = labels[chosen].masked_fill(torch.arange(most) >= length[:, None], -1)
    return strings, text
