"""Rules of single operations against brute force, and how a rule is added."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import geometry
from striate.errors import InputError

spec = importlib.util.spec_from_file_location("networks", Path(__file__).with_name("networks.py"))
assert spec is not None
assert spec.loader is not None
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

Function = Callable[[Tensor], Tensor]


def example(*shape: int) -> Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1


def reached(net: nn.Module, x: Tensor) -> np.ndarray:
    """Bool[inputs, outputs]: what changes as one input changes, up, down, far or near."""
    return np.any([networks.perturbed(net, x, 1, by).numpy() for by in (1000, -1000, 0.37, -0.21)], axis=0)


def check(function: Function | nn.Module, x: Tensor, exact: bool = True) -> None:
    """Both fields of every unit are what brute force finds; with `exact` False, that and more."""
    net = function if isinstance(function, nn.Module) else networks.Apply(function)
    graph, changed = geometry.trace(net, x), reached(net, x)
    value = graph.values[graph.outputs[0]]
    assert changed.shape == (x.numel(), np.prod(value.shape))
    units = itertools.product(*map(range, value.shape))
    seen = np.array([networks.mask(graph.receptive_field("", unit), tuple(x.shape)) for unit in units]).T
    positions = itertools.product(*map(range, x.shape))
    reaches = np.array([networks.mask(graph.projective_field(position), value.shape) for position in positions])
    assert not (changed & ~seen).any()
    assert not (changed & ~reaches).any()
    if exact:
        np.testing.assert_array_equal(seen, changed)
        np.testing.assert_array_equal(reaches, changed)


def last(function: Function | nn.Module, *shape: int) -> geometry.Layer:
    """The last layer of a network's description."""
    net = function if isinstance(function, nn.Module) else networks.Apply(function)
    return geometry.describe(net, shape).layers[-1]


def stft(x: Tensor) -> Tensor:
    return torch.stft(x.squeeze(1), 4, hop_length=2, window=x.new_ones(4), center=False, return_complex=True).abs()


def written_after_a_turn(x: Tensor) -> Tensor:
    out = x.clone()
    row = out[:, 0]
    out.transpose_(1, 2)
    row.mul_(2)  # a view made before
    out[:, 1:].add_(out[:, :1])  # and one made after
    return out * row.sum()


def turned_view(x: Tensor) -> Tensor:
    out = x.clone()
    out[:, 0].unsqueeze_(2).mul_(out[:, 1:2].transpose(1, 2))
    return out


# In-place forms that change the shape of a tensor, not its numbers.
TURNS: dict[str, tuple[Function, tuple[int, ...]]] = {
    "transpose_": (lambda x: x.clone().transpose_(1, 2) * 1, (2, 3)),
    "transpose_ of the last": (lambda x: x.clone().transpose_(2, 3) * 1, (2, 3, 2)),
    "t_": (lambda x: x[0].clone().t_()[None] * 1, (2, 3)),
    "swapaxes_": (lambda x: x.clone().swapaxes_(1, 2) * 1, (2, 3)),
    "squeeze_": (lambda x: x.clone().squeeze_(1) * 1, (1, 3)),
    "unsqueeze_": (lambda x: x.clone().unsqueeze_(1) * 1, (2, 3)),
    "views of it": (written_after_a_turn, (2, 3)),
    "of a view": (turned_view, (2, 3)),
    "movedim": (lambda x: x.movedim(1, -1) * 1, (2, 3, 2)),
    "numpy_T": (lambda x: x[0].T[None] * 1, (2, 3)),
    "stft": (stft, (1, 10)),
}


@pytest.mark.parametrize("name", TURNS)
def test_axes_turned_in_place(name: str) -> None:
    function, shape = TURNS[name]
    check(function, example(*shape))


def complex_of(x: Tensor) -> Tensor:
    return torch.complex(x, x.flip(2))


