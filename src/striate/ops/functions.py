"""Convolution and cross-correlation of functions of a real number, by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from striate.errors import InputError, did_you_mean
from striate.ops.samples import SHIFTS
from striate.shapes import Float, Tensor


@dataclass(frozen=True)
class Piecewise:
    """A function that is smooth between `breaks`, and zero before the first and after the last of them.

    `function` takes a tensor and gives one of its shape; outside the breaks it is not asked. Raises InputError for
    breaks that are not finite and rising.

    >>> Piecewise(torch.cos, (0.0, 1.0))(torch.tensor([-2.0, 0.0, 2.0]))
    tensor([0., 1., 0.])
    """

    function: Callable[[Tensor], Tensor]
    breaks: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.breaks))
        if len(self.breaks) < 2 or not rising or not all(map(math.isfinite, self.breaks)):
            expected = "two or more finite numbers that rise: where the function begins, bends and ends"
            raise InputError("cannot use these breaks", expected=expected, got=self.breaks)

    def __call__(self, x: Float[Tensor, "*at"]) -> Float[Tensor, "*at"]:
        """The values at `x`."""
        inside = (x >= self.breaks[0]) & (x <= self.breaks[-1])
        return torch.where(inside, self.function(x.clamp(self.breaks[0], self.breaks[-1])), 0.0)

    def mirror(self) -> Piecewise:
        """The function f(-x)."""
        return Piecewise(lambda x: self.function(-x), tuple(-b for b in reversed(self.breaks)))


BOX = Piecewise(torch.ones_like, (-1.0, 2.0))
"""The lectures' signal: 1 from -1 to 2."""

RAMP = Piecewise(lambda x: 1 - 0.2 * x, (0.0, 5.0))
"""The lectures' kernel: 1 - 0.2 x from 0 on, cut at 5, where it would fall below zero."""


def convolve_functions(
    f: Piecewise, g: Piecewise, at: Float[Tensor, "*at"], *, nodes: int = 20
) -> Float[Tensor, "*at"]:
    """Convolution h(i) = ∫ f(x) g(i - x) dx at each i of `at`.

    Gauss-Legendre quadrature with so many nodes between each two breaks of f(x) and g(i - x): exact, but for rounding,
    where both are polynomials between breaks, of degrees that together are below 2 · nodes. Raises InputError for
    fewer than one node. In double precision whatever the type of `at`, which the result has.

    >>> convolve_functions(BOX, RAMP, torch.arange(-1.0, 8.0))
    tensor([0.0000, 0.9000, 1.6000, 2.1000, 1.5000, 0.9000, 0.4000, 0.1000, 0.0000])
    """
    if nodes < 1:
        raise InputError("cannot integrate", where="nodes", expected="1 or more", got=nodes)
    knots, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(nodes))
    i = at.detach().to("cpu", torch.float64).reshape(-1, 1)
    f_breaks, g_breaks = (torch.tensor(b, dtype=torch.float64) for b in (f.breaks, g.breaks))
    low = torch.maximum(f_breaks[0], i - g_breaks[-1])  # where both are there
    high = torch.maximum(low, torch.minimum(f_breaks[-1], i - g_breaks[0]))
    breaks = torch.cat([f_breaks.expand(len(i), -1), i - g_breaks], 1).clamp(low, high).sort(1).values
    begin, half = breaks[:, :-1, None], breaks.diff(dim=1)[..., None] / 2
    x = begin + half * (1 + knots)
    integral = (f(x) * g(i[..., None] - x) * weights * half).sum((1, 2))
    return integral.view(at.shape).to(at)


def correlate_functions(
    f: Piecewise, g: Piecewise, at: Float[Tensor, "*at"], *, shift: str = "image", nodes: int = 20
) -> Float[Tensor, "*at"]:
    """Cross-correlation of f and g at each i of `at`, in either form, as `correlate_samples` has them.

        shift="image"    h(i) = ∫ f(i + x) g(x) dx
        shift="kernel"   h(i) = ∫ f(x) g(i + x) dx

    Raises InputError as `convolve_functions` does, and for another `shift`.

    >>> correlate_functions(BOX, RAMP, torch.arange(-2.0, 7.0), shift="kernel")
    tensor([0.0000, 0.9000, 1.6000, 2.1000, 1.5000, 0.9000, 0.4000, 0.1000, 0.0000])
    """
    if shift not in SHIFTS:
        raise InputError("unknown shift", got=repr(shift), fix=did_you_mean(shift, SHIFTS))
    first, second = (f, g.mirror()) if shift == "image" else (f.mirror(), g)
    return convolve_functions(first, second, at, nodes=nodes)
