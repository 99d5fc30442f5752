"""Use a trained model again: on a whole set, or on single items."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.data import Framing, Input, Items, Meaning, Pictures, Volumes, open_items
from striate.data.items import Progress
from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs.card import Card, load
from striate.runs.record import RECIPE, absolute, load_recipe_data
from striate.runs.seen import read_seen, without_seen
from striate.runs.whole import whole_files
from striate.shapes import Tensor
from striate.tasks import Placed, Result, Scores, Task, check_takes, told
from striate.tasks.intervals import intervals
from striate.train import averaged, evaluate, evaluating, find_device

# Items to score, the names of files that were left out, and notes.
Chosen = tuple[Items, tuple[str, ...], tuple[str, ...]]
ENOUGH = 10  # groups; intervals drawn from fewer hold less often than they should
# What the model says of an item, and the units that it was given; or why the item cannot be read.
Answer = tuple[Result, Tensor] | InputError


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a set, what was `kept` of its outputs, and the names of files that could not be read.

    `intervals` has both ends of an interval for each measure in `scores.summary()` (see `tasks.intervals`), where they
    were asked for and there are two items; `intervals_over` says over what they are. `notes` say which items were left
    out and why.
    """

    scores: Scores
    intervals: dict[str, tuple[float, float]]
    kept: Tensor
    targets: Tensor
    skipped: tuple[str, ...]
    notes: tuple[str, ...] = ()
    intervals_over: str = ""