def written_as_real(x: Tensor) -> Tensor:
    out = torch.zeros_like(complex_of(x))
    torch.view_as_real(out)[..., 1] = x
    return out.imag * 1


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding."""
    pairs = torch.view_as_complex(x.unflatten(2, (-1, 2)))
    turns = torch.polar(x.new_ones(2), torch.arange(2, device=x.device, dtype=x.dtype) + 1)
    return torch.view_as_real(pairs * turns).flatten(2)


COMPLEX: dict[str, tuple[Function, tuple[int, ...]]] = {
    "real": (lambda x: complex_of(x).real * 1, (2, 4)),
    "imag": (lambda x: complex_of(x).imag * 1, (2, 4)),
    "conj": (lambda x: torch.view_as_real(complex_of(x).conj() * 1), (1, 3)),
    "polar": (lambda x: torch.polar(x, x.roll(1, 2)).real * 1, (1, 3)),
    "rotary": (rotated, (2, 4)),
    "written through view_as_real": (written_as_real, (2, 3)),
    "fft of one axis": (lambda x: torch.fft.rfft(x, dim=-1).abs(), (2, 2, 4)),
    "correlation by fft": (lambda x: (torch.fft.fft(x) * torch.fft.fft(x.flip(2)).conj()).abs(), (2, 3)),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers(name: str) -> None:
    function, shape = COMPLEX[name]
    # The two parts of a number are not told apart.
    check(function, example(*shape), exact=name not in ("real", "imag", "conj", "correlation by fft"))


PRODUCTS: dict[str, Function] = {
    "mv": lambda x: (x[0, 0] @ x[0, 0, 0])[None],
    "mv by a constant": lambda x: (x[0, 0] @ x.new_ones(3))[None],
    "addmv": lambda x: torch.addmv(x[0, 0, 1], x[0, 0], x[0, 0, 2])[None],
    "addmv of a constant": lambda x: torch.addmv(x.new_ones(3), x[0, 0], x.new_ones(3))[None],
    "dot": lambda x: torch.dot(x[0, 0, 0], x[0, 0, 1])[None, None],
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_a_vector(name: str) -> None:
    check(PRODUCTS[name], example(1, 3, 3))


def laps(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, -1:], x, x[:, :, :1]], 2)


# What lies beyond one end comes from the other; inside it is as if nothing happened: size, offset, padding.
LAPS: dict[str, tuple[Function | nn.Module, tuple[int, ...], tuple[int, float, tuple[int, int]]]] = {
    "circular": (nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"), (1, 32), (3, 0, (1, 1))),
    "cat": (laps, (1, 32), (1, -1, (1, 1))),
    "roll back": (lambda x: x.roll(-2, 2), (1, 32), (1, 2, (0, 2))),
    "roll": (lambda x: x.roll(34, 2), (1, 32), (1, -2, (2, 0))),
    "branches": (lambda x: torch.cat([x, x.roll(1, 2)], 1).sum(1), (1, 32), (2, -0.5, (1, 0))),
}


@pytest.mark.parametrize("name", LAPS)
def test_a_lap_around_the_edge_is_no_field(name: str) -> None:
    function, shape, (size, offset, padding) = LAPS[name]
    layer = last(function, *shape)
    found = layer.receptive_field, layer.stride, layer.offset, layer.padding, layer.sees_whole, layer.exact
    assert found == ((size,), (1,), (offset,), (padding,), False, True)


def test_circular_padding_of_images() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), nn.Conv2d(1, 1, 3, 2))
    layer = last(net, 1, 16, 20)
    assert (layer.receptive_field, layer.stride, layer.offset, layer.exact) == ((5, 5), (2, 2), (1, 1), True)


def test_parts_that_see_differently_are_no_pattern() -> None:
    """Joined side by side, stacked, or stepped through: what is said of all is a bound for each."""
    layer = last(lambda x: torch.cat([x[:, :, :8], F.avg_pool1d(x, 3, 1, 1)], 2), 1, 32)
    assert not layer.exact
    layer = last(lambda x: torch.stack([x, F.avg_pool1d(x, 3, 1, 1)], 3), 1, 32)
    assert (layer.receptive_field, layer.exact) == ((3,), False)
    layer = last(lambda x: torch.cat([x, F.avg_pool1d(x, 3, 1, 1)], 1), 1, 32)
    assert (layer.receptive_field, layer.exact) == ((3,), True)  # of all channels
    layer = last(lambda x: torch.cat([x.mean(2), F.avg_pool1d(x, 3, 1, 1).mean(2)], 1), 1, 32)
    assert (layer.receptive_field, layer.exact) == ((34,), True)
    layer = last(nn.Sequential(networks.Apply(lambda x: x.transpose(1, 2)), nn.LSTM(4, 3, batch_first=True)), 4, 12)
    assert (layer.receptive_field, layer.exact) == ((12,), False)


def patches(x: Tensor) -> Tensor:
    """Overlapping windows by hand: taps last."""
    return x.as_strided((1, 1, 4, 3), (9, 9, 2, 1)) * 1


def written_diagonal(x: Tensor) -> Tensor:
    out = x.clone()
    out.diagonal(dim1=2, dim2=3).mul_(x.sum())
    return out


INDEXED: dict[str, tuple[Function, tuple[int, ...], bool]] = {
    "as_strided": (lambda x: x.as_strided((1, 1, 3), (6, 6, 2), 1) * 1, (1, 6), True),
    "as_strided, patches": (patches, (1, 9), False),
    "as_strided, carrying over": (lambda x: x.as_strided((1, 3), (6, 2), 1) * 1, (2, 3), False),
    "diagonal": (lambda x: x.diagonal(1, 2, 3) * 1, (1, 3, 4), True),
    "diagonal below": (lambda x: x.diagonal(-1, 3, 2) * 1, (2, 3, 3), True),
    "diagonal, written": (written_diagonal, (1, 2, 3), False),
    "index of 32 bits": (lambda x: x[:, :, torch.tensor([1, -1], dtype=torch.int32)], (2, 4), True),
    "index of two axes": (lambda x: x[:, :, torch.tensor([[0, 1], [2, 3]])], (1, 4), False),
    "two indices": (lambda x: x[:, torch.tensor([0, 1]), torch.tensor([1, 2])], (2, 3, 2), False),
    "index_fill": (lambda x: x.index_fill(2, torch.tensor([1, 2]), 0.0), (2, 4), True),
    "select_scatter": (lambda x: x.select_scatter(x[:, :, 0], 2, 1), (2, 3), True),
    "slice_scatter": (lambda x: x.slice_scatter(x[:, :, :2] * 2, 2, 0, 3, 2), (1, 5), True),
    "tril": (lambda x: x.tril(), (1, 3, 3), False),
    "rot90": (lambda x: x.rot90(-1, (2, 3)) * 1, (1, 2, 3), True),
    "rot90 twice": (lambda x: x.rot90(2, (2, 3)) * 1, (1, 2, 3), True),
    "unfold": (lambda x: F.unfold(x, 2), (1, 3, 3), False),
    "addbmm": (lambda x: torch.addbmm(x[0, 0], x[0], x[0].transpose(1, 2), beta=2)[None], (2, 2, 2), True),
    "cross": (lambda x: torch.linalg.cross(x, x.roll(1, 2) ** 2, dim=1), (3, 3), True),
    "bilinear": (lambda x: F.bilinear(x[..., :2], x[..., 2:], x.new_ones(2, 2, 3)), (2, 5), True),
    "affine_grid": (lambda x: F.affine_grid(x, [1, 1, 2, 2], align_corners=False), (2, 3), True),
}


@pytest.mark.parametrize("name", INDEXED)
def test_chosen_positions(name: str) -> None:
    function, shape, exact = INDEXED[name]
    check(function, example(*shape), exact)


class Windowed(nn.Module):
    """Attention of two heads within windows of 4x4, as in Swin; axes are merged twice and taken apart again."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        windows = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        heads = self.parts(windows).reshape(-1, 16, 3, 2, 2).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*heads.unbind(0)).transpose(1, 2)
        return seen.reshape(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


class Heads(Windowed):
    """Windows, channels and heads merged in one step: a bound."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(1, 16, 2, 12).sum(2)


def test_attention_within_windows() -> None:
    layer = last(Windowed(), 4, 8, 12)
    assert (layer.receptive_field, layer.exact) == ((4, 4), True)
    assert not last(Heads(), 4, 8, 12).exact
    unit = geometry.trace(Windowed(), (4, 8, 12)).receptive_field("", (0, None, 5, 6))
    assert geometry.hull(unit) == ((0, 0), (0, 3), (4, 7), (4, 7))


SHUFFLES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "pixel_shuffle": (nn.PixelShuffle(2), (8, 3, 2)),
    "pixel_unshuffle": (nn.PixelUnshuffle(2), (2, 4, 6)),
    "channel_shuffle": (nn.ChannelShuffle(2), (4, 2, 2)),
}


@pytest.mark.parametrize("name", SHUFFLES)
def test_shuffles_move_each_value_alone(name: str) -> None:
    net, shape = SHUFFLES[name]
    check(net, example(*shape))
    assert last(net, *shape).exact


def unpooled(x: Tensor, kernel: Any, **options: Any) -> Tensor:
    pooled, indices = F.max_pool2d(x, kernel, return_indices=True)
    return F.max_unpool2d(pooled, indices, kernel, **options)


def test_unpooling() -> None:
    check(lambda x: unpooled(x, (1, 2)), example(1, 2, 4))
    check(lambda x: unpooled(x, 2), example(1, 4, 4), exact=False)
    assert last(lambda x: unpooled(x, 2), 1, 4, 4).receptive_field == (2, 2)
    for other in ((4, 5), (5, 4), (5, 5)):  # flat indices mean other places in rows of another length
        check(lambda x, size=other: unpooled(x, 2, output_size=size), example(1, 4, 4), exact=False)
    pooled = networks.Apply(lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2))
    check(pooled, example(1, 6), exact=False)
    assert not last(pooled, 1, 6).exact


def test_bounds_are_said_to_be_bounds() -> None:
    image, line = (1, 8, 8), (1, 9)
    for function, shape in [
        (lambda x: F.unfold(x, 3), image),
        (lambda x: unpooled(x, 2, output_size=(9, 9)), image),
        (lambda x: F.grid_sample(x, x.new_zeros(1, 4, 4, 2), align_corners=False), image),
        (lambda x: x.gather(2, torch.zeros(1, 1, 2, dtype=torch.long, device=x.device)), line),
        (lambda x: x[:, :, torch.tensor([[0, 1]])], line),
        (lambda x: x.roll(1), line),
        (patches, line),
        (nn.FractionalMaxPool2d(2, output_size=3), image),
        (nn.FractionalMaxPool3d(2, output_size=3), (1, 8, 8, 8)),
    ]:
        assert not last(function, *shape).exact
    assert last(lambda x: patches(x).sum(3), *line).exact  # every tap is read in the end
    assert last(lambda x: x.gather(1, x.argmax(1, keepdim=True)), *line).exact  # of channels
    spectrum = last(lambda x: torch.fft.fft(x, dim=2).abs(), 1, 6, 8)
    assert (spectrum.receptive_field, spectrum.stride, spectrum.exact) == ((6, 1), (0, 1), True)


RANDOM: dict[str, Function] = {
    "gumbel_softmax": lambda x: F.gumbel_softmax(x, dim=1),
    "exponential_": lambda x: x + torch.empty_like(x).exponential_(),
    "random_": lambda x: x + torch.empty_like(x).random_(),
    "normal": lambda x: torch.normal(x, x.exp()),
    "normal_": lambda x: x + torch.empty_like(x).normal_(),
    "randint_like": lambda x: x + torch.randint_like(x, 3),
    "poisson": lambda x: torch.poisson(x),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers(name: str) -> None:
    layer = last(RANDOM[name], 3, 8)
    assert (layer.receptive_field, layer.stride, layer.exact) == ((1,), (1,), True)


def test_layers_of_torch_that_had_no_rule() -> None:
    assert last(lambda x: torch.multinomial(x[0], 2), 3, 8).receptive_field == (8,)
    bag = geometry.describe(nn.EmbeddingBag(10, 4), torch.zeros(1, 12, dtype=torch.long)).layers[-1]
    assert (bag.receptive_field, bag.shape, bag.parameters, bag.exact) == ((12,), (4,), 40, True)
    bilinear = geometry.describe(nn.Bilinear(3, 5, 2), ((3,), (5,))).layers
    assert sum(layer.macs for layer in bilinear) == 2 * 3 * 5
    assert last(nn.modules.CrossMapLRN2d(3), 3, 4, 4).receptive_field == (1, 1)
    names = ["abs", "copysign", "eq", "gcd", "ge", "gt", "heaviside", "lcm", "le", "lt", "ne", "true_divide", "xlogy"]
    for name in names:
        dtype = torch.int64 if name in ("gcd", "lcm") else torch.float32
        others = 0 if name == "abs" else 1
        function = getattr(Tensor, f"{name}_")
        layer = last(lambda x, f=function, d=dtype, n=others: f(x.to(d) * 1, *[torch.ones_like(x, dtype=d)] * n), 2, 4)
        assert (layer.receptive_field, layer.exact) == ((1,), True), name


def test_a_rule_can_be_added_and_corrected() -> None:
    @torch.library.custom_op("striate_test::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)
    with pytest.raises(InputError, match="no rule says how .* got striate_test::twice. Add one"):
        last(twice, 1, 4)
    for kind in ("other", "activation"):

        @geometry.rule("striate_test::twice")
        def reads(call: geometry.Call, kind: str = kind) -> geometry.Facts:
            return geometry.Facts("twice", kind, geometry.pointwise(call))

        assert last(twice, 1, 4).kind == kind
    with pytest.raises(InputError, match="two operations have one name: got aten::relu"):
        geometry.rule("relu")(reads)
