"""Attributions against closed forms, against loops, and wrongly used."""

from __future__ import annotations

import io
import math
import re

import matplotlib.image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from striate import zoo
from striate.errors import InputError
from striate.interpret import (
    Attribution,
    deconvnet,
    deep_lift,
    gradient,
    gradient_times_input,
    guided_backpropagation,
    integrated_gradients,
    smooth_grad,
    strongest,
)
from striate.interpret.attribution.run import references_of
from striate.interpret.pictures import drawn
from striate.interpret.scoring import checked

METHODS = [
    gradient,
    gradient_times_input,
    integrated_gradients,
    smooth_grad,
    deep_lift,
    guided_backpropagation,
    deconvnet,
]
CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def network(rank: int = 2) -> nn.Sequential:
    torch.manual_seed(rank)
    convolution = CONVOLUTION[rank]
    layers = (convolution(2, 4, 3, padding=1), nn.ReLU(True), nn.Dropout(), convolution(4, 3, 2), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 4**rank, 3)).double()


def batch(rank: int = 2, n: int = 2) -> Tensor:
    return torch.randn(n, 2, *[5] * rank, dtype=torch.double, generator=torch.Generator().manual_seed(rank))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_items_are_alone_and_the_network_is_as_found(method, rank: int) -> None:
    net, x = network(rank).train(), batch(rank)
    net[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kept, state = x.clone(), torch.get_rng_state()
    several = method(net, x, target=[2, 0])
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert net[2].training
    assert [p.requires_grad for p in net.parameters()] == [False, *[True] * 5]
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(x, kept)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert several.scores.shape == x.shape
    assert several.heatmap().shape == (2, *x.shape[2:])
    if method is not smooth_grad:  # which draws anew for each
        one = method(net, x[1:], target=0)
        torch.testing.assert_close(one.scores, several.scores[1])
        torch.testing.assert_close(one.base, several.base[1])


def test_a_gradient_is_the_limit_of_differences() -> None:
    net, x = network().eval(), batch(n=1)
    found = gradient(net, x, target=1)
    for at in [(0, 1, 2), (1, 4, 0)]:
        moved = torch.zeros_like(x)
        moved[(0, *at)] = 1e-6
        with torch.no_grad():
            slope = (net(x + moved) - net(x - moved))[0, 1] / 2e-6
        assert math.isclose(slope, found.scores[at], rel_tol=1e-5, abs_tol=1e-8)
    torch.testing.assert_close(gradient_times_input(net, x, target=1).scores, found.scores * x[0])


def test_the_greatest_output_is_the_target_by_itself() -> None:
    net, x = network().eval(), batch()
    with torch.no_grad():
        best = net(x).argmax(1).tolist()
    torch.testing.assert_close(gradient(net, x).scores, gradient(net, x, target=best).scores)
    # On the way from the baseline another output may be greater; it is that of x that counts.
    found, expected = integrated_gradients(net, x), integrated_gradients(net, x, target=best)
    torch.testing.assert_close(found.scores, expected.scores)


@given(st.integers(0, 100), st.integers(20, 40))
def test_integrated_gradients_are_the_integral(seed: int, steps: int) -> None:
    """Of Σ a x³ + b sin x + c x y the integral is known, to rounding for smooth functions."""
    torch.manual_seed(seed)
    a, b, c = torch.randn(3, dtype=torch.double)
    net = Function(lambda x: (a * x**3 + b * x.sin()).flatten(1).sum(1, keepdim=True) + c * x[:, :, 0] * x[:, :, 1])
    x, baseline = torch.randn(2, 1, 1, 2, dtype=torch.double)
    found = integrated_gradients(net, x, target=0, baseline=baseline[0], steps=steps)
    (x0, y0), (x1, y1) = baseline[0, 0], x[0, 0]
    cubes = a * (x[0, 0] ** 3 - baseline[0, 0] ** 3) + b * (x[0, 0].sin() - baseline[0, 0].sin())
    shared = torch.stack([(x1 - x0) * (y0 + y1) / 2, (y1 - y0) * (x0 + x1) / 2])
    torch.testing.assert_close(found.scores[0], cubes + c * shared)
    assert found.parameters["gap"] < 1e-9


def test_several_references_are_averaged() -> None:
    net, x, references = network().eval(), batch(), batch(n=3) + 1
    for method in (integrated_gradients, deep_lift):
        found = method(net, x, target=0, baseline=references)
        each = [method(net, x, target=0, baseline=reference).scores for reference in references]
        torch.testing.assert_close(found.scores, torch.stack(each).mean(0))
    constant = deep_lift(net, x, target=0, baseline=[1.0, -2.0]).scores
    filled = torch.tensor([1.0, -2.0], dtype=torch.double)[:, None, None].expand(2, 5, 5)
    torch.testing.assert_close(constant, deep_lift(net, x, target=0, baseline=filled).scores)


def test_smooth_grad_is_a_mean_of_gradients() -> None:
    square = Function(lambda x: (x**2).flatten(1).sum(1, keepdim=True))
    x = torch.tensor([[[1.0, 3.0]]], dtype=torch.double)
    found = smooth_grad(square, x, samples=40, noise=0.1, seed=1)
    drawn = torch.randn(40, 1, 1, 2, generator=torch.Generator().manual_seed(1)).double()
    # A share of 0.1 of the range, 2. The samples come in blocks, so the numbers are those of one draw.
    assert (found.scores - 2 * x[0]).abs().max() < 2 * 0.2 * 4 / math.sqrt(40)
    torch.testing.assert_close(found.scores, (2 * (x + 0.2 * _blocks(40, 16, 1))).mean(0)[0])
    squared = smooth_grad(square, x, samples=40, noise=0.1, seed=1, squared=True)
    torch.testing.assert_close(squared.scores, ((2 * (x + 0.2 * _blocks(40, 16, 1))) ** 2).mean(0)[0])
    still = smooth_grad(square, x, samples=3, noise=0.0)
    torch.testing.assert_close(still.scores, 2 * x[0])
    assert drawn.std() > 0.5


def test_noise_that_moves_nothing_is_told() -> None:
    """Where it would be the plain gradient without a word."""
    square = Function(lambda x: (x**2).flatten(1).sum(1, keepdim=True))
    x = torch.tensor([[[1.0, 3.0]], [[5.0, 5.0]]], dtype=torch.double)
    with says(
        "the noise is a share of the range of values, and an item has none: expected items of several values, "
        "or a spread, got x[1] with 5 everywhere. Say what noise is a share of, in units of x: spread=1.0."
    ):
        smooth_grad(square, x)
    torch.testing.assert_close(smooth_grad(square, x, samples=2, noise=0.0).scores, 2 * x)
    given = smooth_grad(square, x[1:], samples=40, noise=0.1, spread=2.0, seed=1)
    torch.testing.assert_close(given.scores, (2 * (x[1] + 0.2 * _blocks(40, 16, 1))).mean(0)[0])
    assert given.parameters["spread"] == 2.0
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with says("no such spread of values: expected a number above 0, in units of x, or None, got"):
            smooth_grad(square, x, spread=wrong)
    tokens = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(8, 2))
    with says("tokens have no values near their own: expected x of floats, got torch.int64. Use gradient, or"):
        smooth_grad(tokens, torch.tensor([[0, 1, 2, 1]]), spread=1.0)


