"""Motions of an input, and the same motion of a layer's map: shift, rotation, scale, for signals, images and volumes.

A position p of the input moves about the input's center. A layer whose output o lies at stride·o + offset in the input
(by its windows) is moved about the same point of the input, by as many of its own positions as that takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from striate.data.augment.move import warp
from striate.errors import InputError
from striate.geometry import Graph, trace
from striate.geometry.fields import fields
from striate.shapes import Bool, Float, Tensor

Kind = Literal["shift", "rotation", "scale"]
Number = int | float | Fraction
# How what comes in from outside is filled, in the words of F.pad and of `warp`; a rotated picture has no other side.
BORDERS = {
    "edge": ("replicate", "edge"),
    "zeros": ("constant", "zeros"),
    "reflect": ("reflect", "reflect"),
    "circular": ("circular", "edge"),
}
UNITS = {"shift": "positions", "rotation": "degrees", "scale": "times"}


@dataclass(frozen=True)
class Place:
    """Where a layer's map lies in the input, axis by axis: output o reads stride·o + lo … stride·o + hi."""

    stride: tuple[Fraction, ...]
    lo: tuple[Fraction, ...]
    hi: tuple[Fraction, ...]

    @cached_property
    def offset(self) -> tuple[float, ...]:
        """The middle of what output 0 reads."""
        return tuple(float(low + high) / 2 for low, high in zip(self.lo, self.hi, strict=True))

    def clear(self, valid: Bool[Tensor, "*space"], sides: Sequence[int]) -> Bool[Tensor, "*sides"]:
        """The outputs that read nothing but valid positions: neither padding nor what was filled in."""
        for axis, side in enumerate(sides):
            parts = []
            for o in range(side):
                first = math.ceil(self.stride[axis] * o + self.lo[axis])
                last = math.floor(self.stride[axis] * o + self.hi[axis])
                inside = first >= 0 and last < valid.shape[axis]
                seen = valid.narrow(axis, first, last - first + 1) if inside else valid.narrow(axis, 0, 1) & False
                parts.append(seen.all(axis))
            valid = torch.stack(parts, axis)
        return valid


@dataclass(frozen=True)
class Motion:
    """`kind` and `amount`: positions along each axis, degrees (counterclockwise, in the last two axes), or times."""

    kind: Kind
    amount: tuple[int, ...] | float

    def image(self, x: Float[Tensor, "n c *space"], border: str) -> Float[Tensor, "n c *space"]:
        """The moved input; a shift is exact, the others interpolate linearly."""
        if isinstance(self.amount, tuple):
            return shifted(x, self.amount, border)
        if self.is_identity:
            return x
        ones = (1.0,) * (x.dim() - 2)
        return turned_about(x, self._matrix(ones), (0.0,) * len(ones), BORDERS[border][1])

    def on_map(
        self, y: Float[Tensor, "n c *space"], place: Place, space: Sequence[int], border: str
    ) -> Float[Tensor, "n c *space"]:
        """The motion on a layer's map of an input with sides `space`; between whole positions it is interpolated."""
        if isinstance(self.amount, tuple):
            own = [by / stride for by, stride in zip(self.amount, place.stride, strict=True)]
            return between(y, own, border if border == "circular" else "zeros")
        if self.is_identity:
            return y
        steps = [float(stride) for stride in place.stride]
        sides = y.shape[2:]
        center = [
            ((length - 1) / 2 - offset) / step - (side - 1) / 2
            for length, offset, step, side in zip(space, place.offset, steps, sides, strict=True)
        ]
        return turned_about(y, self._matrix(steps), center, "zeros")

    def valid(self, space: Sequence[int], border: str) -> Bool[Tensor, "*space"]:
        """Where the moved input shows the input itself, not the filling."""
        ones = torch.ones(1, 1, *space)
        if isinstance(self.amount, tuple):
            return shifted(ones, self.amount, border if border == "circular" else "zeros")[0, 0] > 0.5
        return self.image(ones, "zeros")[0, 0] > 0.999

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        if isinstance(self.amount, tuple):
            return not any(self.amount)
        return self.amount == (1.0 if self.kind == "scale" else 0.0)

    @property
    def number(self) -> float:
        """What stands on an axis of a plot: the longest of a shift's parts, degrees, or times."""
        return float(max(self.amount, key=abs)) if isinstance(self.amount, tuple) else self.amount

    def __str__(self) -> str:
        number = ",".join(map(str, self.amount)) if isinstance(self.amount, tuple) else f"{self.amount:g}"
        return f"{self.kind} {number}"

    def _matrix(self, steps: Sequence[float]) -> Float[Tensor, "r r"]:
        """Where each output position is read, along the axes of an array whose positions are `steps` apart."""
        assert isinstance(self.amount, float)
        matrix = torch.eye(len(steps), dtype=torch.float64)
        if self.kind == "scale":
            return matrix / self.amount
        angle = math.radians(self.amount)
        # Read clockwise to turn counterclockwise; rows grow downwards.
        matrix[-2:, -2:] = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
        step = torch.tensor(list(steps), dtype=torch.float64)
        return matrix * step / step[:, None]


