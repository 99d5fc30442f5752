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
        source = node.args[0]
        conv = convolution(source)
        if conv is None or not conv.pointwise or alone(source) is not node:  # type: ignore[arg-type]
            continue
        padding = node.args[3] if len(node.args) > 3 else []
        if any(padding) or any(node.args[4:5]) or any(node.args[6:]) or node.kwargs:  # type: ignore[arg-type]
            continue
        like = node.meta["val"]
        val = like.new_empty(like.shape[0], *shape(conv.x)[1:2], *like.shape[2:])
        with graph.inserting_before(node):
            averages = call(graph, node.target, conv.x, *node.args[1:], like=node, val=val)  # type: ignore[arg-type]
            after = call(graph, CONVOLUTION, averages, *source.args[1:], like=node)  # type: ignore[union-attr]
        after.meta["layer"] = layer(source)  # type: ignore[arg-type]
        done.append(layer(source))  # type: ignore[arg-type]
        replace(node, after)
    return done
