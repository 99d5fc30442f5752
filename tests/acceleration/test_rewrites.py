"""Each rewrite alone: what it touches, and that outputs stay; layouts, ranks and borders where it must not act."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from striate.acceleration import REWRITES
from striate.acceleration.graph import aten, calls, copied
from striate.acceleration.plan import Call, Plan, captured, difference, rewritten
from striate.acceleration.rewrites import algorithms
from striate.ops.algorithms import operators

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Apply(nn.Module):
    """A function of layers as a network."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.layers)


def drawn(model: nn.Module) -> nn.Module:
    """Every weight and statistic at random: of both signs, and one channel of each norm does not pass."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
                with torch.no_grad():
                    module.weight[0] = 0
    return model.eval()


@torch.no_grad()
def plan_of(model: nn.Module, x: Tensor, names: Sequence[str]) -> tuple[Plan, Plan]:
    """The network as it is, and with these rewrites; each must have been kept, or had nothing to do."""
    call = Call(*pytree.tree_flatten(((x,), {})))
    plain, wanted = captured(model, call)
    plan = rewritten(plain, names, call, wanted, 1e-5)
    assert [step.reason for step in plan.steps if step.reason not in ("", "nothing to do")] == []
    assert difference(pytree.tree_leaves(plan([x])), wanted) <= 1e-5
    return plain, plan


def touched(model: nn.Module, x: Tensor, *names: str) -> list[int]:
    """How many layers each rewrite touched."""
    plan = plan_of(drawn(model), x, names)[1]
    return [step.layers for step in plan.steps]


def count(plan: Plan, *targets: Any) -> int:
    """How many operations of these kinds a plan has."""
    return len(list(calls(plan.graph.graph, *targets)))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3), st.booleans(), st.booleans(), st.sampled_from([1, 2]), st.booleans(), st.booleans())
def test_norms_join_convolutions(
    rank: int, transposed: bool, bias: bool, groups: int, affine: bool, double: bool
) -> None:
    dtype = torch.float64 if double else torch.float32
    conv = (TRANSPOSED if transposed else CONV)[rank](4, 6, 3, stride=2, padding=1, groups=groups, bias=bias)
    model = nn.Sequential(conv, NORM[rank](6, affine=affine), nn.ReLU()).to(dtype)
    plain, plan = plan_of(drawn(model), torch.randn(2, 4, *[7] * rank, dtype=dtype), ["fold norms"])
    assert plan.steps[0].layers == 1
    assert count(plan, aten.native_batch_norm.default) == 0 < count(plain, aten.native_batch_norm.default)


def test_norms_join_linear_layers() -> None:
    assert touched(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), torch.randn(3, 5), "fold norms") == [1]


@pytest.mark.parametrize(
    ("function", "layers"),
    [
        (lambda x, conv, norm: norm(F.relu(conv(x))), (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
        (lambda x, conv, norm: norm(y := conv(x)) + y, (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
        (lambda x, conv, norm: norm(F.conv2d(x, conv.weight * x.mean())), (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
        (lambda x, conv, norm: norm(conv(x)), (nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True))),
        (lambda x, norm, _: norm(x), (nn.BatchNorm2d(3), nn.Identity())),
    ],
    ids=["relu between", "read twice", "weights of the input", "statistics of the input", "nothing before"],
)
def test_norms_that_cannot_be_folded_stay(function: Any, layers: Any) -> None:
    assert touched(Apply(function, *layers), torch.randn(2, 3, 6, 6), "fold norms") == [0]


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3), st.booleans())
def test_norms_ahead_of_a_pointwise_convolution_become_a_clamp(rank: int, bias: bool) -> None:
    model = nn.Sequential(NORM[rank](4), nn.ReLU(), CONV[rank](4, 3, 1, bias=bias))
    _, plan = plan_of(drawn(model), torch.randn(2, 4, *[5] * rank), ["fold norms ahead"])
    assert plan.steps[0].layers == 1
    assert count(plan, aten.clamp.Tensor) == 1
    nn.init.uniform_(model[0].weight, 0.5, 1)
    _, plan = plan_of(model, torch.randn(2, 4, *[5] * rank), ["fold norms ahead"])
    assert count(plan, aten.maximum.default) == 1


def test_norms_ahead_of_padding_stay() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    assert touched(model, torch.randn(2, 4, 5, 5), "fold norms ahead") == [0]


def test_averages_go_before_a_pointwise_convolution_and_only_there() -> None:
    x = torch.randn(2, 4, 7, 7)
    for pool, moved in ((nn.AvgPool2d(2), 1), (nn.AvgPool2d(3, 2, 1), 0), (nn.AvgPool2d(2, ceil_mode=True), 0)):
        assert touched(nn.Sequential(nn.Conv2d(4, 3, 1), pool), x, "average first") == [moved]
    assert touched(nn.Sequential(nn.Conv2d(4, 3, 3), nn.AvgPool2d(2)), x, "average first") == [0]
    assert touched(nn.Sequential(nn.Conv2d(4, 3, 1), nn.AvgPool2d(2, divisor_override=3)), x, "average first") == [0]


def test_pools_go_before_a_relu_that_no_convolution_takes() -> None:
    x = torch.randn(2, 3, 9, 9)
    both = nn.Sequential(nn.GroupNorm(1, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    assert touched(both, x, "pool before ReLU") == [1]
    assert touched(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.MaxPool2d(2)), x, "pool before ReLU") == [0]
    where = nn.Sequential(nn.GroupNorm(1, 3), nn.ReLU(), nn.MaxPool2d(2, return_indices=True))
    assert touched(where, x, "pool before ReLU") == [0]


class Gate(nn.Module):
    """A layer of WaveNet, with its options."""

    def __init__(self, dilation: int, swapped: bool = False, after: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 2, dilation=dilation)
        self.out = nn.Conv1d(4, 5, 1)
        self.dilation, self.swapped, self.after = dilation, swapped, after

    def forward(self, x: Tensor) -> Tensor:
        filtered, gate = self.conv(F.pad(x, (self.dilation, self.after))).chunk(2, 1)
        if self.swapped:
            filtered, gate = gate, filtered
        z: Tensor = self.out(filtered.tanh() * gate.sigmoid())
        return z


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 12), st.booleans())
def test_gates_and_zeros_in_front(dilation: int, swapped: bool) -> None:
    found = touched(Gate(dilation, swapped), torch.randn(2, 4, 40), "padding inside", "one tanh for a gate")
    assert found == [1 if dilation <= 10 else 0, 0 if swapped else 1]


def test_zeros_behind_stay() -> None:
    assert touched(Gate(2, after=3), torch.randn(2, 4, 40), "padding inside") == [0]


def test_a_gate_that_is_read_by_others_stays() -> None:
    def function(x: Tensor, conv: nn.Module, out: nn.Module) -> Tensor:
        z = torch.mul(*[f(h) for f, h in zip((torch.tanh, torch.sigmoid), conv(x).chunk(2, 1), strict=True)])
        return out(z) + z

    model = Apply(function, nn.Conv1d(4, 8, 1), nn.Conv1d(4, 4, 1))
    assert touched(model, torch.randn(2, 4, 9), "one tanh for a gate") == [0]


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 3), st.booleans())
def test_a_convolution_of_two_side_by_side_is_a_sum(rank: int, bias: bool) -> None:
    def function(x: Tensor, one: nn.Module, both: nn.Module) -> Any:
        return both(torch.cat([x, one(x)], 1))

    model = Apply(function, CONV[rank](3, 4, 1), CONV[rank](7, 5, 3, padding=1, bias=bias))
    _, plan = plan_of(drawn(model), torch.randn(2, 3, *[6] * rank), ["sums for concatenations", "pack"])
    assert plan.steps[0].layers == 1
    assert count(plan, aten.cat.default, aten.add.Tensor) == 0  # the sum is done inside the second convolution


def test_signals_stay_rows_between_convolutions() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3), nn.MaxPool1d(2), nn.Conv1d(4, 2, 1))
    _, plan = plan_of(drawn(model), torch.randn(2, 3, 20), ["signals as rows"])
    assert plan.steps[0].layers == 3
    assert count(plan, aten.unsqueeze.default, aten.squeeze.dim) == 2


ACTIVATIONS = [
    *(nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 2.0), nn.LeakyReLU(0.2), nn.LeakyReLU(), nn.Sigmoid(), nn.Tanh()),
    *(nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.GELU(), nn.Softplus(), nn.ELU(), nn.ReLU(inplace=True)),
]


@pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_packed_convolutions_with_activations(rank: int, act: nn.Module) -> None:
    model = nn.Sequential(
        CONV[rank](3, 4, 3, padding=1), act, CONV[rank](4, 4, 1, groups=2), nn.Flatten(), nn.Linear(4 * 6**rank, 3), act
    )
    assert touched(model, 3 * torch.randn(2, 3, *[6] * rank), "signals as rows", "pack")[1] == 3


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
    st.sampled_from([1, 2, 6]),
    st.booleans(),
)
def test_packed_convolutions_of_any_window(
    stride: int, kernel: int, padding: int, dilation: int, groups: int, bias: bool
) -> None:
    conv = nn.Conv2d(6, 12, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1), groups, bias)
    assert touched(nn.Sequential(conv, nn.ReLU()), torch.randn(2, 6, 9, 5), "pack") == [1]


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_packed_transposed_convolutions(stride: int, kernel: int, padding: int, bias: bool) -> None:
    out = stride - 1
    for rank in (1, 2):
        conv = TRANSPOSED[rank](3, 5, kernel, stride, padding, out, bias=bias)
        found = touched(nn.Sequential(conv, nn.ReLU()), torch.randn(2, 3, *[6] * rank), "signals as rows", "pack")
        assert found == [2 - rank, 1]


def residual(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    y = one(x)
    return F.relu(two(F.relu(y)) + y) + x.mean()


def doubled(x: Tensor, one: nn.Module, _: nn.Module) -> Tensor:
    y = one(x)
    return y + y


def scaled_sum(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    return torch.add(one(x), two(x), alpha=3)


def broadcast(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    return one(x) + two(x).mean((2, 3), keepdim=True)


def in_both_orders(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    a = one(x)
    b = two(x)
    return F.relu(b + a) * F.relu(a).sum()


def over_the_input(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    return F.relu(x + two(one(x)))


def over_an_output(x: Tensor, one: nn.Module, two: nn.Module) -> tuple[Tensor, Tensor]:
    y = one(x)
    return y, y + two(y)


def of_its_own_input(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    y = one(x)
    return F.relu(y + two(y)).sum() + x


def viewed_later(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    y = one(x)
    view = y.flatten(2)
    return F.relu(y + two(F.relu(y))).sum() + view


def chained(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    y = one(x)
    for _ in range(3):
        y = y + two(one(y).tanh())
    return F.relu(y)


def test_a_residual_is_written_over_its_input() -> None:
    model = drawn(Apply(chained, nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)))
    _, plan = plan_of(model, torch.randn(2, 4, 6, 6), ["pack"])
    assert count(plan, torch.ops.mkldnn._convolution_pointwise_.binary) == 3


@pytest.mark.parametrize(
    "function",
    [
        of_its_own_input,
        viewed_later,
        chained,
        residual,
        doubled,
        scaled_sum,
        broadcast,
        in_both_orders,
        over_the_input,
        over_an_output,
    ],
)
def test_packed_sums(function: Any) -> None:
    model = drawn(Apply(function, nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)))
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    _, plan = plan_of(model, x, list(REWRITES))
    again = pytree.tree_leaves(plan([x]))
    with torch.no_grad():
        assert difference(again, pytree.tree_leaves(model(x))) <= 1e-5
    assert torch.equal(x, before)


def activates_in_place(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    y = two(F.relu_(one(x)))
    y += 1
    y[:, :1].mul_(2)
    return F.gelu(y).tanh_()


def holds_a_view(x: Tensor, one: nn.Module, two: nn.Module) -> tuple[Tensor, Tensor]:
    y = F.gelu(one(x))
    part = y[:, :1]
    return F.relu(y), two(x) + part


def shuffles(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    y = one(x).unflatten(1, (2, 2)).transpose(1, 2).reshape(x.shape)
    return two(y).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("function", [activates_in_place, holds_a_view, shuffles])
def test_writes_and_views(function: Any) -> None:
    model = drawn(Apply(function, nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)))
    x = torch.randn(2, 4, 6, 6)
    _, plan = plan_of(model, x, list(REWRITES))
    with torch.no_grad():
        assert difference(pytree.tree_leaves(plan([x])), pytree.tree_leaves(model(x))) <= 1e-5


def test_in_place_takes_memory_that_nobody_else_reads() -> None:
    def function(x: Tensor) -> Tensor:
        y = F.gelu(x)
        kept = F.gelu(y)
        return F.relu(y) + F.relu(kept) + F.relu(x)

    assert touched(Apply(function), torch.randn(2, 3), "in place") == [3]  # relu(kept), and both sums


LONG = nn.Conv1d(4, 16, 3, padding=1), nn.Conv1d(16, 16, 512, padding=256), nn.Conv1d(16, 8, 3)
ALONE = nn.Conv1d(4, 64, 1), nn.Conv1d(64, 64, 65, padding=32, groups=64), nn.Conv1d(64, 8, 1)
WIDE = nn.Conv2d(4, 32, 1), nn.Conv2d(32, 32, 31, padding=15, groups=32), nn.Conv2d(32, 8, 1)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [(LONG, (2, 4, 4096)), (ALONE, (2, 4, 4096)), (WIDE, (1, 4, 64, 64))],
    ids=["512 taps", "channels alone", "31x31"],
)
def test_another_algorithm_among_packed_layers(monkeypatch: pytest.MonkeyPatch, layers: Any, shape: Any) -> None:
    """What `striate.ops` chooses runs, also on channels_last from a packed layer, and hides no NaN."""
    taken: list[str] = []
    forward = operators._forward

    def seen(name: str, *arguments: Any, **options: Any) -> Tensor:
        taken.append(name)
        return forward(name, *arguments, **options)

    monkeypatch.setattr(algorithms, "gains", lambda *_: True)
    monkeypatch.setattr(operators, "_forward", seen)
    model, x = drawn(nn.Sequential(*layers)), torch.randn(shape)
    _, plan = plan_of(model, x, list(REWRITES))
    assert {step.rewrite: step.layers for step in plan.steps}["another algorithm"] == 1
    assert count(plan, torch.ops.mkldnn._convolution_pointwise.default) >= 1
    taken.clear()
    plan([x])
    assert len(taken) == 1
    x[0, 0, 5] = torch.nan
    with torch.no_grad():
        assert plan([x]).isnan()[model(x).isnan()].all()


def test_convolutions_for_which_torch_is_chosen_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[torch.Size] = []

    def gains(*arguments: Any) -> bool:
        looked.append(arguments[2].shape)
        return False

    monkeypatch.setattr(algorithms, "gains", gains)
    model = nn.Sequential(nn.Conv1d(4, 4, 512, padding=256), nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 31, stride=8))
    monkeypatch.setattr(algorithms, "choice", lambda conv, _: "direct" if conv.stride == [8] else "fft")
    assert touched(model, torch.randn(2, 4, 4096), "another algorithm") == [0]
    assert looked == [(4, 4, 512)]


@pytest.mark.parametrize(("seconds", "found"), [((3, 1), [1]), ((1, 3), [0]), ((1, 1), [0])])
def test_the_slower_algorithm_is_left(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], found: list[int]
) -> None:
    steps = itertools.cycle([0.0, *seconds])
    clock = itertools.accumulate(steps)
    monkeypatch.setattr(algorithms, "now", lambda: next(clock))
    monkeypatch.setattr(algorithms, "choice", lambda *_: "fft")
    assert touched(nn.Conv1d(3, 4, 31), torch.randn(2, 3, 64), "another algorithm") == found


def test_a_norm_over_another_axis_than_that_of_the_linear_layer_stays() -> None:
    for features in (4, 6):
        layers = nn.Linear(5, features), nn.BatchNorm1d(4), nn.Conv1d(4, 3, 1), nn.BatchNorm1d(3)
        assert touched(nn.Sequential(*layers), torch.randn(2, 4, 5), "fold norms") == [1]


def of_a_sum(x: Tensor, conv: nn.Module, linear: Any) -> Tensor:
    y = conv(x).flatten(1)
    return torch.addmm(y[:, :4], y, linear.weight.t())


def test_a_product_that_is_no_linear_layer() -> None:
    model = Apply(of_a_sum, nn.Conv2d(1, 1, 1), nn.Linear(9, 4))
    assert touched(model, torch.randn(4, 1, 3, 3), "pack") == [1]


def test_zeros_between_channels_stay_between_signals() -> None:
    model = Apply(lambda x, a, b: b(F.pad(a(x), (1, 1, 1, 0))), nn.Conv1d(3, 4, 3), nn.Conv1d(5, 2, 3))
    assert touched(model, torch.randn(2, 3, 20), "signals as rows") == [2]


def test_gates_of_a_transposed_convolution_stay() -> None:
    def function(x: Tensor, conv: nn.Module, out: nn.Module) -> Any:
        a, b = conv(x).chunk(2, 1)
        return out(a.tanh() * b.sigmoid())

    model = Apply(function, nn.ConvTranspose1d(8, 8, 3), nn.Conv1d(4, 2, 1))
    assert touched(model, torch.randn(2, 8, 20), "one tanh for a gate") == [0]


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bool])
def test_sums_of_other_types_stay_sums(dtype: torch.dtype) -> None:
    model = Apply(lambda x, conv, _: conv(x) + (x > 0).to(dtype), nn.Conv2d(3, 3, 1), nn.Identity())
    assert touched(model, torch.randn(2, 3, 5, 5), "pack") == [1]


def test_a_copy_of_a_graph_leaves_the_first_alone() -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    plain, _ = plan_of(model, torch.randn(1, 3, 5, 5), ["fold norms", "pack"])
    assert count(plain, aten.native_batch_norm.default) == 1
    assert str(copied(plain.graph).graph) == str(plain.graph.graph)
