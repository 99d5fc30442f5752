"""Convolutions of concatenations, without the copy."""

from __future__ import annotations

from torch.fx import GraphModule, Node

from striate.acceleration.graph import (
    CONVOLUTION,
    Convolution,
    alone,
    aten,
    call,
    calls,
    convolution,
    given,
    layer,
    replace,
    shape,
    store,
    value,
)


def split_concatenations(module: GraphModule) -> list[str]:
    """A convolution of two inputs side by side (U-Net) is the sum of two convolutions: nothing is copied together."""
    graph, done = module.graph, []
    for node in calls(graph, CONVOLUTION):
        conv = convolution(node)
        cat = None if conv is None else conv.x
        if conv is None or cat is None or not joins_two(cat, conv):
            continue
        parts = given(cat)[0]
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
    parts, *axis = given(cat)
    return len(parts) == 2 and axis == [1]
