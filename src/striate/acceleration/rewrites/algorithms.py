"""Convolutions that another algorithm does faster than oneDNN: long kernels by FFT, signals channel by channel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import GraphModule

from striate.acceleration.graph import CONVOLUTION, Convolution, call, calls, convolution, layer, replace, shape, value
from striate.acceleration.rewrites.packing import mkldnn, takes
from striate.acceleration.timing import now
from striate.ops.algorithms import correlation, explain_choice

TAPS = 25  # shorter windows of dense convolutions are left to torch without a measurement
FASTER = 1.1  # what another algorithm has to gain


def other_algorithms(module: GraphModule) -> list[str]:
    """Wide windows, and channels alone, by the algorithm that `striate.ops` chooses, where that is faster."""
    done = []
    for node in calls(module.graph, CONVOLUTION):
        conv = convolution(node)
        if conv is None or conv.transposed or not worth_a_look(conv):
            continue
        like = node.meta["val"]
        x = torch.rand(shape(conv.x), dtype=like.dtype, device=like.device)
        weights = value(module, conv.weight), None if conv.bias is None else value(module, conv.bias)
        if choice(conv, x) == "direct" or not gains(conv, x, *weights):
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
    """The cross-correlation by the algorithm that is chosen for its shape, in the layout of which it is chosen."""
    pairs = tuple((amount, amount) for amount in padding)
    return correlation(
        x.contiguous(),
        kernel,
        bias,
        stride=tuple(stride),
        padding=pairs,
        dilation=tuple(dilation),
        groups=groups,
        algorithm="auto",
    )


def choice(conv: Convolution, x: Tensor) -> str:
    """The algorithm that is predicted to be fastest."""
    pairs = tuple((amount, amount) for amount in conv.padding)
    options = {"stride": tuple(conv.stride), "padding": pairs, "dilation": tuple(conv.dilation), "groups": conv.groups}
    return explain_choice(x, tuple(shape(conv.weight)), **options).chosen  # type: ignore[arg-type]


def gains(conv: Convolution, x: Tensor, kernel: Tensor, bias: Tensor | None) -> bool:
    """Whether the choice is faster than what would run otherwise, in turn."""
    rival = otherwise(conv, x, kernel, bias)
    best = [float("inf"), float("inf")]
    for _ in range(5):
        began = now()
        rival()
        between = now()
        chosen(x, kernel, bias, *windows(conv))
        ended = now()
        best = [min(best[0], between - began), min(best[1], ended - between)]
    return best[0] > FASTER * best[1]


def otherwise(conv: Convolution, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Callable[[], Tensor]:
    """The convolution as "signals as rows" and "pack" have it, or torch's own where oneDNN does not take it."""
    stride, padding, dilation, groups = windows(conv)
    if not takes(x):
        return lambda: torch.convolution(x, kernel, bias, stride, padding, dilation, False, [0] * len(stride), groups)
    if x.dim() == 3:
        x, kernel = x.unsqueeze(2), kernel.unsqueeze(2)
        stride, padding, dilation = [1, *stride], [0, *padding], [1, *dilation]
    inner = x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
    weight = mkldnn._reorder_convolution_weight(kernel, padding, stride, dilation, groups, list(x.shape))
    none: list[float] = []
    return lambda: mkldnn._convolution_pointwise.default(
        inner, weight, bias, padding, stride, dilation, groups, "none", none, ""
    )
