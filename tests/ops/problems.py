"""Random convolutions that fit, and what they give by definition: NumPy and loops."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from hypothesis import assume, settings
from hypothesis import strategies as st
from torch import Tensor

NUMPY_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
some = settings(max_examples=40, deadline=None)
few = settings(max_examples=15, deadline=None)


@dataclass(frozen=True)
class Problem:
    """Input and kernel in float64, the options of the call, and the padding as pairs."""

    x: Tensor
    kernel: Tensor
    options: dict[str, Any]
    pairs: tuple[tuple[int, int], ...]

    @property
    def rank(self) -> int:
        return self.x.ndim - 2

    def but(self, *names: str) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if name not in names}


@st.composite
def problems(draw: st.DrawFn, rank: int | None = None, modes: tuple[str, ...] = tuple(NUMPY_MODES)) -> Problem:
    """In one to three dimensions, with all options."""
    rank = rank or draw(st.integers(1, 3))

    def axes(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    size, window = axes(1, 9 - 2 * rank), axes(1, 3 if rank > 1 else 4)
    stride, dilation, mode = axes(1, 3), axes(1, 2), draw(st.sampled_from(modes))
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    words = {
        "valid": [(0, 0)] * rank,
        "same": [((e - 1) // 2, e - 1 - (e - 1) // 2) for e in extents],
        "full": [(e - 1, e - 1) for e in extents],
        "causal": [(e - 1, 0) for e in extents],
    }
    number, many, several = draw(st.integers(0, 2)), axes(0, 2), tuple(zip(axes(0, 2), axes(0, 2), strict=True))
    padding, pairs = draw(
        st.sampled_from(
            [*words.items(), (number, [(number, number)] * rank), (many, [(p, p) for p in many]), (several, several)]
        )
    )
    most = {"reflect": -1, "circular": 0}.get(mode, 9)
    for side, extent, pair in zip(size, extents, pairs, strict=True):
        assume(side + sum(pair) >= extent)
        assume(max(pair) <= side + most)
    groups, width, filters = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    random = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = torch.randn(draw(st.integers(1, 2)), groups * width, *size, generator=random, dtype=torch.float64)
    kernel = torch.randn(groups * filters, width, *window, generator=random, dtype=torch.float64)
    options = {"stride": stride, "padding": padding, "padding_mode": mode, "dilation": dilation, "groups": groups}
    return Problem(x, kernel, options, tuple(map(tuple, pairs)))


def definition(problem: Problem) -> Tensor:
    """The cross-correlation: each output value as a sum over channels and taps."""
    x, kernel = problem.x.numpy(), problem.kernel.numpy()
    x = np.pad(x, ((0, 0), (0, 0), *problem.pairs), mode=NUMPY_MODES[problem.options["padding_mode"]])
    stride, dilation, groups = (problem.options[name] for name in ("stride", "dilation", "groups"))
    window, width = kernel.shape[2:], kernel.shape[1]
    out = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(x.shape[2:], dilation, window, stride, strict=True)]
    y = np.zeros((len(x), len(kernel), *out))
    for n, k in product(range(len(x)), range(len(kernel))):
        first = k // (len(kernel) // groups) * width
        for place in np.ndindex(*out):
            for c, *taps in np.ndindex(width, *window):
                at = [s * p + d * t for s, p, d, t in zip(stride, place, dilation, taps, strict=True)]
                y[(n, k, *place)] += x[(n, first + c, *at)] * kernel[(k, c, *taps)]
    return torch.from_numpy(y)


def flipped(kernel: Tensor) -> Tensor:
    return kernel.flip(tuple(range(2, kernel.ndim)))
