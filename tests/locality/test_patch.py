"""The patch engine against brute force: every change put into the input, the whole network run on each."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate import InputError, zoo
from striate.locality import PatchEngine
from striate.locality.patch import engine as patch
from striate.locality.patch.rules import RULES

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parents[1] / "geometry" / "networks.py")
assert spec
assert spec.loader
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

windows = st.tuples(*[st.integers(1, 4)] * 3)
SIDES = {1: 40, 2: 18, 3: 9}
EXACT = 1e-10  # of the greatest output


@torch.no_grad()
def brute(model: nn.Module, x: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    """One run of the network for each change."""
    outputs = []
    for i, start in enumerate(starts.tolist()):
        changed = x.clone()
        where = tuple(slice(a, a + size) for a, size in zip(start, values.shape[2:], strict=True))
        changed[(0, slice(None), *where)] = values[i if len(values) > 1 else 0]
        outputs.append(model(changed))
    return torch.cat(outputs)


def worst(found: Tensor, right: Tensor) -> float:
    """Greatest difference over the greatest magnitude."""
    found, right = found.detach(), right.detach()
    assert found.shape == right.shape
    return float((found - right).abs().max() / right.abs().max().clamp(min=1e-300))


def some(x: Tensor, count: int, window: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Changes at random places, the two corners among them."""
    generator = torch.Generator().manual_seed(seed)
    room = [side - size + 1 for side, size in zip(x.shape[2:], window, strict=True)]
    starts = torch.stack([torch.randint(0, r, (count,), generator=generator) for r in room], 1)
    starts[0], starts[-1] = 0, torch.tensor(room) - 1
    values = torch.randn(count, x.shape[1], *window, generator=generator, dtype=torch.float64)
    return starts, values.to(x.dtype)


# Larger than those of geometry: room for windows.
sizes = st.one_of(
    st.tuples(st.just(1), st.tuples(st.integers(8, 60))),
    st.tuples(st.just(2), st.tuples(st.integers(6, 20), st.integers(6, 20))),
    st.tuples(st.just(3), st.tuples(*[st.integers(4, 8)] * 3)),
)


