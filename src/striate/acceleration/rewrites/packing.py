"""oneDNN's convolutions and products with weights already in its order, channels last, and what follows done inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from striate.acceleration.graph import (
    CONVOLUTION,
    LINEAR,
    Convolution,
    alone,
    aten,
    call,
    convolution,
    given,
    is_constant,
    layer,
    replace,
    shape,
    store,
    value,
)
from striate.acceleration.rewrites.memory import own

mkldnn = torch.ops.mkldnn
OWN = (
    mkldnn._convolution_pointwise.default,
    mkldnn._convolution_pointwise.binary,
    mkldnn._convolution_pointwise_.binary,
)
# Operation -> its name in oneDNN and its numbers.
ACTIVATIONS: dict[Any, tuple[str, tuple[float, ...]]] = {
    aten.relu.default: ("relu", ()),
    aten.sigmoid.default: ("sigmoid", ()),
    aten.tanh.default: ("tanh", ()),
    aten.silu.default: ("swish", ()),
    aten.hardswish.default: ("hardswish", ()),
    aten.hardsigmoid.default: ("hardsigmoid", ()),
    aten.hardtanh.default: ("hardtanh", (-1.0, 1.0)),
    aten.leaky_relu.default: ("leaky_relu", (0.01,)),
}


def pack(module: GraphModule) -> list[str]:
    """Each convolution and linear layer in oneDNN's form; activations and sums of two are done as it writes."""
    done = []
    nodes = list(module.graph.nodes)
    for node in nodes:
        if node.op != "call_function" or not packable(node):
            continue
        done.append(layer(node))
        if node.target is LINEAR:
            pack_linear(module, node)
        else:
            pack_convolution(module, node, {n: i for i, n in enumerate(module.graph.nodes)})
    return done


def packable(node: Node) -> bool:
    """Whether oneDNN has it: float32 on a processor, of constant weights."""
    val = node.meta.get("val")
    if not isinstance(val, Tensor) or not takes(val):
        return False
    conv = convolution(node)
    if conv is not None:
        return val.dim() in (4, 5) and not (conv.transposed and (conv.groups > 1 or val.dim() == 5))
    return node.target is LINEAR and is_constant(node.args[1])


def takes(x: Tensor) -> bool:
    """Whether oneDNN takes numbers of this type and place."""
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0


def activation(node: Node | None) -> tuple[str, list[float]] | None:
    """Name and numbers in oneDNN of an activation."""
    if node is None or node.target not in ACTIVATIONS or node.kwargs:
        return None
    name, defaults = ACTIVATIONS[node.target]
    _, *own_numbers = given(node)
    return name, [*own_numbers, *defaults[len(own_numbers) :]]


def pack_linear(module: GraphModule, node: Node) -> None:
    """A linear layer, with the activation behind it."""
    graph, x = module.graph, node.args[0]
    assert isinstance(x, Node)
    old = value(module, node.args[1])
    batch = shape(node)[:-1].numel()
    follows = alone(node)
    act = activation(follows)
    if act is None or act[0] not in ("relu", "sigmoid", "tanh"):
        follows, act = None, ("none", [])
    with graph.inserting_before(node):
        weight = store(module, mkldnn._reorder_linear_weight(old, batch), node, "packed")
        bias = node.args[2] if len(node.args) > 2 else None
        fresh = call(graph, mkldnn._linear_pointwise.default, x, weight, bias, act[0], act[1], "", like=node)
    replace(node, fresh)
    if follows is not None:
        replace(follows, fresh)


def pack_convolution(module: GraphModule, node: Node, order: dict[Node, int]) -> None:
    """A convolution, with the sum and the activation behind it."""
    conv = convolution(node)
    assert conv is not None
    last, other = node, None
    follows = alone(last)
    if follows is not None and not conv.transposed and sums(follows, last, order):
        other = follows.args[1] if follows.args[0] is last else follows.args[0]
        last, follows = follows, alone(follows)
    act = activation(follows)
    if act is not None and follows is not None:
        last = follows
    graph = module.graph
    with graph.inserting_before(last):
        weight = store(module, packed(module, conv), node, "packed")
        free = isinstance(other, Node) and read_before(other, node, order)
        fresh = written(node, conv, weight, act or ("none", []), last, other, free)
    replace(last, fresh)


def packed(module: GraphModule, conv: Convolution) -> Tensor:
    """The kernel in the order in which oneDNN reads it."""
    kernel, size = value(module, conv.weight), list(shape(conv.x))
    windows = (conv.stride, conv.dilation, conv.groups, size)
    if conv.transposed:
        places = (conv.padding, conv.output_padding)
        found: Tensor = mkldnn._reorder_convolution_transpose_weight(kernel, *places, *windows)
    else:
        found = mkldnn._reorder_convolution_weight(kernel, conv.padding, *windows)
    return found


def written(
    node: Node, conv: Convolution, weight: Node, act: tuple[str, list[float]], last: Node, other: object, free: bool
) -> Node:
    """The call into oneDNN, which stands for `last`; over the other term of a sum where that is free."""
    graph, (name, numbers) = node.graph, act
    windows = (conv.padding, conv.stride, conv.dilation, conv.groups)
    like = {"like": node, "val": last.meta["val"]}
    if conv.transposed:
        places = (conv.padding, conv.output_padding, conv.stride, conv.dilation, conv.groups)
        target = mkldnn._convolution_transpose_pointwise.default
        return call(graph, target, conv.x, weight, conv.bias, *places, name, numbers, "", **like)
    if other is None:
        target = mkldnn._convolution_pointwise.default
        return call(graph, target, conv.x, weight, conv.bias, *windows, name, numbers, "", **like)
    more = ("add", 1, None if name == "none" else name, numbers, "")
    if free:
        target = mkldnn._convolution_pointwise_.binary
        return call(graph, target, other, conv.x, weight, conv.bias, *windows, *more, **like)
    return call(graph, mkldnn._convolution_pointwise.binary, conv.x, other, weight, conv.bias, *windows, *more, **like)


def sums(node: Node, conv: Node, order: dict[Node, int]) -> bool:
    """Whether a node adds to the convolution something of its shape that is known by then."""
    if node.target is not aten.add.Tensor or node.kwargs:
        return False
    other = node.args[1] if node.args[0] is conv else node.args[0]
    if not isinstance(other, Node) or other is conv or shape(other) != shape(conv) or is_constant(other):
        return False
    if other.meta["val"].dtype != conv.meta["val"].dtype:
        return False
    later = other.target is CONVOLUTION and alone(other) is node and order[other] > order[conv]
    return not later


def read_before(other: Node, conv: Node, order: dict[Node, int]) -> bool:
    """Whether a sum may be written over its other term: oneDNN's own memory, all other readers of which are done.

    A reader that returns a view of it may be read later.
    """
    if other.target not in OWN:
        return False
    total = alone(conv)
    assert total is not None
    readers = [user for user in other.users if user is not total]
    return conv not in readers and all(own(user) and order[user] < order[total] for user in readers)
