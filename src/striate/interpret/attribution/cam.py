"""Class activation maps by the gradient at a layer: Grad-CAM, Grad-CAM++, Layer-CAM, and Score-CAM without gradients.

All are sums over the layer's channels, Σ_k w_k A_k(position), that differ in the weights w; CAM itself, whose weights
are those of the network's dense layer, is in `dense.py`. What is before the layer runs without a graph, once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.graph import Graph, Value
from striate.geometry.trace import trace
from striate.interpret.attribution.placement import Placement, resized
from striate.interpret.lean import laid_out, lean, parts
from striate.interpret.map import Map
from striate.interpret.occlusion import AXES
from striate.interpret.scoring import (
    checked,
    classes_of,
    examined,
    find_layer,
    no_number,
    one_each,
    output_after,
    output_of,
    scored,
)
from striate.interpret.sweep import Progress, Report, Target, described, reporting
from striate.shapes import Float, Num, Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# (A, dS/dA) -> a map for each item
Weigh = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class CamMap(Map):
    """A map of a layer's units: `scores` are (n, *grid), without n for one item; `placement` says where they lie."""

    placement: Placement

    def heatmap(self) -> Float[Tensor, "..."]:
        """The map over x, (n, *space), each unit at the middle of its window: see `Placement.spread`."""
        return self.placement.spread(self.scores)

    def naive(self) -> Float[Tensor, "..."]:
        """The map stretched over x as an image is resized: `placement.displacement` says how far off that is."""
        return resized(self.scores, self.placement.space)

    def plot(self, output: int | Sequence[int] | None = None) -> Figure:
        """One item, its map, and the map over it. Of a volume, the plane with the greatest value."""
        from striate.interpret.attribution.cam_pictures import draw_cam

        return draw_cam(self, self.output(output))

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"placement": self.placement.json()}

    def _remark(self) -> str | None:
        return f"Stretched over the input: {self.placement.problem}." if self.placement.problem else None


def grad_cam(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    layer: str | None = None,
    signed: bool = False,
    progress: Progress = False,
) -> CamMap:
    """Grad-CAM: ReLU(Σ_k w_k A_k), where w_k is the mean over positions of dS/dA_k.

    `target`: what S is: None, the greatest output of each item; a class, or one for each item; or a function of outputs
    (n, ...) that keeps the first axis. Of dense outputs (n, k, *space) the class's map is summed, as in Seg-Grad-CAM;
    a function takes a part of it: target=lambda y: (y[:, 3] * mask).sum((1, 2)).
    `layer`: path of the module whose outputs are A; without it the last one with spatial axes that is no pooling (and,
    of dense outputs, no map of the classes), as `parameters` says. `signed`: keep what speaks against S, too.
    `scores`: (n, *grid) in the units of S per unit of A, `heatmap()` over x.

    Raises InputError for a layer that is not there, is not called or has no spatial axes, a network without
    convolution, a target that is no class, and for values that are no numbers.
    Source: Selvaraju et al. 2017, sec. 3; of segmentation Vinogradova et al. 2020.

    >>> net = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> _ = nn.init.ones_(net[0].weight)
    >>> found = grad_cam(net, torch.tensor([[[0.0, 8.0, 0.0, 0.0]]]), layer="0", target=0)
    >>> bool((found.scores == found.scores.max()).tolist() == [False, True, False, False])
    True
    """

    def weigh(values: Tensor, slopes: Tensor) -> Tensor:
        return (_mean(slopes) * values).sum(1)

    return _by_gradient("Grad-CAM", weigh, model, x, target, layer, signed, progress)


def grad_cam_pp(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    layer: str | None = None,
    signed: bool = False,
    progress: Progress = False,
) -> CamMap:
    """Grad-CAM++: as `grad_cam`, with weights for which several objects of the class count alike, whatever their sizes.

    w_k = Σ a_k ReLU(g_k), with g = dS/dA and a_k = g_k² / (2 g_k² + g_k³ Σ A_k) = 1 / (2 + g_k Σ A_k) at each position.

    These are the paper's weights for exp(S), up to the factor exp(S), which is one for the whole map.
    Arguments, errors: see `grad_cam`. Source: Chattopadhay et al. 2018, eq. 10 and 19.
    """

    def weigh(values: Tensor, slopes: Tensor) -> Tensor:
        total = values.flatten(2).sum(2).reshape(*values.shape[:2], *[1] * (values.dim() - 2))
        below = 2 + slopes * total  # g² is left out above and below: of small slopes it is no number but 0
        share = torch.where(below != 0, 1 / torch.where(below != 0, below, 1), 0)
        weights = (share * slopes.clamp_min(0)).flatten(2).sum(2)
        return (weights.reshape(total.shape) * values).sum(1)

    return _by_gradient("Grad-CAM++", weigh, model, x, target, layer, signed, progress)


