"""One pass of a network over many changes at once: each operation locally where a rule says how, else densely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn
from weakref import ref

import torch
from torch.utils.flop_counter import flop_registry

from striate.locality.operations import functional, is_pointwise, is_view
from striate.locality.patch.local import Base, Local, absent, dense, flat, mapped
from striate.locality.patch.plan import Step
from striate.locality.patch.rules import DENSE, RULES, Call, Norm

WHOLE = -1  # instead of the number of an operation: all of them
# What an item of a batch has in common with the others, along axis 0.
MIXING = {"sum", "mean", "amax", "amin", "max", "min", "var", "std", "var_mean", "norm", "linalg_vector_norm", "prod"}
MIXING |= {"any", "all", "argmax", "argmin", "logsumexp", "_softmax", "_log_softmax", "cumsum", "sort", "topk"}


class NotLocalError(Exception):
    """The operation of this number cannot be local: what it made is written through a view, or is not known.

    WHOLE: the network cannot be run on windows at all, for the reason given.
    """

    def __init__(self, number: int, why: str = "") -> None:
        super().__init__(number, why)
        self.number, self.why = number, why


@dataclass
class Memory:
    """What all passes over one input share: the unchanged values, weights in other layouts, and what was done.

    All is kept by the number of the operation, of which `functions` has what it does: it must be the same each time.
    `readers` has the operations that read an operation's result, `norms` the batch norms, `convolutions` those whose
    weights may take in what follows, `folded` the batch norm that each took in, and `normed` all of these: known after
    the first pass.
    """

    bases: dict[Any, list[Base]] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    dense: set[int] = field(default_factory=set)  # operations that cannot be local
    most: dict[tuple[int, ...], int] = field(default_factory=dict)  # window -> bytes of a change's greatest tensor
    readers: dict[int, set[int]] = field(default_factory=dict)
    norms: dict[int, Norm] = field(default_factory=dict)
    convolutions: set[int] = field(default_factory=set)
    folded: dict[int, int] = field(default_factory=dict)
    normed: set[int] = field(default_factory=set)
    functions: dict[int, Any] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)  # of the module that was running
    known: bool = False

    def elsewhere(self) -> Memory:
        """What is true of the network at any input of this shape."""
        return replace(self, bases={}, steps={})

    def learn(self) -> None:
        """After the first pass: batch norms that alone read a convolution are folded into it."""
        if not self.known:
            for number, norm in self.norms.items():
                if norm.source in self.convolutions and self.readers[norm.source] == {number}:
                    self.folded[norm.source] = number
            self.normed = set(self.folded.values())
            self.known = True
            for number in self.folded:
                for name in ("weight", "taps", "dense weight"):
                    self.kept.pop((number, (name, False)), None)


class Run:
    """The pass; `n` changes of one window at once; `path` tells the layer that is running, in the first pass."""

    def __init__(self, n: int, window: tuple[int, ...], memory: Memory) -> None:
        self.n, self.window, self.memory = n, window, memory
        self.path: Callable[[], str] = str
        self.hot = False  # whether changes cover far greater values than the rest: differences would round too much
        self.number = -1

    def dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do an operation."""
        self.number += 1
        memory = self.memory
        if memory.functions.setdefault(self.number, func) is not func:
            raise NotLocalError(WHOLE, "it does not execute the same operations each time")
        if torch.Tag.data_dependent_output in func.tags:
            raise NotLocalError(WHOLE, "its course depends on the numbers in a tensor")
        if self.number in memory.normed:  # a convolution did it
            args[0].number = self.number
            return args[0], *[args[0].base.value.new_empty(0)] * (len(func._schema.returns) - 1)
        locals_ = [a for a in flat((args, kwargs)) if isinstance(a, Local)]
        for local in locals_:
            if local.is_absent:
                if not is_view(func):
                    raise NotLocalError(local.origin)
                like = torch.empty(local.shape, dtype=local.dtype, device="meta")
                return absent(self, func(like, *args[1:], **kwargs), local.origin)
        writes = func._schema.is_mutable
        if writes:
            _check_views(args[0])
        if not memory.known:
            for local in locals_:
                memory.readers.setdefault(local.number, set()).add(self.number)
        pure, found = functional(func), NotImplemented
        call = Call(self, self.number, pure or func, args, kwargs)
        if writes and not isinstance(args[0], Local):
            pure = None
        if pure is not None and self.number not in memory.dense and all(a.place is not None for a in locals_):
            act = RULES.get(call.name) or (RULES["pointwise"] if is_pointwise(func) else None)
            found = act(call) if act is not None else NotImplemented
        if found is NotImplemented:
            found = self._densely(call, func, locals_)
        elif writes:
            args[0].become(found)
            found = args[0]
        for out in flat((found,)):
            if isinstance(out, Local):
                out.number = self.number
                if is_view(func) and out is not locals_[0]:
                    locals_[0].family.append(ref(out))
                    out.family, out.origin = locals_[0].family, self.number
        return found

    def refuse(self) -> NoReturn:
        """Have this operation done densely."""
        raise NotLocalError(self.number)

    def held(self, size: int) -> None:
        """Note the bytes of one change's part of a tensor."""
        self.memory.most[self.window] = max(self.memory.most.get(self.window, 1), size)

    def note(self, number: int, name: str, form: str, out: Local, macs: int = 0, full_macs: int = 0) -> None:
        """Note what an operation did: multiply-adds for all n, and those of one whole pass."""
        step = self.memory.steps.setdefault(
            number, Step(self.memory.paths.setdefault(number, self.path()), name, out.space)
        )
        if out.place is not None:
            step.window = tuple(map(max, out.place.sizes, step.window or out.place.sizes))
        step.forms[form] += self.n
        step.macs, step.full_macs, step.changes = step.macs + macs, full_macs, step.changes + self.n

    def _densely(self, call: Call, func: Any, locals_: list[Local]) -> Any:
        """All n as brute force has them."""
        for local in locals_:
            if local.place is not None:
                number, owned = local.number, local.owned
                local.become(dense(self, local.whole()))
                local.number, local.owned = number, owned
        if call.name in MIXING and self.n > 1 and call.x.shape[:1] == (self.n,) and 0 in call.dims(call.x):
            raise NotLocalError(WHOLE, "it mixes the items of a batch")
        given, named = mapped(_held, call.args), mapped(_held, call.kwargs)
        act = DENSE.get(call.name) if not func._schema.is_mutable else None
        try:
            made = act(call, *given, **named) if act is not None else func(*given, **named)
        except RuntimeError:  # some kernels take only tensors in plain order
            if func._schema.is_mutable:
                raise
            made = func(*mapped(_plain, given), **mapped(_plain, named))
        ours = {id(local.full): local for local in locals_}
        shared = {_memory(local.full) for local in locals_}

        def wrapped(thing: Any) -> Any:
            if not isinstance(thing, torch.Tensor):
                return thing
            if id(thing) in ours:
                return ours[id(thing)]
            out = dense(self, thing)
            out.owned = _memory(thing) not in shared
            return out

        result = mapped(wrapped, made)
        first = next((out for out in flat((result,)) if isinstance(out, Local)), None)
        if first is not None and not is_view(func):
            counter = flop_registry.get(func._overloadpacket)
            macs = counter(*given, **named, out_val=first.full) // 2 if counter is not None else 0
            self.note(self.number, call.name, "dense", first, macs, macs // self.n)
        return result


def _memory(tensor: torch.Tensor | None) -> int:
    assert tensor is not None
    return int(tensor.untyped_storage()._cdata)


def _check_views(target: Any) -> None:
    """A window that is written must not be seen by a view elsewhere: from that view on, both are real tensors."""
    if not isinstance(target, Local):
        return
    family = [other for member in target.family if (other := member()) is not None]
    if len(family) > 1 and target.place is not None:
        raise NotLocalError(min(other.origin for other in family if other.origin >= 0))
    if len(family) > 1 and len({_memory(other.full) for other in family}) > 1:
        raise NotLocalError(WHOLE, "it writes through a view that is a copy here")


def _plain(thing: Any) -> Any:
    return thing.contiguous() if isinstance(thing, torch.Tensor) else thing


def _held(thing: Any) -> Any:
    return thing.full if isinstance(thing, Local) else thing
