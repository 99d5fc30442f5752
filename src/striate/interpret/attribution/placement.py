"""Where the units of a layer lie in the input, by their windows, and a coarse map laid out there.

Unit o of a layer sees a window of the input whose middle is offset + stride·o (see `striate.geometry`). Stretching the
layer's map over the input puts it at (o + 1/2)·(input size / units) - 1/2 instead, which is the same only where the
padding happens to be symmetric and no side is rounded: 15.5 pixels off for every unit of a ResNet's last maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from striate.errors import InputError
from striate.geometry.fields import Field, fields
from striate.geometry.graph import Graph, Value
from striate.ops import resize
from striate.shapes import Float, Tensor

Reals = tuple[float, ...]


@dataclass(frozen=True)
class Placement:
    """Where the units of a grid lie in the input; each tuple has an entry for each axis of the input.

    `drivers`: the axis of the grid along which the units move. `offset`: the middle of the window of unit 0, in
    positions of the input. `stride`: how far it moves from one unit to the next. `size`: length of the window.
    `problem`: why the windows are not known, so that the grid is stretched over the input; mostly nothing.

    >>> conv = Placement((3,), (8,), (0,), (1.5,), (2.0,), (4,))  # windows 0..3, 2..5, 4..7
    >>> conv.spread(torch.tensor([0.0, 2.0, 4.0]))
    tensor([0.0000, 0.0000, 0.5000, 1.5000, 2.5000, 3.5000, 3.0000, 1.0000])
    """

    grid: tuple[int, ...]
    space: tuple[int, ...]
    drivers: tuple[int, ...]
    offset: Reals
    stride: Reals
    size: tuple[int, ...]
    problem: str = ""

    @classmethod
    def stretched(cls, grid: Sequence[int], space: Sequence[int], problem: str) -> Placement:
        """The grid over the whole input, as images are resized. Raises InputError where the numbers of axes differ."""
        grid, space = tuple(grid), tuple(space)
        if len(grid) != len(space):
            raise InputError(
                "the layer's map does not fit over the input",
                expected=f"{len(space)} spatial axes",
                got=f"{len(grid)} {grid}",
                fix="Choose another layer.",
            )
        ratios = tuple(side / units for side, units in zip(space, grid, strict=True))
        offset = tuple((ratio - 1) / 2 for ratio in ratios)
        return cls(grid, space, tuple(range(len(grid))), offset, ratios, space, problem)

    @classmethod
    def of(cls, graph: Graph, value: Value, space: Sequence[int]) -> Placement:
        """By the windows of a value on the first input; stretched where they are not known, which `problem` says."""
        grid, space = value.shape[2:], tuple(space)
        field = fields(graph, next(iter(graph.inputs.values())))[value.index]
        found = _axes(field, grid)
        if isinstance(found, str):
            return cls.stretched(grid, space, found)
        drivers, offset, stride, size = zip(*found, strict=True)
        return cls(grid, space, drivers, offset, stride, size)

    @property
    def displacement(self) -> Reals:
        """For each axis of the input, how many positions stretching puts a unit off its window's middle, at most."""
        worst = []
        for axis, (offset, stride) in enumerate(zip(self.offset, self.stride, strict=True)):
            units, side = self.grid[self.drivers[axis]], self.space[axis]
            naive = ((o + 0.5) * side / units - 0.5 for o in range(units))
            worst.append(max(abs(offset + stride * o - place) for o, place in enumerate(naive)))
        return tuple(worst)

    def spread(self, scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Scores (*outputs, *grid) over the input (*outputs, *space): each unit a hat, one stride wide to either side,
        at the middle of its window: linear between the middles, fading beyond the outermost; NaN where no unit looks.

        Stretched where the windows are not known.
        """
        if self.problem:
            return resized(scores, self.space)
        outputs = scores.shape[: scores.dim() - len(self.grid)]
        first = len(outputs)
        axes = [*range(first), *(first + driver for driver in self.drivers)]
        scores = scores.permute(*axes, *(a for a in range(scores.dim()) if a not in axes))
        scores = scores.reshape(*outputs, *(self.grid[driver] for driver in self.drivers))  # what is left out is 1 long
        for axis in range(len(self.space)):
            weights = self._weights(axis).to(scores)
            scores = (scores.movedim(first + axis, -1) @ weights.T).movedim(-1, first + axis)
        return scores

    def _weights(self, axis: int) -> Float[Tensor, "side units"]:
        """How much of each unit a position of the input gets."""
        units, stride, offset = self.grid[self.drivers[axis]], self.stride[axis], self.offset[axis]
        places = torch.arange(self.space[axis], dtype=torch.float64)
        unit = ((places - offset) / stride)[:, None]
        weights = (1 - (torch.arange(units) - unit).abs() / max(1.0, 1 / abs(stride))).clamp_min(0)
        weights /= weights.sum(1, keepdim=True).clamp_min(1)  # units that lie closer than positions are averaged
        ends = sorted((offset, offset + stride * (units - 1)))
        reach = (self.size[axis] - 1) / 2
        weights[(places < ends[0] - reach) | (places > ends[1] + reach)] = torch.nan
        return weights

    def json(self) -> dict[str, Any]:
        """As plain types."""
        how = {"placed_by": "stretching", "because": self.problem} if self.problem else {"placed_by": "windows"}
        return {**how, "offset": list(self.offset), "stride": list(self.stride), "window": list(self.size)}


def resized(scores: Float[Tensor, "..."], space: Sequence[int]) -> Float[Tensor, "..."]:
    """Scores (*outputs, *grid) stretched over (*outputs, *space), as images are resized."""
    outputs = scores.shape[: scores.dim() - len(space)]
    return resize(scores.reshape(1, -1, *scores.shape[len(outputs) :]), space).reshape(*outputs, *space)


def _axes(field: Field | None, grid: tuple[int, ...]) -> list[tuple[int, float, float, int]] | str:
    """For each axis of the input: the axis of the grid that moves the window, its offset, stride and size; or why they
    are not known."""
    if field is None:
        return "the layer does not depend on the network's first input"
    found: list[tuple[int, float, float, int]] = []
    for number, terms in enumerate(field.axes):
        moving = [term for term in terms if term.driver is not None and term.driver > 1 and term.window.shift]
        if not moving:
            return f"along axis {number + 2} of the input all units of the layer see the same (a global operation)"
        driver, window = min(moving, key=lambda term: term.window.size)
        assert driver is not None
        if driver in field.loose:
            return f"along axis {number + 2} of the input only a bound of what a unit sees is known"
        found.append((driver - 2, float(window.center), float(window.stride), window.size))
    drivers = [driver for driver, *_ in found]
    if len(set(drivers)) < len(drivers):
        return "one axis of the layer moves the window along several axes of the input"
    if any(side > 1 for axis, side in enumerate(grid) if axis not in drivers):
        return "the layer has axes that move no window"
    return found
