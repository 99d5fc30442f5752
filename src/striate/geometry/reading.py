"""How an operation's output reads one of its inputs: a window on each axis of that input.

A *box* is a set of positions of a tensor that is a product: one set of indices an axis. A *region* is a union of
boxes. A reading carries a box of the output back to what it reads of the input (receptive field), and a box of the
input forth to the outputs that it reaches (projective field), exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from striate.geometry.indices import Indices
from striate.geometry.window import IDENTITY, Window

Shape = tuple[int, ...]
Box = tuple[Indices, ...]
Region = list[Box]

# Positions of merged axes are told apart one by one up to this many; beyond, a reshape that cuts across axes is read
# as a whole.
MERGED = 1 << 24


class Axis(NamedTuple):
    """One axis of the input: the output axis that drives it (None: all outputs read the same), and its window."""

    driver: int | None
    window: Window


def whole(size: int) -> Axis:
    """An axis that every output reads from end to end."""
    return Axis(None, Window.constant(Indices.span(0, size - 1)))


def only(index: int) -> Axis:
    """An axis of which every output reads one index."""
    return Axis(None, Window.constant(Indices(index, 1)))


@dataclass(frozen=True)
class Read:
    """The value `source`, read by a window on each of its axes.

    Windows may reach beyond the input: what lies there is padding. `outputs` limits the reading to a part of the
    outputs, given on some axes as first and last index; a `border` reading (a reflected edge) holds only near the
    border, and the pattern of the interior leaves it out. Along the output axes that are `loose`, outputs read
    less than the windows say (taps of patches); -1: all do, who knows where (positions chosen by an index).
    """

    source: int
    axes: tuple[Axis, ...]
    outputs: tuple[tuple[int, int, int], ...] = ()  # (axis, first, last)
    border: bool = False
    loose: tuple[int, ...] = ()

    def back(self, box: Box, shape: Shape) -> Region:
        """What these outputs read of an input of this shape."""
        box = self._limited(box)
        if not all(box):
            return []
        read = [
            (axis.window.taps[0] if axis.driver is None else axis.window.image(box[axis.driver])).within(size)
            for axis, size in zip(self.axes, shape, strict=True)
        ]
        return [tuple(read)] if all(read) else []

    def forth(self, box: Box, shape: Shape) -> Region:
        """The outputs, of this shape, that these inputs reach."""
        reached = list(everything(shape))
        for (driver, window), inputs in zip(self.axes, box, strict=True):
            if driver is not None:
                reached[driver] &= window.preimage(inputs, shape[driver])
            elif not window.taps[0] & inputs:
                return []
        reached = list(self._limited(tuple(reached)))
        return [tuple(reached)] if all(reached) else []

    def _limited(self, box: Box) -> Box:
        limited = list(box)
        for axis, first, last in self.outputs:
            limited[axis] &= Indices.span(first, last)
        return tuple(limited)


@dataclass(frozen=True)
class Reshape:
    """The value `source` with the same numbers in the same order, under another shape."""

    source: int
    before: Shape
    after: Shape
    outputs: tuple[tuple[int, int, int], ...] = ()
    border: bool = False

    def back(self, box: Box, shape: Shape) -> Region:
        """What these outputs read of the input, which has the shape `before`."""
        return self._carry(box, self.after, shape, [(out, into) for into, out in self.groups])

    def forth(self, box: Box, shape: Shape) -> Region:
        """The outputs that these inputs reach."""
        return self._carry(box, self.before, shape, self.groups)

    @property
    def groups(self) -> list[tuple[Shape, Shape]]:
        """The axes (before, after) that go over into each other, in the finest way; axes of size 1 belong to none."""
        groups: list[tuple[Shape, Shape]] = []
        i, j = 0, 0
        while True:
            into: list[int] = []
            out: list[int] = []
            sizes = [1, 1]
            while not into or sizes[0] != sizes[1]:
                if sizes[0] <= sizes[1]:
                    while i < len(self.before) and self.before[i] == 1:
                        i += 1
                    if i == len(self.before):
                        return groups
                    into.append(i)
                    sizes[0] *= self.before[i]
                    i += 1
                else:
                    while self.after[j] == 1:
                        j += 1
                    out.append(j)
                    sizes[1] *= self.after[j]
                    j += 1
            groups.append((tuple(into), tuple(out)))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The windows, as well as windows can say it: of axes that are merged, all but the first are read whole."""
        axes = [only(0)] * len(self.before)
        for into, out in self.groups:
            lead, *rest = into
            axes[lead] = whole(self.before[lead])
            for axis in rest:
                axes[axis] = whole(self.before[axis])
            inner, split = math.prod(self.before[a] for a in rest), math.prod(self.after[a] for a in out[1:])
            if not rest:  # one axis split into several (or kept): its index is that of the first times the others
                axes[lead] = Axis(out[0], Window(split, 0, split - 1))
            elif len(out) == 1 and inner <= 64:  # several merged: the first is a quotient
                axes[lead] = Axis(out[0], Window.of(1, [Indices(0, 1)] * inner))
        return tuple(axes)

    def _carry(self, box: Box, old: Shape, new: Shape, groups: list[tuple[Shape, Shape]]) -> Region:
        if not all(box):
            return []
        parts: list[list[dict[int, Indices]]] = []
        for source, target in groups:
            if len(source) == len(target) == 1:
                parts.append([{target[0]: box[source[0]]}])
                continue
            sizes, targets = [old[a] for a in source], [new[a] for a in target]
            if all(len(box[a]) == old[a] for a in source) or math.prod(sizes) > MERGED:
                found: Iterable[Box] = [everything(tuple(targets))]
            else:
                found = unflatten(flatten(tuple(box[a] for a in source), sizes), targets)
            parts.append([dict(zip(target, piece, strict=True)) for piece in found])
        region = []
        for choice in itertools.product(*parts):
            piece = {axis: indices for part in choice for axis, indices in part.items()}
            region.append(tuple(piece.get(axis, Indices(0, 1)) for axis in range(len(new))))
        return region


