"""torch's own convolution, as it comes and in channels_last, with its two gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from striate.ops.algorithms.setting import Setting, pad
from striate.shapes import Float, Tensor

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def direct(
    x: Float[Tensor, "n c *space"], kernel: Float[Tensor, "k d *window"], setting: Setting, bias: Tensor | None = None
) -> Float[Tensor, "n k *output"]:
    """`torch.nn.functional.conv1d`, `conv2d` or `conv3d`; padding on one side only is put on beforehand."""
    stride, padding, dilation, groups = setting
    ends = [before for before, _ in padding]
    if not _even(setting):
        x, ends = pad(x, padding), [0] * len(padding)
    return CONVOLUTIONS[len(padding)](x, kernel, bias, stride, ends, dilation, groups)


def channels_last(
    x: Float[Tensor, "n c *space"], kernel: Float[Tensor, "k d *window"], setting: Setting
) -> Float[Tensor, "n k *output"]:
    """The same with the channels innermost in memory, and 1-D as pictures of one row: the layout oneDNN likes best."""
    if x.ndim == 3:
        return channels_last(x.unsqueeze(2), kernel.unsqueeze(2), _as_rows(setting)).squeeze(2)
    return direct(_innermost(x), _innermost(kernel), setting).contiguous()


def direct_adjoint(
    y: Float[Tensor, "n k *output"], kernel: Float[Tensor, "k d *window"], space: Sequence[int], setting: Setting
) -> Float[Tensor, "n c *space"]:
    """torch's gradient with respect to the input."""
    padded, ends = _padded(space, setting)
    shape = (len(y), kernel.shape[1] * setting.groups, *padded)
    x = y.new_empty(1).expand(shape)  # only its shape is read
    gradient = _backward(y, x, kernel, setting, ends, wanted=0)
    if _even(setting):
        return gradient
    return pad(gradient, [(-before, -after) for before, after in setting.padding])


def direct_kernel_gradient(
    x: Float[Tensor, "n c *space"], y: Float[Tensor, "n k *output"], window: Sequence[int], setting: Setting
) -> Float[Tensor, "k d *window"]:
    """torch's gradient with respect to the kernel."""
    _, ends = _padded(x.shape[2:], setting)
    if not _even(setting):
        x = pad(x, setting.padding)
    kernel = x.new_empty(1).expand(y.shape[1], x.shape[1] // setting.groups, *window)  # only its shape is read
    return _backward(y, x, kernel, setting, ends, wanted=1)


def channels_last_kernel_gradient(
    x: Float[Tensor, "n c *space"], y: Float[Tensor, "n k *output"], window: Sequence[int], setting: Setting
) -> Float[Tensor, "k d *window"]:
    """The same with the channels innermost in memory."""
    if x.ndim == 3:
        gradient = channels_last_kernel_gradient(x.unsqueeze(2), y.unsqueeze(2), (1, *window), _as_rows(setting))
        return gradient.squeeze(2)
    return direct_kernel_gradient(_innermost(x), _innermost(y), window, setting).contiguous()


def _even(setting: Setting) -> bool:
    """Whether torch can pad so by itself: as much after as before."""
    return all(before == after >= 0 for before, after in setting.padding)


def _padded(space: Sequence[int], setting: Setting) -> tuple[list[int], list[int]]:
    """Sizes that torch shall see, and the padding it shall add: its own where both ends are alike, else ours before."""
    if _even(setting):
        return list(space), [before for before, _ in setting.padding]
    return [size + sum(pair) for size, pair in zip(space, setting.padding, strict=True)], [0] * len(space)


def _backward(y: Tensor, x: Tensor, kernel: Tensor, setting: Setting, ends: list[int], wanted: int) -> Tensor:
    """The gradient of the input (wanted 0) or of the kernel (1)."""
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        y,
        x,
        kernel,
        None,
        setting.stride,
        ends,
        setting.dilation,
        False,
        [0] * len(ends),
        setting.groups,
        [wanted == 0, wanted == 1, False],
    )
    return gradients[wanted]


def _innermost(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def _as_rows(setting: Setting) -> Setting:
    stride, padding, dilation, groups = setting
    return Setting((1, *stride), ((0, 0), *padding), (1, *dilation), groups)