def _blocks(samples: int, size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    counts = [min(size, samples - first) for first in range(0, samples, size)]
    return torch.cat([torch.randn(count, 1, 1, 2, generator=generator) for count in counts]).double()


def test_a_layers_unit_may_be_the_target() -> None:
    net, x = network().eval(), batch(n=1)
    found = gradient(net, x, layer="3", target=strongest(2))
    y = x.clone().requires_grad_()
    maps = net[3](net[1](net[0](y)))
    (expected,) = torch.autograd.grad(maps[0, 2].max(), y)
    torch.testing.assert_close(found.scores, expected[0])
    (whole,) = torch.autograd.grad(net[3](net[1](net[0](y)))[0, 2].sum(), y)
    torch.testing.assert_close(gradient(net, x, layer="3", target=2).scores, whole[0])


def test_tokens_are_explained_by_how_much_each_is_there() -> None:
    net = zoo.build("text_cnn", num_classes=3, in_channels=20).eval().double()
    tokens = torch.randint(1, 20, (2, 9), generator=torch.Generator().manual_seed(0))
    found = integrated_gradients(net, tokens, target=1, steps=200)
    assert found.scores.shape == (2, 9)
    assert found.heatmap() is found.scores
    with torch.no_grad():
        everything = net(tokens)[:, 1]
        for module in net.modules():
            if isinstance(module, nn.Embedding):
                module.weight.zero_()
        nothing = net(tokens)[:, 1]
    torch.testing.assert_close(found.scores.sum(1), everything - nothing, rtol=2e-3, atol=2e-3)


def test_pictures_tables_and_files(tmp_path) -> None:
    for rank in (1, 2, 3):
        for method in (deep_lift, gradient):
            found = method(network(rank), batch(rank))
            picture = io.BytesIO()
            found.plot().savefig(picture, format="png")
            picture.seek(0)
            pixels = matplotlib.image.imread(picture)
            assert pixels.std() > 0.02
            assert len(found.table(5).rows) == 5
    found.save(tmp_path / "map.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "map.safetensors")["scores"], found.scores)
    assert found.json()["axes"]["channel"] == [0, 1]
    assert repr(found).startswith("Attribution(gradient, 2 channels × 5 planes")


def says(text: str):
    return pytest.raises(InputError, match=re.escape(text))


def test_wrong_use_is_told() -> None:
    net, x = network(), batch()
    with says("no such target: expected 0 to 2 (output (2, 3)), got 3"):
        gradient(net, x, target=3)
    with says("the targets are not one for each item: expected one index, or 2 (one for each item)"):
        gradient(net, x, target=[0, 1, 2])
    with says("the network has no such layer: got '03'"):
        gradient(net, x, layer="03")
    with says("the input has a value that is no number"):
        gradient(net, torch.full_like(x, math.nan))
    with says("cannot explain this input: expected a tensor (n, c, *space) of floats, or tokens (n, t), got list"):
        checked(net, [1.0])
    with says("cannot explain this input"):
        gradient(net, x[0, 0, 0])
    with says("too few steps"):
        integrated_gradients(net, x, steps=0)
    with says("no such noise"):
        smooth_grad(net, x, samples=0)
    with says("no such noise"):
        smooth_grad(net, x, noise=-1.0)
    with says("the baseline does not fit the input: expected a number, 2 (one for each channel), or (2, 5, 5)"):
        deep_lift(net, x, baseline=[1.0, 2.0, 3.0])
    with says(
        "the baseline does not fit the input: expected a number, 2 (one for each channel), or (2, 5, 5), got (4, 5)"
    ):
        deep_lift(net, x, baseline=torch.zeros(4, 5))
    with says("the baseline does not fit the input"):
        references_of([[1.0], [2.0, 3.0]], x)
    with says("the output has no derivative by the input"):
        gradient(nn.Sequential(net, Function(lambda y: y.round().detach())), x)
    with says("the output has no derivative by the input"):
        gradient(Function(lambda _: torch.ones(2, 3, requires_grad=True)), x)


def test_layers_that_are_not_called_or_give_no_tensor_are_told() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.odd = nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1), Function(lambda _: 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x) * self.odd(x)

    with says("the layer was not called: unused"):
        gradient(Odd(), torch.zeros(1, 1, 4), layer="unused")
    with says("the layer returns no tensor: odd"):
        gradient(Odd(), torch.zeros(1, 1, 4), layer="odd")
    with says("tokens have no derivative, and the network has no embedding that could be explained"):
        gradient(Odd(), torch.zeros(1, 4, dtype=torch.long))
    tokens = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(8, 2))
    with says("the baseline of tokens is that they are not there: expected 0, got 1"):
        deep_lift(tokens, torch.zeros(1, 4, dtype=torch.long), baseline=1)


