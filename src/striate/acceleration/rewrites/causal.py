"""Zeros before a signal, and the two halves of a gate: WaveNet's layers in fewer passes over memory."""

from __future__ import annotations

import operator
from typing import Any, cast

from torch.fx import GraphModule, Node

from striate.acceleration.graph import (
    CONVOLUTION,
    alone,
    aten,
    call,
    calls,
    convolution,
    given,
    layer,
    readers_move,
    replace,
    shape,
    value,
)
from striate.acceleration.rewrites.norms import give


def pad_in_convolution(module: GraphModule) -> list[str]:
    """Zeros in front are the convolution's own padding: it computes as many outputs too many, which are left out."""
    graph, done = module.graph, []
    for node in calls(graph, CONVOLUTION):
        conv = convolution(node)
        if conv is None or conv.x.target is not aten.constant_pad_nd.default or conv.transposed or any(conv.padding):
            continue
        source, amounts, *fill = cast("tuple[Any, ...]", conv.x.args)
        before, after = amounts[-2::-2], amounts[-1::-2]  # those of the last axis come first
        rank = len(conv.stride)
        plain = len(before) <= rank and not any(fill) and min(*before, *after) >= 0 and set(conv.stride) == {1}
        before, after = ([0] * (rank - len(side)) + list(side) for side in (before, after))
        if not plain or any(b < a for b, a in zip(before, after, strict=True)):
            continue
        more = [b - a for b, a in zip(before, after, strict=True)]
        if any(m * 4 > size for m, size in zip(more, shape(node)[2:], strict=True)):
            continue
        like = node.meta["val"]
        wider = [size + m for size, m in zip(like.shape[2:], more, strict=True)]
        with graph.inserting_before(node):
            args = (source, conv.weight, conv.bias, conv.stride, before, *node.args[5:])
            fresh = call(graph, CONVOLUTION, *args, like=node, val=like.new_empty(*like.shape[:2], *wider))
            for axis, m in enumerate(more):
                if m:
                    size = int(like.shape[2 + axis])
                    val = fresh.meta["val"].narrow(2 + axis, 0, size)
                    fresh = call(graph, aten.narrow.default, fresh, 2 + axis, 0, size, like=node, val=val)
        done.append(layer(node))
        replace(node, fresh)
    return done


def join_gates(module: GraphModule) -> list[str]:
    """tanh(a) sigmoid(b) = tanh(a) (1 + tanh(b/2)) / 2: one tanh of both halves, then one product and sum.

    The halves on b and on the result go into the convolutions before and behind.
    """
    graph, done = module.graph, []
    for node in calls(graph, aten.mul.Tensor):
        halves = gate(node)
        if halves is None:
            continue
        split, tanh, sigmoid = halves
        source, first = given(split)[:2]
        producer = given(source)[0] if source.target is aten.narrow.default else source
        conv = convolution(producer)
        readers = [convolution(user) for user in node.users]
        if (
            conv is None
            or conv.transposed
            or not readers
            or any(r is None or r.x is not node or r.transposed for r in readers)
        ):
            continue
        if alone(source) is not split or (producer is not source and alone(producer) is not source):
            continue
        halve(module, producer, conv.weight, conv.bias, first=first)
        for user, reader in zip(list(node.users), readers, strict=True):
            assert reader is not None
            give(module, user, value(module, reader.weight) * 0.5, None, "half")
        with graph.inserting_after(producer):
            both = call(graph, aten.tanh.default, producer, like=producer)
        readers_move(producer, both)
        a, b = (half.args[0] for half in (tanh, sigmoid))
        with graph.inserting_before(node):
            fresh = call(graph, aten.addcmul.default, a, a, b, like=node)
        fresh.meta["layer"] = layer(producer)
        done.append(layer(producer))
        replace(node, fresh)
    return done


def gate(node: Node) -> tuple[Node, Node, Node] | None:
    """split, tanh of its first half and sigmoid of its second, where a product is of these."""
    by_target = {arg.target: arg for arg in node.args if isinstance(arg, Node) and alone(arg) is node}
    tanh, sigmoid = by_target.get(aten.tanh.default), by_target.get(aten.sigmoid.default)
    if tanh is None or sigmoid is None:
        return None
    a, b = given(tanh)[0], given(sigmoid)[0]
    if any(half.target is not operator.getitem or alone(half) is None for half in (a, b)):
        return None
    split: Node = given(a)[0]
    if given(a) != (split, 0) or given(b) != (split, 1):
        return None
    if split.target is not aten.split.Tensor or split.args[2:] != (1,) or len(split.users) != 2:
        return None
    source, first = given(split)[:2]
    return (split, tanh, sigmoid) if 2 * first == shape(source)[1] else None


def halve(module: GraphModule, node: Node, weight: Node, bias: Node | None, first: int) -> None:
    """Half of the second half of a convolution's channels."""
    kernel = value(module, weight).clone()
    kernel[first:] *= 0.5
    shift = None if bias is None else value(module, bias).clone()
    if shift is not None:
        shift[first:] *= 0.5
    give(module, node, kernel, shift, "gate")
