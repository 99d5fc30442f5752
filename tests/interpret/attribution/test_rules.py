"""The rules of backward passes against explicit matrices, and the same network written in every way."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import InputError
from striate.interpret import deconvnet, deep_lift, gradient, guided_backpropagation, strongest
from striate.interpret.attribution.rules import Rectified, Rescaled


def masked_in_place(x: Tensor) -> Tensor:
    x *= x > 0
    return x


def set_to_zero(x: Tensor) -> Tensor:
    x[x < 0] = 0
    return x


class Written(nn.Module):
    """conv, activation, conv, + shortcut, concat, activation, dense: with activations written in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv1d(2, 3, 3, padding=1), nn.Conv1d(3, 3, 3, padding=1)
        self.dense = nn.Linear(6 * 7, 4)
        ways: dict[str, Callable[[Tensor], Tensor]] = {
            "modules": nn.ReLU(),
            "in place": nn.ReLU(inplace=True),
            "functions": F.relu,
            "functions in place": lambda x: F.relu(x, True),
            "methods": lambda x: x.relu_(),
            "torch": torch.relu,
            "clamped": lambda x: x.clamp(min=0),
            "clamped in place": lambda x: x.clamp_(0),
            "clip": lambda x: torch.clip(x, 0),
            "maximum": lambda x: torch.maximum(x, torch.zeros(())),
            "zero first": lambda x: torch.maximum(torch.zeros_like(x), x),
            "keywords": lambda x: torch.maximum(input=x, other=torch.zeros(())),
            "max": lambda x: torch.max(x, torch.zeros(())),
            "where": lambda x: torch.where(x > 0, x, 0),
            "where, method": lambda x: x.where(x >= 0, torch.zeros(())),
            "where, keywords": lambda x: torch.where(condition=x.gt(0), input=x, other=torch.zeros(())),
            "where not": lambda x: torch.where(x <= 0, 0, x),
            "mask": lambda x: x * (x > 0),
            "mask of floats": lambda x: (x > 0).to(x.dtype) * x,
            "masked": lambda x: x.masked_fill(x < 0, 0),
            "mask in place": masked_in_place,
            "items set": set_to_zero,
        }
        self.activate = ways[way]
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        h = self.activate(self.first(x))
        g = self.second(h) + h
        g = self.activate(torch.cat([g, h - 0.1], 1))
        return self.dense(g.flatten(1))


