"""Causal, separable, residual units, heads and response normalization."""

from __future__ import annotations

from collections.abc import Callable

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import layers
from striate.errors import InputError
from striate.geometry.count import depthwise_separable, stacked
from striate.locality import stream


@pytest.mark.parametrize(("rank", "space"), [(1, (11,)), (2, (9, 6)), (3, (7, 4, 5))])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (2, 2), (3, 2), (1, 3)])
def test_no_step_sees_a_later_one(rank: int, space: tuple[int, ...], kernel: int, dilation: int) -> None:
    layer = layers.CausalConv(2, 3, kernel, dilation=dilation, rank=rank)
    x = torch.rand(1, 2, *space, requires_grad=True)
    y = layer(x)
    assert y.shape == (1, 3, *space)
    for t in range(space[0]):
        (gradient,) = torch.autograd.grad(y[:, :, t].sum(), x, retain_graph=True)
        seen = {int(i) for i in gradient.abs().sum((0, 1, *range(3, x.ndim))).nonzero()}
        assert seen == {t - dilation * tap for tap in range(kernel) if t >= dilation * tap}


def test_it_is_the_sum_over_earlier_steps() -> None:
    layer = layers.CausalConv(1, 1, 3, dilation=2)
    w, x = layer.conv.weight[0, 0], torch.rand(9)
    expected = [layer.conv.bias[0] + sum(w[2 - a] * x[t - 2 * a] for a in range(3) if t >= 2 * a) for t in range(9)]
    torch.testing.assert_close(layer(x.view(1, 1, 9))[0, 0], torch.stack(expected))


def test_it_streams_sample_by_sample() -> None:
    net = nn.Sequential(layers.CausalConv(2, 4, 3), nn.ReLU(), layers.CausalConv(4, 3, 2, dilation=4)).eval()
    x = torch.rand(1, 2, 20)
    running = stream(net, 2)
    outputs = [running.step(x[:, :, t]) for t in range(20)]
    whole = net(x).detach()
    given = [(t, y) for t, y in enumerate(outputs) if y is not None]
    assert len(given) > 10
    for t, y in given:
        torch.testing.assert_close(y, whole[:, :, t], rtol=1e-4, atol=1e-5)


def test_gates_multiply_and_conditions_are_added() -> None:
    layer = layers.GatedResidual(4, 5, 2, global_channels=3, local_channels=2, kernel_size=3)
    x, speaker, features = torch.rand(2, 4, 9), torch.rand(2, 3), torch.rand(2, 2, 9)
    gates = F.conv1d(F.pad(x, (4, 0)), layer.conv.weight, layer.conv.bias, dilation=2)
    gates = gates + (speaker @ layer.speaker.weight.T)[..., None] + layer.features(features)
    z = gates[:, :4].tanh() * gates[:, 4:].sigmoid()
    onward, skip = layer(x, speaker, features)
    torch.testing.assert_close(onward, x + layer.residual(z))
    torch.testing.assert_close(skip, layer.skip(z))
    last = layers.GatedResidual(4, 5, last=True)
    assert torch.equal(last(x)[0], x)


