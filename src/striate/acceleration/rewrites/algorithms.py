"""Convolutions that another algorithm does faster than torch's own: long kernels by FFT, signals channel by channel."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.fx import GraphModule

from striate.acceleration.graph import CONVOLUTION, Convolution, call, calls, convolution, layer, replace, shape, value
from striate.ops.algorithms import correlation

TAPS = 25  # shorter windows of dense convolutions are left to torch without a measurement
FASTER = 1.1  # what another algorithm has to gain


def other_algorithms(module: GraphModule) -> list[str]:
    """Wide windows, and channels alone, by the algorithm that `striate.ops` chooses, where that is faster."""
    done = []
    for node in calls(module.graph, CONVOLUTION):
        conv = convolution(node)
        if conv is None or conv.transposed or not worth_a_look(conv):
            continue
        x = torch.rand(shape(conv.x), dtype=node.meta["val"].dtype, device=node.meta["val"].device)
        weights = value(module, conv.weight), None if conv.bias is None else value(module, conv.bias)
        if not gains(conv, x, *weights):
            continue
        with module.graph.inserting_before(node):
            fresh = call(module.graph, chosen, conv.x, conv.weight, conv.bias, *windows(conv), like=node)
        done.append(layer(node))
        replace(node, fresh)
    return done


def worth_a_look(conv: Convolution) -> bool:
    """A wide window, or a signal whose channels are treated alone."""
    kernel = shape(conv.weight)
    return kernel[2:].numel() >= TAPS or (len(kernel) == 3 and conv.groups == shape(conv.x)[1] > 1)


def windows(conv: Convolution) -> tuple[list[int], list[int], list[int], int]:
    """Stride, padding, dilation and groups."""
    return conv.stride, conv.padding, conv.dilation, conv.groups


def chosen(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """The cross-correlation by the algorithm that is chosen for its shape."""
    pairs = tuple((amount, amount) for amount in padding)
    return correlation(
        x, kernel, bias, stride=tuple(stride), padding=pairs, dilation=tuple(dilation), groups=groups, algorithm="auto"
    )


def gains(conv: Convolution, x: Tensor, kernel: Tensor, bias: Tensor | None) -> bool:
    """Whether the choice is faster than torch's own, run in turn."""
    best = [float("inf"), float("inf")]
    stride, padding, dilation, groups = windows(conv)
    none = [0] * len(stride)
    for _ in range(5):
        began = time.perf_counter()
        torch.convolution(x, kernel, bias, stride, padding, dilation, False, none, groups)
        between = time.perf_counter()
        chosen(x, kernel, bias, stride, padding, dilation, groups)
        ended = time.perf_counter()
        best = [min(best[0], between - began), min(best[1], ended - between)]
    return best[0] > FASTER * best[1]
