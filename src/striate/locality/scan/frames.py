"""Crops with borders of their own: what padding touches is computed for each crop, the rest is shared.

Along each axis the cells of a crop are a head that padding has touched, a middle that it has not, and a tail. The
middle is shared as ever (crops.py). A head is the same for all crops that begin in one row, wherever along the row, so
that it is shared along the other axes: only the corners of a crop are its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.locality.scan.crops import Call, Crops, Lattice, Sizes, each_apart
from striate.locality.scan.sharing import same_everywhere, sides

HEAD, MIDDLE, TAIL = range(3)
Key = tuple[int, ...]


class Moves(NamedTuple):
    """Windows along one axis: extent, stride, places of padding before the first cell, and number of windows."""

    extent: int
    stride: int
    before: int
    outputs: int


class Framed(Tensor):
    """A batch (crops, *plain, *box); `parts` has crops for every choice of head, middle and tail along the axes.

    `heads` and `tails` are their lengths. Heads and tails have a fragment for each position along their axis.
    """

    parts: dict[Key, Crops]
    heads: Sizes
    tails: Sizes
    box: Sizes
    flat: bool
    holds_crops = True

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[Framed], parts: dict[Key, Crops], heads: Sizes, tails: Sizes) -> Framed:
        middle = parts[(MIDDLE,) * len(heads)]
        box = tuple(h + m + t for h, m, t in zip(heads, middle.box, tails, strict=True))
        plain = tuple(middle.maps.shape[1 : middle.maps.dim() - len(box)])
        item = (math.prod((*plain, *box)),) if middle.flat else (*plain, *box)
        framed: Framed = Tensor._make_wrapper_subclass(
            cls, (middle.shape[0], *item), dtype=middle.dtype, device=middle.device
        )
        framed.parts, framed.heads, framed.tails, framed.box, framed.flat = parts, heads, tails, box, middle.flat
        return framed

    @classmethod
    def of(cls, crops: Crops) -> Framed:
        """Nothing has been touched so far."""
        none = (0,) * crops.lattice.rank
        return cls({(MIDDLE,) * crops.lattice.rank: crops}, none, none)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        call = Call.of(func, args, kwargs or {})
        if func._schema.is_mutable and isinstance(args[0], Crops):
            return each_apart(call, [args[0]])
        call = call.changed(lambda t: cls.of(t) if isinstance(t, Crops) else t)
        rule = RULES.get(call.name) or (each_part if torch.Tag.pointwise in func.tags else None)
        result = rule(call) if rule is not None else NotImplemented
        if result is NotImplemented:
            result = func.decompose(*args, **(kwargs or {}))
        return each_apart(call, framed_in(call)) if result is NotImplemented else result

    @property
    def lattice(self) -> Lattice:
        """That of all parts."""
        return next(iter(self.parts.values())).lattice

    def part(self, key: Key) -> Crops:
        """The cells of this choice of head, middle and tail."""
        return self.parts[key]

    def bounds(self, axis: int, part: int) -> tuple[int, int]:
        """First cell of a head, middle or tail, and the one behind its last."""
        ends = (0, self.heads[axis], self.box[axis] - self.tails[axis], self.box[axis])
        return ends[part], ends[part + 1]

    def block(self, key: Key, cells: Sequence[tuple[int, int]], at: Key = ()) -> Crops:
        """These cells as a part of the kind `key`."""
        axis, rank = len(at), len(key)
        if axis == rank:
            return self._cells_of(at, key, cells)
        pieces = []
        for part in (HEAD, MIDDLE, TAIL):
            first, end = self.bounds(axis, part)
            if max(first, cells[axis][0]) < min(end, cells[axis][1]):
                pieces.append(self.block(key, cells, (*at, part)))
        if len(pieces) == 1:
            return pieces[0]
        maps = torch.cat([piece.maps for piece in pieces], pieces[0].maps.dim() - rank + axis)
        box = tuple(sum(p.box[a] for p in pieces) if a == axis else b for a, b in enumerate(pieces[0].box))
        return pieces[0].like(maps, box=box, borrowed=False)

    def _cells_of(self, part: Key, key: Key, cells: Sequence[tuple[int, int]]) -> Crops:
        """Those of the cells that lie in one part."""
        crops = self.parts[part]
        for axis, (of, kind) in enumerate(zip(part, key, strict=True)):
            first, end = self.bounds(axis, of)
            start, stop = max(first, cells[axis][0]) - first, min(end, cells[axis][1]) - first
            crops = crops.cells(axis, start, stop, own=kind != MIDDLE and of == MIDDLE)
        return crops

    def framed(self, heads: Sizes, tails: Sizes) -> Framed | None:
        """The same with longer heads and tails; None where they leave no middle."""
        if (heads, tails) == (self.heads, self.tails):
            return self
        ends = list(zip(self.box, heads, tails, strict=True))
        if any(h + t >= b for b, h, t in ends):
            return None
        bounds = [((0, h), (h, b - t), (b - t, b)) for b, h, t in ends]
        parts = {key: self.block(key, cells) for key, cells in _keys(bounds)}
        return Framed(parts, heads, tails)

    def apart(self) -> Tensor:
        """The crops, each with its own copy."""
        key = (HEAD,) * len(self.box)
        return self.block(key, [(0, size) for size in self.box]).maps.reshape(self.shape)


def framed_in(call: Call) -> list[Framed]:
    """Those among the arguments."""
    return [tensor for tensor in call.tensors if isinstance(tensor, Framed)]


def each_part(call: Call) -> Any:
    """Cell by cell, or along axes that are not the crop's space: each part for itself."""
    given = framed_in(call)
    first = given[0]
    if any((f.box, f.flat, f.dim()) != (first.box, first.flat, first.dim()) for f in given) or _meets_space(call):
        return NotImplemented
    others = [t for t in call.tensors if not isinstance(t, Framed) and "batch_norm" not in call.name]
    if not all(same_everywhere(t, part) for t in others for part in first.parts.values()):
        return NotImplemented
    heads = tuple(max(f.heads[axis] for f in given) for axis in range(len(first.box)))
    tails = tuple(max(f.tails[axis] for f in given) for axis in range(len(first.box)))
    for framed in given:
        longer = framed.framed(heads, tails)
        if longer is None:
            return NotImplemented
        framed.parts, framed.heads, framed.tails = longer.parts, heads, tails
    made = {key: call.run(partial(Framed.part, key=key)) for key in first.parts}
    if call.func._schema.is_mutable:
        return first
    if isinstance(next(iter(made.values())), Tensor):
        shared = all(isinstance(part, Crops) for part in made.values())
        return Framed(made, heads, tails) if shared else NotImplemented
    middle = made[(MIDDLE,) * len(heads)]
    several = [{key: parts[n] for key, parts in made.items()} for n in range(len(middle))]
    # Of a batch norm's results only the first is a map.
    return [
        Framed(parts, heads, tails) if isinstance(old, Crops) else old
        for parts, old in zip(several, middle, strict=True)
    ]