def layer_cam(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    layer: str | None = None,
    signed: bool = False,
    progress: Progress = False,
) -> CamMap:
    """Layer-CAM: ReLU(Σ_k ReLU(dS/dA_k) A_k), each position by its own gradient, so that early layers tell, too.

    Arguments, errors: see `grad_cam`. Source: Jiang et al. 2021, eq. 5 and 6.
    """

    def weigh(values: Tensor, slopes: Tensor) -> Tensor:
        return (slopes.clamp_min(0) * values).sum(1)

    return _by_gradient("Layer-CAM", weigh, model, x, target, layer, signed, progress)


def score_cam(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    layer: str | None = None,
    signed: bool = False,
    progress: Progress = False,
) -> CamMap:
    """Score-CAM: ReLU(Σ_k w_k A_k), where w_k tells how much of the score is left where only channel k is seen.

    w is the softmax over channels of S(x · mask_k), and mask_k is A_k, placed on x and brought to 0..1. No gradients,
    but as many runs of the network as the layer has channels.

    A channel that is the same everywhere is no mask, and gets no weight. Positions that no unit sees are masked. The
    class is the one of the whole x. Other arguments, errors: see `grad_cam`.
    Source: Wang et al. 2020, algorithm 1 (its baseline cancels in the softmax).
    """
    x, path, placement, graph = _prepared(model, x, layer)
    if not x.is_floating_point():
        fix = "Pass one-hot channels (n, c, t)."
        raise InputError("masks need an input of floats", where="x", got=x.dtype, fix=fix)
    own, base, scores = one_each(target, len(x)), [], []
    with (
        examined(model) as network,
        lean(network, graph, path) as rows,
        contextlib.ExitStack() as stack,
        torch.no_grad(),
    ):
        report: Report | None = None
        for item, part in enumerate(x[:, None]):
            output, values = (found.detach() for found in output_after(network, part, path))
            if report is None:
                report = stack.enter_context(reporting(progress, len(x) * values.shape[1], "Score-CAM"))
            wanted = target if own is None else own[item : item + 1]
            wanted = classes_of(output, wanted) or wanted
            base.append(scored(output, wanted))
            weights = _confidence(network, part, grid_of(values, path)[0], placement, wanted, rows, report)
            found = torch.tensordot(weights, values[0], 1)[None]
            scores.append(found if signed else found.clamp_min(0))
    return finished("Score-CAM", x, base, scores, target, path, placement, {"signed": signed})


def _confidence(
    model: nn.Module,
    x: Tensor,
    values: Float[Tensor, "k *grid"],
    placement: Placement,
    target: Any,
    rows: int,
    report: Report,
) -> Float[Tensor, " k"]:
    """Softmax of the scores of one item seen through each channel; 0 for channels that are no mask."""
    flat = values.flatten(1)
    least, most = flat.amin(1), flat.amax(1)
    scores = flat.new_full((len(flat),), -math.inf)
    for part in parts(len(flat), rows):
        which = torch.arange(part.start, part.stop, device=x.device)
        live = which[(most > least)[which]]
        if len(live):
            low, high = (edge[live].reshape(-1, *[1] * (values.dim() - 1)) for edge in (least, most))
            masks = placement.spread((values[live] - low) / (high - low)).nan_to_num(0)
            several = target * len(live) if isinstance(target, list) else target
            scores[live] = scored(output_of(model, laid_out(x * masks[:, None])), several)
        report(len(which))
    return torch.zeros_like(scores) if bool(scores.isinf().all()) else scores.softmax(0)


def _by_gradient(
    method: str,
    weigh: Weigh,
    model: nn.Module,
    x: Any,
    target: Target,
    layer: str | None,
    signed: bool,
    progress: Progress,
) -> CamMap:
    x, path, placement, graph = _prepared(model, x, layer)
    base, scores = [], []
    with (
        examined(model) as network,
        lean(network, graph, path) as rows,
        reporting(progress, len(x), method) as report,
    ):
        for part, wanted in with_targets(x, target, rows):
            output, values = output_after(network, laid_out(part), path)
            with torch.enable_grad():
                score = scored(output, wanted)
            slopes = _slopes(score, grid_of(values, path), path)
            found = weigh(values.detach(), slopes)
            scores.append(found if signed else found.clamp_min(0))
            base.append(score.detach())
            report(len(part))
    return finished(method, x, base, scores, target, path, placement, {"signed": signed})


def _slopes(score: Tensor, values: Tensor, path: str) -> Tensor:
    """dS/dA of each item: the items of a batch do not mix."""
    slopes = torch.autograd.grad(score.sum(), values, allow_unused=True)[0] if score.requires_grad else None
    if slopes is None:
        raise InputError("the target does not depend on the layer", where=path, fix="Choose another layer or target.")
    return slopes


