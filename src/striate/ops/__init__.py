"""Pure tensor functions without parameters, of any rank."""

from striate.ops.convolve import convolve, correlate, output_size
from striate.ops.local import correlate_locally
from striate.ops.padding import extend, padding_pairs
from striate.ops.pool import (
    binomial,
    blur_pool,
    channel_pool,
    lp_pool,
    max_pool_with_indices,
    max_unpool,
    stochastic_pool,
    weighted_pool,
    window_pool,
)
from striate.ops.resample import pixel_shuffle, pixel_unshuffle
from striate.ops.windows import windows

__all__ = [
    "binomial",
    "blur_pool",
    "channel_pool",
    "convolve",
    "correlate",
    "correlate_locally",
    "extend",
    "lp_pool",
    "max_pool_with_indices",
    "max_unpool",
    "output_size",
    "padding_pairs",
    "pixel_shuffle",
    "pixel_unshuffle",
    "stochastic_pool",
    "weighted_pool",
    "window_pool",
    "windows",
]