def windows(call: Call) -> Any:
    """Windows that padding touches go to heads and tails."""
    name = "input" if call.name == "convolution" else "self"
    kernel = call["weight"].shape[2:] if name == "input" else call["kernel_size"]
    x = call[name]
    if not isinstance(x, Framed) or call.get("transposed") or x.flat or x.dim() != len(kernel) + 2:
        return NotImplemented
    ahead = len(kernel) - len(x.box)
    uneven = call.get("count_include_pad") is False and any(call["padding"])
    if uneven or call.get("ceil_mode"):
        return NotImplemented
    axes = zip(x.box, sides(call, kernel)[ahead:], strict=True)
    moves = [Moves(e, s, p, (b + 2 * p - e) // s + 1) for b, (e, s, p) in axes]
    greatest = call.name.startswith("max_pool")

    def run(crops: Crops) -> Crops:
        out: Any = call.func(**call.arguments | {name: crops, "padding": [0] * len(kernel)})
        found: Crops = out[0] if greatest else out
        return found

    out = _moved(x, moves, run, -math.inf if greatest else 0.0)
    places = torch.empty((0,) * x.dim(), dtype=torch.int64, device=x.device)
    return (out, places) if greatest and out is not NotImplemented else out


def padding(call: Call) -> Any:
    """Padding is a window of one cell that may lie outside."""
    x, pad = call["self"], list(call["pad"])
    rank = len(x.box)
    if x.flat or any(pad[2 * rank :]) or min(pad) < 0:
        return NotImplemented
    pairs = [(pad[2 * n], pad[2 * n + 1]) if 2 * n < len(pad) else (0, 0) for n in reversed(range(rank))]
    moves = [Moves(1, 1, before, b + before + behind) for b, (before, behind) in zip(x.box, pairs, strict=True)]
    return _moved(x, moves, lambda crops: crops, call["value"] or 0.0)


def view(call: Call) -> Any:
    """Another shape of the axes before space; or all axes of a crop in one, which a linear layer may read."""
    x, size, rank = call["self"], list(call.get("size") or call["shape"]), len(call["self"].box)
    known = math.prod(s for s in size if s != -1)
    size = [x.numel() // known if s == -1 else s for s in size]
    if x.flat or size[0] != x.shape[0]:
        return NotImplemented
    if len(size) == 2:
        return Framed({key: part.like(part.maps, flat=True) for key, part in x.parts.items()}, x.heads, x.tails)
    if tuple(size[-rank:]) != x.box:
        return NotImplemented
    parts = {key: part.view(*size[:-rank], *part.box) for key, part in x.parts.items()}
    return Framed(parts, x.heads, x.tails)


def linear(call: Call) -> Any:
    """Each part has its share of the weights."""
    x, bias = (call["mat1"], call["self"]) if call.name == "addmm" else (call["self"], None)
    if not isinstance(x, Framed) or not x.flat or (call.get("beta", 1), call.get("alpha", 1)) != (1, 1):
        return NotImplemented
    matrix: Tensor = call["mat2"]
    weight = matrix.reshape(-1, *x.box, matrix.shape[1])
    total: Tensor | None = None
    for key, part in x.parts.items():
        own = weight
        for axis, kind in enumerate(key):
            first, end = x.bounds(axis, kind)
            own = own.narrow(1 + axis, first, end - first)
        product = torch.mm(part, own.flatten(0, -2))
        total = product if total is None else total.add_(product)
    return total if bias is None or total is None else total.add_(bias)


def reduction(call: Call) -> Any:
    """The mean or the maximum over all space, from those of the parts; along channels each part for itself."""
    [x] = framed_in(call)[:1]
    axes = [axis % x.dim() for axis in call["dim"] or ()]
    if x.flat or sorted(axes) != [*range(2, x.dim())] or call.get("dtype") is not None:
        return each_part(call) if axes else NotImplemented
    found = [(p.numel(), call.func(p, axes, True)) for p in x.parts.values()]
    apart = [(n, value.apart() if isinstance(value, Crops) else value) for n, value in found]
    if call.name == "mean":
        result = torch.stack([value * (n / x.numel()) for n, value in apart]).sum(0)
    else:
        result = torch.stack([value for _, value in apart]).amax(0)
    return result if call["keepdim"] else result.flatten(1)


def _moved(x: Framed, moves: Sequence[Moves], run: Callable[[Crops], Crops], fill: float) -> Any:
    """Windows over the framed cells: those with a touched cell, or padding, among theirs are touched."""
    heads, tails, bounds = [], [], []
    for axis, move in enumerate(moves):
        first, end = x.bounds(axis, MIDDLE)
        head = max(0, -(-(first + move.before) // move.stride))
        tail = move.outputs - 1 - (end - move.extent + move.before) // move.stride
        if head + tail >= move.outputs or head < 0 or tail < 0:
            return NotImplemented
        heads.append(head)
        tails.append(tail)
        bounds.append(((0, head), (head, move.outputs - tail), (move.outputs - tail, move.outputs)))
    parts = {}
    for key, outputs in _keys(bounds):
        cells: list[tuple[int, int]] = []
        pads: list[int] = []
        for (first, end), move, size in zip(outputs, moves, x.box, strict=True):
            lo, hi = first * move.stride - move.before, (end - 1) * move.stride - move.before + move.extent
            cells.append((max(lo, 0), min(hi, size)))
            pads = [max(-lo, 0), max(hi - size, 0), *pads]
        if any(lo >= hi for lo, hi in cells):  # a window of nothing but padding
            return NotImplemented
        block = x.block(key, cells)
        if any(pads):
            box = tuple(b + p + q for b, p, q in zip(block.box, pads[-2::-2], pads[::-2], strict=True))
            block = block.like(F.pad(block.maps, pads, value=fill), box=box, borrowed=False)
        parts[key] = run(block)
    return Framed(parts, tuple(heads), tuple(tails))


def _keys(bounds: Sequence[Sequence[tuple[int, int]]]) -> list[tuple[Key, list[tuple[int, int]]]]:
    """Every choice of head, middle and tail that is not empty, with its bounds."""
    choices = itertools.product((HEAD, MIDDLE, TAIL), repeat=len(bounds))
    found = [(key, [bounds[axis][part] for axis, part in enumerate(key)]) for key in choices]
    return [(key, cells) for key, cells in found if all(first < end for first, end in cells)]


def _meets_space(call: Call) -> bool:
    """Whether it has axes of the crop's space as argument."""
    x, axes = framed_in(call)[0], call.get("dim")
    if axes is None:
        return False
    count = x.dim() + (call.name == "unsqueeze")
    axes = axes if isinstance(axes, list | tuple) else [axes]
    return x.flat or not all(0 < axis % count < count - len(x.box) for axis in axes)


KINDS: dict[Callable[[Call], Any], str] = {
    windows: "convolution avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices",
    padding: "constant_pad_nd",
    view: "view _unsafe_view reshape",
    linear: "addmm mm",
    reduction: "mean amax",
    each_part: "clone _to_copy detach alias copy_ native_batch_norm cudnn_batch_norm _prelu_kernel cat _softmax "
    "_log_softmax slice split split_with_sizes squeeze unsqueeze transpose permute",
}
RULES = {name: function for function, names in KINDS.items() for name in names.split()}
