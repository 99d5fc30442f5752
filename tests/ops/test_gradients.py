"""The lectures' gradients against autograd, and against finite differences."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from tests.ops.problems import Problem, problems, some

from striate.errors import InputError
from striate.ops import correlate, input_gradient, kernel_gradient

close = torch.testing.assert_close


@some
@given(problems())
def test_both_are_autograds(problem: Problem) -> None:
    x, kernel = problem.x.clone().requires_grad_(), problem.kernel.clone().requires_grad_()
    y = correlate(x, kernel, **problem.options)
    u = torch.randn_like(y)
    to_x, to_kernel = torch.autograd.grad(y, (x, kernel), u)
    close(kernel_gradient(problem.x, u, tuple(kernel.shape[2:]), **problem.options), to_kernel)
    close(input_gradient(problem.kernel, u, tuple(x.shape[2:]), **problem.options), to_x)


def test_finite_differences() -> None:
    x, kernel, u = (torch.randn(1, 1, *size, dtype=torch.float64) for size in ((5, 6), (3, 2), (3, 5)))

    def slope(change: torch.Tensor, of: str) -> torch.Tensor:
        moved = (x + change, kernel) if of == "x" else (x, kernel + change)
        back = (x - change, kernel) if of == "x" else (x, kernel - change)
        return ((correlate(*moved) - correlate(*back)) * u).sum() / 2e-3

    for of, value, found in (
        ("x", x, input_gradient(kernel, u, (5, 6))),
        ("kernel", kernel, kernel_gradient(x, u, (3, 2))),
    ):
        steps = torch.eye(value.numel(), dtype=torch.float64).view(-1, *value.shape) * 1e-3
        close(torch.stack([slope(step, of) for step in steps]), found.flatten())


def test_an_empty_batch() -> None:
    assert kernel_gradient(torch.zeros(0, 4, 5), torch.zeros(0, 2, 3), (3,), groups=2).tolist() == [[[0] * 3] * 2] * 2
    assert input_gradient(torch.zeros(2, 2, 3), torch.zeros(0, 2, 3), (5,), groups=2).shape == (0, 4, 5)


X, U = torch.zeros(1, 4, 5), torch.zeros(1, 2, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: kernel_gradient(X, U[..., :2], (3,)),
            "the upstream gradient is not of this output: expected shape (1, 2",
        ),
        (lambda: input_gradient(torch.zeros(2, 4, 3), U[..., :2], (5,)), "expected shape (1, 2, 3), got (1, 2, 2)"),
        (
            lambda: kernel_gradient(X, U, (3,), groups=3),
            "cannot take a gradient: groups: expected a divisor of 4 channels",
        ),
        (
            lambda: input_gradient(torch.zeros(2, 4, 3), U, (5,), groups=3),
            "groups: expected a divisor of the 2 channels",
        ),
        (lambda: kernel_gradient(X, U, (9,)), "the kernel does not fit: axis 0: expected 5 values or fewer"),
    ],
)
def test_bad_input(call: Callable[[], object], text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        call()
