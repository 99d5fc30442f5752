"""Convolutions, norms and linear layers on windows.

A convolution is done in the form that costs least: "difference", in which only changed inputs meet the weights (as a
convolution with full padding, or as one matrix product whose results are added where they belong); or "recompute",
in which affected outputs are computed from all that they see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from striate.locality.patch.local import Base, Local, others
from striate.locality.patch.place import Place, trimmed
from striate.locality.patch.rules.base import Call, nth, rule
from striate.locality.patch.rules.linear import product

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
# Windows of a series shorter than this cost less as a matrix product than as a convolution.
NARROW = 16
# The results of a matrix product that is added up: they stay in the cache.
BLOCK_BYTES = 8 << 20
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Slide(NamedTuple):
    """A window of a convolution or pooling on one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def reach(self) -> int:
        """From the first tap to the last."""
        return self.dilation * (self.kernel - 1)


def slides(kernel: Sequence[int], stride: Any, padding: Any, dilation: Any) -> list[Slide]:
    """For each axis."""
    return [Slide(size, nth(stride, axis), nth(padding, axis), nth(dilation, axis)) for axis, size in enumerate(kernel)]


def affected(place: Place, moved: Sequence[Slide], space: Sequence[int]) -> Place:
    """The outputs, on a map of this size, that read these inputs."""
    stride, padding, reach = (np.asarray([getattr(m, k) for m in moved]) for k in ("stride", "padding", "reach"))
    first = -((-(place.starts + padding - reach)) // stride)
    last = (place.last + padding) // stride
    return Place.clipped(first, last, space)


def read(place: Place, moved: Sequence[Slide]) -> Place:
    """What these outputs read; it may reach beyond the map."""
    stride, padding = np.asarray([m.stride for m in moved]), np.asarray([m.padding for m in moved])
    sizes = [m.stride * (size - 1) + m.reach + 1 for m, size in zip(moved, place.sizes, strict=True)]
    return Place(place.starts * stride - padding, sizes)


def along(local: Local, rank: int) -> list[int] | None:
    """Which of the last `rank` axes of the tensor windows lie along; None where they lie elsewhere, too."""
    first = local.dim() - rank
    return [axis - first for axis in local.axes] if min(local.axes) >= first else None


@rule("convolution")
def convolution(call: Call) -> Any:
    """Convolution and transposed convolution, any rank."""
    x, weight, bias = call.x, call["weight"], call["bias"]
    rank = weight.dim() - 2
    where = along(x, rank) if isinstance(x, Local) else None
    if where is None or isinstance(weight, Local) or isinstance(bias, Local) or x.dim() != rank + 2:
        return NotImplemented
    every = slides(weight.shape[2:], call["stride"], call["padding"], call["dilation"])
    if call["transposed"] and turns(every, call["groups"]):
        turned = call.keep("turned", lambda: weight.flip(*range(2, weight.dim())).transpose(0, 1).contiguous())
        every = [slide._replace(padding=slide.reach - slide.padding) for slide in every]
        return Convolution(call, turned, bias, every, where).done()
    if call["transposed"]:
        return _transposed(call, weight, every, where)
    call.run.memory.convolutions.add(call.number)
    return Convolution(call, *weights(call, weight, bias), every, where).done()


def turns(every: Sequence[Slide], groups: int) -> bool:
    """Whether a transposed convolution is one with the weights turned around: with stride 1."""
    return groups == 1 and all(s.stride == 1 and s.padding <= s.reach for s in every)


def weights(call: Call, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Those of a convolution, with the batch norm that follows it folded in."""
    memory = call.run.memory
    if call.number not in memory.folded:
        return weight, bias
    norm = memory.norms[memory.folded[call.number]]

    def folded() -> tuple[torch.Tensor, torch.Tensor]:
        shift = norm.shift if bias is None else norm.shift + bias * norm.scale
        return weight * norm.scale.view(-1, *[1] * (weight.dim() - 1)), shift

    made: tuple[torch.Tensor, torch.Tensor] = call.keep("folded", folded)
    return made


class Convolution:
    """A convolution of windows, in one of its forms."""

    def __init__(
        self, call: Call, weight: torch.Tensor, bias: torch.Tensor | None, every: list[Slide], where: list[int]
    ) -> None:
        self.call, self.x, self.weight, self.bias, self.every, self.where = call, call.x, weight, bias, every, where
        self.groups: int = call["groups"]
        self.base = self._base()
        self.moved = [every[axis] for axis in where]
        assert self.x.place is not None
        self.place: Place = self.x.place
        self.out = affected(self.place, self.moved, self.base.space(self.x.axes))
        self.aside = math.prod(
            size for axis, size in enumerate(self.base.value.shape[2:]) if axis not in where
        )  # positions along axes without windows

    def _base(self) -> Base:
        """What the convolution gives for the unchanged input, with the batch norm that is folded in."""
        call = self.call
        norm = call.run.memory.norms.get(call.run.memory.folded.get(call.number, -1))
        if norm is None:
            return call.bases()[0]
        kept = call.run.memory.bases
        if (call.number, "normed") not in kept:
            form = (-1, *[1] * len(self.every))
            value = call.bases()[0].value * norm.scale.view(form) + norm.shift.view(form)
            kept[call.number, "normed"] = [Base(value)]
        return kept[call.number, "normed"][0]

    def _key(self, name: str) -> tuple[str, bool]:
        return name, self.call.number in self.call.run.memory.folded

    def done(self) -> Local:
        """In the cheapest form."""
        x, each = self.x, self.weight.numel()
        plain = all(m.stride == 1 for m in self.moved)
        dots = all(s.kernel == 1 and s.stride == 1 and s.padding == 0 for s in self.every)
        full_cells = math.prod(self.base.value.shape[2:])
        if dots and self.groups == 1:
            form, cells, made = "pointwise", self.place.cells, self._dots()
        elif self.call.run.hot and x.full is not None:
            form, cells, made = "recompute", self.out.cells, self._recompute()
        elif plain and (x.delta is not None or (self.groups == 1 and self.place.cells < self.out.cells)):
            form, cells, made = "difference", self.place.cells, self._difference()
        else:
            form, cells, made = "recompute", self.out.cells, self._recompute()
        return self.call.note(form, made, cells * self.aside, full_cells, each)

    def _dots(self) -> Local:
        """1x1: a matrix product for what is held, values or differences."""
        x = self.x
        data, bias = (x.held, self.bias if x.full is not None else None)
        order = _channels_last(x)
        rows = data if order is None else data.permute(order)
        made = product(rows.reshape(-1, self.weight.shape[1]), self.weight.flatten(1), bias)
        made = made.view(*rows.shape[:-1], -1)
        made = made if order is None else made.permute([order.index(axis) for axis in range(len(order))]).contiguous()
        return self.call.alike(x, self.place, made, base=self.base)

    def _difference(self) -> Local:
        """Stride 1: what the changed inputs give, at the outputs that they reach."""
        delta = self.x.differences_at(self.place)
        reach, padding = (np.asarray([getattr(m, k) for m in self.moved]) for k in ("reach", "padding"))
        first = self.place.starts + padding - reach  # the outputs that the first of them reaches
        if self.place.sizes[0] < NARROW and len(self.every) == 1 == self.groups and delta.device.type == "cpu":
            made, cut = self._scattered(delta), reach * 0
        else:
            # Outputs that no change of the chunk needs are left out, as many on both sides as padding can.
            after = first + np.asarray(self.place.sizes) + reach - 1 - self.out.last
            cut = np.clip(np.minimum(self.out.starts - first, after).min(0), 0, reach)
            around = {axis: m.reach - int(c) for axis, m, c in zip(self.where, self.moved, cut, strict=True)}
            settings = [around.get(axis, s.padding) for axis, s in enumerate(self.every)]
            strides = [1 if axis in self.where else s.stride for axis, s in enumerate(self.every)]
            made = self._run(delta, strides, settings, None)
        there = Place(first + cut, made.shape[1 : 1 + len(cut)])
        return self.call.give(self.out, base=self.base, delta=trimmed(made, there, self.out))

    def _scattered(self, delta: torch.Tensor) -> torch.Tensor:
        """One axis: a matrix product with the weights of all taps at once, whose results are added up."""
        (slide,) = self.every
        n, w, c = delta.shape
        taps = self.call.keep(self._key("taps"), lambda: self.weight.permute(2, 0, 1).reshape(-1, c).contiguous())
        total = delta.new_zeros(n, w + slide.reach, len(taps) // slide.kernel)
        few = max(1, BLOCK_BYTES // (w * len(taps) * delta.element_size()))
        for begin in range(0, n, few):
            part = total[begin : begin + few]
            made = product(delta[begin : begin + few].reshape(-1, c), taps, None)
            made = made.view(len(part), w, slide.kernel, -1)
            for tap in range(slide.kernel):
                at = slide.dilation * (slide.kernel - 1 - tap)
                part[:, at : at + w] += made[:, :, tap]
        return total

    def _recompute(self) -> Local:
        """All that the affected outputs see."""
        x, bias = self.x, self.bias
        seen = read(self.out, self.moved)
        strides = [s.stride for s in self.every]
        settings = [0 if axis in self.where else s.padding for axis, s in enumerate(self.every)]
        data, bias = (x.values_at(seen), bias) if x.full is not None else (x.differences_at(seen), None)
        return self.call.alike(x, self.out, self._run(data, strides, settings, bias), base=self.base)

    def _run(
        self, data: torch.Tensor, stride: list[int], padding: list[int], bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The convolution itself; data and result are (n, *window, *other axes)."""
        dilation = [s.dilation for s in self.every]
        weight = self.call.keep(self._key("weight"), lambda: channels_last(self.weight))
        x = self.x.logical(data)
        made = convolve(x, weight, bias, stride, padding, dilation, self.groups)
        return made.permute(0, *self.x.axes, *others(x.dim(), self.x.axes)).contiguous()


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """torch's; on a CPU a series is a row of an image, which is much faster, with `channels_last` weights."""
    if x.dim() == 3 and x.device.type == "cpu":
        row = x[:, :, None]
        row = row.contiguous(memory_format=torch.channels_last)
        return F.conv2d(row, weight, bias, (1, *stride), (0, *padding), (1, *dilation), groups)[:, :, 0]
    return CONVOLVE[x.dim() - 2](x, weight, bias, stride, padding, dilation, groups)


def _channels_last(x: Local) -> list[int] | None:
    """The permutation of what is held that brings the channels (axis 1) last; None where they are."""
    order = [0, *x.axes, *others(x.dim(), x.axes)]
    at = order.index(1)
    return None if at == len(order) - 1 else [i for i in range(len(order)) if i != at] + [at]


def channels_last(t: torch.Tensor) -> torch.Tensor:
    """The same tensor with its channels together in memory (1-D kernels: as those of one row)."""
    if t.dim() == 3:
        t = t[:, :, None] if t.device.type == "cpu" else t
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return t.contiguous(memory_format=formats[t.dim()]) if t.dim() in formats else t.contiguous()


def _transposed(call: Call, weight: torch.Tensor, every: list[Slide], where: list[int]) -> Any:
    """Each changed input spreads over its window of outputs: linear, so differences suffice."""
    x = call.x
    base = call.bases()[0]
    assert x.place is not None
    moved = [every[axis] for axis in where]
    delta = x.logical(x.differences_at(x.place))
    padding = [0 if axis in where else s.padding for axis, s in enumerate(every)]
    more = [0 if axis in where else nth(call["output_padding"], axis) for axis in range(len(every))]
    strides, dilation = [s.stride for s in every], [s.dilation for s in every]
    made = TRANSPOSED[len(every)](delta, weight, None, strides, padding, more, call["groups"], dilation)
    starts = x.place.starts * np.asarray([m.stride for m in moved]) - np.asarray([m.padding for m in moved])
    made = made.permute(0, *x.axes, *others(x.dim(), x.axes)).contiguous()
    first = Place(starts, made.shape[1 : 1 + len(where)])
    there = Place.clipped(starts, first.last, base.space(x.axes))
    out = call.give(there, delta=trimmed(made, first, there), base=base)
    aside = math.prod(size for axis, size in enumerate(x.shape[2:]) if axis not in where)
    return call.note("difference", out, x.place.cells * aside, math.prod(x.shape[2:]), weight.numel())


def dense_convolution(call: Call, x: torch.Tensor, weight: torch.Tensor, bias: Any, *settings: Any) -> torch.Tensor:
    stride, padding, dilation, transposed, _, groups = settings
    every = slides(weight.shape[2:], stride, padding, dilation)
    if transposed and turns(every, groups) and not any(isinstance(call[k], Local) for k in ("weight", "bias")):
        turned = call.keep("dense turned", lambda: channels_last(weight.flip(*range(2, weight.dim())).transpose(0, 1)))
        around = [slide.reach - slide.padding for slide in every]
        return convolve(x, turned, bias, stride, around, dilation, groups)
    if (
        transposed
        or isinstance(call["weight"], Local)
        or isinstance(call["bias"], Local)
        or not isinstance(call.x, Local)
    ):
        return torch.convolution(x, weight, bias, *settings)
    call.run.memory.convolutions.add(call.number)
    weight, bias = weights(call, weight, bias)
    name = "dense weight", call.number in call.run.memory.folded
    return convolve(x, call.keep(name, lambda: channels_last(weight)), bias, stride, padding, dilation, groups)
