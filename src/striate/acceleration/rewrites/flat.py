"""Signals as images of one row: torch's fast forms are those of two axes."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule, Node

from striate.acceleration.graph import CONVOLUTION, aten, call, calls, convolution, layer, replace, shape, store, value

UNSQUEEZE, SQUEEZE = aten.unsqueeze.default, aten.squeeze.dim
# Operations that mean the same with one more axis at place 2; which of their arguments are tensors.
ALIKE = {
    aten.relu.default: 1,
    aten.hardtanh.default: 1,
    aten.tanh.default: 1,
    aten.sigmoid.default: 1,
    aten.leaky_relu.default: 1,
    aten.gelu.default: 1,
    aten.silu.default: 1,
    aten.neg.default: 1,
    aten.constant_pad_nd.default: 1,
    aten.add.Tensor: 2,
    aten.sub.Tensor: 2,
    aten.mul.Tensor: 2,
}


def one_row(module: GraphModule) -> list[str]:
    """1-D convolutions run as 2-D over images of one row, and what stands between them, too."""
    graph, done = module.graph, []
    for node in calls(graph, CONVOLUTION):
        conv = convolution(node)
        if conv is None or len(shape(conv.x)) != 3:
            continue
        kernel = value(module, conv.weight).unsqueeze(2)
        with graph.inserting_before(node):
            x = call(graph, UNSQUEEZE, conv.x, 2, like=conv.x, val=conv.x.meta["val"].unsqueeze(2))
            weight = store(module, kernel, node, "row")
            windows = ([1, *conv.stride], [0, *conv.padding], [1, *conv.dilation])
            more = (conv.transposed, [0, *conv.output_padding], conv.groups)
            wide = node.meta["val"].unsqueeze(2)
            rows = call(graph, CONVOLUTION, x, weight, conv.bias, *windows, *more, like=node, val=wide)
            back = call(graph, SQUEEZE, rows, 2, like=node)
        done.append(layer(node))
        replace(node, back)
    if done:
        sink(module)
    return done


def sink(module: GraphModule) -> None:
    """Move each squeeze behind the operations that read it, until it meets an unsqueeze."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        sources = [arg for arg in node.args[: ALIKE.get(node.target, 0)] if isinstance(arg, Node)]
        channels = node.target is aten.constant_pad_nd.default and len(node.args[1]) > 2  # pads other axes, too
        if sources and not channels and all(squeezed(arg) for arg in sources):
            inner = {arg: arg.args[0] for arg in sources}
            args = [inner.get(arg, arg) if isinstance(arg, Node) else arg for arg in node.args]
            widened(module, node, args)
        elif node.target is aten.cat.default and node.args[1:] == (1,) and all(map(squeezed, node.args[0])):
            widened(module, node, [[arg.args[0] for arg in node.args[0]], 1])
        elif node.target is UNSQUEEZE and squeezed(node.args[0]) and node.args[1] in (2, -2):
            replace(node, node.args[0].args[0])


def squeezed(node: object) -> bool:
    """Whether it is an image of one row without its row."""
    if not isinstance(node, Node) or node.target is not SQUEEZE or not isinstance(node.args[0], Node):
        return False
    wide = shape(node.args[0])
    return len(wide) == 4 and wide[2] == 1 and node.args[1] in (2, -2)


def widened(module: GraphModule, node: Any, args: list[Any]) -> None:
    """The same operation on images of one row, and the squeeze behind it."""
    graph = module.graph
    with graph.inserting_before(node):
        wide = graph.call_function(node.target, tuple(args), dict(node.kwargs))
        wide.meta = {**node.meta, "val": node.meta["val"].unsqueeze(2)}
        back = call(graph, SQUEEZE, wide, 2, like=node)
    replace(node, back)
