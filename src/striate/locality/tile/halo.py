"""Which outputs of a crop are those of the whole: by the windows alone, for every layer, without a run.

Index 0 of each value of a crop lies somewhere in the same value of the whole (`places`). An output is that of the whole
where every value on the way to it reads in the crop what it reads in the whole (`differs`): what lies beyond a true
border is padding in both, and what lies beyond an edge of the crop is needed by outputs that are left to other crops.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from typing import NoReturn

from torch import nn

from striate.errors import InputError
from striate.geometry.fields import Field, extents, fields
from striate.geometry.graph import Graph, Node, Value
from striate.geometry.indices import Indices
from striate.geometry.reading import Box, Read, Reading, Reshape, Shape, hull
from striate.geometry.seen import named
from striate.geometry.trace import trace
from striate.geometry.window import Window

Place = tuple[int, ...]


@dataclass(frozen=True)
class Line:
    """One spatial axis of an input cut into crops. Crops begin at multiples of `period`, by which outputs advance
    `advance`; at an edge that is no border of the input, `before` outputs are lost at the start, `behind` at the end.
    Crops of fewer than `least` inputs are not used.
    """

    size: int
    outputs: int
    period: int
    advance: int
    before: int
    behind: int
    least: int = 1

    def placed(self, start: int) -> int:
        """Where the outputs begin of a crop that begins here."""
        return self.advance * start // self.period

    def made(self, crop: int) -> int:
        """How many outputs a crop of this size has."""
        return self.outputs - self.placed(self.size - crop)

    def count(self, crop: int) -> int:
        """How many crops of this size make all outputs; 0 where it is too small."""
        if crop == self.size:
            return 1
        step = self._step(crop)
        return 1 - (crop - self.size) // (self.period * step) if step > 0 else 0

    def cell(self, crop: int, number: int) -> tuple[int, int, int]:
        """Of a crop, counted from 0: where it begins, and the first and last output that are taken from it."""
        if crop == self.size:
            return 0, 0, self.outputs - 1
        step, kept = self._step(crop), self.made(crop) - self.behind
        start = min(self.size - crop, number * step * self.period)
        first = kept + (number - 1) * step * self.advance if number else 0
        return start, first, self.outputs - 1 if start == self.size - crop else kept + number * step * self.advance - 1

    def _step(self, crop: int) -> int:
        """Periods from one crop to the next: as many as leave no output out between them."""
        return (self.made(crop) - self.behind - self.before) // self.advance

    def sizes(self) -> list[int]:
        """For 1, 2, 3, 4, 6, 8, 11, … crops the least size with which so many do, greatest first."""
        found = [self.size]
        most = max(0, (self.size - self.least) // self.period)

        def count(k: int) -> int:
            return self.count(self.size - (most - k) * self.period)

        least = _first(most, lambda k: not count(k))
        some, end = 1, count(least)
        while some < end:
            some = min(end, max(some + 1, math.floor(some * 1.4)))
            # From the least crop up to the first that needs no more.
            more = _first(most, lambda k, n=some: k < least or count(k) > n)  # type: ignore[misc]
            found.append(self.size - (most - more) * self.period)
        return list(dict.fromkeys(found))


def lines(model: nn.Module, graph: Graph) -> tuple[Line, ...]:
    """How the input with which the network makes this graph can be cut, one line for each spatial axis.

    Raises InputError, naming the layer, where the network is not local: something reads the whole of an axis, or does
    other things at another size.
    """
    [start], shape = graph.inputs.values(), graph.values[0].shape[1:]
    if len(graph.outputs) != 1:
        raise InputError(
            "a network that runs in tiles has one output",
            got=len(graph.outputs),
            fix="Wrap it in a module whose forward has one tensor as output.",
        )
    value = graph.values[end := graph.outputs[0]]
    if len(value.shape) != len(shape) + 1:
        refuse(graph, value.index, "gives an output without the input's axes")
    seen = fields(graph, start)
    field = seen[end]
    if field is None:
        raise InputError("no output of the network depends on its input", where=named(graph, value))
    reach = [extent.size for extent in extents(field, value, graph.values[start])]
    periods = tuple(_period(seen, axis, size) for axis, size in enumerate(shape[1:]))
    # A crop long enough that its middle sees neither end, in a whole that goes on for as much at both.
    steps = [-(-(size + period) // period) for size, period in zip(reach, periods, strict=True)]
    near = _larger(model, shape, [2 * k * p for k, p in zip(steps, periods, strict=True)])
    far = _larger(model, shape, [4 * k * p for k, p in zip(steps, periods, strict=True)])
    at = places(near, far, tuple(k * p for k, p in zip(steps, periods, strict=True)))
    if any(driver != axis for axis, terms in enumerate(field.axes, 2) for driver, _ in terms):
        refuse(graph, end, "does not move with the input, axis by axis")
    made, place = near.values[end].shape, at[end]
    found = []
    for axis in range(2, len(made)):
        count, rest = divmod(place[axis], steps[axis - 2])
        if rest or count < 1:
            refuse(graph, end, "does not move with the input, axis by axis")
        lost = [_lost(near, far, at, axis, side) for side in (False, True)]
        found.append(Line(shape[axis - 1], value.shape[axis], periods[axis - 2], count, *lost))
    return _usable(model, graph, found)


def _usable(model: nn.Module, whole: Graph, found: Sequence[Line]) -> tuple[Line, ...]:
    """The lines with the least crops in which the network does what it does in large ones: a map of one position, or
    one smaller than what is reflected into its padding, is another matter."""
    channels = whole.values[0].shape[1]
    while True:
        sizes = [line.sizes()[-1] for line in found]
        if all(size == line.size for size, line in zip(sizes, found, strict=True)):
            return tuple(found)
        with contextlib.suppress(InputError):
            if flaw(trace(model, (channels, *sizes)), whole, found) is None:
                return tuple(found)
        found = [replace(line, least=size + line.period) for size, line in zip(sizes, found, strict=True)]


def flaw(part: Graph, whole: Graph, cut: Sequence[Line]) -> int | None:
    """The value because of which a kind of crop, at either border or between them, does not give what the whole gives;
    None where all do. `part` is the network on a crop. Raises InputError as `places` does."""
    crop = part.values[next(iter(part.inputs.values()))].shape[2:]
    needed = _needed(whole)
    kinds = []
    for line, size in zip(cut, crop, strict=True):
        count = line.count(size)
        some = {number % count for number in (0, 1, count // 2, -2, -1)}
        kinds.append([line.cell(size, number) for number in sorted(some)])
    for end in (0, -1):
        place = places(part, whole, [own[end][0] for own in kinds])
        for by, near, far in zip(place, part.values, whole.values, strict=True):
            border = [n if end else 0 for n in (b - a for a, b in zip(near.shape, far.shape, strict=True))]
            if far.index in needed and list(by) != border:
                return far.index
    for axis, own in enumerate(kinds):
        for cell in own:
            cells = [other[0] for other in kinds]
            cells[axis] = cell
            at = places(part, whole, [start for start, _, _ in cells])
            index = differs(part, whole, at, [(first, last) for _, first, last in cells])
            if index is not None or at[whole.outputs[0]][2 + axis] != cut[axis].placed(cell[0]):
                return whole.outputs[0] if index is None else index
    return None


def places(part: Graph, whole: Graph, starts: Sequence[int]) -> list[Place]:
    """Where index 0 of each value of a crop, which begins at `starts`, lies in the same value of the whole.

    Raises InputError, naming the layer, where the two do different things.
    """
    for one, other in zip_longest(part.nodes, whole.nodes):
        if one is None or other is None or _told(one) != _told(other):
            node = other or one
            refuse(whole if other else part, node.outputs[0], "does other things at another size of the input")
    found: list[Place] = []
    inputs, needed = whole.inputs.values(), _needed(whole)
    for near, far in zip(part.values, whole.values, strict=True):
        if far.index not in needed:
            found.append((0,) * len(far.shape))
            continue
        place = (0, 0, *starts) if near.index in inputs else _place(near, far, found)
        if place is None:
            refuse(whole, far.index, _why(near, far, whole))
        found.append(place)
    return found


def differs(part: Graph, whole: Graph, at: Sequence[Place], box: Sequence[tuple[int, int]]) -> int | None:
    """The value on the way to these outputs of the whole that reads something else in the crop; None where none does.

    `box` has the first and last output on each spatial axis; `at` is what `places` says.
    """
    end = whole.outputs[0]
    needed: dict[int, Box] = {end: _box([(0, size - 1) for size in whole.values[end].shape[:2]] + list(box))}
    for index in range(end, -1, -1):
        if index not in needed:
            continue
        near, far, place = part.values[index], whole.values[index], at[index]
        inner = tuple(indices.shift(-by) for indices, by in zip(needed[index], place, strict=True))
        if any(own.within(size) != own for own, size in zip(inner, near.shape, strict=True)):
            return index
        for short, long in zip(near.readings, far.readings, strict=True):
            source = long.source
            read = hull(long.back(needed[index], whole.values[source].shape))
            kept = hull(short.back(inner, part.values[source].shape))
            moved = kept and tuple((a + by, b + by) for (a, b), by in zip(kept, at[source], strict=True))
            if read != moved:
                return index
            if read is not None:
                before = needed.get(source)
                both = (read, *([hull([before])] if before else []))
                needed[source] = _box([(min(a for a, _ in s), max(b for _, b in s)) for s in zip(*both, strict=True)])
    return None


def _needed(graph: Graph) -> set[int]:
    """The values that the output depends on."""
    needed = {graph.outputs[0]}
    for value in reversed(graph.values):
        if value.index in needed:
            needed |= {reading.source for reading in value.readings}
    return needed


def _box(spans: Sequence[tuple[int, int]]) -> Box:
    return tuple(Indices.span(first, last) for first, last in spans)


def told(graph: Graph) -> str:
    """What a network does, but for the numbers in its tensors."""
    return repr([[_told(node) for node in graph.nodes], [(value.dtype, value.readings) for value in graph.values]])


def _told(node: Node) -> tuple[object, ...]:
    return node.path, node.operation, node.inputs, node.outputs, node.constants


def _period(seen: Sequence[Field | None], axis: int, size: int) -> int:
    """The least distance by which all windows of the network repeat; it stops growing where it is no more than one in
    name (adaptive pooling), which the comparison of two sizes then finds."""
    period = 1
    for terms in {field.axes[axis] for field in seen if field is not None}:
        for _, window in terms:
            longer = math.lcm(period, abs(window.shift) or 1)
            period = longer if longer <= 4 * size + 4096 else period
    return period


def _larger(model: nn.Module, shape: Shape, more: Sequence[int]) -> Graph:
    larger = (shape[0], *(size + by for size, by in zip(shape[1:], more, strict=True)))
    try:
        return trace(model, larger)
    except InputError as error:
        raise InputError(
            "the network takes inputs of one size only, so it cannot run in tiles",
            where=f"{'x'.join(map(str, larger))} instead of {'x'.join(map(str, shape))}",
            got=str(error).rstrip("."),
            fix="Make it convolutional first, or tile the part before that layer.",
        ) from error


def _place(near: Value, far: Value, found: Sequence[Place]) -> Place | None:
    if len(near.readings) != len(far.readings):
        return None
    place: list[int | None] = [None] * len(far.shape)
    for short, long in zip(near.readings, far.readings, strict=True):
        if long.border:
            continue
        for axis, by in _moves(short, long, found[long.source]):
            if by is None or place[axis] not in (None, by):
                return None
            place[axis] = by
    for axis, (size, other) in enumerate(zip(near.shape, far.shape, strict=True)):
        if place[axis] is None and size != other:
            return None
    return tuple(by or 0 for by in place)


def _moves(short: Reading, long: Reading, place: Place) -> Iterator[tuple[int, int | None]]:
    """How far the outputs move along each of their axes when the source is moved to its place; None: nowhere fits."""
    if isinstance(short, Reshape) and isinstance(long, Reshape):
        yield from _reshaped(short, long, place)
        return
    if not (isinstance(short, Read) and isinstance(long, Read)):
        yield 0, None
        return
    for (driver, window), (other, wide), by in zip(short.axes, long.axes, place, strict=True):
        if driver is None or driver != other:
            if driver != other or window.taps[0].shift(by) != wide.taps[0]:
                yield 0, None
        else:
            yield driver, _moved(window, wide, by)


@lru_cache(maxsize=1 << 12)
def _moved(near: Window, far: Window, by: int) -> int | None:
    """The d for which far reads at o + d what near reads at o, moved by `by`, for every o."""
    if near == far and by == 0:
        return 0
    if near.shift <= 0 or near.stride != far.stride:
        return None
    d = Fraction(by + near.lo - far.lo) / far.stride
    if d.denominator != 1:
        return None
    moved = Window.of(far.shift, [far.at(r + int(d)).shift(-by) for r in range(far.period)])
    return int(d) if moved == near else None


def _reshaped(short: Reshape, long: Reshape, place: Place) -> Iterator[tuple[int, int | None]]:
    """Axes that are kept move as they did; of those merged or split only the first may differ in size."""
    if short.groups != long.groups:
        yield 0, None
        return
    for into, out in long.groups:
        inner = math.prod(long.before[axis] for axis in into[1:])
        split = math.prod(long.after[axis] for axis in out[1:])
        same = all(short.before[axis] == long.before[axis] and not place[axis] for axis in into[1:])
        same &= all(short.after[axis] == long.after[axis] for axis in out[1:])
        by, rest = divmod(place[into[0]] * inner, split)
        yield out[0], by if same and not rest else None


def _lost(part: Graph, whole: Graph, at: Sequence[Place], axis: int, end: bool) -> int:
    """How many outputs at one end of an axis of the crop are not those of the whole."""
    last = whole.outputs[0]
    made, place = part.values[last].shape, at[last]
    middle = [p + size // 2 for p, size in zip(place, made, strict=True)]

    def box(lost: int) -> list[tuple[int, int]]:
        spans = [(m, m) for m in middle]
        edge = place[axis] + (made[axis] - 1 - lost if end else lost)
        spans[axis] = (middle[axis], edge) if end else (edge, middle[axis])
        return spans[2:]

    most = made[axis] - 1 - made[axis] // 2 if end else made[axis] // 2
    if (index := differs(part, whole, at, box(most))) is not None:
        refuse(whole, index, "reads from one end of its input to the other")
    return _first(most, lambda lost: differs(part, whole, at, box(lost)) is not None)


def _first(most: int, fails: Callable[[int], bool]) -> int:
    """The least number up to `most` that does not fail; those after it do not either."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fails(middle) else (low, middle)
    return low


def _why(near: Value, far: Value, whole: Graph) -> str:
    """What a value does that is not local."""
    for reading in far.readings:
        shape = whole.values[reading.source].shape
        one = tuple(Indices.of([size // 2]) for size in far.shape)
        read = hull(reading.back(one, shape)) or ()
        if any(span == (0, size - 1) and size > 1 for span, size in list(zip(read, shape, strict=False))[2:]):
            return "reads the whole of its input at once"
    sizes = f"{'x'.join(map(str, near.shape[1:]))} and {'x'.join(map(str, far.shape[1:]))}"
    return f"reads its input differently at different sizes ({sizes})"


def refuse(graph: Graph, index: int, why: str) -> NoReturn:
    """Raise the error that names the layer which made this value."""
    raise InputError(
        "the network cannot run in tiles",
        where=f"{named(graph, graph.values[index])} {why}",
        fix="Tile the part of the network before this layer, and run the rest on the result.",
    )
