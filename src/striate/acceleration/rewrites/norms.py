"""Norms that are a number and an addition for each channel, folded into what computes the channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from striate.acceleration.graph import (
    LINEAR,
    alone,
    aten,
    call,
    calls,
    convolution,
    first_of,
    given,
    is_constant,
    layer,
    replace,
    shape,
    store,
    value,
)

NORMS = (
    aten.native_batch_norm.default,
    aten.cudnn_batch_norm.default,
    aten._native_batch_norm_legit_no_training.default,
)


def fold_norms(module: GraphModule) -> list[str]:
    """Batch norm in eval mode is s x + t for each channel: the convolution or linear layer before it takes s and t.

    s = weight / sqrt(variance + eps), t = bias - s mean; kernel -> s kernel, bias -> s bias + t.
    """
    done = []
    for node in calls(module.graph, *NORMS):
        found = affine(module, node)
        result = first_of(node)
        if found is None or result is None:
            continue
        source = node.args[0]
        assert isinstance(source, Node)
        if alone(source) is not node or not scaled(module, source, *found):
            continue
        done.append(layer(node))
        replace(result, source)
    return done


def affine(module: GraphModule, node: Node) -> tuple[Tensor, Tensor] | None:
    """s and t of an eval-mode batch norm, in double precision."""
    _, weight, bias, mean, variance, *options = given(node)
    if node.target is not NORMS[-1] and options[0]:
        return None
    if not all(arg is None or is_constant(arg) for arg in (weight, bias)) or not (
        is_constant(mean) and is_constant(variance)
    ):
        return None
    s = (value(module, variance).double() + options[-1]).rsqrt()
    s = s if weight is None else s * value(module, weight).double()
    t = -s * value(module, mean).double()
    return s, t if bias is None else t + value(module, bias).double()


def scaled(module: GraphModule, node: Node, s: Tensor, t: Tensor) -> bool:
    """Let a convolution or linear layer compute s y + t where it computed y; False where the node is neither."""
    conv = convolution(node)
    if conv is None and not (node.target is LINEAR and is_constant(node.args[1])):
        return False
    weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
    old = value(module, weight)
    kernel = old.double()
    if conv is not None and conv.transposed:  # (c k/groups *window)
        per_group = kernel.view(conv.groups, -1, *kernel.shape[1:]) * s.view(
            conv.groups, 1, -1, *[1] * (kernel.dim() - 2)
        )
        kernel = per_group.flatten(0, 1)
    else:
        kernel = kernel * s.view(-1, *[1] * (kernel.dim() - 1))
    shift = t if bias is None else t + s * value(module, bias).double()
    give(module, node, kernel.to(old.dtype), shift.to(old.dtype), "folded")
    return True


def give(module: GraphModule, node: Node, weight: Tensor, bias: Tensor | None, tag: str) -> None:
    """New weights for a convolution or linear layer."""
    with module.graph.inserting_before(node):
        node.update_arg(1, store(module, weight.contiguous(), node, f"{tag}_weight"))
        if bias is not None:
            fresh = store(module, bias, node, f"{tag}_bias")
            node.args = (*node.args[:2], fresh, *node.args[3:])


def fold_norms_ahead(module: GraphModule) -> list[str]:
    """Batch norm and ReLU before a 1x1 convolution (DenseNet): a clamp, and the rest is taken by the convolution.

    relu(s x + t) = s max(x, -t/s) + t where s > 0, and with min where s < 0; where s = 0 it is the number relu(t).
    Exact without padding only, since padding stands behind the ReLU.
    """
    done = []
    for node in calls(module.graph, *NORMS):
        found, result = affine(module, node), first_of(node)
        relu = None if result is None else alone(result)
        if found is None or relu is None or relu.target is not aten.relu.default:
            continue
        reader = alone(relu)
        conv = convolution(reader)
        if reader is None or conv is None or not conv.pointwise or conv.groups != 1:
            continue
        s, t = found
        clamp_ahead(module, node, relu, s, t)
        old = value(module, conv.weight)
        kernel, ones = old.double(), [1] * (old.dim() - 2)
        rest = torch.where(s == 0, t.relu(), t)
        shift = (kernel * rest.view(1, -1, *ones)).flatten(1).sum(1)
        shift = shift if conv.bias is None else shift + value(module, conv.bias).double()
        give(module, reader, (kernel * s.view(1, -1, *ones)).to(old.dtype), shift.to(old.dtype), "ahead")
        done.append(layer(node))
    return done


def clamp_ahead(module: GraphModule, norm: Node, relu: Node, s: Tensor, t: Tensor) -> None:
    """max(x, -t/s), or min, in the place of norm and ReLU."""
    source = norm.args[0]
    assert isinstance(source, Node)
    dtype, ones = source.meta["val"].dtype, [1] * (len(shape(source)) - 2)
    edge = torch.where(s == 0, torch.zeros_like(t), -t / s)
    infinite = torch.full_like(edge, torch.inf)
    low, high = torch.where(s < 0, -infinite, edge), torch.where(s > 0, infinite, edge)
    low, high = (bound.to(dtype).view(1, -1, *ones) for bound in (low, high))
    with module.graph.inserting_before(relu):
        bounds = [store(module, low, norm, "low")]
        if bool((s > 0).all()):
            fresh = call(module.graph, aten.maximum.default, source, *bounds, like=norm, val=relu.meta["val"])
        else:
            bounds.append(store(module, high, norm, "high"))
            fresh = call(module.graph, aten.clamp.Tensor, source, *bounds, like=norm, val=relu.meta["val"])
    replace(relu, fresh)
