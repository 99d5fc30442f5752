"""Fully connected heads as convolutions, and back: the same weights, slid over maps of any size.

A fully connected layer on a map of c channels and h x w positions is a convolution with a kernel of h x w
(Long, Shelhamer, Darrell 2015, section 3.1): on a larger image it gives a map of scores in one pass.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses import FakeTensorMode
from torch.fx.passes.shape_prop import ShapeProp

from striate.errors import InputError
from striate.geometry.size import native
from striate.geometry.trace import trace
from striate.layers import RBF, ScaledTanh
from striate.layers.by_rank import AVG_POOL, BATCH_NORM, CONV

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
# What acts on each number alone, or along the channels, means on a map what it means on a vector.
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.PReLU, nn.LeakyReLU, nn.ELU, nn.Softplus)
POINTWISE = (
    *ACTIVATIONS,
    RBF,
    ScaledTanh,
    nn.Identity,
    nn.Dropout,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LogSoftmax,
    nn.Softmax,
)
POOLINGS = ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
POINTWISE_NAMES = {"relu", "relu_", "dropout", "sigmoid", "tanh", "softmax", "log_softmax", "gelu", "silu", "elu"}
POINTWISE_NAMES |= {"leaky_relu", "hardtanh", "add", "iadd", "sub", "mul", "truediv", "neg", "clamp", "contiguous"}


def to_convolutional(model: nn.Module, input: Sequence[int] | None = None) -> fx.GraphModule:
    """The classifier with convolutions for fully connected layers: it maps a larger input to a map of scores.

    On the size that it was made for the scores are the same, as Float[n, k, 1, 1]. The first layer after the
    flattening becomes a convolution with the map's size as kernel, the others 1x1 convolutions; a pooling to one
    position before them becomes an average over windows of the map's size. The network is taken as it is in eval mode,
    and its layers and the memory of its weights are shared, not copied.

    `input` is the shape (c, *space) of one item for which the classifier was made. Without it the least square is taken
    that the network accepts; a network that accepts any size must be told.

    Raises InputError for a network without fully connected layers, for operations after the flattening that mean
    nothing on a map, where `input` is needed, and for a forward that cannot be traced (torch.fx).

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
    >>> to_convolutional(net)(torch.rand(1, 1, 60, 100)).shape
    torch.Size([1, 10, 33, 73])
    """
    traced = _traced(model, native(model) if input is None else tuple(input))
    graph = traced.graph
    maps: dict[fx.Node, tuple[int, ...]] = {}  # vectors of the old graph that are maps of the new one: their old space
    converted = 0
    for node in list(graph.nodes):
        module, sources = _module(traced, node), node.all_input_nodes
        source = sources[0] if sources else node
        if _flattens(node) and source not in maps:
            if len(_shape(source)) != len(_shape(next(iter(graph.nodes)))):
                raise InputError(
                    "the map is flattened in several steps", where=f"at {_name(node)}", fix="Flatten it in one."
                )
            unflattened, space = _slid(traced, node)
            maps[unflattened] = space
            node.replace_all_uses_with(unflattened)
        elif source not in maps or node.op == "output":
            continue
        elif isinstance(module, nn.Linear):
            _replace(traced, node, as_convolution(module, maps[source]))
            converted += 1
            maps[node] = (1,) * len(maps[source])
        elif isinstance(module, nn.BatchNorm1d) and set(maps[source]) == {1}:
            _replace(traced, node, _same_norm(module, len(maps[source])))
            maps[node] = maps[source]
        elif (
            _is_pointwise(node, module) and maps.keys() >= set(sources) and _along_channels(node, module, maps[source])
        ):
            maps[node] = maps[source]
        elif _drops_ones(node):
            maps[node] = maps[source]
            node.replace_all_uses_with(source)
        elif _shape(node):
            raise InputError(
                "an operation of the classifier has no known meaning on a map of scores",
                where=f"at {_name(node)}",
                got=type(module).__name__ if module is not None else _name(node),
            )
    if not converted:
        raise InputError("there is no fully connected layer on a flattened map to convert", got=type(model).__name__)
    return _cleaned(traced)


def to_dense(model: nn.Module, input: Sequence[int]) -> fx.GraphModule:
    """The inverse of `to_convolutional` for inputs of one shape (c, *space): the last convolutions become linear.

    A convolution whose kernel covers its whole map has one position of output; it and the 1x1 convolutions behind it
    become fully connected layers on flattened maps, and the network returns Float[n, k]. The weights are the network's
    own memory.

    Raises InputError where no convolution before the output covers its whole map, or the input does not fit.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 26))
    >>> to_dense(net, (1, 28, 28))
    Sequential(
      (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1))
      (1): ReLU()
      (2): Linear(in_features=2704, out_features=10, bias=True)
    )
    """
    traced = _traced(model, tuple(input))
    graph = traced.graph
    tail: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        module = _module(traced, node)
        fits = _covers(node, module) or (isinstance(module, BATCH_NORMS) and set(_shape(node)[2:]) <= {1})
        fits = fits or _is_pointwise(node, module) or _flattens(node) or _drops_ones(node)
        fits = fits or isinstance(module, ADAPTIVE)
        if node.op == "output" or (fits and math.prod(_shape(node)[2:]) == 1 and tail.issuperset(node.users)):
            tail.add(node)
    converted = 0
    vectors: set[fx.Node] = set()
    for node in list(graph.nodes):
        module = _module(traced, node)
        if node not in tail or node.op == "output":
            continue
        source = node.all_input_nodes[0]
        if isinstance(module, CONVOLUTIONS):
            if source not in vectors:
                with graph.inserting_before(node):
                    node.replace_input_with(source, graph.call_function(torch.flatten, (source, 1)))
            weight = module.weight.flatten(1)
            _replace(traced, node, _with_weights(nn.Linear, module, weight, *reversed(weight.shape)))
            converted += 1
            vectors.add(node)
        elif source not in vectors:
            continue
        elif isinstance(module, BATCH_NORMS):
            _replace(traced, node, _same_norm(module, 1))
            vectors.add(node)
        elif not vectors.issuperset(node.all_input_nodes):
            raise InputError("a vector meets what stays a map", where=f"at {_name(node)}", got=f"{node.args}")
        elif _is_pointwise(node, module, (1,)):
            vectors.add(node)
        else:
            node.replace_all_uses_with(source)
    if not converted:
        raise InputError(
            "no convolution before the output covers its whole map",
            got=f"an input of {'x'.join(map(str, input))}",
            fix="Give the size for which one does (striate describe).",
        )
    return _cleaned(traced)


def as_convolution(linear: nn.Linear, space: tuple[int, ...]) -> nn.Module:
    """The convolution that does on a map of this space what the linear layer does on it flattened."""
    weight = linear.weight.reshape(linear.out_features, -1, *space)
    return _with_weights(CONV[len(space)], linear, weight, weight.shape[1], linear.out_features, space)


def _with_weights(layer: Callable[..., nn.Module], old: nn.Module, weight: torch.Tensor, *sizes: Any) -> nn.Module:
    """A layer on the memory of another one's weights."""
    bias = old.bias
    with torch.device("meta"):
        new = layer(*sizes, bias=bias is not None)
    new.weight = nn.Parameter(weight.detach(), requires_grad=old.weight.requires_grad)  # type: ignore[arg-type]
    new.bias = bias
    return new.train(old.training)


