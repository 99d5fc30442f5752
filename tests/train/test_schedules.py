"""Schedules against torch's own, and their shapes."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.recipe import Recipe
from striate.train.schedules import height, learning_rate, momentum

STEPS, PER_EPOCH = 60, 6


def rates(recipe: Recipe) -> list[float]:
    return [learning_rate(recipe, height(recipe, k, STEPS, PER_EPOCH)) for k in range(STEPS)]


def torch_rates(make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = make(optimizer)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_torchs() -> None:
    recipe = Recipe(schedule="cosine", learning_rate=0.5, final_learning_rate=0.1)
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.05))
    assert rates(recipe) == pytest.approx(expected)


def test_step_is_torchs() -> None:
    recipe = Recipe(schedule="step", learning_rate=0.5, step_epochs=2, step_factor=0.3)
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 2 * PER_EPOCH, 0.3))
    assert rates(recipe) == pytest.approx(expected)


def test_one_cycle_is_two_straight_lines() -> None:
    heights = [height(Recipe(warmup=0.25), k, STEPS, PER_EPOCH) for k in range(STEPS)]
    assert max(heights) == heights[14] == heights[15] == 1
    up, down = ({round(b - a, 9) for a, b in itertools.pairwise(part)} for part in (heights[:15], heights[15:]))
    assert (up, down) == ({round(1 / 15, 9)}, {round(-1 / 45, 9)})


def test_plateau_drops_by_the_factor() -> None:
    recipe = Recipe(schedule="plateau", step_factor=0.5)
    assert [height(recipe, 3, STEPS, PER_EPOCH, drops) for drops in range(3)] == [1, 0.5, 0.25]


def test_momentum_goes_against_the_learning_rate() -> None:
    recipe = Recipe(momentum=0.85, final_momentum=0.95)
    assert momentum(recipe, 1.0) == pytest.approx(0.85)
    assert momentum(recipe, 0.0) == pytest.approx(0.95)
    assert momentum(Recipe(momentum=0.7), 0.3) == pytest.approx(0.7)


@given(
    st.sampled_from(["constant", "step", "cosine", "one_cycle", "plateau"]),
    st.integers(1, 200),
    st.floats(0, 0.99),
)
def test_heights_stay_between_zero_and_one(schedule: str, steps: int, warmup: float) -> None:
    recipe = Recipe(schedule=schedule, warmup=warmup)
    heights = [height(recipe, k, steps, 7) for k in range(steps)]
    assert all(0 < h <= 1 and math.isfinite(h) for h in heights)
