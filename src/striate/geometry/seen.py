"""What one unit of a network sees of its input, position by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.errors import InputError
from striate.geometry.fields import Field, fields
from striate.geometry.graph import Graph, Node, Value
from striate.geometry.reading import hull
from striate.geometry.words import by

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Seen:
    """What a unit sees of the first input, along its spatial axes.

    `mask` marks the positions; `hull` are their first and last on each axis, None where there are none; `nominal` the
    same not clipped to the input, padding included; `center` is the middle of the window that moves with the unit.
    """

    unit: tuple[int, ...]
    mask: NDArray[np.bool_]
    hull: Spans | None
    nominal: Spans
    center: tuple[float, ...]


def seen_by(graph: Graph, layer: int | str | Node, unit: Sequence[int] | None = None) -> Seen:
    """What the unit at this position of a layer sees, in any of its channels; by default the middle unit.

    Raises InputError for a layer or unit that is not there, and for a layer that does not depend on the first input.
    """
    value, start = graph.find(layer), graph.values[next(iter(graph.inputs.values()))]
    space = value.shape[2:]
    at = tuple(size // 2 for size in space) if unit is None else tuple(unit)
    if len(at) != len(space):
        expected = (
            f"{len(space)} numbers for outputs of {by(value.shape[1:])}" if space else "none for a layer without space"
        )
        raise InputError("a unit is named by its position", where=named(graph, value), expected=expected, got=at)
    region = graph.receptive_field(layer, (None, None, *at) if len(value.shape) > 1 else None)
    field = fields(graph, start.index)[value.index]
    if field is None:
        raise InputError("this layer does not depend on the network's first input", got=named(graph, value))
    at = tuple(index % size for index, size in zip(at, space, strict=True))
    mask = np.zeros(start.shape[2:], dtype=bool)
    for box in region:
        mask[np.ix_(*(list(indices) for indices in box[2:]))] = True
    found = hull(region)
    nominal, center = zip(*_windows(field, value, at), strict=True)
    return Seen(at, mask, found and found[2:], nominal, center)


def _windows(field: Field, value: Value, at: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], float]]:
    """For each axis first and last index that is looked at, and the middle."""
    for terms in field.axes:
        seen = []
        for driver, window in terms:
            # Channels may see differently: their first and last stand for all.
            ends = [] if driver is None else [0, value.shape[driver] - 1]
            outputs = [0] if driver is None else [at[driver - 2]] if driver > 1 else ends
            seen += [indices for o in outputs if (indices := window.at(o))]
        moving = [term for term in terms if term.driver is not None and term.window.shift]
        driver, window = min(moving or terms, key=lambda term: term.window.size)
        output = at[driver - 2] if driver is not None and driver > 1 else 0
        span = (min(i.first for i in seen), max(i.last for i in seen)) if seen else (0, -1)
        yield span, float(window.center + window.stride * output)


def named(graph: Graph, value: Value) -> str:
    """A value by what it is the result of: module path, class and operation."""
    node = next((node for node in graph.nodes if value.index in node.outputs), None)
    if node is None:
        return next((name for name, index in graph.inputs.items() if index == value.index), f"value {value.index}")
    return f"{node.path or 'the network itself'} ({node.module}, {node.operation})"
