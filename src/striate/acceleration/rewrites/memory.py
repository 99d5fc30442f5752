"""Results written over what nobody reads any more."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule, Node

from striate.acceleration.graph import alone, aten, calls, layer, shape

IN_PLACE: dict[Any, Any] = {
    aten.relu.default: aten.relu_.default,
    aten.hardtanh.default: aten.hardtanh_.default,
    aten.leaky_relu.default: aten.leaky_relu_.default,
    aten.sigmoid.default: aten.sigmoid_.default,
    aten.tanh.default: aten.tanh_.default,
    aten.silu.default: aten.silu_.default,
    aten.add.Tensor: aten.add_.Tensor,
    aten.mul.Tensor: aten.mul_.Tensor,
}


def in_place(module: GraphModule) -> list[str]:
    """An activation, sum or product takes the memory of its first argument, where that is read by it only."""
    done = []
    for node in calls(module.graph, *IN_PLACE):
        source = node.args[0]
        if not isinstance(source, Node) or alone(source) is not node or not own(source):
            continue
        if node.args.count(source) > 1 or shape(source) != shape(node):
            continue
        if source.meta["val"].dtype != node.meta["val"].dtype:
            continue
        node.target = IN_PLACE[node.target]
        done.append(layer(node))
    return done


def own(node: Node) -> bool:
    """Whether a node's result is new memory: its operation shares none with its arguments, or took it here."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return False
    if node.target in IN_PLACE.values():
        return True
    return all(result.alias_info is None for result in schema.returns)