WAYS = (
    "in place",
    "functions",
    "functions in place",
    "methods",
    "torch",
    "clamped",
    "clamped in place",
    "clip",
    "maximum",
    "zero first",
    "keywords",
    "max",
    "where",
    "where, method",
    "where, keywords",
    "where not",
    "mask",
    "mask of floats",
    "masked",
    "mask in place",
    "items set",
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [guided_backpropagation, deconvnet, deep_lift])
def test_activations_may_be_written_in_every_way(method, way: str) -> None:
    x = torch.randn(2, 2, 7, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    found, expected = method(Written(way), x, target=1), method(Written("modules"), x, target=1)
    torch.testing.assert_close(found.scores, expected.scores)
    assert not torch.allclose(found.scores, gradient(Written(way), x, target=1).scores)


def dense(seed: int = 0) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    x = torch.randn(1, 1, 6, dtype=torch.double)
    return net, x, torch.stack([net[1].weight[:, 0]])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("guided", [True, False])
def test_rectified_gradients_are_products_of_explicit_matrices(seed: int, guided: bool) -> None:
    net, x, _ = dense(seed)
    first, second, last = (net[i].weight.detach() for i in (1, 3, 5))
    with torch.no_grad():
        before = net[1](x.flatten(1))[0]
        later = net[3](before.relu())
    back = last[2]
    back = back.clamp_min(0) * ((later > 0) if guided else 1)
    back = (second.T @ back).clamp_min(0) * ((before > 0) if guided else 1)
    found = (guided_backpropagation if guided else deconvnet)(net, x, target=2)
    torch.testing.assert_close(found.scores[0], first.T @ back)


def test_a_deconvnet_puts_values_back_where_the_switches_say() -> None:
    """One filter that doubles, pooling by two: the maximum of each pair gets the unit's weight, the rest nothing."""
    net = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(1, 1, 3, bias=False))
    net[0].weight.data.fill_(2)
    net[3].weight.data[:] = torch.tensor([[[1.0, -3.0, 5.0]]])
    x = torch.tensor([[[1.0, 7.0, 4.0, 2.0, 6.0, 9.0, 8.0, 3.0]]])  # maxima 7, 4, 9, 8 at 1, 2, 5, 6
    # Units: 14 - 24 + 90 = 80 and 8 - 54 + 80 = 34; the first is the strongest.
    found = deconvnet(net, x, layer="3", target=strongest(0))
    assert found.base == 80
    # 5 lies on 9, 1 on 7, and the negative -3 on 4 is rectified.
    torch.testing.assert_close(found.scores, torch.tensor([[0.0, 2, 0, 0, 0, 10, 0, 0]]))
    both = deconvnet(net, x, layer="3", target=0)
    # Two units: (1, -3 + 1, 5 - 3, 5) on the maxima.
    torch.testing.assert_close(both.scores, torch.tensor([[0.0, 2, 0, 0, 0, 4, 10, 0]]))


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.LeakyReLU(0.2, True), nn.PReLU(), nn.Hardswish()])
def test_a_smooth_rectifier_has_its_own_slope_when_guided(activation: nn.Module) -> None:
    net = nn.Sequential(activation, nn.Flatten(), nn.Linear(4, 2)).double()
    x = torch.randn(1, 1, 4, dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(activation(x.clone()).sum(), x)
    weight = net[2].weight.detach()[1].clamp_min(0)
    torch.testing.assert_close(deconvnet(net, x, target=1).scores[0], weight)
    torch.testing.assert_close(guided_backpropagation(net, x, target=1).scores[0], weight * slope[0, 0])


MASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "negative part": lambda x: torch.where(x > 0, 0, x),
    "of another tensor": lambda x: x * (x.flip(2) > 0),
    "not at zero": lambda x: x * (x > 0.5),
    "other than zero": lambda x: torch.where(x > 0, x, -1),
    "a maximum of two": lambda x: torch.max(x, x.flip(2)),
    "computed": lambda x: (x.abs() + x) / 2,
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_is_no_rectifier_keeps_its_derivative(name: str) -> None:
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(6, 2))
    net[0].forward = MASKS[name]
    with pytest.raises(InputError, match="no rectifier, so this rule is the plain gradient"):
        deconvnet(net, torch.randn(1, 1, 6), target=0)


def test_a_mask_of_values_that_were_written_over_is_none() -> None:
    def late(x: Tensor) -> Tensor:
        x = x + 0
        mask = x > 0
        return x.neg_() * mask

    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(6, 2))
    net[0].forward = late
    with pytest.raises(InputError, match="no rectifier"):
        guided_backpropagation(net, torch.randn(1, 1, 6), target=0)


def test_no_rectifier_is_an_error() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Tanh(), nn.Flatten())
    for method in (guided_backpropagation, deconvnet):
        with pytest.raises(InputError, match="no rectifier, so this rule is the plain gradient"):
            method(net, torch.zeros(1, 1, 4))


