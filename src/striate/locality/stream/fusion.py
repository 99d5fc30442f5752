"""Fewer and larger affine nodes: sums and batch norms join the convolutions that they follow, biases move on."""

from __future__ import annotations

from collections.abc import Sequence

from striate.locality.stream.signals import Affine, Node, ordered, readers
from striate.shapes import Tensor


def fused(last: Node) -> list[Node]:
    """The nodes on which the last one depends, in order, with their delays; it is known no earlier than its step."""
    nodes = ordered(last)
    merge(nodes)
    nodes = ordered(last)
    hand_on_biases(nodes)
    for node in nodes:
        node.settle()
    last.delay = max(0, last.delay)
    return nodes


def merge(nodes: Sequence[Node]) -> None:
    """What is only added to, or scaled, is computed where that is done."""
    read_by = readers(nodes)
    for node in nodes:
        if not isinstance(node, Affine):
            continue
        reads, weights = node.reads, node.weights
        node.reads, node.weights = [], []
        for read, weight in zip(reads, weights, strict=True):
            inner = read.node
            alone = isinstance(inner, Affine) and len(read_by[id(inner)]) == 1 and inner.fill is None
            if alone and read.whole and not read.offset and (weight is None or weight.dim() == 1):
                assert isinstance(inner, Affine)
                node.reads += inner.reads
                node.weights += [times(one, weight) for one in inner.weights]
                node.bias = plus(node.bias, times(inner.bias, weight, number=True))
            else:
                node.reads.append(read)
                node.weights.append(weight)


def hand_on_biases(nodes: Sequence[Node]) -> None:
    """A running sum has no bias of its own where all who read it are affine: one addition less a step.

    A residual stream x + Wz + b becomes x + Wz, and the next convolution V adds Vb to its own bias.
    """
    read_by = readers(nodes)
    for node in nodes:
        if (
            not isinstance(node, Affine)
            or node.bias is None
            or all(weight is not None for weight in node.weights)
            or not read_by[id(node)]
        ):
            continue
        if not all(isinstance(reader, Affine) for reader, _ in read_by[id(node)]):
            continue
        for reader, number in read_by[id(node)]:
            assert isinstance(reader, Affine)
            read = reader.reads[number]
            reader.bias = plus(reader.bias, through(node.bias[..., read.first : read.last], reader.weights[number]))
        node.lacks, node.bias = node.bias, None


def through(rows: Tensor, weight: Tensor | None) -> Tensor:
    """Rows times a weight."""
    if weight is None:
        return rows
    return rows @ weight if weight.dim() == 2 else rows * weight


def times(one: Tensor | None, two: Tensor | None, number: bool = False) -> Tensor | None:
    """A weight, or with `number` a bias (None is 0), times a number for each row."""
    if two is None or (number and one is None):
        return one
    return two if one is None else one * two


def plus(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    """The sum of biases; None is 0."""
    if one is None or two is None:
        return two if one is None else one
    return one + two