def _same_norm(old: nn.Module, rank: int) -> nn.Module:
    """The batch norm for another number of spatial axes."""
    assert isinstance(old, BATCH_NORMS)
    new = BATCH_NORM[rank](old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats, device="meta")
    for name, tensor in (*old.named_parameters(), *old.named_buffers()):
        setattr(new, name, tensor)
    return new.train(old.training)


class _Tracer(fx.Tracer):
    """torch.fx's, that looks through decorators: those that check types would refuse the stand-ins for tensors."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("striate.layers") or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        plain = inspect.unwrap(type(m).forward)
        if plain is not type(m).forward and not self.is_leaf_module(m, self.path_of_module(m)):
            return super().call_module(m, lambda *a, **k: plain(m, *a, **k), args, kwargs)
        return super().call_module(m, forward, args, kwargs)


def _traced(model: nn.Module, input: tuple[int, ...]) -> fx.GraphModule:
    """The network, as it is in eval mode, as a graph of modules and functions, with the shapes of two items."""
    if type(model).__module__.startswith("torch.nn") and not isinstance(model, nn.Sequential):
        model = nn.Sequential(model)  # a single layer has no layers
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        traced = _graph(model)
        _note_shapes(traced, model, input)
    finally:
        for module, training in modes:
            module.training = training
    traced.training = model.training
    return traced


def _graph(model: nn.Module) -> fx.GraphModule:
    try:
        # Under a parent, so that the tracer looks through the decorators of the network's own forward, too.
        graph = (tracer := _Tracer()).trace(_Whole(model))
    except Exception as error:
        raise InputError(
            "the forward of the network cannot be traced symbolically",
            got=str(error).partition("\n")[0],
            fix="Take control flow that depends on tensors out of it.",
        ) from error
    parts: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            part = operator.attrgetter(str(node.target))(tracer.root)
            node.target = str(node.target).removeprefix("model.")
            parts[node.target] = part
    return fx.GraphModule(parts, graph, type(model).__name__)


def _note_shapes(traced: fx.GraphModule, model: nn.Module, input: tuple[int, ...]) -> None:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    device = next((parameter.device for parameter in model.parameters()), None)
    try:
        with mode, torch.no_grad():
            ShapeProp(traced, fake_mode=mode).propagate(torch.empty(2, *input, device=device))
    except Exception as error:
        trace(model, input)  # says better what is wrong
        raise InputError("the network cannot take this input", got="x".join(map(str, input))) from error


class _Whole(nn.Module):
    """A network under the name `model`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return self.model(x)


