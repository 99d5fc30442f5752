"""Tiles against the whole: random networks, the zoo, borders, budgets, kills, files, and what is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import striate
from striate.errors import InputError
from striate.locality import tile
from striate.locality.tile import halo

spec = importlib.util.spec_from_file_location("tiles", Path(__file__).with_name("tiles.py"))
assert spec is not None
assert spec.loader is not None
tiles: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiles)
assert_equal, least, running, small, whole = tiles.assert_equal, tiles.least, tiles.running, tiles.small, tiles.whole

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parents[1] / "geometry" / "networks.py")
assert spec is not None
assert spec.loader is not None
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
Apply = networks.Apply
module = sys.modules["striate.locality.tile.tiles"]  # the function has the module's name

LOCAL = ("conv", "avg_pool", "max_pool", "lp_pool", "transposed", "twice", "relu", "replicate", "reflect", "pad")
SIZES = {1: (40, 90), 2: (24, 34), 3: (12, 15)}


class Free(networks.Random):
    """The steps on tensors of any size."""

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for number, (name, options, one, two) in enumerate(self.plan):
            a, b = made[-1 - one % len(made)], made[-1 - two % len(made)]
            if name == "twice":
                mode = ("nearest", {1: "linear", 2: "bilinear", 3: "trilinear"}[self.rank])[options[0] % 2]
                out = F.interpolate(a, scale_factor=2, mode=mode)
            else:
                out = self.apply_step(name, options, a, b, self.weights[number])
            if out is not None and min(out.shape) > 0:
                made.append(out)
        return made[-1]


chain = st.tuples(st.sampled_from(LOCAL), st.tuples(*[networks.numbers] * 5), st.just(0), st.just(0))


def drawn(data: st.DataObject, rank: int, plan: list[Any]) -> tuple[nn.Module, Tensor]:
    size = data.draw(st.tuples(*[st.integers(*SIZES[rank])] * rank))
    x = torch.rand(1, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = Free(rank, plan)
    shape = net.to("meta")(x.to("meta")).shape
    assume(shape.numel() < 200_000)
    return Free(rank, plan), x


# How an axis is cut


@given(*[st.integers(1, 6)] * 3, *[st.integers(0, 20)] * 2, st.integers(1, 40), st.integers(0, 5))
def test_the_cells_of_an_axis_are_all_its_outputs_once(
    period: int, advance: int, rest: int, before: int, behind: int, periods: int, more: int
) -> None:
    size, outputs = period * periods + rest, advance * periods + more + 1
    line = halo.Line(size, outputs, period, advance, before, behind)
    counts = [line.count(crop) for crop in line.sizes()]
    assert counts[0] == 1
    assert sorted(counts) == counts
    for crop, count in zip(line.sizes(), counts, strict=True):
        cells = [line.cell(crop, number) for number in range(count)]
        assert [o for _, first, last in cells for o in range(first, last + 1)] == list(range(outputs))
        assert all(0 <= start <= size - crop and start % period == 0 for start, _, _ in cells)
        for start, first, last in cells:  # and none is lost at an end of a crop that is no border
            placed = line.placed(start)
            assert first >= placed + before * (start > 0)
            assert last < placed + line.made(crop) - behind * (start + crop < size)


# Equal to the whole


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.lists(chain, min_size=1, max_size=5), st.data())
def test_a_chain_of_local_operations_is_as_the_whole_in_the_least_tiles(
    rank: int, plan: list[Any], data: st.DataObject
) -> None:
    net, x = drawn(data, rank, plan)
    assert_equal(tile(net, x, budget_bytes=least(net, x)), whole(net, x), 1e-10)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.lists(networks.steps, min_size=1, max_size=6), st.data())
def test_any_network_is_as_the_whole_or_refused(rank: int, plan: list[Any], data: st.DataObject) -> None:
    net, x = drawn(data, rank, plan)
    try:
        budget = least(net, x)
    except InputError as error:
        if not re.search(r"cannot run in tiles|takes inputs of one size|no output of the network depends", str(error)):
            raise
        return
    assert_equal(tile(net, x, budget_bytes=budget), whole(net, x), 1e-10)


class First(nn.Module):
    """The first output of a network that has several."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return next(iter(out.values() if isinstance(out := self.net(x), dict) else out))


