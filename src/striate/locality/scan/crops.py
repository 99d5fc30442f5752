"""All crops of an image as one batch, without the copies.

A `Crops` tensor has the shape of a batch with one item for every position of a crop, so that a network runs on it as
written; it holds maps that the crops share. Along one axis of space

    crop p = D*q + r,  cell i      is      maps[fragment r][step*q + i]

A network that moves by a stride of 2 sees, for odd positions, other cells than for even ones: there the map is split
into two fragments (D becomes 2 D), which go to the batch axis (Giusti, Ciresan et al. 2013, "Fast image scanning with
deep max-pooling convolutional neural networks"). Every convolution stays dense and every cell is computed once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from striate.errors import InputError
from striate.locality.operations import arguments

Sizes = tuple[int, ...]
CHOICE = 'Pass borders="crops": exact, at the cost of computing for each crop what others do not share'


@dataclass
class Lattice:
    """What all tensors of one pass have in common: items of the batch, positions and last fragments an axis.

    `framed` gives the form of crops that padding may touch, where `borders` are those of crops. `within`: how many of
    the positions lie within the image; there are more where it takes them to come to a multiple of the fragments.
    """

    items: int
    positions: Sizes
    fragments: Sizes
    borders: str | None = None
    within: Sizes = ()
    layer: Callable[[], str] = lambda: "?"
    framed: Callable[[Crops], Tensor] = lambda crops: crops
    apart: list[str] = field(default_factory=list)

    @property
    def rank(self) -> int:
        """Number of axes along which crops move."""
        return len(self.positions)

    @property
    def ends_early(self) -> bool:
        """Whether maps that are padded as they are have cells beyond the image's end."""
        return self.borders == "image" and self.within != self.positions

    @property
    def crops(self) -> int:
        """Size of the batch that the network sees."""
        return self.items * math.prod(self.positions)

    def refuse(self, what: str, got: str, fix: str) -> InputError:
        """The error for what this layer does."""
        return InputError(what, where=f"at {self.layer()}", got=got, fix=fix)

    def placed(self, batch: Tensor) -> Tensor:
        """Results of all crops, in the order of `apart`, as Tensor[n, ..., *positions]."""
        rank, rest = self.rank, batch.shape[1:]
        quotients = [p // d for p, d in zip(self.positions, self.fragments, strict=True)]
        parts = batch.reshape(*self.fragments, self.items, *quotients, *rest)
        position = [axis for pair in zip(range(rank + 1, 2 * rank + 1), range(rank), strict=True) for axis in pair]
        parts = parts.permute(rank, *range(2 * rank + 1, parts.dim()), *position)
        return parts.reshape(self.items, *rest, *self.positions)


class Crops(Tensor):
    """A batch (crops, *plain, *box): the last axes are the space within a crop; `flat`: one axis for all of them.

    `maps` has the shape (*fragments, items) in one, *plain, and step*(q - 1) + box an axis for q = positions/fragments.
    `borrowed`: these are some of the cells of another tensor, and what is written into them would be lost.
    """

    maps: Tensor
    lattice: Lattice
    box: Sizes
    fragments: Sizes
    step: Sizes
    flat: bool
    borrowed: bool

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(
        cls: type[Crops],
        maps: Tensor,
        lattice: Lattice,
        box: Sizes,
        fragments: Sizes,
        step: Sizes,
        flat: bool = False,
        borrowed: bool = False,
    ) -> Crops:
        plain = tuple(maps.shape[1 : maps.dim() - lattice.rank])
        item = (math.prod((*plain, *box)),) if flat else (*plain, *box)
        crops: Crops = Tensor._make_wrapper_subclass(cls, (lattice.crops, *item), dtype=maps.dtype, device=maps.device)
        crops.maps, crops.lattice, crops.box, crops.fragments = maps, lattice, box, fragments
        crops.step = tuple(1 if q == 1 else u for q, u in zip(crops.quotients, step, strict=True))
        crops.flat, crops.borrowed = flat, borrowed
        return crops

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Crops(shape={tuple(self.shape)}, maps={tuple(self.maps.shape)})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if any(getattr(kind, "holds_crops", False) for kind in types):
            return NotImplemented
        call = Call.of(func, args, kwargs or {})
        rule = RULES.get(call.name) or (RULES["pointwise"] if torch.Tag.pointwise in func.tags else None)
        result = rule(call) if rule is not None else NotImplemented
        if result is NotImplemented:
            result = func.decompose(*args, **(kwargs or {}))
        return each_apart(call, call.crops) if result is NotImplemented else result

    def like(self, maps: Tensor, **changes: Any) -> Crops:
        """Other maps, cells of the same places."""
        same = {name: getattr(self, name) for name in ("lattice", "box", "fragments", "step", "flat", "borrowed")}
        return Crops(maps, **(same | changes))

    def parted(self, fragments: Sizes) -> Crops | None:
        """The same in more fragments, step 1 where a crop has one cell; None where it has more that would part."""
        if any(box > 1 and d != new for d, new, box in zip(self.fragments, fragments, self.box, strict=True)):
            return None
        axes = zip(self.step, self.fragments, fragments, self.box, strict=True)
        stride = [u * new // d if box == 1 else 1 for u, d, new, box in axes]
        cells = [slice(None, None, g) for g in self.common(stride)]
        return self.picked(cut(self.maps, cells), stride, self.box)

    @property
    def quotients(self) -> Sizes:
        """Positions in each fragment."""
        return tuple(p // d for p, d in zip(self.lattice.positions, self.fragments, strict=True))

    def ended(self, fill: float) -> Tensor:
        """The maps before padding: `fill` in the cells beyond the image's end, too, those that no crop within has."""
        maps, lattice = self.maps, self.lattice
        if not lattice.ends_early:
            return maps
        axes = zip(self.fragments, self.step, self.box, lattice.within, strict=True)
        for axis, (d, step, box, count) in enumerate(axes):
            first = maps.dim() - lattice.rank
            cells = torch.arange(maps.shape[first + axis], device=maps.device)
            lasts = (count - 1 - torch.arange(d, device=maps.device)) // d  # quotients of the last crops
            beyond = cells >= (step * lasts + box)[:, None]
            beyond = beyond.view(d, *[1] * (lattice.rank - axis), -1)
            beyond = beyond.expand(*self.fragments[:axis], d, *self.fragments[axis + 1 :], lattice.items, -1)
            shape = [maps.shape[0] if a == 0 else -1 if a == first + axis else 1 for a in range(maps.dim())]
            maps = maps.masked_fill(beyond.reshape(shape), fill)
        return maps

    def cells(self, axis: int, first: int, end: int, own: bool) -> Crops:
        """Some cells of each crop along one axis; `own`: with a fragment for each position, so that none is shared."""
        if (first, end) == (0, self.box[axis]) and not own:
            return self
        box = tuple(end - first if a == axis else b for a, b in enumerate(self.box))
        apart = [q if own and a == axis else 1 for a, q in enumerate(self.quotients)]
        begin = [slice(first if a == axis else 0, None) for a in range(len(box))]
        return self.picked(cut(self.maps, begin), [1] * len(box), box, apart)

    def common(self, stride: Sequence[int]) -> list[int]:
        """At which places an operation of this stride has to be computed: each that some crop looks at."""
        axes = zip(self.step, stride, self.quotients, strict=True)
        return [s if q == 1 else math.gcd(u, s) for u, s, q in axes]

    def picked(self, maps: Tensor, stride: Sequence[int], box: Sizes, apart: Sequence[int] | None = None) -> Crops:
        """Each stride-th cell of the box, as a box of this size; `maps` has what lies at the `common` places.

        Neighbors go to so many fragments `apart` (by default those of which the windows do not meet at a multiple of
        the stride).
        """
        common = self.common(stride)
        every = [s // g for s, g in zip(stride, common, strict=True)]
        apart = apart or [min(e, q) for e, q in zip(every, self.quotients, strict=True)]
        step = tuple(max(u // g, 1) for u, g in zip(self.step, common, strict=True))
        quotients = [q // a for q, a in zip(self.quotients, apart, strict=True)]
        lengths = [u * (q - 1) + b for u, q, b in zip(step, quotients, box, strict=True)]

        def cells(offsets: Sequence[int]) -> list[slice]:
            firsts = [u * r for u, r in zip(step, offsets, strict=True)]
            return [slice(a, a + e * (n - 1) + 1, e) for a, e, n in zip(firsts, every, lengths, strict=True)]

        if math.prod(apart) == 1:
            return self.like(cut(maps, cells((0,) * len(apart))), box=box, step=step, borrowed=True)
        shape = (math.prod(apart) * maps.shape[0], *maps.shape[1 : maps.dim() - self.lattice.rank], *lengths)
        new = torch.empty(shape, dtype=maps.dtype, device=maps.device, memory_format=layout(maps))
        order = [size for pair in zip(apart, self.fragments, strict=True) for size in pair]
        parts = torch.unflatten(new, 0, (*order, self.lattice.items))
        old = torch.unflatten(maps, 0, (*self.fragments, self.lattice.items))
        for offsets in itertools.product(*map(range, apart)):
            at = [part for offset in offsets for part in (offset, slice(None))]
            parts[tuple(at)].copy_(cut(old, cells(offsets)))
        fragments = tuple(d * a for d, a in zip(self.fragments, apart, strict=True))
        return self.like(new, box=box, step=step, fragments=fragments)

    def apart(self) -> Tensor:
        """The crops, each with its own copy: a plain tensor of this shape, the last fragments first."""
        rank, lattice = self.lattice.rank, self.lattice
        plain = self.maps.dim() - rank - 1
        windows = torch.unflatten(self.maps, 0, (*self.fragments, lattice.items))
        for axis, (size, step) in enumerate(zip(self.box, self.step, strict=True)):
            windows = windows.unfold(rank + 1 + plain + axis, size, step)
        # Now (*fragments, items, *plain, *quotients, *box); each quotient is split into the last one and a rest.
        first = rank + 1 + plain
        for axis in reversed(range(rank)):
            more = lattice.fragments[axis] // self.fragments[axis]
            windows = torch.unflatten(windows, first + axis, (-1, more))
        rests = [axis for a in range(rank) for axis in (first + 2 * a + 1, a)]
        quotients = range(first, first + 2 * rank, 2)
        box = range(first + 2 * rank, windows.dim())
        return windows.permute(*rests, rank, *quotients, *range(rank + 1, first), *box).reshape(self.shape)


@dataclass(frozen=True)
class Call:
    """An operation with its arguments by name."""

    func: Any
    arguments: dict[str, Any]

    @classmethod
    def of(cls, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """The call with these arguments, defaults filled in."""
        named = {
            name: args[position] if position < len(args) else kwargs.get(name, default)
            for position, (name, default) in enumerate(arguments(func))
        }
        return cls(func, named)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every operation has."""
        return self.arguments.get(name, default)

    @property
    def name(self) -> str:
        """Without namespace and overload."""
        return str(self.func._schema.name).removeprefix("aten::")

    @property
    def tensors(self) -> list[Tensor]:
        """Those among the arguments, and in lists of them."""
        flat = [p for a in self.arguments.values() for p in (a if isinstance(a, tuple | list) else (a,))]
        return [part for part in flat if isinstance(part, Tensor)]

    @property
    def crops(self) -> list[Crops]:
        """Those among the tensors."""
        return [tensor for tensor in self.tensors if isinstance(tensor, Crops)]

    def changed(self, of: Callable[[Tensor], Any]) -> Call:
        """The call with something else for each of the tensors."""
        return Call(self.func, {name: _replaced(value, of) for name, value in self.arguments.items()})

    def run(self, of: Callable[[Any], Any] = lambda tensor: tensor, **changes: Any) -> Any:
        """The operation with other arguments, and with something else for each of the tensors that hold crops."""
        call = Call(self.func, self.arguments | changes)
        holding = call.changed(lambda t: of(t) if isinstance(t, Crops) or hasattr(t, "holds_crops") else t)
        return self.func(**holding.arguments)


Rule = Callable[[Call], Any]
RULES: dict[str, Rule] = {}


def rule(names: str) -> Callable[[Rule], Rule]:
    """Register the decorated function for these operations of aten. It gives NotImplemented where crops cannot share
    the operation."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return register


def cut(maps: Tensor, cells: Sequence[slice]) -> Tensor:
    """These cells of the last axes."""
    index: Any = (..., *cells)
    return maps[index]


def layout(maps: Tensor) -> torch.memory_format:
    """Channels last where the maps have them last."""
    for axes, last in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if maps.dim() == axes and maps.is_contiguous(memory_format=last):
            return last
    return torch.contiguous_format


def by(sizes: Sequence[int]) -> str:
    """Sizes, for people."""
    return "x".join(map(str, sizes))


def aligned(given: Sequence[Crops]) -> dict[int, Crops] | None:
    """Each, by its id, with the same cells at the same places of the maps; None where they hold different cells."""
    first = given[0]
    if any((c.box, c.flat, c.dim()) != (first.box, first.flat, first.dim()) for c in given):
        return None
    fragments = tuple(math.lcm(*numbers) for numbers in zip(*(c.fragments for c in given), strict=True))
    if all((c.fragments, c.step) == (fragments, first.step) for c in given):
        return {id(c): c for c in given}
    made = [c.parted(fragments) for c in given]
    if len({None if m is None else m.step for m in made}) > 1 or made[0] is None:
        return None
    return {id(c): m for c, m in zip(given, made, strict=True) if m is not None}


def _replaced(value: Any, function: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        return type(value)(_replaced(part, function) for part in value)
    return value


def each_apart(call: Call, given: Sequence[Any]) -> Any:
    """The operation on each crop for itself. It costs nothing where a crop is one cell."""
    lattice = given[0].lattice
    if call.func._schema.is_mutable:
        fix = "Write it with an operation that makes a new tensor."
        raise lattice.refuse("crops that share their cells cannot be written into", call.name, fix)
    if any(math.prod(crops.box) > 1 for crops in given):
        if lattice.borders != "crops":
            raise lattice.refuse("this operation has no form that crops share", call.name, f"{CHOICE}.")
        lattice.apart.append(lattice.layer())
    return call.run(lambda crops: crops.apart())
