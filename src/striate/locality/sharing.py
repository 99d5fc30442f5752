"""How operations act on crops that share their cells: one rule for each kind of operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.locality.crops import CHOICE, Crops, aligned, crops_in, cut, replaced, rule

AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMUM: dict[int, Callable[..., Tensor]] = {2: F.max_pool2d, 3: F.max_pool3d}
CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
# From so many times the sum of a kernel's sides on, averaging along one axis after the other is faster.
SEPARATE = 2


@rule(
    "pointwise clone _to_copy detach alias lift_fresh zeros_like ones_like full_like empty_like copy_ fill_ zero_ "
    "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit_no_training"
)
def cell_by_cell(func: Any, args: Any, kwargs: Any) -> Any:
    """Each cell for itself; other tensors are the same for all crops and all their cells."""
    given = crops_in((*args, *kwargs.values()))
    alike, written = aligned(given), func._schema.is_mutable
    if alike is None:
        return NotImplemented
    first = alike[id(given[0])]
    norm = "batch_norm" in func._schema.name
    others = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor) and not isinstance(t, Crops)]
    if not norm and not all(_is_same_everywhere(t, first) for t in others):
        return NotImplemented
    if norm and first.flat:
        return NotImplemented
    if norm and named(func, args, kwargs).get("training"):
        fix = "Give the layer running statistics."
        raise first.tile.refuse("a norm that takes the statistics of its batch mixes crops", func._schema.name, fix)
    if written and (first is not args[0] or first.borrowed):
        return NotImplemented
    out = func(*replaced(args, lambda c: alike[id(c)].maps), **replaced(kwargs, lambda c: alike[id(c)].maps))
    if written:
        return args[0]
    return (first.like(out[0], borrowed=False), *out[1:]) if norm else first.like(out, borrowed=first.borrowed)


@rule(
    "cat _softmax _log_softmax slice select split split_with_sizes unbind sum mean amax amin cumsum glu unsqueeze "
    "squeeze index_select topk max min argmax logsumexp prod var"
)
def along_plain_axes(func: Any, args: Any, kwargs: Any) -> Any:
    """Along channels, or another axis that is not the crop's space."""
    call = named(func, args, kwargs)
    given = crops_in((*args, *kwargs.values()))
    axes, alike = call.get("dim"), aligned(given)
    if alike is None or given[0].flat or axes is None or axes == []:
        return NotImplemented
    first = alike[id(given[0])]
    name = func._schema.name.removeprefix("aten::")
    count = first.dim() + (name == "unsqueeze")
    axes = [axis % count for axis in (axes if isinstance(axes, list | tuple) else [axes])]
    space = count - first.tile.rank
    if not all(0 < axis < space for axis in axes):
        spatial = SPATIAL.get(name)
        return spatial(first, call, axes) if spatial is not None else NotImplemented
    call = replaced(call, lambda c: alike[id(c)].maps) | {"dim": axes if isinstance(call["dim"], list | tuple) else axes[0]}
    out = func(**call)
    made = [first.like(part, borrowed=first.borrowed) for part in (out if isinstance(out, tuple | list) else (out,))]
    return type(out)(made) if type(out) in (tuple, list) else tuple(made) if isinstance(out, tuple) else made[0]


@rule("convolution")
def convolution(func: Any, args: Any, kwargs: Any) -> Any:
    """The weights are those of the network; a transposed one moves by fractions."""
    call = named(func, args, kwargs)
    if call["transposed"] or len(crops_in(args)) > 1 or not isinstance(call["input"], Crops):
        return NotImplemented
    weight: Tensor = call["weight"]
    return slide(func, call, "input", weight.shape[2:])


@rule("avg_pool1d avg_pool2d avg_pool3d")
def average_pooling(func: Any, args: Any, kwargs: Any) -> Any:
    """Averages over windows; a large window along one axis after the other."""
    call = named(func, args, kwargs)
    x: Crops = call["self"]
    kernel = list(call["kernel_size"])
    long = math.prod(kernel) > SEPARATE * sum(kernel)
    plain = not any(call["padding"]) and not call["ceil_mode"] and call.get("divisor_override") is None
    if long and plain and len(kernel) == x.tile.rank:
        return _average_by_axis(x, kernel, call["stride"] or kernel)
    return slide(func, call, "self", kernel)


@rule("max_pool2d_with_indices max_pool3d_with_indices")
def max_pooling(func: Any, args: Any, kwargs: Any) -> Any:
    """The greatest of windows. Nobody can unpool by the places within shared maps: they are left out."""
    call = named(func, args, kwargs)
    x: Crops = call["self"]
    result = slide(_maximum if not any(call["padding"]) else lambda **c: func(**c)[0], call, "self", call["kernel_size"])
    if result is NotImplemented:
        return result
    return result, x.maps.new_empty((0,) * x.dim(), dtype=torch.int64)