@settings(max_examples=100, deadline=None)
@given(sizes, st.lists(networks.steps, min_size=1, max_size=7), st.integers(1, 20), windows, st.integers(0, 9))
def test_random_networks_equal_brute_force(
    sizes: tuple[int, tuple[int, ...]], plan: list[Any], count: int, window: tuple[int, ...], seed: int
) -> None:
    rank, space = sizes
    net = networks.Random(rank, plan).eval()
    x = torch.randn(1, 2, *space, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    window = tuple(min(size, side) for size, side in zip(window, space, strict=False))
    starts, values = some(x, count, window, seed)
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
    assert engine.whole == ""


def conv(rank: int, *args: int, **options: Any) -> nn.Module:
    return getattr(nn, f"Conv{rank}d")(*args, **options)


def normed(rank: int, channels: int) -> nn.Module:
    """A batch norm that has seen something."""
    norm = getattr(nn, f"BatchNorm{rank}d")(channels)
    for statistic in (norm.running_mean, norm.weight.data, norm.bias.data):
        statistic.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


class Residual(nn.Module):
    """Two convolutions around which x goes."""

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(rank, channels, channels, 3, padding=1, bias=False), normed(rank, channels)
        self.conv2, self.norm2 = conv(rank, channels, channels, 3, padding=1, bias=False), normed(rank, channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += x
        return self.relu(out)


def pool(rank: int, kind: str, *args: int, **options: Any) -> nn.Module:
    return getattr(nn, f"{kind}Pool{rank}d")(*args, **options)


def layers(rank: int) -> dict[str, tuple[list[nn.Module], set[str]]]:
    """Networks after a first convolution of 6 maps, and forms that their plans must show."""
    up, mode = getattr(nn, f"ConvTranspose{rank}d"), {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
    mean, side = getattr(nn, f"AdaptiveAvgPool{rank}d"), SIDES[rank]
    twice = [up(6, 6, 3, stride=2, padding=1, output_padding=1), nn.ReLU(), up(6, 3, 3, padding=1)]
    dilated = [conv(rank, 6, 6, 2, dilation=3), conv(rank, 6, 6, 3, padding=2, dilation=2)]
    enlarged = [nn.Upsample(scale_factor=2), nn.ReLU(), nn.Upsample(scale_factor=2, mode=mode)]
    strided = [conv(rank, 6, 6, 3, stride=2, padding=1), nn.ReLU(), conv(rank, 6, 6, 2, stride=2)]
    connected = [nn.Flatten(), nn.Linear(6 * side**rank, 5), nn.Tanh(), nn.Linear(5, 3)]
    greatest = {"running maximum"} if rank == 1 else {"dense"}
    overlapping = pool(rank, "Max", 3, stride=2, padding=1)
    return {
        "folded norms, residuals": ([Residual(rank, 6), Residual(rank, 6)], {"difference", "values"}),
        "strided": (strided, {"recompute"}),
        "1x1": ([nn.ReLU(), conv(rank, 6, 9, 1), normed(rank, 9), nn.ReLU()], {"pointwise"}),
        "grouped": ([nn.Tanh(), conv(rank, 6, 6, 3, groups=3), conv(rank, 6, 12, 3, groups=6)], {"recompute"}),
        "dilated": ([nn.ELU(), *dilated], {"difference"}),
        "transposed": (twice, {"difference"}),
        "grouped transposed": ([up(6, 6, 2, stride=3, groups=2), nn.GELU()], {"difference"}),
        "max pooling": ([overlapping, pool(rank, "Max", 2, ceil_mode=True)], {"values"}),
        "mean pooling": ([pool(rank, "Avg", 3, stride=2, padding=1, count_include_pad=False)], {"difference"}),
        "mean pooling, ceil": ([pool(rank, "Avg", 2, ceil_mode=True)], {"difference"}),
        "enlarged": (enlarged, {"values", "difference"}),
        "global mean": ([nn.ReLU(), mean(1), nn.Flatten(), nn.Linear(6, 4)], {"running sum"}),
        "fully connected": ([nn.ReLU(), *connected], {"low rank", "dense"}),
        "global maximum": ([nn.ReLU(), networks.Apply(lambda x: x.amax(tuple(range(2, 2 + rank))))], greatest),
        "softmax of channels": ([nn.Softmax(1), conv(rank, 6, 2, 1)], {"values"}),
        "reflected": ([nn.ReLU(), conv(rank, 6, 6, 3, padding=2, padding_mode="reflect")], {"values", "difference"}),
        "group norm": ([nn.GroupNorm(2, 6), nn.ReLU()], {"dense"}),
    }


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", list(layers(1)))
def test_layers_equal_brute_force_in_the_form_expected(rank: int, name: str) -> None:
    torch.manual_seed(0)
    parts, forms = layers(rank)[name]
    net = nn.Sequential(conv(rank, 2, 6, 3, padding=1), *parts).eval().double()
    x = torch.randn(1, 2, *[SIDES[rank]] * rank, dtype=torch.float64)
    starts, values = some(x, 40, (2,) * rank)
    engine = PatchEngine(net, x)
    right = brute(net, x, starts, values)
    assert worst(right, engine.base.expand_as(right)) > 1e-4, "the changes must be seen"
    assert worst(engine(starts, values), right) < EXACT
    plan = engine.plan()
    assert forms <= {form for step in engine._memory.steps.values() for form in step.forms}
    assert engine.whole == plan.whole == ""
    assert {row.form for row in plan.rows if "pool" in row.operation} <= {"values", "difference"}
    if "dense" not in forms and name != "enlarged":
        assert plan.macs < plan.full_macs


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "basset", "bpnet", "unet"])
def test_float32_is_within_a_hundred_thousandth(name: str) -> None:
    torch.manual_seed(0)
    options = {"input_size": (600,)} if name == "basset" else {}
    net = zoo.build(name, width=0.125, **options).eval()
    x = torch.rand(1, zoo.ARCHITECTURES[name].options["in_channels"], *INPUT[name])
    starts, values = some(x, 12, (4,) * (x.dim() - 2))
    engine = PatchEngine(net, x)
    found = engine(starts, values)
    with torch.no_grad():
        right = torch.cat([first(net(change)) for change in changed(x, starts, values)])
    assert worst(found, right) < 1e-5
    assert engine.whole == ""


INPUT = {"vgg16": (224, 224), "resnet18": (96, 96), "basset": (600,), "bpnet": (300,), "unet": (64, 64)}


def first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def changed(x: Tensor, starts: Tensor, values: Tensor) -> Iterator[Tensor]:
    """The changed inputs, one by one."""
    for i, start in enumerate(starts.tolist()):
        copy = x.clone()
        copy[(0, slice(None), *(slice(a, a + s) for a, s in zip(start, values.shape[2:], strict=True)))] = values[i]
        yield copy


# Networks that do more than layers do


def writes_through_a_view(x: Tensor) -> Tensor:
    x = x * 2
    part = x[:, :1]
    part.add_(x[:, 1:])
    return x.square()


def keeps_a_list(x: Tensor) -> Tensor:
    made = [x]
    for _ in range(3):
        made.append(F.avg_pool2d(torch.cat(made, 1)[:, :2], 3, 1, 1).relu_())
    return torch.cat(made, 1)


def channels_last(x: Tensor) -> Tensor:
    y = F.layer_norm(x.permute(0, 2, 3, 1), (2,)) * torch.tensor([2.0, 3.0], dtype=x.dtype)
    return F.softmax(y, -1).permute(0, 3, 1, 2) + x


def shuffles(x: Tensor) -> Tensor:
    y = torch.cat([x, x * 2], 1)
    n, c, h, w = y.shape
    y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
    left, right = y.chunk(2, 1)
    return torch.cat([left.relu(), F.pad(right, (1, 1, 1, 1))[:, :, 1:-1, 1:-1]], 1)


def adds_a_map(x: Tensor) -> Tensor:
    place = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
    return (x + place).mul(place[:, None]).sub(1).div(2).clamp(-1, 1) - x.mean(1, keepdim=True)


def remembers_where(x: Tensor) -> Tensor:
    y, where = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(y * 2, where, 2) + x


def takes_every_other(x: Tensor) -> Tensor:
    y = F.pad(x[:, :, 1::2, ::3], (0, 0, 0, 0, 1, 2))
    return y[:, 1:] * y[:, :-1]


def gates(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


def asks_for_numbers(x: Tensor) -> Tensor:
    return x.cumsum(2) + float(x.detach().numpy().size) / len(x)


def scales_first(x: Tensor) -> Tensor:
    gamma = torch.tensor([2.0, -1.0], dtype=x.dtype)[:, None, None]
    place = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
    y = torch.maximum(torch.zeros((), dtype=x.dtype), gamma * x) + (place + x)
    return torch.where(place > 0, y, 2 - y) + 2 ** (0.1 * y)


def normalizes_by_hand(x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    return (x - mean) * torch.rsqrt((x - mean).square().mean(1, keepdim=True) + 0.1)


def is_modern(x: Tensor) -> Tensor:
    y = F.prelu(F.hardswish(x), torch.tensor([0.2, 0.3], dtype=x.dtype))
    return F.adaptive_avg_pool2d(F.adaptive_avg_pool2d(y.float().double(), 12), 6)


def writes_into_zeros(x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 2, 14, 14, dtype=x.dtype)
    out[:, :, 1:-1, 1:-1] += x
    return out.relu() * 2


def enlarges_by_a_fraction(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.05, mode="bilinear") + F.interpolate(x, scale_factor=2.05).relu()


def takes_a_norm_of_each(x: Tensor) -> Tensor:
    return F.instance_norm(x) + F.lp_pool2d(x.relu(), 2, 3, stride=1).mean((2, 3), keepdim=True)


FUNCTIONS = [
    scales_first,
    normalizes_by_hand,
    is_modern,
    writes_into_zeros,
    enlarges_by_a_fraction,
    takes_a_norm_of_each,
    writes_through_a_view,
    keeps_a_list,
    channels_last,
    shuffles,
    adds_a_map,
    gates,
    remembers_where,
    takes_every_other,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_forwards_as_people_write_them(function: Any) -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), networks.Apply(function), nn.Conv2d(2, 2, 3, padding=1))[:2]
    net = net.double().eval()
    x = torch.randn(1, 2, 12, 12, dtype=torch.float64)
    starts, values = some(x, 30, (2, 3))
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
    assert engine.whole == ""


def test_a_forward_that_needs_real_tensors_runs_on_whole_inputs_and_says_why() -> None:
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    starts, values = some(x, 20, (2, 2))
    net = networks.Apply(asks_for_numbers)
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
    assert "numpy" in engine.plan().whole
    assert "numpy" in (engine.plan().table().title or "")


def test_a_forward_that_depends_on_the_batch_runs_on_whole_inputs() -> None:
    net = networks.Apply(lambda x: F.relu(x * 2) if len(x) > 8 else (x * 2).clamp(min=0))
    x = torch.randn(1, 2, 30, dtype=torch.float64)
    starts, values = some(x, 40, (2,))
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
    assert "does not execute the same operations" in engine.whole


def divides_by_the_greatest(x: Tensor) -> Tensor:
    return x / x.max()


def sums_all(x: Tensor) -> Tensor:
    return x - x.mean() + x.sum(0, keepdim=True)


def branches(x: Tensor) -> Tensor:
    return x.relu() if x[0, 0, 0, 0] > 0 else x.sigmoid() * x


@pytest.mark.parametrize("function", [divides_by_the_greatest, sums_all, branches])
def test_networks_that_mix_items_or_look_at_numbers_run_on_whole_inputs_one_by_one(function: Any) -> None:
    net, x = networks.Apply(function), torch.randn(1, 2, 8, 8, dtype=torch.float64)
    starts, values = some(x, 20, (2, 2))
    for engine in (PatchEngine(net, x), PatchEngine(net, -x).on(x)):
        assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
        assert "mixes the items" in engine.whole or "numbers in a tensor" in engine.whole


def test_what_is_passed_in_is_left_alone() -> None:
    net = networks.Apply(lambda x: x.mul_(2).sub_(1).relu_())
    x = torch.randn(1, 2, 12, 12, dtype=torch.float64)
    starts, values = some(x, 20, (12, 12))
    before = x.clone(), values.clone()
    right = torch.cat([net(change) for change in changed(x, starts, values)])
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values), right) < EXACT
    assert torch.equal(before[0], x)
    assert torch.equal(before[1], values)
    x.zero_()  # the engine has its own
    assert worst(engine(starts, values), right) < EXACT