def _prepared(model: nn.Module, x: Any, layer: str | None) -> tuple[Tensor, str, Placement, Graph | None]:
    """The checked input, the layer's path, where its units lie, and the network's graph if it can be traced."""
    x = checked(model, x)
    if layer is not None:
        find_layer(model, layer)
    space = space_of(x)
    try:
        graph = trace(model, x[:1])
    except InputError as error:
        if layer is None:
            fix = "Name the layer: layer=…"
            raise InputError("cannot find the last layer by itself", got=f"({error})", fix=fix) from error
        return x, layer, _by_running(model, x[:1], layer, f"the network cannot be traced ({error})"), None
    path = last_layer(model, graph, len(space)) if layer is None else layer
    if path not in graph.modules:
        return x, path, _by_running(model, x[:1], path, "the layer is not in the trace"), graph
    value = graph.find(path)
    if len(value.shape) < 3:
        raise _no_grid(path, value.shape)
    return x, path, Placement.of(graph, value, space), graph


def _by_running(model: nn.Module, x: Tensor, path: str, problem: str) -> Placement:
    """The placement where the trace says nothing."""
    with examined(model), torch.no_grad():
        values = grid_of(output_of(model, x, path), path)
    return Placement.stretched(values.shape[2:], space_of(x), problem)


def space_of(x: Tensor) -> tuple[int, ...]:
    """The sides of x: of tokens (n, t) the t."""
    return tuple(x.shape[2:] if x.dim() > 2 else x.shape[1:])


def last_layer(model: nn.Module, graph: Graph, rank: int) -> str:
    """The last module whose output has as many spatial axes as the input, one of them longer than 1, that is no pooling
    (the maps before it are finer) and, where the outputs are dense, no map of the classes; the outermost of those that
    return the same.

    Raises InputError where there is none behind a convolution.
    """
    output = graph.values[graph.outputs[0]]
    dense = output.shape[1] if len(output.shape) == rank + 2 and max(output.shape[2:]) > 1 else None
    kinds = {value: node.kind for node in graph.nodes for value in node.outputs}
    first = min((value for value, kind in kinds.items() if kind == "convolution"), default=len(graph.values))

    def fits(value: Value) -> bool:
        if len(value.shape) != rank + 2 or max(value.shape[2:]) < 2 or value.index < first:
            return False
        return kinds.get(value.index) != "pooling" and value.shape[1] != dense

    found = {path: index for path, index in graph.modules.items() if path and fits(graph.values[index])}
    if not found:
        raise InputError(
            "the network has no layer for a class activation map",
            where=type(model).__name__,
            expected=f"a convolution with {rank} spatial {'axis' if rank == 1 else 'axes'} longer than 1",
            got="none",
            fix="Use gradients or occlusion.",
        )
    last = max(found.values())
    return min((path for path, index in found.items() if index == last), key=lambda path: path.count("."))


def grid_of(values: Tensor, path: str) -> Tensor:
    if values.dim() < 3:
        raise _no_grid(path, values.shape)
    return values


def _no_grid(path: str, shape: Sequence[int]) -> InputError:
    return InputError(
        "the layer has no spatial axes",
        where=path,
        expected="outputs (n, k, *grid)",
        got=tuple(shape),
        fix="Choose a layer before them; without layer= the last one is taken.",
    )


def with_targets(x: Tensor, target: Target, size: int) -> Iterator[tuple[Tensor, Any]]:
    """The items, so many at a time, each part with its targets."""
    own = one_each(target, len(x))
    for part in parts(len(x), size):
        yield x[part], target if own is None else own[part]


def _mean(slopes: Tensor) -> Tensor:
    return slopes.mean(tuple(range(2, slopes.dim())), keepdim=True)


def finished(
    method: str,
    x: Tensor,
    base: Sequence[Tensor],
    scores: Sequence[Tensor],
    target: Target,
    path: str,
    placement: Placement,
    more: dict[str, Any],
) -> CamMap:
    """The finished map of all items; of one item without its axis."""
    outputs, maps = torch.cat([*base]).cpu(), torch.cat([*scores]).cpu()
    if not bool(outputs.isfinite().all()):
        raise no_number(outputs)
    if len(x) == 1:
        outputs, maps = outputs[0], maps[0]
    names = AXES.get(len(placement.grid), tuple(f"axis {i}" for i in range(len(placement.grid))))
    axes = dict(zip(names, map(range, placement.grid), strict=True))
    parameters = {"target": described(target), "layer": path, **more, **placement.json()}
    return CamMap(method, x.cpu(), outputs, maps, axes, parameters, placement)
