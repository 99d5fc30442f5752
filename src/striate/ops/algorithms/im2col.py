"""Every window written out as a column, and one matrix product; and its banded form for long depthwise kernels."""

from __future__ import annotations

import math

from striate.ops.algorithms.setting import Setting, output_space, pad
from striate.ops.windows import unfold
from striate.shapes import Float, Tensor

BAND = 32  # outputs of one row of bands: longer wastes products on the band's corners, shorter copies more input


def im2col(
    x: Float[Tensor, "n c *space"], kernel: Float[Tensor, "k d *window"], setting: Setting
) -> Float[Tensor, "n k *output"]:
    """Columns (n, groups, d * taps, places) times the kernel as a matrix (groups, k / groups, d * taps).

    A window of one place needs no columns: there this is the matrix product alone.

    Source: Chellapilla, Puri and Simard, High performance convolutional neural networks for document processing (2006).
    """
    stride, padding, dilation, groups = setting
    items, channels = x.shape[:2]
    fields, _, *window = kernel.shape
    output = output_space(x.shape[2:], window, setting)
    rank = len(window)
    seen = unfold(pad(x, padding), 2, window, stride, dilation)  # n c *output *window
    columns = seen.permute(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank)).reshape(
        items, groups, channels // groups * math.prod(window), math.prod(output)
    )
    return (kernel.reshape(groups, fields // groups, -1) @ columns).reshape(items, fields, *output)


def banded(x: Float[Tensor, "n c t"], kernel: Float[Tensor, "c one k"], setting: Setting) -> Float[Tensor, "n c u"]:
    """Depthwise 1-D: a channel's Toeplitz matrix is the same band everywhere, so that BAND outputs at a time are
    one product of that band (BAND, BAND + k - 1) with pieces of the input that overlap by k - 1.

    Some (BAND + k - 1) / k times the multiply-adds of the definition, but all of them in dense matrix products.
    """
    items, channels, length = x.shape
    size = kernel.shape[-1]
    (output,) = output_space((length,), (size,), setting)
    reach, rows = BAND + size - 1, -(-output // BAND)
    ((before, _),) = setting.padding
    pieces = pad(x, [(before, rows * BAND + size - 1 - length - before)]).unfold(2, reach, BAND)
    # A row one longer than the matrix's: each start lies one place further right, which draws the diagonals.
    diagonals = kernel.new_zeros(channels, BAND * (reach + 1))
    diagonals.as_strided((channels, BAND, size), (BAND * (reach + 1), reach + 1, 1)).copy_(
        kernel.expand(channels, BAND, size)
    )
    band = diagonals[:, : BAND * reach].view(channels, BAND, reach)
    product = pieces.transpose(0, 1).reshape(channels, items * rows, reach) @ band.transpose(1, 2)
    return product.view(channels, items, rows * BAND)[..., :output].transpose(0, 1).contiguous()