def test_a_layer_before_one_that_writes_over_it() -> None:
    conv_ = nn.Conv2d(2, 3, 3)
    net = nn.Sequential(conv_, nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3)).double().eval()
    x = torch.randn(1, 2, 12, 12, dtype=torch.float64)
    starts, values = some(x, 60, (2, 2))
    engine = PatchEngine(net, x, layer="0")
    assert engine.base.min() < 0
    assert worst(engine(starts, values), brute(conv_, x, starts, values)) < EXACT
    assert [row.path for row in engine.plan().rows] == ["0"]  # what follows does not run


def test_values_that_are_no_numbers() -> None:
    x = torch.rand(1, 2, 12, 12, dtype=torch.float64)
    x[0, 0, 3, 3] = math.inf
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3)).double().eval()
    starts = torch.tensor([[r, c] for r in range(8) for c in range(8)])
    values = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    right = brute(net, x, starts, values)
    found = PatchEngine(net, x)(starts, values)
    assert torch.equal(found.isfinite(), right.isfinite())
    assert right.isfinite().all((1, 2, 3)).any()
    assert torch.allclose(found[right.isfinite()], right[right.isfinite()], rtol=1e-10)


def test_bright_places_that_are_covered_leave_no_rounding() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)).eval()
    x = torch.rand(1, 1, 24, 24)
    x[..., 8:12, 8:12] *= 1e4
    starts, values = torch.tensor([[8, 8]] * 12), torch.zeros(1, 1, 4, 4)
    found = PatchEngine(net, x)(starts, values)
    right = brute(net.double(), x.double(), starts[:1], values.double())
    assert worst(found[:1].double(), right) < 1e-5


