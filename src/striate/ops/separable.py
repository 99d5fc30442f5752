"""Kernels that are products of one vector for each axis, or sums of a few such products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch

from striate.errors import InputError
from striate.ops.convolve import correlate
from striate.ops.padding import Axes, Padding, padding_pairs, per_axis
from striate.shapes import Float, Tensor


@dataclass(frozen=True, eq=False)
class Separable:
    """weight · v₁ ⊗ v₂ ⊗ …: one vector of length 1 (its norm) for each axis of a kernel."""

    weight: float
    vectors: tuple[Float[Tensor, "_"], ...]

    def kernel(self) -> Float[Tensor, "*window"]:
        """The outer product of the vectors, times the weight."""
        return self.weight * reduce(lambda k, v: k[..., None] * v, self.vectors)


def factorize(kernel: Float[Tensor, "*window"], tolerance: float = 1e-6) -> tuple[Separable, ...]:
    """The kernel as a sum of outer products, the largest first: one where it is separable, in any number of axes.

    The singular value decomposition of the first axis against the rest, of the second against the rest of that, and so
    on. The products are orthogonal to each other, so what is lost by leaving some out is √(Σ weight²) of those. In 2-D
    the first r are the best approximation by r products (Eckart and Young 1936). Those with a weight of `tolerance`
    times the largest, or less, are left out. Raises InputError for a kernel that has no axis, or is zero.

    >>> [term.weight for term in factorize(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))]
    [1.0, 0.5]
    """
    if kernel.ndim == 0 or not kernel.numel() or not kernel.detach().abs().max() > 0:
        expected, got = "an axis or more and a value that is not 0", f"shape {tuple(kernel.shape)}"
        raise InputError("cannot factorize", where="kernel", expected=expected, got=got)
    terms = sorted(_terms(kernel.detach().double()), key=lambda term: -term.weight)
    kept = [term for term in terms if term.weight > tolerance * terms[0].weight]
    return tuple(Separable(term.weight, tuple(v.to(kernel) for v in term.vectors)) for term in kept)


def is_separable(kernel: Float[Tensor, "*window"], tolerance: float = 1e-6) -> bool:
    """Whether the kernel is an outer product of one vector for each axis (so of rank 1 in all its unfoldings).

    >>> is_separable(torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])), is_separable(torch.eye(3))
    (True, False)
    """
    return len(factorize(kernel, tolerance)) == 1


def correlate_separable(
    x: Float[Tensor, "n c *space"],
    vectors: Sequence[Float[Tensor, "_"]],
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
) -> Float[Tensor, "n c *out"]:
    """Cross-correlation of each channel with the outer product of `vectors`, one axis after the other.

    k + k multiply-adds for each value instead of k · k. Options and errors are those of `correlate`; raises InputError
    also for another number of vectors than x has spatial axes.

    >>> x = torch.arange(9.0).view(1, 1, 3, 3)
    >>> correlate_separable(x, (torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])))
    tensor([[[[8.]]]])
    """
    rank, channels = x.ndim - 2, x.shape[1]
    if len(vectors) != rank:
        raise InputError("cannot correlate", where="vectors", expected=f"{rank}, one for each axis", got=len(vectors))
    steps, spread = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    pairs = padding_pairs(padding, tuple(len(vector) for vector in vectors), spread)
    for axis, vector in enumerate(vectors):
        here = [a == axis for a in range(rank)]
        kernel = vector.view([-1 if a else 1 for a in here]).expand(channels, 1, *[-1] * rank)
        x = correlate(
            x,
            kernel,
            stride=tuple(steps[axis] if a else 1 for a in here),
            padding=tuple(pairs[axis] if a else (0, 0) for a in here),
            padding_mode=padding_mode,
            dilation=tuple(spread[axis] if a else 1 for a in here),
            groups=channels,
        )
    return x


def _terms(kernel: Tensor) -> list[Separable]:
    """All products of which the kernel is the sum."""
    if kernel.ndim == 1:
        norm = kernel.norm().item()
        return [Separable(norm, (kernel / norm,))] if norm else []
    u, s, vh = torch.linalg.svd(kernel.flatten(1), full_matrices=False)
    rest = vh.view(-1, *kernel.shape[1:])
    found = [(s[r].item(), u[:, r], term) for r in range(len(s)) for term in _terms(rest[r])]
    return [Separable(scale * term.weight, (column, *term.vectors)) for scale, column, term in found]