@pytest.mark.parametrize("seed", range(5))
def test_deep_lift_is_a_product_of_slopes_and_matrices(seed: int) -> None:
    net, x, _ = dense(seed)
    baseline = torch.randn(1, 6, dtype=torch.double)
    first, second, last = (net[i].weight.detach() for i in (1, 3, 5))
    with torch.no_grad():
        a, a0 = net[1](x.flatten(1))[0], net[1](baseline)[0]
        b, b0 = net[3](a.relu()), net[3](a0.relu())
    back = last[0] * (b.relu() - b0.relu()) / (b - b0)
    back = (second.T @ back) * (a.relu() - a0.relu()) / (a - a0)
    found = deep_lift(net, x, target=0, baseline=baseline)
    torch.testing.assert_close(found.scores[0], (x[0, 0] - baseline[0]) * (first.T @ back))


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_pool": lambda x: F.max_pool1d(x, 3, 2, 1),
    "max_pool with indices": lambda x: F.max_pool1d(x, 2, 2, return_indices=True)[0],
    "adaptive_max_pool": lambda x: F.adaptive_max_pool1d(x, 4),
    "max": lambda x: x.max(2, keepdim=True).values,
    "max along an axis": lambda x: x.max(axis=2, keepdim=True)[0] + torch.max(input=x, dim=2, keepdims=True).values,
    "max of two": lambda x: torch.max(x, x.flip(2)) + x.max(other=0.3 - x),
    "min": lambda x: x.min(2, keepdim=True).values + x.amin(axis=1, keepdim=True),
    "min of two": lambda x: torch.min(x, other=x.flip(1)),
    "keywords": lambda x: torch.mul(x, other=x.flip(2)) + torch.maximum(x, other=x.flip(1)),
    "all keywords": lambda x: torch.mul(input=x, other=x.tanh()),
    "matmul by keyword": lambda x: torch.matmul(x, other=x.transpose(1, 2)),
    "NumPy's names": lambda x: torch.multiply(x1=x, x2=x.tanh()) + x.amax(axis=(1, 2), keepdims=True),
    "quotient by keyword": lambda x: torch.div(x, other=1 + x.square()) + torch.softmax(x, axis=1),
    "clip": lambda x: torch.clip(x, -0.2, 0.4) + x.clip(min=0.1),
    "log_softmax": lambda x: x.log_softmax(1) + F.log_softmax(input=x, dim=2),
    "softmax by type": lambda x: F.softmax(x, -1, dtype=torch.double) + x.softmax(2, torch.double),
    "softmin": lambda x: F.softmin(x, 2),
    "logsumexp": lambda x: x.logsumexp(2, keepdim=True) + torch.logsumexp(x, dim=1)[:, None],
    "glu": lambda x: F.glu(torch.cat([x, x.flip(2)], 1), 1),
    "exp2": lambda x: x.tanh().exp2(),
    "amax": lambda x: x.amax((1, 2), keepdim=True) * torch.ones(1, 4, 4, dtype=x.dtype),
    "softmax": lambda x: x.softmax(1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[2:], torch.linspace(1, 2, x.shape[2], dtype=x.dtype)),
    "group_norm": lambda x: F.group_norm(x, 2, torch.linspace(1, 2, 4, dtype=x.dtype), torch.ones(4, dtype=x.dtype)),
    "instance_norm": lambda x: F.instance_norm(x),
    "local_response_norm": lambda x: F.local_response_norm(x, 3, 0.5, 0.6, 1.5),
    "product": lambda x: x * x.sigmoid(),
    "in place": lambda x: (x + 0).mul_(x.tanh()).relu_(),
    "quotient": lambda x: x / (1 + x**2),
    "of one": lambda x: 1 / (2 + x.exp()),
    "matmul": lambda x: x @ x.transpose(1, 2),
    "minimum": lambda x: torch.minimum(x, 0.3 - x),
    "maximum": lambda x: torch.maximum(x.tanh(), x[:, :1]),
    "gelu": F.gelu,
    "sqrt": lambda x: (x.abs() + 1).sqrt(),
}


@settings(max_examples=60)
@given(names=st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_deep_lifts_shares_sum_to_the_difference(names: list[str], seed: int) -> None:
    torch.manual_seed(seed)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = nn.ModuleList(nn.Conv1d(k, 4, 1) for k in (2, *[4] * len(names)))

        def forward(self, x: Tensor) -> Tensor:
            for convolution, name in zip(self.convolutions, names, strict=False):
                x = OPERATIONS[name](convolution(x))
                x = F.adaptive_avg_pool1d(x, 4)[:, torch.arange(4) % x.shape[1]]
            return self.convolutions[-1](x).flatten(1)

    net = Net().double()
    x, baseline = (torch.randn(n, 2, 8, dtype=torch.double) for n in (2, 3))
    found = deep_lift(net, x, target=3, baseline=baseline)
    with torch.no_grad():
        difference = net(x)[:, 3] - net(baseline)[:, 3].mean()
    torch.testing.assert_close(found.scores.sum((1, 2)), difference, rtol=1e-6, atol=1e-7)
    assert found.parameters["gap"] < 1e-6


def test_an_operation_without_a_rule_leaves_a_gap() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Softmax(0), nn.Linear(4, 2)).double()  # across the items
    x = torch.randn(2, 1, 4, dtype=torch.double)
    assert deep_lift(net, x, target=0).parameters["gap"] > 1e-3


def test_results_have_the_type_that_was_asked_for() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    for function in (F.softmax, torch.softmax, Tensor.softmax, F.log_softmax, torch.log_softmax, F.softmin):
        with Rescaled(2) as rule:
            made = function(x, dim=1, dtype=torch.double)
        assert (made.dtype, rule.met) == (torch.double, 1)
        torch.testing.assert_close(made, function(x, dim=1, dtype=torch.double))


