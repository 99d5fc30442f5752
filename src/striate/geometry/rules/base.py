"""What a rule is, how one is registered and found, and the forms of reading that rules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from striate.errors import InputError
from striate.geometry.graph import Counts, Node, Value
from striate.geometry.reading import Axis, Read, Readings, Shape, broadcast, whole
from striate.geometry.window import IDENTITY, Window
from striate.registry import Registry

# The rule of what torch marks as pointwise.
POINTWISE = "aten::pointwise"
# Patterns are written out phase by phase up to this many; a longer one is read as the whole axis.
PHASES = 4096


@dataclass(frozen=True)
class Facts:
    """What a rule says of one call: the operation's name for people, its kind, readings and counts.

    `readings` has one tuple for each output; the last serves the outputs after it, too.
    `kind`: convolution, linear, norm, activation, pooling, resampling, elementwise, shape or other.
    """

    operation: str
    kind: str
    readings: tuple[Readings, ...]
    counts: Counts = field(default_factory=Counts)


class Call:
    """An operation that was executed: its arguments by their names in the schema, its outputs, and the graph so far."""

    def __init__(
        self,
        func: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        outputs: Sequence[torch.Tensor],
        values: Sequence[Value],
        nodes: Sequence[Node],
        known: Mapping[int, int],
    ) -> None:
        self.func, self.outputs, self.values, self.nodes, self._known = func, outputs, values, nodes, known
        self.name: str = func._schema.name
        self._args, self._kwargs = args, kwargs

    def __getitem__(self, name: str) -> Any:
        for position, (argument, default) in enumerate(_arguments(self.func)):
            if argument == name:
                return self._args[position] if position < len(self._args) else self._kwargs.get(name, default)
        raise KeyError(f"{self.name} has no argument {name}")

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every overload has."""
        return self[name] if any(argument == name for argument, _ in _arguments(self.func)) else default

    def source(self, tensor: torch.Tensor) -> int:
        """The value that a tensor is; -1 where it does not depend on the network's input."""
        return self._known.get(id(tensor), -1)

    def before(self, tensor: torch.Tensor) -> Shape:
        """The shape of a tensor as the operation found it (transpose_ changes it)."""
        source = self.source(tensor)
        return self.values[source].shape if source >= 0 else tuple(tensor.shape)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Everything that the operation was given."""
        return (*self._args, *self._kwargs.values())

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Tensor arguments that depend on the network's input, those in lists included."""
        flat = [part for value in self.arguments for part in (value if isinstance(value, tuple | list) else (value,))]
        return [part for part in flat if isinstance(part, torch.Tensor) and self.source(part) >= 0]

    @property
    def shape(self) -> Shape:
        """Shape of the first output."""
        return tuple(self.outputs[0].shape)

    @property
    def numel(self) -> int:
        """Values in the first output, of one item."""
        return self.outputs[0].numel()

    def read(self, tensor: torch.Tensor, axes: Sequence[Axis], **limits: Any) -> Readings:
        """The reading of a tensor by these windows; none where it does not depend on the input."""
        source = self.source(tensor)
        return (Read(source, tuple(axes), **limits),) if source >= 0 else ()


@cache
def _arguments(func: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((a.name, a.default_value if a.has_default_value() else None) for a in func._schema.arguments)


@dataclass(frozen=True)
class Rule:
    """The registered function of one operation."""

    name: str
    function: Callable[[Call], Facts]


RULES: Registry[Rule] = Registry("operation")


def rule(names: str) -> Callable[[Callable[[Call], Facts]], Callable[[Call], Facts]]:
    """Register the decorated function for these operations: names with blanks between, `mylib::op`, or `relu` for
    `aten::relu`. A rule of your own (outside aten) may be given again; the last one holds."""

    def register(function: Callable[[Call], Facts]) -> Callable[[Call], Facts]:
        for name in names.split():
            full = name if "::" in name else f"aten::{name}"
            RULES.add(Rule(full, function), replace=not full.startswith("aten::"))
        _rule_for.cache_clear()
        return function

    return register


# What counts even where it works on parameters alone.
PRODUCTS = {f"aten::{name}" for name in ("convolution", "addmm", "mm", "bmm", "baddbmm")}


def facts_of(call: Call, where: str) -> Facts:
    """What the rule of an operation says; InputError where there is none."""
    function = _rule_for(call.func)
    if function is None:
        raise InputError(
            "no rule says how an operation reads its inputs",
            where=where,
            got=call.name,
            fix=f'Add one: @striate.geometry.rule("{call.name}") on a function from Call to Facts '
            "(pointwise, reduced and the other readings are in striate.geometry.rules).",
        )
    return function(call)


@cache
def _rule_for(func: Any) -> Callable[[Call], Facts] | None:
    name = func._schema.name
    for known in (name, name.rstrip("_")):
        if known in RULES:
            return RULES[known].function
    space, _, plain = name.rstrip("_").partition("::")
    forms = getattr(getattr(torch.ops, space), plain, None)  # torch marks abs as pointwise, but not abs_
    overload = func._overloadname if forms is not None and func._overloadname in forms.overloads() else None
    tags = {*func.tags, *(getattr(forms, overload).tags if overload else ())}
    return RULES[POINTWISE].function if torch.Tag.pointwise in tags else None


def writes(call: Call) -> set[int]:
    """The ids of the tensors that a call writes in place."""
    if not call.func._schema.is_mutable:
        return set()
    written = set()
    for argument in call.func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = call[argument.name]
            written |= {id(t) for t in (value if isinstance(value, tuple | list) else (value,))}
    return written


# How outputs read inputs: the forms that most rules share


def pointwise(call: Call) -> tuple[Readings, ...]:
    """Position by position, with broadcasting, every argument."""
    made = []
    for output in call.outputs:
        shape = tuple(output.shape)
        made.append(tuple(broadcast(call.source(t), tuple(t.shape), shape) for t in call.tensors))
    return tuple(made)


def same(call: Call, tensor: torch.Tensor, changed: Mapping[int, Axis], **limits: Any) -> Readings:
    """Axis by axis the same position, but for the axes that are `changed`."""
    axes = [changed.get(axis, Axis(axis, IDENTITY)) for axis in range(tensor.dim())]
    return call.read(tensor, axes, **limits)


def over(call: Call, tensor: torch.Tensor, dims: Sequence[int], **limits: Any) -> Readings:
    """As `same`, with these axes read as a whole (softmax, norms, sorting)."""
    return same(call, tensor, {d % tensor.dim(): whole(tensor.shape[d]) for d in dims}, **limits)


def reduced(call: Call, tensor: torch.Tensor, dims: Sequence[int] | None, keepdim: bool) -> Readings:
    """These axes (all, where None) are read as a whole and go, or stay with size 1; the others stay."""
    gone = {d % max(tensor.dim(), 1) for d in (dims if dims else range(tensor.dim()))}
    axes, driver = [], 0
    for axis, size in enumerate(tensor.shape):
        if axis not in gone:
            axes.append(Axis(driver, IDENTITY))
        elif keepdim:
            axes.append(Axis(driver, Window(size, 0, size - 1)))
        else:
            axes.append(whole(size))
        driver += keepdim or axis not in gone
    return call.read(tensor, axes)


def all_of(call: Call) -> tuple[Readings, ...]:
    """Every output may read everything: a bound, never too little."""
    return (tuple(read for t in call.tensors for read in anything(call, t)),)


def anything(call: Call, tensor: torch.Tensor) -> Readings:
    """Every output may read all of this tensor."""
    return call.read(tensor, [whole(size) for size in tensor.shape], loose=(-1,))
