"""One step of work for one step of a signal: any causal network as `step(x_t) -> y_t`, equal to the full run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.failure import MAY_BE_THE_SIZE
from striate.geometry.state import preserved, unwrapped
from striate.locality.stream.causal import Rules
from striate.locality.stream.layout import Axes
from striate.locality.stream.program import Program
from striate.locality.stream.recording import recorded_twice
from striate.locality.stream.signals import Signal, copied, ordered
from striate.shapes import Float, Tensor

# Lengths on which a network is tried, none of them a size that its constants may have by chance: without padding it
# takes no short ones, and what a crop leaves of them does not tell much.
LENGTHS = (107, 5003, 50021)

Inputs = Callable[[int, int], Mapping[str, Tensor]]


def stream(
    model: nn.Module,
    channels: int | Mapping[str, int] | None = None,
    *,
    streams: int = 1,
    look_ahead: bool = False,
    conditions: Mapping[str, Tensor] | None = None,
    layer: str = "",
) -> Stream:
    """The network as a machine that takes one step of a signal and returns one step of its output.

    Each layer keeps as many of its last inputs as its taps reach back, in a ring, and computes one step of output from
    them: step(x[:, :, 0]), step(x[:, :, 1]), … are the steps of model(x), padding at every layer included. `streams`
    signals are run side by side, in the dtype and on the device of the network, in eval mode, with the weights that it
    has now; the network is left as it was.

    `channels` are those of the signal Float[n, c, t] that the forward takes (by default those of its first layer), or
    for several signals a dict by the names of its arguments. `conditions` are arguments that are the same for all
    steps, Float[streams, …].

    With `layer`, a module path, the output is what that module returns (the first time), and nothing after it is done:
    the feature maps of a network that pools over time at its end, or one of several outputs.

    A network that looks ahead has its step t - delay returned at step t, where `look_ahead` allows that; `flush` gives
    the last ones, with the right border as the full run has it.

    Raises InputError where a layer looks ahead and `look_ahead` does not allow it, where one changes the rate of steps,
    reads all of them at once, or has no rule here; each names the layer.

    >>> conv = torch.nn.Conv1d(1, 1, 2, bias=False).requires_grad_(False)
    >>> _ = conv.weight.copy_(torch.tensor([[[10.0, 1.0]]]))
    >>> net = torch.nn.Sequential(torch.nn.ConstantPad1d((1, 0), 0.0), conv)
    >>> running = stream(net)
    >>> [running.step(torch.tensor([[x]])).item() for x in (1.0, 2.0, 3.0)]
    [1.0, 12.0, 23.0]

    The products of a step are small, and threads mostly wait for each other: for few streams one thread
    (torch.set_num_threads) is as fast as several, and far faster where the machine has other work.

    Source: the queues of Le Paine et al. 2016, Fast WaveNet generation algorithm, section 2, for any network.
    """
    model = unwrapped(model)
    if streams < 1:
        raise InputError("there is at least one stream", got=streams)
    named = _channels(model, channels)
    own = itertools.chain(model.parameters(), model.buffers())
    like = next((tensor for tensor in own if tensor.is_floating_point()), torch.zeros(())).detach()
    given = {name: tensor.detach().clone() for name, tensor in (conditions or {}).items()}
    for name, tensor in given.items():
        if len(tensor) != streams:
            raise InputError("a condition has one item a stream", where=name, expected=streams, got=len(tensor))

    def inputs(batch: int, steps: int) -> dict[str, Tensor]:
        return {name: like.new_zeros(batch, count, steps) for name, count in named.items()}

    with torch.inference_mode(False), torch.no_grad(), preserved(model):
        _copy_weights(model)
        output = _output(model, inputs, given, layer, streams if given else 2)
    with torch.inference_mode():
        return Stream(output, named, streams, like, look_ahead)


class Stream:
    """See `stream`. `delay` is how many steps late an output comes; `steps` how many were taken since the start."""

    def __init__(
        self, output: Signal, channels: Mapping[str, int], streams: int, like: Tensor, look_ahead: bool
    ) -> None:
        last = copied(output.read(), output.extra)
        if last.delay > 0 and not look_ahead:
            first = next(node for node in ordered(last) if node.delay > 0)
            raise InputError(
                "the network is not causal",
                where=f"{first.path}, {first.operation} looks {first.delay} ahead",
                expected="outputs that depend on their own and earlier steps",
                got=f"outputs that wait for {last.delay} more",
                fix=f"Pass look_ahead=True: step t returns output t - {last.delay}, and flush() the last ones.",
            )
        self.channels, self.streams, self.shape = dict(channels), streams, output.shape
        self.program = Program(last, streams, like)
        self.delay = self.program.delay
        self.rest = self.delay + output.extra
        self.reset()

    def reset(self) -> None:
        """Begin anew, as before the first step."""
        self.steps, self.ended = 0, False
        program = self.program
        with torch.inference_mode():
            program.rings.reset(program.begins)
            for step in range(program.begins, 0):
                program.run_at(step)

    def step(self, x: Float[Tensor, "n c"], **others: Float[Tensor, "n _"]) -> Float[Tensor, "n *k"] | None:
        """One step of the input signal (further ones by name); one of the output, or None in the first `delay` steps.

        Raises InputError for another number of streams or channels, for missing signals, and after `flush`.
        """
        if self.ended:
            raise InputError("the stream has ended", fix="Call reset() to begin another.")
        with torch.inference_mode():
            self._take(x, others)
            if 0 <= self.steps < self.program.settled:
                self.program.run_at(self.steps)
            else:
                self.program.run()
        self.steps += 1
        return self._result() if self.steps > self.delay else None

    def flush(self) -> Float[Tensor, "n *k"]:
        """The outputs that are still missing, stacked along a last axis; the signal ends after the last step."""
        if self.ended:
            raise InputError("the stream has ended", fix="Call reset() to begin another.")
        self.ended, found = True, []
        for step in range(self.steps, self.steps + self.rest):
            with torch.inference_mode():
                self.program.run_at(step, self.steps)
            if step >= self.delay:
                found.append(self._result())
        shape = (self.streams, *self.shape, 0)
        return torch.stack(found, -1) if found else self.program.like.new_zeros(shape)

    def run(self, x: Float[Tensor, "n c t"], **others: Float[Tensor, "n _ t"]) -> Float[Tensor, "n *k"]:
        """All steps of a piece of the signal, one after the other; their outputs stacked along a last axis."""
        found = []
        for t in range(x.shape[2]):
            y = self.step(x[:, :, t], **{name: other[:, :, t] for name, other in others.items()})
            found += [] if y is None else [y]
        shape = (self.streams, *self.shape, 0)
        return torch.stack(found, -1) if found else self.program.like.new_zeros(shape)

    def _take(self, x: Tensor, others: Mapping[str, Tensor]) -> None:
        """Copy a step of the input to where the program reads it."""
        (first, *more) = self.channels
        if set(others) != set(more):
            raise InputError("a step has one tensor for each signal", expected=_listed(more), got=_listed(others))
        for name, tensor in {first: x, **others}.items():
            expected = (self.streams, self.channels[name])
            if tensor.shape != expected:
                where = name or None
                raise InputError(
                    "a step has the shape (streams, channels)", where=where, expected=expected, got=tuple(tensor.shape)
                )
            if name in self.program.inputs:
                self.program.inputs[name].copy_(tensor)

    def _result(self) -> Tensor:
        return self.program.result.clone().reshape(self.streams, *self.shape)


def _output(model: nn.Module, inputs: Inputs, conditions: Mapping[str, Tensor], layer: str, batch: int) -> Signal:
    """What the layer returns, as a signal; by the first length that works."""
    failed: Exception | None = None
    for steps in LENGTHS:
        axes = Axes(batch, steps)
        recordings = recorded_twice(model, inputs, conditions, layer, axes)
        try:
            return Rules(*recordings, axes).output
        except MAY_BE_THE_SIZE as error:
            failed = error
            if isinstance(error, InputError) and steps != LENGTHS[0]:
                break
    if isinstance(failed, InputError):
        raise failed
    what = str(failed).partition("\n")[0].removesuffix(".")
    given = ", ".join(f"{name or 'input'} {tuple(tensor.shape)}" for name, tensor in inputs(batch, steps).items())
    fix = "Say the channels of each signal, stream(model, {'x': 3}), or a layer before this happens, layer='features'."
    raise InputError("the network takes no such signals", where=given, got=what, fix=fix) from failed


def _copy_weights(model: nn.Module) -> None:
    """Parameters and buffers of its own, each copied once: those of the network may be trained on."""
    # That they need gradients, also where the network is frozen, makes torch run linear layers as one product.
    parameters = {id(p): nn.Parameter(p.detach().clone(), p.is_floating_point()) for p in model.parameters()}
    buffers = {id(own): own.detach().clone() for own in model.buffers()}
    for module in model.modules():
        module._parameters.update({n: parameters[id(own)] for n, own in module._parameters.items() if own is not None})
        module._buffers.update({n: buffers[id(own)] for n, own in module._buffers.items() if own is not None})


def _listed(names: Sequence[str] | Mapping[str, Tensor]) -> str:
    return ", ".join(names) or "none besides the first"


def _channels(model: nn.Module, channels: int | Mapping[str, int] | None) -> dict[str, int]:
    """Channels of each signal by name; "" is the only one."""
    if isinstance(channels, Mapping):
        return dict(channels)
    if channels is not None:
        return {"": channels}
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            return {"": module.in_channels}
    raise InputError(
        "the network has no Conv1d that tells its channels", fix="Say its channels: stream(model, channels)."
    )
