"""Norms by what they average over, and local response normalization with the paper's constants."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from striate.errors import InputError
from striate.layers.by_rank import BATCH_NORM

Norm = Literal["none", "batch", "layer", "group", "instance"]


def norm_layer(kind: Norm, channels: int, rank: int = 2) -> nn.Module:
    """The norm of `channels` maps with `rank` spatial axes: (x - mean) / sqrt(variance + 1e-5), then scale and shift.

    Mean and variance are of all positions and, with batch, of one map in all items (in evaluation: running averages);
    with layer, of all maps of one item; with group, of each of gcd(8, channels) groups of neighboring maps of one
    item; with instance, of one map of one item. none does nothing. Source: Wu & He 2018, Group
    normalization, section 3 (Ioffe & Szegedy 2015; Ba et al. 2016; Ulyanov et al. 2016).

    >>> norm_layer("group", 20).num_groups
    4
    """
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return BATCH_NORM[rank](channels)
    groups = {"layer": 1, "group": math.gcd(8, channels), "instance": channels}
    if kind not in groups:
        raise InputError("there is no such norm", expected="none, batch, layer, group or instance", got=repr(kind))
    return nn.GroupNorm(groups[kind], channels)


def response_norm(size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> nn.LocalResponseNorm:
    """AlexNet's: b_i = a_i / (k + alpha · Σ_j a_j²)^beta over the `size` maps around i, fewer at the ends.

    torch.nn.LocalResponseNorm (and Caffe) divide alpha by `size` and have k = 1: for the paper's formula torch's layer
    is made here with size times alpha. Odd sizes: of an even one, torch and the paper mean different maps.
    Source: Krizhevsky, Sutskever, Hinton 2012, section 3.3.

    >>> response_norm()
    LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
    """
    if size < 1 or size % 2 == 0:
        raise InputError("a response is normalized by as many maps on both sides", expected="an odd size", got=size)
    return nn.LocalResponseNorm(size, alpha=size * alpha, beta=beta, k=k)