def test_low_precision_runs_on_windows() -> None:
    net = small(norm=False).bfloat16()
    x = torch.randn(1, 2, 12, 12).bfloat16()
    starts, values = some(x, 20, (2, 2))
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values).float(), brute(net, x, starts, values).float()) < 0.05
    assert engine.whole == ""


def test_chunks_are_as_large_as_the_windows_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch, "LEAST", 1)
    monkeypatch.setattr(patch, "CHUNK_BYTES", 1 << 16)
    net, x = nn.Conv2d(2, 8, 3, padding=1).eval(), torch.randn(1, 2, 64, 64)
    engine = PatchEngine(net, x)
    engine.plan()  # of one position
    sizes = {}
    for side in (2, 32):
        starts, values = some(x, 60, (side, side))
        sizes[side] = max(len(which) for which, _ in list(engine.evaluate(starts, values))[1:])
    assert sizes[32] == 1 < sizes[2]


def test_a_rule_that_is_wrong_is_found_at_run_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(call: Any) -> Any:
        made = RULES["pointwise"](call)
        made.full.add_(1)
        return made

    monkeypatch.setitem(RULES, "tanh", wrong)
    net, x = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh()).double().eval(), torch.randn(1, 2, 30, dtype=torch.float64)
    starts, values = some(x, 20, (2,))
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
    assert "report this network" in engine.whole


