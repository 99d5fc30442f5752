"""Tensors that stand for many: one input's values, and for each of n changes of it those that differ.

A `Local` claims the shape (n, …) of the n tensors that brute force would hold, so a forward runs on it as it is
written; each operation below is asked for the values that the changes reach, and for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import torch

from striate.locality.patch.place import Place, paste, trimmed

if TYPE_CHECKING:
    from striate.locality.patch.run import Run


class Base:
    """A tensor of the unchanged input (1, …), and its positions as rows of a table."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value
        self._tables: dict[tuple[tuple[int, ...], float], torch.Tensor] = {}

    @cached_property
    def finite(self) -> bool:
        """Whether all values are finite."""
        return bool(self.value.isfinite().all())

    def space(self, axes: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the axes along which changes are local."""
        return tuple(self.value.shape[axis] for axis in axes)

    def table(self, axes: tuple[int, ...], pad: float = 0.0) -> torch.Tensor:
        """One row for each position along `axes`, and a last one for what lies beyond the map."""
        if (axes, pad) not in self._tables:
            rows = self.value.permute(0, *axes, *others(self.value.dim(), axes))[0].flatten(0, len(axes) - 1)
            table = rows.new_empty((len(rows) + 1, *rows.shape[1:]))
            table[:-1] = rows
            table[-1] = pad
            self._tables[axes, pad] = table
        return self._tables[axes, pad]

    def at(self, axes: tuple[int, ...], place: Place, pad: float = 0.0) -> torch.Tensor:
        """The values in windows: (n, *sizes, *rest), a new tensor."""
        table = self.table(axes, pad)
        rows = place.rows(self.space(axes), table.device)
        return table.index_select(0, rows).view(-1, *place.sizes, *table.shape[1:])


def others(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    """The axes that are neither the batch nor among these."""
    return tuple(axis for axis in range(1, rank) if axis not in axes)


class Local(torch.Tensor):
    """The values of n changed inputs: those of the base, but for a window each (`place`), at which they are held.

    `axes` are the axes along which the windows lie. What is held, as (n, *window, *other axes): `full`, the values;
    or `delta`, their differences to the base, or both. Without a place, `full` is the tensor itself, of all n.
    """

    base: Base
    axes: tuple[int, ...]
    place: Place | None
    full: torch.Tensor | None
    delta: torch.Tensor | None
    flattened: Local | None  # what this is the flattened form of
    number: int  # of the operation that made it; -1: the input
    owned: bool  # whether nothing else holds its data
    run: Run
    family: list[ReferenceType[Local]]  # all that share memory with it
    origin: int  # the operation that made it a view; -1: none

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, shape: Sequence[int], like: torch.Tensor, run: Run) -> Local:
        """Claim a shape; `holding` and `dense` fill in the rest."""
        made: Local = torch.Tensor._make_wrapper_subclass(cls, tuple(shape), dtype=like.dtype, device=like.device)
        made.run = run
        made.family = [ref(made)]
        made.origin = made.number = -1
        made.flattened, made.owned = None, False
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Every operation of torch's core on such tensors comes here."""
        first = next(a for a in flat((args, kwargs or {})) if isinstance(a, Local))
        return first.run.dispatch(func, args, kwargs or {})

    def __repr__(self, **_: object) -> str:  # type: ignore[override]  # torch's own would compute
        where = "everywhere" if self.place is None else f"windows of {'x'.join(map(str, self.place.sizes))}"
        return f"Local({tuple(self.shape)}, {where})"

    @property
    def space(self) -> tuple[int, ...]:
        """Sizes of the axes along which changes are local."""
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def held(self) -> torch.Tensor:
        """The values in the windows or, where these are not known, the differences."""
        data = self.full if self.full is not None else self.delta
        assert data is not None
        return data

    @property
    def is_absent(self) -> bool:
        """Whether nothing is held: see `absent`."""
        return self.full is None and self.delta is None and self.flattened is None

    def become(self, other: Local) -> None:
        """Hold what the other holds (in-place operations)."""
        self.base, self.axes, self.place = other.base, other.axes, other.place
        self.full, self.delta, self.flattened = other.full, other.delta, other.flattened
        self.number, self.owned = other.number, other.owned

    def logical(self, data: torch.Tensor) -> torch.Tensor:
        """Data (n, *window, *other axes) with its axes where the tensor has them."""
        return data.permute(back(self.dim(), self.axes))

    def values_at(self, place: Place, pad: float = 0.0) -> torch.Tensor:
        """The values in other windows, unchanged ones from the base: (n, *sizes, *rest), `pad` beyond the map."""
        assert self.place is not None
        if self.full is not None and place.same(self.place):
            return self.full
        made = self.base.at(self.axes, place, pad)
        if self.full is not None:
            return paste(self.full, self.place, made, place)
        return made.add_(self.differences_at(place))

    def differences_at(self, place: Place) -> torch.Tensor:
        """The differences to the base in other windows: (n, *sizes, *rest), 0 beyond the map."""
        assert self.place is not None
        if self.delta is None:
            if not self.base.finite:  # a difference to infinity is no number
                self.run.refuse()
            assert self.full is not None
            base = self.base.at(self.axes, self.place)
            self.delta = torch.sub(self.full, base, out=base)
        if place.same(self.place):
            return self.delta
        return trimmed(self.delta, self.place, place)

    def whole(self) -> torch.Tensor:
        """All values of all n: what brute force would hold."""
        if self.place is None:
            assert self.full is not None
            return self.full
        if self.flattened is not None:
            return self.flattened.whole().reshape(self.shape)
        n, space = len(self.place.starts), self.space
        if self.full is not None and self.place.covers(space):
            return self.logical(self.full)
        table = self.base.table(self.axes)[:-1]
        made = table.expand(n, *table.shape).clone(memory_format=torch.contiguous_format)
        made = made.view(n, *space, *table.shape[1:])
        return self.logical(paste(self.values_at(self.place), self.place, made, Place(self.place.starts * 0, space)))


def back(rank: int, axes: tuple[int, ...]) -> list[int]:
    """The permutation from (n, *window, *other axes) to the axes of the tensor."""
    order = (0, *axes, *others(rank, axes))
    return [order.index(axis) for axis in range(rank)]


def holding(
    run: Run,
    base: Base,
    axes: tuple[int, ...],
    place: Place,
    *,
    full: torch.Tensor | None = None,
    delta: torch.Tensor | None = None,
) -> Local:
    """The tensors that differ from the base in these windows."""
    n = len(place.starts)
    made = Local((n, *base.value.shape[1:]), base.value, run)
    made.base, made.axes, made.place, made.full, made.delta = base, axes, place, full, delta
    run.held(made.held.numel() // n * made.held.element_size())
    return made


def dense(run: Run, tensor: torch.Tensor) -> Local:
    """All n tensors, as they are."""
    made = Local(tensor.shape, tensor, run)
    made.base, made.axes, made.place, made.full, made.delta = Base(tensor), (), None, tensor, None
    run.held(tensor.numel() // run.n * tensor.element_size())
    return made


def absent(run: Run, like: torch.Tensor, origin: int) -> Local:
    """Tensors like this one that were not computed: most often nobody reads them (the indices of maxima).

    Where somebody does, the operation `origin` is done again, densely.
    """
    made = Local((run.n, *like.shape[1:]), like, run)
    made.base, made.axes, made.place, made.full, made.delta = Base(like), (), Place.nowhere(run.n), None, None
    made.origin = origin
    return made


def flat(things: Any) -> list[Any]:
    """What nested sequences and mappings hold."""
    found: list[Any] = []
    for thing in things:
        if isinstance(thing, tuple | list):
            found += flat(thing)
        elif isinstance(thing, dict):
            found += flat(thing.values())
        else:
            found.append(thing)
    return found


def mapped(change: Callable[[Any], Any], thing: Any) -> Any:
    """The same nest with every member changed."""
    if isinstance(thing, tuple | list):
        return type(thing)(mapped(change, part) for part in thing)
    if isinstance(thing, dict):
        return {key: mapped(change, part) for key, part in thing.items()}
    return change(thing)
