"""Every algorithm against loops, torch in float64 and the others; its gradients, and what it refuses."""

from __future__ import annotations

import itertools
import re
import sys
from typing import Any

import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from striate.errors import InputError
from striate.ops import correlate
from striate.ops.algorithms import correlation, forget, forms, kept, operators, toeplitz
from striate.ops.algorithms.fft import fft, tile_size
from striate.ops.algorithms.setting import (
    Problem,
    Setting,
    adjoint_problem,
    adjoint_setting,
    flipped,
    output_space,
    problem_of,
    spread,
)
from striate.ops.algorithms.winograd import transforms, winograd

CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
PLAIN = Setting((1,), ((0, 0),), (1,), 1)


@st.composite
def calls(draw: st.DrawFn, most_rank: int = 3) -> tuple[tuple[int, ...], tuple[int, ...], Setting]:
    """Shapes of x and kernel and a setting, small and of every kind; windows of three more often than others."""
    rank = draw(st.integers(1, most_rank))
    small = st.integers(1, 3)
    plain = draw(st.booleans())
    window = (3,) * rank if plain and draw(st.booleans()) else tuple(draw(st.integers(1, 4)) for _ in range(rank))
    one = st.just(1) if plain else st.integers(1, 3)
    stride, dilation = (tuple(draw(one) for _ in range(rank)) for _ in range(2))
    groups, depth, each = draw(small), draw(st.sampled_from([1, 1, 2, 3])), draw(small)
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank))
    space = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(ends)), 12 if rank < 3 else 10))
        for d, k, ends in zip(dilation, window, padding, strict=True)
    )
    setting = Setting(stride, padding, dilation, groups)
    return (draw(small), groups * depth, *space), (groups * each, depth, *window), setting


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def by_torch(x: Tensor, kernel: Tensor, setting: Setting) -> Tensor:
    stride, padding, dilation, groups = setting
    x = F.pad(x, [amount for pair in reversed(padding) for amount in pair])
    return CONVOLUTIONS[len(stride)](x, kernel, None, stride, 0, dilation, groups)


def by_loops(x: Tensor, kernel: Tensor, setting: Setting) -> Tensor:
    """The definition: for every place of the output, every tap."""
    stride, padding, dilation, groups = setting
    x = F.pad(x, [amount for pair in reversed(padding) for amount in pair])
    output = output_space(x.shape[2:], kernel.shape[2:], setting._replace(padding=((0, 0),) * len(stride)))
    y = x.new_zeros(len(x), len(kernel), *output)
    fields, depth = len(kernel) // groups, kernel.shape[1]
    for k in range(len(kernel)):
        first = k // fields * depth
        for place in itertools.product(*map(range, output)):
            for tap in itertools.product(*map(range, kernel.shape[2:])):
                source = tuple(p * s + t * d for p, s, t, d in zip(place, stride, tap, dilation, strict=True))
                seen = x[(slice(None), slice(first, first + depth), *source)]
                y[(slice(None), k, *place)] += seen @ kernel[(k, slice(None), *tap)]
    return y


def call(x: Tensor, kernel: Tensor, setting: Setting, algorithm: str, bias: Tensor | None = None) -> Tensor:
    return correlation(x, kernel, bias, **setting._asdict(), algorithm=algorithm)


def defined(problem: Problem, passage: str = "forward") -> list[str]:
    return [name for name in forms.FORWARD if not forms.undefined(name, passage, problem, torch.float64)]


@settings(max_examples=8, deadline=None)
@given(calls(most_rank=2))
def test_torch_is_the_definition(drawn: tuple[Any, ...]) -> None:
    x, kernel = tensors(*drawn[:2])
    torch.testing.assert_close(by_torch(x[:1], kernel, drawn[2]), by_loops(x[:1], kernel, drawn[2]))


