"""A convolution in two steps: each channel in space, then all channels at each place."""

from __future__ import annotations

from torch import nn

from striate.layers.by_rank import CONV
from striate.layers.upsampling import odd
from striate.ops.padding import per_axis
from striate.shapes import Float, Tensor


class SeparableConv(nn.Module):
    """Depthwise, then pointwise (1x1) convolution; padded so that stride 1 keeps the size (odd kernels).

    With N outputs and a KxK kernel it takes 1/N + 1/K² of the multiply-adds of the full convolution: 0.115 for N = 256,
    K = 3 (`striate.geometry.count.depthwise_separable`). `multiplier` maps are made of each channel between the steps.
    MobileNet has a norm and an activation between them, too: pass it as `between`, which maps those maps.
    Sources: Sifre 2014, section 6.2; Howard et al. 2017, section 3.1.

    >>> sum(p.numel() for p in SeparableConv(8, 16, bias=False).parameters())  # 8 kernels of 3x3 and 16 of 8
    200
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        multiplier: int = 1,
        bias: bool = True,
        *,
        between: nn.Module | None = None,
        rank: int = 2,
    ) -> None:
        super().__init__()
        for name, value in (("stride", stride), ("dilation", dilation), ("multiplier", multiplier)):
            per_axis(name, value, 1)
        maps, padding = multiplier * in_channels, dilation * (odd(kernel_size) // 2)
        self.depthwise = CONV[rank](
            in_channels, maps, kernel_size, stride, padding, dilation, groups=in_channels, bias=bias
        )
        self.between = nn.Identity() if between is None else between
        self.pointwise = CONV[rank](maps, out_channels, 1, bias=bias)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *out"]:
        """Mixed maps."""
        y: Tensor = self.pointwise(self.between(self.depthwise(x)))
        return y
