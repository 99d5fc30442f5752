"""Everything that can be read off a network without running it: a row for each operation, totals, memory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.geometry.failure import DiedError
from striate.geometry.fields import Extent, extents, fields
from striate.geometry.graph import Counts, Graph, Weight
from striate.geometry.inputs import Inputs
from striate.geometry.memory import Memory, memory
from striate.geometry.reading import Shape
from striate.geometry.size import advised, least_input
from striate.geometry.state import unwrapped
from striate.geometry.trace import trace
from striate.geometry.window import Number
from striate.geometry.words import by, number, size

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Layer:
    """One operation. Shapes, counts and bytes are those of one item.

    `parameters` are those that no earlier row has counted; `shared` those that one has. Per spatial axis of the input
    (of the first one that the operation sees), clipped neither at the border nor to the input: `receptive_field` in
    input positions, `stride` from one output to the next, `offset` of the middle of what output 0 sees, `padding` that
    is seen before and behind the input. `exact` is False where these are upper bounds.
    `inputs` are the rows that it reads; -1 is the first input of the network, -2 the second, …
    """

    path: str
    module: str
    operation: str
    kind: str
    shape: Shape
    dtype: str
    parameters: int
    trainable: int
    shared: int
    counts: Counts
    activation_bytes: int
    receptive_field: tuple[int, ...]
    stride: tuple[Number, ...]
    offset: tuple[Number, ...]
    padding: tuple[tuple[int, int], ...]
    sees_whole: bool
    exact: bool
    inputs: tuple[int, ...]
    weights: tuple[str, ...]

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and matrix products."""
        return self.counts.macs

    @property
    def frozen(self) -> int:
        """Parameters that are not trained."""
        return self.parameters - self.trainable


# The kinds of layers that have a share of their own.
OWN = {"convolution": "convolution", "linear": "linear", "attention": "linear"}


@dataclass(frozen=True)
class Share:
    """How much of a total lies in convolutions, in fully connected layers, and elsewhere; each from 0 to 1."""

    convolution: float
    linear: float
    other: float


