"""Initial weights that several families share; `net.apply(...)` takes them to every layer of a network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from striate.shapes import Float, Tensor

# Convolutions, transposed ones, too, and fully connected layers.
WEIGHTED = (_ConvNd, nn.Linear)


def initialize_he(module: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_in", *, uniform: bool = False) -> None:
    """Weights of variance 2/fan-in (or 2/fan-out), Gaussian or uniform, and zero biases (He et al. 2015)."""
    if isinstance(module, WEIGHTED):
        # A transposed convolution keeps its input channels first.
        weight = module.weight.transpose(0, 1) if isinstance(module, _ConvTransposeNd) else module.weight
        draw = nn.init.kaiming_uniform_ if uniform else nn.init.kaiming_normal_
        draw(weight, mode=mode, nonlinearity="relu")
        _zero_bias(module)


def initialize_xavier(module: nn.Module) -> None:
    """Uniform weights of variance 2/(fan-in + fan-out) and zero biases (Glorot & Bengio 2010)."""
    if isinstance(module, WEIGHTED):
        nn.init.xavier_uniform_(module.weight)
        _zero_bias(module)


def initialize_keras(module: nn.Module) -> None:
    """Keras' defaults: Xavier's uniform weights and zero biases; word vectors uniform in ±0.05."""
    initialize_xavier(module)
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


def initialize_gaussian(module: nn.Module, std: float) -> None:
    """Weights from N(0, std²) and zero biases."""
    if isinstance(module, WEIGHTED):
        nn.init.normal_(module.weight, std=std)
        _zero_bias(module)


def initialize_bilinear(layer: nn.ConvTranspose2d) -> None:
    """Let the layer enlarge each map by itself, bilinearly (Long, Shelhamer, Darrell 2015, section 3.3)."""
    weight = torch.zeros_like(layer.weight)
    channel = torch.arange(min(weight.shape[:2]))
    weight[channel, channel] = bilinear_kernel(weight.shape[-1]).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
    _zero_bias(layer)


def bilinear_kernel(size: int) -> Float[Tensor, "h w"]:
    """The square kernel with which a transposed convolution of stride ceil(size/2) interpolates bilinearly.

    >>> bilinear_kernel(4)[0].mul(16).tolist()
    [1.0, 3.0, 3.0, 1.0]
    """
    stride = (size + 1) // 2
    center = (size - 1) / 2 if size % 2 == 0 else stride - 1
    line = 1 - (torch.arange(size) - center).abs() / stride
    return line[:, None] * line


def initialize_icnr(layer: nn.Module, copies: int) -> None:
    """Let each `copies` consecutive output channels start as the same, as a pixel shuffle after them wants it.

    Shuffled, they are nearest-neighbor enlarging of an ordinary convolution (ICNR: Aitken et al. 2017, section 3).
    """
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter[::copies].repeat_interleave(copies, 0))


def _zero_bias(module: _ConvNd | nn.Linear) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
