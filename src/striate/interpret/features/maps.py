"""What each layer makes of an input, and what of the input each of its units sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import InputError, did_you_mean
from striate.geometry.graph import Graph
from striate.geometry.running import watched
from striate.geometry.seen import Seen, seen_by
from striate.geometry.trace import trace
from striate.interpret.map import as_image
from striate.interpret.scoring import checked, examined, feeding
from striate.shapes import Float, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In eval mode these hand on what they got; recording them would show every map twice.
_PASS_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
# What a forward computes with functions is shown if it is one of these.
_KINDS = ("convolution", "norm", "activation", "pooling", "resampling", "elementwise")


@dataclass(frozen=True, eq=False, repr=False)
class FeatureMaps(Mapping[str, Tensor]):
    """Maps (channels, *space) by layer, in the order of execution: a mapping, `found["features.3"]`.

    `shown`: the layer that `plot` draws where none is named; None for all.
    """

    x: Float[Tensor, "1 c *space"]
    maps: Mapping[str, Tensor]
    known: Mapping[str, int] = field(default_factory=dict)  # which value of the graph each map is
    graph: Graph | None = None
    shown: str | None = None

    def __getitem__(self, layer: str) -> Tensor:
        if layer not in self.maps:
            raise InputError("no map of this layer", got=repr(layer), fix=did_you_mean(layer, self.maps))
        return self.maps[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def strongest(self, layer: str, channel: int | None = None) -> tuple[int, ...]:
        """The unit with the greatest activation, (channel, *place), of a layer or of one of its channels."""
        values = self[layer].nan_to_num(nan=-torch.inf)
        if channel is None:
            return tuple(int(i) for i in torch.unravel_index(values.argmax(), values.shape))
        if not 0 <= channel < len(values):
            raise InputError("the layer has no such channel", expected=f"0 to {len(values) - 1}", got=channel)
        best = torch.unravel_index(values[channel].argmax(), values.shape[1:])
        return channel, *(int(i) for i in best)

    def seen(self, layer: str, unit: Sequence[int]) -> Seen | None:
        """What a unit (channel, *place) sees of the input, by the windows of `striate.geometry`; None where these are
        not known (a layer whose result is no single tensor, or a network that cannot be traced)."""
        self[layer]
        if self.graph is None or layer not in self.known:
            return None
        return seen_by(self.graph, self.known[layer], unit[1:])

    def plot(self, layer: str | None = None, channels: Sequence[int] | None = None) -> Figure:
        """All layers, a row each with its most varied channels; or one layer: its channels (by default the 12 that are
        excited most) with the range of each, its strongest unit marked, and on the input what that unit sees."""
        from striate.interpret.features.map_pictures import draw_layer, draw_layers

        layer = layer or self.shown
        return draw_layers(self) if layer is None else draw_layer(self, layer, channels)

    def table(self, rows: int = 200) -> Table:
        """A row a layer: its shape, range, share of units above zero, and strongest unit."""
        table = Table("layer", "shape", "least", "greatest", "above 0", "strongest", "sees", title=self.title())
        for layer, values in list(self.items())[:rows]:
            unit = self.strongest(layer)
            seen = self.seen(layer, unit)
            spans = ", ".join(f"{a}–{b}" for a, b in seen.nominal) if seen else "?"
            facts = (
                f"{float(values.min()):.3g}",
                f"{float(values.max()):.3g}",
                f"{float((values > 0).float().mean()):.0%}",
            )
            shape = " × ".join(map(str, values.shape))
            table.add_row(layer, shape, *facts, ",".join(map(str, unit)), spans)
        return table

    def json(self) -> dict[str, Any]:
        """Shapes and strongest units as plain types; `save` writes the maps."""
        layers = {}
        for layer, values in self.items():
            unit = self.strongest(layer)
            seen = self.seen(layer, unit)
            facts = {"shape": list(values.shape), "least": float(values.min()), "greatest": float(values.max())}
            layers[layer] = facts | {"strongest": list(unit), "sees": [list(s) for s in seen.nominal] if seen else None}
        return {"method": "feature maps", "layers": layers}

    def save(self, path: str | Path) -> None:
        """Write x and all maps into a safetensors file, the rest as JSON; StorageError where it cannot be written."""
        save_tensors(
            Path(path), {"x": self.x, **{f"maps/{name}": values for name, values in self.items()}}, self.json()
        )

    def title(self) -> str:
        """How many: "feature maps of 12 layers"."""
        return f"feature maps of {len(self)} layer{'s' * (len(self) != 1)}"

    def _repr_html_(self) -> str:
        return as_image(self.plot(), self.title())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title()})"


def feature_maps(model: nn.Module, x: Float[Tensor, "n c *space"]) -> FeatureMaps:
    """What every layer makes of one input (1, c, *space): maps (channels, *space) by layer, in the order of execution.

    Recorded is each leaf module (convolution, pooling, activation, normalization, …) by its path, and what a forward
    computes with functions (`F.relu`, sums of branches, concatenations) as path.function, where the output is
    (1, channels, *space) with as many spatial axes as x and one of them longer than 1; not dropout and identity, which
    change nothing in eval mode. What is called again is `path#2`, `path#3`, ….

    The model runs once, in eval mode without gradients. The maps are copies on the CPU: a later in-place activation
    does not change them.

    Raises InputError for several inputs, one without spatial axes, and where no layer makes a map.
    Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", sec. 4.

    >>> list(feature_maps(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()), torch.zeros(1, 1, 8, 8)))
    ['0', '1']
    """
    x = checked(model, x)
    if x.dim() < 3 or len(x) != 1:
        expected = "one input, axes (1, c, *space)"
        raise InputError("cannot show feature maps", where="x", expected=expected, got=f"{tuple(x.shape)}")
    try:
        graph = trace(model, x)
    except InputError:
        graph = None  # its windows stay unknown
    recording = _Recording(model, x.dim(), graph)
    with examined(model) as network, torch.no_grad(), feeding(model, x):
        recording.run(network, x)
    if not recording.maps:
        raise InputError(
            "no feature maps to show",
            where=type(model).__name__,
            expected=f"a layer with an output of {x.dim()} axes, one of the last longer than 1",
            got="none",
        )
    return FeatureMaps(x.cpu(), recording.maps, recording.values, graph)


class _Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Copies what the layers of a running network return."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped by torch.compile's machinery, whose import takes longer than a small network."""
        return False

    def __init__(self, model: nn.Module, axes: int, graph: Graph | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axes, self.graph = axes, graph
        self.maps: dict[str, Tensor] = {}
        self.values: dict[str, int] = {}
        self.names: Counter[str] = Counter()
        self.leaves: Counter[str] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()
        parents = {path for path, module in model.named_modules() if any(module.children())}
        # The values that functions make, by the path of the module that calls them and the function.
        self.functions: dict[tuple[str, str], list[int | None]] = {}
        for node in graph.nodes if graph is not None else ():
            if node.path in parents:
                shown = node.kind in _KINDS or node.operation == "cat"
                made = self.functions.setdefault((node.path, _plain(node.operation)), [])
                made.append(node.outputs[0] if shown else None)

    def run(self, model: nn.Module, x: Tensor) -> None:
        """One forward."""
        with watched(model, self._left) as self.running, self:
            model(x.clone())  # it may begin in place

    def _left(self, path: str, module: nn.Module, output: Any, failed: bool) -> None:
        """A module ended."""
        if failed or any(module.children()) or isinstance(module, _PASS_ON):
            return
        number = self.leaves[path]
        self.leaves[path] += 1
        calls = self.graph.calls.get(path, ()) if self.graph is not None else ()
        self._keep(path or type(module).__name__, output, calls[number] if number < len(calls) else None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        path, name = self.running()[0], _plain(func._schema.name.partition("::")[2])
        made = self.functions.get((path, name), ())
        number = self.calls[path, name]
        self.calls[path, name] += 1
        if number < len(made) and made[number] is not None:
            first = out[0] if isinstance(out, tuple | list) else out
            self._keep(f"{path}.{name}" if path else name, first, made[number])
        return out

    def _keep(self, name: str, output: Any, value: int | None) -> None:
        self.names[name] += 1
        if not (
            isinstance(output, Tensor)
            and output.ndim == self.axes
            and output.shape[0] == 1
            and output.is_floating_point()
            and max(output.shape[2:]) > 1
        ):
            return
        key = name if self.names[name] == 1 else f"{name}#{self.names[name]}"
        self.maps[key] = output[0].detach().to("cpu", copy=True)
        if value is not None:
            self.values[key] = value


def _plain(name: str) -> str:
    """One name for the forms of a function."""
    name = name.strip("_").removesuffix("_with_indices")
    return "convolution" if name.startswith("conv") else name
