"""A training run and the folder that it leaves.

recipe.yaml         replays the run:  striate train recipe.yaml
metrics.jsonl       a line a step (kind "step") and a line an epoch (kind "epoch")
checkpoint.safetensors  to resume from:  striate train --resume FOLDER
model.safetensors, model.json   the trained model; `striate.load(folder)`
scores.json         every measure on the test items
seen.npy            which items the model was trained on
plots/*.png, report.html
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import math
import shlex
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import striate
from striate import zoo
from striate.data import Data, Items, Pictures, load_data
from striate.data.items import Progress
from striate.data.sources import find_source
from striate.errors import DivergedError, InputError, StorageError, listed
from striate.plain import from_null, to_json
from striate.recipe import Recipe
from striate.registry import parse_spec
from striate.runs.card import WEIGHTS, Card, read_card, save_model
from striate.runs.seen import hashes, read_seen, seen_of, write_seen
from striate.shapes import Tensor
from striate.tasks import TASKS, Scores, Task, task_of
from striate.train import (
    Step,
    averaged,
    evaluate,
    find_device,
    read_tensors,
    seeded,
    settle_process,
    start_from,
    write_atomically,
)

CHECKPOINT, METRICS, RECIPE, SCORES = "checkpoint.safetensors", "metrics.jsonl", "recipe.yaml", "scores.json"
# A line a step would be too much for the longest runs.
STEP_LINES = 5000
# So many training items are shown to a network that computes some of its weights from them.
PREPARING = 5000


@dataclass(frozen=True)
class Session:
    """A run that is about to train: what the recipe names, built."""

    recipe: Recipe
    data: Data
    model: nn.Module
    task: Task
    card: Card


def make_folder(recipe: Recipe, out: Path) -> Path:
    """A new folder under `out` for a run, holding its recipe; named by time, network, data and seed.

    Raises InputError where `out` cannot hold folders, and StorageError where the recipe cannot be written.
    """
    network, data = (spec.partition(":")[0] for spec in (recipe.model, recipe.data))
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{network}-{data}-s{recipe.seed}"
    for n in itertools.count(1):
        folder = out / (stem + f"-{n}" * (n > 1))
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError as error:
            if not folder.is_dir():
                raise InputError("cannot make a run folder", where=out, got=error.strerror) from None
        except OSError as error:
            raise InputError(
                "cannot make a run folder", where=out, got=error.strerror, fix="Choose another --out."
            ) from None
    try:
        write_atomically(folder / RECIPE, recipe.yaml().encode())
    except StorageError:
        folder.rmdir()
        raise
    return folder


def open_session(recipe: Recipe, progress: Progress | None = None, *, resuming: bool = False) -> Session:
    """Load the data and build the network of a recipe; `progress(done, total, what)` is told of slow reading.

    The session's recipe has the absolute path of the data, so that it can be replayed from anywhere, and names the
    task, the kind of input and the augmentations that the data bring. With `resuming` the weights are left as they are
    drawn: those of a checkpoint follow. Raises InputError where network, data and task do not fit each other.
    """
    settle_process()
    recipe = completed(recipe)
    name, own_options = parse_spec(recipe.model)
    entry = zoo.ARCHITECTURES[name]
    data = load_recipe_data(recipe, progress)
    task = task_of(_with_losses(recipe), data)
    if not task.scaled:
        data = dataclasses.replace(data, preprocess=data.preprocess.unscaled())
    options = network_options(entry, own_options, data, task)
    if recipe.dropout is not None:
        options["dropout"] = recipe.dropout
    with seeded(recipe.seed):
        model = zoo.build(recipe.model, **options)
    if not resuming:
        data = dataclasses.replace(data, notes=(*data.notes, *_start(model, recipe, task, data)))
    if recipe.tta:
        _check_views(recipe, data)
    card = Card(
        architecture=name,
        options=entry.bind(own_options) | options,
        meaning=data.meaning,
        preprocess=data.preprocess,
        task=task.json(),
        data=data.fingerprint(),
        tta=recipe.tta,
        striate_version=striate.__version__,
    )
    return Session(recipe, data, model, task, card)


def _start(model: nn.Module, recipe: Recipe, task: Task, data: Data) -> Iterator[str]:
    """Give the model what it gets before it is trained; lines on what people should know of it."""
    data.preprocess.start(model)
    prepare = getattr(model, "prepare", None)
    if callable(prepare):  # weights that are computed from the training items, not learned
        prepare(data.preprocess.normalize(data.train.inputs[:PREPARING]))
    if recipe.weights is None:
        if getattr(model, "lacks_vectors", False):
            inputs = recipe.inputs or ""
            raise InputError(
                "this network starts from word vectors of another training, and none are given",
                where=recipe.model,
                fix=f"Add --inputs {inputs}{',' if ':' in inputs else ':'}vectors=FILE, or take mode=rand.",
            )
        return
    other = Path(recipe.weights)
    card = read_card(other)
    before, why = card.build_task(), _apart(card, recipe, task, data)
    fresh = start_from(model, read_tensors(other / WEIGHTS)[0], other, anew=not before.alike(task), why=why)
    if fresh:
        trained_for = f"{before.name} of {listed(before.output_names)}" if before.output_names else before.name
        yield f"the last layer ({', '.join(fresh)}) starts anew: {other} was trained to {trained_for}"
    seen = read_seen(other)
    if seen is None:
        yield f"{other} does not say which items it was trained on: test items may be among them"
    elif count := int(np.isin(hashes(data.tested), seen).sum()):
        yield (
            f"{other} was trained on {count:,} of the {len(data.tested):,} items that this run is tested on: "
            "its scores will be too good"
        )


def _apart(card: Card, recipe: Recipe, task: Task, data: Data) -> str:
    """What tells a run from the one whose weights it starts from, so that the weights do not fit; '' for no guess."""
    network = parse_spec(recipe.model)[0]
    network = zoo.ARCHITECTURES[network].name
    channels = task.in_channels(data.preprocess.channels)
    if card.architecture != network:
        return f"That run's network is {card.architecture}, this one's {network}: write --model {card.architecture}."
    if (theirs := card.options.get("in_channels", channels)) != channels:
        fix = f"write --channels {theirs}" if isinstance(data.preprocess, Pictures) else "choose inputs like that run's"
        return f"That run's network takes {theirs} channels, this one's {channels}: {fix}."
    if card.input_shape != data.shape:
        return f"That run's inputs are {_by(card.input_shape)}, these {_by(data.shape)}: take inputs of that size."
    return ""


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _check_views(recipe: Recipe, data: Data) -> None:
    """InputError where an item has no views with the same answer."""
    averaged(nn.Identity(), recipe.tta)
    if data.meaning.kind not in ("class", "labels", "values") or len(data.shape) < 3:
        raise InputError(
            "only answers for whole images are averaged over views",
            where="tta",
            got=f"inputs of {len(data.shape)} axes, targets of kind {data.meaning.kind}",
            fix="Leave tta out.",
        )


def completed(recipe: Recipe) -> Recipe:
    """The recipe with what its data bring filled in: an absolute path, task, kind of input, augmentations."""
    entry = find_source(recipe.data)
    return dataclasses.replace(
        recipe,
        data=absolute(recipe.data),
        weights=recipe.weights and str(Path(recipe.weights).expanduser().resolve()),
        task=recipe.task or entry.task,
        inputs=recipe.inputs or entry.inputs,
        augment=entry.augment if recipe.augment is None else recipe.augment,
    )


def _with_losses(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Name and options of the recipe's task, with those fields of the recipe that it takes."""
    name, options = parse_spec(recipe.task or "")
    known = inspect.signature(TASKS[name].form.of).parameters
    shared = {key: getattr(recipe, key) for key in ("label_smoothing", "class_weights") if key in known}
    return name, {key: value for key, value in shared.items() if value is not None} | options