def test_tokens_are_changed_too() -> None:
    torch.manual_seed(0)
    net = zoo.build("keras_text", input_size=(60,)).eval().double().requires_grad_(False)
    x = torch.randint(1, 100, (1, 60))
    starts = torch.arange(0, 60, 7)[:, None]
    engine = PatchEngine(net, x)
    found = engine(starts, torch.zeros(1, 1, dtype=torch.int64))
    changed = x.repeat(len(starts), 1).scatter_(1, starts, 0)
    assert worst(found, net(changed)) < EXACT
    assert engine.whole == ""
    assert engine.plan().rows[0].form == "values"


# The engine itself


def small(norm: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *middle, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 144, 3)).eval()


def test_intermediate_layers() -> None:
    net, x = small().double(), torch.randn(1, 2, 12, 12, dtype=torch.float64)
    starts, values = some(x, 50, (3, 3))
    for path in ("0", "1", "2", "3", "4"):
        engine = PatchEngine(net, x, layer=path)
        right = brute(net[: int(path) + 1], x, starts, values)
        assert torch.equal(engine.base, net[: int(path) + 1](x))
        assert worst(engine(starts, values), right) < EXACT
        assert engine.whole == ""


def test_a_layer_that_runs_twice_gives_its_last_output() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Conv1d(1, 2, 3), relu, nn.Conv1d(2, 2, 3), relu).double().eval()
    x = torch.randn(1, 1, 20, dtype=torch.float64)
    starts, values = some(x, 10, (2,))
    assert worst(PatchEngine(net, x, layer="1")(starts, values), brute(net, x, starts, values)) < EXACT


