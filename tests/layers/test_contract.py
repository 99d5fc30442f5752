"""What holds for every layer and block; a new one is tested by being named here."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import striate
from striate import layers
from striate.locality import PatchEngine

Case = tuple[Callable[[], nn.Module], tuple[int, ...]]


def same(rank: int = 2) -> nn.Module:
    return {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank](4, 4, 3, padding=1)


# How each is built, and the shape (c, *space) of one item that it takes.
LAYERS: dict[str, Case] = {
    "locally connected 1-D": (lambda: layers.LocallyConnected(4, 3, 9, 3, stride=2), (4, 9)),
    "locally connected": (lambda: layers.LocallyConnected(4, 6, (8, 9), 3, padding=1, groups=2), (4, 8, 9)),
    "locally connected 3-D": (lambda: layers.LocallyConnected(4, 2, (4, 5, 3), 2, dilation=2), (4, 4, 5, 3)),
    "causal": (lambda: layers.CausalConv(4, 6, 3, dilation=2), (4, 12)),
    "causal 3-D": (lambda: layers.CausalConv(4, 6, 3, rank=3), (4, 6, 6, 6)),
    "gated": (lambda: layers.GatedResidual(4, 5, 2), (4, 12)),
    "gated 2-D": (lambda: layers.GatedResidual(4, 5, 2, kernel_size=3, rank=2), (4, 9, 9)),
    "separable": (lambda: layers.SeparableConv(4, 6), (4, 8, 8)),
    "separable 1-D": (lambda: layers.SeparableConv(4, 6, 5, 2, multiplier=2, between=nn.ReLU(), rank=1), (4, 16)),
    "logsumexp": (lambda: layers.WindowPool(torch.logsumexp, 3, 2, 1, fill=-math.inf), (4, 8, 8)),
    "median": (lambda: layers.WindowPool(torch.median, 2), (4, 8, 8, 8)),
    "maxout": (lambda: layers.ChannelPool(2), (4, 8, 8)),
    "L2": (lambda: layers.LpPool(2), (4, 8, 8)),
    "L3 3-D": (lambda: layers.LpPool(2, p=3), (4, 6, 6, 6)),
    "stochastic": (lambda: layers.StochasticPool(2), (4, 8, 8)),
    "weighted": (lambda: layers.WeightedPool(3, 2, 1), (4, 8, 8)),
    "weighted, given": (lambda: layers.WeightedPool(weights=torch.tensor([3.0, 1.0])), (4, 8)),
    "blur": (lambda: layers.BlurPool(), (4, 8, 8)),
    "blur 3-D": (lambda: layers.BlurPool(4), (4, 6, 6, 6)),
    "max blur": (lambda: layers.MaxBlurPool(3, padding=1), (4, 9, 9)),
    "pool and unpool": (lambda: layers.PoolUnpool(same()), (4, 9, 8)),
    "pool and unpool 1-D": (lambda: layers.PoolUnpool(same(1), 3), (4, 10)),
    "pool and unpool, overlapping": (lambda: layers.PoolUnpool(same(), 3, 2), (4, 9, 9)),
    "nearest": (lambda: layers.UpsampleConv(4, 6), (4, 8, 8)),
    "trilinear": (lambda: layers.UpsampleConv(4, 6, mode="linear", rank=3), (4, 5, 5, 5)),
    "sub-pixel": (lambda: layers.SubPixelConv(4, 6), (4, 8, 8)),
    "sub-pixel 1-D": (lambda: layers.SubPixelConv(4, 6, 3, rank=1), (4, 8)),
    "even transpose": (lambda: layers.EvenTranspose(4, 6, 3), (4, 8, 8)),
    "residual": (lambda: layers.Residual(same()), (4, 8, 8)),
    "basic block": (lambda: layers.BasicBlock(4, 6, 2), (4, 8, 8)),
    "bottleneck 1-D": (lambda: layers.Bottleneck(4, 8, reduction=2, rank=1), (4, 16)),
    "excitation 3-D": (lambda: layers.SqueezeExcitation(4, 2, rank=3), (4, 4, 4, 4)),
    "inception 3-D": (lambda: layers.inception(4, 2, 2, 3, 2, 3, 2, rank=3), (4, 5, 5, 5)),
    "dense block 1-D": (lambda: layers.DenseBlock(2, 4, 3, rank=1), (4, 9)),
    "transition": (lambda: layers.Transition(4), (4, 8, 8)),
    "heads": (lambda: nn.Sequential(nn.Flatten(), layers.Heads(a=nn.Linear(32, 2), b=nn.Linear(32, 4))), (4, 8)),
    "response norm": (lambda: layers.response_norm(), (4, 8, 8)),
}
# Geometry does not follow the indices of overlapping windows, nor in 1-D, where torch adds an axis: these are bounds.
BOUNDS = {"pool and unpool, overlapping", "pool and unpool 1-D"}


@pytest.fixture(params=LAYERS)
def case(request: pytest.FixtureRequest) -> tuple[str, nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    build, shape = LAYERS[request.param]
    return request.param, build().eval(), torch.rand(3, *shape)


def flat(output: Any) -> list[torch.Tensor]:
    """The outputs, of one or several."""
    if isinstance(output, torch.Tensor):
        return [output]
    return list(output.values() if isinstance(output, dict) else output)


def test_describe_counts_it_and_its_field_is_the_support_of_the_gradient(
    case: tuple[str, nn.Module, torch.Tensor],
) -> None:
    name, layer, x = case
    report = striate.describe(layer, tuple(x.shape[1:]))
    assert report.parameters == sum(p.numel() for p in layer.parameters())
    assert report.layers[-1].shape == tuple(flat(layer(x))[-1].shape[1:])
    assert report.layers[-1].exact == (name not in BOUNDS)
    field = report.layers[-1].receptive_field
    if name == "heads":
        return
    for seed in range(3):  # poolings pass the gradient to some of what they look at
        torch.manual_seed(seed)
        x = torch.rand_like(x).double().requires_grad_()
        out = flat(layer.double()(x))[-1]
        middle = tuple(side // 2 for side in out.shape[2:])
        (gradient,) = torch.autograd.grad(out[(slice(None), slice(None), *middle)].sum(), x)
        for axis, most in enumerate(field):
            seen = gradient.movedim(2 + axis, 0).flatten(1).abs().sum(1).nonzero()
            assert not len(seen) or int(seen[-1] - seen[0]) + 1 <= most


def test_an_empty_batch_gives_an_empty_result(case: tuple[str, nn.Module, torch.Tensor]) -> None:
    _, layer, x = case
    for full, empty in zip(flat(layer(x)), flat(layer(x[:0])), strict=True):
        assert empty.shape == (0, *full.shape[1:])


def test_items_do_not_see_each_other_and_types_are_kept(case: tuple[str, nn.Module, torch.Tensor]) -> None:
    _, layer, x = case
    whole = flat(layer(x))
    for one, all_ in zip(flat(layer(x[1:2])), whole, strict=True):
        torch.testing.assert_close(one, all_[1:2], rtol=1e-4, atol=1e-5)
    for double, single in zip(flat(layer.double()(x.double())), whole, strict=True):
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)


def test_channels_last_gives_the_same(case: tuple[str, nn.Module, torch.Tensor]) -> None:
    _, layer, x = case
    form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    turned = x.transpose(1, 2).contiguous().transpose(1, 2) if form is None else x.contiguous(memory_format=form)
    for ours, plain in zip(flat(layer(turned)), flat(layer(x)), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_it_is_copied_saved_loaded_and_printed(case: tuple[str, nn.Module, torch.Tensor]) -> None:
    name, layer, x = case
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other = LAYERS[name][0]().eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    for made in (other, copy.deepcopy(layer)):
        for ours, theirs in zip(flat(made(x)), flat(layer(x)), strict=True):
            assert torch.equal(ours, theirs)
    assert repr(layer) == repr(other)
    assert "0x" not in repr(layer)


def test_training_is_repeatable_under_a_seed_and_reaches_every_parameter(
    case: tuple[str, nn.Module, torch.Tensor],
) -> None:
    _, layer, x = case
    layer.train()
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(flat(copy.deepcopy(layer)(x)))
    assert all(map(torch.equal, *results))
    x = x.requires_grad_()
    sum(y.square().sum() for y in flat(layer(x))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (x, *layer.parameters()))


def test_the_patch_engine_recomputes_through_it_exactly(case: tuple[str, nn.Module, torch.Tensor]) -> None:
    name, layer, x = case
    if name in ("heads",) or name.startswith("gated"):
        return  # more than one output
    size = tuple(min(2, side) for side in x.shape[2:])
    starts = [(0,) * len(size), tuple(side - s for side, s in zip(x.shape[2:], size, strict=True))]
    values = torch.rand(2, x.shape[1], *size)
    changed = x[:1].repeat(2, *[1] * (x.ndim - 1))
    for item, start in enumerate(starts):
        changed[(item, slice(None), *(slice(p, p + s) for p, s in zip(start, size, strict=True)))] = values[item]
    made = PatchEngine(layer, x[:1])(torch.tensor(starts), values)
    torch.testing.assert_close(made, layer(changed).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_compiles_and_exports(case: tuple[str, nn.Module, torch.Tensor]) -> None:
    _, layer, x = case
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    exported = torch.export.export(layer, (x,)).module()
    expected = flat(layer(x))
    for made in (compiled, exported):
        for ours, theirs in zip(flat(made(x)), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    if list(layer.parameters()):
        want, got = (
            torch.autograd.grad(sum(y.square().sum() for y in flat(f(x))), list(layer.parameters()))
            for f in (layer, compiled)
        )
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_it_compiles_in_training_with_sizes_as_symbols(case: tuple[str, nn.Module, torch.Tensor]) -> None:
    _, layer, x = case
    layer.train()
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(layer), backend="aot_eager", fullgraph=True, dynamic=True)
    for given in (x, x[:2]):
        results = []
        for made in (layer, compiled):
            torch.manual_seed(5)
            results.append(flat(made(given)))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