def network_options(entry: zoo.Architecture, own: dict[str, Any], data: Data, task: Task) -> dict[str, Any]:
    """What the network needs to know of the data and the task; InputError where it takes another kind of input."""
    shape = data.shape
    axes = own["rank"] + 1 if "rank" in own else len(entry.input)
    if axes != len(shape):
        fitting = [other.name for other in zoo.ARCHITECTURES.values() if len(other.input) == len(shape)]
        raise InputError(
            "this network does not take this kind of input",
            where=f"network {entry.name}",
            expected=_spell_shape(entry.input, entry.tokens),
            got=_spell_shape(shape, len(shape) == 1),
            fix=f"Choose one of {', '.join(fitting[:5])} ... (striate zoo)." if fitting else "Choose other data.",
        )
    options: dict[str, Any] = {
        "num_classes": task.outputs,
        "in_channels": task.in_channels(data.preprocess.channels),
    }
    if entry.takes_input_size and "input_size" not in own:
        options["input_size"] = shape if entry.tokens else shape[1:]
    return options


def _spell_shape(shape: tuple[int, ...], tokens: bool) -> str:
    """A shape as a person would write it."""
    return f"{shape[0]} numbers of words" if tokens else f"{'x'.join(map(str, shape))} (channels first)"


def absolute(spec: str) -> str:
    """`NAME:PATH` with the absolute path."""
    name, colon, path = spec.partition(":")
    return f"{name}:{Path(path).expanduser().resolve()}" if path else name + colon