@dataclass(frozen=True)
class Report:
    """A network, sized up. `layers` has a row for every operation, in the order of execution."""

    network: str
    inputs: Mapping[str, Shape]
    layers: tuple[Layer, ...]
    weights: tuple[Weight, ...]
    unused: tuple[str, ...]
    graph: Graph = field(repr=False, compare=False)
    _model: nn.Module = field(repr=False, compare=False)
    _input: Inputs = field(repr=False, compare=False)

    @property
    def parameters(self) -> int:
        """All parameters of the network, shared ones once, those that no operation used included."""
        return sum(weight.numel for weight in self.weights)

    @property
    def trainable(self) -> int:
        """Parameters that are trained."""
        return sum(weight.numel for weight in self.weights if weight.trainable)

    @property
    def frozen(self) -> int:
        """Parameters that are not."""
        return self.parameters - self.trainable

    @property
    def counts(self) -> Counts:
        """Arithmetic of all operations."""
        total = Counts()
        for layer in self.layers:
            total += layer.counts
        return total

    @property
    def macs(self) -> int:
        """Multiply-adds of all convolutions and matrix products, one item."""
        return self.counts.macs

    @property
    def parameter_share(self) -> Share:
        """Where the parameters are (lectures: most in the fully connected layers)."""
        parts = {"convolution": 0, "linear": 0, "other": self.parameters}
        for layer in self.layers:
            if layer.kind in OWN:
                parts[OWN[layer.kind]] += layer.parameters
                parts["other"] -= layer.parameters
        return _shares(parts)

    @property
    def activation_share(self) -> Share:
        """Where the activations are (lectures: most in the convolutions); what follows a layer in place or point by
        point counts with it."""
        parts = {"convolution": 0, "linear": 0, "other": 0}
        belongs: list[str] = []
        for layer in self.layers:
            before = [belongs[i] for i in layer.inputs if i >= 0]
            belongs.append(OWN.get(layer.kind) or (before[0] if before else "other"))
            parts[belongs[-1]] += layer.activation_bytes
        return _shares(parts)

    @property
    def sees_whole(self) -> Layer | None:
        """The first operation with an output that sees the whole input."""
        return next((layer for layer in self.layers if layer.sees_whole and layer.kind != "shape"), None)

    @property
    def memory(self) -> Memory:
        """Bytes of weights and activations, in inference and in training."""
        return self._memory[0]

    @property
    def training_problem(self) -> str:
        """Why the network cannot be traced in training mode, so that its memory there is not known; mostly nothing."""
        return self._memory[1]

    @cached_property
    def _memory(self) -> tuple[Memory, str]:
        problem, in_training = "", None
        try:
            in_training = trace(self._model, self._input, training=True)
        except InputError as error:
            problem = str(error)
        return memory(self.graph, in_training, batch=2), problem

    @cached_property
    def least_input(self) -> Shape | None:
        """The least input that works, its larger sides shrunk first; None for several inputs, or one without space."""
        return least_input(self._model, self._input)

    @property
    def rows(self) -> list[Layer]:
        """The layers for people: what torch makes of one of its own modules (a response norm, the steps of an LSTM) is
        one row, with the sums of the operations and the shape and field of the last."""
        model, rows = unwrapped(self._model), []
        for (path, module), group in itertools.groupby(self.layers, key=lambda layer: (layer.path, layer.module)):
            layers = list(group)
            of_torch = path and type(model.get_submodule(path)).__module__.startswith("torch.nn.modules.")
            several = len({layer.operation for layer in layers}) > 1  # one operation again is another call
            rows += [_together(layers, module)] if of_torch and several else layers
        return rows

    def table(self, everything: bool = False) -> Table:
        """The rows as a table; those that only rename numbers (views, reshapes) are left out unless `everything`."""
        table = Table(title=f"{self.network}  {'  '.join(f'{n} {by(s[1:])}' for n, s in self.inputs.items())}")
        table.add_column("layer", overflow="fold")
        table.add_column("operation")
        counted = ("output", "parameters", "MACs", "other ops", "bytes")
        for name in (*counted, "receptive field", "stride", "offset", "padding"):
            table.add_column(name, justify="right")
        for layer in self.layers if everything else self.rows:
            if layer.kind == "shape" and not layer.activation_bytes and not everything:
                continue
            other = sum(dataclasses.astuple(layer.counts)) - layer.macs
            table.add_row(
                layer.path or "(network)",
                layer.operation,
                by(layer.shape),
                number(layer.parameters) + (f" (+{layer.shared:,} shared)" if layer.shared else ""),
                number(layer.macs),
                number(other),
                number(layer.activation_bytes),
                ("" if layer.exact else "≤ ") + by(layer.receptive_field),
                by(layer.stride),
                by(layer.offset),
                by(tuple(before if before == after else f"{before}+{after}" for before, after in layer.padding)),
            )
        table.add_section()
        counts, all_bytes = self.counts, sum(layer.activation_bytes for layer in self.layers)
        other = sum(dataclasses.astuple(counts)) - counts.macs
        table.add_row("total", "", "", number(self.parameters), number(self.macs), number(other), number(all_bytes))
        return table

    def summary(self) -> dict[str, str]:
        """What the rows do not say, as lines for people."""
        m, first = self.memory, self.sees_whole
        lines = {
            "parameters": f"{self.parameters:,}" + (f", {self.frozen:,} frozen" if self.frozen else ""),
            "MACs": f"{self.macs:,}",
            "other operations": ", ".join(
                f"{name} {count:,}"
                for name, count in dataclasses.asdict(self.counts).items()
                if name != "macs" and count
            ),
            "weights": f"{size(m.parameters)}",
            "activations, inference": f"{size(m.inference)} in all, {size(m.inference_peak)} at most at a time",
            "activations, training": (
                f"{size(m.training)} with gradients, {size(m.training_peak)} at most at a time, "
                f"{size(m.training_kept)} kept for the backward pass"
                if m.training is not None and m.training_peak is not None and m.training_kept is not None
                else f"unknown: {self.training_problem}"
            ),
            "parameters in": _percent(self.parameter_share),
            "activations in": _percent(self.activation_share),
            "first sees the whole input": f"{first.path or '(network)'} ({first.operation})" if first else "nowhere",
        }
        if self.least_input:
            lines["least input"] = by(self.least_input)
        if self.unused:
            lines["not used in this forward"] = ", ".join(self.unused)
        return lines

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        return {
            "network": self.network,
            "inputs": {name: list(shape[1:]) for name, shape in self.inputs.items()},
            "parameters": self.parameters,
            "trainable": self.trainable,
            "frozen": self.frozen,
            **dataclasses.asdict(self.counts),
            "memory": dataclasses.asdict(self.memory),
            "parameter_share": dataclasses.asdict(self.parameter_share),
            "activation_share": dataclasses.asdict(self.activation_share),
            "sees_whole": None if self.sees_whole is None else self.sees_whole.path,
            "least_input": None if self.least_input is None else list(self.least_input),
            "unused": list(self.unused),
            "layers": [plain(layer) for layer in self.layers],
        }

    def html(self) -> str:
        """One self-contained page: the picture, the totals, the rows."""
        from striate.geometry.page import page

        return page(self)

    def _repr_html_(self) -> str:
        return self.html()

    def plot(self) -> Figure:
        """The network drawn: operations, with the shapes on the edges."""
        from striate.geometry.pictures import draw_network

        return draw_network(self)


