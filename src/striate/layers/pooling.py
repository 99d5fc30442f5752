"""The poolings of `striate.ops` as layers; those that torch.nn has (maximum, average, adaptive) are used from there."""

from __future__ import annotations

import torch
from torch import nn

from striate.errors import InputError
from striate.layers.by_rank import MAX_POOL
from striate.ops.padding import Axes, Padding, extend, padding_pairs, per_axis
from striate.ops.pool import (
    Reduction,
    blur_pool,
    channel_pool,
    half_padding,
    lp_pool,
    max_pool_with_indices,
    max_unpool,
    stochastic_pool,
    weighted_pool,
    window_pool,
)
from striate.ops.windows import sliding
from striate.shapes import Float, Num, Tensor


class WindowPool(nn.Module):
    """Any function of each window: see `ops.window_pool` for what the function is given and what pads. No parameters.

    >>> WindowPool(torch.logsumexp, 2)(torch.zeros(1, 1, 4, 4))[0, 0, 0].exp().round().tolist()
    [4.0, 4.0]
    """

    def __init__(
        self,
        function: Reduction,
        size: Axes,
        stride: Axes | None = None,
        padding: Padding = 0,
        fill: float = 0.0,
        dilation: Axes = 1,
    ) -> None:
        super().__init__()
        self.function, self.fill = function, fill
        self.size, self.stride = _sizes(size, stride, padding, dilation)
        self.padding, self.dilation = padding, dilation

    def forward(self, x: Num[Tensor, "n c *space"]) -> Num[Tensor, "n c *out"]:
        """The function of each window."""
        return window_pool(
            x, self.function, self.size, self.stride, padding=self.padding, fill=self.fill, dilation=self.dilation
        )

    def extra_repr(self) -> str:
        """Function and window."""
        name = getattr(self.function, "__name__", repr(self.function))
        return f"{name}, size={self.size}, stride={self.stride}, padding={self.padding}"


class ChannelPool(nn.Module):
    """Maxout: the greatest of each `size` consecutive channels, or another function of them (`ops.channel_pool`).

    A convolution of k·size channels before it makes a maxout layer of k; other functions pool features that are to be
    invariant to what the channels of a group differ in. Source: Goodfellow et al. 2013, Maxout networks.
    """

    def __init__(self, size: int, function: Reduction = torch.amax) -> None:
        super().__init__()
        self.size, self.function = per_axis("group size", size, 1)[0], function

    def forward(self, x: Num[Tensor, "n c *space"]) -> Num[Tensor, "n groups *space"]:
        """One map for each group."""
        return channel_pool(x, self.size, self.function)

    def extra_repr(self) -> str:
        """Group and function."""
        return f"{self.size}, {getattr(self.function, '__name__', repr(self.function))}"


