"""Ablation: silence each channel of a layer in turn, see what the score loses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import fx, nn
from torch.utils import _pytree as pytree

from striate.errors import InputError
from striate.interpret.lean import parts
from striate.interpret.map import as_image
from striate.interpret.scoring import (
    checked,
    examined,
    feeding,
    find_layer,
    first_tensor,
    never_called,
    scored,
    with_first,
)
from striate.interpret.sweep import Progress, Target, reporting
from striate.shapes import Float, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Outputs and targets to a number for each item.
Score = Callable[[Tensor, Any], Tensor]
FILLS = ("zero", "mean")


@dataclass(frozen=True, eq=False, repr=False)
class Ablation:
    """The mean score of all items as it is (`base`) and without each of `channels` (`scores`); `items` has the score of
    each item, (channels, n)."""

    layer: str
    fill: str
    channels: tuple[int, ...]
    base: float
    items: Float[Tensor, "u n"]
    whole: str = ""

    @property
    def scores(self) -> Float[Tensor, " u"]:
        """The mean over the items without each channel."""
        return self.items.mean(1)

    @property
    def loss(self) -> Float[Tensor, " u"]:
        """What the score loses with each channel: base - scores; below zero where it is better off without."""
        return self.base - self.scores

    def plot(self) -> Figure:
        """A bar for each of the 40 channels with the greatest effect, in order."""
        from striate.interpret.features.ablation_pictures import draw_ablation

        return draw_ablation(self)

    def table(self, rows: int = 20) -> Table:
        """A row a channel, those that cost most first."""
        table = Table("channel", "score without", "loss", title=self.title())
        loss = self.loss
        for place in loss.argsort(descending=True, stable=True)[:rows].tolist():
            table.add_row(str(self.channels[place]), f"{float(self.scores[place]):.4g}", f"{float(loss[place]):+.4g}")
        return table

    def json(self) -> dict[str, Any]:
        """Everything but the scores of single items as plain types."""
        return {**self._facts(), "scores": self.scores.tolist(), "loss": self.loss.tolist()}

    def save(self, path: str | Path) -> None:
        """Write the scores of all items into a safetensors file; StorageError where it cannot be written."""
        save_tensors(Path(path), {"items": self.items}, self._facts())

    def title(self) -> str:
        """What was done: "16 channels of conv1 silenced, 1,797 items: score 0.981"."""
        count = len(self.channels)
        many = f"{count} channel{'s' * (count != 1)} of {self.layer}"
        return f"{many} silenced ({self.fill}), {self.items.shape[1]:,} items: score {self.base:.4g}"

    def _facts(self) -> dict[str, Any]:
        facts = {"method": "ablation", "layer": self.layer, "fill": self.fill, "base": self.base, "whole": self.whole}
        return facts | {"channels": list(self.channels)}

    def _repr_html_(self) -> str:
        return as_image(self.plot(), self.title())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title()})"


def ablate(
    model: nn.Module,
    x: Tensor,
    layer: str,
    targets: Any = None,
    *,
    target: Target = None,
    score: Score | None = None,
    fill: str = "zero",
    channels: Sequence[int] | None = None,
    batch: int = 64,
    progress: Progress = False,
) -> Ablation:
    """The score of items x (n, c, *space), or tokens (n, t), without each channel of a layer (axis 1 of its output).

    What stands in: `fill` "zero", or "mean", that of the channel over all items and places. The score of an item is,
    with `targets` (a class for each), 1 where the greatest output is the target's, so that the mean is the accuracy;
    without them its output: `target` as for `striate.interpret.gradient`. Another `score` is a function of outputs
    (n, …) and targets that gives (n,), such as lambda out, to: -F.cross_entropy(out, to, reduction="none").

    What lies before the layer runs once for each batch, what lies behind it once for each channel. A layer that is
    called several times is silenced in each. A network that cannot be split so (its course depends on numbers) is run
    as a whole; `whole` says why.

    Raises InputError for a layer or channel that is not there, another fill, targets of another number, and a score
    that is not one number an item.
    Source: Morcos et al. 2018, "On the importance of single directions for generalization", sec. 2.2.

    >>> net = nn.Sequential(nn.Conv1d(1, 2, 1, bias=False), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 1))
    >>> _ = net[0].weight.data.fill_(1.0), net[3].bias.data.zero_()
    >>> _ = net[3].weight.data.copy_(torch.tensor([[2.0, 5.0]]))
    >>> found = ablate(net, torch.ones(3, 1, 4), "0", target=0)
    >>> found.base, found.loss
    (7.0, tensor([2., 5.]))
    """
    x = checked(model, x)
    find_layer(model, layer)
    if fill not in FILLS:
        raise InputError("unknown fill", expected=" or ".join(FILLS), got=fill)
    if batch < 1:
        raise InputError("batch size is not positive", expected="at least 1", got=batch)
    if targets is not None:
        targets = torch.as_tensor(targets)
        if len(targets) != len(x):
            raise InputError("each item has a target", expected=len(x), got=len(targets))
    measure = score or (_right if targets is not None else lambda output, _: scored(output, target))
    with examined(model) as network, torch.no_grad():
        shape, means = _means(network, x, layer, batch)
        chosen = range(shape) if channels is None else channels
        wrong = [c for c in chosen if not 0 <= c < shape]
        if wrong:
            raise InputError("the layer has no such channel", expected=f"0 to {shape - 1}", got=wrong[0])
        values = means if fill == "mean" else torch.zeros_like(means)
        silenced = _Silenced(network, layer, len(means))
        base, made = [], []
        with reporting(progress, len(x) * len(chosen), f"ablation of {layer}") as report:
            for part in parts(len(x), -(-len(x) // -(-len(x) // batch))):
                to = targets[part] if targets is not None else None
                run = silenced.behind(x[part], values)
                base.append(_checked_score(measure(run(None), to), len(x[part])))
                rows = []
                for channel in chosen:
                    rows.append(_checked_score(measure(run(channel), to), len(x[part])))
                    report(len(x[part]))
                made.append(torch.stack(rows))
    items = torch.cat(made, 1)
    return Ablation(layer, fill, tuple(chosen), float(torch.cat(base).mean()), items, silenced.whole)


def _right(output: Tensor, targets: Any) -> Tensor:
    right: Tensor = output.argmax(1).cpu() == targets
    return right.float()


def _checked_score(made: object, count: int) -> Tensor:
    if not isinstance(made, Tensor) or made.shape != (count,):
        got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise InputError("a score is one number an item", expected=(count,), got=got)
    found: Tensor = made.float().cpu()
    return found


def _means(model: nn.Module, x: Tensor, layer: str, batch: int) -> tuple[int, Tensor]:
    """How many channels the layer has, and the mean of each."""
    sums: list[Tensor] = []

    def add(_module: nn.Module, _args: Any, out: Any) -> None:
        found = first_tensor(out, layer)
        if found.dim() < 2 or not found.is_floating_point():
            expected = "floats (n, channels, *space)"
            raise InputError("this layer has no channels", where=layer, expected=expected, got=tuple(found.shape))
        sums.append(found.movedim(1, 0).flatten(1).mean(1) * len(found))

    with find_layer(model, layer).register_forward_hook(add), feeding(model, x):
        runs = [model(x[part].clone()) is not None for part in parts(len(x), batch)]
    if not sums:
        raise never_called(layer)
    total = torch.stack(sums).sum(0)
    return len(total), total * len(runs) / len(sums) / len(x)


class _Silenced(nn.Module):
    """A network in which a layer's output is kept times `keep` and a `fill` is added, channel by channel."""

    def __init__(self, model: nn.Module, layer: str, channels: int) -> None:
        super().__init__()
        self.model, self.layer, self.channels, self.whole = model, layer, channels, ""
        self._parts: dict[Any, _Behind] = {}

    def forward(self, x: Tensor, keep: Tensor, fill: Tensor) -> Tensor:
        """The output."""

        def silence(_module: nn.Module, _args: Any, out: Any) -> Any:
            found = first_tensor(out, self.layer)
            each = (1, -1, *[1] * (found.dim() - 2))
            return with_first(out, found * keep.reshape(each) + fill.reshape(each))

        with find_layer(self.model, self.layer).register_forward_hook(silence):
            return first_tensor(self.model(x.clone()), type(self.model).__name__)

    def behind(self, x: Tensor, values: Tensor) -> Callable[[int | None], Tensor]:
        """The output of these items without a channel (None: with all), what lies before the layer done once."""
        gates = torch.ones_like(values), torch.zeros_like(values)

        def gated(channel: int | None) -> tuple[Tensor, Tensor]:
            keep, fill = (gate.clone() for gate in gates)
            if channel is not None:
                keep[channel], fill[channel] = 0, values[channel]
            return keep, fill

        if not self.whole and x.shape not in self._parts:
            from striate.acceleration.capture import capture

            try:
                leaves, nesting = pytree.tree_flatten(((x, *gates), {}))
                self._parts[x.shape] = _Behind(capture(self, leaves, nesting))
            except InputError as error:
                self.whole = str(error)
        if self.whole:
            return lambda channel: self(x, *gated(channel))
        part = self._parts[x.shape]
        known = part.before(x)
        return lambda channel: part(known, *gated(channel))


