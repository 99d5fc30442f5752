from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from striate import ops
from striate.errors import InputError


def by_loop(
    x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor, stride: list[int], dilation: list[int], groups: int
) -> torch.Tensor:
    """The sum of products at one place after the other."""
    rank = x.ndim - 2
    out, (filters, channels), window = kernels.shape[:rank], kernels.shape[rank : rank + 2], kernels.shape[rank + 2 :]
    y = torch.empty(len(x), filters, *out, dtype=x.dtype)
    for k, *at in itertools.product(range(filters), *map(range, out)):
        first = k // (filters // groups) * channels
        where = [
            slice(s * a, s * a + d * (w - 1) + 1, d) for a, s, d, w in zip(at, stride, dilation, window, strict=True)
        ]
        seen = x[(slice(None), slice(first, first + channels), *where)]
        y[(slice(None), k, *at)] = (seen * kernels[(*at, k)]).flatten(1).sum(1) + bias[(k, *at)]
    return y


@st.composite
def cases(draw: st.DrawFn) -> dict:
    rank, groups = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    some = st.lists(st.integers(1, 2), min_size=rank, max_size=rank)
    window = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    stride, dilation, out = draw(some), draw(some), draw(some)
    rest = draw(st.integers(0, 1))
    space = [
        s * (o - 1) + d * (w - 1) + 1 + min(rest, s - 1)
        for s, o, d, w in zip(stride, out, dilation, window, strict=True)
    ]
    channels, filters = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    torch.manual_seed(draw(st.integers(0, 9)))
    x = torch.randn(draw(st.sampled_from([1, 3, 4, 5])), groups * channels, *space, dtype=torch.float64)
    kernels = torch.randn(*out, filters, channels, *window, dtype=torch.float64)
    bias = torch.randn(filters, *out, dtype=torch.float64)
    return {"x": x, "kernels": kernels, "bias": bias, "stride": stride, "dilation": dilation, "groups": groups}


def run(case: dict) -> torch.Tensor:
    options = {"stride": tuple(case["stride"]), "dilation": tuple(case["dilation"]), "groups": case["groups"]}
    return ops.correlate_locally(case["x"], case["kernels"], case["bias"], **options)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_each_place_has_its_own_kernels(case: dict) -> None:
    torch.testing.assert_close(run(case), by_loop(**case))
    assert not torch.allclose(run(case), by_loop(**{**case, "kernels": case["kernels"] + 0.1}))


@settings(max_examples=15, deadline=None)
@given(cases())
def test_gradients_are_those_of_the_loop(case: dict) -> None:
    given = [case[name].requires_grad_() for name in ("x", "kernels", "bias")]
    upstream = torch.randn_like(run(case))
    ours = torch.autograd.grad((run(case) * upstream).sum(), given)
    theirs = torch.autograd.grad((by_loop(**case) * upstream).sum(), given)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("items", [2, 5])  # few, and many: another order of the same product
def test_first_and_second_derivatives_by_finite_differences(items: int) -> None:
    x = torch.randn(items, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(3, 2, 2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return ops.correlate_locally(*tensors, stride=2, dilation=1, groups=2, padding=((1, 0), 0))

    assert torch.autograd.gradcheck(function, (x, kernels, bias))
    assert torch.autograd.gradgradcheck(function, (x, kernels, bias))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_equal_kernels_are_a_convolution(mode: str) -> None:
    x, kernel = torch.randn(3, 2, 6, 5), torch.randn(4, 2, 3, 3)
    kernels = kernel.expand(6, 5, 4, 2, 3, 3)
    made = ops.correlate_locally(x, kernels, padding=1, padding_mode=mode)
    padded = F.pad(x, (1, 1, 1, 1), mode={"zeros": "constant"}.get(mode, mode))
    torch.testing.assert_close(made, F.conv2d(padded, kernel), rtol=1e-4, atol=1e-5)


def test_only_what_is_asked_for_gets_a_gradient_and_nothing_is_kept_of_the_patches() -> None:
    x, kernels = torch.randn(4, 3, 8, 8), torch.randn(6, 6, 2, 3, 3, 3, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        ops.correlate_locally(x, kernels).sum().backward()
    assert max(kept) <= max(x.numel(), kernels.numel())  # the patches are 4 * 36 * 27 values
    assert kernels.grad is not None


def test_another_type_or_bias_is_refused() -> None:
    x, kernels = torch.zeros(1, 1, 8), torch.zeros(6, 2, 1, 3)
    with pytest.raises(
        InputError, match="kernels: expected torch.float32 on cpu, as x, got torch.float64 on cpu. Pass"
    ):
        ops.correlate_locally(x, kernels.double())
    with pytest.raises(InputError, match=r"locally: bias: expected shape \(2, 6\), got \(2, 5\)"):
        ops.correlate_locally(x, kernels, torch.zeros(2, 5))


def test_torchs_flop_counter_counts_it() -> None:
    with FlopCounterMode(display=False) as counter:
        ops.correlate_locally(torch.randn(2, 1, 28, 28), torch.randn(24, 24, 1, 1, 5, 5))
    assert counter.get_total_flops() == 2 * 2 * 25 * 24 * 24


def test_autocast_computes_in_its_type() -> None:
    x, kernels = torch.randn(4, 1, 6), torch.randn(4, 2, 1, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.correlate_locally(x, kernels, torch.zeros(2, 4))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), ops.correlate_locally(x, kernels), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("shape", "options", "text"),
    [
        ((6, 1, 1, 3), {}, r"kernels: expected axes \(\*out, k, c/groups, \*window\), 6 for 2 of space, got 4 axes"),
        ((5, 6, 1, 1, 3, 3), {}, r"kernels are for another size of the input: expected \(6, 6\) places, got \(5, 6\)"),
        ((6, 6, 1, 2, 3, 3), {}, r"cannot correlate locally: expected k a multiple of 1 groups, and 1 channels"),
        ((6, 6, 1, 1, 3, 3), {"groups": 0}, "a multiple of 0 groups"),
        ((6, 6, 1, 1, 9, 9), {}, "the kernel does not fit"),
        ((6, 6, 1, 1, 3, 3), {"stride": 0}, "cannot use this stride"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], options: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        ops.correlate_locally(torch.zeros(1, 1, 8, 8), torch.zeros(shape), **options)
