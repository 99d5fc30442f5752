"""How each of torch's operations reads its inputs along time: recorded operations -> nodes and signals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any

import torch

from striate.errors import InputError
from striate.locality.operations import functional
from striate.locality.stream.layout import Axes, flow, inside
from striate.locality.stream.recording import Event, Recording, differing, place_of, tensors_in
from striate.locality.stream.signals import Affine, Joined, Local, Node, Read, Signal, Slot, Source, Taps, grouped
from striate.shapes import Tensor

SAME_NUMBERS = {
    *("view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze", "expand", "alias", "detach", "clone"),
    *("_to_copy", "lift_fresh", "transpose", "permute", "t"),
}
MOVES_AXES = {"transpose", "permute", "t"}
NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm"}
# Operations on the features of one step: which of their arguments are the axes that they read from end to end.
ONE_STEP: dict[str, Callable[[Sequence[Any], int], Sequence[int]]] = {
    "native_layer_norm": lambda args, rank: range(rank - len(args[1]), rank),
    **dict.fromkeys(
        ("_softmax", "_log_softmax", "glu", "cumsum", "flip", "index_select"), lambda args, _: _list(args[1])
    ),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "logsumexp"), lambda args, _: _list(args[1])),
    "linalg_vector_norm": lambda args, _: _list(args[2]),
    "_prelu_kernel": lambda *_: (),
    "slice": lambda args, _: (args[1],),
    "select": lambda args, _: (args[1],),
}


def _list(axes: Any) -> Sequence[int]:
    return (axes,) if isinstance(axes, int) else axes


class Rules:
    """Reads a recording from the first operation to the last; `signals` are the tensors that depend on the input."""

    def __init__(self, short: Recording, long: Recording, axes: Axes) -> None:
        self.axes = axes
        self.dtype = next(iter(short.inputs.values())).dtype
        self.signals: dict[int, Signal] = {}
        self.tensors: dict[int, Tensor] = {}
        self.lost: set[int] = set()  # written through another tensor, or made with another output (indices of maxima)
        for name, tensor in short.inputs.items():
            letters = axes.letters(tensor.shape, long.inputs[name].shape)
            node = Source("the input", name, tensor.shape[1], 0)
            self.signals[id(tensor)] = Signal(node, letters, (tensor.shape[1],))
            self.tensors[id(tensor)] = tensor
        for event, again in zip(short.events, long.events, strict=False):
            self.read(event, again)
        if (error := short.error or long.error) is not None:
            raise error
        outputs = tensors_in(short.output)
        if len(outputs) != 1 or id(outputs[0]) not in self.signals:
            raise InputError(
                "a network is streamed that returns one tensor, a step of it for a step of its input",
                got=f"{len(outputs)} tensors" if len(outputs) != 1 else "one that does not depend on the input",
            )
        self.output = self.signals[id(outputs[0])]

    def read(self, event: Event, again: Event) -> None:
        """One operation."""
        self.event = event
        given = {id(tensor) for tensor in tensors_in((event.args, event.kwargs))}
        several = event.name.removeprefix("aten::") in ("split", "split_with_sizes", "unbind")
        outputs = event.outputs if several else event.outputs[:1]
        self.lost |= {id(tensor) for tensor in event.outputs[len(outputs) :]}
        if not given & self.signals.keys():
            self.lost |= {id(tensor) for tensor in outputs}
            return
        if given & self.lost:
            raise self.refused("reads what is not known here (indices, or written in place)", "Write it another way.")
        letters = [
            self.axes.letters(a.shape, b.shape) if a.dim() == b.dim() else "?"
            for a, b in zip(outputs, again.outputs, strict=False)
        ]
        for found, output in zip(letters, outputs, strict=True):
            self.check(found)
            if output.dtype != self.dtype:
                raise self.refused(f"returns {output.dtype}", "Stream a network of one dtype.")
        self.letters = letters[0]
        self.starts = (event, again)
        self.extra = self.axes.extra(self.letters, event.outputs[0].shape)
        self.forget_views()
        name = event.name.removeprefix("aten::")
        made = self.rule(name)
        sized = name in SAME_NUMBERS or name == "slice"  # which are given sizes, or ends
        if not sized and (why := differing(event, again, self.signals, self.axes)) is not None:
            raise self.refused(*why)
        for tensor, signal in zip(outputs, made, strict=True):
            self.signals[id(tensor)] = signal
            self.tensors[id(tensor)] = tensor

    def check(self, letters: str) -> None:
        """Refuse an output without a step for each step of the input."""
        if "?" in letters:
            raise self.refused(
                "does not keep one step for each step",
                "Without strides along time it can be; or stop before that, stream(model, layer=…).",
            )
        if "t" not in letters and "m" not in letters:
            raise self.refused(
                "has no axis of time left: it reads all steps at once, or one of them",
                "Stop before that, stream(model, layer=…), or build the network so that it returns each step.",
            )
        if "b" not in letters and "m" not in letters:
            raise self.refused("mixes the items of a batch", "Let each item be computed by itself.")

    def refused(self, why: str, fix: str) -> InputError:
        """The error for this operation."""
        return InputError("cannot be streamed", where=f"{self.event.path}, {self.event.name} {why}", fix=fix)

    def forget_views(self) -> None:
        """What else lies in the memory that an operation wrote is not known any more."""
        if self.event.func._schema.is_mutable:
            written = self.event.outputs[0]
            memory = place_of(written)
            same = (t for t in self.tensors.values() if t is not written)
            gone = {id(t) for t in same if place_of(t) == memory}
            self.lost |= gone
            for key in gone:
                self.signals.pop(key, None)

    def rule(self, name: str) -> list[Signal]:
        """What this operation makes."""
        event = self.event
        first = event.args[0]
        if name in ("convolution", "addmm", "mm", "constant_pad_nd", "cat", "avg_pool2d", "max_pool2d_with_indices"):
            return [getattr(self, f"_{name}")(*event.args, **event.kwargs)]
        if name in ("split", "split_with_sizes", "unbind"):
            return self._split(first, *event.args[1:], **event.kwargs)
        if name in SAME_NUMBERS and (signal := self._relaid(name)) is not None:
            return [signal]
        if name in NORMS:
            return [self._norm(*event.args)]
        if name == "slice" and (signal := self._slice(*event.args)) is not None:
            return [signal]
        if name == "select" and (signal := self._select(*event.args)) is not None:
            return [signal]
        if name == "add" and (signal := self._add(*event.args, **event.kwargs)) is not None:
            return [signal]
        if torch.Tag.pointwise in event.func.tags or name in ONE_STEP or name in MOVES_AXES:
            return [self._local(name)]
        raise self.refused(
            "has no rule along time", "Leave the layer out, or write it with convolutions and operations by step."
        )

    # Operations that move along time

    def _convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Signal:
        _, padding, dilation, transposed, _, groups = rest
        signal = self.signal(x)
        if signal.layout != "bft" or id(weight) in self.signals or (transposed and groups > 1):
            raise self.refused(
                "is no convolution of a signal (n, c, t)", "Only convolutions along one axis, time, are streamed."
            )
        sides = padding[0]
        if transposed:  # at stride 1 the convolution with the kernel turned around
            weight, sides = weight.transpose(0, 1).flip(2), (weight.shape[2] - 1) * dilation[0] - sides
        signal = signal.padded(sides, sides, 0.0)
        reads = [signal.read(tap * dilation[0]) for tap in range(weight.shape[2])]
        if groups == 1:
            taps: list[Tensor | None] = [tap.t().contiguous() for tap in weight.unbind(2)]
            return self.made(Affine(*self.of(weight.shape[0]), reads, weights=taps, bias=bias))
        return self.made(Taps(*self.of(weight.shape[0]), reads, function=partial(grouped, weight, bias, groups)))

    def _addmm(self, bias: Tensor, x: Tensor, weight: Tensor, beta: float = 1, alpha: float = 1) -> Signal:
        if beta != 1 or alpha != 1 or id(bias) in self.signals or bias.dim() != 1:
            raise self.refused("is no linear layer", "Write it as a linear layer, or a convolution of one tap.")
        return self._mm(x, weight, bias)

    def _mm(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Signal:
        if id(x) not in self.signals or id(weight) in self.signals or self.signal(x).layout != "mf":
            raise self.refused("is no linear layer", "Write it as a linear layer, or a convolution of one tap.")
        return self.made(
            Affine(*self.of(weight.shape[1]), [self.signal(x).read()], weights=[weight.contiguous()], bias=bias)
        )

    def _constant_pad_nd(self, x: Tensor, sides: list[int], value: float = 0.0) -> Signal:
        signal = self.signal(x)
        pairs = dict(zip(reversed(range(x.dim())), zip(sides[::2], sides[1::2], strict=True), strict=False))
        if any(any(pair) and signal.layout[axis] != "t" for axis, pair in pairs.items()):
            raise self.refused("pads other axes than time", "Pad the features elsewhere.")
        before, behind = pairs.get(signal.layout.index("t"), (0, 0))
        return replace(signal.padded(before, behind, float(value)), layout=self.letters)

    def _max_pool2d_with_indices(self, x: Tensor, kernel: Any, _stride: Any = (), *rest: Any) -> Signal:
        padding = _pair(rest[0]) if rest else (0, 0)
        dilation = _pair(rest[1]) if len(rest) > 1 else (1, 1)
        reads = self.window(x, kernel, padding[1], dilation[1], -math.inf)
        return self.made(Taps(*self.of(reads[0].rows), reads, function=lambda taps: taps.amax(0)))

    def _avg_pool2d(self, x: Tensor, kernel: Any, _stride: Any = (), *rest: Any) -> Signal:
        padding = _pair(rest[0]) if rest else (0, 0)
        divisor = rest[3] if len(rest) > 3 else None
        if padding[1] and not (rest[2] if len(rest) > 2 else True):
            raise self.refused("divides by another number at the borders", "Let the padding count (count_include_pad).")
        reads = self.window(x, kernel, padding[1], 1, 0.0)
        by = divisor or len(reads)
        return self.made(Taps(*self.of(reads[0].rows), reads, function=lambda taps: taps.sum(0) / by))

    def window(self, x: Tensor, kernel: Any, padding: int, dilation: int, value: float) -> list[Read]:
        """What a pooling window along time reads."""
        signal, (height, width) = self.signal(x), _pair(kernel)
        if height != 1 or signal.layout != "bfft" or x.shape[2] != 1:
            raise self.refused("pools over two axes", "Only pooling along one axis, time, is streamed.")
        signal = signal.padded(padding, padding, value)
        return [signal.read(tap * dilation) for tap in range(width)]

    def _slice(
        self, x: Tensor, axis: int = 0, _start: int | None = None, _end: int | None = None, step: int = 1
    ) -> Signal | None:
        signal = self.signal(x)
        axis %= x.dim()
        letter = signal.layout[axis]
        if letter == "b":  # all of it, or the letter of the result would be another
            return signal
        starts = [inside((*e.args[2:], 0)[0] or 0, e.args[0].shape[axis]) for e in self.starts]
        if starts[0] != starts[1]:
            raise self.refused("begins at a place that depends on the length", "Count from the start.")
        if letter == "f":
            return self.features(signal, axis, starts[0]) if step == 1 else None
        return replace(signal, shift=signal.shift + starts[0], extra=self.extra)

    def _select(self, x: Tensor, axis: int, index: int) -> Signal | None:
        signal = self.signal(x)
        return self.features(signal, axis % x.dim(), index % x.shape[axis])

    def features(self, signal: Signal, axis: int, start: int) -> Signal | None:
        """Some of the features from `start` on, where they lie together."""
        number = signal.layout[:axis].count("f")
        if math.prod(signal.shape[:number]) != 1:
            return None
        first = signal.first + start * math.prod(signal.shape[number + 1 :])
        return replace(signal, layout=self.letters, shape=self.shape(0), first=first)

    def _split(self, x: Tensor, *args: Any, **kwargs: Any) -> list[Signal]:
        name = self.event.name.removeprefix("aten::")
        given = args if name == "unbind" else args[1:]
        axis = (given[0] if given else kwargs.get("dim", 0)) % x.dim()
        if self.signal(x).layout[axis] != "f":
            raise self.refused("splits another axis than the features", "Split the channels only.")
        sizes = [1 if name == "unbind" else out.shape[axis] for out in self.event.outputs]
        parts = [self.features(self.signal(x), axis, start) for start in accumulate([0, *sizes[:-1]])]
        if any(part is None for part in parts):
            raise self.refused("splits the second axis of features", "Split the first.")
        return [replace(part, shape=self.shape(k)) for k, part in enumerate(parts) if part is not None]

    # Operations on one step

    def _cat(self, tensors: Sequence[Tensor], axis: int = 0) -> Signal:
        if not all(id(tensor) in self.signals for tensor in tensors):
            raise self.refused("joins a signal and a constant", "Pad with F.pad; leave constants out.")
        signals = [self.signal(tensor) for tensor in tensors]
        axis %= tensors[0].dim()
        number = signals[0].layout[:axis].count("f")
        if signals[0].layout[axis] != "f" or any(math.prod(s.shape[:number]) != 1 for s in signals):
            raise self.refused("joins along another axis than the features", "Join along the channels only.")
        return self.made(Joined(*self.of(sum(s.rows for s in signals)), [s.read() for s in signals]))

    def _norm(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        training: Any = False,
        *rest: float,
    ) -> Signal:
        eps = rest[-1]
        if training is True or mean is None or var is None or len(self.signal(x).shape) != 1:
            raise self.refused("takes its statistics from all steps", "Track running statistics.")
        factor = (var + eps).rsqrt() * (1 if weight is None else weight)
        shift = (0 if bias is None else bias) - mean * factor
        return self.made(Affine(*self.of(len(mean)), [self.signal(x).read()], weights=[factor], bias=shift))

    def _add(self, a: Any, b: Any, alpha: float = 1) -> Signal | None:
        if not (isinstance(a, Tensor) and id(a) in self.signals):
            a, b = b, a
        if alpha != 1 or not isinstance(a, Tensor) or a.dtype != self.event.outputs[0].dtype:
            return None
        signal = self.signal(a)
        if isinstance(b, Tensor) and id(b) in self.signals:
            other = self.signal(b)
            if (signal.layout, signal.shape) != (other.layout, other.shape):
                return None
            reads, bias = [signal.read(), other.read()], None
        else:
            constant = self.constant(b, signal)
            if constant is None:
                return None
            reads, bias = [signal.read()], constant
        return self.made(Affine(*self.of(signal.rows), reads, weights=[None] * len(reads), bias=bias))

    def constant(self, value: Any, signal: Signal) -> Tensor | None:
        """A number or constant tensor as it is added to the signal's rows: (rows) or (n, rows)."""
        out = self.event.outputs[0]
        tensor = torch.as_tensor(value, dtype=out.dtype, device=out.device)
        tensor = tensor[(None,) * (out.dim() - tensor.dim())]
        if (
            len(signal.shape) + 2 != out.dim()
            or signal.layout != self.letters
            or tensor.shape[signal.layout.index("t")] != 1
        ):
            return None
        tensor = tensor.squeeze(signal.layout.index("t"))
        batch = self.letters.replace("t", "").index("b")
        flat = tensor.movedim(batch, 0).expand(-1, *signal.shape).flatten(1)
        return flat[0] if (flat == flat[0]).all() else flat

    def _relaid(self, name: str) -> Signal | None:
        """The same numbers under another layout; None where the features change their order."""
        x = self.event.args[0]
        signal = self.signal(x)
        if self.rows(0) != signal.rows:
            return None
        if name in MOVES_AXES:
            numbered = torch.empty([axis + 1 for axis in range(x.dim())], device="meta")
            moved = [size - 1 for size in self.event.func(numbered, *self.event.args[1:]).shape]
            kept = [axis for axis in moved if signal.layout[axis] == "f" and x.shape[axis] > 1]
            if kept != sorted(kept):
                return None
        elif flow(signal.layout, x.shape) != flow(self.letters, self.event.outputs[0].shape):
            raise self.refused("mixes time with channels", "Transpose, instead of a view.")
        return replace(signal, layout=self.letters, shape=self.shape(0))

    def _local(self, name: str) -> Signal:
        """An operation that acts on each step for itself, called on one step."""
        event = self.event
        rank = len(self.letters)
        if name in ONE_STEP:
            layout = self.signal(event.args[0]).layout
            rank = len(layout)
            if any(layout[axis] != "f" for axis in ONE_STEP[name](event.args, rank)):
                raise self.refused(
                    "reads several steps at once", "Leave it out, or let it act on the channels of one step."
                )
        signals: list[Signal] = []
        args = tuple(self.argument(arg, signals) for arg in event.args)
        kwargs = {key: self.argument(arg, signals) for key, arg in event.kwargs.items()}
        alike = all((s.layout, s.shape) == (self.letters, self.shape(0)) for s in signals)
        plain = not any(isinstance(arg, Tensor) and arg.dim() for arg in (*args, *kwargs.values()))
        node = Local(
            *self.of(self.rows(0)),
            [signal.read() for signal in signals],
            function=functional(event.func),
            args=args,
            kwargs=kwargs,
            layouts=[(signal.layout, signal.shape) for signal in signals],
            result=self.letters,
            pointwise=torch.Tag.pointwise in event.func.tags and alike and plain,
        )
        return self.made(node)

    def argument(self, arg: Any, signals: list[Signal]) -> Any:
        """A slot for a signal; a constant as it is."""
        if not isinstance(arg, Tensor):
            return arg
        if id(arg) in self.signals:
            signals.append(self.signal(arg))
            return Slot(len(signals) - 1)
        return arg

    # What the rules share

    def signal(self, tensor: Tensor) -> Signal:
        return self.signals[id(tensor)]

    def of(self, rows: int) -> tuple[str, str, int, int]:
        """The first fields of a node made here."""
        return self.event.path, self.event.name, rows, self.extra

    def made(self, node: Node) -> Signal:
        """The signal of a new node."""
        node.settle()
        return Signal(node, self.letters, self.shape(0), extra=self.extra)

    def shape(self, number: int) -> tuple[int, ...]:
        """Of the features of an output."""
        sizes = self.event.outputs[number].shape
        return tuple(size for size, letter in zip(sizes, self.letters, strict=True) if letter == "f")

    def rows(self, number: int) -> int:
        return math.prod(self.shape(number))


def _pair(value: Any) -> tuple[int, int]:
    found = (value,) if isinstance(value, int) else value or (0,)
    return found[0], found[-1]
