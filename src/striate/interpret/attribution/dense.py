"""Class activation maps of networks that end in a global average and one dense layer: the layer's own weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import InputError
from striate.geometry.graph import Graph, Value
from striate.geometry.seen import named
from striate.geometry.trace import trace
from striate.interpret.attribution.cam import CamMap, finished, space_of, with_targets
from striate.interpret.attribution.placement import Placement
from striate.interpret.lean import laid_out, lean
from striate.interpret.scoring import checked, classes_of, examined, output_of, scored
from striate.interpret.sweep import Progress, Target, reporting
from striate.shapes import Num, Tensor

AVERAGES = ("mean", "avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")
DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# What may follow the dense layer: S is what it gives itself.
ENDINGS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.clone,
    functools.partial(torch.softmax, dim=1),
    functools.partial(torch.log_softmax, dim=1),
    torch.sigmoid,
    nn.functional.logsigmoid,
)


def cam(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    progress: Progress = False,
) -> CamMap:
    """CAM: Σ_k w_k A_k, where A are the maps that the network averages and w the weights from them to the class.

    For networks that end in maps, their global average, and one dense layer (ResNet, Inception, DenseNet, VGG-GAP), or
    in the average of one map a class (NIN, SqueezeNet: w is 1 for the class's own). S is what the dense layer gives
    for the class, before a softmax. `target`: the class, one for each item, or None for the greatest.
    `scores`: (n, *grid), signed: their mean and the bias add up to S.

    Raises InputError for a network of another form (saying what it has) and a target that is no class; see `grad_cam`.
    Source: Zhou et al. 2016, eq. 2.

    >>> net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 3))
    >>> cam(net, torch.rand(5, 1, 8), target=2).scores.shape
    torch.Size([5, 8])
    """
    x = checked(model, x)
    if callable(target):
        raise InputError("CAM explains a class", expected="an index, or None", got="a function", fix="Use grad_cam.")
    base, scores, last = [], [], None
    graph, problem = _traced(model, x)
    with (
        examined(model) as network,
        lean(network, graph) as rows,
        torch.no_grad(),
        reporting(progress, len(x), "CAM") as report,
    ):
        for part, wanted in with_targets(x, target, rows):
            last = _ending(network, laid_out(part))
            classes = torch.tensor(classes_of(last.logits, wanted))
            base.append(scored(last.logits, wanted))
            scores.append(torch.einsum("nk,nk...->n...", last.weights[classes], last.maps))
            report(len(part))
    assert last is not None
    name, placement = _placed(graph, problem, x, last.maps)
    return finished("CAM", x, base, scores, target, name, placement, {})


@dataclass
class Ending:
    """A network's end: means of `maps` (n, k, *grid) times `weights` (classes, k) are the `logits`, but for biases."""

    maps: Tensor
    weights: Tensor
    logits: Tensor


class Averages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what is averaged over all of its positions, and the averages."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        average = func._schema.name.removeprefix("aten::") in AVERAGES and args[0].dim() > 2
        if average and out.dim() > 1 and out.numel() == args[0].shape[:2].numel():
            self.found = [*self.found[-1:], (args[0], out.flatten(1))]
        return out


def _ending(model: nn.Module, x: Tensor) -> Ending:
    """Run the network and see how it ends; raises InputError where that is not the form."""
    dense: list[tuple[str, nn.Module, Tensor, Tensor]] = []
    averages = Averages()

    def keep(path: str, module: nn.Module, args: Any, out: Tensor) -> None:
        dense[:] = [(path, module, args[0], out)]

    hooks = [
        module.register_forward_hook(functools.partial(keep, path))
        for path, module in model.named_modules()
        if isinstance(module, DENSE)
    ]
    try:
        with averages:
            output = output_of(model, x).flatten(1)
    finally:
        for hook in hooks:
            hook.remove()
    for maps, means in reversed(averages.found):
        if torch.equal(means, output):
            return Ending(_grid(maps, x), torch.eye(output.shape[1]).to(output), output)
    if not dense:
        raise _other(model, "no dense layer")
    path, module, read, logits = dense[-1]
    if logits.numel() != output.numel():
        sizes = f"{tuple(logits.shape[1:])} are not the {output.shape[1]} outputs"
        raise _other(model, f"{path} last, whose {sizes}")
    logits = logits.flatten(1)
    if not any(torch.allclose(ended(logits), output, atol=1e-6) for ended in ENDINGS):
        raise _other(model, f"{path} last, whose outputs are changed afterwards by more than a softmax or sigmoid")
    weights = module.weight
    assert isinstance(weights, Tensor)
    weights = weights.detach().flatten(1)
    for maps, means in reversed(averages.found):
        if torch.equal(means, read.flatten(1)) and weights.shape[1] == means.shape[1]:
            return Ending(_grid(maps, x), weights, logits)
    raise _other(model, f"{path} last, which reads {tuple(read.shape[1:])} that are no averages of maps")


def _other(model: nn.Module, got: str) -> InputError:
    return InputError(
        "the network has not the form of CAM",
        where=type(model).__name__,
        expected="maps, their global average, one dense layer",
        got=got,
        fix="Use grad_cam, which needs no form.",
    )


def _grid(maps: Tensor, x: Tensor) -> Tensor:
    """Without the axis that a pooling of signals adds."""
    return maps.squeeze(2) if maps.dim() > len(space_of(x)) + 2 else maps


def _traced(model: nn.Module, x: Tensor) -> tuple[Graph | None, str]:
    """The network's graph, or why there is none."""
    try:
        return trace(model, x[:1]), "the maps are not in the trace"
    except InputError as error:
        return None, f"the network cannot be traced ({error})"


def _placed(graph: Graph | None, problem: str, x: Tensor, maps: Tensor) -> tuple[str, Placement]:
    """What gave the maps, and where their units lie; where that is not known, stretched because of `problem`."""
    value = None if graph is None else _averaged(graph, maps)
    if graph is None or value is None:
        return "the averaged maps", Placement.stretched(maps.shape[2:], space_of(x), problem)
    paths = [path for path, index in graph.modules.items() if index == value.index]
    name = min(paths, key=lambda path: path.count("."), default=named(graph, value))
    return name, Placement.of(graph, value, space_of(x))


def _averaged(graph: Graph, maps: Tensor) -> Value | None:
    """The value of the maps: the last of their shape before the last average that has one number for each."""
    for node in reversed(graph.nodes):
        made = graph.values[node.outputs[0]].shape
        if node.kind in ("pooling", "elementwise") and made[1:2] == maps.shape[1:2] and math.prod(made) == made[1]:
            before = (value for value in reversed(graph.values[: node.outputs[0]]) if value.shape[1:] == maps.shape[1:])
            return next(before, None)
    return None
