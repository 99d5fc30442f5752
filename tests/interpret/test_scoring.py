"""What every explanation begins with, wrongly asked: targets, inputs, outputs that are no numbers; odd layers."""

from __future__ import annotations

import math
import re
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.interpret import (
    ablate,
    cam,
    deep_lift,
    grad_cam,
    gradient,
    guided_backpropagation,
    integrated_gradients,
    layer_cam,
    maximize,
    motif_spacing,
    mutagenesis,
    occlusion,
    score_cam,
    variants,
)
from striate.interpret.scoring import classes_of, feeding, first_tensor, one_each, scored, with_first

OF_ITEMS = [gradient, integrated_gradients, deep_lift, grad_cam, layer_cam, score_cam, cam]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3)).double().eval()


def images(n: int = 2) -> Tensor:
    return torch.rand(n, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def says(text: str) -> Any:
    return pytest.raises(InputError, match=re.escape(text))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", OF_ITEMS)
def test_targets_are_one_for_each_of_all_items(method: Any) -> None:
    """Also of more items than run at a time."""
    net, x = network(), images(20)
    for given, got in (([0] * 16, "[0, 0, 0"), ([0] * 21, "[0, 0, 0"), ([], "[]"), (torch.zeros(1).long(), "[0]")):
        with says(f"the targets are not one for each item: expected one index, or 20 (one for each item), got {got}"):
            method(net, x, target=given)
    for wrong in ("dog", 2.5, [0.5] * 20, [[0]] * 20, True, 10**30, object()):
        with says("no such target: expected an index along axis 1 of the output, one for each item, a function of"):
            method(net, x, target=wrong)
    with says("no such target: expected 0 to 2 (output"):
        method(net, x, target=[0] * 19 + [3])


@pytest.mark.usefixtures("unchecked")
def test_targets_elsewhere() -> None:
    net, x = network(), images(1)
    for call in (lambda: ablate(net, x, "0", target="dog"), lambda: scored(net(x), "dog")):
        with says("no such target: expected an index along axis 1"):
            call()
    for wrong in ("dog", []):
        with says("no such target: expected 0 to 2"):
            occlusion(net, x, target=wrong)
    assert one_each(lambda output: output[:, 0], 3) is None
    assert classes_of(net(x), torch.tensor(2)) == [2]


@pytest.mark.parametrize("method", [*OF_ITEMS, occlusion])
def test_an_input_that_the_network_cannot_take(method: Any) -> None:
    x = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    layer = {"layer": "2"} if method in (grad_cam, layer_cam, score_cam) else {}
    with says("the network fails on this input: Sequential: got items (3, 6, 6) of float64 (RuntimeError: ") as caught:
        method(network(), x, **layer)
    assert "to have 2 channels, but got 3 channels instead" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with says("the network fails on this input"):
        gradient(network(), x, layer="2")


def test_sequences_and_tokens_that_the_network_cannot_take() -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).eval()
    for call in (
        lambda: mutagenesis(net, "ACGTACG"),
        lambda: variants(net, "ACGTACG", [(0, "A", "C")]),
        lambda: motif_spacing(net, "A", "C", ["ACGTACG"]),
    ):
        with says("the network fails on this input: Sequential: got items (4, 7) of float32 (RuntimeError: "):
            call()
    words = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(8, 2))
    for method in (gradient, occlusion):
        with says("got items (4,) of int64 (IndexError: index out of range"):
            method(words, torch.tensor([[0, 1, 2, 3]]))


def test_memory_and_errors_of_our_own_are_told_as_they_are() -> None:
    with pytest.raises(torch.OutOfMemoryError), feeding(network(), images()):
        raise torch.OutOfMemoryError("none left")
    with says("as it was"), feeding(network(), images()):
        raise InputError("as it was")


class Output(nn.Module):
    """The logarithm of the first values, or what else a function makes."""

    def __init__(self, function: Any = torch.log) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 2, 1, bias=False).double(), function
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(2)[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x).mean((2, 3)))