def test_a_condition_is_neither_ignored_nor_missing() -> None:
    x, speaker, features = torch.rand(2, 4, 9), torch.rand(2, 3), torch.rand(2, 2, 9)
    with pytest.raises(InputError, match="a condition does not fit the block: speaker: expected none, got one. Build"):
        layers.GatedResidual(4, 5)(x, speaker)
    with pytest.raises(InputError, match="does not fit the block: features: expected one, got none. Build the block"):
        layers.GatedResidual(4, 5, global_channels=3, local_channels=2)(x, speaker)
    with pytest.raises(InputError, match="does not fit the block: speaker: expected one, got none"):
        layers.GatedResidual(4, 5, global_channels=3, local_channels=2)(x, None, features)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: layers.CausalConv(4, 4, 3, stride=0), "cannot use this stride"),
        (lambda: layers.CausalConv(4, 4, 0), "cannot use this kernel size"),
        (lambda: layers.GatedResidual(4, 4, 0), "cannot use this dilation"),
        (lambda: layers.GatedResidual(4, 4, kernel_size=0), "cannot use this kernel size"),
        (lambda: layers.SeparableConv(4, 4, stride=0), "cannot use this stride"),
        (lambda: layers.SeparableConv(4, 4, dilation=0), "cannot use this dilation"),
        (lambda: layers.SeparableConv(4, 4, multiplier=0), "cannot use this multiplier"),
    ],
)
def test_wrong_options_fail_at_construction(build: Callable[[], nn.Module], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_depthwise_separable_is_one_convolution_with_the_product_of_kernels(rank: int) -> None:
    layer = layers.SeparableConv(3, 5, 3, stride=2, multiplier=2, bias=False, rank=rank).double()
    x = torch.rand(2, 3, *(9, 8, 7)[:rank], dtype=torch.float64)
    depthwise = layer.depthwise.weight.view(3, 2, *(3,) * rank)
    full = torch.einsum("kcm,cm...->kc...", layer.pointwise.weight.view(5, 3, 2), depthwise)
    torch.testing.assert_close(layer(x), {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank](x, full, None, 2, 1))


def test_its_cost_is_the_lectures_ratio() -> None:
    counted = depthwise_separable((56, 56), 256, 256, 3)
    assert counted.ratio == pytest.approx(1 / 256 + 1 / 9)
    assert round(float(counted.ratio), 3) == 0.115
    layer = layers.SeparableConv(256, 256, 3, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 256 * 9 + 256 * 256


def test_chained_small_convolutions_cost_less_than_a_large_one() -> None:
    for number, weights, large in ((2, 18, 25), (3, 27, 49)):
        stage = layers.conv_stage(8, [8] * number, bias=False)
        assert sum(p.numel() for p in stage.parameters()) == weights * 64
        assert stacked((56, 56), 8, 3, number).weights == weights * 64
        assert nn.Conv2d(8, 8, 2 * number + 1, bias=False).weight.numel() == large * 64


@pytest.mark.parametrize("text", ["got 2", "got 0"])
def test_separable_kernels_are_odd(text: str) -> None:
    with pytest.raises(InputError, match=f"only an odd kernel keeps the size .*: {text}"):
        layers.SeparableConv(4, 4, int(text[-1]))


def test_a_residual_adds_its_input() -> None:
    body, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(layers.Residual(body)(x), (body(x) + x).relu())
    down = nn.AvgPool2d(2)
    halving = layers.Residual(nn.Conv2d(4, 4, 2, 2), down, nn.Identity())
    torch.testing.assert_close(halving(x), halving.body(x) + down(x))


def test_a_residual_of_another_shape_is_refused_also_where_torch_would_repeat_it() -> None:
    x = torch.zeros(2, 4, 5, 5)
    for body, got in ((nn.Conv2d(4, 1, 3, padding=1), "1, 5, 5"), (nn.Conv2d(4, 4, 3), "4, 3, 3")):
        with pytest.raises(InputError, match=rf"expected \(2, 4, 5, 5\), the shortcut's, got \(2, {got}\). Let the"):
            layers.Residual(body)(x)


@pytest.mark.parametrize("rank", [1, 3])
def test_blocks_of_other_ranks_are_those_of_two_dimensions_where_these_are_flat(rank: int) -> None:
    """A 2-D network on a map of one row is the 1-D one; a 3-D one on one slice, the 2-D one."""
    builds = [
        lambda r: layers.BasicBlock(4, 6, 2, rank=r),
        lambda r: layers.Bottleneck(4, 8, 2, reduction=2, rank=r),
        lambda r: nn.Sequential(layers.DenseBlock(2, 4, 3, rank=r)),
        lambda r: layers.inception(4, 2, 2, 3, 2, 3, 2, rank=r),
    ]
    low, high = min(rank, 2), max(rank, 2)
    for build in builds:
        torch.manual_seed(0)
        small, large = build(low).eval(), build(high).eval()
        state = small.state_dict()
        for name, weight in large.state_dict().items():
            if weight.ndim > state[name].ndim:  # the middle of the new axis
                weight.zero_()
                weight[:, :, weight.shape[2] // 2] = state[name]
            else:
                weight.copy_(state[name])
        x = torch.rand(2, 4, *(8, 8)[:low])
        torch.testing.assert_close(large(x[:, :, None])[:, :, 0], small(x))


def test_heads_are_named_and_read_the_same() -> None:
    heads = layers.Heads(classes=nn.Linear(8, 3), box=nn.Linear(8, 4))
    x = torch.rand(5, 8)
    y = heads(x)
    assert list(y) == ["classes", "box"]
    assert torch.equal(y["box"], heads.heads["box"](x))
    assert set(heads.state_dict()) == {f"heads.{n}.{k}" for n in ("classes", "box") for k in ("weight", "bias")}


def test_no_head_and_no_reduction_are_refused() -> None:
    with pytest.raises(InputError, match="a network without a head says nothing: expected one or more, by name"):
        layers.Heads()
    with pytest.raises(InputError, match="cannot use this reduction: .* got 0"):
        layers.SqueezeExcitation(8, 0)


def test_response_normalization_is_the_papers_and_not_torchs() -> None:
    a = torch.randn(2, 9, 3, 4) * 30
    by_loop = torch.empty_like(a)
    for i in range(9):
        total = a[:, max(0, i - 2) : min(9, i + 3)].square().sum(1)
        by_loop[:, i] = a[:, i] / (2 + 1e-4 * total) ** 0.75
    torch.testing.assert_close(layers.response_norm()(a), by_loop)
    assert not torch.allclose(nn.LocalResponseNorm(5, k=2)(a), by_loop, rtol=1e-2)  # alpha / 5
    with pytest.raises(InputError, match="as many maps on both sides: expected an odd size, got 4"):
        layers.response_norm(4)


def test_generic_normalization_over_positions_is_torchs_instance_norm() -> None:
    h = torch.randn(3, 4, 6, 7)
    deviation, mean = torch.std_mean(h, (2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(nn.InstanceNorm2d(4, eps=0)(h), (h - mean) / deviation)


AXES = {"batch": (0, 3, 4), "layer": (1, 2, 3, 4), "group": (2, 3, 4), "instance": (3, 4)}  # of n, g, c / g, h, w


@pytest.mark.parametrize("kind", AXES)
def test_norms_average_over_what_they_say(kind: str) -> None:
    x = 3 + 2 * torch.randn(5, 16, 6, 7, dtype=torch.float64)
    groups = x.view(5, 8, 2, 6, 7)
    deviation, mean = torch.std_mean(groups, AXES[kind], correction=0, keepdim=True)
    want = ((groups - mean) / (deviation**2 + 1e-5).sqrt()).view_as(x)
    torch.testing.assert_close(layers.norm_layer(kind, 16).double()(x), want)


def test_norms_of_other_ranks_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(layers.norm_layer("batch", 4, rank=3), nn.BatchNorm3d)
    assert layers.norm_layer("layer", 4)(torch.zeros(2, 4, 9)).shape == (2, 4, 9)
    assert isinstance(layers.norm_layer("none", 4), nn.Identity)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of tests
    with pytest.raises(InputError, match="no such norm: expected none, batch, layer, group or instance, got 'bach'"):
        layers.norm_layer("bach", 4)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: layers.DenseBlock(0, 4, 3), "cannot use this depth: expected whole numbers of 1 or more, got 0"),
        (lambda: layers.DenseBlock(2, 0, 3), "cannot use this number of channels: expected .* 1 or more, got 0"),
        (lambda: layers.DenseBlock(2, 4, 0), "cannot use this growth: expected whole numbers of 1 or more, got 0"),
        (lambda: layers.Transition(1), "cannot use this number of channels: expected .* 2 or more, got 1"),
    ],
)
def test_dense_layers_without_maps_are_refused(make: Callable[[], nn.Module], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()
