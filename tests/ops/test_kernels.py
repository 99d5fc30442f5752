from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.errors import InputError
from striate.ops import binomial, convolve, correlate, random_filters


@given(st.integers(1, 20), st.integers(1, 20))
def test_binomials_convolve_to_binomials_and_sum_to_one(a: int, b: int) -> None:
    assert abs(binomial(a).sum().item() - 1) < 1e-6
    both = convolve(binomial(a)[None, None], binomial(b)[None, None], padding="full")[0, 0]
    torch.testing.assert_close(both, binomial(a + b - 1))


def test_there_is_none_of_size_zero() -> None:
    with pytest.raises(InputError, match="no binomial kernel: size: expected 1 or more, got 0"):
        binomial(0)


def test_a_random_bank_is_drawn_from_its_generator_and_gives_a_map_for_each_filter() -> None:
    bank = random_filters(8, 3, (5, 5), torch.Generator().manual_seed(0))
    assert torch.equal(bank, random_filters(8, 3, (5, 5), torch.Generator().manual_seed(0)))
    assert abs(bank.mean().item()) < 0.2
    assert 0.8 < bank.std().item() < 1.2
    assert correlate(torch.rand(2, 3, 9, 9), bank, padding="same").shape == (2, 8, 9, 9)
