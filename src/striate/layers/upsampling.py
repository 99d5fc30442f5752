"""Learned enlarging without checkerboards: three ways, each even by construction at the start.

A transposed convolution whose kernel is no multiple of its stride gives some positions more terms than others, which
shows as a checkerboard (Odena, Dumoulin, Olah 2016, Deconvolution and checkerboard artifacts).
"""

from __future__ import annotations

from torch import nn

from striate.errors import InputError
from striate.layers.by_rank import CONV, CONV_TRANSPOSE, LINEAR
from striate.layers.initialization import initialize_icnr
from striate.ops.padding import per_axis
from striate.ops.resample import pixel_shuffle
from striate.shapes import Float, Tensor


class UpsampleConv(nn.Module):
    """Enlarge by `scale`, nearest or (bi-, tri-)linear, then convolve at the same size ("resize-convolution").

    Sizes become scale times as large. Odd kernels only: an even one has no "same" padding on both sides.
    Source: Odena, Dumoulin, Olah 2016.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        scale: int = 2,
        kernel_size: int = 3,
        *,
        mode: str = "nearest",
        rank: int = 2,
    ) -> None:
        super().__init__()
        if mode not in ("nearest", "linear"):
            raise InputError("unknown way of enlarging", expected="nearest or linear", got=repr(mode))
        self.upsample = nn.Upsample(scale_factor=_scale(scale), mode=LINEAR[rank] if mode == "linear" else mode)
        self.conv = CONV[rank](in_channels, out_channels, odd(kernel_size), padding=kernel_size // 2)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *out"]:
        """Larger maps."""
        y: Tensor = self.conv(self.upsample(x))
        return y


class SubPixelConv(nn.Module):
    """Convolve to out_channels · scale^rank maps, then lay those out as positions (`ops.pixel_shuffle`).

    ICNR initialization: at the start all maps of one output are the same, which is nearest-neighbor enlarging, so that
    training does not start from a checkerboard. Odd kernels only. Sources: Shi et al. 2016, section 3.2; Aitken et al.
    2017, section 3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, scale: int = 2, kernel_size: int = 3, *, rank: int = 2
    ) -> None:
        super().__init__()
        self.scale = _scale(scale)
        self.conv = CONV[rank](in_channels, out_channels * scale**rank, odd(kernel_size), padding=kernel_size // 2)
        initialize_icnr(self.conv, scale**rank)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *out"]:
        """Larger maps."""
        return pixel_shuffle(self.conv(x), self.scale)

    def extra_repr(self) -> str:
        """The factor."""
        return f"scale={self.scale}"


class EvenTranspose(nn.Module):
    """Transposed convolution that enlarges exactly `scale` times, its kernel a multiple of it (twice, by default).

    So away from the border each output is the sum of as many terms. nn.ConvTranspose with the padding that this takes;
    the kernel may still learn a checkerboard, it only does not start with one.

    Raises InputError for a kernel that is no multiple of `scale`. Source: Odena, Dumoulin, Olah 2016.
    """

    def __init__(
        self, in_channels: int, out_channels: int, scale: int = 2, kernel_size: int | None = None, *, rank: int = 2
    ) -> None:
        super().__init__()
        kernel = 2 * _scale(scale) if kernel_size is None else kernel_size
        if kernel < 1 or kernel % scale:
            raise InputError(
                "some outputs would be sums of more terms than others, a checkerboard",
                expected=f"a kernel size that is a multiple of {scale}, the scale",
                got=kernel,
                fix="Or use UpsampleConv or SubPixelConv, or torch.nn.ConvTranspose where it is meant.",
            )
        before = (kernel - scale + 1) // 2
        self.conv = CONV_TRANSPOSE[rank](
            in_channels, out_channels, kernel, scale, before, output_padding=(kernel - scale) % 2
        )

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *out"]:
        """Larger maps."""
        y: Tensor = self.conv(x)
        return y


def odd(kernel_size: int) -> int:
    """A kernel size that the same padding on both sides keeps the map's size with; else InputError."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError("only an odd kernel keeps the size with as much padding on both sides", got=kernel_size)
    return kernel_size


def _scale(scale: int) -> int:
    return per_axis("scale", scale, 1, least=2)[0]
