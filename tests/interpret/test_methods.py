"""Methods by their names: options of the wrong type are told before anything runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import InputError
from striate.interpret import METHODS, ablate, consistency, explain, filter_motifs, gradient, occlusion, smooth_grad


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


def image() -> Tensor:
    return torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def test_methods_are_public() -> None:
    torch.testing.assert_close(explain(network(), image(), "gradient").scores, gradient(network(), image()).scores)
    assert "occlusion" in METHODS


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "integrated_gradients:steps=2.5",
            "wrong type: method integrated_gradients: steps: expected a whole number, got 2.5",
        ),
        ("smooth_grad:noise=abc", "wrong type: method smooth_grad: noise: expected a finite number, got 'abc'"),
        ("smooth_grad:noise=nan", "wrong type: method smooth_grad: noise: expected a finite number, got 'nan'"),
        ("smooth_grad:seed=abc", "wrong type: method smooth_grad: seed: expected a whole number, got 'abc'"),
        ("smooth_grad:squared=1", "wrong type: method smooth_grad: squared: expected true or false, got 1"),
        ("grad_cam:signed=2", "wrong type: method grad_cam: signed: expected true or false, got 2"),
        ("mutagenesis:edit=3", "wrong type: method mutagenesis: edit: expected text, got 3"),
        ("mutagenesis:unknown=x", "method mutagenesis: unknown: expected a finite number or null, got 'x'"),
        ("maximize:unit=x", "wrong type: method maximize: unit: expected numbers, got 'x'"),
        ("maximize:data=x", "wrong type: method maximize: data: expected what only Python can give, got 'x'"),
        ("equivariance:shifts=x", "wrong type: method equivariance: shifts: expected numbers, got 'x'"),
        ("occlusion:patch=x", "wrong patch: expected a whole number from 1, or 2 of them, got 'x'"),
        ("occlusion:fill=x", 'unknown fill: expected a number, one for each channel, a tensor or "mean", got x'),
        ("deep_lift:baseline=x", "the baseline does not fit the input"),
        ("gradient:3", "method gradient has no options: got 3. Write just gradient."),
        ("smooth_grad:3,samples=4", "an option is given twice: method smooth_grad: got samples. Keep one."),
        ("occlusion:size=3", "method occlusion has no option: got 'size'"),
    ],
)
def test_wrong_options(spec: str, text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        explain(network(), image(), spec)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", METHODS)
def test_no_option_of_a_wrong_type_is_a_traceback(name: str) -> None:
    """Each option of each method as text that means nothing."""
    batches = [(image(), torch.tensor([0]))] * 2
    for option in METHODS[name].options:
        with pytest.raises(InputError):
            explain(network(), image(), f"{name}:{option}=wrong", batches=batches, target=0)


def test_right_options() -> None:
    net, x = network(), image()
    torch.testing.assert_close(explain(net, x, "smooth_grad:3").scores, smooth_grad(net, x, samples=3).scores)
    torch.testing.assert_close(
        explain(net, x, "occlusion:2,fill=mean", target=0).scores,
        occlusion(net, x, patch=2, fill="mean", target=0).scores,
    )
    batches = [(x, torch.tensor([0]))]
    one = explain(net, x, "ablate:channels=3", layer="0", batches=batches)
    assert one.channels == ablate(net, x, "0", torch.tensor([0]), channels=[3]).channels
    explain(net, x, "smooth_grad", samples=2, noise=1)
    found: Any = explain(net, x, "integrated_gradients", baseline=torch.zeros(1, 6, 6), target=0)
    assert found.parameters["baseline"] == "1 given"


CONVOLUTIONS = (nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
ONLY_AN_EXAMPLE = {"filters", "maximize"}  # of which no value, or only the shape, is looked at


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ONLY_AN_EXAMPLE])
def test_a_wrong_input_is_told_in_one_line_by_every_method(name: str) -> None:
    """Too few channels, NaN, an array, no batch, nothing."""
    net = nn.Sequential(*CONVOLUTIONS, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    x = torch.rand(1, 3, 8, 8)
    holed = x.clone()
    holed[0, 1, 2, 3] = torch.nan
    layers = ("", "2") if {"layer", "at"} & {*METHODS[name].takes} else ("",)
    for layer in layers:
        for wrong in (x[:, :1], holed, x[0, 0], x[:0], *([x.numpy()] if "batches" not in METHODS[name].takes else [])):
            with pytest.raises(InputError) as caught:
                explain(net, wrong, name, batches=[(wrong, torch.zeros(len(wrong)).long())] * 2, layer=layer)
            assert "\n" not in str(caught.value)


class Halved(nn.Module):
    """x / 2, where asked in place."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return x.div_(2) if self.inplace else x / 2


def beginning(inplace: bool) -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(Halved(inplace), *layers).eval()


QUICK = {"maximize": {"steps": 3}, "invert": {"steps": 3}, "equivariance": {"angles": (), "scales": ()}}


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("mutagenesis", "ablate")])
def test_a_network_that_begins_in_place_writes_into_nothing(method: str) -> None:
    x, own = image(), torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    batches = [(own[:4], torch.arange(4) % 2), (own[4:], torch.arange(4) % 2)]
    before, set_before = x.clone(), own.clone()
    target = 1 if method == "maximize" else None
    given = {"batches": batches, "names": ("a", "b"), "target": target, **QUICK.get(method, {})}
    told = [explain(beginning(inplace), x, method, **given) for inplace in (True, False)]
    assert torch.equal(x, before)
    assert torch.equal(own, set_before)
    one, other = (numbers(found.json()) for found in told)
    assert bool(one.any())
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_ablation_of_a_network_that_begins_in_place(fill: str) -> None:
    x = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    one, other = (ablate(beginning(inplace), x, "1", target=0, fill=fill) for inplace in (True, False))
    assert torch.equal(x, before)
    assert bool(one.scores.any())
    torch.testing.assert_close(one.scores, other.scores)


def test_sets_are_not_written_into_by_a_network_that_begins_in_place() -> None:
    x = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1)) - 0.5
    before = x.clone()
    one, other = (consistency(beginning(inplace), [x], most=0, pairs=2) for inplace in (True, False))
    assert torch.equal(x, before)
    assert one.share == other.share == 1  # the same shift, the same answer
    sequences = F.one_hot(torch.randint(4, (20, 30), generator=torch.Generator().manual_seed(2)), 4).float().mT
    motifs = []
    for inplace in (True, False):
        torch.manual_seed(0)
        motifs.append(
            filter_motifs(nn.Sequential(Halved(inplace), nn.Conv1d(4, 2, 5, bias=False)), sequences, layer="1")
        )
    assert set(sequences.unique().tolist()) == {0, 1}
    assert [motif.sites for motif in motifs[0]] == [motif.sites for motif in motifs[1]] != [0, 0]


def numbers(found: Any) -> Tensor:
    """All floats of a result, in order."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list | tuple):
        return torch.cat([torch.empty(0), *map(numbers, found)])
    return torch.tensor([found] if isinstance(found, float) else [], dtype=torch.float32)