class LpPool(nn.Module):
    """The p-norm of each window's magnitudes, L2 pooling by default: see `ops.lp_pool`, also for torch.nn.LPPool."""

    def __init__(self, size: Axes, stride: Axes | None = None, padding: Padding = 0, p: float = 2.0) -> None:
        super().__init__()
        if not p > 0:
            raise InputError("the p of a norm is positive", got=p)
        self.size, self.stride = _sizes(size, stride, padding)
        self.padding, self.p = padding, p

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *out"]:
        """Norms."""
        return lp_pool(x, self.p, self.size, self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        """Window and p."""
        return f"size={self.size}, stride={self.stride}, padding={self.padding}, p={self.p}"


class StochasticPool(nn.Module):
    """In training mode draws one value of each window by size, else their weighted mean: see `ops.stochastic_pool`.

    Random numbers are torch's (torch.manual_seed makes a run repeatable), or those of `generator`, which torch.compile
    cannot have in its graph: it breaks there.
    """

    def __init__(
        self,
        size: Axes,
        stride: Axes | None = None,
        padding: Padding = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.size, self.stride = _sizes(size, stride, padding)
        self.padding, self.generator = padding, generator

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *out"]:
        """Values drawn, or means."""
        return stochastic_pool(
            x, self.size, self.stride, padding=self.padding, training=self.training, generator=self.generator
        )

    def extra_repr(self) -> str:
        """Window."""
        return f"size={self.size}, stride={self.stride}, padding={self.padding}"


class WeightedPool(nn.Module):
    """Weighted average of each window, the same for all channels (`ops.weighted_pool`).

    Given `weights`, a tensor of the window's shape, they are fixed (a buffer). Without, they are learned: the softmax
    of `logits`, one for each tap of a window of `size`, all equal at the start; so positive and of sum one always.
    """

    def __init__(
        self,
        size: Axes | None = None,
        stride: Axes | None = None,
        padding: Padding = 0,
        *,
        weights: Float[Tensor, "*window"] | None = None,
        rank: int = 2,
    ) -> None:
        super().__init__()
        if (size is None) == (weights is None):
            raise InputError("a weighted pooling has a size, or weights", got="neither" if size is None else "both")
        self.padding = padding
        if weights is None:
            self.logits = nn.Parameter(torch.zeros(per_axis("window size", size, rank)))  # type: ignore[arg-type]
        elif not weights.sum() > 0:
            raise InputError("weights of an average add up to more than 0", got=weights.tolist())
        self.register_buffer("fixed", None if weights is None else weights.detach().clone())
        self.fixed: Tensor | None
        self.size = tuple(self.weights.shape)
        self.stride = self.size if stride is None else per_axis("stride", stride, len(self.size))
        padding_pairs(padding, self.size)  # raises where it cannot

    @property
    def weights(self) -> Float[Tensor, "*window"]:
        """They add up to one."""
        if self.fixed is not None:
            return self.fixed / self.fixed.sum()
        return self.logits.flatten().softmax(0).view_as(self.logits)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *out"]:
        """Averages."""
        return weighted_pool(x, self.weights, self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        """Window, and whether it is learned."""
        return f"size={self.size}, stride={self.stride}, learned={self.fixed is None}"


class BlurPool(nn.Module):
    """Blur with binomial weights, then keep every stride-th position: see `ops.blur_pool` (Zhang 2019). No parameters.

    Takes the place of a stride: conv(stride=2) becomes conv, ReLU, BlurPool; average pooling becomes BlurPool.
    """

    def __init__(self, size: int = 3, stride: Axes = 2, padding_mode: str = "reflect") -> None:
        super().__init__()
        self.size, (_, self.stride) = per_axis("blur size", size, 1)[0], _sizes(1, stride)
        self.padding_mode = padding_mode
        extend(torch.empty(1, 1, size, device="meta"), ((0, 0),), padding_mode)  # raises for an unknown mode

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *out"]:
        """Blurred and sampled."""
        return blur_pool(x, self.size, self.stride, self.padding_mode)

    def extra_repr(self) -> str:
        """Blur and stride."""
        return f"size={self.size}, stride={self.stride}, padding_mode={self.padding_mode}"


class MaxBlurPool(nn.Sequential):
    """Maxima of each position's window, then `BlurPool`: max pooling that hardly aliases (Zhang 2019, section 3.2).

    Max pooling of stride s is maxima at every position, then every s-th of them; the blur stands between. In place of
    MaxPool2d(2), or MaxPool2d(3, 2, 1) with `size` 3 and `padding` 1.
    """

    def __init__(
        self,
        size: int = 2,
        stride: int = 2,
        padding: int = 0,
        *,
        blur: int = 3,
        padding_mode: str = "reflect",
        rank: int = 2,
    ) -> None:
        half_padding(padding, per_axis("window size", size, rank))  # raises where it cannot
        super().__init__(MAX_POOL[rank](size, stride=1, padding=padding), BlurPool(blur, stride, padding_mode))


class PoolUnpool(nn.Module):
    """Max pooling, `inner`, and max unpooling that puts inner's values where the maxima were, at the size before.

    The indices are carried from one to the other within one forward, so there is nothing to store or hand around.
    Nested, with the stages of an encoder and a decoder, it is a SegNet:
    PoolUnpool(Sequential(encode, PoolUnpool(…), decode)). `inner` keeps the shape of the pooled map.

    Raises InputError where inner changes the shape. Source: Zeiler and Fergus 2014, section 2.1; Badrinarayanan,
    Kendall, Cipolla 2015, section 3.

    >>> PoolUnpool(nn.Identity())(torch.tensor([[[[1.0, 2.0], [4.0, 3.0]]]])).tolist()
    [[[[0.0, 0.0], [4.0, 0.0]]]]
    """

    def __init__(self, inner: nn.Module, size: Axes = 2, stride: Axes | None = None, padding: Axes = 0) -> None:
        super().__init__()
        self.inner = inner
        self.size, self.stride = _sizes(size, stride)
        half_padding(padding, per_axis("window size", size, _rank(size, padding)))  # raises where it cannot
        self.padding = padding

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
        """Values at the places of the maxima, zeros elsewhere."""
        pooled, places = max_pool_with_indices(x, self.size, self.stride, padding=self.padding, ceil_mode=True)
        y = self.inner(pooled)
        if y.shape != pooled.shape:
            raise InputError(
                "what is unpooled has the shape of what was pooled", expected=tuple(pooled.shape), got=tuple(y.shape)
            )
        return max_unpool(y, places, x.shape[2:], self.size, self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        """Window."""
        return f"size={self.size}, stride={self.stride}, padding={self.padding}"


def _sizes(size: Axes, stride: Axes | None, padding: Padding = 0, dilation: Axes = 1) -> tuple[Axes, Axes]:
    """Size and stride; all options looked at before there is a map."""
    rank = _rank(size, stride, padding, dilation)
    sizes, _, dilations = sliding(rank, size, stride, dilation)
    padding_pairs(padding, sizes, dilations)
    return size, size if stride is None else stride


def _rank(*options: object) -> int:
    """The number of axes that the first option with one number for each has; 1 where none tells."""
    return next((len(option) for option in options if isinstance(option, tuple | list)), 1)
