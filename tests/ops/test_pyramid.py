from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.problems import some

from striate.errors import InputError
from striate.ops import expand, gaussian_pyramid, laplacian_pyramid, reconstruct

close = torch.testing.assert_close


@st.composite
def images(draw: st.DrawFn) -> torch.Tensor:
    size = draw(st.lists(st.integers(5, 12), min_size=1, max_size=3))
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))).double()


@some
@given(images())
def test_a_laplacian_pyramid_gives_the_image_back(x: torch.Tensor) -> None:
    pyramid = laplacian_pyramid(x, 3)
    assert len(pyramid) == 3
    close(reconstruct(pyramid), x, atol=1e-12, rtol=0)
    close(pyramid[-1], gaussian_pyramid(x, 3)[-1])


def test_a_level_is_the_blur_of_burt_and_adelson_at_every_second_place() -> None:
    x = torch.randn(1, 1, 9, 8, dtype=torch.float64)
    w = torch.tensor([1.0, 4, 6, 4, 1]).double() / 16
    blurred = F.conv2d(F.pad(x, (2, 2, 2, 2), "reflect"), torch.outer(w, w)[None, None])
    level = gaussian_pyramid(x, 2)[1]
    assert level.shape[2:] == (5, 4)
    close(level, blurred[..., ::2, ::2])


def test_expansion_is_the_adjoint_of_reduction_inside() -> None:
    """Both have the weights w(2i - j); borders aside, and the factor 2 on each axis."""
    fine, coarse = torch.zeros(1, 1, 21, dtype=torch.float64), torch.zeros(1, 1, 11, dtype=torch.float64)
    fine[0, 0, 6:15], coarse[0, 0, 3:8] = torch.randn(9).double(), torch.randn(5).double()
    left = (gaussian_pyramid(fine, 2)[1] * coarse).sum()
    close(2 * left, (fine * expand(coarse, (21,))).sum())


@some
@given(images(), st.floats(-3, 3))
def test_a_constant_image_has_no_details(x: torch.Tensor, value: float) -> None:
    *details, rest = laplacian_pyramid(torch.full_like(x, value), 3)
    assert all(detail.abs().max() < 1e-12 for detail in details)
    close(rest, torch.full_like(rest, value))


def test_one_level_is_the_image() -> None:
    x = torch.randn(1, 1, 2)
    assert gaussian_pyramid(x, 1)[0] is x
    assert reconstruct(laplacian_pyramid(x, 1)) is x


def test_bad_input() -> None:
    with pytest.raises(InputError, match="cannot build a pyramid: levels: expected 1 or more, got 0"):
        gaussian_pyramid(torch.zeros(1, 1, 4), 0)
    text = "cannot build a pyramid: level 2: expected sides of 3 or more to halve, got (3, 2)"
    with pytest.raises(InputError, match=re.escape(text)):
        gaussian_pyramid(torch.zeros(1, 1, 6, 4), 3)
    text = "cannot expand: size: expected twice (3,), or 1 less, got (7,)"
    with pytest.raises(InputError, match=re.escape(text)):
        expand(torch.zeros(1, 1, 3), (7,))