def shifted(x: Float[Tensor, "n c *space"], by: Sequence[int], border: str = "edge") -> Float[Tensor, "n c *space"]:
    """x moved by whole positions, one number for each axis: y(p) = x(p - by), exactly.

    `border` says what comes in: circular, edge, zeros or reflect. Raises InputError for another, and where the shift is
    longer than what can be reflected.

    >>> shifted(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), [1]).tolist()
    [[[1.0, 1.0, 2.0, 3.0]]]
    """
    _check_border(border)
    if border == "circular":
        return x.roll(tuple(by), tuple(range(2, x.dim())))
    for axis, (step, side) in enumerate(zip(by, x.shape[2:], strict=True), 2):
        if border == "reflect" and abs(step) >= side:
            raise InputError("too far to reflect", expected=f"a shift below {side}", got=step, fix="Use border='edge'.")
        if step:
            step = max(-side, min(side, step))
            pads = [0] * (2 * (x.dim() - 2))
            pads[2 * (x.dim() - 1 - axis) + (step < 0)] = abs(step)
            x = F.pad(x, pads, mode=BORDERS[border][0]).narrow(axis, 0 if step > 0 else -step, side)
    return x


def between(x: Float[Tensor, "n c *space"], by: Sequence[Number], border: str) -> Float[Tensor, "n c *space"]:
    """`shifted` by any number of positions: between two whole shifts, linear; exact where they are whole."""
    for axis, amount in enumerate(by):
        whole = math.floor(amount)
        part = float(amount - whole)
        steps = [0] * len(by)
        steps[axis] = whole
        near = shifted(x, steps, border)
        if part:
            steps[axis] += 1
            near = (1 - part) * near + part * shifted(x, steps, border)
        x = near
    return x


def turned_about(
    x: Float[Tensor, "n c *space"], matrix: Float[Tensor, "r r"], center: Sequence[float], mode: str
) -> Float[Tensor, "n c *space"]:
    """Each output position p read at matrix (p - center) + center, both from the middle of x, axis by axis."""
    middle = torch.tensor(list(center), dtype=torch.float64)
    whole = torch.cat([matrix, (middle - matrix @ middle)[:, None]], 1)
    # The axes of `warp` are x, y, z: the last one of an array first.
    flipped = torch.cat([whole[:, :-1].flip(0, 1), whole[:, -1:].flip(0)], 1)
    return warp(x, flipped.to(x).expand(len(x), -1, -1), mode)


def places(model: nn.Module, x: Float[Tensor, "n c *space"], paths: Sequence[str]) -> dict[str, Place | None]:
    """Where the map of each layer lies in the input, read off the traced network; None for what is no map of it.

    No map: a vector, a single position, a layer that sees all at once, one whose positions lie at several strides.
    Raises InputError where the network cannot be traced (see `striate.geometry.trace`).
    """
    graph = trace(model, x[:1])
    seen = fields(graph, next(iter(graph.inputs.values())))
    return {path: _place(graph, seen, path, x.dim()) for path in paths}


def _place(graph: Graph, seen: Sequence[object], path: str, axes: int) -> Place | None:
    index = graph.outputs[0] if not path else graph.modules.get(path)
    field = None if index is None else seen[index]
    if field is None or len(shape := graph.values[index].shape) != axes or max(shape[2:]) == 1:  # type: ignore[index]
        return None
    windows = []
    for number, terms in enumerate(field.axes):  # type: ignore[attr-defined]
        if len(terms) != 1 or terms[0].driver != 2 + number or not terms[0].window.shift:
            return None
        windows.append(terms[0].window)
    return Place(*(tuple(Fraction(getattr(w, end)) for w in windows) for end in ("stride", "lo", "hi")))


def _check_border(border: str) -> None:
    if border not in BORDERS:
        raise InputError("unknown border", expected=", ".join(BORDERS), got=repr(border))
