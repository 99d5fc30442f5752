"""Pooling and upsampling of windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from striate.locality.operations import arguments
from striate.locality.patch.local import Base, absent
from striate.locality.patch.place import Place, trimmed
from striate.locality.patch.rules.base import Call, rule
from striate.locality.patch.rules.convolutions import Slide, affected, along, read, slides
from striate.locality.patch.rules.pointwise import held

AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _rank(call: Call) -> int:
    return int(call.name.partition("pool")[2][0])


def _kernel(call: Call, rank: int) -> list[int]:
    kernel = call["kernel_size"]
    return [int(kernel[min(axis, len(kernel) - 1)]) for axis in range(rank)]


@rule("max_pool1d max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices")
def max_pool(call: Call) -> Any:
    """The greatest of all that the affected outputs see; padding is below every number."""
    x, rank = call.x, _rank(call)
    where = along(x, rank) if x.flattened is None else None
    if where is None:
        return NotImplemented
    kernel = _kernel(call, rank)
    every = slides(kernel, call["stride"] or kernel, call["padding"], call["dilation"])
    if len(where) < rank and any(s != (1, 1, 0, 1) for axis, s in enumerate(every) if axis not in where):
        return NotImplemented
    base = call.bases()
    moved = [every[axis] for axis in where]
    assert x.place is not None
    out = affected(x.place, moved, base[0].space(x.axes))
    lowest = -math.inf if x.dtype.is_floating_point else torch.iinfo(x.dtype).min
    made = x.values_at(read(out, moved), lowest)
    for number, slide in enumerate(moved):
        made = _greatest(made, 1 + number, slide, out.sizes[number])
    result = call.note("values", call.give(out, full=made, base=base[0]))
    return (result, absent(call.run, base[1].value, call.number)) if call.name.endswith("indices") else result


def _greatest(data: torch.Tensor, axis: int, slide: Slide, size: int) -> torch.Tensor:
    """The greatest of each window along one axis: the maximum over a box is that of its axes in turn."""
    span = slide.stride * (size - 1) + 1
    taps = [
        data[(*[slice(None)] * axis, slice(slide.dilation * tap, slide.dilation * tap + span, slide.stride))]
        for tap in range(slide.kernel)
    ]
    if len(taps) == 1:
        return taps[0].contiguous()
    made = torch.maximum(taps[0], taps[1])
    for tap in taps[2:]:
        torch.maximum(made, tap, out=made)
    return made


@rule("avg_pool1d avg_pool2d avg_pool3d")
def avg_pool(call: Call) -> Any:
    """Linear: the mean of differences; near the border, where fewer are averaged, of as many."""
    x, rank = call.x, _rank(call)
    where = along(x, rank) if x.flattened is None and x.dim() == rank + 2 else None
    if where is None:
        return NotImplemented
    kernel = _kernel(call, rank)
    every = slides(kernel, call["stride"] or kernel, call["padding"], 1)
    base = call.bases()[0]
    moved = [every[axis] for axis in where]
    assert x.place is not None
    out = affected(x.place, moved, base.space(x.axes))
    there = read(out, moved)
    seen = x.logical(x.values_at(there) if x.full is not None else x.differences_at(there))
    padding = [0 if axis in where else s.padding for axis, s in enumerate(every)]
    sums = AVERAGE[rank](seen, kernel, [s.stride for s in every], padding) * math.prod(kernel)

    def shares() -> Base:
        """One over the number that each output divides by."""
        ones = torch.ones_like(x.base.value[:, :1])
        taken = AVERAGE[rank](
            F.pad(ones, [p for s in reversed(every) for p in (s.padding, s.padding + s.kernel)]),
            kernel,
            [s.stride for s in every],
        ) * math.prod(kernel)
        taken = taken[(slice(None), slice(None), *(slice(size) for size in base.value.shape[2:]))]
        made = call.func(ones, *call.args[1:], **call.kwargs)
        return Base(made / taken)

    share = call.keep("shares", shares)
    weights = share.at(x.axes, out)
    form = "values" if x.full is not None else "difference"
    return call.note(form, call.alike(x, out, held(sums, x.axes) * weights, base=base))


@rule("upsample_nearest1d upsample_nearest2d upsample_nearest3d")
def nearest(call: Call) -> Any:
    """Every position becomes a block, where the factor is a whole number."""
    x = call.x
    base = call.bases()[0]
    factors = [out // size for out, size in zip(base.value.shape[2:], x.shape[2:], strict=True)]
    if not _even(call, x.shape[2:], base.value.shape[2:]) or min(x.axes) < 2:
        return NotImplemented
    assert x.place is not None
    by = np.asarray([factors[axis - 2] for axis in x.axes])
    made = x.logical(x.held)
    for axis, factor in enumerate(factors):
        made = made.repeat_interleave(factor, 2 + axis)
    place = Place(x.place.starts * by, (np.asarray(x.place.sizes) * by).tolist())
    return call.note("values", call.alike(x, place, held(made, x.axes), base=base))


@rule("upsample_linear1d upsample_bilinear2d upsample_trilinear3d")
def linear(call: Call) -> Any:
    """Interpolation by whole factors: of differences, with a margin that their own edges do not reach."""
    x = call.x
    base = call.bases()[0]
    sizes = base.value.shape[2:]
    factors = [out // size for out, size in zip(sizes, x.shape[2:], strict=True)]
    if call["align_corners"] or not _even(call, x.shape[2:], sizes) or min(x.axes) < 2:
        return NotImplemented
    assert x.place is not None
    by = np.asarray([factors[axis - 2] for axis in x.axes])
    # Interpolation clamps at its edges: two more positions around, of which the outer is cut off again.
    wide = Place(x.place.starts - 2, [size + 4 for size in x.place.sizes])
    delta = x.logical(_clamped(x.differences_at(wide), wide, x.space))
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
    made = held(F.interpolate(delta, scale_factor=[float(f) for f in factors], mode=mode), x.axes)
    first = Place(wide.starts * by, (np.asarray(wide.sizes) * by).tolist())
    out = Place.clipped((x.place.starts - 1) * by, (x.place.last + 2) * by - 1, base.space(x.axes))
    return call.note("difference", call.give(out, base=base, delta=trimmed(made, first, out)))


@rule("replication_pad1d replication_pad2d replication_pad3d reflection_pad1d reflection_pad2d reflection_pad3d")
def border_pad(call: Call) -> Any:
    """The edge repeated or mirrored: windows near it grow to hold their images."""
    x, rank = call.x, int(call.name[-2])
    pads = [tuple(call["padding"][2 * axis : 2 * axis + 2]) for axis in reversed(range(rank))]
    where = along(x, rank) if x.flattened is None else None
    if where is None or any(pads[axis] != (0, 0) for axis in range(rank) if axis not in where):
        return NotImplemented
    assert x.place is not None
    base = call.bases()[0]
    low, high = (np.asarray([pads[axis][side] for axis in where]) for side in (0, 1))
    ends = np.asarray(x.space) - 1
    begin, last = x.place.starts, x.place.last
    first, final = begin + low, last + low
    if call.name.startswith("replication"):
        first, final = np.where(begin == 0, 0, first), np.where(last == ends, ends + low + high, final)
    else:
        before, after = (begin <= low) & (last >= 1), (last >= ends - high) & (begin < ends)
        first = np.where(before, np.minimum(first, low - np.minimum(last, low)), first)
        final = np.where(after, np.maximum(final, low + 2 * ends - np.maximum(begin, ends - high)), final)
    out = Place.clipped(first, final, base.space(x.axes))
    sources = []
    for axis, (start, size) in enumerate(zip(out.starts.T, out.sizes, strict=True)):
        at = start[:, None] + np.arange(size) - low[axis]
        if call.name.startswith("reflection"):
            at = ends[axis] - abs(ends[axis] - abs(at))
        sources.append(np.clip(at, 0, ends[axis]))
    lowest, highest = (np.stack([end(at, 1) for at in sources], 1) for end in (np.min, np.max))
    seen = Place.clipped(lowest, highest, x.space)
    made = x.values_at(seen) if x.full is not None else x.differences_at(seen)
    for axis, at in enumerate(sources):
        made = _picked(made, 1 + axis, at - seen.starts[:, axis, None])
    return call.note("values", call.alike(x, out, made, base=base))


def _even(call: Call, before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether an enlargement is by whole factors, also where these are given beside the sizes."""
    names = [name for name, _ in arguments(call.func) if name.startswith("scales")]
    scales = [call[name] for name in names] or [None] * len(before)
    return all(
        out % size == 0 and (scale is None or scale == out // size)
        for size, out, scale in zip(before, after, scales, strict=True)
    )


@rule("_adaptive_avg_pool2d _adaptive_avg_pool3d")
def adaptive(call: Call) -> Any:
    """Means over blocks, where the size is a multiple of that wanted; nothing is done where it is that already."""
    x = call.x
    rank = int(call.name[-2])
    where = along(x, rank) if x.flattened is None and x.dim() == rank + 2 else None
    base = call.bases()[0]
    blocks = [divmod(size, out) for size, out in zip(x.shape[2:], base.value.shape[2:], strict=True)]
    if where is None or any(rest for _, rest in blocks):
        return NotImplemented
    kernel = [block for block, _ in blocks]
    moved = [Slide(kernel[axis], kernel[axis], 0, 1) for axis in where]
    assert x.place is not None
    out = affected(x.place, moved, base.space(x.axes))
    there = read(out, moved)
    seen = x.logical(x.values_at(there) if x.full is not None else x.differences_at(there))
    form = "values" if x.full is not None else "difference"
    return call.note(form, call.alike(x, out, held(AVERAGE[rank](seen, kernel), x.axes), base=base))


def _clamped(delta: torch.Tensor, place: Place, space: tuple[int, ...]) -> torch.Tensor:
    """Beyond the map, what lies at its edge."""
    for axis, size in enumerate(space):
        at = place.starts[:, axis, None] + np.arange(place.sizes[axis])
        if at.min() < 0 or at.max() >= size:
            inside = np.clip(at, 0, size - 1) - place.starts[:, axis, None]
            delta = _picked(delta, 1 + axis, np.clip(inside, 0, place.sizes[axis] - 1))
    return delta


def _picked(data: torch.Tensor, axis: int, index: np.ndarray) -> torch.Tensor:
    """For each item (axis 0) its own indices (n, k) of an axis."""
    form = [1] * data.dim()
    form[0], form[axis] = index.shape
    shape = list(data.shape)
    shape[axis] = index.shape[1]
    return data.gather(axis, torch.from_numpy(index).to(data.device).view(form).expand(shape))
