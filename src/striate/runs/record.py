"""A training run and the folder that it leaves.

recipe.yaml         replays the run:  striate train recipe.yaml
metrics.jsonl       a line a step (kind "step") and a line an epoch (kind "epoch")
checkpoint.safetensors  to resume from:  striate train --resume FOLDER
model.safetensors, model.json   the trained model; `striate.load(folder)`
scores.json         every measure on the test images
plots/*.png, report.html
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shlex
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

import striate
from striate import zoo
from striate.data import SOURCES, Data, ImageSet, load_data
from striate.errors import DivergedError, InputError, StorageError
from striate.recipe import Recipe
from striate.registry import parse_spec
from striate.runs.card import Card, save_model
from striate.shapes import Tensor
from striate.tasks import ClassificationScores, Classify
from striate.tasks.classify import balanced_weights
from striate.train import Step, evaluate, find_device, seeded, settle_process, write_atomically

CHECKPOINT, METRICS, RECIPE, SCORES = "checkpoint.safetensors", "metrics.jsonl", "recipe.yaml", "scores.json"
# A line a step would be too much for the longest runs.
STEP_LINES = 5000


Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Session:
    """A run that is about to train: what the recipe names, built."""

    recipe: Recipe
    data: Data
    model: nn.Module
    task: Classify
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


def open_session(recipe: Recipe, progress: Progress | None = None) -> Session:
    """Load the data and build the network of a recipe; `progress(done, total, what)` is told of slow reading.

    The session's recipe has the absolute path of the data, so that it can be replayed from anywhere.
    """
    settle_process()
    recipe = dataclasses.replace(recipe, data=_absolute(recipe.data))
    name, own_options = parse_spec(recipe.model)
    entry = zoo.ARCHITECTURES[name]
    if not entry.classifies_images:
        raise InputError(
            "this network does not map an image to classes",
            where=f"network {name}",
            got=f"an input of {'x'.join(map(str, entry.input))}",
            fix="Choose an image classifier (striate zoo).",
        )
    data = load_recipe_data(recipe, progress)
    channels, height, width = data.shape
    options: dict[str, Any] = {"num_classes": len(data.class_names), "in_channels": channels}
    if entry.takes_input_size:
        options["input_size"] = (height, width)
    if recipe.dropout is not None:
        options["dropout"] = recipe.dropout
    with seeded(recipe.seed):
        model = zoo.build(recipe.model, **options)
    weights = recipe.class_weights
    if weights == "balanced":
        weights = balanced_weights(data.train.labels, len(data.class_names))
    task = Classify(data.class_names, label_smoothing=recipe.label_smoothing, class_weights=weights)
    card = Card(
        architecture=name,
        options=entry.bind(own_options) | options,
        class_names=data.class_names,
        preprocess=data.preprocess,
        task={"name": "classify", "multi_label": task.multi_label},
        data=data.fingerprint(),
        striate_version=striate.__version__,
    )
    return Session(recipe, data, model, task, card)


def _absolute(spec: str) -> str:
    """`NAME:PATH` with the absolute path."""
    name, colon, path = spec.partition(":")
    return f"{name}:{Path(path).expanduser().resolve()}" if path else name + colon


def load_recipe_data(recipe: Recipe, progress: Progress | None = None) -> Data:
    """The data of a recipe, split as it says, at the size that it and its network ask for."""
    entry = zoo.ARCHITECTURES[parse_spec(recipe.model)[0]]
    return load_data(
        recipe.data,
        image_size=recipe.image_size or _image_size(recipe, entry),
        channels=recipe.channels,
        validation=recipe.validation,
        test=recipe.test,
        seed=recipe.seed,
        skip_corrupt=recipe.skip_corrupt,
        progress=progress,
    )


def _image_size(recipe: Recipe, entry: zoo.Architecture) -> tuple[int, int] | None:
    """None for the data's own size, or the network's where the data has none or is smaller than it can take."""
    own = SOURCES[recipe.data.partition(":")[0]].size
    if own is not None and min(own) >= entry.least:
        return None
    _, height, width = entry.input
    return height, width


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
            file.writelines(json.dumps(line) + "\n" for line in lines)
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
    return [json.loads(line) for line in lines if line.endswith("\n")]


@dataclass(frozen=True)
class Outcome:
    """What a finished training gave: the scores on `items` (the test images), and the outputs they are of."""

    card: Card
    scores: ClassificationScores
    items: ImageSet
    outputs: Tensor


def conclude(session: Session, folder: Path) -> Outcome:
    """Test the trained model and write it into the run folder: weights, card and scores."""
    data, model = session.data, session.model
    items = data.test or data.validation or data.train
    outputs, targets = evaluate(model, items, data.preprocess, find_device(session.recipe.device))
    scores = session.task.score(outputs, targets)
    card = dataclasses.replace(session.card, scores=scores.summary())
    save_model(folder, model, card)
    write_atomically(folder / SCORES, json.dumps(scores.json(), indent=1).encode())
    return Outcome(card, scores, items, outputs.cpu())
