from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from tests.ops.problems import Problem, definition, problems, some

from striate.errors import InputError
from striate.ops import patches

close = torch.testing.assert_close


@some
@given(problems())
def test_a_convolution_is_one_matrix_product(problem: Problem) -> None:
    options = problem.but("groups")
    kernel = torch.randn(3, problem.x.shape[1], *problem.kernel.shape[2:], dtype=torch.float64)
    rows = patches(problem.x, tuple(kernel.shape[2:]), **options)
    expected = definition(Problem(problem.x, kernel, problem.options | {"groups": 1}, problem.pairs))
    close(rows @ kernel.flatten(1).T, expected.flatten(2).mT)


@some
@given(problems(rank=2, modes=("zeros",)))
def test_rows_are_torchs_columns(problem: Problem) -> None:
    padding = tuple(min(pair) for pair in problem.pairs)
    window = tuple(problem.kernel.shape[2:])
    options = problem.but("groups", "padding", "padding_mode") | {"padding": padding}
    try:
        columns = F.unfold(problem.x, window, **options)
    except RuntimeError:
        with pytest.raises(InputError, match="the kernel does not fit"):
            patches(problem.x, window, **options)
    else:
        close(patches(problem.x, window, **options), columns.mT)


def test_they_are_of_any_type_and_batch() -> None:
    assert patches(torch.arange(6).view(1, 2, 3), 2).tolist() == [[[0, 1, 3, 4], [1, 2, 4, 5]]]
    assert patches(torch.zeros(0, 2, 5, 5), (2, 3)).shape == (0, 12, 12)