# Network, item, and how many times the budget of the least crop.
ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "unet": (lambda: striate.build("unet", width=0.0625, batch_norm=True), (1, 267, 240), 1),
    "unet 1-D": (lambda: striate.build("unet", width=0.0625, rank=1), (1, 701), 1),
    "unet 3-D": (lambda: striate.build("unet", width=0.02, rank=3), (1, 17, 224, 18), 1),
    "unet_valid": (lambda: striate.build("unet_valid", width=0.0625), (1, 268, 252), 1),
    "encoder_decoder": (lambda: striate.build("encoder_decoder", width=0.0625), (1, 256, 230), 1),
    "denoising_unet": (lambda: striate.build("denoising_unet", width=0.0625, residual=True), (1, 250, 256), 1),
    "segnet": (lambda: striate.build("segnet", width=0.0625), (3, 96, 520), 1),
    "fcn32s": (lambda: striate.build("fcn32s", width=0.02), (3, 40, 530), 1),
    "wavenet": (
        lambda: striate.build("wavenet", layers=5, residual=8, skip=8, in_channels=4, num_classes=4),
        (4, 500),
        2,
    ),
    "bpnet": (lambda: First(striate.build("bpnet", width=0.25)), (4, 2600), 1),
}


@pytest.mark.parametrize("name", ZOO)
def test_a_network_of_the_zoo_is_as_the_whole(name: str) -> None:
    build, item, times = ZOO[name]
    torch.manual_seed(0)
    net, x = build().train(), torch.rand(1, *item)
    budget = int(least(net, x) * times)
    with running(net) as sizes:
        made = tile(net, x, budget_bytes=budget)
    assert net.training
    assert len(sizes) > 2  # the rehearsal and at least two tiles
    assert_equal(made, whole(net, x), 1e-5)


def test_a_tile_is_the_whole_bit_by_bit_in_what_the_windows_say() -> None:
    """An independent count: a network of ones over an image of one pixel tells who has seen it."""
    net = nn.Conv2d(1, 1, 5, padding=2, bias=False)
    nn.init.ones_(net.weight)
    for row, column in ((0, 0), (7, 31), (31, 16)):
        x = torch.zeros(1, 1, 32, 32)
        x[0, 0, row, column] = 1
        made = tile(net, x, budget_bytes=least(net, x))
        rows, columns = (made[0, 0] != 0).nonzero().T
        assert (rows - row).abs().max() <= 2
        assert (columns - column).abs().max() <= 2
        assert len(rows) == len(range(max(0, row - 2), min(32, row + 3))) * len(
            range(max(0, column - 2), min(32, column + 3))
        )


def test_several_items_and_an_odd_size() -> None:
    net, x = small(2), torch.rand(3, 2, 41, 37)
    assert_equal(tile(net, x, budget_bytes=least(net, x)), whole(net, x), 1e-5)


def test_tiles_are_within_the_image_and_of_one_size() -> None:
    net, x = small(), torch.rand(1, 1, 40, 41)
    with running(net) as sizes:
        tile(net, x, budget_bytes=least(net, x))
    assert len(set(sizes)) == 1
    assert sizes[0][2] < 40
    assert sizes[0][3] % 2 == 1  # crops end as the whole does


def test_a_crop_at_the_border_of_what_a_reflection_needs() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.ReflectionPad2d(6), nn.Conv2d(2, 1, 5)
    )
    x = torch.rand(1, 1, 50, 61)
    assert_equal(tile(net, x, budget_bytes=least(net, x)), whole(net, x), 1e-5)


