"""A trained model on disk: `model.safetensors` and the card `model.json`, enough to predict with."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from striate import zoo
from striate.data import Input, Meaning, read_input
from striate.errors import InputError, listed
from striate.plain import from_null, to_json
from striate.shapes import Tensor
from striate.tasks import Task, read_task
from striate.train import (
    averaged,
    ensemble,
    lay_out,
    load_weights,
    read_tensors,
    save_tensors,
    settle_process,
    write_atomically,
)

WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Card:
    """What is needed to use a model: how to build it, how to prepare an item, what the outputs mean.

    `architecture` is the network's name in the zoo and `options` what `striate.build` gets beside it.
    `task` names the task and its options, `meaning` says what its targets were, `data` is the fingerprint of the items
    that it was trained and tested on. `preprocess(item)` turns an item (a picture: a path, a PIL image, an array or a
    tensor) into the network's input of `input_shape`. `scores` holds the test scores at the end of training. Tests and
    predictions are averaged over the views `tta` (see `striate.train.averaged`).
    """

    architecture: str
    options: dict[str, Any]
    meaning: Meaning
    preprocess: Input
    task: dict[str, Any]
    data: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    tta: tuple[str, ...] = ()
    striate_version: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes (points, quantities, letters)."""
        return self.meaning.names

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the network's input: (c, *space), or (length,) for numbers of words."""
        return self.preprocess.shape

    def build(self) -> nn.Module:
        """The network with fresh weights."""
        return zoo.build(self.architecture, **self.options)

    def build_task(self) -> Task:
        """What the outputs mean."""
        return read_task(self.task)

    def json(self) -> dict[str, Any]:
        """The card as plain types."""
        return {
            "architecture": self.architecture,
            "options": self.options,
            "meaning": self.meaning.json(),
            "input_shape": list(self.input_shape),
            "preprocess": self.preprocess.json(),
            "task": self.task,
            "data": self.data,
            "scores": self.scores,
            "tta": list(self.tta),
            "striate_version": self.striate_version,
        }


def save_model(folder: Path, model: nn.Module, card: Card) -> None:
    """Write weights and card into `folder`, each file atomically."""
    save_tensors(folder / WEIGHTS, model.state_dict(), {"architecture": card.architecture})
    write_atomically(folder / CARD, (to_json(card.json(), indent=2) + "\n").encode())


def load(run_folder: str | Path, *others: str | Path) -> tuple[nn.Module, Card]:
    """The trained model of a run, in evaluation mode on the CPU, and its card.

        model, card = striate.load("runs/20261121-093000-lenet5-digits")
        logits = model(card.preprocess("seven.png")[None])

    Of several runs, one network that says the mean of what theirs say (`striate.train.ensemble`), and a card to use it
    with. They may differ in their networks, and in the training items that their inputs are standardized by.

    Raises InputError when a folder is no finished run, when weights and card do not belong together, and for runs whose
    outputs do not mean the same, that take other inputs, or one given twice.
    """
    settle_process()
    folders = [Path(folder) for folder in (run_folder, *others)]
    found = [_load(folder) for folder in folders]
    return found[0] if len(found) == 1 else _together(folders, found)


def _load(folder: Path) -> tuple[nn.Module, Card]:
    card = read_card(folder)
    model = card.build()
    tensors, _ = read_tensors(folder / WEIGHTS)
    load_weights(model, tensors, folder / WEIGHTS)
    lay_out(model)
    return model.eval(), card


class Member(nn.Module):
    """A network of several, which takes inputs that are not standardized and answers in the terms of another task."""

    def __init__(self, model: nn.Module, card: Card, into: Task) -> None:
        super().__init__()
        self.model, self.preprocess = averaged(model, card.tta), card.preprocess
        self.task, self.into = card.build_task(), into

    def forward(self, x: Tensor) -> Any:
        """The network's output."""
        return self.task.translated(self.model(self.preprocess.rescaled(x)), self.into)


def _together(folders: Sequence[Path], found: Sequence[tuple[nn.Module, Card]]) -> tuple[nn.Module, Card]:
    """The mean of several networks, and its card."""
    _, first = found[0]
    task, plain = first.build_task(), first.preprocess.unscaled()
    places = [folder.resolve() for folder in folders]
    for folder, place, (_, card) in zip(folders[1:], places[1:], found[1:], strict=True):
        pair = f"{folders[0]} and {folder}"
        if places.count(place) > 1:
            raise InputError("a run is given twice", got=folder, fix="Name each run once.")
        if not task.alike(other := card.build_task()):
            raise InputError(
                "runs that answer differently have no mean", where=pair, expected=_spelled(task, other),
                got=_spelled(other, task), fix="Choose runs of one task and the same classes.",
            )  # fmt: skip
        if card.preprocess.unscaled() != plain:
            raise InputError(
                "runs that take other inputs cannot answer together", where=pair, expected=_inputs(plain),
                got=_inputs(card.preprocess.unscaled()), fix="Train them on the same kind and size of input.",
            )  # fmt: skip
    members = [Member(model, card, task) for model, card in found]
    return ensemble(members).eval(), dataclasses.replace(first, preprocess=plain, tta=())


def _spelled(task: Task, other: Task) -> str:
    """A task in an error that tells it from another one."""
    found = [f"{task.name} of {listed(task.output_names, 5)}" if task.output_names else task.name]
    if (task.name, task.output_names) == (other.name, other.output_names):
        theirs = other.json()
        found += [f"{key} {value}" for key, value in task.json().items() if value != theirs[key]]
    return ", ".join(found)


def _inputs(preprocess: Input) -> str:
    stored = {key: value for key, value in preprocess.json().items() if key not in ("mean", "std")}
    text = to_json(stored)
    return text if len(text) < 120 else f"{stored['kind']} of shape {preprocess.shape}, other words or settings"


def read_card(folder: Path) -> Card:
    """The card of a run; InputError when there is none or it cannot be understood."""
    path = folder / CARD
    if not path.is_file():
        unfinished = (folder / "recipe.yaml").is_file()
        raise InputError(
            "this folder holds no trained model",
            where=folder,
            expected=CARD,
            fix=f"Finish it with: striate train --resume {shlex.quote(str(folder))}"
            if unfinished
            else "Pass the folder of a run.",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["preprocess"] = read_input(values["preprocess"])
        values["tta"] = tuple(values.get("tta", ()))
        values["meaning"] = Meaning.from_json(values["meaning"])
        values["scores"] = {name: from_null(score) for name, score in values.get("scores", {}).items()}
        return Card(**{f.name: values[f.name] for f in dataclasses.fields(Card) if f.name in values})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("cannot read the card of a model", where=path, got=f"{error!r}") from None