def test_chunks_hold_each_change_once_and_order_is_that_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch, "CHUNK_BYTES", 1)
    net, x = small().double(), torch.randn(1, 2, 12, 12, dtype=torch.float64)
    starts, values = some(x, 300, (2, 2))
    engine = PatchEngine(net, x)
    parts = list(engine.evaluate(starts, values))
    assert len(parts) >= 10
    assert sorted(torch.cat([which for which, _ in parts]).tolist()) == list(range(300))
    everything = engine(starts, values)
    for which, outputs in parts:
        assert torch.allclose(everything[which], outputs, rtol=1e-10)
    assert engine.plan().changes >= 600


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=80), st.integers(1, 20))
def test_groups_are_a_partition(starts: list[tuple[int, int]], most: int) -> None:
    chunks = patch.grouped(np.asarray(starts), (2, 2), (11, 11), most)
    assert sorted(np.concatenate(chunks).tolist()) == list(range(len(starts)))
    assert all(0 < len(chunk) <= most for chunk in chunks)


def test_no_changes_give_no_outputs() -> None:
    net, x = small(), torch.randn(1, 2, 12, 12)
    assert PatchEngine(net, x)(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(1, 2, 2, 2)).shape == (0, 3)


def test_one_value_serves_all_places_and_a_change_may_be_the_whole_input() -> None:
    net, x = small().double(), torch.randn(1, 2, 12, 12, dtype=torch.float64)
    starts, _ = some(x, 15, (4, 4))
    values = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    assert worst(PatchEngine(net, x)(starts, values), brute(net, x, starts, values)) < EXACT
    zero = torch.zeros(3, 2, dtype=torch.int64)
    everything = torch.randn(3, 2, 12, 12, dtype=torch.float64)
    assert worst(PatchEngine(net, x)(zero, everything), net(everything)) < EXACT


def test_the_same_network_at_another_input() -> None:
    net = nn.Sequential(Residual(2, 2), nn.Flatten(), nn.Linear(2 * 144, 3)).double().eval()
    x, y = torch.randn(2, 1, 2, 12, 12, dtype=torch.float64)
    starts, values = some(x, 60, (2, 2))
    engine = PatchEngine(net, x)
    engine(starts, values)
    other = engine.on(y)
    assert worst(other(starts, values), brute(net, y, starts, values)) < EXACT
    assert {row.path for row in other.plan().rows} <= {row.path for row in engine.plan().rows} - {""}
    assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
    with pytest.raises(
        InputError, match=r"another input has the same shape: expected \(1, 2, 12, 12\), got \(1, 2, 9, 9\)"
    ):
        engine.on(torch.zeros(1, 2, 9, 9))


