"""Confidence intervals: scipy's bootstrap and Wilson intervals, and how often the truth lies inside."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from striate.errors import InputError
from striate.tasks import Classify
from striate.tasks.intervals import draws, intervals, percentiles, wilson


@dataclass
class Means:
    """The scores of a task that averages."""

    n: int
    mean: float
    right: float
    shares = ("right",)

    def summary(self) -> dict[str, float]:
        return {"n": self.n, "mean": self.mean, "right": self.right}


class Average:
    """A task whose measures are the mean of what is kept, and the share above 0."""

    def score(self, kept: Tensor, target: Tensor) -> Means:
        return Means(len(kept), kept.double().mean().item(), (kept > 0).double().mean().item())


class Ratio(Average):
    """Not defined where all targets are 0."""

    def score(self, kept: Tensor, target: Tensor) -> Means:
        if not target.any():
            raise InputError("no positive item")
        return Means(len(kept), (kept.sum() / target.sum()).item(), math.nan)


def normal(n: int, seed: int, mean: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(mean, 1, n))


def test_percentiles_are_those_of_scipy() -> None:
    kept = normal(60, seed=0)
    low, high = intervals(Average(), kept, kept, resamples=4000, seed=1)["mean"]
    other = stats.bootstrap((kept.numpy(),), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.02)  # 4,000 draws place an end within 0.01


@pytest.mark.parametrize(("right", "n"), [(0, 9), (9, 9), (3, 9), (991, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_that_of_scipy(right: int, n: int, level: float) -> None:
    other = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson(right / n, n, level) == pytest.approx((other.low, other.high), abs=1e-12)


def test_the_truth_lies_inside_as_often_as_said() -> None:
    """200 test sets of 50 items: 90 % intervals hold the true mean and the true share about 180 times."""
    inside = {"mean": 0, "right": 0}
    truth = {"mean": 0.3, "right": stats.norm.cdf(0.3)}
    for seed in range(200):
        kept = normal(50, seed, mean=0.3)
        found = intervals(Average(), kept, kept, resamples=200, seed=seed, level=0.9)
        for name, (low, high) in found.items():
            inside[name] += low <= truth[name] <= high
    # Binomial(200, 0.9) has a deviation of 4.2; the bootstrap of 50 items covers 1 or 2 % too little.
    assert 166 <= inside["mean"] <= 194
    assert 168 <= inside["right"] <= 194


def test_whole_groups_are_drawn() -> None:
    """20 patients with 10 nearly equal items each: items alone would promise an interval three times too narrow."""
    person = normal(20, seed=3)
    groups = torch.arange(20).repeat_interleave(10)
    kept = person[groups] + 0.01 * normal(200, seed=4)
    alone = intervals(Average(), kept, kept, resamples=400)["mean"]
    grouped = intervals(Average(), kept, kept, resamples=400, groups=groups)
    of_people = intervals(Average(), person, person, resamples=400)["mean"]
    width = grouped["mean"][1] - grouped["mean"][0]
    assert width == pytest.approx(of_people[1] - of_people[0], rel=0.05)
    assert width > 2.5 * (alone[1] - alone[0])
    assert grouped["right"] != wilson((kept > 0).double().mean().item(), 200)
    for positions in draws(200, groups, resamples=3, seed=0):
        counts = np.bincount(positions, minlength=200).reshape(20, 10)
        assert (counts == counts[:, :1]).all()


def test_every_number_of_a_classifier() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (150,), generator=generator)
    output = torch.nn.functional.one_hot(target, 3) + torch.randn(150, 3, generator=generator)
    task = Classify(("a", "b", "c"))
    found = intervals(task, output, target, resamples=100)
    summary = task.score(output, target).summary()
    assert list(found) == [name for name in summary if name not in ("n", "top_3")]  # the right one is among all three
    for name, (low, high) in found.items():
        if name != "calibration_error":  # small sets overstate it, and draws with repeats more so
            assert low <= summary[name] <= high, name
    assert found == intervals(task, output, target, resamples=100)
    assert found != intervals(task, output, target, resamples=100, seed=1)
    assert found["accuracy"] == wilson(summary["accuracy"], 150)


def test_draws_without_the_measure_do_not_count() -> None:
    kept, target = torch.ones(3), torch.tensor([1.0, 0.0, 0.0])
    found = intervals(Ratio(), kept, target, resamples=50)
    assert found["mean"] == (1.0, 3.0)
    assert all(map(math.isnan, intervals(Ratio(), kept, target, resamples=50, groups=torch.arange(3))["right"]))
    assert all(map(math.isnan, percentiles([math.nan], 0.9)))


def test_what_cannot_be_used() -> None:
    kept = normal(5, seed=0)
    with pytest.raises(InputError, match="several independent items: expected 2 items, got 1"):
        intervals(Average(), kept[:1], kept[:1])
    with pytest.raises(InputError, match="expected 2 groups, got 1"):
        intervals(Average(), kept, kept, groups=torch.zeros(5, dtype=torch.int64))
    with pytest.raises(InputError, match="groups of a score: expected one for each of 5 items, got 4"):
        intervals(Average(), kept, kept, groups=torch.arange(4))
    with pytest.raises(InputError, match="resamples is out of range: expected at least 10, got 5"):
        intervals(Average(), kept, kept, resamples=5)
    with pytest.raises(InputError, match="level is out of range: expected between 0 and 1, got 95"):
        intervals(Average(), kept, kept, level=95)
