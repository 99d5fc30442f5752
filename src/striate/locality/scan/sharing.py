"""How operations act on crops that share their cells: one rule for each kind of operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.locality.scan.crops import CHOICE, Call, Crops, aligned, by, cut, rule

AVERAGE: dict[int, Callable[..., Any]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMUM: dict[int, Callable[..., Any]] = {2: F.max_pool2d, 3: F.max_pool3d}
CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
# From so many times the sum of a kernel's sides on, averaging along one axis after the other is faster.
SEPARATE = 2


@rule(
    "pointwise clone _to_copy detach alias lift_fresh zeros_like ones_like full_like empty_like copy_ fill_ zero_ "
    "_prelu_kernel native_batch_norm cudnn_batch_norm miopen_batch_norm"
)
def cell_by_cell(call: Call) -> Any:
    """Each cell for itself; other tensors are the same for all crops and all their cells."""
    given, norm, written = call.crops, "batch_norm" in call.name, call.func._schema.is_mutable
    alike = aligned(given)
    if alike is None or (norm and given[0].flat):
        return NotImplemented
    first = alike[id(given[0])]
    if norm and call["training"]:
        fix = "Give the layer running statistics."
        raise first.lattice.refuse("a norm that takes the statistics of its batch mixes crops", call.name, fix)
    others = [t for t in call.tensors if not isinstance(t, Crops)]
    if not norm and not all(same_everywhere(t, first) for t in others):
        return NotImplemented
    if written and (first is not call.arguments.get("self") or first.borrowed):
        return NotImplemented
    out = call.run(lambda crops: alike[id(crops)].maps)
    if written:
        return given[0]
    shows = call.func.is_view and first.borrowed
    return (first.like(out[0], borrowed=False), *out[1:]) if norm else first.like(out, borrowed=shows)


@rule(
    "cat _softmax _log_softmax slice select split split_with_sizes unbind sum mean amax amin cumsum unsqueeze squeeze "
    "index_select topk max min argmax logsumexp"
)
def along_plain_axes(call: Call) -> Any:
    """Along channels, or another axis that is not the crop's space."""
    given, axes, alike = call.crops, call.get("dim"), aligned(call.crops)
    if alike is None or given[0].flat or axes is None or axes == []:
        return NotImplemented
    if len(call.tensors) > len(given) and call.name != "index_select":
        return NotImplemented
    first, several = alike[id(given[0])], isinstance(axes, list | tuple)
    count = first.dim() + (call.name == "unsqueeze")
    axes = [axis % count for axis in (axes if several else [axes])]
    if not all(0 < axis < count - first.lattice.rank for axis in axes):
        spatial = SPATIAL.get(call.name)
        return spatial(first, call, axes) if spatial is not None else NotImplemented
    out = call.run(lambda crops: alike[id(crops)].maps, dim=axes if several else axes[0])
    made = [first.like(part) for part in (out if isinstance(out, tuple | list) else (out,))]
    return made[0] if isinstance(out, Tensor) else made


@rule("convolution")
def convolution(call: Call) -> Any:
    """The weights are those of the network; a transposed one moves by fractions."""
    if call["transposed"] or len(call.crops) > 1 or not isinstance(call["input"], Crops):
        return NotImplemented
    return slide(call, "input", call["weight"].shape[2:])


@rule("avg_pool1d avg_pool2d avg_pool3d")
def average_pooling(call: Call) -> Any:
    """Averages over windows; a large window along one axis after the other."""
    x, kernel = call["self"], list(call["kernel_size"])
    plain = not any(call["padding"]) and not call["ceil_mode"] and call.get("divisor_override") is None
    if plain and len(kernel) == x.lattice.rank and math.prod(kernel) > SEPARATE * sum(kernel):
        return _average_by_axis(x, kernel, _each(call["stride"] or kernel, kernel))
    made = slide(call, "self", kernel)
    uneven = not call["count_include_pad"] and call.get("divisor_override") is None
    if made is NotImplemented or not (uneven and any(call["padding"]) and x.lattice.ends_early):
        return made
    ones = x.like(torch.ones_like(x.maps))  # cells beyond the image's end do not count
    return made / slide(Call(call.func, call.arguments | {"self": ones}), "self", kernel)


@rule("max_pool2d_with_indices max_pool3d_with_indices")
def max_pooling(call: Call) -> Any:
    """The greatest of windows. Nobody can unpool by the places within shared maps: they are left out."""
    x, kernel = call["self"], list(call["kernel_size"])
    result = slide(call, "self", kernel, (lambda c: c.func(**c.arguments)[0]) if any(call["padding"]) else _maximum)
    return result if result is NotImplemented or isinstance(result, tuple) else (result, _no_places(x))


