"""One image at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F

from striate.errors import InputError
from striate.ops.kernels import binomial
from striate.ops.separable import correlate_separable
from striate.ops.transpose import insert_zeros
from striate.shapes import Float, Tensor

Levels = tuple[Float[Tensor, "n c ..."], ...]


def gaussian_pyramid(x: Float[Tensor, "n c *space"], levels: int) -> Levels:
    """`levels` images: x itself, and each of the others blurred and every second value of the one before.

    The blur is the binomial (1, 4, 6, 4, 1) / 16 along each axis, with the image reflected at its border; a side of s
    becomes ceil(s / 2). Raises InputError for fewer than one level, and for a side below 3 that is to be halved.
    Source: Burt and Adelson 1983.

    >>> import torch
    >>> [tuple(level.shape[2:]) for level in gaussian_pyramid(torch.zeros(1, 1, 9, 16), 3)]
    [(9, 16), (5, 8), (3, 4)]
    """
    if levels < 1:
        raise InputError("cannot build a pyramid", where="levels", expected="1 or more", got=levels)
    pyramid = [x]
    for level in range(1, levels):
        if min(pyramid[-1].shape[2:]) < 3:
            expected, got = "sides of 3 or more to halve", tuple(pyramid[-1].shape[2:])
            raise InputError("cannot build a pyramid", where=f"level {level}", expected=expected, got=got)
        pyramid.append(_blur(pyramid[-1], stride=2))
    return tuple(pyramid)


def laplacian_pyramid(x: Float[Tensor, "n c *space"], levels: int) -> Levels:
    """`levels` images: the details that each level of the Gaussian pyramid has beyond the next, and the last level.

    `reconstruct` gives x back. Raises InputError as `gaussian_pyramid` does.

    >>> import torch
    >>> details, rest = laplacian_pyramid(torch.ones(1, 1, 4, 4), 2)  # nothing but the mean
    >>> details.abs().max().item(), rest.shape
    (0.0, torch.Size([1, 1, 2, 2]))
    """
    levels_below = gaussian_pyramid(x, levels)
    details = [fine - expand(coarse, fine.shape[2:]) for fine, coarse in pairwise(levels_below)]
    return (*details, levels_below[-1])


def reconstruct(pyramid: Sequence[Float[Tensor, "n c ..."]]) -> Float[Tensor, "n c *space"]:
    """The image of a Laplacian pyramid: from the last level on, enlarge and add the details. Exact but for rounding.

    >>> import torch
    >>> x = torch.arange(25.0).view(1, 1, 5, 5)
    >>> torch.equal(reconstruct(laplacian_pyramid(x, 2)), x)
    True
    """
    *details, x = pyramid
    for detail in reversed(details):
        x = detail + expand(x, detail.shape[2:])
    return x


def expand(x: Float[Tensor, "n c *space"], size: Sequence[int]) -> Float[Tensor, "n c *out"]:
    """Enlarge twofold to `size`, of which x has every second value: zeros between, then twice the blur along each axis.

    Raises InputError for a size that does not halve to that of x.

    >>> import torch
    >>> expand(torch.tensor([[[1.0, 1.0]]]), (3,))
    tensor([[[1., 1., 1.]]])
    """
    if [-(-side // 2) for side in size] != list(x.shape[2:]):
        raise InputError(
            "cannot expand", where="size", expected=f"twice {tuple(x.shape[2:])}, or 1 less", got=tuple(size)
        )
    spread = insert_zeros(x, 2)
    missing = [
        amount
        for side, given in zip(reversed(size), reversed(spread.shape), strict=False)
        for amount in (0, side - given)
    ]
    enlarged = _blur(F.pad(spread, missing), stride=1)
    return enlarged * float(2 ** len(size))


def _blur(x: Tensor, stride: int) -> Tensor:
    vectors = [binomial(5).to(x)] * (x.ndim - 2)
    return correlate_separable(x, vectors, stride=stride, padding="same", padding_mode="reflect")