def _cleaned(traced: fx.GraphModule) -> fx.GraphModule:
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _replace(traced: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    if sum(other.op == node.op and other.target == node.target for other in traced.graph.nodes) > 1:
        raise InputError("a layer that is used several times cannot be converted", got=str(node.target))
    traced.set_submodule(str(node.target), module)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of what the node returns; () for what is no tensor."""
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _is_pointwise(node: fx.Node, module: nn.Module | None, space: tuple[int, ...] | None = None) -> bool:
    """Whether it acts on each number, or along the channels; on a map of this space a softmax is set to do so."""
    known = isinstance(module, POINTWISE) or (node.op != "call_module" and _name(node) in POINTWISE_NAMES)
    return known and (space is None or _along_channels(node, module, space))


def _along_channels(node: fx.Node, module: nn.Module | None, space: tuple[int, ...]) -> bool:
    """Whether it is no softmax, or one over the classes; that is made to be over axis 1, wherever these stood last."""
    if isinstance(module, nn.Softmax | nn.LogSoftmax):
        module.dim = 1 if module.dim in (None, -1) else module.dim
        return module.dim == 1 and set(space) == {1}
    if "softmax" in _name(node):
        dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        node.args, node.kwargs = node.args[:1], {**node.kwargs, "dim": 1}
        return dim in (None, -1, 1) and set(space) == {1}
    return True


def _flattens(node: fx.Node) -> bool:
    """Whether it makes one vector of each item's map, or takes the mean over the map."""
    if not node.all_input_nodes:
        return False
    before, after = _shape(node.all_input_nodes[0]), _shape(node)
    if len(before) < 3 or len(after) != 2:
        return False
    return after[1] == math.prod(before[1:]) or (_name(node) == "mean" and after == before[:2])


def _drops_ones(node: fx.Node) -> bool:
    """Whether it only removes axes of length 1 (or nothing)."""
    if node.op == "output" or not node.all_input_nodes:
        return False
    before, after = _shape(node.all_input_nodes[0]), _shape(node)
    same = [size for size in before if size > 1] == [size for size in after if size > 1]
    return _name(node) in ("squeeze", "flatten", "view", "reshape") and same


def _covers(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether it is a convolution whose kernel is its whole input."""
    if not isinstance(module, CONVOLUTIONS) or module.groups > 1:
        return False
    return module.kernel_size == _shape(node.all_input_nodes[0])[2:] and not any(module.padding)


def _slid(traced: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, tuple[int, ...]]:
    """What the flattening reads, and its space; a pooling to one position slides, one that changes nothing is gone."""
    source = node.all_input_nodes[0]
    pool = node if _name(node) == "mean" else source
    while _is_pointwise(pool, _module(traced, pool)) and len(pool.all_input_nodes) == 1:
        pool = pool.all_input_nodes[0]
    if not (isinstance(_module(traced, pool), ADAPTIVE) or _name(pool) in ("mean", *POOLINGS)):
        return source, _shape(source)[2:]
    before = pool.all_input_nodes[0]
    space, after = _shape(before)[2:], _shape(pool)[2:]
    if space == after:
        pool.replace_all_uses_with(before)
        return (before if source is pool else source), space
    if math.prod(after) > 1:
        raise InputError(
            "a pooling before the classifier fits its map to a size and cannot slide",
            where=f"at {pool.target}",
            got=f"{'x'.join(map(str, space))} to {'x'.join(map(str, after))}",
            fix="Pass the input for which it changes nothing.",
        )
    name = f"sliding_{pool.name}"
    traced.add_submodule(name, AVG_POOL[len(space)](space, 1))
    with traced.graph.inserting_after(before):
        sliding = traced.graph.call_module(name, (before,))
    if pool is not node:
        pool.replace_all_uses_with(sliding)
    return (sliding if source in (pool, before) else source), (1,) * len(space)


__all__ = ["as_convolution", "native", "to_convolutional", "to_dense"]
