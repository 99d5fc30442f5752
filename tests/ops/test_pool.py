from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from striate import ops
from striate.errors import InputError

POOL_IN = torch.tensor([[[[1.0, 3, 6, 2], [3, 8, 1, 1], [2, 9, 2, 1], [5, 1, 3, 1]]]])
few = settings(max_examples=40, deadline=None)


def by_loop(
    x: torch.Tensor,
    function: Callable[[np.ndarray], float],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...] = (0, 0, 0),
    fill: float = 0.0,
    dilation: tuple[int, ...] = (1, 1, 1),
) -> torch.Tensor:
    """One window after the other, in any rank."""
    given = x.detach().numpy()
    rank = given.ndim - 2
    wide = np.pad(given, [(0, 0), (0, 0), *((p, p) for p in padding[:rank])], constant_values=fill)
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=False)]
    out = [(side - r) // s + 1 for side, r, s in zip(wide.shape[2:], reach, stride, strict=False)]
    made = np.empty((*given.shape[:2], *out))
    for n, c, *at in itertools.product(*map(range, made.shape)):
        start = [a * s for a, s in zip(at, stride, strict=False)]
        window = tuple(slice(b, b + r, d) for b, r, d in zip(start, reach, dilation, strict=False))
        made[(n, c, *at)] = function(wide[(n, c, *window)].ravel())
    return torch.from_numpy(made)


@st.composite
def cases(draw: st.DrawFn, dilated: bool = True) -> dict[str, object]:
    """A map and the options of a pooling that fit together."""
    rank = draw(st.integers(1, 3))
    axis = st.tuples(*[st.integers(1, 3)] * rank)
    size, stride = draw(axis), draw(axis)
    dilation = draw(st.tuples(*[st.integers(1, 2)] * rank)) if dilated else (1,) * rank
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    space = [d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(size, dilation, strict=True)]
    torch.manual_seed(draw(st.integers(0, 9)))
    x = torch.randn(draw(st.integers(1, 2)), draw(st.integers(1, 2)), *space, dtype=torch.float64)
    return {"x": x, "size": size, "stride": stride, "padding": padding, "dilation": dilation}


@few
@given(cases(), st.sampled_from([("median", 0.0), ("max", -math.inf), ("mean", 0.0), ("nanmean", math.nan)]))
def test_any_function_of_each_window(case: dict, which: tuple[str, float]) -> None:
    name, fill = which
    function = {
        "median": (torch.median, lambda w: np.sort(w)[(len(w) - 1) // 2]),
        "max": (torch.amax, np.max),
        "mean": (torch.mean, np.mean),
        "nanmean": (torch.nanmean, np.nanmean),
    }[name]
    x, options = case["x"], {k: v for k, v in case.items() if k != "x"}
    made = ops.window_pool(x, function[0], fill=fill, **options)
    torch.testing.assert_close(made, by_loop(x, function[1], **options, fill=fill))


def test_the_loop_tells_wrong_options() -> None:
    x = torch.randn(1, 2, 7, 7, dtype=torch.float64)
    made = ops.window_pool(x, torch.median, 3, 2)
    for size, stride, dilation in (((3, 3), (1, 1), (1, 1)), ((2, 2), (2, 2), (1, 1)), ((3, 3), (2, 2), (2, 2))):
        other = by_loop(x, np.median, size, stride, dilation=dilation)
        assert made.shape != other.shape or not torch.allclose(made, other)


def test_maxima_padded_with_minus_infinity_are_torchs() -> None:
    x = torch.randn(2, 3, 9, 10)
    made = ops.window_pool(x, torch.amax, 3, 2, padding=1, fill=-math.inf)
    assert torch.equal(made, F.max_pool2d(x, 3, 2, 1))
    assert not torch.equal(ops.window_pool(x - 9, torch.amax, 3, 2, padding=1), F.max_pool2d(x - 9, 3, 2, 1))  # zeros
    x[0, 0, 4, 4] = math.nan
    assert (
        ops.window_pool(x, torch.amax, 3, 2)[0, 0].isnan().sum() == F.max_pool2d(x, 3, 2)[0, 0].isnan().sum() == 1 + 3
    )


def test_the_lectures_pooling() -> None:
    assert ops.window_pool(POOL_IN, torch.amax, 2)[0, 0].tolist() == [[8, 6], [9, 3]]
    assert ops.window_pool(POOL_IN, torch.mean, 2)[0, 0].tolist() == [[3.75, 2.5], [4.25, 1.75]]
    sums = torch.tensor([[83.0, 42.0], [111.0, 15.0]])
    torch.testing.assert_close(ops.lp_pool(POOL_IN, 2, 2)[0, 0], sums.sqrt())


@few
@given(cases(dilated=False), st.sampled_from([0.5, 1.0, 2.0, 3.0, math.inf]))
def test_norms_of_windows(case: dict, p: float) -> None:
    x, size, stride, padding = (case[k] for k in ("x", "size", "stride", "padding"))
    made = ops.lp_pool(x, p, size, stride, padding=padding)
    function = (lambda w: np.abs(w).max()) if math.isinf(p) else (lambda w: (np.abs(w) ** p).sum() ** (1 / p))
    torch.testing.assert_close(made, by_loop(x, function, size, stride, padding))
    torch.testing.assert_close(made, ops.lp_pool(-x, p, size, stride, padding=padding))


def test_norms_where_torchs_are_wrong_and_where_they_are_right() -> None:
    x = torch.tensor([[[1.0, -2.0, 0.0, 0.0]]], requires_grad=True)
    assert F.lp_pool1d(x, 3, 2)[0, 0, 0].isnan()
    assert F.lp_pool1d(x, 1, 2)[0, 0, 0] == -1
    for p in (0.5, 1.0, 2.0, 3.0):
        y = ops.lp_pool(x, p, 2)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.isfinite().all()
        assert gradient[0, 0, 2:].tolist() == [0, 0]
    positive = torch.rand(2, 3, 8, 8) + 0.1
    torch.testing.assert_close(ops.lp_pool(positive, 2, 2), F.lp_pool2d(positive, 2, 2))
    assert torch.autograd.gradcheck(
        lambda t: ops.lp_pool(t, 3.0, 2, 1), torch.randn(1, 2, 5, 5).double().requires_grad_()
    )


@few
@given(cases(dilated=False))
def test_weighted_averages(case: dict) -> None:
    x, size, stride, padding = (case[k] for k in ("x", "size", "stride", "padding"))
    weights = torch.rand(size, dtype=torch.float64) + 0.1
    made = ops.weighted_pool(x, weights, stride, padding=padding)
    share = (weights / weights.sum()).numpy().ravel()
    torch.testing.assert_close(made, by_loop(x, lambda w: w @ share, size, stride, padding))


def test_the_lectures_blur_kernel() -> None:
    assert (16 * ops.binomial(3, 2)).tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    line = torch.tensor([1.0, 2.0, 1.0])
    assert torch.equal(ops.binomial(3, 2), torch.outer(line, line) / 16)
    for size in range(1, 8):
        assert all(ops.binomial(size, rank).sum() == 1 for rank in (1, 2, 3))
        assert ops.binomial(size, 1).mul(2 ** (size - 1)).tolist() == [math.comb(size - 1, i) for i in range(size)]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("size", range(1, 8))
def test_blur_pooling_is_scipys_correlation_sampled(rank: int, size: int) -> None:
    x = torch.randn(1, 1, *(9, 8, 7)[:rank], dtype=torch.float64)
    for mode, theirs in (("reflect", "mirror"), ("replicate", "nearest"), ("zeros", "constant"), ("circular", "wrap")):
        # scipy centers an even kernel one value earlier.
        whole = ndimage.correlate(
            x[0, 0].numpy(), ops.binomial(size, rank).double().numpy(), mode=theirs, origin=0 if size % 2 else -1
        )
        for stride in (1, 2, 3):
            made = ops.blur_pool(x, size, stride, mode)[0, 0]
            torch.testing.assert_close(made, torch.from_numpy(whole[(slice(None, None, stride),) * rank].copy()))


def test_blurring_keeps_constants_and_is_less_moved_by_a_shift() -> None:
    ones = torch.ones(1, 2, 9, 9)
    assert torch.equal(ops.blur_pool(ones), torch.ones(1, 2, 5, 5))
    torch.manual_seed(0)
    x = torch.randn(1, 8, 32, 32)
    moved = x.roll(1, 3)

    def change(pool: Callable[[torch.Tensor], torch.Tensor]) -> float:
        return float((pool(x) - pool(moved)).square().mean() / pool(x).square().mean())

    assert change(lambda t: ops.blur_pool(t, 5, 2, "circular")) < 0.5 * change(lambda t: t[:, :, ::2, ::2])


@few
@given(cases(dilated=False))
def test_stochastic_pooling_in_the_mean(case: dict) -> None:
    x, size, stride, padding = (case[k] for k in ("x", "size", "stride", "padding"))

    def mean(window: np.ndarray) -> float:
        a = np.maximum(window, 0)
        return float(a @ a / a.sum()) if a.sum() else 0.0

    made = ops.stochastic_pool(x, size, stride, padding=padding, training=False)
    torch.testing.assert_close(made, by_loop(x, mean, size, stride, padding))
    drawn = ops.stochastic_pool(x, size, stride, padding=padding)
    ranges = [by_loop(x, f, size, stride, padding) for f in (lambda w: max(0, w.min()), lambda w: max(0, w.max()))]
    assert ((drawn >= ranges[0]) & (drawn <= ranges[1])).all()


def test_the_papers_example_of_stochastic_pooling() -> None:
    window = torch.tensor([[[1.6, 0, 0, 0, 0, 0, 0, 0, 2.4]]])  # figure 1: probabilities 0.4 and 0.6
    draws = ops.stochastic_pool(window.expand(20_000, 1, 9), 9, generator=torch.Generator().manual_seed(0))
    assert set(draws.unique().tolist()) == set(torch.tensor([1.6, 2.4]).tolist())
    assert abs((draws > 2).double().mean() - 0.6) < 4 * math.sqrt(0.24 / 20_000)
    torch.testing.assert_close(draws.double().mean().item(), (1.6**2 + 2.4**2) / 4, rtol=0.01, atol=0)


def test_stochastic_pooling_draws_as_seeded_gives_gradients_to_the_drawn_and_zero_for_nothing() -> None:
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    first, again = (ops.stochastic_pool(x, 2, generator=torch.Generator().manual_seed(3)) for _ in "ab")
    assert torch.equal(first, again)
    assert not torch.equal(first, ops.stochastic_pool(x, 2, generator=torch.Generator().manual_seed(4)))
    (gradient,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(gradient.view(2, 3, 4, 2, 4, 2).sum((3, 5)), torch.ones(2, 3, 4, 4))
    torch.testing.assert_close((gradient * x).sum(), first.sum())
    for training in (True, False):
        nothing = -torch.rand(1, 1, 4, 4).requires_grad_()
        y = ops.stochastic_pool(nothing, 2, training=training)
        assert not y.any()
        assert not torch.autograd.grad(y.sum(), nothing)[0].any()


def test_rounding_never_draws_what_has_no_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor([[[0.0, 0.3, 0.7, 0.0, 0.0]]])
    for number in (0.0, 1.0):  # a drawn number times the total may round to the total
        monkeypatch.setattr(torch, "rand", lambda *shape, number=number, **_: torch.full(*shape, number))
        assert ops.stochastic_pool(x, 5).item() == torch.tensor(0.7 if number else 0.3).item()


def test_below_one_a_zero_beside_others_has_no_gradient() -> None:
    x = torch.tensor([[[4.0, 0.0, -9.0, 4.0]]], requires_grad=True)
    y = ops.lp_pool(x, 0.5, 2)
    assert y.tolist() == [[[4.0, 25.0]]]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.tensor([[[1.0, 0.0, -5 / 3, 5 / 2]]]))


def test_what_is_no_number_stays_so() -> None:
    x = torch.tensor([[[1.0, math.nan, 2.0, 3.0]]])
    for training in (True, False):
        y = ops.stochastic_pool(x, 2, training=training)
        assert y[0, 0, 0].isnan()
        assert 2 <= y[0, 0, 1] <= 3
    for p in (0.5, 1.0, 2.0, math.inf):
        assert ops.lp_pool(x, p, 2)[0, 0].isnan().tolist() == [True, False]


def test_maxout_and_other_functions_of_channels() -> None:
    x = torch.randn(2, 6, 4, 5)
    assert torch.equal(ops.channel_pool(x, 3), torch.stack([x[:, :3].amax(1), x[:, 3:].amax(1)], 1))
    torch.testing.assert_close(ops.channel_pool(x, 2, torch.mean)[:, 1], x[:, 2:4].mean(1))
    assert torch.equal(ops.channel_pool(x, 3, torch.median)[:, 0], x[:, :3].median(1).values)
    assert not torch.equal(ops.channel_pool(x, 3), x.view(2, 3, 2, 4, 5).amax(1))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2), (2, 3), (3, 1)])