Reading = Read | Reshape
Readings = tuple[Reading, ...]


def everything(shape: Shape) -> Box:
    """The box of all positions."""
    return tuple(Indices.span(0, size - 1) for size in shape)


def flatten(box: Box, shape: Sequence[int]) -> Indices:
    """The positions of a box, counted through row by row."""
    flat = Indices(0, 1)
    for indices, size in zip(box, shape, strict=True):
        # Index i of the axes so far becomes i*size + each index of this one.
        flat = Window(size, 0).image(flat)
        spread = Indices()
        for first, count in indices.runs():
            spread |= flat.shift(first).repeat(1, count)
        flat = spread
    return flat


def unflatten(flat: Indices, shape: Sequence[int]) -> Iterator[Box]:
    """The inverse of `flatten`, as boxes that do not overlap."""
    if len(shape) == 1:
        yield (flat,)
        return
    inner = math.prod(shape[1:])
    rows: dict[Indices, list[int]] = {}
    row = Indices.span(0, inner - 1)
    for index in range(flat.first // inner, flat.last // inner + 1) if flat else ():
        part = (flat & row.shift(index * inner)).shift(-index * inner)
        if part:
            rows.setdefault(part, []).append(index)
    for part, indices in rows.items():
        for rest in unflatten(part, shape[1:]):
            yield Indices.of(indices), *rest


def tidy(region: Iterable[Box]) -> Region:
    """The same positions in fewer boxes: none within another, none that differ on one axis only."""
    boxes: Region = []
    waiting = list(dict.fromkeys(region))
    while waiting:
        box = waiting.pop()
        if any(all(map(Indices.__le__, box, kept)) for kept in boxes):
            continue
        boxes = [kept for kept in boxes if not all(map(Indices.__le__, kept, box))]
        for kept in boxes:
            differ = [axis for axis, (a, b) in enumerate(zip(box, kept, strict=True)) if a != b]
            if len(differ) == 1:
                boxes.remove(kept)
                axis = differ[0]
                waiting.append((*box[:axis], box[axis] | kept[axis], *box[axis + 1 :]))
                break
        else:
            boxes.append(box)
    return boxes


def hull(region: Region) -> tuple[tuple[int, int], ...] | None:
    """First and last index on each axis; None for nothing."""
    if not region:
        return None
    return tuple((min(i.first for i in axis), max(i.last for i in axis)) for axis in zip(*region, strict=True))


def broadcast(source: int, shape: Shape, output: Shape) -> Read:
    """Position by position, axes aligned from the right; axes of size 1 are read by all."""
    ahead = len(output) - len(shape)
    axes = (
        Axis(axis + ahead, IDENTITY) if size == output[axis + ahead] else only(0) for axis, size in enumerate(shape)
    )
    return Read(source, tuple(axes))