def evaluate_run(
    folder: Path | Sequence[Path],
    data: str | None = None,
    *,
    device: str = "auto",
    skip_corrupt: bool = False,
    resamples: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """A run's model on its own test items, or on the test items (else all) of the source `data`.

    Of the source that the model was trained on, and unchanged since, these are the items of its own test part. Of any
    other, items that it was trained on are left out, wherever they lie; `notes` say how many.
    With `resamples`, say 1000, every measure gets an interval that should hold 95 % of the time: over items, or over
    groups of them where the source has any. Over fewer than ten groups, or the items of a single one, they are too
    narrow, and `intervals_over` says so. Of several runs the mean of their outputs is scored (see `load`), on the test
    items of the first that none of them was trained on.

    Files that cannot be read raise InputError, or are left out with `skip_corrupt` and named. Raises InputError for a
    folder without a model, for data whose classes the model does not know, and where the run's own data has changed
    since.
    """
    folder, *others = [folder] if isinstance(folder, Path) else folder
    model, card = load(folder, *others)
    task = card.build_task()
    if data is None:
        items, skipped, notes = _own_items(folder, card, progress)
    else:
        items, skipped, notes = _other_items(folder, card, task, data, skip_corrupt, progress)
    for other in others:
        items, more = _unseen(items, other)
        notes = (*notes, *(f"{other}: {note}" for note in more))
    place = find_device(device)
    kept, targets = evaluate(averaged(model.to(place), card.tta), task, items, card.preprocess, place)
    kept, targets = kept.cpu(), targets.cpu()
    scores = task.score(kept, targets)
    if not resamples:
        return Evaluation(scores, {}, kept, targets, skipped, notes)
    if len(items) == 1:
        notes = (*notes, "no intervals: a single item says nothing of how others differ")
        return Evaluation(scores, {}, kept, targets, skipped, notes)
    groups, over = _independent(items)
    ends = intervals(task, kept, targets, resamples=resamples, groups=groups)
    return Evaluation(scores, ends, kept, targets, skipped, notes, over)


def _independent(items: Items) -> tuple[Tensor | None, str]:
    """The groups that intervals draw from (None: the items), and in words what an interval is over."""
    count = f"{len(items):,} items"
    if items.groups is None:
        return None, count
    units = len(set(items.groups.tolist()))
    if units > 1:
        few = ": too narrow, since so few groups were drawn from" if units < ENOUGH else ""
        return items.groups, f"{units:,} groups ({count} in all){few}"
    return None, f"the {count} of one group: too narrow, since items of a group are alike"


def items_of(folder: Path, card: Card, data: str | None, progress: Progress | None = None) -> Items:
    """The run's own test items, or those of another source that it was not trained on."""
    if data is None:
        return _own_items(folder, card, progress)[0]
    return _other_items(folder, card, card.build_task(), data, False, progress)[0]


def _own_items(folder: Path, card: Card, progress: Progress | None) -> Chosen:
    """What a run was tested on when its training ended; InputError where its data has changed since."""
    recipe = Recipe.read(folder / RECIPE)
    data = load_recipe_data(recipe, progress)
    if data.fingerprint() != card.data:
        raise InputError(
            "the data is not what it was when the model was trained",
            where=recipe.data,
            expected="the same items, classes and splits, so that no training item is tested",
            fix="Put the files back as they were, or name other data: --data NAME:PATH.",
        )
    count = f"{len(data.tested):,}"
    if data.tested is data.test:
        note = f"scored: the {count} test items of the run's own split"
    elif data.tested is data.validation:
        note = f"scored: the {count} items that watched over the training, since the run held no others out"
    else:
        note = f"scored: the {count} items that the model was trained on, since the run held none out"
    return data.tested, data.skipped, (note,)


def _other_items(
    folder: Path, card: Card, task: Task, data: str, skip_corrupt: bool, progress: Progress | None
) -> Chosen:
    """Items of the source `data` that the model was not trained on, the names of corrupt ones, and notes."""
    if (folder / RECIPE).is_file() and Recipe.read(folder / RECIPE).data == absolute(data):
        with contextlib.suppress(InputError):  # it has changed: which items are known is found out below
            return _own_items(folder, card, progress)
    # A task that needs no targets takes items of any meaning.
    meaning = Meaning("none") if "none" in task.takes else card.meaning
    items, skipped = open_items(data, card.preprocess, meaning, skip_corrupt=skip_corrupt, progress=progress)
    check_takes(task.name, items.meaning)
    items, notes = _unseen(items, folder)
    return items, skipped, notes


def _unseen(items: Items, folder: Path) -> tuple[Items, tuple[str, ...]]:
    """The items that the run in this folder was not trained on, and a line where that leaves out some."""
    seen = read_seen(folder)
    if seen is None:
        return items, (f"{folder} does not say which items it was trained on: some may be scored here",)
    items, note = without_seen(items, seen)
    return items, (note,) if note else ()


def predict(
    model: nn.Module,
    card: Card,
    items: Sequence[Any],
    *,
    batch_size: int = 16,
    scale: float | None = None,
    **options: Any,
) -> tuple[Result, ...]:
    """What the model says of items: files, or whatever else `card.preprocess` reads (pictures: PIL, arrays, tensors).

    `scale`: see `predicting`. `options` replace those of the task (for classification, `top_k`).
    """
    found = predicting(model, card, items, batch_size=batch_size, scale=scale, **options)
    return tuple(result for _, result, _ in found)


def predicting(
    model: nn.Module,
    card: Card,
    items: Sequence[Any],
    *,
    batch_size: int = 16,
    stored: bool = False,
    scale: float | None = None,
    **options: Any,
) -> Iterator[tuple[Any, Result, Tensor]]:
    """Each item with what the model says of it and the units that it was given; see `answering`.

    An item that cannot be read raises InputError when its turn comes.
    """
    answers = answering(model, card, items, batch_size=batch_size, stored=stored, scale=scale, **options)
    for item, answer in zip(items, answers, strict=True):
        if isinstance(answer, InputError):
            raise answer
        yield item, *answer


def answering(
    model: nn.Module,
    card: Card,
    items: Sequence[Any],
    *,
    batch_size: int = 16,
    stored: bool = False,
    scale: float | None = None,
    **options: Any,
) -> Iterator[Answer]:
    """What the model says of each item, batch by batch; of one that cannot be read, and of an InputError, the error.

    The items are read by `card.preprocess`, unless they are `stored` ones of a set. What lies in a picture is told in
    the pixels of the picture as it was given, of any size, and comes with the whole of it. For answers at every place
    (masks, colors, pictures without noise, masks of volumes) the network is given the whole file, of any size, resized
    by `scale`: by default so that the shorter side is as in training, or for pictures without noise and volumes not at
    all. See `whole_files`.
    """
    if batch_size < 1:
        raise InputError("batch size is not positive", expected="at least 1", got=batch_size)
    task = told(card.build_task(), options)
    seen, preprocess = averaged(model, card.tta), card.preprocess
    if task.dense and not stored and isinstance(preprocess, Pictures | Volumes):
        yield from whole_files(seen, preprocess, task, items, scale=scale, batch_size=batch_size)
        return
    if scale is not None:
        what = "a scale is for answers at every place of a picture"
        raise InputError(what, where=f"task {task.name}", fix="Leave --scale out.")
    place = next(model.parameters()).device
    for first in range(0, len(items), batch_size):
        group = items[first : first + batch_size]
        rows: list[Tensor | InputError] = [item if stored else _read(preprocess, item) for item in group]
        there = [row for row in rows if not isinstance(row, InputError)]
        if not there:
            yield from (row for row in rows if isinstance(row, InputError))
            continue
        # One that cannot be read is zeros, so that the last digits of the others do not hang on it.
        filled = [torch.zeros_like(there[0]) if isinstance(row, InputError) else row for row in rows]
        units = preprocess.units(torch.stack(filled).to(place))
        nothing = torch.empty(len(group), 0, device=place)
        inputs, _ = task.example(preprocess.standardize(units), nothing, None)
        with evaluating(seen):
            results = task.answer(seen, inputs)
        for item, row, result, given in zip(group, rows, results, units.cpu(), strict=True):
            if isinstance(row, InputError):
                yield row
            elif not stored and isinstance(preprocess, Pictures) and isinstance(result, Placed):
                whole = preprocess.whole(item)
                framing = Framing(preprocess.shape[1:], (whole.shape[1], whole.shape[2]))
                yield result.within(framing), whole
            else:
                yield result, given


def _read(preprocess: Input, item: Any) -> Tensor | InputError:
    try:
        return item if isinstance(item, InputError) else preprocess.read(item)
    except InputError as error:
        return error
