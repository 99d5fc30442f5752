"""Poolings moved to where there is less to do."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule, Node

from striate.acceleration.graph import (
    CONVOLUTION,
    LINEAR,
    MAX_POOLS,
    alone,
    aten,
    call,
    calls,
    convolution,
    first_of,
    given,
    layer,
    readers_move,
    replace,
    shape,
)

AVERAGES = (aten.avg_pool2d.default, aten.avg_pool3d.default)


def pool_before_relu(module: GraphModule) -> list[str]:
    """max(relu(x)) = relu(max(x)): the ReLU on the fewer values, where no convolution takes it anyway."""
    graph, done = module.graph, []
    for node in calls(graph, *MAX_POOLS):
        relu: Any = node.args[0]
        result = first_of(node)
        if not isinstance(relu, Node) or relu.target is not aten.relu.default or alone(relu) is not node:
            continue
        inner: Any = relu.args[0]
        if result is None or inner.target in (CONVOLUTION, LINEAR):
            continue
        node.update_arg(0, relu.args[0])
        with graph.inserting_after(result):
            after = call(graph, aten.relu.default, result, like=result)
        readers_move(result, after)
        done.append(layer(node))
    return done


def average_before_pointwise(module: GraphModule) -> list[str]:
    """Averages of a 1x1 convolution are the 1x1 convolution of averages (DenseNet's transitions): it sees fewer places.

    Exact where every average is over as many numbers as it divides by: without padding and partial windows.
    """
    graph, done = module.graph, []
    for node in calls(graph, *AVERAGES):
        average: Any = node.target
        source, *options = given(node)
        conv = convolution(source)
        if conv is None or not conv.pointwise or alone(source) is not node:
            continue
        padding = options[2] if len(options) > 2 else []
        if any(padding) or any(options[3:4]) or any(options[5:]) or node.kwargs:
            continue
        like = node.meta["val"]
        val = like.new_empty(like.shape[0], *shape(conv.x)[1:2], *like.shape[2:])
        with graph.inserting_before(node):
            averages = call(graph, average, conv.x, *options, like=node, val=val)
            after = call(graph, CONVOLUTION, averages, *given(source)[1:], like=node)
        after.meta["layer"] = layer(source)
        done.append(layer(source))
        replace(node, after)
    return done