def test_unpooling_is_the_transpose_of_pooling(rank: int, size: int, stride: int | None) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *(7, 6, 5)[:rank], dtype=torch.float64, requires_grad=True)
    values, places = ops.max_pool_with_indices(x, size, stride, ceil_mode=stride != 1)
    upstream = torch.randn_like(values)
    made = ops.max_unpool(upstream, places, x.shape[2:], size, stride)
    torch.testing.assert_close(made, torch.autograd.grad((values * upstream).sum(), x)[0])
    upstream.requires_grad_()
    assert torch.autograd.gradcheck(lambda u: ops.max_unpool(u, places, x.shape[2:], size, stride), upstream)


def test_torchs_unpooling_of_overlapping_windows_has_another_gradient_than_value() -> None:
    x = torch.tensor([[[1.0, 2.0, 9.0, 2.0, 1.0]]])
    _, places = ops.max_pool_with_indices(x, 3, 2)
    y = torch.tensor([[[1.0, 5.0]]], requires_grad=True)
    theirs = F.max_unpool1d(y, places, 3, 2)
    assert theirs[0, 0, 2] in (1, 5)
    assert torch.autograd.grad(theirs.sum(), y)[0].tolist() == [[[1, 1]]]
    assert ops.max_unpool(y, places, (5,), 3, 2)[0, 0, 2] == 6


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: ops.window_pool(x, torch.amax, 9), "no window fits into the map: expected 9x9 or more, got 4x4"),
        (lambda x: ops.window_pool(x, torch.amax, 3, dilation=2), "no window fits into the map: expected 5x5 or more"),
        (lambda x: ops.window_pool(x, torch.amax, 0), "cannot use this window size"),
        (lambda x: ops.window_pool(x, torch.amax, 2, (1, 0)), "cannot use this stride"),
        (lambda x: ops.window_pool(x, torch.softmax, 2), r"gives one number .* got \(1, 1, 2, 2, 4\). It is called as"),
        (lambda x: ops.window_pool(x, lambda *_: 3.0, 2), "one number for each window: expected shape .* got float"),
        (
            lambda x: ops.channel_pool(x, 2),
            "channels are pooled in groups of one size: expected a multiple of 2, got 1",
        ),
        (lambda x: ops.lp_pool(x, 0, 2), "the p of a norm is positive: got 0"),
        (lambda x: ops.lp_pool(x, 2, 5), "no window fits into the map"),
        (
            lambda x: ops.weighted_pool(x, torch.ones(3)),
            r"weights of a pooling are one window: expected 2 axes, got shape",
        ),
        (lambda _: ops.binomial(0, 2), "no binomial kernel: size: expected 1 or more, got 0"),
        (lambda x: ops.blur_pool(x, 3, 2, "mirror"), "unknown padding mode"),
        (lambda x: ops.stochastic_pool(x, 5), "no window fits into the map"),
        (lambda x: ops.max_pool_with_indices(x, 5), "no window fits into the map: expected 5x5 or more, got 4x4"),
        (lambda x: ops.max_pool_with_indices(x, 9, ceil_mode=True, stride=2), "expected 8x8 or more, got 4x4"),
        (lambda x: ops.max_pool_with_indices(x, 2, padding=2), "expected at most half a window, got 2"),
        (
            lambda x: ops.max_unpool(x, torch.zeros(1, 1, 4, 3, dtype=torch.int64), (9, 9), 3, 2),
            r"each value has a place to be put: expected \(1, 1, 4, 4\), got \(1, 1, 4, 3\)",
        ),
        (
            lambda x: ops.max_unpool(x, torch.zeros(1, 1, 4, 4, dtype=torch.int64), (81,), 3, 2),
            r"cannot unpool to this size: expected 2 axes, as x has, got \(81,\)",
        ),
        (lambda x: ops.lp_pool(x[0, 0], 2, 2), "windows slide over maps .* expected 1 to 3 axes of space, got 0"),
        (lambda x: ops.window_pool(x[..., None, None], torch.amax, 2), "expected 1 to 3 axes of space, got 4"),
    ],
)
def test_what_cannot_be_pooled_says_so(call: Callable[[torch.Tensor], object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        call(torch.zeros(1, 1, 4, 4))