def describe(model: nn.Module, input_shape: Inputs) -> Report:
    """Size up a network: nothing is run on data, no weights are needed.

    `input_shape` is the shape of one item, without the batch axis; or an example tensor, with it; or for several
    inputs a tuple or dict of these. What takes more than one trace (`memory`, `least_input`) is found when asked for.

    Raises InputError as `trace` does; for an input that is too small it names the layer at which the network dies and
    the least size that works.

    >>> from torch import nn
    >>> report = describe(nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2)), (3, 32, 32))
    >>> report.parameters, report.macs, report.layers[-1].shape, report.layers[-1].receptive_field
    (224, 194400, (8, 15, 15), (4, 4))
    """
    if isinstance(model, nn.Module):  # trace says what else it may be
        model = unwrapped(model)
    graph = traced(model, input_shape)
    used = {name for node in graph.nodes for name in node.parameters}
    return Report(
        network=type(model).__name__,
        inputs={name: graph.values[index].shape for name, index in graph.inputs.items()},
        layers=tuple(_rows(graph)),
        weights=tuple(graph.weights.values()),
        unused=tuple(name for name in graph.weights if name not in used),
        graph=graph,
        _model=model,
        _input=input_shape,
    )


def traced(model: nn.Module, input_shape: Inputs) -> Graph:
    """The graph; where the input cannot be taken, the error says which can."""
    try:
        return trace(model, input_shape)
    except DiedError as error:
        raise advised(model, input_shape, error) from error


def _rows(graph: Graph) -> Iterator[Layer]:
    inputs = list(graph.inputs.values())
    seen = [fields(graph, index) for index in inputs]
    maker = {value: -1 - number for number, value in enumerate(inputs)}
    counted: set[str] = set()
    storages: set[int] = {graph.values[index].storage for index in inputs}
    for node in graph.nodes:
        value = graph.values[node.outputs[0]]
        number = next((i for i, of in enumerate(seen) if of[value.index] is not None), None)
        found: tuple[Extent, ...] = ()
        exact = True
        if number is not None and (field_ := seen[number][value.index]) is not None:
            found, exact = extents(field_, value, graph.values[inputs[number]]), field_.exact
        weights = [graph.weights[name] for name in node.parameters]
        new = [weight for weight in weights if weight.names[0] not in counted]
        counted |= set(node.parameters)
        fresh = {graph.values[i].storage: graph.values[i].storage_bytes for i in node.outputs if i in graph.read}
        own_bytes = sum(size for storage, size in fresh.items() if storage not in storages)
        storages |= fresh.keys()
        yield Layer(
            path=node.path,
            module=node.module,
            operation=node.operation,
            kind=node.kind,
            shape=value.shape[1:],
            dtype=str(value.dtype).removeprefix("torch."),
            parameters=sum(weight.numel for weight in new),
            trainable=sum(weight.numel for weight in new if weight.trainable),
            shared=sum(weight.numel for weight in weights) - sum(weight.numel for weight in new),
            counts=node.counts,
            activation_bytes=own_bytes,
            receptive_field=tuple(e.size for e in found),
            stride=tuple(e.stride for e in found),
            offset=tuple(e.offset for e in found),
            padding=tuple(e.padding for e in found),
            sees_whole=bool(found) and all(e.whole for e in found),
            exact=exact,
            inputs=tuple(maker[index] for index in node.inputs if index in maker),
            weights=node.parameters,
        )
        maker |= dict.fromkeys(node.outputs, node.index)


def _together(layers: list[Layer], module: str) -> Layer:
    counts = Counts()
    for layer in layers:
        counts += layer.counts
    summed = ("parameters", "trainable", "shared", "activation_bytes")
    return dataclasses.replace(
        layers[-1],
        operation=f"{module} ({len(layers)} operations)",
        counts=counts,
        **{name: sum(getattr(layer, name) for layer in layers) for name in summed},
    )


def _shares(parts: Mapping[str, int]) -> Share:
    total = sum(parts.values())
    return Share(**{name: part / total if total else 0.0 for name, part in parts.items()})


def plain(layer: Layer) -> dict[str, Any]:
    row = dataclasses.asdict(layer)
    counts = row.pop("counts")
    row = {**row, **counts, "frozen": layer.frozen}
    return {key: _jsonable(value) for key, value in row.items()}


def _jsonable(value: Any) -> Any:
    if isinstance(value, Fraction):
        return float(value)
    return [_jsonable(part) for part in value] if isinstance(value, tuple) else value


def _percent(share: Share) -> str:
    return f"convolutions {share.convolution:.2%}, fully connected {share.linear:.2%}, elsewhere {share.other:.2%}"