def test_the_network_is_left_as_it_was() -> None:
    net = small().train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    x = torch.rand(1, 1, 40, 40)
    state, random = [m.training for m in net.modules()], torch.get_rng_state()
    tile(net, x, budget_bytes=least(net, x))
    hook = net[3].register_forward_hook(lambda _, args, __: None if args[0].is_meta else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tile(net, x, budget_bytes=1 << 20)
    hook.remove()
    assert [m.training for m in net.modules()] == state
    assert not net[0].weight.requires_grad
    assert random.equal(torch.get_rng_state())
    assert not net[0]._forward_hooks


def test_crops_are_no_smaller_than_the_network_does_the_same_for() -> None:
    net, x = Apply(lambda x: -x if x.shape[-1] > 100 else x), torch.rand(1, 1, 30, 150)
    with running(net) as sizes:
        assert_equal(tile(net, x, budget_bytes=least(net, x)), whole(net, x), 0)
    assert min(size[-1] for size in sizes) == 101


def test_within_inference_mode_and_without_channels_last() -> None:
    net, x = small(), torch.rand(1, 1, 40, 41)
    with torch.inference_mode():
        assert_equal(tile(net, x, budget_bytes=100_000, channels_last=False), whole(net, x), 1e-5)


def test_a_network_without_parameters_has_the_numbers_of_its_buffers_or_of_the_input() -> None:
    x = torch.rand(1, 1, 40, 41, dtype=torch.float64)
    assert_equal(made := tile(nn.AvgPool2d(3), x, budget_bytes=1 << 20), whole(nn.AvgPool2d(3), x), 0)
    assert made.dtype == torch.float64
    net = Apply(lambda x: x * net.by)
    net.register_buffer("by", torch.tensor([3], dtype=torch.float64))
    made = tile(net, x.float(), budget_bytes=1 << 20)
    assert_equal(made, 3 * x.float().double(), 0)


def test_bfloat16_comes_and_goes_as_float32() -> None:
    net, x = small().bfloat16(), torch.rand(1, 1, 40, 41).bfloat16()
    made = tile(net, x, budget_bytes=1 << 20)
    assert made.dtype == torch.float32
    assert_equal(made, whole(net, x).float(), 0.02)


def test_an_input_is_left_as_it_was() -> None:
    net, x = small(), torch.rand(1, 1, 40, 41)
    for stored in (x.clone(), x.clone().numpy()):
        tile(net, stored, budget_bytes=60_000, prepare=lambda part: part.mul_(2))
        assert x.equal(torch.as_tensor(stored))


def test_a_budget_has_room_for_what_reading_holds() -> None:
    net, x = small(), np.random.default_rng(0).integers(0, 255, (1, 1, 200, 200))
    narrow, wide = least(net, x.astype(np.uint8)), least(net, x)
    prepared = least(net, x, prepare=lambda part: part / 255)
    with running(net) as sizes:
        tile(net, x, budget_bytes=wide)
    numbers = sizes[0][2] * sizes[0][3]
    assert wide - narrow >= 2 * 7 * numbers
    assert prepared - wide >= 2 * 4 * numbers


# Sabotage


def test_a_halo_too_small_by_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = small(), torch.rand(1, 1, 64, 64)
    budget = least(net, x) * 2

    def less(*args: Any) -> tuple[halo.Line, ...]:
        return tuple(dataclasses.replace(line, behind=line.behind - 1) for line in halo.lines(*args))

    monkeypatch.setattr(module, "lines", less)
    with pytest.raises(InputError, match="cannot run in tiles: .* reads around a border of its input"):
        tile(net, x, budget_bytes=budget)
    monkeypatch.setattr(module, "flaw", lambda *_: None)  # and the outputs would be wrong
    with pytest.raises(AssertionError):
        assert_equal(tile(net, x, budget_bytes=budget), whole(net, x), 1e-5)


def test_a_reading_from_one_end_to_the_other_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halo, "differs", lambda *_: 2)
    with pytest.raises(InputError, match=r"\(ReLU, relu\) reads from one end of its input to the other"):
        tile(small(), torch.rand(1, 1, 40, 41), budget_bytes=60_000)


# Refused


