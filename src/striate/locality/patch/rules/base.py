"""What rules are given and where they are registered: how a change moves through each operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from striate.locality.operations import arguments, plain_name
from striate.locality.patch.local import Base, Local, dense, flat, holding, mapped
from striate.locality.patch.place import Place

if TYPE_CHECKING:
    from striate.locality.patch.run import Run

# A rule returns what the operation returns, as Locals; or NotImplemented where the operation is not local.
Rule = Callable[["Call"], Any]
RULES: dict[str, Rule] = {}


def rule(names: str) -> Callable[[Rule], Rule]:
    """Register the decorated function for these operations of aten, names with blanks between."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return register


@dataclass
class Norm:
    """A batch norm as factor and summand of each channel, of what an operation made."""

    source: int
    scale: torch.Tensor
    shift: torch.Tensor


class Call:
    """An operation on Locals, all with windows: its arguments by name, and its result on the unchanged input."""

    def __init__(self, run: Run, number: int, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.run, self.number, self.func, self.name = run, number, func, plain_name(func)
        self.args, self.kwargs = args, kwargs

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def get(self, *names: str) -> Any:
        """The first argument of these names; KeyError where there is none."""
        for index, (known, default) in enumerate(arguments(self.func)):
            if known in names:
                return self.kwargs.get(known, self.args[index] if index < len(self.args) else default)
        raise KeyError(names)

    @property
    def x(self) -> Local:
        """The first argument that is one."""
        return next(a for a in flat((self.args, self.kwargs)) if isinstance(a, Local))

    def dims(self, x: Local) -> list[int]:
        """The axes of x that a reduction goes over, all where it names none."""
        try:
            dims = self.get("dim")
        except KeyError:
            dims = None
        listed = [dims] if isinstance(dims, int) else list(dims or range(x.dim()))
        return [dim % x.dim() for dim in listed]

    def bases(self, *args: Any) -> list[Base]:
        """The results on the unchanged input, computed once; with these arguments, where others hold there."""
        kept = self.run.memory.bases
        if self.number not in kept:
            given = mapped(_base, args or tuple(self.args))
            made = self.func(*given, **({} if args else mapped(_base, self.kwargs)))
            kept[self.number] = [Base(t) for t in (made if isinstance(made, tuple | list) else [made])]
        return kept[self.number]

    def keep(self, name: Any, make: Callable[[], Any]) -> Any:
        """What is made once and serves all changes."""
        kept = self.run.memory.kept
        if (self.number, name) not in kept:
            kept[self.number, name] = make()
        return kept[self.number, name]

    def mine(self, x: Local) -> bool:
        """Whether this operation alone reads `x`, and may write over what it holds."""
        return x.owned and self.run.memory.readers.get(x.number) == {self.number} and self.run.memory.known

    def give(
        self,
        place: Place,
        *,
        full: torch.Tensor | None = None,
        delta: torch.Tensor | None = None,
        axes: tuple[int, ...] | None = None,
        base: Base | None = None,
        owned: bool = True,
    ) -> Local:
        """The result: what differs from the base in these windows; the tensors themselves where that is everywhere."""
        base = base or self.bases()[0]
        axes = self.x.axes if axes is None else axes
        made = holding(self.run, base, axes, place, full=full, delta=delta)
        if place.covers(base.space(axes)):
            made.become(dense(self.run, made.whole()))
        made.number, made.owned = self.number, owned
        return made

    def alike(self, x: Local, place: Place, made: torch.Tensor, **rest: Any) -> Local:
        """The result, values or differences as `x` holds them."""
        return self.give(place, full=made, **rest) if x.full is not None else self.give(place, delta=made, **rest)

    def note(self, form: str, out: Local, cells: int = 0, full_cells: int = 0, each: int = 0) -> Local:
        """Write down what was done: cells of one change, of the whole map, and multiply-adds of each."""
        self.run.note(self.number, self.name, form, out, self.run.n * cells * each, full_cells * each)
        return out


def _base(thing: Any) -> Any:
    return thing.base.value if isinstance(thing, Local) else thing


def nth(values: Any, axis: int) -> int:
    """An option of an axis, where one number stands for all of them."""
    return int(values[min(axis, len(values) - 1)] if isinstance(values, tuple | list) else values)
