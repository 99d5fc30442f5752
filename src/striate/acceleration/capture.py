"""Any nn.Module in eval mode, run on an example -> the graph of torch's operations that it executes, weights inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from striate.acceleration.graph import LINEAR, aten, call, calls, clean, is_constant, replace, shape
from striate.errors import InputError

WAY_OUT = "Write it without that (torch.where for a choice by numbers), or accelerate the parts that have none."


def capture(model: nn.Module, leaves: list[Any], inputs: pytree.TreeSpec) -> GraphModule:
    """What the model executes on these arguments: without memory or arithmetic, and without writes in place.

    `leaves` are the arguments, flat, `inputs` says how they nest. The operations are those of inputs of these shapes.

    Raises InputError where the course depends on the numbers in a tensor, or the network changes its own state.
    """
    state = {**dict(model.named_parameters(remove_duplicate=True)), **dict(model.named_buffers())}
    places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def run(*tensors: Tensor) -> list[Tensor]:
        filled = list(leaves)
        for place, tensor in zip(places, tensors[len(state) :], strict=True):
            filled[place] = tensor
        args, kwargs = pytree.tree_unflatten(filled, inputs)
        out = functional_call(model, dict(zip(state, tensors, strict=False)), args, kwargs)
        return [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]

    tensors = [tensor.detach() for tensor in [*state.values(), *(leaves[place] for place in places)]]
    try:
        with torch.no_grad():
            traced = make_fx(functionalize(run), tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        raise InputError(
            "this network cannot be captured", where=type(model).__name__, got=reason, fix=WAY_OUT
        ) from error
    return with_weights(traced, state)


def with_weights(traced: GraphModule, state: dict[str, Tensor]) -> GraphModule:
    """Weights as copies inside the graph instead of as its first inputs; each node knows its layer."""
    graph: Graph = traced.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, (path, tensor) in zip(placeholders, state.items(), strict=False):
        changed = [user for user in node.users if user.target is aten.copy_.default and user.args[0] is node]
        if changed:
            fix = "Its results depend on the calls before; accelerate the part that keeps nothing."
            raise InputError("this network changes its own state", where=path, fix=fix)
        name = path.replace(".", "_") + "_"
        traced.register_buffer(name, tensor.detach().clone())
        with graph.inserting_before(node):
            constant = graph.get_attr(name)
        constant.meta = {"val": node.meta["val"], "layer": path.rpartition(".")[0] or path}
        node.replace_all_uses_with(constant)
        graph.erase_node(node)
    name_layers(graph)
    join_linear_layers(graph)
    return clean(traced)


def name_layers(graph: Graph) -> None:
    """Each operation is of the layer whose weights it reads (also through a view); the others keep their own names."""
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        weights = [arg for arg in node.all_input_nodes if of_weights(arg)]
        if weights:
            node.meta["layer"] = weights[0].meta.get("layer", "")


def of_weights(node: Node) -> bool:
    """Whether a node is a weight, or a view of one."""
    return node.op == "get_attr" or (
        node.op == "call_function" and bool(node.all_input_nodes) and all(of_weights(n) for n in node.all_input_nodes)
    )


def join_linear_layers(graph: Graph) -> None:
    """x W' + b, as torch takes a linear layer apart, is one operation again; views no longer mind the layout."""
    for node in calls(graph, aten.addmm.default, aten.mm.default):
        *bias, x, turned = node.args
        if node.kwargs or not (isinstance(turned, Node) and turned.target is aten.t.default and of_weights(turned)):
            continue
        if all(isinstance(one, Node) and is_constant(one) and len(shape(one)) == 1 for one in bias):
            with graph.inserting_before(node):
                linear = call(graph, LINEAR, x, turned.args[0], *bias, like=node)
            replace(node, linear)
    for node in calls(graph, aten.view.default, aten._unsafe_view.default):
        node.target = aten.reshape.default  # another layout in memory may be in the way of a view