def test_the_network_is_left_as_it_was() -> None:
    net, x = small(), torch.randn(1, 2, 12, 12)
    net[2].train()  # a ReLU: no harm
    before = [(path, m.training, len(m._forward_hooks), None) for path, m in net.named_modules()]
    weights = {name: t.clone() for name, t in net.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    starts, values = some(x, 30, (2, 2))
    for _which, _outputs in PatchEngine(net, x).evaluate(starts, values):
        break
    assert [(p, m.training, len(m._forward_hooks), None) for p, m in net.named_modules()] == before
    assert all(torch.equal(weights[name], t) for name, t in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.nn.modules.module._global_forward_hooks


def test_a_plan_names_layers_forms_and_multiply_adds() -> None:
    net, x = small(), torch.randn(1, 2, 12, 12)
    engine = PatchEngine(net, x)
    plan = engine.plan()  # of one position in the middle
    assert plan.changes >= 1
    conv_, norm, relu, linear = plan.rows
    assert (conv_.path, conv_.operation, conv_.affected, conv_.space) == ("0", "convolution", (3, 3), (12, 12))
    assert (conv_.form, conv_.macs, conv_.full_macs) == ("difference", 2 * 4 * 9, 2 * 4 * 9 * 144)
    assert (linear.path, linear.form, linear.macs, linear.full_macs) == ("4", "low rank", 9 * 4 * 3, 144 * 4 * 3)
    assert (norm.operation, relu.form) == ("native_batch_norm", "values")
    assert plan.macs == conv_.macs + linear.macs
    table = plan.table()
    assert table.row_count == 5
    assert plan.json()["rows"][0] == {
        "path": "0",
        "operation": "convolution",
        "affected": (3, 3),
        "space": (12, 12),
        "form": "difference",
        "macs": 72.0,
        "full_macs": 10368,
    }


def test_batch_norms_are_folded_after_the_first_pass() -> None:
    net = nn.Sequential(Residual(2, 2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).double().eval()
    x = torch.randn(1, 2, 12, 12, dtype=torch.float64)
    engine = PatchEngine(net, x)
    engine(*some(x, 60, (2, 2)))
    assert len(engine._memory.folded) == 3


@pytest.mark.parametrize(
    ("take", "text"),
    [
        (lambda x: x[0], r"one input: expected a tensor \(1, c, \*space\), or tokens \(1, t\), got \(2, 12, 12\)"),
        (lambda x: x.repeat(2, 1, 1, 1), r"changes are those of one input.*got \(2, 2, 12, 12\)"),
    ],
)
def test_an_input_that_is_no_single_item(take: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        PatchEngine(small(), take(torch.randn(1, 2, 12, 12)))


def test_networks_that_mix_a_batch_are_refused() -> None:
    x = torch.randn(1, 2, 12, 12)
    with pytest.raises(InputError, match=r"this layer is in training mode: 1 \(BatchNorm2d\)\. .*model\.eval\(\)"):
        PatchEngine(small().train(), x)
    with pytest.raises(InputError, match=r"this layer is in training mode: 1 \(RReLU\)"):
        PatchEngine(nn.Sequential(nn.Conv2d(2, 2, 1), nn.RReLU()).train(), x)
    unset = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    with pytest.raises(InputError, match=r"this layer has no statistics of its own: 1 \(BatchNorm2d\)"):
        PatchEngine(unset, x)
    functional = networks.Apply(lambda x: F.batch_norm(x, None, None, training=True))
    with pytest.raises(InputError, match="a batch norm takes the statistics of its batch: the network itself"):
        PatchEngine(functional, x)(torch.tensor([[0, 0]] * 3), x[:, :, :2, :2])


def test_layers_that_are_not_there_or_return_nothing() -> None:
    x = torch.randn(1, 2, 12, 12)
    with pytest.raises(InputError, match=r"the network has no such layer: got '5'"):
        PatchEngine(small(), x, layer="5")
    with pytest.raises(InputError, match=r"the layer returns no tensor: Apply: got NoneType"):
        PatchEngine(networks.Apply(lambda _: None), x)
    unused = nn.Sequential(nn.Conv2d(2, 2, 1))
    unused.spare = nn.Sequential()
    unused.forward = unused[0].forward
    with pytest.raises(InputError, match=r"the layer returns no tensor: spare: got it was not called"):
        PatchEngine(unused, x, layer="spare")
    with pytest.raises((InputError, TypeError), match=r"this is no network|Type-check error"):
        PatchEngine("resnet18", x)


def test_starts_that_are_no_whole_numbers() -> None:
    x = torch.randn(1, 2, 12, 12)
    with pytest.raises((InputError, TypeError), match=r"starts are whole numbers|Type-check error"):
        PatchEngine(small(), x)(torch.tensor([[0.5, 0.5]]), x[:, :, :2, :2])


@pytest.mark.parametrize(
    ("start", "shape", "text"),
    [
        ([9, 11], (1, 2, 3, 3), r"within \(12, 12\), got windows of 3x3, one at \[9, 11\]"),
        ([-1, 0], (1, 2, 3, 3), r"a change lies within the input: .* one at \[-1, 0\]"),
        ([0, 0], (1, 2, 13, 2), r"a change lies within the input: .*windows of 13x2"),
        (
            [0, 0],
            (1, 3, 2, 2),
            r"expected torch.float32 \(1 or 1, c, \*window\) as x .*, got .* \(1, 3, 2, 2\)",
        ),
        ([0], (1, 2, 2, 2), r"a change starts at one index an axis: expected 2, got \(1, 1\)"),
    ],
)
def test_changes_that_do_not_fit(start: list[int], shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        PatchEngine(small(), torch.randn(1, 2, 12, 12))(torch.tensor([start]), torch.zeros(shape))
