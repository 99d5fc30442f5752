"""The window of every value on an input, by composition from the input on: receptive field, stride, center.

Along one axis of the input a value's *terms* say which of its own axes moves the window (None: none does, all
positions see the same) and how. One term is the rule; branches of different strides (a global branch beside a local
one) keep a term each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from striate.geometry.graph import Graph, Value
from striate.geometry.reading import Axis, Read, Reading, Reshape, Shape
from striate.geometry.window import IDENTITY, Number, Window

Terms = tuple[Axis, ...]

# Patterns longer than this are kept as their hull: no picture of a network shows a phase in thousands.
LONGEST = 1 << 12


@dataclass(frozen=True)
class Extent:
    """What a value sees along one axis of the input, clipped neither at the border nor to the input.

    `size`: inputs from the first to the last seen, the most that any position sees. `stride`: how far that moves from
    one position to the next (0 where it does not). `offset`: the middle of what position 0 sees, as an input index.
    `padding`: how far before index 0 and behind the last index any position looks. `whole`: some position sees all.
    """

    size: int
    stride: Number
    offset: Number
    padding: tuple[int, int]
    whole: bool


@dataclass(frozen=True)
class Merged:
    """The field behind an axis that a reshape merged from axes of these sizes, by whose numbers it is driven.

    It comes back where a later reshape takes the axis apart again, as around a product of tokens.
    """

    axis: int
    sizes: Shape
    field: Field


@dataclass(frozen=True)
class Field:
    """What a value sees of one input: terms for each spatial axis.

    `loose` are the axes of the value along which positions see less than the terms say: a reshape merged axes that
    move a window (`merged` has what it was), parts were joined that see differently, or a reading is a bound. -1
    stands for one that is gone. Where it is empty, the field is exact.
    """

    axes: tuple[Terms, ...]
    loose: frozenset[int] = frozenset()
    merged: Merged | None = None

    @property
    def exact(self) -> bool:
        """Whether every position sees what the terms say, no less."""
        return not self.loose

    def after(self, reading: Reading, shape: Shape) -> Field:
        """What a value sees that reads this one, of this shape, by `reading`."""
        windows = reading.axes
        loose = set()
        for axis in self.loose:
            driver, window = windows[axis] if axis >= 0 else Axis(None, IDENTITY)
            if driver is not None:
                loose.add(driver)
            elif axis < 0 or len(window.taps[0].within(shape[axis])) < shape[axis]:
                loose.add(-1)
        kept = None
        moving = {driver for terms in self.axes for driver, _ in terms}
        if isinstance(reading, Read) and any(d is not None and windows[d].window.size > 1 for d in moving):
            loose |= set(reading.loose)
        if isinstance(reading, Reshape):
            if (split := self._taken_apart(reading)) is not None:
                return split
            for into, out in reading.groups:
                ahead = [into[0]] if windows[into[0]].driver is not None else []  # its index is a quotient of the new
                if self.loose & set(into) or (len(into) > 1 and moving & set(into) > moving & set(ahead)):
                    loose |= set(out)
            kept = self._together(reading)
        if self.merged is not None:
            driver, window = windows[self.merged.axis]
            if driver is not None and window == IDENTITY:
                kept = replace(self.merged, axis=driver)
        return Field(tuple(merged(_carried(terms, windows)) for terms in self.axes), frozenset(loose), kept)

    def _together(self, reading: Reshape) -> Merged | None:
        """What a reshape merges, where that is all that moves the windows."""
        moving = {driver for terms in self.axes for driver, _ in terms if driver is not None}
        for into, out in reading.groups:
            if len(into) > 1 and len(out) == 1 and moving | self.loose <= set(into):
                numbers = {axis: number for number, axis in enumerate(into)}
                return Merged(out[0], tuple(reading.before[axis] for axis in into), self.renamed(numbers))
        return None

    def _taken_apart(self, reading: Reshape) -> Field | None:
        """The field before axes were merged, where the reshape takes them apart as they were."""
        if self.merged is None or not self.loose <= {self.merged.axis}:
            return None
        for into, out in reading.groups:
            if into == (self.merged.axis,) and tuple(reading.after[axis] for axis in out) == self.merged.sizes:
                return self.merged.field.renamed(dict(enumerate(out)))
        return None

    def renamed(self, names: Mapping[int, int]) -> Field:
        """The same, where the axes that drive it have other numbers."""
        kept = self.merged if self.merged is not None and self.merged.axis in names else None
        kept = kept and replace(kept, axis=names[kept.axis])
        axes = tuple(_renamed(terms, names) for terms in self.axes)
        return Field(axes, frozenset(names[axis] for axis in self.loose), kept)

    def __or__(self, other: Field) -> Field:
        """What either sees."""
        pairs = zip(self.axes, other.axes, strict=True)
        kept, more = self.merged, other.merged
        if kept is not None and more is not None and (kept.axis, kept.sizes) == (more.axis, more.sizes):
            kept = replace(kept, field=kept.field | more.field)
        else:
            kept = None
        return Field(tuple(merged((*a, *b)) for a, b in pairs), self.loose | other.loose, kept)


def _renamed(terms: Terms, names: Mapping[int, int]) -> Terms:
    return tuple(Axis(None if driver is None else names[driver], window) for driver, window in terms)


def _carried(terms: Terms, windows: Sequence[Axis]) -> Terms:
    carried = []
    for driver, window in terms:
        if driver is None:
            carried.append(Axis(None, window))
        else:
            outer = windows[driver]
            carried.append(Axis(outer.driver, window if outer.window == IDENTITY else outer.window.after(window)))
    return tuple(carried)


def merged(terms: Sequence[Axis]) -> Terms:
    """One term for each driver and stride."""
    found: dict[tuple[int | None, Number], Window] = {}
    for driver, window in terms:
        key = (driver, window.stride)
        both = found[key] | window if key in found else window
        found[key] = both if both.period <= LONGEST else Window(both.stride, both.lo, both.hi)
    return tuple(Axis(driver, window) for (driver, _), window in found.items())


def spatial(shape: Shape) -> tuple[int, ...]:
    """The axes of an input along which windows move: those after batch and channel, or all but the batch."""
    return tuple(range(2, len(shape))) if len(shape) > 2 else tuple(range(1, len(shape)))


def fields(graph: Graph, input: int) -> list[Field | None]:
    """For every value what it sees of the input with this value index; None where it does not see it."""
    found: list[Field | None] = [None] * len(graph.values)
    shape = graph.values[input].shape
    found[input] = Field(tuple((Axis(axis, IDENTITY),) for axis in spatial(shape)))
    for value in graph.values[input + 1 :]:
        parts = [
            (field.after(reading, graph.values[reading.source].shape), reading)
            for reading in value.readings
            if not reading.border and (field := found[reading.source]) is not None
        ]
        found[value.index] = joined(parts, value.shape) if parts else None
    return found


def joined(parts: Sequence[tuple[Field, Reading]], shape: Shape) -> Field:
    """What a value sees whose readings serve all of it, or a part each.

    A part that sees what the largest one sees, at another place (a lap around the edge), holds at a border, and the
    pattern leaves it out. Parts that see differently make it a bound along the axis that parts them; but what is said
    of joined channels is meant of all.
    """
    covered: dict[Field, int] = {}
    for field, reading in parts:
        lengths = {axis: last - first + 1 for axis, first, last in reading.outputs}
        size = math.prod(lengths.get(axis, size) for axis, size in enumerate(shape))
        covered[field] = covered.get(field, 0) + size
    main = max(covered, key=lambda field: covered[field])
    total, loose = main, set[int]()
    for field, reading in parts if len(covered) > 1 else ():
        apart = {axis for axis, _, _ in reading.outputs}
        if field != main and not (apart and _moved(field, main, apart)):
            total |= field
            drivers = {driver for driver, _ in reading.axes}
            if field.axes != main.axes:
                loose |= {axis for axis in apart if axis != 1 or axis not in drivers}
    return replace(total, loose=total.loose | loose)


def _moved(field: Field, main: Field, apart: set[int]) -> bool:
    """Whether two parts that lie apart on these axes see alike, at different places of them."""
    pairs = [pair for both in zip(field.axes, main.axes, strict=True) for pair in zip(*both, strict=False)]
    return [len(terms) for terms in field.axes] == [len(terms) for terms in main.axes] and all(
        one.driver == other.driver
        and (one.window == other.window or (one.driver in apart and one.window.parallel(other.window)))
        for one, other in pairs
    )


def extents(field: Field, value: Value, input: Value) -> tuple[Extent, ...]:
    """The numbers that people read off a field, one for each spatial axis of the input."""
    sizes = [input.shape[axis] for axis in spatial(input.shape)]
    return tuple(_extent(terms, value.shape, size) for terms, size in zip(field.axes, sizes, strict=True))


def _extent(terms: Terms, shape: Shape, size: int) -> Extent:
    """Height, width and depth are mostly alike: with the drivers numbered, one is measured for all."""
    drivers = list(dict.fromkeys(driver for driver, _ in terms if driver is not None))
    numbered = tuple(Axis(None if driver is None else drivers.index(driver), window) for driver, window in terms)
    return _measured(numbered, tuple(shape[driver] for driver in drivers), size)


@lru_cache(maxsize=1 << 12)
def _measured(terms: Terms, shape: Shape, size: int) -> Extent:
    moving = [t for t in terms if t.driver is not None and t.window.shift]
    main = min(moving or terms, key=lambda t: t.window.size).window
    hulls = [hull for o in _samples(terms, shape) if (hull := _hull(terms, o)) is not None]
    if not hulls:  # a transposed convolution may leave positions that see nothing
        return Extent(0, main.stride, main.center, (0, 0), False)
    lo, hi = min(first for first, _ in hulls), max(last for _, last in hulls)
    return Extent(
        size=max(last - first + 1 for first, last in hulls),
        stride=main.stride if moving else 0,
        offset=main.center,
        padding=(max(0, -lo), max(0, hi - size + 1)),
        whole=any(first <= 0 and last >= size - 1 for first, last in hulls),
    )


def _samples(terms: Terms, shape: Shape) -> list[dict[int, int]]:
    """Positions at which the widest and the outermost windows are found: the two ends and the middle, each phase."""
    samples: list[dict[int, int]] = [{}]
    for driver in {t.driver for t in terms if t.driver is not None}:
        count = shape[driver]
        period = max(t.window.period for t in terms if t.driver == driver)
        near = range(min(count, period))
        middle = range(max(0, count // 2 - period), min(count, count // 2 + period + 1))
        chosen = sorted({*near, *(count - 1 - o for o in near), *middle})
        samples = [{**sample, driver: o} for sample in samples for o in chosen]
    return samples


def _hull(terms: Terms, at: dict[int, int]) -> tuple[int, int] | None:
    seen = [window.at(0 if driver is None else at[driver]) for driver, window in terms]
    seen = [indices for indices in seen if indices]
    return (min(i.first for i in seen), max(i.last for i in seen)) if seen else None


__all__ = ["Extent", "Field", "extents", "fields"]
