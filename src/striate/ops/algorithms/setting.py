"""One cross-correlation as numbers: what every algorithm, its cost and the choice between them read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F

from striate.shapes import Float, Num, Tensor


class Setting(NamedTuple):
    """How the window moves: zeros (before, after) each axis; a negative number takes places away."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def plain(self) -> bool:
        """Whether the window moves one place at a time and has no holes."""
        return all(s == d == 1 for s, d in zip(self.stride, self.dilation, strict=True))


class Problem(NamedTuple):
    """Shapes of input (items, channels, *space) and kernel (fields, depth, *window), with the setting."""

    items: int
    space: tuple[int, ...]
    fields: int
    depth: int
    window: tuple[int, ...]
    setting: Setting

    @property
    def channels(self) -> int:
        return self.depth * self.setting.groups

    @property
    def output(self) -> tuple[int, ...]:
        return output_space(self.space, self.window, self.setting)

    @property
    def taps(self) -> int:
        return math.prod(self.window)

    @property
    def macs(self) -> int:
        return self.items * self.fields * math.prod(self.output) * self.depth * self.taps

    @property
    def moved(self) -> int:
        """Numbers read and written once: input, output and kernel."""
        return (
            self.items * (self.channels * math.prod(self.space) + self.fields * math.prod(self.output))
            + self.fields * self.depth * self.taps
        )

    @property
    def kind(self) -> str:
        """What a library's speed depends on first: how channels meet, and whether the window is wide.

        oneDNN's fast kernels end at windows of 13 places where channels do not meet, and of 17 where they do.
        """
        if self.taps == 1:
            return "pointwise"
        if self.setting.groups > 1:
            kind = "depthwise" if self.depth == 1 else "grouped"
        elif self.fields <= 4:
            kind = "few" if self.channels <= 4 else "few fields"
        else:
            kind = "few channels" if self.channels <= 4 else "dense"
        return f"wide {kind}" if max(self.window) > (13 if self.depth == 1 else 17) else kind


def problem_of(x: Tensor, kernel: Tensor, setting: Setting) -> Problem:
    """The shapes of a call."""
    return Problem(x.shape[0], tuple(x.shape[2:]), kernel.shape[0], kernel.shape[1], tuple(kernel.shape[2:]), setting)


def spans(window: Sequence[int], setting: Setting) -> tuple[int, ...]:
    """Places from the first to the last that a dilated window reads, along each axis."""
    return tuple(d * (k - 1) + 1 for d, k in zip(setting.dilation, window, strict=True))


def output_space(space: Sequence[int], window: Sequence[int], setting: Setting) -> tuple[int, ...]:
    """Number of window positions along each axis."""
    return tuple(
        (size + sum(pad) - span) // s + 1
        for size, pad, span, s in zip(space, setting.padding, spans(window, setting), setting.stride, strict=True)
    )


def pad(x: Float[Tensor, "n c *space"], padding: Sequence[tuple[int, int]]) -> Float[Tensor, "n c *padded"]:
    """Zeros before and after each axis; x itself where there are none."""
    if not any(any(pair) for pair in padding):
        return x
    x = F.pad(x, [max(0, amount) for pair in reversed(padding) for amount in pair])
    if all(min(pair) >= 0 for pair in padding):
        return x
    # Taken away last: more than there are places may go on one side where zeros come on the other.
    kept = [slice(-min(0, b), size + min(0, a)) for size, (b, a) in zip(x.shape[2:], padding, strict=True)]
    return part(x, kept)


def part(x: Num[Tensor, "*lead_space"], along: Sequence[slice]) -> Num[Tensor, "*lead_part"]:
    """A part of x along its last axes."""
    index: tuple[Any, ...] = (..., *along)
    return x[index]


def spread(y: Num[Tensor, "n c *space"], steps: Sequence[int]) -> Num[Tensor, "n c *wide"]:
    """Zeros between neighbors, so that they lie `steps` apart along each axis: 12 -> 102 at step 2."""
    if all(step == 1 for step in steps):
        return y
    sizes = [max(0, (size - 1) * step + 1) for size, step in zip(y.shape[2:], steps, strict=True)]
    wide = y.new_zeros([*y.shape[:2], *sizes])
    part(wide, [slice(None, None, step) for step in steps]).copy_(y)
    return wide


def flipped(kernel: Float[Tensor, "k c *window"], groups: int) -> Float[Tensor, "channels fields *window"]:
    """The kernel of the adjoint: every window turned around, input and output channels of each group exchanged."""
    turned = kernel.flip(tuple(range(2, kernel.ndim)))
    return turned.view(groups, -1, *kernel.shape[1:]).transpose(1, 2).flatten(0, 1)


def adjoint_setting(space: Sequence[int], window: Sequence[int], setting: Setting) -> Setting:
    """The setting in which the adjoint of a correlation is itself a correlation, of the spread-out output."""
    padding = []
    for size, span, steps, stride, (before, _) in zip(
        space,
        spans(window, setting),
        output_space(space, window, setting),
        setting.stride,
        setting.padding,
        strict=True,
    ):
        front = span - 1 - before
        padding.append((front, size + span - 1 - ((steps - 1) * stride + 1) - front))
    return Setting((1,) * len(window), tuple(padding), setting.dilation, setting.groups)


def adjoint_problem(problem: Problem) -> Problem:
    """The adjoint of a problem as a correlation over the spread-out output."""
    groups = problem.setting.groups
    wide = tuple((size - 1) * s + 1 for size, s in zip(problem.output, problem.setting.stride, strict=True))
    setting = adjoint_setting(problem.space, problem.window, problem.setting)
    return Problem(problem.items, wide, problem.channels, problem.fields // groups, problem.window, setting)
