"""Three forms of transposed convolution against torch's, the transposed matrix, and adjointness."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from tests.ops.problems import Problem, few, problems, some
from torch import Tensor

from striate.errors import InputError
from striate.ops import convolution_matrix, correlate, insert_zeros, transposed
from striate.ops.transpose import FORMS

close = torch.testing.assert_close
NATIVE: list[Any] = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]
forms = pytest.mark.parametrize("form", list(FORMS))


def back(problem: Problem, y: Tensor, form: str) -> Tensor:
    """To the size of the input that `correlate` had."""
    strides, dilations = problem.options["stride"], problem.options["dilation"]
    added = tuple(
        (size + sum(pair) - d * (k - 1) - 1) % s
        for size, pair, k, s, d in zip(
            problem.x.shape[2:], problem.pairs, problem.kernel.shape[2:], strides, dilations, strict=True
        )
    )
    return transposed(y, problem.kernel, output_padding=added, form=form, **problem.but("padding_mode"))


@forms
@some
@given(problems(modes=("zeros",)))
def test_it_is_the_adjoint_and_the_transposed_matrix(form: str, problem: Problem) -> None:
    y = correlate(problem.x, problem.kernel, **problem.options)
    u = torch.randn_like(y)
    found = back(problem, u, form)
    assert found.shape == problem.x.shape
    close((y * u).sum(), (problem.x * found).sum())
    matrix = convolution_matrix(problem.kernel, tuple(problem.x.shape[2:]), **problem.options)
    close(found.flatten(1), (matrix.T @ u.flatten(1).T).T)


@forms
@some
@given(problems(modes=("zeros",)))
def test_it_is_torchs(form: str, problem: Problem) -> None:
    groups, padding = problem.options["groups"], tuple(min(pair) for pair in problem.pairs)
    x = torch.randn(2, len(problem.kernel), *[3] * problem.rank, dtype=torch.float64)
    bias = torch.randn(problem.kernel.shape[1] * groups, dtype=torch.float64)
    added = tuple(max(s, d) - 1 for s, d in zip(problem.options["stride"], problem.options["dilation"], strict=True))
    options = problem.but("padding", "padding_mode") | {"padding": padding, "output_padding": added}
    try:
        expected = NATIVE[problem.rank - 1](x, problem.kernel, bias, **options)
    except RuntimeError:
        with pytest.raises(InputError, match="padding leaves no output"):
            transposed(x, problem.kernel, bias, form=form, **options)
    else:
        close(transposed(x, problem.kernel, bias, form=form, **options), expected)


@forms
@few
@given(problems(modes=("zeros",)))
def test_gradients(form: str, problem: Problem) -> None:
    y = torch.randn_like(correlate(problem.x, problem.kernel, **problem.options))[:1].requires_grad_()
    kernel = problem.kernel.requires_grad_()
    call = problem.but("padding_mode", "padding")

    def run(y: Tensor, kernel: Tensor) -> Tensor:
        return transposed(y, kernel, form=form, **call)

    assert torch.autograd.gradcheck(run, (y, kernel), fast_mode=True)


@forms
def test_an_empty_batch(form: str) -> None:
    assert transposed(torch.zeros(0, 4, 3), torch.zeros(4, 2, 3), stride=2, groups=2, form=form).shape == (0, 4, 7)


@some
@given(problems(modes=("zeros",)))
def test_a_dilated_kernel_is_one_with_zeros_inserted(problem: Problem) -> None:
    spread = insert_zeros(problem.kernel, problem.options["dilation"])
    expected = correlate(problem.x, problem.kernel, **problem.options)
    close(correlate(problem.x, spread, **problem.but("dilation")), expected)


X, K = torch.zeros(1, 4, 3, 3), torch.zeros(4, 2, 3, 3)


@pytest.mark.parametrize(
    ("x", "kernel", "options", "text"),
    [
        (X, K, {"form": "matrix"}, "unknown form: got 'matrix'. Known: adjoint, insertion, scatter."),
        (
            X,
            K[:, 0],
            {},
            "kernel: expected 4 axes, the first with the 4 channels of x, got shape (4, 3, 3)",
        ),
        (X, K, {"groups": 3}, "cannot transpose: groups: expected a divisor of the 4 channels of x, got 3"),
        (X, K.double(), {}, "cannot transpose: kernel: expected torch.float32 on cpu, as x, got torch.float64 on cpu"),
        (X, K, {"output_padding": 1}, "cannot use this output_padding: expected less than stride or dilation, got 1"),
        (X, K, {"output_padding": -1}, "cannot use this output_padding: expected whole numbers of 0 or more"),
        (X, K, {"padding": 3}, "padding leaves no output: expected a size of 1 or more, got (-1, -1). Pad less"),
        (X[..., :0], K, {}, "cannot transpose: x: expected one value or more on each axis, got (1, 4, 3, 0)"),
        (X, K, {"stride": 0}, "cannot use this stride: expected whole numbers of 1 or more"),
    ],
)
def test_bad_input(x: Tensor, kernel: Tensor, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        transposed(x, kernel, **options)
