from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.interpret import adversarial
from striate.interpret.features.canvas import continuous
from striate.train import read_tensors


def logistic(weights: torch.Tensor, bias: float = 0.0) -> nn.Sequential:
    """Says w·x + b."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 1))
    model[1].weight.data.copy_(weights.flatten()[None])
    model[1].bias.data.fill_(bias)
    return model


@pytest.mark.parametrize("steps", [1, 10])
def test_the_least_epsilon_of_a_logistic_model_has_a_closed_form(steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weights, x = torch.randn(2, 3, 3, generator=generator), torch.randn(6, 2, 3, 3, generator=generator)
    found = adversarial(logistic(weights, 0.3), x, most=2.0, steps=steps)
    logits = (x * weights).flatten(1).sum(1) + 0.3
    expected = logits.abs() / weights.abs().sum()  # Goodfellow et al., section 5
    # One of 20 levels halved 10 times is a ten thousandth.
    torch.testing.assert_close(found.epsilon.float(), expected, atol=2.5e-4, rtol=0)
    assert torch.equal(found.truth, (logits > 0).long())
    torch.testing.assert_close(found.before[:, 1], logits.sigmoid())
    assert (found.after.argmax(1) != found.truth).all()
    change = (found.found - x).abs().flatten(1).amax(1)
    assert (change <= found.epsilon.float() + 1e-6).all()


def test_the_step_is_the_sign_of_the_weights() -> None:
    weights = torch.tensor([[[2.0, -1.0, 0.5]]])
    x = torch.tensor([[[1.0, 1.0, 1.0]]])  # w·x = 1.5 speaks for class 1
    found = adversarial(logistic(weights), x, most=1.0)
    torch.testing.assert_close((found.found - x).sign(), -weights.sign())


def test_limits_are_kept_and_epsilon_is_a_share_of_them() -> None:
    x = torch.tensor([[[0.0, 9.5]], [[5.0, 5.0]]])
    found = adversarial(logistic(torch.tensor([[[1.0, -1.0]]]), 4.0), x, limits=(0, 10), most=0.5)
    # Item 0 says -5.5: up 1 and down 1 per step; item 1 says 4: e·10·2 = 4.
    torch.testing.assert_close(found.epsilon, torch.tensor([0.275, 0.2], dtype=torch.float64), atol=1e-4, rtol=0)
    assert ((found.found >= 0) & (found.found <= 10)).all()
    assert "a share of the valid range" in str(found.table().title)


def test_what_the_limits_forbid_has_no_epsilon(tmp_path: Path) -> None:
    found = adversarial(logistic(torch.tensor([[[1.0]]]), 4.0), torch.tensor([[[1.0]]]), limits=(0, 10), most=1.0)
    assert math.isnan(float(found.epsilon))
    assert found.json()["epsilon"] == [None]
    assert [*found.table().columns[4].cells] == ["none up to 1"]
    assert found.plot().axes
    found.save(tmp_path / "found.safetensors")
    assert torch.equal(read_tensors(tmp_path / "found.safetensors")[0]["found"], found.found)


def test_towards_a_class_reaches_that_class() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    model[1].weight.data.copy_(torch.eye(3))
    x = torch.tensor([[[3.0, 2.0, 0.0]]])
    found = adversarial(model, x, towards=2, most=3.0, steps=5)
    assert int(found.after.argmax()) == 2
    assert float(found.epsilon) >= 1.5 - 1e-3  # 3 - e = 0 + e at the least
    assert int(adversarial(model, x, most=3.0).after.argmax()) == 1


def test_an_item_that_is_wrong_already_needs_no_step() -> None:
    x = torch.tensor([[[1.0]], [[1.0]]])
    found = adversarial(logistic(torch.tensor([[[1.0]]])), x, target=[0, 1], most=2.0)
    assert float(found.epsilon[0]) == 0
    assert torch.equal(found.found[0], x[0])
    assert float(found.epsilon[1]) == pytest.approx(1.0, abs=1e-3)


def test_images_with_names_are_drawn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    found = adversarial(model, torch.rand(2, 3, 8, 8), limits=(0, 1), steps=3)
    assert found.plot(("cat", "dog", "eel")).axes
    assert found.told(0, found.before, ("cat", "dog", "eel"))[:3] in ("cat", "dog", "eel")
    assert found.title() == "projected gradient, 3 steps (PGD)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 2}, r"no such class: target: expected a class of 0 to 1, or 1 of them, got \[2\]"),
        ({"target": [0, 1, 1]}, r"no such class: target: .* got \[0, 1, 1\]"),
        ({"towards": 5}, "no such class: towards"),
        ({"steps": 0}, "cannot search: expected steps of at least 1, a positive greatest epsilon"),
        ({"limits": (2, 3)}, "the input lies outside its limits: got 1 to 1. Pass the range"),
    ],
)
def test_what_cannot_be_searched(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        adversarial(logistic(torch.ones(1)), torch.ones(1, 1, 1), **options)


def test_outputs_that_are_no_classes() -> None:
    with pytest.raises(InputError, match=r"no classes to mix up: expected outputs \(n, k\), .* got \(1, 1, 4\)"):
        adversarial(nn.ReLU(), torch.ones(1, 1, 4))


def test_tokens_have_no_small_steps() -> None:
    with pytest.raises(InputError, match="tokens have no values between them: expected floats, got torch.int64. Expla"):
        continuous(nn.Embedding(9, 2), torch.zeros(2, 4, dtype=torch.int64))