class _Behind:
    """A captured network in two parts: what does not depend on its second and third input, and the rest."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        nodes = list(module.graph.nodes)
        self.x, *self.gates = [node for node in nodes if node.op == "placeholder"]
        behind = set(self.gates)
        for node in nodes:
            if any(source in behind for source in node.all_input_nodes):
                behind.add(node)
        self.first = [node for node in nodes if node not in behind and node is not self.x]
        self.rest = [node for node in nodes if node in behind and node not in self.gates]
        self.between = {node for node in (*self.first, self.x) if any(user in behind for user in node.users)}

    def before(self, x: Tensor) -> dict[fx.Node, Any]:
        """What the second part reads of the first."""
        return _run(self.module, self.first, {self.x: x}, self.between)

    def __call__(self, known: dict[fx.Node, Any], keep: Tensor, fill: Tensor) -> Tensor:
        values = dict(known) | dict(zip(self.gates, (keep, fill), strict=True))
        output = self.rest[-1]
        found = _run(self.module, self.rest, values, {output})[output]
        return first_tensor(found, "the network")


def _run(
    module: fx.GraphModule, nodes: Iterable[fx.Node], values: dict[fx.Node, Any], kept: set[fx.Node]
) -> dict[fx.Node, Any]:
    """Do operations in order; what is not kept goes after its last use."""
    nodes = list(nodes)
    last = {source: node for node in nodes for source in node.all_input_nodes}
    for node in nodes:
        if node.op == "get_attr":
            values[node] = getattr(module, str(node.target))
        elif node.op == "output":
            values[node] = fx.map_arg(node.args[0], lambda source: values[source])
        else:
            args: Any = fx.map_arg(node.args, lambda source: values[source])
            kwargs: Any = fx.map_arg(node.kwargs, lambda source: values[source])
            values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        for source in node.all_input_nodes:
            if last[source] is node and source not in kept:
                values.pop(source, None)
    return {node: value for node, value in values.items() if node in kept}
