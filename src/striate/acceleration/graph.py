"""Reading and writing a captured graph: which operation a node is, what it holds, and what reads it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten
CONVOLUTION = aten.convolution.default
LINEAR = aten.linear.default
MAX_POOLS = (aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default)


@dataclass(frozen=True)
class Convolution:
    """The arguments of a convolution, by name."""

    x: Node
    weight: Node
    bias: Node | None
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    @property
    def pointwise(self) -> bool:
        """Of one place each, at every place: it commutes with whatever treats channels alike."""
        kernel = self.weight.meta["val"].shape[2:]
        ones = [*kernel, *self.stride]
        return not self.transposed and not any(self.padding) and all(one == 1 for one in ones)


def convolution(node: object) -> Convolution | None:
    """What a convolution node reads, where its weights are constants."""
    if not isinstance(node, Node) or node.target is not CONVOLUTION:
        return None
    found = Convolution(*given(node))
    constant = is_constant(found.weight) and (found.bias is None or is_constant(found.bias))
    return found if constant else None


def given(node: Node) -> tuple[Any, ...]:
    """The arguments of a node, of types that its operation knows."""
    return node.args


def is_constant(node: object) -> bool:
    """Whether the value is part of the network: a weight, or made of weights."""
    return isinstance(node, Node) and node.op == "get_attr"


def value(module: GraphModule, node: object) -> Tensor:
    """The tensor of a constant."""
    assert isinstance(node, Node)
    assert isinstance(node.target, str)
    found: Tensor = getattr(module, node.target)
    return found


def shape(node: Node) -> torch.Size:
    """Shape of what a node computes."""
    found: torch.Size = node.meta["val"].shape
    return found


def alone(node: Node) -> Node | None:
    """The one reader of a node."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def calls(graph: Graph, *targets: Any) -> Iterator[Node]:
    """Nodes that call one of the targets, as they stood at the beginning."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in targets:
            yield node


def store(module: GraphModule, tensor: Tensor, like: Node, tag: str) -> Node:
    """A new constant, read where the next nodes are inserted."""
    name, number = f"{like.name}_{tag}", 0
    while hasattr(module, name):
        number += 1
        name = f"{like.name}_{tag}_{number}"
    module.register_buffer(name, tensor)
    node = module.graph.get_attr(name)
    node.meta = {"val": tensor.to("meta") if tensor.layout == torch.strided else None}
    return node


def call(graph: Graph, target: Callable[..., Any], *args: Any, like: Node, val: Tensor | None = None) -> Node:
    """A new node that stands for `like`: of its layer, and of its shape unless `val` says otherwise."""
    node = graph.call_function(target, args)
    node.meta = {"val": like.meta["val"] if val is None else val, "layer": like.meta.get("layer", "")}
    return node


def replace(old: Node, new: Node) -> None:
    """Let the readers of one node read another."""
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def readers_move(old: Node, new: Node) -> None:
    """Let the readers of one node read another, which reads the first."""
    old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)


def first_of(node: Node) -> Node | None:
    """The first of several results, where only that is read."""
    reader = alone(node)
    taken = reader is not None and reader.target is operator.getitem and reader.args[1] == 0
    return reader if taken else None


def layer(node: Node) -> str:
    """The layer of a node: the path of the module whose weights it reads, else the operation's name."""
    return node.meta.get("layer") or node.name


def clean(module: GraphModule) -> GraphModule:
    """Drop what nobody reads, constants included, and write the code anew."""
    module.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or writes(node))
    module.delete_all_unused_submodules()
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name in module._buffers if name not in read]:
        delattr(module, name)
    module.graph.lint()
    module.recompile()
    return module


def writes(node: Node) -> bool:
    """Whether a node changes one of its arguments."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def copied(module: GraphModule) -> GraphModule:
    """The same graph, to be changed; weights are shared."""
    graph = Graph()
    names: dict[Node, Node] = {}
    output = graph.graph_copy(module.graph, names)
    graph.output(output)
    for old, new in names.items():
        new.meta = dict(old.meta)
    return GraphModule(module, graph)