@rule("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d")
def adaptive_pooling(func: Any, args: Any, kwargs: Any) -> Any:
    """Equal windows side by side, where the crop's size is a multiple of the new one."""
    x, size = args[0], args[1]
    if x.flat or x.dim() != len(size) + 2 or any(b % s for b, s in zip(x.shape[2:], size, strict=True)):
        return NotImplemented
    kernel = [b // s for b, s in zip(x.shape[2:], size, strict=True)]
    if "max" in func._schema.name:
        return MAXIMUM[len(size)](x, kernel, kernel), x.maps.new_empty((0,) * x.dim(), dtype=torch.int64)
    return AVERAGE[len(size)](x, kernel, kernel)


@rule("view _unsafe_view reshape")
def view(func: Any, args: Any, kwargs: Any) -> Any:
    """Another shape of the axes before space; or all axes of a crop in one, which a linear layer may read."""
    x, size = args[0], list(args[1])
    known = math.prod(s for s in size if s != -1)
    size = [x.numel() // known if s == -1 else s for s in size]
    if x.flat or size[0] != x.shape[0]:
        return x.like(x.maps) if size == list(x.shape) else NotImplemented
    rank = x.tile.rank
    if len(size) == 2 and math.prod(x.box) > 1:
        return x.like(x.maps, flat=True)
    if len(size) > rank and tuple(size[-rank:]) == x.box:
        return x.like(x.maps.reshape(x.maps.shape[0], *size[1:-rank], *x.maps.shape[-rank:]))
    return NotImplemented


@rule("transpose permute")
def permutation(func: Any, args: Any, kwargs: Any) -> Any:
    """Axes before space in another order."""
    x = args[0]
    order = list(range(x.dim()))
    if func._schema.name == "aten::transpose":
        a, b = args[1], args[2]
        order[a], order[b] = order[b], order[a]
    else:
        order = [axis % x.dim() for axis in args[1]]
    still = [0, *range(x.dim() - x.tile.rank, x.dim())]
    return x.like(x.maps.permute(order)) if not x.flat and all(order[a] == a for a in still) else NotImplemented


@rule("constant_pad_nd")
def padding(func: Any, args: Any, kwargs: Any) -> Any:
    """Cells more around the crop are a border; cells less, or channels more, are not."""
    call = named(func, args, kwargs)
    x, pad = call["self"], list(call["pad"])
    rank = x.tile.rank
    if x.flat or len(pad) > 2 * (x.dim() - 1):
        return NotImplemented
    space = pad[: 2 * rank] + [0] * (2 * rank - len(pad))
    if max(space) > 0 and not _may_pad(x, f"zeros around the crop: {space}"):
        return NotImplemented
    box = tuple(b + space[2 * (rank - 1 - a)] + space[2 * (rank - 1 - a) + 1] for a, b in enumerate(x.box))
    return x.like(func(x.maps, pad, call["value"]), box=box, borrowed=False)


@rule("addmm mm")
def linear(func: Any, args: Any, kwargs: Any) -> Any:
    """A fully connected layer on a crop is a convolution whose kernel is the crop."""
    call = named(func, args, kwargs)
    x, matrix, bias = call.get("mat1", call["self"]), call["mat2"], call["self"] if "mat1" in call else None
    if not isinstance(x, Crops) or not x.flat or isinstance(matrix, Crops) or isinstance(bias, Crops):
        return NotImplemented
    if call.get("beta", 1) != 1 or call.get("alpha", 1) != 1 or x.maps.dim() != x.tile.rank + 2:
        return NotImplemented
    if bias is not None and bias.dim() != 1:
        return NotImplemented
    weight = matrix.t().reshape(matrix.shape[1], -1, *x.box)
    maps = CONVOLVE[x.tile.rank](x.maps, weight, bias, x.step)
    ones = (1,) * x.tile.rank
    return x.like(maps, box=ones, step=ones, flat=False).apart().flatten(1)


def slide(func: Callable[..., Any], call: dict[str, Any], input: str, kernel: Sequence[int]) -> Any:
    """An operation on windows: at every place that a crop may look at, then each its own."""
    x: Crops = call[input]
    rank, ahead = x.tile.rank, len(kernel) - x.tile.rank
    if x.flat or ahead < 0 or x.dim() != len(kernel) + 2:
        return NotImplemented
    kernel, dilation, padding = _each(kernel, kernel), _each(call.get("dilation", [1]), kernel), _each(call["padding"], kernel)
    stride = _each(call["stride"] or kernel, kernel)
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)][ahead:]
    room = [b + 2 * p - e for b, p, e in zip(x.box, padding[ahead:], extents, strict=True)]
    if any(padding[ahead:]) and not _may_pad(x, f"padding {tuple(padding[ahead:])}"):
        return NotImplemented
    if call.get("ceil_mode") and any(r % s for r, s in zip(room, stride[ahead:], strict=True)):
        if x.tile.borders != "crops":
            raise x.tile.refuse(
                "a window that the crop's end cuts off (ceil_mode) is none that crops share",
                f"a map of {by(x.box)}",
                f"{CHOICE}.",
            )
        return NotImplemented
    box = tuple(r // s + 1 for r, s in zip(room, stride[ahead:], strict=True))
    # Where one window is left, it moves with the crops.
    last = [u if b == 1 else s for u, b, s in zip(x.step, box, stride[ahead:], strict=True)]
    whole = {"ceil_mode": False} if "ceil_mode" in call else {}
    maps = func(**call | {input: x.maps, "stride": [*stride[:ahead], *x.common(last)], **whole})
    made = x.picked(maps, last, box)
    made.borrowed = False
    return made


def by(sizes: Sequence[int]) -> str:
    """Sizes, for people."""
    return "x".join(map(str, sizes))


def named(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Every argument by its name."""
    found = {}
    for position, argument in enumerate(func._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        found[argument.name] = args[position] if position < len(args) else kwargs.get(argument.name, default)
    return found


def _each(values: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """One value an axis."""
    return list(values) if len(values) == len(kernel) else [*values] * len(kernel)


def _is_same_everywhere(tensor: Tensor, crops: Crops) -> bool:
    """Whether a tensor that meets the crops has one number for all of them and all of their cells."""
    if crops.flat:
        return tensor.numel() == 1
    batch = tensor.shape[0] if tensor.dim() == crops.dim() else 1
    space = tensor.shape[-crops.tile.rank :] if tensor.dim() else ()
    return tensor.dim() <= crops.dim() and batch == 1 and math.prod(space) == 1


def _may_pad(x: Crops, got: str) -> bool:
    """Whether maps are padded as they are; False: crop by crop."""
    if x.tile.borders is None:
        fix = f'{CHOICE}; or borders="image": zeros only around the image, which crops near them do not have.'
        raise x.tile.refuse("a crop has zeros at its own border, where its neighbors have pixels", got, fix)
    return x.tile.borders == "image"


def _maximum(**call: Any) -> Tensor:
    """The greatest of each window, doubling the windows along one axis after the other."""
    maps: Tensor = call["self"]
    kernel = list(call["kernel_size"])
    dilation, stride = _each(call["dilation"], kernel), call["stride"]
    for axis, (size, gap, step) in enumerate(zip(kernel, dilation, stride, strict=True)):
        axis, length, covered = maps.dim() - len(kernel) + axis, 1, 1
        while covered < size:
            more = min(covered, size - covered)
            length = maps.shape[axis] - more * gap
            maps = torch.maximum(maps.narrow(axis, 0, length), maps.narrow(axis, more * gap, length))
            covered += more
        if step > 1:
            maps = cut(maps, [slice(None, None, step), *[slice(None)] * (maps.dim() - axis - 1)])
    return maps


def _average_by_axis(x: Crops, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    rank = len(kernel)
    for axis in range(rank):
        sizes = [kernel[axis] if a == axis else 1 for a in range(rank)]
        steps = [stride[axis] if a == axis else 1 for a in range(rank)]
        x = AVERAGE[rank](x, sizes, steps)  # type: ignore[assignment]
    return x


def _part(x: Crops, call: dict[str, Any], axes: list[int]) -> Any:
    """Some cells of each crop."""
    axis = axes[0] - (x.dim() - x.tile.rank)
    start, end, every = slice(call["start"], call["end"], call["step"]).indices(x.box[axis])
    if axis < 0 or end <= start:
        return NotImplemented
    box, stride = list(x.box), [1] * x.tile.rank
    box[axis], stride[axis] = -(-(end - start) // every), every
    cells = [slice(None)] * x.tile.rank
    cells[axis] = slice(start, None, x.common(stride)[axis])
    return x.picked(cut(x.maps, cells), stride, tuple(box))


def _over_all(reduce: Callable[[Crops], Any]) -> Callable[[Crops, dict[str, Any], list[int]], Any]:
    """A reduction over the whole space of each crop, or one that keeps the axes."""

    def reduced(x: Crops, call: dict[str, Any], axes: list[int]) -> Any:
        rank = x.tile.rank
        if sorted(axes) != [*range(2, rank + 2)] or x.dim() != rank + 2 or call.get("dtype") is not None:
            return NotImplemented
        one = reduce(x)
        return one if call["keepdim"] else one.apart().flatten(1)

    return reduced


def _mean(x: Crops) -> Any:
    return _average_by_axis(x, x.box, x.box)


def _max(x: Crops) -> Any:
    """The greatest of each crop."""
    rank = x.tile.rank
    maps = _maximum(self=x.maps, kernel_size=x.box, dilation=[1], stride=x.step)
    return x.like(maps, box=(1,) * rank, step=(1,) * rank, borrowed=False)


SPATIAL: dict[str, Callable[[Crops, dict[str, Any], list[int]], Any]] = {
    "slice": _part,
    "mean": _over_all(_mean),
    "amax": _over_all(_max),
}
