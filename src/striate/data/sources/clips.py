"""Rendered clips of a moving handwritten digit: the class is where it goes, which no single frame tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from striate.data.items import Listing, Meaning
from striate.data.sources.parts import digits_in_parts, in_parts
from striate.data.sources.registry import source
from striate.errors import InputError
from striate.shapes import Int64, Tensor, UInt8

# Rows run down: north is -1. Every second one is a direction of four.
DIRECTIONS = {
    "north": (-1, 0),
    "north-east": (-1, 1),
    "east": (0, 1),
    "south-east": (1, 1),
    "south": (1, 0),
    "south-west": (1, -1),
    "west": (0, -1),
    "north-west": (-1, -1),
}
SPEEDS = (1, 2, 3)  # pixels a frame, along each axis
COUNTS = {"train": 4000, "test": 1000}


@dataclass(frozen=True, eq=False)
class Clips:
    """Rendered clips, the direction of each, and which picture moves in it."""

    frames: UInt8[Tensor, "n c t h w"]
    directions: Int64[Tensor, " n"]
    pictures: Int64[Tensor, " n"]


@source("moving", size=(16, 32, 32), kind="volumes", inputs="volumes")
def moving(path: Path) -> Listing:
    """Rendered clips of 16 frames, 32x32: a real MNIST digit moves, the class is its direction; PATH as for mnist.

    4,000 clips of training digits and 1,000 of test digits (`render_clips`), the same ones each time.
    """
    parts = {}
    for seed, ((part, count), (pictures, _)) in enumerate(zip(COUNTS.items(), digits_in_parts(path), strict=True)):
        clips = render_clips(pictures, count, seed=seed)
        parts[part] = clips.frames, clips.directions
    return in_parts("moving", parts, Meaning("class", directions(8)))


def directions(count: int) -> tuple[str, ...]:
    """The names of the 4 or 8 directions; InputError for another number."""
    if count not in (4, 8):
        raise InputError("directions of motion", expected="4 or 8", got=count)
    return tuple(DIRECTIONS)[:: 8 // count]


def render_clips(
    pictures: UInt8[Tensor, "m h2 w2"], count: int, *, frames: int = 16, side: int = 32, ways: int = 8, seed: int = 0
) -> Clips:
    """`count` clips of `frames` frames of side x side pixels: a drawn picture moves at a drawn speed in a drawn way.

    What leaves at one edge comes in at the opposite one, and the start is drawn evenly over the frame. So every frame,
    taken alone, has the same distribution whatever the direction, and a network that sees one frame can only guess.

    Raises InputError for pictures larger than a frame, less than two frames, and ways that are not 4 or 8.
    """
    height, width = pictures.shape[1:]
    if max(height, width) > side:
        raise InputError("pictures are larger than a frame", expected=f"at most {side} pixels", got=f"{height}x{width}")
    if frames < 2:
        raise InputError("a single frame shows no motion", expected="at least 2 frames", got=frames)
    steps = torch.tensor([DIRECTIONS[name] for name in directions(ways)])
    generator = torch.Generator().manual_seed(seed)

    def drawn(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    chosen, way, start = drawn(len(pictures), count), drawn(ways, count), drawn(side, count, 2)
    speed = torch.tensor(SPEEDS)[drawn(len(SPEEDS), count)]
    canvas = torch.zeros(count, side, side, dtype=torch.uint8)
    canvas[:, :height, :width] = pictures[chosen]
    moved = start[:, None] + torch.arange(frames)[:, None] * (speed[:, None] * steps[way])[:, None]  # count frames 2
    read = (torch.arange(side) - moved[..., None]) % side  # count frames 2 side: which row or column is shown where
    rows, columns = read[:, :, 0, :, None], read[:, :, 1, None, :]
    clips = canvas[torch.arange(count).view(-1, 1, 1, 1), rows, columns]
    return Clips(clips[:, None], way, chosen)
