"""Activations that torch.nn lacks."""

from __future__ import annotations

from typing import Literal

from torch import nn

from striate.shapes import Float, Tensor

Activation = Literal["relu", "tanh", "sigmoid"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 tanh(2a/3), the squashing function of LeNet-5.

    Scaled so that f(1) = 1 and f(-1) = -1, where its curvature is largest. Any shape.
    Source: LeCun, Bottou, Bengio, Haffner 1998, eq. 6 and appendix A.

    >>> import torch
    >>> ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0])).round(decimals=3)
    tensor([-1.,  0.,  1.])
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Squash every element of `x`."""
        return 1.7159 * (x * (2 / 3)).tanh()