def load_recipe_data(recipe: Recipe, progress: Progress | None = None) -> Data:
    """The data of a recipe, split as it says, at the size that it and its network ask for."""
    entry = zoo.ARCHITECTURES[parse_spec(recipe.model)[0]]
    own = parse_spec(recipe.inputs)[1] if recipe.inputs else {}
    return load_data(
        recipe.data,
        inputs=recipe.inputs,
        image_size=recipe.image_size or (None if "image_size" in own else _image_size(recipe, entry)),
        channels=recipe.channels,
        validation=recipe.validation,
        test=recipe.test,
        folds=recipe.folds,
        fold=recipe.fold,
        seed=recipe.seed,
        skip_corrupt=recipe.skip_corrupt,
        progress=progress,
    )


def _image_size(recipe: Recipe, entry: zoo.Architecture) -> tuple[int, ...] | None:
    """None for the data's own size, or the network's where pictures have none or are smaller than it can take."""
    source = find_source(recipe.data)
    if source.kind != "pictures" or len(entry.input) != 3:
        return None
    if source.size is not None and min(source.size) >= entry.least:
        return None
    return entry.input[1:]


def record(steps: Iterator[Step], folder: Path, *, checkpoint_seconds: float = 10.0) -> Generator[Step, None, None]:
    """Write metrics and checkpoints of the steps of `fit` into the run folder; yields each step after it is written.

        for step in record(fit(model, task, data, recipe), folder): ...

    A checkpoint is written every `checkpoint_seconds`, after the last step, and when the caller stops early
    (closes the iterator). Metrics that an interrupted run wrote after its checkpoint are dropped.
    """
    checkpoint, metrics = folder / CHECKPOINT, folder / METRICS
    saved = epoch_began = time.monotonic()
    step: Step | None = None
    try:
        for count, step in enumerate(steps):
            now = time.monotonic()
            if count == 0:
                _keep_lines(metrics, step.number - 1)
            # Before the checkpoint: lines that are too many are dropped when training goes on, others never come back.
            _append(metrics, _lines(step, now - epoch_began))
            if step.ends_epoch:
                epoch_began = now
            if step.last or now - saved >= checkpoint_seconds:
                step.save(checkpoint)
                saved = time.monotonic()
            yield step
    except GeneratorExit:
        if step is not None:
            step.save(checkpoint)
        raise
    except DivergedError as error:
        kept = f"The last good checkpoint is kept: {checkpoint}"
        raise DivergedError(f"{error} {kept if checkpoint.is_file() else 'No checkpoint was written yet.'}") from None


def _append(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Add lines of JSON to a file; StorageError where they cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(to_json(line) + "\n" for line in lines)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}. Free some space and go on with: "
            f"striate train --resume {shlex.quote(str(path.parent))}"
        ) from error


def _lines(step: Step, seconds: float) -> Iterator[dict[str, Any]]:
    """What the metrics file says of a step."""
    if step.ends_epoch or step.number % math.ceil(step.of / STEP_LINES) == 0:
        yield {
            "kind": "step",
            "step": step.number,
            "epoch": step.epoch,
            "loss": step.loss,
            "learning_rate": step.learning_rate,
            "momentum": step.momentum,
        }
    if step.ends_epoch:
        yield {
            "kind": "epoch",
            "step": step.number,
            "epoch": step.epoch,
            "train_loss": step.train_loss,
            "validation": step.validation,
            "seconds": round(seconds, 4),
        }


def _keep_lines(metrics: Path, done: int) -> None:
    """Drop what was written after the checkpoint that training goes on from."""
    lines = metrics.read_bytes().splitlines(keepends=True) if done and metrics.is_file() else []
    # The last line may be half written: the process was killed.
    kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= done]
    write_atomically(metrics, b"".join(kept))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics file."""
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    for line in found:
        if line.get("validation"):
            line["validation"] = {name: from_null(value) for name, value in line["validation"].items()}
    return found


@dataclass(frozen=True)
class Outcome:
    """What a finished training gave: the scores on `items` (the test items), and what was kept of the outputs."""

    card: Card
    scores: Scores
    items: Items
    kept: Tensor


def conclude(session: Session, folder: Path) -> Outcome:
    """Test the trained model and write it into the run folder: weights, card and scores."""
    data, model = session.data, session.model
    items = data.tested
    seen = averaged(model, session.recipe.tta)
    kept, targets = evaluate(seen, session.task, items, data.preprocess, find_device(session.recipe.device))
    scores = session.task.score(kept, targets)
    card = dataclasses.replace(session.card, scores=scores.summary())
    save_model(folder, model, card)
    write_atomically(folder / SCORES, to_json(scores.json(), indent=1).encode())
    before = read_seen(Path(session.recipe.weights)) if session.recipe.weights else None
    write_seen(folder, seen_of(data) if before is None else np.union1d(seen_of(data), before))
    return Outcome(card, scores, items, kept.cpu())
