"""Use a trained model again: on a whole set, or on single items."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.data import Items, Meaning, open_items
from striate.data.items import Progress
from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs.card import Card, load
from striate.runs.record import RECIPE, load_recipe_data
from striate.shapes import Int64, Tensor
from striate.tasks import Result, Scores, check_takes
from striate.tasks.intervals import intervals
from striate.train import averaged, evaluate, evaluating, find_device


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a set, what was `kept` of its outputs, and the names of files that could not be read.

    `intervals` has both ends of an interval for each number of `scores.summary()` but n (see `tasks.intervals`), where
    they were asked for and the items are of more than one group.
    """

    scores: Scores
    intervals: dict[str, tuple[float, float]]
    kept: Tensor
    targets: Tensor
    skipped: tuple[str, ...]


def evaluate_run(
    folder: Path,
    data: str | None = None,
    *,
    device: str = "auto",
    skip_corrupt: bool = False,
    resamples: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """A run's model on its own test items, or on the test items (else all) of the source `data`.

    With `resamples`, say 1000, every measure gets an interval that should hold 95 % of the time.

    Files that cannot be read raise InputError, or are left out with `skip_corrupt` and named. Raises InputError for a
    folder without a model, for data whose classes the model does not know, and where the run's own data has changed
    since.
    """
    model, card = load(folder)
    task = card.build_task()
    if data is None:
        items, groups, skipped = _own_test_items(folder, card, progress)
    else:
        groups = None
        # A task that needs no targets takes items of any meaning.
        meaning = Meaning("none") if "none" in task.takes else card.meaning
        items, skipped = open_items(data, card.preprocess, meaning, skip_corrupt=skip_corrupt, progress=progress)
        check_takes(task.name, items.meaning)
    place = find_device(device)
    kept, targets = evaluate(averaged(model.to(place), card.tta), task, items, card.preprocess, place)
    kept, targets = kept.cpu(), targets.cpu()
    scores = task.score(kept, targets)
    units = len(items) if groups is None else len(set(groups.tolist()))
    # One item, or one group (a held-out speaker), says nothing of how others differ.
    ends = intervals(task, kept, targets, resamples=resamples, groups=groups) if resamples and units > 1 else {}
    return Evaluation(scores, ends, kept, targets, skipped)


def _own_test_items(
    folder: Path, card: Card, progress: Progress | None
) -> tuple[Items, Int64[Tensor, " n"] | None, tuple[str, ...]]:
    """The test items of a run, the groups that they belong to, and the names of files that were left out."""
    recipe = Recipe.read(folder / RECIPE)
    data = load_recipe_data(recipe, progress)
    if data.fingerprint() != card.data:
        raise InputError(
            "the data is not what it was when the model was trained",
            where=recipe.data,
            expected="the same items, classes and splits, so that no training item is tested",
            fix="Put the files back as they were, or name other data: --data NAME:PATH.",
        )
    part = "test" if data.test else "validation" if data.validation else "train"
    return data.tested, data.groups.get(part), data.skipped


def predict(
    model: nn.Module, card: Card, items: Sequence[Any], *, batch_size: int = 16, **options: Any
) -> tuple[Result, ...]:
    """What the model says of items: files, or whatever else `card.preprocess` reads (pictures: PIL, arrays, tensors).

    `options` replace those of the task (for classification, `top_k`).
    """
    return tuple(result for _, result, _ in predicting(model, card, items, batch_size=batch_size, **options))


def predicting(
    model: nn.Module, card: Card, items: Sequence[Any], *, batch_size: int = 16, stored: bool = False, **options: Any
) -> Iterator[tuple[Any, Result, Tensor]]:
    """Each item with what the model says of it and the units that it was given, batch by batch.

    The items are read by `card.preprocess`, unless they are `stored` ones of a set.
    """
    if batch_size < 1:
        raise InputError("batch size is not positive", expected="at least 1", got=batch_size)
    task = dataclasses.replace(card.build_task(), **options)  # type: ignore[type-var]
    place = next(model.parameters()).device
    seen = averaged(model, card.tta)
    for first in range(0, len(items), batch_size):
        group = items[first : first + batch_size]
        rows = [item if stored else card.preprocess.read(item) for item in group]
        units = card.preprocess.units(torch.stack(rows).to(place))
        nothing = torch.empty(len(group), 0, device=place)
        inputs, _ = task.example(card.preprocess.standardize(units), nothing, None)
        with evaluating(seen):
            results = task.answer(seen, inputs)
        yield from zip(group, results, units.cpu(), strict=True)