@rule("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d")
def adaptive_pooling(call: Call) -> Any:
    """Equal windows side by side, where the crop's size is a multiple of the new one."""
    x, size = call["self"], call["output_size"]
    if x.flat or x.dim() != len(size) + 2 or any(b % s for b, s in zip(x.shape[2:], size, strict=True)):
        return NotImplemented
    kernel = [b // s for b, s in zip(x.shape[2:], size, strict=True)]
    if "max" in call.name:
        return MAXIMUM[len(size)](x, kernel, kernel), _no_places(x)
    return AVERAGE[len(size)](x, kernel, kernel)


@rule("view _unsafe_view reshape")
def view(call: Call) -> Any:
    """Another shape of the axes before space; or all axes of a crop in one, which a linear layer may read."""
    x, size = call["self"], list(call.get("size") or call["shape"])
    rank, known = x.lattice.rank, math.prod(s for s in size if s != -1)
    size = [x.numel() // known if s == -1 else s for s in size]
    if x.flat or size[0] != x.shape[0]:
        return x.like(x.maps) if size == list(x.shape) else NotImplemented
    if len(size) == 2 and math.prod(x.box) > 1:
        return x.like(x.maps, flat=True)
    if len(size) > rank and tuple(size[-rank:]) == x.box:
        return x.like(x.maps.reshape(x.maps.shape[0], *size[1:-rank], *x.maps.shape[-rank:]))
    return NotImplemented


@rule("transpose permute")
def permutation(call: Call) -> Any:
    """Axes before space in another order."""
    x = call["self"]
    order = list(range(x.dim()))
    if call.name == "transpose":
        a, b = call["dim0"], call["dim1"]
        order[a], order[b] = order[b], order[a]
    else:
        order = [axis % x.dim() for axis in call["dims"]]
    still = [0, *range(x.dim() - x.lattice.rank, x.dim())]
    return x.like(x.maps.permute(order)) if not x.flat and all(order[a] == a for a in still) else NotImplemented


@rule(
    "constant_pad_nd replication_pad1d replication_pad2d replication_pad3d reflection_pad1d reflection_pad2d "
    "reflection_pad3d"
)
def padding(call: Call) -> Any:
    """Cells more around the crop are a border; cells less, or channels more, are not."""
    x, constant = call["self"], call.name == "constant_pad_nd"
    pad, rank = list(call["pad" if constant else "padding"]), x.lattice.rank
    if not constant:
        return NotImplemented if any(pad) else x.like(x.maps.clone(), borrowed=False)
    if x.flat or len(pad) > 2 * (x.dim() - 1):
        return NotImplemented
    space = pad[: 2 * rank] + [0] * (2 * rank - len(pad))
    if max(space) > 0 and not _may_pad(x, f"padding {tuple(pad)}"):
        return call.run(x.lattice.framed)
    box = tuple(b + space[2 * (rank - 1 - a)] + space[2 * (rank - 1 - a) + 1] for a, b in enumerate(x.box))
    return x.like(call.run(lambda crops: crops.ended(call["value"] or 0.0)), box=box, borrowed=False)


@rule("addmm mm")
def linear(call: Call) -> Any:
    """A fully connected layer on a crop is a convolution whose kernel is the crop."""
    x, bias = (call["mat1"], call["self"]) if call.name == "addmm" else (call["self"], None)
    matrix: Tensor = call["mat2"]
    if len(call.crops) > 1 or not isinstance(x, Crops) or not x.flat or x.maps.dim() != x.lattice.rank + 2:
        return NotImplemented
    if (call.get("beta", 1), call.get("alpha", 1)) != (1, 1) or (bias is not None and bias.dim() != 1):
        return NotImplemented
    weight = matrix.t().reshape(matrix.shape[1], -1, *x.box)
    maps = CONVOLVE[x.lattice.rank](x.maps, weight, bias, x.step)
    ones = (1,) * x.lattice.rank
    return x.like(maps, box=ones, step=ones, flat=False).apart().flatten(1)


def slide(
    call: Call,
    name: str,
    kernel: Sequence[int],
    operation: Callable[[Call], Tensor] = lambda call: call.func(**call.arguments),
) -> Any:
    """An operation on windows: at every place that some crop looks at, then each its own."""
    x: Crops = call[name]
    ahead = len(kernel) - x.lattice.rank
    if x.flat or ahead < 0 or x.dim() != len(kernel) + 2:
        return NotImplemented
    extents, strides, paddings = zip(*sides(call, kernel), strict=True)
    if any(paddings[ahead:]) and not _may_pad(x, f"padding {by(paddings[ahead:])}"):
        return call.run(x.lattice.framed)
    room = [b + 2 * p - e for b, p, e in zip(x.box, paddings[ahead:], extents[ahead:], strict=True)]
    whole = {"ceil_mode": False} if "ceil_mode" in call.arguments else {}
    if call.get("ceil_mode") and any(r % s for r, s in zip(room, strides[ahead:], strict=True)):
        if x.lattice.borders == "crops":
            return NotImplemented
        what = "a window that the crop's end cuts off (ceil_mode) is none that crops share"
        raise x.lattice.refuse(what, f"a map of {by(x.box)}", f"{CHOICE}.")
    box = tuple(r // s + 1 for r, s in zip(room, strides[ahead:], strict=True))
    # Where one window is left, it moves with the crops.
    last = [u if b == 1 else s for u, b, s in zip(x.step, box, strides[ahead:], strict=True)]
    outside = -math.inf if call.name.startswith("max_pool") else 0.0
    maps = x.ended(outside) if any(paddings[ahead:]) else x.maps
    arguments = call.arguments | whole | {name: maps, "stride": [*strides[:ahead], *x.common(last)]}
    made = x.picked(operation(Call(call.func, arguments)), last, box)
    made.borrowed = False
    return made


def sides(call: Call, kernel: Sequence[int]) -> list[tuple[int, int, int]]:
    """Extent, stride and padding of a window, an axis each."""
    dilation, padding = _each(call.get("dilation", [1]), kernel), _each(call["padding"], kernel)
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    return list(zip(extents, _each(call["stride"] or kernel, kernel), padding, strict=True))


def _each(values: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """One value an axis."""
    return list(values) if len(values) == len(kernel) else [*values] * len(kernel)


def _no_places(x: Crops) -> Tensor:
    return x.maps.new_empty((0,) * x.dim(), dtype=torch.int64)


def same_everywhere(tensor: Tensor, crops: Crops) -> bool:
    """Whether a tensor that meets the crops has one number for all of them and all of their cells."""
    if crops.flat:
        return tensor.numel() == 1
    batch = tensor.shape[0] if tensor.dim() == crops.dim() else 1
    space = tensor.shape[-crops.lattice.rank :] if tensor.dim() else ()
    return tensor.dim() <= crops.dim() and batch == 1 and math.prod(space) == 1


def _may_pad(x: Crops, got: str) -> bool:
    """Whether maps are padded as they are; False: each crop is."""
    if x.lattice.borders is None:
        fix = f'{CHOICE}; or borders="image": zeros only around the image, not around each crop.'
        raise x.lattice.refuse("a crop has zeros at its own border, where its neighbors have pixels", got, fix)
    return x.lattice.borders == "image"


def _maximum(call: Call) -> Tensor:
    """The greatest of each window, doubling the windows along one axis after the other."""
    maps, kernel = call["self"], list(call["kernel_size"])
    axes = zip(kernel, _each(call["dilation"], kernel), call["stride"], strict=True)
    for axis, (size, gap, step) in enumerate(axes, maps.dim() - len(kernel)):
        covered = 1
        while covered < size:
            more = min(covered, size - covered)
            length = maps.shape[axis] - more * gap
            maps = torch.maximum(maps.narrow(axis, 0, length), maps.narrow(axis, more * gap, length))
            covered += more
        maps = cut(maps, [slice(None, None, step), *[slice(None)] * (maps.dim() - axis - 1)])
    found: Tensor = maps
    return found


def _average_by_axis(x: Crops, kernel: Sequence[int], stride: Sequence[int]) -> Any:
    rank = len(kernel)
    for axis in range(rank):
        sizes = [kernel[axis] if a == axis else 1 for a in range(rank)]
        steps = [stride[axis] if a == axis else 1 for a in range(rank)]
        x = AVERAGE[rank](x, sizes, steps)
    return x


def _part(x: Crops, call: Call, axes: list[int]) -> Any:
    """Some cells of each crop."""
    axis = axes[0] - (x.dim() - x.lattice.rank)
    if axis < 0:
        return NotImplemented
    start, end, every = slice(call["start"], call["end"], call["step"]).indices(x.box[axis])
    box, stride = list(x.box), [1] * x.lattice.rank
    box[axis] = -(-(end - start) // every)
    stride[axis] = every if box[axis] > 1 else x.step[axis]
    cells = [slice(None)] * x.lattice.rank
    cells[axis] = slice(start, None, x.common(stride)[axis])
    return x.picked(cut(x.maps, cells), stride, tuple(box))


def _mean(x: Crops, call: Call, axes: list[int]) -> Any:
    """The mean of the whole crop."""
    if not _is_all_space(x, axes) or call["dtype"] is not None:
        return NotImplemented
    mean = _average_by_axis(x, x.box, x.box)
    return mean if call["keepdim"] else mean.apart().flatten(1)


def _greatest(x: Crops, call: Call, axes: list[int]) -> Any:
    """The greatest of the whole crop."""
    if not _is_all_space(x, axes):
        return NotImplemented
    pool = Call(call.func, {"self": x.maps, "kernel_size": x.box, "dilation": [1], "stride": x.step})
    ones = (1,) * x.lattice.rank
    most = x.like(_maximum(pool), box=ones, step=ones, borrowed=False)
    return most if call["keepdim"] else most.apart().flatten(1)


def _is_all_space(x: Crops, axes: list[int]) -> bool:
    return sorted(axes) == [*range(2, x.dim())] and x.dim() == x.lattice.rank + 2


SPATIAL: dict[str, Callable[[Crops, Call, list[int]], Any]] = {"slice": _part, "mean": _mean, "amax": _greatest}