@settings(max_examples=45, deadline=None)
@given(calls())
def test_every_algorithm_is_the_definition(drawn: tuple[Any, ...]) -> None:
    *shapes, setting = drawn
    x, kernel, bias = tensors(*shapes, shapes[1][:1])
    expected = by_torch(x, kernel, setting)
    names = defined(problem_of(x, kernel, setting))
    assert {"direct", "channels_last", "im2col", "fft", "matrix"} <= set(names)
    for name in ["auto", *names]:
        torch.testing.assert_close(call(x, kernel, setting, name), expected, msg=name)
    with_bias = expected + bias.view(-1, *[1] * len(setting.stride))
    for name in names:
        torch.testing.assert_close(call(x, kernel, setting, name, bias), with_bias, msg=name)


@settings(max_examples=25, deadline=None)
@given(calls())
def test_every_pass_of_every_algorithm_is_the_gradient(drawn: tuple[Any, ...]) -> None:
    *shapes, setting = drawn
    x, kernel = (tensor.requires_grad_() for tensor in tensors(*shapes))
    y = by_torch(x, kernel, setting)
    (change,) = tensors(tuple(y.shape))
    along_x, along_kernel = torch.autograd.grad(y, (x, kernel), change)
    problem = problem_of(x, kernel, setting)
    with torch.no_grad():
        for name in defined(problem, "input_gradient"):
            found = forms.input_gradient(name, change, kernel, problem.space, setting)
            torch.testing.assert_close(found, along_x, msg=name)
        for name in forms.KERNEL_GRADIENT:
            found = forms.kernel_gradient(name, x, change, problem.window, setting)
            torch.testing.assert_close(found, along_kernel, msg=name)


@settings(max_examples=25, deadline=None)
@given(calls(), st.sampled_from(["channels_last", "im2col", "banded", "fft", "winograd", "matrix"]))
def test_gradients_through_the_call(drawn: tuple[Any, ...], name: str) -> None:
    *shapes, setting = drawn
    x, kernel = (tensor.requires_grad_() for tensor in tensors(*shapes))
    if forms.undefined(name, "forward", problem_of(x, kernel, setting), x.dtype):
        return
    expected = by_torch(x, kernel, setting)
    (change,) = tensors(tuple(expected.shape))
    found = torch.autograd.grad(call(x, kernel, setting, name), (x, kernel), change)
    for ours, theirs in zip(found, torch.autograd.grad(expected, (x, kernel), change), strict=True):
        torch.testing.assert_close(ours, theirs)


@settings(max_examples=15, deadline=None)
@given(calls())
def test_the_adjoint_is_adjoint(drawn: tuple[Any, ...]) -> None:
    *shapes, setting = drawn
    x, kernel = tensors(*shapes)
    problem = problem_of(x, kernel, setting)
    (y,) = tensors((len(x), len(kernel), *problem.output))
    for name in defined(problem, "input_gradient"):
        back = forms.input_gradient(name, y, kernel, problem.space, setting)
        torch.testing.assert_close((back * x).sum(), (y * by_torch(x, kernel, setting)).sum(), msg=name)


def test_the_adjoint_as_a_problem() -> None:
    setting = Setting((2, 1), ((1, 0), (0, 2)), (1, 2), 2)
    x, kernel = tensors((3, 4, 9, 8), (6, 2, 3, 2))
    problem = problem_of(x, kernel, setting)
    (y,) = tensors((3, 6, *problem.output))
    wide, turned = spread(y, setting.stride), flipped(kernel, 2)
    told = adjoint_problem(problem)
    assert told == problem_of(wide, turned, adjoint_setting(problem.space, problem.window, setting))
    assert told.output == problem.space


@pytest.mark.parametrize("name", ["channels_last", "im2col", "banded", "fft", "winograd", "matrix"])
@pytest.mark.parametrize("rank", [1, 2])
def test_gradients_of_first_and_second_order(name: str, rank: int) -> None:
    groups, depth = (2, 1) if name == "banded" else (2, 2)
    setting = Setting((1,) * rank, ((1, 0),) * rank, (1,) * rank, groups)
    x, kernel = (t.requires_grad_() for t in tensors((2, groups * depth, *[5] * rank), (2, depth, *[3] * rank)))
    if name == "banded" and rank == 2:
        pytest.skip("is for one axis")

    def run(x: Tensor, kernel: Tensor) -> Tensor:
        return call(x, kernel, setting, name)

    assert torch.autograd.gradcheck(run, (x, kernel), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, kernel), fast_mode=True)


