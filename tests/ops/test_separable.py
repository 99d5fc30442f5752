from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.problems import Problem, problems, some
from torch import Tensor

from striate.errors import InputError
from striate.ops import Separable, binomial, correlate, correlate_separable, factorize, is_separable, sobel_kernels

close = torch.testing.assert_close


@st.composite
def kernels(draw: st.DrawFn, products: int = 1) -> Tensor:
    """Sums of so many outer products, in one to four dimensions."""
    size = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    total = torch.zeros(size, dtype=torch.float64)
    for _ in range(products):
        part = torch.ones(1, dtype=torch.float64)
        for side in size:
            part = part[..., None] * torch.randn(side, generator=random, dtype=torch.float64)
        total += part[0]
    return total


@some
@given(kernels())
def test_an_outer_product_has_one_term(kernel: Tensor) -> None:
    (term,) = factorize(kernel)
    close(term.kernel(), kernel)
    close(term.weight, kernel.norm().item())
    assert all(abs(vector.norm().item() - 1) < 1e-12 for vector in term.vectors)
    assert is_separable(kernel)


@some
@given(kernels(3))
def test_terms_add_up_are_orthogonal_and_the_largest_come_first(kernel: Tensor) -> None:
    terms = factorize(kernel, tolerance=0)
    close(torch.stack([term.kernel() for term in terms]).sum(0), kernel)
    weights = [term.weight for term in terms]
    assert weights == sorted(weights, reverse=True)
    for a, b in product(range(len(terms)), repeat=2):
        inner = (terms[a].kernel() * terms[b].kernel()).sum().item()
        assert abs(inner - (weights[a] ** 2 if a == b else 0)) < 1e-9
    lost = (kernel - terms[0].kernel()).norm().item()
    assert abs(lost - sum(w**2 for w in weights[1:]) ** 0.5) < 1e-9


@some
@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 999))
def test_in_two_dimensions_it_is_the_singular_value_decomposition(h: int, w: int, seed: int) -> None:
    kernel = torch.randn(h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    close(torch.tensor([t.weight for t in factorize(kernel, 0)]).double(), torch.linalg.svdvals(kernel))


def test_which_kernels_are_separable() -> None:
    assert all(map(is_separable, sobel_kernels()))
    assert not is_separable(sum(sobel_kernels()))
    assert is_separable(torch.ones(2, 3, 4))
    assert not is_separable(torch.eye(3))
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
    assert not is_separable(laplacian)
    assert len(factorize(laplacian)) == 2
    assert is_separable(torch.outer(binomial(3), binomial(5)).half().float(), tolerance=1e-3)


@some
@given(problems())
def test_one_axis_after_the_other_is_the_whole(problem: Problem) -> None:
    vectors = [torch.randn(k, dtype=torch.float64) for k in problem.kernel.shape[2:]]
    channels = problem.x.shape[1]
    kernel = Separable(1.0, tuple(vectors)).kernel().expand(channels, 1, *[-1] * problem.rank)
    expected = correlate(problem.x, kernel, groups=channels, **problem.but("groups"))
    close(correlate_separable(problem.x, vectors, **problem.but("groups")), expected)


@pytest.mark.parametrize("kernel", [torch.zeros(3, 3), torch.tensor(3.0), torch.zeros(0, 3)])
def test_what_cannot_be_factorized_is_told(kernel: Tensor) -> None:
    text = (
        f"cannot factorize: kernel: expected an axis or more and a value that is not 0, got shape {tuple(kernel.shape)}"
    )
    with pytest.raises(InputError, match=re.escape(text)):
        factorize(kernel)


def test_one_vector_for_each_axis() -> None:
    vectors: Any = [torch.ones(2)]
    with pytest.raises(InputError, match="cannot correlate: vectors: expected 2, one for each axis, got 1"):
        correlate_separable(torch.zeros(1, 1, 4, 4), vectors)
