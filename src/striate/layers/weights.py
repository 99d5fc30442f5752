"""Starting values of weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from striate.shapes import Float, Tensor


def start_from_he(module: nn.Module) -> None:
    """Gaussian weights of variance 2/fan-in and zero biases for a convolution or dense layer (He et al. 2015)."""
    if isinstance(module, _ConvNd | nn.Linear):
        # A transposed convolution keeps its input channels first.
        weight = module.weight.transpose(0, 1) if isinstance(module, _ConvTransposeNd) else module.weight
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def bilinear_kernel(size: int) -> Float[Tensor, "h w"]:
    """The square kernel with which a transposed convolution of stride ceil(size/2) interpolates bilinearly.

    >>> bilinear_kernel(4)[0].mul(16).tolist()
    [1.0, 3.0, 3.0, 1.0]
    """
    stride = (size + 1) // 2
    center = (size - 1) / 2 if size % 2 == 0 else stride - 1
    line = 1 - (torch.arange(size) - center).abs() / stride
    return line[:, None] * line


def start_bilinear(layer: nn.ConvTranspose2d) -> None:
    """Let the layer enlarge each map by itself, bilinearly (Long, Shelhamer, Darrell 2015, section 3.3)."""
    weight = torch.zeros_like(layer.weight)
    channel = torch.arange(min(weight.shape[:2]))
    weight[channel, channel] = bilinear_kernel(weight.shape[-1]).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
