"""The operations that a network executes, written down twice, for two lengths and two batches: what differs between
the two shapes of a tensor says which of its axes is time and which the batch."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from striate.errors import InputError, did_you_mean
from striate.geometry.failure import MAY_BE_THE_SIZE, place
from striate.geometry.running import Running, watched
from striate.geometry.state import preserved
from striate.locality.stream.layout import LONGER, Axes
from striate.shapes import Tensor


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


@dataclass
class Recording:
    """What one forward did, on inputs of which the signals are given by name."""

    inputs: Mapping[str, Tensor]
    events: list[Event] = field(default_factory=list)
    output: Any = None
    error: Exception | None = None  # why it came to no end


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation, and writes down those that depend on the inputs."""

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor], layer: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model, self.layer = model, layer
        self.known = {id(tensor): tensor for tensor in inputs}  # kept, so that numbers of objects stay their own
        self.events: list[Event] = []
        self.running: Running = lambda: ("", model)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        depends = any(id(tensor) in self.known for tensor in tensors_in((args, kwargs)))
        if depends and torch.Tag.data_dependent_output in func.tags:
            what = "looks at the numbers in a tensor, which here are not those of a signal"
            raise LookedAtError(
                "cannot be streamed",
                where=f"{place(*self.running())}, {func._schema.name} {what}",
                fix="Replace branches and .item() by tensor operations (torch.where); leave checks of the data out.",
            )
        out = func(*args, **kwargs)
        if depends:
            outputs = tensors_in(out)
            self.known |= {id(tensor): tensor for tensor in outputs}
            self.events.append(Event(func, tuple(args), kwargs, outputs, place(*self.running())))
        return out

    def output(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer returns; what comes after it is not run."""
        modules = dict(self.model.named_modules())
        if self.layer not in modules:
            raise InputError("no layer of this path", got=repr(self.layer), fix=did_you_mean(self.layer, modules))

        def left(_path: str, module: nn.Module, output: Any, failed: bool) -> None:
            if module is modules[self.layer] and not failed:
                raise ReachedError(output)

        try:
            with watched(self.model, left) as self.running, self:
                self.model(*args, **kwargs)
        except ReachedError as reached:
            return reached.output
        raise InputError("the layer was not executed", where=self.layer)


class LookedAtError(InputError):
    """The course of the forward depends on the data; no other length helps."""


class ReachedError(Exception):
    """Carries the output of the layer that was asked for out of the forward."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def record(model: nn.Module, inputs: Mapping[str, Tensor], conditions: Mapping[str, Tensor], layer: str) -> Recording:
    """One forward in eval mode, without gradients, up to a layer; the network is left as it was."""
    recorder = Recorder(model, list(inputs.values()), layer)
    args, named = ((), inputs) if "" not in inputs else (tuple(inputs.values()), {})
    with preserved(model), torch.no_grad():
        model.eval()
        try:
            return Recording(inputs, recorder.events, recorder.output(*args, **named, **conditions))
        except LookedAtError:
            raise
        except MAY_BE_THE_SIZE as error:
            return Recording(inputs, recorder.events, error=error)


def tensors_in(things: Any) -> list[Tensor]:
    """The tensors in nested sequences and mappings."""
    return [leaf for leaf in tree_leaves(things) if isinstance(leaf, Tensor)]


def recorded_twice(
    model: nn.Module,
    inputs: Callable[[int, int], Mapping[str, Tensor]],
    conditions: Mapping[str, Tensor],
    layer: str,
    axes: Axes,
) -> tuple[Recording, Recording]:
    """Recordings for (batch, steps) and (batch + 1, steps + LONGER), of what the layer's output depends on.

    Raises InputError where the network does other things for another length.
    """
    short = record(model, inputs(axes.batch, axes.steps), conditions, layer)
    more = {name: torch.cat([given, given[:1]]) for name, given in conditions.items()}
    long = record(model, inputs(axes.batch + 1, axes.steps + LONGER), more, layer)
    if short.error or long.error:
        return short, long
    if [event.func for event in short.events] != [event.func for event in long.events]:
        raise InputError("a network whose operations depend on the length cannot be streamed", got=type(model).__name__)
    return Recording(short.inputs, needed(short), short.output), Recording(long.inputs, needed(long), long.output)


def differing(event: Event, again: Event, signals: Container[int], axes: Axes) -> tuple[str, str] | None:
    """Why an operation's constants are not those of every length, and the way out; `signals` by id are none."""
    leaves = (tree_leaves((one.args, one.kwargs)) for one in (event, again))
    for a, b in zip(*leaves, strict=False):
        if isinstance(a, Tensor) and id(a) in signals:
            continue
        if isinstance(a, Tensor) and not axes.alike(a.shape, b.shape):
            return "has a constant for each step", "Give it as an input that is streamed."
        if not axes.same(a, b):
            return "has a constant that depends on the length (or the batch)", "Use one that is always the same."
    return None


def needed(recording: Recording) -> list[Event]:
    """The events on which the output depends; one that writes in place belongs to all that lies in that memory."""
    tensors = tensors_in(recording.output)
    wanted, memory = {id(tensor) for tensor in tensors}, {place_of(tensor) for tensor in tensors}
    found = []
    for event in reversed(recording.events):
        writes = event.func._schema.is_mutable and place_of(event.outputs[0]) in memory
        if writes or any(id(tensor) in wanted for tensor in event.outputs):
            given = tensors_in((event.args, event.kwargs))
            wanted |= {id(tensor) for tensor in given}
            memory |= {place_of(tensor) for tensor in given}
            found.append(event)
    return found[::-1]


def place_of(tensor: Tensor) -> int:
    """Where its memory begins; views have that of their base."""
    return tensor.untyped_storage().data_ptr()