def test_progress_is_told() -> None:
    told = []
    integrated_gradients(network(), batch(n=3), steps=20, progress=lambda *state: told.append(state))
    assert told[-1] == (60, 60, "integrated gradients")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_maps_of_one_item_have_no_axis_for_it() -> None:
    found = gradient(network(), batch(n=1))
    assert isinstance(found, Attribution)
    assert found.base.shape == ()
    assert found.scores.shape == (2, 5, 5)


def test_a_few_great_values_of_many_do_not_take_all_colors() -> None:
    values = torch.ones(100, 200)
    values[0, :50] = 1000.0
    values[1, 0] = math.nan
    limit, told = drawn(values)
    assert (limit, told) == (1.0, "; 0.5% are beyond, up to 1e+03")
    assert drawn(values[:20]) == (1000.0, "")  # few enough to see each
    sparse = torch.zeros(200, 200)
    sparse[0, 0] = -5.0
    assert drawn(sparse) == (5.0, "")
    net = nn.Conv2d(1, 1, 1)
    x = torch.rand(1, 1, 120, 120)
    x[0, 0, 0, :60] = 100.0
    texts = [text.get_text() for text in gradient_times_input(net, x, target=0).plot().axes[0].texts]
    assert any(text.startswith("share of the output; 0.5% are beyond, up to ") for text in texts)
