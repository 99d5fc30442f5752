"""Blocks beside a shortcut, and the gate of squeeze-and-excitation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.layers.by_rank import BATCH_NORM, CONV
from striate.ops.padding import per_axis
from striate.shapes import Float, Tensor


class Residual(nn.Module):
    """relu(F(x) + x) for any module F: relu(body(x) + shortcut(x)), the shortcut the identity unless given.

    `activation` may be nn.Identity() ("pre-activation", He et al. 2016). Raises InputError where the shapes of the two
    differ. Source: He, Zhang, Ren, Sun 2015, eq. 1 and 2.

    >>> import torch
    >>> Residual(nn.Linear(2, 2, bias=False))(torch.zeros(1, 2))
    tensor([[0., 0.]], grad_fn=<ReluBackward0>)
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.activation = nn.ReLU() if activation is None else activation

    def forward(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *out"]:
        """The sum of both paths, activated."""
        change, kept = self.body(x), self.shortcut(x)
        if change.shape != kept.shape:  # torch would repeat a single map or position
            raise InputError(
                "a residual adds two results of one shape",
                expected=f"{tuple(kept.shape)}, the shortcut's",
                got=tuple(change.shape),
                fix="Let the body keep the shape (padding), or give a shortcut that changes it alike.",
            )
        y: Tensor = self.activation(change + kept)
        return y


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, rank: int = 2) -> None:
        super().__init__()
        conv, norm = CONV[rank], BATCH_NORM[rank]
        self.conv1 = conv(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = norm(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = norm(out_channels)
        self.downsample = shortcut(in_channels, out_channels, stride, rank)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n d *out"]:
        """Maps of the next block."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the first two with a quarter of the channels, beside a shortcut."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        stride_in_1x1: bool = False,
        reduction: int = 0,
        *,
        rank: int = 2,
    ) -> None:
        super().__init__()
        conv, norm = CONV[rank], BATCH_NORM[rank]
        inner = max(1, out_channels // 4)
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv(in_channels, inner, 1, first, bias=False)
        self.bn1 = norm(inner)
        self.conv2 = conv(inner, inner, 3, second, 1, bias=False)
        self.bn2 = norm(inner)
        self.conv3 = conv(inner, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.se = SqueezeExcitation(out_channels, reduction, rank=rank) if reduction else nn.Identity()
        self.downsample = shortcut(in_channels, out_channels, stride, rank)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n d *out"]:
        """Maps of the next block."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.se(self.bn3(self.conv3(y))) + self.downsample(x))


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by a number in 0..1 computed from the means of all channels.

    s = sigmoid(W₂ relu(W₁ mean(x))), with channels/reduction numbers between. Source: Hu et al. 2017, section 3.
    """

    def __init__(self, channels: int, reduction: int = 16, *, rank: int = 2) -> None:
        super().__init__()
        inner = max(1, channels // per_axis("reduction", reduction, 1)[0])
        self.fc1 = CONV[rank](channels, inner, 1)
        self.fc2 = CONV[rank](inner, channels, 1)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
        """Weighted maps."""
        gate = self.fc2(F.relu(self.fc1(x.mean(tuple(range(2, x.ndim)), keepdim=True))))
        weighted: Tensor = x * gate.sigmoid()
        return weighted


def shortcut(in_channels: int, out_channels: int, stride: int, rank: int = 2) -> nn.Module:
    """The identity, or a 1x1 convolution where the shape changes (option B of He et al. 2015)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(CONV[rank](in_channels, out_channels, 1, stride, bias=False), BATCH_NORM[rank](out_channels))
