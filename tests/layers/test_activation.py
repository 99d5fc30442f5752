from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.layers import ScaledTanh


@given(st.floats(-50, 50))
def test_it_is_the_formula_of_the_paper(a: float) -> None:
    got = ScaledTanh()(torch.tensor(a, dtype=torch.float64)).item()
    assert got == pytest.approx(1.7159 * math.tanh(2 / 3 * a), rel=1e-12)


def test_it_keeps_plus_and_minus_one() -> None:
    targets = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(ScaledTanh()(targets), targets, atol=1e-3, rtol=0)


def test_its_curvature_is_largest_at_one() -> None:
    """Appendix A: the second derivative has its extrema at a = 1 and a = -1."""
    a = torch.linspace(0, 3, 3001, dtype=torch.float64)
    f = ScaledTanh()(a)
    curvature = (f[2:] - 2 * f[1:-1] + f[:-2]).abs()
    assert a[1:-1][curvature.argmax()].item() == pytest.approx(1, abs=0.02)
