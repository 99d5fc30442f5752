"""Sums of convolutions, and convolutions of concatenations, without a pass for each term."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from striate.acceleration.graph import (
    CONVOLUTION,
    Convolution,
    alone,
    aten,
    call,
    calls,
    convolution,
    layer,
    replace,
    shape,
    store,
    value,
)


def sum_in_convolution(module: GraphModule) -> list[str]:
    """A sum of 1x1 convolutions (WaveNet's skips) is one 1x1 convolution of all that they read, side by side."""
    graph, done = module.graph, []
    for node in reversed(list(calls(graph, aten.add.Tensor))):
        if not node.users or any(terms_of(user) for user in node.users):  # dead, or part of a longer sum
            continue
        terms = terms_of(node)
        if terms is None or len(terms) < 3:
            continue
        convs = [convolution(term) for term in terms]
        kernel = torch.cat([value(module, conv.weight) for conv in convs if conv], 1)
        biases = [value(module, conv.bias) for conv in convs if conv and conv.bias is not None]
        with graph.inserting_before(node):
            weight = store(module, kernel, node, "sum_weight")
            bias = store(module, torch.stack(biases).sum(0), node, "sum_bias") if biases else None
            reads = [conv.x for conv in convs if conv]
            like = reads[0].meta["val"]
            val = like.new_empty(like.shape[0], kernel.shape[1], *like.shape[2:])
            side = call(graph, aten.cat.default, reads, 1, like=node, val=val)
            fresh = call(graph, CONVOLUTION, side, weight, bias, *terms[0].args[3:], like=node)
        fresh.meta["layer"] = side.meta["layer"] = layer(terms[0])
        done += [layer(term) for term in terms]
        replace(node, fresh)
    return done


def terms_of(node: Node) -> list[Node] | None:
    """The 1x1 convolutions of one sum, with numbers 0 left out; None where it is no such sum."""
    if node.target is not aten.add.Tensor or node.kwargs:
        return None
    found: list[Node] = []
    for arg in node.args:
        if not isinstance(arg, Node):
            if arg != 0:
                return None
            continue
        conv = convolution(arg)
        inner = [arg] if conv is not None and conv.pointwise and conv.groups == 1 else terms_of(arg)
        if inner is None or alone(arg) is not node or shape(arg) != shape(node):
            return None
        found += inner
    return found


def split_concatenations(module: GraphModule) -> list[str]:
    """A convolution of two inputs side by side (U-Net) is the sum of two convolutions: nothing is copied together."""
    graph, done = module.graph, []
    for node in calls(graph, CONVOLUTION):
        conv = convolution(node)
        cat = None if conv is None else conv.x
        if conv is None or cat is None or not joins_two(cat, conv):
            continue
        parts: list[Node] = list(cat.args[0])  # type: ignore[arg-type]
        first = shape(parts[0])[1]
        kernel = value(module, conv.weight)
        rest = tuple(node.args[3:])
        with graph.inserting_before(node):
            one = store(module, kernel[:, :first].contiguous(), node, "left")
            two = store(module, kernel[:, first:].contiguous(), node, "right")
            left = call(graph, CONVOLUTION, parts[0], one, conv.bias, *rest, like=node)
            right = call(graph, CONVOLUTION, parts[1], two, None, *rest, like=node)
            both = call(graph, aten.add.Tensor, left, right, like=node)
        done.append(layer(node))
        replace(node, both)
    return done


def joins_two(cat: Node, conv: Convolution) -> bool:
    """Whether a node puts the channels of two inputs side by side, for one convolution only."""
    if cat.target is not aten.cat.default or alone(cat) is None or conv.groups != 1 or conv.transposed:
        return False
    return len(cat.args[0]) == 2 and cat.args[1:] == (1,)  # type: ignore[arg-type]