def test_outputs_that_are_no_numbers() -> None:
    net, x = Output(), images(3)
    x[1] = 0
    for method in (gradient, grad_cam, layer_cam, score_cam):
        with says("the output that is explained is no number: item 1: got -inf. Explain a layer before"):
            method(net, x, target=0, **({"layer": "conv"} if method in (grad_cam, layer_cam, score_cam) else {}))
    for method in (integrated_gradients, deep_lift):
        with says("the output that is explained is no number: item 1: got -inf"):
            method(net, x, target=0, baseline=1.0)
        # log(0) at the baseline: the gap was told as 0
        with says("the output for the baseline is no number: item 0: got -inf"):
            method(net, x[:1], target=0)
    with says("the output that is explained is no number: got nan"):
        occlusion(Output(lambda y: y / 0 - y / 0), x[:1])
    masked = occlusion(Output(lambda y: torch.stack([y[:, 0], y[:, 1] - math.inf], 1)), x[:1], patch=2)
    assert masked.heatmap()[0].isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers(value: float) -> None:
    net, x = network(), images(1)
    bad = x.clone()
    bad[0, 1, 2, 3] = value
    with says(f"the input has a value that is no number: x[0, 1, 2, 3]: got {value}"):
        occlusion(net, bad)
    for method in (integrated_gradients, deep_lift):
        for baseline in (value, [0.0, value], bad[0]):
            with says(f"the baseline has a value that is no number: expected finite values, got {value}"):
                method(net, x, baseline=baseline)
    for fill in (value, [0.0, value], bad):
        with says(f"the fill has a value that is no number: expected finite values, got {value}"):
            occlusion(net, x, fill=fill)
    words = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(8, 2))
    with says(f"the fill does not fit the input: expected a token, from 0, got {value}"):
        occlusion(words, torch.zeros(1, 4, dtype=torch.long), fill=value)


Pair = namedtuple("Pair", ["state", "out"])
FORMS = {
    "tuple": lambda y: (y, 3),
    "none first": lambda y: (None, y),
    "list": lambda y: [1, y],
    "dictionary": lambda y: {"scale": 2.0, "out": y},
    "ordered": lambda y: OrderedDict(out=y, more=None),
    "named": lambda y: Pair(None, y),
    "nested": lambda y: ({"deep": (None, [y])}, y * 0),
    "of torch": lambda y: torch.max(y, 1, keepdim=True),
}
TAKEN = {
    "tuple": lambda out: out[0],
    "none first": lambda out: out[1],
    "list": lambda out: out[1],
    "dictionary": lambda out: out["out"],
    "ordered": lambda out: out["out"],
    "named": lambda out: out.out,
    "nested": lambda out: out[0]["deep"][1][0],
    "of torch": lambda out: out.values,
}


class Odd(nn.Module):
    """A layer that returns its output in some form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = FORMS[form]
        self.conv = nn.Conv2d(2, 3, 3).double()

    def forward(self, x: Tensor) -> Any:
        return self.form(self.conv(x).tanh())


class Around(nn.Module):
    """A network with such a layer; `Around.plain` is the same with the output itself."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.odd, self.take = Odd(form), TAKEN[form]
        self.last = nn.Conv2d(1 if form == "of torch" else 3, 2, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.take(self.odd(x)) ** 2).mean((2, 3))


@pytest.mark.parametrize("form", FORMS)
def test_layers_that_return_more_than_a_tensor(form: str) -> None:
    """Grad-CAM cuts the graph at the layer; ablation puts a channel's value in its place."""
    net, x = Around(form).eval(), images()
    values = net.take(net.odd(x)).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(net.last(values**2).mean((2, 3))[:, 1].sum(), values)
    found = grad_cam(net, x, layer="odd", target=1)
    torch.testing.assert_close(found.scores, (slopes.mean((2, 3), keepdim=True) * values.detach()).sum(1).clamp_min(0))
    without = values.detach().clone()
    without[:, 0] = 0
    expected = float(net.last(without**2).mean((2, 3))[:, 1].mean().detach())
    lost = ablate(net, x, "odd", target=1)
    torch.testing.assert_close(lost.base - float(lost.loss[0]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_first_tensor_is_replaced(form: str) -> None:
    out = FORMS[form](torch.arange(8.0).reshape(1, 2, 2, 2))
    new = torch.full_like(first_tensor(out, ""), -1)
    made = with_first(out, new)
    assert type(made) is type(out)
    assert first_tensor(made, "") is new
    assert first_tensor(out, "") is not new
    if form == "nested":
        assert made[1] is out[1]


@pytest.mark.usefixtures("unchecked")
def test_maximize_tells_of_a_wrong_target() -> None:
    with says("no such target"):
        maximize(network(), (2, 6, 6), target="dog", steps=1)


class Viewing(nn.Module):
    """A network that flattens by a view, as PyTorch's tutorials do: a layout with channels innermost forbids it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.dense = nn.Conv2d(3, 4, 3), nn.Linear(4 * 3 * 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(nn.functional.max_pool2d(self.conv(x).relu(), 2).view(-1, 36))


@pytest.mark.parametrize("items", [1, 12])
@pytest.mark.parametrize(
    "method", [gradient, guided_backpropagation, deep_lift, integrated_gradients, grad_cam, score_cam]
)
def test_networks_that_take_views(method, items) -> None:
    model, x = Viewing(), torch.randn(items, 3, 8, 8)
    flat = nn.Sequential(model.conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), model.dense)
    given = {"layer": "conv"} if method in (grad_cam, score_cam) else {}
    named = {"layer": "0"} if given else {}
    found, wanted = method(model, x, target=1, **given), method(flat, x, target=1, **named)
    torch.testing.assert_close(found.scores, wanted.scores)