class Coordinates(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linspace(0, 1, x.shape[-1])


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.shape[-1]


class ScaledByTensor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tensor(1 / x.shape[-1])


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).view_as(x)


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "pool": (nn.AdaptiveAvgPool2d(1), r"1 \(AdaptiveAvgPool2d, .*\) reads the whole of its input at once"),
    "adaptive": (nn.AdaptiveMaxPool2d(8), r"1 \(AdaptiveMaxPool2d, .*\) reads its input differently"),
    "norm": (nn.GroupNorm(1, 4), r"1 \(GroupNorm, .*\) reads the whole of its input at once"),
    "instance": (nn.InstanceNorm2d(4), r"1 \(InstanceNorm2d, .*\) reads the whole of its input at once"),
    "softmax": (nn.Softmax(-1), r"1 \(Softmax, softmax\) reads the whole"),
    "corners": (nn.UpsamplingBilinear2d(scale_factor=2), r"1 \(UpsamplingBilinear2d, .*\) reads its input differently"),
    "sized": (nn.Upsample((64, 64)), r"1 \(Upsample, .*\) reads its input differently at different sizes"),
    "coordinates": (Coordinates(), r"1 \(Coordinates, .*\) does other things at another size"),
    "scaled": (Scaled(), r"1 \(Scaled, .*\) does other things at another size"),
    "scaled by a tensor": (ScaledByTensor(), r"1 \(ScaledByTensor, .*\) does other things at another size"),
    "attention": (Attention(), r"1 \(Attention, .*\) reads"),
    "linear": (
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 12 * 12, 4 * 12 * 12), nn.Unflatten(1, (4, 12, 12))),
        r"takes inputs of one size only.*1\.1 \(Linear\)",
    ),
    "circular": (
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        r"1 \(Conv2d, .*\) reads its input differently",
    ),
    "flipped": (Apply(lambda x: x.flip(2)), r"1 \(Apply, flip\) reads its input differently"),
    "turned": (Apply(lambda x: x.transpose(2, 3)), "does not move with the input, axis by axis"),
    "flat": (Apply(lambda x: x.flatten(1)), "gives an output without the input's axes"),
    "two": (Apply(lambda x: (x, x * 2)), "a network that runs in tiles has one output: got 2"),
    "none": (Apply(torch.zeros_like), "no output of the network depends on its input"),
    "listed": (Apply(lambda x: [x]), "returns one tensor of floating-point numbers: got list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_local_is_refused_by_name(name: str) -> None:
    layer, text = REFUSED[name]
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), layer)
    x = torch.rand(1, 1, 12, 12) if name == "linear" else torch.rand(1, 1, 48, 48)
    with pytest.raises(InputError, match=text):
        tile(net, x, budget_bytes=10_000)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a budget is a number of bytes: expected 1 or more, got 0", {"budget_bytes": 0}),
        ("the budget is too small .*: [0-9x]+ of 48x48 positions: expected budget_bytes=", {"budget_bytes": 10}),
        ("this is no input to tile: .* got list", {"x": [1]}),
        ("the axes of the input cannot be told: .* got shape \\(5,\\)", {"x": np.zeros(5)}),
        ("the axes of the input cannot be told: .* got 'yxcc' for shape", {"axes": "yxcc"}),
        ("`prepare` maps a crop point by point: .* got \\(1, 1, 8\\)", {"prepare": lambda x: x.mean(-1)}),
        ("`prepare` maps a crop point by point: .* got int", {"prepare": lambda _: 1}),
        ("`out` cannot hold the result: .* got shape \\(1, 3, 5, 5\\)", {"out": torch.zeros(1, 3, 5, 5)}),
        ("`out` cannot hold the result: .* got int", {"out": 1}),
        ("the input is empty: got shape \\(0, 1, 48, 48\\)", {"x": torch.rand(0, 1, 48, 48)}),
        ("there is no such file: nowhere.tif", {"x": "nowhere.tif"}),
    ],
)
def test_bad_input_is_told(text: str, options: dict[str, Any]) -> None:
    given = {"model": small(), "x": torch.rand(1, 1, 48, 48), "budget_bytes": 100_000, **options}
    with pytest.raises(InputError, match=text):
        tile(given.pop("model"), given.pop("x"), **given)
