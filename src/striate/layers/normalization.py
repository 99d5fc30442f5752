"""Local response normalization with the paper's constants."""

from __future__ import annotations

from torch import nn

from striate.errors import InputError


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
