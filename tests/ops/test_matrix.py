from __future__ import annotations

import pytest
import torch
from hypothesis import given
from tests.ops.problems import Problem, definition, few, problems, some
from torch import Tensor

from striate.errors import InputError
from striate.ops import convolution_matrix, correlate

close = torch.testing.assert_close


@some
@given(problems())
def test_it_multiplies_as_the_definition_says(problem: Problem) -> None:
    matrix = convolution_matrix(problem.kernel, tuple(problem.x.shape[2:]), **problem.options)
    assert matrix.is_sparse
    close((matrix @ problem.x.flatten(1).T).T, definition(problem).flatten(1))


@some
@given(problems(modes=("zeros",)))
def test_rows_hold_the_kernel_and_nothing_else(problem: Problem) -> None:
    matrix = convolution_matrix(problem.kernel, tuple(problem.x.shape[2:]), **problem.options).to_dense()
    taps = {0.0, *problem.kernel.flatten().tolist()}
    assert set(matrix.flatten().tolist()) <= taps
    inner = (matrix != 0).sum(1).max().item()
    assert inner <= problem.kernel[0].numel()


@few
@given(problems())
def test_it_has_the_gradient_of_the_kernel(problem: Problem) -> None:
    kernel = problem.kernel.requires_grad_()
    x = problem.x.flatten(1).T

    def by_matrix(kernel: Tensor) -> Tensor:
        return convolution_matrix(kernel, tuple(problem.x.shape[2:]), **problem.options) @ x

    u = torch.randn_like(by_matrix(kernel))
    (found,) = torch.autograd.grad(by_matrix(kernel), kernel, u)
    y = correlate(problem.x, kernel, **problem.options)
    (expected,) = torch.autograd.grad(y, kernel, u.T.reshape(y.shape))
    close(found, expected)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="the kernel does not fit: axis 0: expected 2 values or fewer"):
        convolution_matrix(torch.ones(1, 1, 3), (2,))
    with pytest.raises(InputError, match="no matrix: groups: expected a divisor of 3 channels and of 1 kernels, got 3"):
        convolution_matrix(torch.ones(1, 1, 3), (4,), groups=3)
    with pytest.raises(InputError, match="cannot use this size: expected whole numbers of 1 or more, got .4, 4."):
        convolution_matrix(torch.ones(1, 1, 3), (4, 4))
