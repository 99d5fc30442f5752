"""The operations that a network executes, written down twice, for two lengths and two batches: what differs between
the two shapes of a tensor says which of its axes is time and which the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import InputError
from striate.geometry.failure import place
from striate.geometry.state import preserved
from striate.shapes import Tensor

# The second recording has so many more steps (a multiple of usual strides) and one more item.
LONGER = 60


@dataclass(frozen=True)
class Event:
    """One operation: the function, what it was given, what it returned (tensors only), and where."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Tensor]
    path: str

    @property
    def name(self) -> str:
        """As torch has it, aten::relu; one that writes in place is told as one that does not."""
        name: str = self.func._schema.name
        return name.removesuffix("_") if self.func._schema.is_mutable else name

    @property
    def functional(self) -> Any:
        """The function that returns its result, where this one writes it into its first argument."""
        if not self.func._schema.is_mutable:
            return self.func
        packet = getattr(torch.ops.aten, self.name.removeprefix("aten::"))
        return getattr(packet, self.func._overloadname)


@dataclass
class Recording:
    """What one forward did, on inputs of which the signals are given by name."""

    inputs: Mapping[str, Tensor]
    events: list[Event] = field(default_factory=list)
    output: Any = None


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation, and writes down those that depend on the inputs."""

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {id(tensor): tensor for tensor in inputs}  # kept, so that numbers of objects stay their own
        self.events: list[Event] = []
        self.stack: list[str] = [place("", model)]
        self.paths = {id(module): place(path, module) for path, module in model.named_modules()}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = tensors_in((args, kwargs))
        if any(id(tensor) in self.known for tensor in given):
            outputs = tensors_in(out)
            self.known |= {id(tensor): tensor for tensor in (*given, *outputs)}
            self.events.append(Event(func, tuple(args), kwargs, outputs, self.stack[-1]))
        return out

    def watched(self, model: nn.Module) -> Iterator[torch.utils.hooks.RemovableHandle]:
        """Hooks by which the layer is known."""
        for module in model.modules():
            yield module.register_forward_pre_hook(lambda m, _: self.stack.append(self.paths[id(m)]))
            yield module.register_forward_hook(lambda *_: [self.stack.pop(), None][1], always_call=True)


def record(model: nn.Module, inputs: Mapping[str, Tensor], conditions: Mapping[str, Tensor]) -> Recording:
    """One forward in eval mode, without gradients; the network is left as it was."""
    recorder = Recorder(model, list(inputs.values()))
    args, named = ((), inputs) if "" not in inputs else (tuple(inputs.values()), {})
    with preserved(model), torch.no_grad():
        model.eval()
        hooks = list(recorder.watched(model))
        try:
            with recorder:
                output = model(*args, **named, **conditions)
        finally:
            for hook in hooks:
                hook.remove()
    return Recording(inputs, recorder.events, output)


def tensors_in(things: Any) -> list[Tensor]:
    """The tensors in nested sequences and mappings."""
    return [leaf for leaf in tree_leaves(things) if isinstance(leaf, Tensor)]


@dataclass(frozen=True)
class Axes:
    """Reads which axis is what off two shapes of a tensor, one for `batch` items of `steps` steps."""

    batch: int
    steps: int

    def letters(self, short: Sequence[int], long: Sequence[int]) -> str:
        """b batch, t time, m both merged, f features (as long in both), and ? for anything else."""
        return "".join(self._letter(a, b) for a, b in zip(short, long, strict=True))

    def _letter(self, a: int, b: int) -> str:
        if a == b:
            return "f"
        if (a, b) == (self.batch, self.batch + 1):
            return "b"
        if b - a == LONGER:
            return "t"
        merged = a % self.batch == 0 and b % (self.batch + 1) == 0
        return "m" if merged and b // (self.batch + 1) - a // self.batch == LONGER else "?"

    def extra(self, letters: str, short: Sequence[int]) -> int:
        """How many more steps a tensor has than the input."""
        if "t" in letters:
            return short[letters.index("t")] - self.steps
        return short[letters.index("m")] // self.batch - self.steps


def recorded_twice(
    model: nn.Module, inputs: Callable[[int, int], Mapping[str, Tensor]], conditions: Mapping[str, Tensor], axes: Axes
) -> tuple[Recording, Recording]:
    """Recordings for (batch, steps) and (batch + 1, steps + LONGER).

    Raises InputError where the network does other things for another length.
    """
    short = record(model, inputs(axes.batch, axes.steps), conditions)
    more = {name: torch.cat([given, given[:1]]) for name, given in conditions.items()}
    long = record(model, inputs(axes.batch + 1, axes.steps + LONGER), more)
    if [event.func for event in short.events] != [event.func for event in long.events]:
        raise InputError("a network whose operations depend on the length cannot be streamed", got=type(model).__name__)
    return short, long