def test_gradients_with_stride_dilation_and_bias() -> None:
    setting = Setting((2, 3), ((2, 1), (0, 1)), (2, 1), 2)
    x, kernel, bias = (t.requires_grad_() for t in tensors((2, 4, 7, 8), (4, 2, 2, 3), (4,)))

    def run(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return call(x, kernel, setting, "fft", bias)

    assert torch.autograd.gradcheck(run, (x, kernel, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, kernel, bias), fast_mode=True)


def test_a_wrong_algorithm_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above compare with these tolerances; an error in one last place of a tile must not pass."""
    x, kernel = tensors((1, 1, 9), (1, 1, 3))
    off = by_torch(x, kernel, PLAIN)
    off[..., -1] *= 1 + 1e-4
    monkeypatch.setitem(forms.FORWARD, "fft", lambda *_: off)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(call(x, kernel, PLAIN, "fft"), by_torch(x, kernel, PLAIN))


@pytest.mark.parametrize(("rank", "length"), [(1, 400), (2, 60), (3, 20)])
@pytest.mark.parametrize("groups", [1, 4])
def test_long_windows_in_float32(rank: int, length: int, groups: int) -> None:
    setting = Setting((1,) * rank, ((7, 4),) * rank, (1,) * rank, groups)
    x, kernel = tensors((2, 4, *[length] * rank), (8, 4 // groups, *[{1: 60, 2: 15, 3: 6}[rank]] * rank))
    expected = by_torch(x, kernel, setting)
    for name in ("auto", "fft", "channels_last", "im2col"):
        found = call(x.float(), kernel.float(), setting, name).double()
        assert (found - expected).norm() < 1e-6 * expected.norm(), name
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max(), name


@pytest.mark.parametrize("name", ["auto", *forms.FORWARD])
def test_float64_is_exact_to_ten_digits_and_more(name: str) -> None:
    rank, size, window, groups = (2, 30, 3, 1) if name == "winograd" else (1, 3000, 100, 4)
    x, kernel = tensors((2, 4, *[size] * rank), (4, 4 // groups, *[window] * rank))
    setting = Setting((1,) * rank, ((1, 2),) * rank, (1,) * rank, groups)
    expected, found = by_torch(x, kernel, setting), call(x, kernel, setting, name)
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()


def test_fft_against_scipy_over_many_tiles() -> None:
    x, kernel = tensors((1, 1, 5000), (1, 1, 100))
    setting = Setting((1,), ((0, 0),), (1,), 1)
    assert tile_size(problem_of(x, kernel, setting))[0] < 5000
    expected = scipy.signal.correlate(x[0, 0].numpy(), kernel[0, 0].numpy(), mode="valid")
    torch.testing.assert_close(fft(x, kernel, setting)[0, 0], torch.from_numpy(expected))


def test_parts_of_many_channels_give_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["striate.ops.algorithms.fft"], "CACHE", 1 << 12)
    x, kernel = tensors((2, 14, 100), (14, 1, 30))
    setting = Setting((1,), ((15, 14),), (1,), 14)
    torch.testing.assert_close(fft(x, kernel, setting), by_torch(x, kernel, setting))
    (y,) = tensors((2, 14, 100))
    found = forms.kernel_gradient("fft", x, y, (30,), setting)
    torch.testing.assert_close(found, forms.kernel_gradient("direct", x, y, (30,), setting))


@pytest.mark.parametrize("outputs", [2, 4])
def test_winograd_transforms_by_exact_polynomials(outputs: int) -> None:
    data, weights, back = transforms(outputs)
    (d,), (g,) = tensors((outputs + 2,)), tensors((3,))
    torch.testing.assert_close(back @ ((weights @ g) * (data @ d)), F.conv1d(d.view(1, 1, -1), g.view(1, 1, -1))[0, 0])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("outputs", [2, 4])
def test_winograd_of_either_size(rank: int, outputs: int) -> None:
    setting = Setting((1,) * rank, ((1, 2),) * rank, (1,) * rank, 2)
    x, kernel = tensors((2, 4, *[7] * rank), (6, 2, *[3] * rank))
    torch.testing.assert_close(winograd(x, kernel, setting, outputs), by_torch(x, kernel, setting))


def test_the_toeplitz_matrix_of_a_small_case() -> None:
    """Dumoulin and Visin, section 4.1: the 4x16 matrix of a 3x3 window on a 4x4 image."""
    kernel = torch.arange(1.0, 10).view(1, 1, 3, 3)
    found = toeplitz(kernel, (4, 4), (1, 1), ((0, 0), (0, 0)), (1, 1)).to_dense()
    first = torch.tensor([1.0, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0])
    assert torch.equal(found, torch.stack([first.roll(by) for by in (0, 1, 4, 5)]))


def test_the_toeplitz_matrix_is_differentiable() -> None:
    (kernel,) = tensors((2, 1, 3))
    kernel.requires_grad_()
    dense = toeplitz(kernel, (5,), (1,), ((1, 1),), (1,)).to_dense()
    assert torch.autograd.grad(dense.sum(), kernel)[0].flatten().tolist() == [4, 5, 4, 4, 5, 4]


@pytest.mark.parametrize("name", ["auto", *forms.FORWARD])
def test_an_empty_batch_gives_an_empty_result(name: str) -> None:
    x, kernel = torch.zeros(0, 2, 9), torch.ones(2, 1, 3, requires_grad=True)
    setting = Setting((1,), ((1, 1),), (1,), 2)
    assert call(x, kernel.detach(), setting, name).shape == (0, 2, 9)
    call(x, kernel, setting, name).sum().backward()
    assert kernel.grad is not None
    assert torch.equal(kernel.grad, torch.zeros(2, 1, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_left_to_torch(dtype: torch.dtype) -> None:
    x, kernel = tensors((2, 8, 500), (8, 1, 300), dtype=dtype)
    setting = Setting((1,), ((0, 0),), (1,), 8)
    assert torch.equal(call(x, kernel, setting, "auto"), F.conv1d(x, kernel, groups=8))
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(InputError, match=re.escape(f"algorithm 'fft' needs float32 or float64, not {name}")):
        call(x, kernel, setting, "fft")


LONG = ((2, 8, 4000), (8, 1, 400), Setting((1,), ((0, 0),), (1,), 8))


def test_values_that_are_not_finite() -> None:
    *shapes, setting = LONG
    x, kernel = tensors(*shapes, dtype=torch.float32)
    assert operators._plan(x, kernel, setting, "auto", learning=False) == "fft"
    x[1, 3, 2000] = torch.nan
    text = (
        "a Fourier transform smears a value that is not finite over its whole tile: algorithm 'fft': "
        "expected finite x and kernel, got nan or inf. Use 'auto' or 'direct', which keep it where it is."
    )
    with pytest.raises(InputError, match=re.escape(text)):
        call(x, kernel, setting, "fft")
    with pytest.raises(InputError, match="not finite"):
        call(x, kernel.requires_grad_(), setting, "fft")
    kept_in_place = call(x, kernel.detach(), setting, "auto")
    assert torch.equal(kept_in_place.isnan(), by_torch(x, kernel, setting).isnan())
    assert int(kept_in_place.isnan().sum()) == 400
    (along,) = torch.autograd.grad(call(x, kernel, setting, "auto")[0].sum(), kernel)
    assert not along[3].isfinite().all()
    assert along[2].isfinite().all()


@pytest.mark.parametrize("name", ["auto", *sorted({*forms.FORWARD} - {"fft"})])
def test_values_that_are_not_finite_stay_where_they_are(name: str) -> None:
    shape = (6, 6, 3) if name == "winograd" else (6, 1, 31)
    x, kernel = tensors((2, 6, 4000), shape, dtype=torch.float32)
    setting = Setting((1,), ((0, 0),), (1,), 6 // shape[1])
    x[1, 3, 200] = torch.inf
    assert torch.equal(call(x, kernel, setting, name).isfinite(), by_torch(x, kernel, setting).isfinite())


def test_a_result_too_large_for_the_type_is_no_error() -> None:
    x, kernel = torch.full((1, 1, 50), 3e38), torch.ones(1, 1, 20)
    assert not call(x, kernel, PLAIN, "fft").isfinite().any()


def test_names_and_cases_that_are_not_defined() -> None:
    x, kernel = tensors((1, 2, 9), (2, 2, 5))
    with pytest.raises(InputError, match=re.escape("unknown algorithm: got 'fftt'. Did you mean fft?")):
        call(x, kernel, PLAIN, "fftt")
    text = (
        "algorithm 'winograd' needs a window of 3 on every axis, stride 1 and dilation 1: "
        "x (1, 2, 9), kernel (2, 2, 5). "
        "Use 'auto', which finds the fastest that is defined, or one of: direct, channels_last, im2col, fft, matrix."
    )
    with pytest.raises(InputError, match=re.escape(text)):
        call(x, kernel, PLAIN, "winograd")
    with pytest.raises(InputError, match=r"'banded' needs 1-D, one kernel to each channel \(depthwise\), stride 1"):
        call(x, kernel, PLAIN, "banded")
    large, wide = torch.zeros(1, 1, 2000, 2000), torch.zeros(1, 1, 5, 5)
    setting = Setting((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    with pytest.raises(InputError, match="'matrix' its matrix would have 99,600,400 entries, more than 67,108,864"):
        call(large, wide, setting, "matrix")


def test_kernels_changed_in_place_are_seen() -> None:
    *shapes, setting = LONG
    x, kernel = tensors(*shapes, dtype=torch.float32)
    weight = torch.nn.Parameter(kernel)
    forget()
    with torch.no_grad():
        for change in (lambda: None, lambda: weight.mul_(2), lambda: weight.data.neg_(), lambda: weight.data.zero_()):
            change()
            expected = by_torch(x.double(), weight.double(), setting)
            torch.testing.assert_close(call(x, weight, setting, "fft").double(), expected, atol=1e-4, rtol=1e-4)
    assert len(kept._entries) == 1


def test_what_is_kept_is_used_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    made = []
    kernels = [torch.full((250,), float(i)) for i in range(5)]
    monkeypatch.setattr(kept, "BYTES", 3 * 2000)

    def build(index: int) -> Tensor:
        return kept.kept(kernels[index], "a key", lambda: made.append(index) or torch.zeros(250))

    for index in (0, 0, 1, 0, 2, 0, 3, 1):
        build(index)
    assert made == [0, 1, 2, 3, 1]  # 1 was the longest unused when 3 came
    assert kept.bytes_kept() <= 6000
    forget()
    assert kept.bytes_kept() == 0


def test_torch_knows_the_operators() -> None:
    x, kernel = (t.requires_grad_() for t in tensors((2, 4, 9), (4, 2, 3)))
    (y,) = tensors((2, 4, 5))
    rest = ([2], [1, 1], [1], 2, "fft")
    for operator, arguments in (
        (operators.correlation_operator, (x, kernel, *rest)),
        (operators.input_gradient_operator, (y.requires_grad_(), kernel, [9], *rest)),
        (operators.kernel_gradient_operator, (x, y, [3], *rest)),
    ):
        tests = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(operator, arguments, test_utils=tests)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, for jvp
def test_functions_that_look_inside_see_torch() -> None:
    """What counts, traces or transforms meets torch's own convolution, which it knows."""
    from torch.utils.flop_counter import FlopCounterMode

    *shapes, setting = LONG
    x, kernel = tensors(*shapes, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter:
        call(x, kernel, setting, "auto")
    assert counter.get_total_flops() == 2 * 2 * 8 * 3601 * 400
    expected = call(x, kernel, setting, "auto")
    mapped = torch.func.vmap(lambda one: call(one[None], kernel, setting, "auto")[0])(x)
    torch.testing.assert_close(mapped, expected, atol=1e-4, rtol=1e-4)
    _, along = torch.func.jvp(lambda x: call(x, kernel, setting, "auto"), (x,), (x,))
    torch.testing.assert_close(along, expected, atol=1e-4, rtol=1e-4)
    for name in ("auto", "fft", "banded"):
        assert call(x.to("meta"), kernel.to("meta"), setting, name).shape == expected.shape


def test_channels_last_stays() -> None:
    x, kernel = torch.randn(2, 8, 30, 30).contiguous(memory_format=torch.channels_last), torch.randn(8, 1, 21, 21)
    setting = Setting((1, 1), ((10, 10), (10, 10)), (1, 1), 8)
    assert operators._plan(x, kernel, setting, "auto", learning=False) != "torch"
    assert call(x, kernel, setting, "auto").is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, inside inductor
@pytest.mark.parametrize("algorithm", ["auto", "fft", "im2col", "winograd"])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_whole_with_gradients(algorithm: str, backend: str) -> None:
    size = 3 if algorithm == "winograd" else 64
    setting = Setting((1,), ((1, 1),), (1,), 1)
    x, kernel, bias = (t.requires_grad_() for t in tensors((2, 4, 300), (4, 4, size), (4,), dtype=torch.float32))

    def run(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return call(x.tanh(), kernel, setting, algorithm, bias).relu()

    compiled = torch.compile(run, fullgraph=True, backend=backend)
    found, expected = compiled(x, kernel, bias), run(x, kernel, bias)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum(), (x, kernel, bias)),
        torch.autograd.grad(expected.square().sum(), (x, kernel, bias)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-3)


@pytest.mark.slow
def test_compiled_with_shapes_that_vary() -> None:
    setting = Setting((1,), ((1, 1),), (1,), 1)
    (kernel,) = tensors((4, 4, 64), dtype=torch.float32)
    compiled = torch.compile(
        lambda x: call(x, kernel, setting, "auto"), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for length in (300, 301, 410):
        (x,) = tensors((2, 4, length), dtype=torch.float32)
        torch.testing.assert_close(compiled(x), by_torch(x, kernel, setting), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`isinstance:FutureWarning")
def test_exported_programs_have_torchs_convolution() -> None:
    class Long(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(tensors((4, 4, 64), dtype=torch.float32)[0])

        def forward(self, x: Tensor) -> Tensor:
            return call(x, self.weight, PLAIN, "auto")

    (x,) = tensors((2, 4, 300), dtype=torch.float32)
    program = torch.export.export(Long(), (x,), dynamic_shapes=[{2: torch.export.Dim("length", min=100, max=1000)}])
    assert any("conv1d" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), Long()(x), atol=1e-4, rtol=1e-4)


def test_symbolic_sizes_are_traced() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    x, kernel = tensors((2, 4, 30), (4, 4, 5))
    traced = make_fx(lambda x, kernel: call(x, kernel, PLAIN, "auto"), tracing_mode="symbolic")(x, kernel)
    torch.testing.assert_close(traced(x, kernel), by_torch(x, kernel, PLAIN))


@pytest.mark.slow  # the checks of annotations take no symbols
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "fft"])
def test_symbolic_windows_are_traced(algorithm: str) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    def traced(x: Tensor, kernel: Tensor) -> Any:
        def run(x: Tensor, kernel: Tensor) -> Tensor:
            return correlate(x, kernel, padding="causal", stride=2, algorithm=algorithm)

        return make_fx(run, tracing_mode="symbolic")(x, kernel)

    for window in (5, 20):
        x, kernel = tensors((2, 4, 30), (6, 4, window))
        program = traced(x, kernel)
        for length, taps in ((30, window), (41, window + 1), (26, window + 4)):  # the sizes stayed symbols
            x, kernel = tensors((3, 4, length), (6, 4, taps))
            expected = by_torch(x, kernel, PLAIN._replace(stride=(2,), padding=((taps - 1, 0),)))
            torch.testing.assert_close(program(x, kernel), expected)


def test_more_padding_than_kernel_on_one_side_has_gradients() -> None:
    """All of the input lies between the windows: what is cut off on one side is more than there is."""
    x, kernel = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    setting = Setting((3, 1), ((2, 0), (0, 0)), (1, 1), 1)
    for name in ("direct", "im2col", "fft"):
        gradient = forms.input_gradient(name, torch.ones_like(x), kernel, (1, 1), setting)
        assert gradient.tolist() == [[[[0.0]]]], name
