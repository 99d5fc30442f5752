"""A labeled stack of slices as one volume, and the blocks that a network is trained on."""

from __future__ import annotations

from pathlib import Path

import torch

from striate.data.items import VOID, Listing, Meaning
from striate.data.sources.registry import source
from striate.data.sources.segmentation import MEMBRANES, read_isbi
from striate.data.splits import consecutive
from striate.errors import InputError
from striate.shapes import Int64, Tensor, UInt8

BLOCK, STEP = (16, 64, 64), (2, 64, 64)
TESTED = 10  # slices at the end of the stack


@source("isbi_volume", size=BLOCK, kind="volumes", inputs="volumes", task="segment", augment=("flip:vertical=true",))
def isbi_volume(path: Path) -> Listing:
    """The ISBI 2012 stack of electron micrographs as a volume: blocks of 16x64x64, membranes and cells; PATH: files.

    Training blocks come from all but the last 10 slices, 2 slices apart in depth. Test blocks cover the last 16, of
    which the first 6 are context alone: their masks are void. Blocks of one place in the plane overlap in depth: they
    are a group for cross-validation, and a random validation part would hold what was trained on. The files are those
    of `isbi`.
    """
    slices, masks = (torch.from_numpy(part) for part in read_isbi(path))
    split = len(slices) - TESTED
    if split < BLOCK[0]:
        expected = f"at least {BLOCK[0] + TESTED} slices"
        raise InputError("a stack is too small to hold out slices", where=path, expected=expected, got=len(slices))
    tested = masks.clone()
    tested[:split] = VOID
    where = {"train": corners((split, *slices.shape[1:]), BLOCK, STEP)}
    last = corners((BLOCK[0], *slices.shape[1:]), BLOCK, STEP)
    where["test"] = last + torch.tensor([len(slices) - BLOCK[0], 0, 0])
    blocks = [cut(slices, firsts, BLOCK)[:, None] for firsts in where.values()]
    targets = [cut(masks, where["train"], BLOCK), cut(tested, where["test"], BLOCK)]
    names = [f"isbi_volume {part} {tuple(first)}" for part, firsts in where.items() for first in firsts.tolist()]
    splits = consecutive({part: len(firsts) for part, firsts in where.items()})
    meaning = Meaning("mask", MEMBRANES.names, palette=MEMBRANES.palette)
    places = torch.cat(list(where.values()))[:, 1:] @ torch.tensor([slices.shape[2], 1])
    return Listing(torch.cat(blocks), torch.cat(targets), meaning, names, splits, places)


def corners(shape: tuple[int, ...], block: tuple[int, ...], step: tuple[int, ...]) -> Int64[Tensor, "n axes"]:
    """The first corners of the blocks that cover a volume, `step` apart; the last along each axis ends at its end.

    A block that is larger than the volume raises InputError.

    >>> corners((4, 5), (4, 3), (1, 2)).tolist()
    [[0, 0], [0, 2]]
    """
    if any(b > s for b, s in zip(block, shape, strict=True)):
        raise InputError("a block is larger than the volume", expected=f"at most {shape}", got=block)
    axes = []
    for size, wide, stride in zip(shape, block, step, strict=True):
        starts = list(range(0, size - wide, stride))
        axes.append(torch.tensor([*starts, size - wide]))
    return torch.cartesian_prod(*axes).view(-1, len(axes))


def cut(
    volume: UInt8[Tensor, "d h w"], firsts: Int64[Tensor, "n 3"], block: tuple[int, int, int]
) -> UInt8[Tensor, "n d2 h2 w2"]:
    """The blocks with these first corners."""
    d, h, w = block
    return torch.stack([volume[z : z + d, y : y + h, x : x + w] for z, y, x in firsts.tolist()])
