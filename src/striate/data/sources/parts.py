"""Listings whose parts (train, test ...) follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from striate.data.items import Listing, Meaning
from striate.data.sources.pictures import mnist
from striate.data.splits import consecutive
from striate.shapes import Int64, Tensor, UInt8

Part = tuple[Tensor, Tensor]


def in_parts(what: str, parts: Mapping[str, Part], meaning: Meaning) -> Listing:
    """The inputs and the targets of each part; items are called `what`, their part and a number in it."""
    inputs, targets = (torch.cat(column) for column in zip(*parts.values(), strict=True))
    counts = {part: len(found[0]) for part, found in parts.items()}
    names = tuple(f"{what} {part} {i}" for part, count in counts.items() for i in range(count))
    return Listing(inputs, targets, meaning, names, consecutive(counts))


def digits_in_parts(path: Path) -> Iterator[tuple[UInt8[Tensor, "m h w"], Int64[Tensor, " m"]]]:
    """Pictures and labels of MNIST's training digits, then those of its test digits, for what is composed of them."""
    digits = mnist(path)
    assert isinstance(digits.inputs, Tensor)
    for part in ("train", "test"):
        where = torch.from_numpy(digits.splits[part])
        yield digits.inputs[where, 0], digits.targets[where]
