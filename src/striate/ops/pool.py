"""Pooling that torch.nn.functional lacks, in 1-D, 2-D and 3-D by one code path."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from striate.errors import InputError
from striate.ops.convolve import correlate
from striate.ops.kernels import binomial
from striate.ops.padding import Axes, Padding, padding_pairs, per_axis
from striate.ops.windows import check_fit, sliding, windows
from striate.shapes import Float, Int64, Num, Tensor

# Like torch's reductions: (values, axis) -> values without that axis, or a named tuple with `values` in it.
Reduction = Callable[..., Any]

AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAX_POOL: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MAX_UNPOOL: dict[int, Callable[..., Tensor]] = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}


def window_pool(
    x: Num[Tensor, "n c *space"],
    function: Reduction,
    size: Axes,
    stride: Axes | None = None,
    *,
    padding: Padding = 0,
    fill: float = 0.0,
    dilation: Axes = 1,
) -> Num[Tensor, "n c *out"]:
    """Any function of each window, each channel for itself: z = function(window).

    `function(values, -1)` is given all windows, (n, c, *out, taps), and reduces the last axis, as torch's reductions
    do: torch.amax, torch.median (whose values are taken), torch.logsumexp, torch.std, or your own. The border is padded
    with `fill`, to be chosen so that the function ignores it: -inf for amax and logsumexp, NaN for torch.nanmean and
    nanmedian; 0 counts. Where a window holds a NaN, the result is what the function makes of it.

    Raises InputError for options out of range, a window larger than the map, and a function that does not reduce.

    >>> x = torch.tensor([[[[1.0, 3, 6, 2], [3, 8, 1, 1], [2, 9, 2, 1], [5, 1, 3, 1]]]])
    >>> window_pool(x, torch.amax, 2).tolist(), window_pool(x, torch.median, 2).tolist()
    ([[[[8.0, 6.0], [9.0, 3.0]]]], [[[[3.0, 1.0], [2.0, 1.0]]]])
    """
    rank = x.ndim - 2
    sizes, _, dilations = sliding(rank, size, stride, dilation)
    padded = _padded(x, padding_pairs(padding, sizes, dilations), fill)
    seen = windows(padded, size, stride, dilation).flatten(-rank)
    return _reduced(function, seen, -1)


def channel_pool(
    x: Num[Tensor, "n c *space"], size: int, function: Reduction = torch.amax
) -> Num[Tensor, "n groups *space"]:
    """Pool over `size` consecutive channels at each position; with the maximum this is maxout.

    z_k = max_j y_{k·size + j}, j = 0 … size - 1.
    `function` is as for `window_pool`. Raises InputError where the channels are no multiple of `size`.
    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, Maxout networks, section 3.

    >>> channel_pool(torch.tensor([[[1.0], [5.0], [4.0], [2.0]]]), 2).flatten().tolist()
    [5.0, 4.0]
    """
    if size < 1 or x.shape[1] % size:
        raise InputError("channels are pooled in groups of one size", expected=f"a multiple of {size}", got=x.shape[1])
    return _reduced(function, x.reshape(len(x), x.shape[1] // size, size, *x.shape[2:]), 2)


def _reduced(function: Reduction, values: Tensor, axis: int) -> Tensor:
    made = function(values, axis)
    made = made.values if isinstance(made, tuple) and hasattr(made, "values") else made
    axis %= values.ndim
    expected = (*values.shape[:axis], *values.shape[axis + 1 :])
    got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
    if got != expected:
        raise InputError(
            "a pooling function gives one number for each window",
            expected=f"shape {expected} from {tuple(values.shape)} and axis {axis}",
            got=got,
            fix="It is called as function(values, axis), like torch.amax.",
        )
    return made  # type: ignore[no-any-return]  # a tensor, as just seen


def lp_pool(
    x: Float[Tensor, "n c *space"], p: float, size: Axes, stride: Axes | None = None, *, padding: Padding = 0
) -> Float[Tensor, "n c *out"]:
    """The p-norm of each window: z = (Σ |y|^p)^(1/p), p > 0; p = inf is the greatest magnitude.

    Unlike torch.nn.LPPool: magnitudes, so odd p of negative values are no NaN and no signed sum; zero padding. The
    gradient of a window of zeros is zero (torch's, too, for p = 2), and for p < 1 that of each zero. Powers that leave
    the range of the type overflow.
    Source: Sermanet, Chintala, LeCun 2012, section 2.2; for p = 2 the L2 pooling of Le et al. 2012.

    >>> x = torch.tensor([[[[1.0, 3, 6, 2], [3, 8, 1, 1], [2, 9, 2, 1], [5, 1, 3, 1]]]])
    >>> lp_pool(x, 2, 2).square().round().tolist()
    [[[[83.0, 42.0], [111.0, 15.0]]]]
    """
    if not p > 0:
        raise InputError("the p of a norm is positive", got=p)
    rank = x.ndim - 2
    sizes, strides, _ = sliding(rank, size, stride)
    x = _padded(x, padding_pairs(padding, sizes), 0.0)
    check_fit(x, sizes, (1,) * rank)
    if p == math.inf:
        return MAX_POOL[rank](x.abs(), sizes, strides)  # type: ignore[no-any-return]
    powers = x.square() if p == 2 else _power(x.abs(), p)
    # The ReLU's gradient is 0 at 0, where the root's is infinite.
    return _sum_pool(powers, sizes, strides).relu().pow(1 / p)


def _power(magnitudes: Tensor, p: float) -> Tensor:
    if p >= 1:
        return magnitudes.pow(p)
    zero = magnitudes == 0  # where the slope is infinite
    return magnitudes.masked_fill(zero, 1.0).pow(p).masked_fill(zero, 0.0)


def _sum_pool(x: Tensor, sizes: Sequence[int], strides: Sequence[int]) -> Tensor:
    return AVG_POOL[x.ndim - 2](x, sizes, strides) * math.prod(sizes)


def weighted_pool(
    x: Float[Tensor, "n c *space"],
    weights: Float[Tensor, "*window"],
    stride: Axes | None = None,
    *,
    padding: Padding = 0,
    padding_mode: str = "zeros",
) -> Float[Tensor, "n c *out"]:
    """Weighted average of each window, the same for each channel: z = Σ w_j y_j / Σ w_j.

    The stride is the window's size unless given. Padding as `ops.correlate`; zeros count. Raises InputError for weights
    of another number of axes than the map's.

    >>> weighted_pool(torch.tensor([[[1.0, 2.0, 3.0, 8.0]]]), torch.tensor([3.0, 1.0])).tolist()
    [[[1.25, 4.25]]]
    """
    rank, channels = x.ndim - 2, x.shape[1]
    if weights.ndim != rank:
        raise InputError(
            "the weights of a pooling are one window", expected=f"{rank} axes", got=f"shape {tuple(weights.shape)}"
        )
    kernel = (weights / weights.sum()).to(x).expand(channels, 1, *weights.shape)
    stride = tuple(weights.shape) if stride is None else stride
    # torch's own convolution, whose windows geometry and the locality engine know.
    return correlate(
        x, kernel, stride=stride, padding=padding, padding_mode=padding_mode, groups=channels, algorithm="direct"
    )


def blur_pool(
    x: Float[Tensor, "n c *space"], size: int = 3, stride: Axes = 2, padding_mode: str = "reflect"
) -> Float[Tensor, "n c *out"]:
    """Blur, then keep every stride-th position: sampling that hardly aliases, so a shifted input shifts the output.

    z = (y ⋆ binomial kernel) at every stride-th position; the border is padded by (size - 1) // 2 before and size // 2
    after, so that ceil(side / stride) positions are left. A map of ones stays one. Source: Zhang 2019, Making
    convolutional networks shift-invariant again, section 3.2 (sizes 2, 3, 5 there).

    >>> blur_pool(torch.tensor([[[0.0, 0.0, 16.0, 0.0, 0.0]]]), stride=1).tolist()
    [[[0.0, 4.0, 8.0, 4.0, 0.0]]]
    """
    kernel = binomial(size, x.ndim - 2).to(x)
    return weighted_pool(x, kernel, stride, padding="same", padding_mode=padding_mode)


def stochastic_pool(
    x: Float[Tensor, "n c *space"],
    size: Axes,
    stride: Axes | None = None,
    *,
    padding: Padding = 0,
    training: bool = True,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n c *out"]:
    """Draw one value of each window with probability p_j = a_j / Σ a; without `training` their mean, Σ a_j² / Σ a.

    a = max(y, 0): the paper pools what a ReLU left, so a value below zero is never drawn. A window without positive
    values gives 0, one with a NaN NaN. Random numbers are `generator`'s, or torch's. The gradient goes to the value
    drawn.
    Source: Zeiler and Fergus 2013, Stochastic pooling for regularization of deep convolutional networks, section 3.

    >>> stochastic_pool(torch.tensor([[[1.6, 0.0, 2.4, 0.0, 0.0, 0.0]]]), 3, training=False).tolist()
    [[[2.080000162124634, 0.0]]]
    """
    sizes, strides, _ = sliding(x.ndim - 2, size, stride)
    activations = _padded(x.relu(), padding_pairs(padding, sizes), 0.0)
    check_fit(activations, sizes, (1,) * len(sizes))
    if not training:
        total = _sum_pool(activations, sizes, strides)
        squares = _sum_pool(activations.square(), sizes, strides)
        return squares / total.masked_fill(total == 0, 1.0)
    seen = windows(activations, sizes, strides).flatten(2 - x.ndim)
    heaped = seen.detach().cumsum(-1)
    total = heaped[..., -1:]
    own: dict[str, Any] = {} if generator is None else {"generator": generator}  # not None: torch.compile
    drawn = total * torch.rand(total.shape, dtype=x.dtype, device=x.device, **own)
    # The first tap beyond the number drawn; where rounding made that the total, the last positive one.
    tap = torch.minimum((heaped <= drawn).sum(-1, keepdim=True), (heaped < total).sum(-1, keepdim=True))
    return seen.gather(-1, tap)[..., 0].masked_fill(total[..., 0].isnan(), math.nan)


def max_pool_with_indices(
    x: Num[Tensor, "n c *space"], size: Axes, stride: Axes | None = None, *, padding: Axes = 0, ceil_mode: bool = False
) -> tuple[Num[Tensor, "n c *out"], Int64[Tensor, "n c *out"]]:
    """The greatest value of each window and its place in the map of its channel, counted row by row.

    The border is padded with -inf, by at most half a window. `ceil_mode`: windows that reach over the end count, too.
    Raises InputError for options out of range, and where no window fits.
    """
    rank = x.ndim - 2
    sizes, strides, _ = sliding(rank, size, stride)
    before = half_padding(padding, sizes)
    reach = [k - 2 * p - (s - 1) * ceil_mode for k, p, s in zip(sizes, before, strides, strict=True)]
    check_fit(x, reach, (1,) * rank)
    values, places = MAX_POOL[rank](x, sizes, strides, before, ceil_mode=ceil_mode, return_indices=True)
    return values, places


def half_padding(padding: Axes, sizes: Sequence[int]) -> tuple[int, ...]:
    """Padding of a max pooling on each axis: at most half a window, so that none lies outside; else InputError."""
    before = per_axis("padding", padding, len(sizes), least=0)
    if any(2 * p > k for p, k in zip(before, sizes, strict=True)):
        raise InputError("a window of padding alone has no maximum", expected="at most half a window", got=padding)
    return before


def max_unpool(
    x: Float[Tensor, "n c *space"],
    places: Int64[Tensor, "n c *_space"],
    output_size: Sequence[int],
    size: Axes,
    stride: Axes | None = None,
    *,
    padding: Axes = 0,
) -> Float[Tensor, "n c *out"]:
    """Put each value where the maximum of its window was, zeros elsewhere; values that meet are added.

    This is the transpose of the max pooling that gave `places`. In overlapping windows one place may be the maximum of
    several, whose values may differ by then: torch's max_unpool keeps an arbitrary one and gives the gradient to all;
    their sum is determined, and has the right gradient. `output_size` is the spatial size of the map that was pooled.
    Raises InputError where `x` and `places` differ in shape, and for an output of another number of axes.

    >>> values, places = max_pool_with_indices(torch.tensor([[[1.0, 2.0, 9.0, 2.0, 1.0]]]), 3, 2)
    >>> max_unpool(values, places, (5,), 3, 2).tolist()
    [[[0.0, 0.0, 18.0, 0.0, 0.0]]]
    """
    rank = x.ndim - 2
    sizes, strides, _ = sliding(rank, size, stride)
    if x.shape != places.shape:
        raise InputError("each value has a place to be put", expected=tuple(x.shape), got=tuple(places.shape))
    if len(output_size) != rank:
        raise InputError("cannot unpool to this size", expected=f"{rank} axes, as x has", got=tuple(output_size))
    if all(s >= k for s, k in zip(strides, sizes, strict=True)):  # none meet, and geometry knows torch's windows
        return MAX_UNPOOL[rank](x, places, sizes, strides, half_padding(padding, sizes), [*output_size])
    flat = x.new_zeros(*x.shape[:2], math.prod(output_size))
    return flat.scatter_add(2, places.flatten(2), x.flatten(2)).view(*x.shape[:2], *output_size)


def _padded(x: Tensor, pairs: Sequence[tuple[int, int]], fill: float) -> Tensor:
    if not any(map(any, pairs)):
        return x
    return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=fill)
