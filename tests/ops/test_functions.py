"""Quadrature against closed forms and against SciPy's."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
import scipy.integrate
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.problems import few
from torch import Tensor

from striate.errors import InputError
from striate.ops import BOX, RAMP, Piecewise, convolve_functions, correlate_functions

AT = torch.linspace(-4, 10, 281, dtype=torch.float64)
close = torch.testing.assert_close


def closed_form(i: Tensor) -> Tensor:
    """h(i) = G(min(i + 1, 5)) - G(max(i - 2, 0)) with G(t) = t - t²/10, for -1 < i < 7."""
    high, low = (i + 1).clamp(max=5), (i - 2).clamp(min=0)
    h = (high - high**2 / 10) - (low - low**2 / 10)
    return torch.where((i > -1) & (i < 7), h, 0.0)


@pytest.mark.parametrize("nodes", [1, 2, 20])
def test_box_and_ramp_by_the_closed_form(nodes: int) -> None:
    close(convolve_functions(BOX, RAMP, AT, nodes=nodes), closed_form(AT))
    close(convolve_functions(RAMP, BOX, AT, nodes=nodes), closed_form(AT))


def test_the_mirrored_closed_forms_of_cross_correlation() -> None:
    """∫ f(x) g(i + x) dx has the ramp begin at -i."""
    kernel = correlate_functions(BOX, RAMP, AT, shift="kernel")
    at = AT.tolist()
    expected = []
    for i in at:
        low, high = max(i - 1, 0), min(i + 2, 5)
        expected.append((high - high**2 / 10) - (low - low**2 / 10) if low < high else 0.0)
    close(kernel, torch.tensor(expected, dtype=torch.float64))
    close(correlate_functions(BOX, RAMP, -AT), kernel)


@few
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4, unique=True), st.floats(-5, 5))
def test_smooth_pieces_are_as_scipy_integrates_them(ends: list[float], i: float) -> None:
    ends = sorted(ends)
    if min(b - a for a, b in pairwise(ends)) < 1e-3:
        return
    f = Piecewise(lambda x: torch.where(x < ends[1], x.cos(), x.exp()), (ends[0], ends[1], ends[3]))
    g = Piecewise(lambda x: 1 / (1 + x**2), (-1.0, 2.0))

    def integrand(x: float) -> float:
        left = math.cos(x) if x < ends[1] else math.exp(x)
        return left * (1 / (1 + (i - x) ** 2) if ends[0] <= x <= ends[3] and -1 <= i - x <= 2 else 0)

    low, high = max(ends[0], i - 2), min(ends[3], i + 1)
    kink = [ends[1]] if low < ends[1] < high else None
    expected = scipy.integrate.quad(integrand, low, high, points=kink, epsabs=1e-12)[0] if low < high else 0.0
    found = convolve_functions(f, g, torch.tensor([i], dtype=torch.float64))
    close(found, torch.tensor([expected], dtype=torch.float64), atol=1e-9, rtol=1e-9)


def test_a_kink_that_is_not_named_costs_precision() -> None:
    """So the breaks matter."""
    hidden = Piecewise(lambda x: (x > 0.3).to(x), (-1.0, 2.0))
    named = Piecewise(torch.ones_like, (0.3, 2.0))
    loss = convolve_functions(hidden, RAMP, AT) - convolve_functions(named, RAMP, AT)
    assert loss.abs().max() > 1e-3


def test_the_derivative_of_box_and_ramp_is_the_ramp_at_the_ends_of_the_box() -> None:
    inside = AT[(AT > -0.9) & (AT < 6.9)]
    kinks = torch.tensor([-1.0, 2.0, 4.0, 7.0], dtype=torch.float64)
    smooth = inside[(inside[:, None] - kinks).abs().min(1).values > 0.01]
    slope = (convolve_functions(BOX, RAMP, smooth + 1e-4) - convolve_functions(BOX, RAMP, smooth - 1e-4)) / 2e-4
    close(slope, RAMP(smooth + 1) - RAMP(smooth - 2), atol=1e-8, rtol=0)


def test_results_have_the_type_that_was_asked_for() -> None:
    assert convolve_functions(BOX, RAMP, torch.zeros(2)).dtype == torch.float32
    assert convolve_functions(BOX, RAMP, torch.zeros(0)).shape == (0,)
    column = convolve_functions(BOX, RAMP, torch.tensor([[2.0], [4.0]]))
    close(column, torch.tensor([[2.1], [0.9]]))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: Piecewise(torch.cos, (1.0, 1.0)),
            "cannot use these breaks: expected two or more finite numbers that ri",
        ),
        (lambda: Piecewise(torch.cos, (0.0,)), "got (0.0,)"),
        (lambda: Piecewise(torch.cos, (0.0, math.inf)), "got (0.0, inf)"),
        (lambda: convolve_functions(BOX, RAMP, AT, nodes=0), "cannot integrate: nodes: expected 1 or more, got 0"),
        (lambda: correlate_functions(BOX, RAMP, AT, shift="x"), "unknown shift: got 'x'. Known: image, kernel."),
    ],
)
def test_bad_input(call: Callable[[], object], text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        call()
