"""Convolution and cross-correlation against their definition in NumPy and loops, SciPy, torch.nn, and their laws."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.problems import Problem, definition, few, flipped, problems, some
from torch import Tensor, nn

from striate.errors import InputError
from striate.ops import (
    convolution_matrix,
    convolve,
    correlate,
    correlate_locally,
    explain_choice,
    input_gradient,
    kernel_gradient,
    output_size,
    transposed,
)
from striate.ops.convolve import check_shapes
from striate.ops.padding import whole

close = torch.testing.assert_close


@some
@given(problems())
def test_correlation_is_its_definition(problem: Problem) -> None:
    close(correlate(problem.x, problem.kernel, **problem.options), definition(problem))


@some
@given(problems())
def test_convolution_is_the_definition_with_the_kernel_rotated(problem: Problem) -> None:
    rotated = replace(problem, kernel=flipped(problem.kernel))
    close(convolve(problem.x, problem.kernel, **problem.options), definition(rotated))


def test_the_definition_tells_a_kernel_that_was_not_flipped() -> None:
    options: dict[str, Any] = {"stride": (1,), "padding_mode": "zeros", "dilation": (1,), "groups": 1}
    x, kernel = torch.tensor([[[1.0, 2, 4]]]).double(), torch.tensor([[[1.0, 0]]]).double()
    problem = Problem(x, flipped(kernel), options, ((0, 0),))
    assert not torch.allclose(correlate(x, kernel), definition(problem))


@few
@given(problems(), st.sampled_from([torch.float32, torch.float16]))
def test_lower_precisions_stay_close(problem: Problem, dtype: torch.dtype) -> None:
    # Not bfloat16: torch 2.13 gets some such convolutions wrong on the CPU.
    x, kernel = problem.x.to(dtype), problem.kernel.to(dtype)
    y = correlate(x, kernel, **problem.options)
    assert y.dtype == dtype
    exact = correlate(x.double(), kernel.double(), **problem.options)
    loss = {torch.float32: 1e-5, torch.float16: 2e-2}[dtype]
    close(y.double(), exact, atol=loss, rtol=loss)


@some
@given(problems(), st.sampled_from(["valid", "same", "full", "causal"]))
def test_a_stride_gives_every_so_many_th_value(problem: Problem, padding: str) -> None:
    options = problem.but("stride", "padding") | {"padding": padding, "padding_mode": "zeros"}
    try:
        whole = correlate(problem.x, problem.kernel, **options)
    except InputError:
        assert padding == "valid"
        return
    strided = correlate(problem.x, problem.kernel, stride=problem.options["stride"], **options)
    steps = [slice(None, None, step) for step in problem.options["stride"]]
    close(strided, whole[(..., *steps)])
    if padding == "same":
        assert whole.shape[2:] == problem.x.shape[2:]


@some
@given(problems(modes=("zeros",)))
def test_full_and_valid_are_scipys(problem: Problem) -> None:
    x, kernel = problem.x[:1, :1], problem.kernel[:1, :1]
    for ours, theirs in ((convolve, scipy.signal.convolve), (correlate, scipy.signal.correlate)):
        for padding in ("full", "valid"):
            if padding == "full" or all(a >= b for a, b in zip(x.shape, kernel.shape, strict=True)):
                expected = theirs(x[0, 0].numpy(), kernel[0, 0].numpy(), padding, "direct")
                close(ours(x, kernel, padding=padding)[0, 0], torch.from_numpy(expected.copy()))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("size", [3, 4])
def test_same_with_an_even_kernel_is_torchs_and_not_numpys(size: int) -> None:
    x, kernel = torch.randn(1, 1, 9).double(), torch.randn(1, 1, size).double()
    close(correlate(x, kernel, padding="same"), F.conv1d(x, kernel, padding="same"))
    for ours, theirs in ((correlate, np.correlate), (convolve, np.convolve)):
        numpys = torch.from_numpy(theirs(x[0, 0].numpy(), kernel[0, 0].numpy(), "same"))
        found = ours(x, kernel, padding="same")[0, 0]
        close(found, numpys) if size % 2 else close(found[:-1], numpys[1:])


@few
@given(problems(rank=2, modes=("reflect", "replicate", "circular", "zeros")))
def test_padding_modes_are_those_of_torchs_layer(problem: Problem) -> None:
    groups = problem.options["groups"]
    shape = problem.x.shape[1], len(problem.kernel), tuple(problem.kernel.shape[2:])
    padding = tuple(min(pair) for pair in problem.pairs)
    options = problem.but("padding") | {"padding": padding}
    layer = nn.Conv2d(*shape, **options, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(problem.kernel)
    assert groups == layer.groups
    try:
        expected = layer(problem.x)
    except RuntimeError:
        with pytest.raises(InputError, match="the kernel does not fit"):
            correlate(problem.x, problem.kernel, **options)
    else:
        close(correlate(problem.x, problem.kernel, layer.bias, **options), expected)


@some
@given(problems(modes=("zeros",)))
def test_the_output_has_the_size_that_was_announced(problem: Problem) -> None:
    size, window = tuple(problem.x.shape[2:]), tuple(problem.kernel.shape[2:])
    found = output_size(size, window, *(problem.options[name] for name in ("stride", "padding", "dilation")))
    assert found == correlate(problem.x, problem.kernel, **problem.options).shape[2:]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_an_empty_batch_gives_an_empty_result(rank: int, mode: str) -> None:
    x, kernel = torch.zeros(0, 2, *[5] * rank), torch.zeros(4, 1, *[3] * rank)
    y = convolve(x, kernel, torch.zeros(4), padding="same", padding_mode=mode, groups=2)
    assert y.shape == (0, 4, *[5] * rank)


def test_a_bias_is_one_for_each_kernel() -> None:
    y = correlate(torch.zeros(1, 1, 3), torch.ones(2, 1, 2), torch.tensor([5.0, 7.0]))
    assert y.tolist() == [[[5, 5], [7, 7]]]


@few
@given(problems())
def test_gradients_are_right(problem: Problem) -> None:
    x, kernel = problem.x[:1].requires_grad_(), problem.kernel.requires_grad_()
    bias = torch.randn(len(kernel), dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return convolve(x, kernel, bias, **problem.options)

    assert torch.autograd.gradcheck(call, (x, kernel, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, kernel, bias), fast_mode=True)


def test_what_is_remembered_of_earlier_calls_does_not_leak() -> None:
    x, kernel = torch.arange(6.0).view(1, 1, 6), torch.tensor([[[1.0, 2]]])
    for padding in ("same", "causal", 1, ((0, 1),), ((1, 0),)):
        first = correlate(x, kernel, padding=padding, stride=2)
        assert torch.equal(first, correlate(x, kernel, padding=padding, stride=2))
        assert torch.equal(first, correlate(x, kernel, padding=padding)[..., ::2])
    assert not torch.equal(correlate(x, kernel, padding=((0, 1),)), correlate(x, kernel, padding=((1, 0),)))
    for _ in range(2):  # errors neither
        with pytest.raises(InputError, match="cannot use this stride"):
            correlate(x, kernel, stride=0)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor, np.array, bool])
def test_whole_numbers_of_any_library_are_taken(kind: Any) -> None:
    value = 1 if kind is bool else 2
    count = int if kind is bool else kind
    # A size of its own, so that what is remembered of the first call is what Python's own numbers find.
    size = {np.int64: 10, np.uint8: 11, torch.tensor: 12, np.array: 13, bool: 14}[kind]
    x, kernel = torch.randn(2, 4, size, size), torch.randn(4, 4 // value, 2, 2)
    plain = {"stride": value, "dilation": (1, value), "padding": (value, (0, value)), "groups": value}
    number = kind(value)
    given = {"stride": number, "dilation": (1, number), "padding": (number, (0, number)), "groups": number}
    for algorithm in ("auto", "im2col"):
        y = correlate(x, kernel, **given, algorithm=algorithm)
        assert torch.equal(y, correlate(x, kernel, **plain, algorithm=algorithm))
    assert torch.equal(transposed(y, kernel, **given), transposed(y, kernel, **plain))
    assert torch.equal(kernel_gradient(x, y, count(2), **given), kernel_gradient(x, y, 2, **plain))
    assert torch.equal(input_gradient(kernel, y, count(size), **given), input_gradient(kernel, y, size, **plain))
    matrices = [convolution_matrix(kernel, (size, size), **options).to_dense() for options in (given, plain)]
    assert torch.equal(*matrices)
    assert explain_choice(x, kernel, **given).json() == explain_choice(x, kernel, **plain).json()
    kernels = torch.randn(*y.shape[2:], *kernel.shape)
    assert torch.equal(correlate_locally(x, kernels, **given), correlate_locally(x, kernels, **plain))


def test_other_numbers_are_not() -> None:
    assert [whole(wrong) for wrong in (1.0, np.float64(1), "1", None, torch.ones(1), np.int64(0))] == [None] * 6
    wrong = torch.ones(1)  # a float, though the annotations let any tensor pass
    with pytest.raises(InputError, match="cannot use this stride: expected whole numbers of 1 or more"):
        correlate(X, K, stride=wrong, groups=2)
    with pytest.raises(InputError, match="cannot use this padding: expected 0 or more for all"):
        correlate(X, K, padding=wrong, groups=2)
    with pytest.raises(InputError, match="groups: expected a divisor of 4 channels and of 6 kernels, got"):
        correlate(X, K, groups=wrong)


X, K = torch.zeros(1, 4, 6, 6), torch.zeros(6, 2, 3, 3)


@pytest.mark.parametrize(
    ("x", "kernel", "options", "text"),
    [
        (X, K, {"groups": 1}, "cannot correlate: kernel: expected 4 channels (4 of x in 1 groups), got 2"),
        (X, K, {"groups": 3}, "groups: expected a divisor of 4 channels and of 6 kernels, got 3"),
        (X, K, {"groups": 4}, "groups: expected a divisor of 4 channels and of 6 kernels, got 4"),
        (X, K, {"groups": 0}, "groups: expected a divisor of 4 channels and of 6 kernels, got 0"),
        (X, K.double(), {}, "kernel: expected torch.float32 on cpu, as x, got torch.float64 on cpu. Pass kernel.to(x)"),
        (X, K, {"bias": torch.zeros(6).half()}, "bias: expected torch.float32 on cpu, as x, got torch.float16"),
        (X, K, {"stride": 0}, "cannot use this stride: expected whole numbers of 1 or more, one for all or one for ea"),
        (X, K, {"stride": (1, -2)}, "got (1, -2)"),
        (X, K, {"stride": (1, 1, 1)}, "one for all or one for each of 2 axes, got (1, 1, 1)"),
        (X, K, {"dilation": 0}, "cannot use this dilation: expected whole numbers of 1 or more"),
        (X, K, {"padding": -1}, "cannot use this padding: expected 0 or more for all, or a number or a pair"),
        (X, K, {"padding": "smae"}, "unknown padding: got 'smae'. Did you mean same?"),
        (
            X,
            K,
            {"padding_mode": "mirror"},
            "unknown padding mode: got 'mirror'. Known: circular, reflect, replicate, z",
        ),
        (
            X,
            K,
            {"dilation": 3},
            "the kernel does not fit: axis 0: expected 6 values or fewer, the padded input, got 7.",
        ),
        (X, K, {"dilation": 3}, 'Pad the input (padding="same", say), or use a smaller kernel or dilation.'),
        (X, K[:0], {}, "cannot correlate: kernel: expected one kernel or more, got shape (0, 2, 3, 3)"),
        (X, K[..., :0], {}, "cannot use this kernel: expected whole numbers of 1 or more"),
        (
            X,
            K,
            {"padding": 6, "padding_mode": "reflect"},
            "reflect padding needs more values: axis 0: expected at most 5",
        ),
    ],
)
def test_bad_input_is_told(x: Tensor, kernel: Tensor, options: dict[str, Any], text: str) -> None:
    options = {"groups": 2, **options}
    for call in (correlate, convolve):
        with pytest.raises(InputError, match=re.escape(text)):
            call(x, kernel, **options)


@pytest.mark.parametrize(
    ("x", "kernel", "bias", "text"),
    [
        (X[0, 0], K, None, "cannot correlate: x: expected axes (n, c, *space), 1 to 3 of space, got shape (6, 6)"),
        (X, K[0], None, "kernel: expected axes (k, c/groups, *window), 4 as x has, got shape (2, 3, 3)"),
        (X.long(), K.long(), None, "x: expected floating point, got torch.int64. Pass x.float() and kernel.float()."),
        (X, K, torch.zeros(4), "bias: expected shape (6,), got (4,)"),
    ],
)
def test_shapes_that_the_annotations_refuse_in_these_tests_are_told(
    x: Tensor, kernel: Tensor, bias: Tensor | None, text: str
) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        check_shapes(x, kernel, bias, 2)


@pytest.mark.parametrize(
    "algorithm", ["auto", "direct", "channels_last", "im2col", "banded", "fft", "winograd", "matrix"]
)
@pytest.mark.parametrize(("of_x", "of_kernel"), [("float", "float"), ("bfloat16", "float"), ("float", "bfloat16")])
def test_autocast_gives_the_types_of_torchs_own(algorithm: str, of_x: str, of_kernel: str) -> None:
    torch.manual_seed(0)
    x, kernel, bias = torch.randn(2, 4, 9), torch.randn(4, 1 if algorithm == "banded" else 4, 3), torch.randn(4)
    groups = 4 // kernel.shape[1]
    given = [getattr(x, of_x)().requires_grad_(), getattr(kernel, of_kernel)().requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        theirs = F.conv1d(*given, bias, groups=groups)
        for learning in (False, True):
            with torch.set_grad_enabled(learning):
                y = correlate(*given, bias, groups=groups, algorithm=algorithm)
            assert y.dtype == theirs.dtype == torch.bfloat16
            close(y.float(), correlate(x, kernel, bias, groups=groups, algorithm="direct").float(), atol=0.1, rtol=0.1)
    change = torch.randn(y.shape)
    found = torch.autograd.grad(y, given, change.bfloat16())
    for one, own, tensor in zip(found, torch.autograd.grad(theirs, given, change.bfloat16()), given, strict=True):
        assert one.dtype == own.dtype == tensor.dtype
        close(one.float(), own.float(), atol=0.2, rtol=0.1)


@pytest.mark.parametrize("algorithm", ["auto", "fft", "matrix"])
def test_autocast_leaves_doubles(algorithm: str) -> None:
    x, kernel = torch.randn(2, 4, 9).double(), torch.randn(6, 4, 3).double()
    expected = correlate(x, kernel)
    with torch.autocast("cpu", torch.bfloat16):
        close(correlate(x, kernel, algorithm=algorithm), expected)
        for pair in ((x.float(), kernel), (x, kernel.bfloat16())):
            with pytest.raises(InputError, match=r"kernel: expected torch\.float\d\d on cpu, as x, got torch\."):
                correlate(*pair, algorithm=algorithm)


def test_types_differ_without_autocast() -> None:
    x, kernel = torch.randn(2, 4, 9), torch.randn(6, 4, 3)
    with pytest.raises(InputError, match=r"kernel: expected torch\.bfloat16 on cpu, as x, got torch\.float32"):
        correlate(x.bfloat16(), kernel)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_compiles_whole(dynamic: bool) -> None:
    kernel = torch.randn(4, 1, 3, 3)

    def call(x: Tensor) -> Tensor:
        y = convolve(x, kernel, padding="same", padding_mode="reflect", stride=2, groups=2)
        return transposed(y, kernel, stride=2, groups=2, form="insertion")

    compiled = torch.compile(call, fullgraph=True, backend="eager", dynamic=dynamic)
    for side in (8, 11):
        x = torch.randn(2, 2, side, side)
        close(compiled(x), call(x))
