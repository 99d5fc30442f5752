"""A small real training: scikit-learn's digits, a network of two layers, a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from striate.data import Data, load_data
from striate.recipe import Recipe
from striate.tasks import Classify
from striate.train import Step, fit


@dataclass(frozen=True)
class Small:
    """Everything that `fit` takes."""

    data: Data
    task: Classify
    recipe: Recipe

    def model(self, dropout: float = 0.2) -> nn.Module:
        """Fresh weights, always the same ones; with a norm and dropout, whose state must survive a resume."""
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(288, 10)
        )

    def train(
        self,
        model: nn.Module | None = None,
        each: Callable[[Step], bool | None] = lambda _: None,
        resume: object = None,
        **changes: object,
    ) -> nn.Module:
        """Train to the end, or until `each` says True."""
        model = model or self.model()
        for step in fit(model, self.task, self.data, replace(self.recipe, **changes), resume=resume):
            if each(step):
                break
        return model


@pytest.fixture(scope="session")
def small() -> Small:
    data = load_data("digits", validation=0.2, test=0.5, seed=0)
    recipe = Recipe(epochs=2, batch_size=100, augment=("shift:0.1",), device="cpu")
    return Small(data, Classify(data.class_names), recipe)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    """Bit for bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(name="same")
def same_fixture() -> Callable[[nn.Module, nn.Module], bool]:
    return same
