"""Causal convolutions and the gated dilated block of WaveNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.layers.by_rank import CONV
from striate.ops.padding import Axes, per_axis
from striate.shapes import Float, Tensor


class CausalConv(nn.Module):
    """Convolution that sees no later step: y(t) = bias + Σ_a w(a) x(t - dilation·a), zeros before the beginning.

    As many steps as come in (of them every stride-th). With rank 2 or 3 time is the first spatial axis, and the others
    are padded to keep their size. `striate.locality.stream` runs it step by step. Sources: Waibel et al. 1989; van den
    Oord et al. 2016, section 2.1.

    >>> import torch
    >>> layer = CausalConv(1, 1, 2, dilation=2, bias=False)
    >>> _ = nn.init.ones_(layer.conv.weight)
    >>> layer(torch.tensor([[[1.0, 10.0, 100.0, 1000.0]]])).tolist()
    [[[1.0, 10.0, 101.0, 1010.0]]]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        stride: Axes = 1,
        dilation: Axes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rank: int = 1,
    ) -> None:
        super().__init__()
        self.kernel_size = per_axis("kernel size", kernel_size, rank)
        self.dilation = per_axis("dilation", dilation, rank)
        self.conv = CONV[rank](
            in_channels,
            out_channels,
            self.kernel_size,
            per_axis("stride", stride, rank),
            dilation=self.dilation,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: Float[Tensor, "n c t *space"]) -> Float[Tensor, "n k t2 *out"]:
        """Each step from itself and those before."""
        y: Tensor = self.conv(causal_pad(x, self.kernel_size, self.dilation))
        return y


def causal_pad(
    x: Float[Tensor, "n c t *space"], kernel: Sequence[int], dilation: Sequence[int]
) -> Float[Tensor, "n c t2 *space2"]:
    """Zeros before the first spatial axis, and around the others, so that a convolution keeps the size of all."""
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    pairs = [(reach[0], 0), *((r // 2, r - r // 2) for r in reach[1:])]
    return F.pad(x, [amount for pair in reversed(pairs) for amount in pair])


class GatedResidual(nn.Module):
    """Figure 4 of WaveNet: z = tanh(filter) · sigmoid(gate) of a causal dilated convolution; x + 1x1(z), and 1x1(z).

    The first result goes to the next layer, the second to the sum of the skips. What the block is conditioned on is
    added to filter and gate: `speaker`, one vector for all steps (`global_channels` of them), and `features`, one for
    each step (`local_channels`). The residual of the `last` layer, which nothing reads, is left out.
    Raises InputError for a condition that the block was not built for, and for one that is missing.
    Source: van den Oord et al. 2016, sections 2.3 to 2.5.
    """

    def __init__(
        self,
        channels: int,
        skip_channels: int,
        dilation: Axes = 1,
        global_channels: int = 0,
        local_channels: int = 0,
        last: bool = False,
        *,
        kernel_size: Axes = 2,
        rank: int = 1,
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation = (
            per_axis("kernel size", kernel_size, rank),
            per_axis("dilation", dilation, rank),
        )
        # Filter and gate are one convolution of twice the channels.
        self.conv = CONV[rank](channels, 2 * channels, self.kernel_size, dilation=self.dilation)
        self.speaker = nn.Linear(global_channels, 2 * channels, bias=False) if global_channels else None
        self.features = CONV[rank](local_channels, 2 * channels, 1, bias=False) if local_channels else None
        self.residual = None if last else CONV[rank](channels, channels, 1)
        self.skip = CONV[rank](channels, skip_channels, 1)

    def forward(
        self,
        x: Float[Tensor, "n c t *space"],
        speaker: Float[Tensor, "n g"] | None = None,
        features: Float[Tensor, "n l t *space"] | None = None,
    ) -> tuple[Float[Tensor, "n c t *space"], Float[Tensor, "n s t *space"]]:
        """What the next layer reads, and the skip."""
        for name, given in (("speaker", speaker), ("features", features)):
            if (given is None) != (getattr(self, name) is None):
                words = ("none", "one") if given is not None else ("one", "none")
                fix = "Build the block with global_channels for a speaker, local_channels for features, and pass them."
                raise InputError(
                    "a condition does not fit the block", where=name, expected=words[0], got=words[1], fix=fix
                )
        gates = self.conv(causal_pad(x, self.kernel_size, self.dilation))
        if self.speaker is not None:
            told = self.speaker(speaker)
            gates = gates + told.view(*told.shape, *[1] * (x.ndim - 2))
        if self.features is not None:
            gates = gates + self.features(features)
        filtered, gate = gates.chunk(2, 1)
        z = filtered.tanh() * gate.sigmoid()
        return (x if self.residual is None else x + self.residual(z)), self.skip(z)
