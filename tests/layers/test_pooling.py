"""The poolings themselves are tested in tests/ops/test_pool.py; here, what the layers add."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import ops
from striate.errors import InputError
from striate.layers import (
    BlurPool,
    ChannelPool,
    LpPool,
    MaxBlurPool,
    PoolUnpool,
    StochasticPool,
    WeightedPool,
    WindowPool,
)

X = torch.rand(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))


def test_each_layer_is_its_function() -> None:
    assert torch.equal(WindowPool(torch.amin, 3, 2, dilation=2)(X), ops.window_pool(X, torch.amin, 3, 2, dilation=2))
    assert torch.equal(
        WindowPool(torch.amin, 3, 2, 1, 7.0)(X), ops.window_pool(X, torch.amin, 3, 2, padding=1, fill=7.0)
    )
    assert torch.equal(ChannelPool(2, torch.mean)(X), ops.channel_pool(X, 2, torch.mean))
    assert torch.equal(LpPool(3, 2, 1, p=3)(X), ops.lp_pool(X, 3, 3, 2, padding=1))
    assert torch.equal(BlurPool(5, 3, "replicate")(X), ops.blur_pool(X, 5, 3, "replicate"))
    assert torch.equal(StochasticPool(3, 2, 1).eval()(X), ops.stochastic_pool(X, 3, 2, padding=1, training=False))


def test_stochastic_pooling_draws_in_training_alone_by_torchs_numbers_or_its_own() -> None:
    layer = StochasticPool(2)
    torch.manual_seed(1)
    drawn = layer(X)
    torch.manual_seed(1)
    assert torch.equal(layer(X), drawn)
    assert not torch.equal(layer(X), drawn)
    assert torch.equal(layer.eval()(X), layer(X))
    own = StochasticPool(2, generator=torch.Generator().manual_seed(2))
    twin = copy.deepcopy(own)
    state = torch.get_rng_state()
    assert torch.equal(own(X), twin(X))
    assert torch.equal(torch.get_rng_state(), state)


def test_maxout_units_are_the_maximum_of_linear_maps() -> None:
    linear = nn.Linear(5, 6)
    y = ChannelPool(3)(linear(torch.rand(7, 5))[:, :, None])
    assert y.shape == (7, 2, 1)


def test_learned_weights_start_as_the_mean_stay_an_average_and_learn() -> None:
    layer = WeightedPool(2)
    torch.testing.assert_close(layer(X), F.avg_pool2d(X, 2))
    target = X[:, :, 1:9:2, 0:8:2]  # the lower left of each window
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (layer(X) - target).square().mean().backward()
        optimizer.step()
    assert layer.weights[1, 0] > 0.95
    torch.testing.assert_close(layer.weights.sum().item(), 1.0)
    assert layer(torch.ones(1, 1, 4, 4)).tolist() == [[[[pytest.approx(1)] * 2] * 2]]


def test_given_weights_are_saved_but_not_learned() -> None:
    layer = WeightedPool(weights=torch.tensor([[1.0, 1.0], [1.0, 5.0]]))
    assert list(layer.parameters()) == []
    assert set(layer.state_dict()) == {"fixed"}
    expected = (X[:, :, 0:8:2, 0:8:2] + X[:, :, 0:8:2, 1:9:2] + X[:, :, 1:9:2, 0:8:2] + 5 * X[:, :, 1:9:2, 1:9:2]) / 8
    torch.testing.assert_close(layer(X), expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_blur_pooling_is_the_blurred_maxima_sampled(rank: int) -> None:
    x = torch.rand(1, 2, *(8, 9, 7)[:rank])
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[rank]
    blurred = ops.blur_pool(pool(x, 2, 1), 3, 1)
    torch.testing.assert_close(MaxBlurPool(rank=rank)(x), blurred[(..., *[slice(None, None, 2)] * rank)])


def test_unpooling_carries_the_indices_of_its_own_forward() -> None:
    outer = PoolUnpool(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), PoolUnpool(nn.Conv2d(4, 4, 3, padding=1))))
    y = outer(X)
    pooled, places = F.max_pool2d(X, 2, ceil_mode=True, return_indices=True)
    inner, deeper = F.max_pool2d(outer.inner[0](pooled), 2, ceil_mode=True, return_indices=True)
    up = F.max_unpool2d(outer.inner[1].inner(inner), deeper, 2, output_size=pooled.shape[2:])
    torch.testing.assert_close(y, F.max_unpool2d(up, places, 2, output_size=X.shape[2:]))
    assert (y != 0).sum() <= 2 * 4 * 3 * 3
    identity = PoolUnpool(nn.Identity())(X)
    assert torch.equal(identity[identity != 0].sort().values, pooled.flatten().sort().values)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: WindowPool(torch.amax, 0), "cannot use this window size"),
        (lambda: WindowPool(torch.amax, 2, 0), "cannot use this stride"),
        (lambda: WindowPool(torch.amax, 2, padding="both"), "unknown padding: got 'both'"),
        (lambda: WindowPool(torch.amax, 2, dilation=0), "cannot use this dilation"),
        (lambda: WindowPool(torch.amax, (2, 2), (1, 1, 1)), "cannot use this stride"),
        (lambda: LpPool(2, padding=(1, -1)), "cannot use this padding"),
        (lambda: StochasticPool(2, padding=-1), "cannot use this padding"),
        (lambda: WeightedPool(2, padding="both"), "unknown padding: got 'both'"),
        (lambda: WeightedPool(0, weights=torch.ones(2)), "has a size, or weights: got both"),
        (lambda: MaxBlurPool(0), "cannot use this window size"),
        (lambda: MaxBlurPool(3, padding=2), "has no maximum: expected at most half a window, got 2"),
        (lambda: PoolUnpool(nn.Identity(), 2, padding=2), "has no maximum: expected at most half a window, got 2"),
        (lambda: PoolUnpool(nn.Identity(), 2, padding=(1, 2)), "has no maximum: expected at most half a window, got"),
        (lambda: LpPool((2, 0)), "cannot use this window size"),
        (lambda: LpPool(2, p=-1), "the p of a norm is positive: got -1"),
        (lambda: StochasticPool(2, (1, -1)), "cannot use this stride"),
        (lambda: ChannelPool(0), "cannot use this group size"),
        (lambda: BlurPool(0), "cannot use this blur size"),
        (lambda: BlurPool(3, 0), "cannot use this stride"),
        (lambda: BlurPool(padding_mode="mirror"), "unknown padding mode: got 'mirror'"),
        (lambda: WeightedPool(), "a weighted pooling has a size, or weights: got neither"),
        (lambda: WeightedPool(2, weights=torch.ones(2, 2)), "has a size, or weights: got both"),
        (lambda: WeightedPool((2, 2, 2)), "cannot use this window size"),
        (lambda: WeightedPool(weights=torch.tensor([1.0, -1.0])), r"add up to more than 0: got \[1.0, -1.0\]"),
        (lambda: PoolUnpool(nn.Identity(), 0), "cannot use this window size"),
    ],
)
def test_wrong_options_fail_at_construction(build: Callable[[], nn.Module], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build()


def test_what_changes_the_shape_cannot_be_unpooled() -> None:
    with pytest.raises(InputError, match=r"the shape of what was pooled: expected \(2, 4, 5, 5\), got \(2, 4, 3, 3\)"):
        PoolUnpool(nn.Conv2d(4, 4, 3))(X)