class TimeFirst(nn.Module):
    """A network that has time on axis 0 inside, `back` to items before its activation or not."""

    def __init__(self, back: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.dense, self.back = nn.Linear(3, 5), nn.Linear(5, 2), back

    def forward(self, x: Tensor) -> Tensor:
        h = self.mix(x.permute(2, 0, 1))
        h = F.relu(h.transpose(0, 1) if self.back else h)
        return self.dense(h.mean(1 if self.back else 0).tanh())


TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.transpose(0, 2).relu().transpose(0, 2),
    "by property": lambda x: x[:, :, 0].T.relu().T,
    "one by one": lambda x: torch.stack([item.relu() for item in x]).flatten(1),
    "taken": lambda x: torch.stack([x[0].sigmoid(), x[1].sigmoid()]).flatten(1),
    "folded after a turn": lambda x: x.transpose(0, 1).flatten(0, 1).square().unflatten(0, (4, -1)).transpose(0, 1),
    "product": lambda x: (x.movedim(0, 1) * x.movedim(0, 1).exp()).movedim(1, 0),
    "a scale of all": lambda x: x * x.mean(),
}


@pytest.mark.parametrize("name", TURNS)
def test_items_must_lie_on_axis_0_where_a_rule_of_deep_lift_acts(name: str) -> None:
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.LazyLinear(2))
    net[0].forward = TURNS[name]
    with torch.no_grad():
        net(torch.randn(2, 4, 6))
    says = r"along axis 0, and this may be another axis: \w+: expected 2 rows, got \(.*\).*\. Keep the items"
    with pytest.raises(InputError, match=says):
        deep_lift(net, torch.randn(1, 4, 6), target=0)


@pytest.mark.parametrize(("items", "time"), [(1, 7), (1, 6), (2, 4), (1, 2)])
def test_time_first_is_told_unless_it_ends_before_the_rule(items: int, time: int) -> None:
    """Also where there are as many times as rows, which no shape tells; then it is told in either case."""
    x = torch.randn(items, 3, time)
    with pytest.raises(InputError, match=rf"relu: expected {2 * items} rows, got .*, after axes of \[{time}\] came"):
        deep_lift(TimeFirst(back=False), x, target=0)
    if time == 2 * items:
        with pytest.raises(InputError, match="explain another number of items at a time"):
            deep_lift(TimeFirst(back=True), x, target=0)
    else:
        assert deep_lift(TimeFirst(back=True), x, target=0).parameters["gap"] < 1e-5


def test_items_may_be_folded_with_what_follows_them() -> None:
    """As frames that a network takes for items of their own."""
    x = torch.randn(2, 4, 6, dtype=torch.double)
    plain, folded = (nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(24, 2)).double() for _ in range(2))
    folded.load_state_dict(plain.state_dict())
    plain[0].forward = torch.sigmoid
    folded[0].forward = lambda x: x.flatten(0, 1).sigmoid().unflatten(0, (-1, 4))
    torch.testing.assert_close(deep_lift(folded, x, target=0).scores, deep_lift(plain, x, target=0).scores)


def test_rules_end_with_their_context() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    for rule in (Rectified(guided=False), Rescaled(2)):
        with rule:
            F.relu(x)
        assert rule.met == 1
    (slope,) = torch.autograd.grad(-F.relu(x).sum(), x)
    assert slope.tolist() == [0, -1]


def test_equal_values_of_item_and_reference_have_the_derivative() -> None:
    net = nn.Sequential(nn.Sigmoid(), nn.Flatten(), nn.Linear(3, 1)).double()
    x = torch.randn(1, 1, 3, dtype=torch.double)
    near, same = (deep_lift(net, x, target=0, baseline=(x - d)[0]).scores for d in (1e-3, 0.0))
    torch.testing.assert_close(same, torch.zeros_like(same))
    exact = gradient(net, x, target=0).scores
    torch.testing.assert_close(near / 1e-3, exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("rank", "kind"), list(itertools.product((1, 2, 3), ("max_pool", "adaptive_max_pool"))))
def test_maximum_pooling_shares_out_in_every_rank(rank: int, kind: str) -> None:
    pool = getattr(F, f"{kind}{rank}d")
    net = nn.Sequential(nn.Identity(), nn.Flatten())
    net[0].forward = lambda x: pool(x, 2)
    x = torch.randn(2, 1, *[5] * rank, dtype=torch.double)
    found = deep_lift(net, x, target=lambda out: out.sum(1))
    torch.testing.assert_close(found.scores.flatten(1).sum(1), pool(x, 2).flatten(1).sum(1) - 0)
