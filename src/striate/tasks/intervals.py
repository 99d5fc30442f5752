"""How sure a score is: confidence intervals of every measure from the items of one test set."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from striate.errors import InputError
from striate.shapes import Int64, Tensor

Interval = tuple[float, float]
Positions = npt.NDArray[np.int64]


def intervals(
    task: Any,
    kept: Tensor,
    target: Tensor,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: Int64[Tensor, " n"] | None = None,
) -> dict[str, Interval]:
    """An interval for every number in `task.score(kept, target).summary()` but n and what the scores call `fixed`.

    Percentile bootstrap (Efron 1979): the items are drawn anew with replacement `resamples` times, all measures are
    computed of each draw, and the interval holds the central `level` of them. With `groups` (speakers, patients) whole
    groups are drawn, since their items are not independent. A measure that is a share of the n items (the scores' own
    `shares` names it) gets Wilson's interval instead, unless there are groups: it has a width also at 0 and at 1.

    A draw in which a measure is not defined (one class is missing, say) does not count for that measure; both ends are
    NaN where none is left. Only what varies with the items is covered, not what another training would change.

    Raises InputError for fewer than two items or groups, fewer than 10 draws, a level outside 0..1, and groups that are
    not one an item.
    """
    _check(len(kept), resamples, level, groups)
    scores = task.score(kept, target)
    fixed = {"n", *getattr(scores, "fixed", ())}  # counts, and what other items would not change
    summary = {name: value for name, value in scores.summary().items() if name not in fixed}
    shares = set() if groups is not None else set(getattr(scores, "shares", ())) & set(summary)
    found = {name: wilson(summary[name], len(kept), level) for name in shares}
    if len(shares) < len(summary):
        drawn: dict[str, list[float]] = defaultdict(list)
        for positions in draws(len(kept), groups, resamples, seed):
            where = torch.from_numpy(positions).to(kept.device)
            try:
                values = task.score(kept[where], target[where]).summary()
            except InputError:  # not defined for this draw
                continue
            for name in summary.keys() & values.keys():
                drawn[name].append(values[name])
        found |= {name: percentiles(drawn[name], level) for name in summary.keys() - shares}
    return {name: found[name] for name in summary}


def draws(n: int, groups: Int64[Tensor, " n"] | None, resamples: int, seed: int) -> Iterator[Positions]:
    """Positions of items drawn with replacement, `resamples` times; with `groups`, of whole groups.

    >>> [positions.tolist() for positions in draws(4, torch.tensor([7, 7, 8, 8]), resamples=2, seed=1)]
    [[0, 1, 2, 3], [2, 3, 2, 3]]
    """
    random = np.random.default_rng(seed)
    if groups is None:
        yield from (random.integers(n, size=n) for _ in range(resamples))
        return
    labels = groups.cpu().numpy()
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(resamples):
        yield np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])


def percentiles(values: list[float], level: float) -> Interval:
    """The ends of the central `level` of the values, those that are numbers; NaN twice where there is none.

    >>> percentiles([float(value) for value in range(101)], 0.5)
    (25.0, 75.0)
    """
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson(share: float, n: int, level: float = 0.95) -> Interval:
    """The interval of a share of `n` independent items (Wilson 1927): all p that a score test does not reject.

    >>> low, high = wilson(1.0, 20)
    >>> round(low, 3), high
    (0.839, 1.0)
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, middle - half) if share > 0 else 0.0, min(1.0, middle + half) if share < 1 else 1.0


def _check(n: int, resamples: int, level: float, groups: Tensor | None) -> None:
    if groups is not None and len(groups) != n:
        raise InputError("groups of a score", expected=f"one for each of {n} items", got=len(groups))
    units, what = (n, "items") if groups is None else (len(set(groups.tolist())), "groups")
    if units < 2:
        raise InputError("a confidence interval needs several independent items", expected=f"2 {what}", got=units)
    if resamples < 10:
        raise InputError("resamples is out of range", expected="at least 10", got=resamples)
    if not 0 < level < 1:
        raise InputError("level is out of range", expected="between 0 and 1", got=level)
