"""What a trained network's answer to a file hangs on: by one method or by all, as pictures, numbers and one page."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.data import Items
from striate.data.symbols import Symbols
from striate.errors import InputError, StorageError, did_you_mean
from striate.interpret.map import Map
from striate.interpret.methods import METHODS, explain
from striate.interpret.scoring import classes_of, examined, output_of, scored
from striate.interpret.sweep import Progress
from striate.registry import parse_spec
from striate.runs.card import Card
from striate.runs.report import Report, Section, render
from striate.shapes import Tensor
from striate.train import write_atomically

ALL = "all"
BATCH = 32


@dataclass(frozen=True, eq=False)
class Explained:
    """One method's result for an item; without one, why there is none."""

    method: str
    found: Any
    missing: str = ""


@dataclass(frozen=True, eq=False)
class Explanations:
    """What several methods say of one item: what was asked of it, and each method's result."""

    name: str
    question: str
    answer: dict[str, Any]
    results: tuple[Explained, ...]

    def write(self, folder: Path, title: str, command: str) -> Path:
        """METHOD.png, METHOD.npz and METHOD.json for each method, and index.html with all; the path of the page."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {folder}: {error.strerror}. Choose another --out.") from error
        sections = []
        for result in self.results:
            if result.missing:
                continue
            name = parse_spec(result.method)[0]
            picture = io.BytesIO()
            result.found.plot().savefig(picture, format="png")
            write_atomically(folder / f"{name}.png", picture.getvalue())
            if isinstance(result.found, Map):
                result.found.save(folder / f"{name}.npz")
            write_atomically(folder / f"{name}.json", (json.dumps(result.found.json()) + "\n").encode())
            sections.append(_section(result, name, picture.getvalue()))
        page = folder / "index.html"
        facts = {"what is explained": self.question, **{key: str(value) for key, value in self.answer.items()}}
        left = {result.method: result.missing for result in self.results if result.missing}
        if left:
            told = "; ".join(f"{name}: {reason}" for name, reason in left.items())
            sections.append(Section("Methods that do not fit", told, {}))
        report = Report(title, self.name, facts, tuple(sections), commands={"Make this page again": command})
        write_atomically(page, render(report).encode())
        return page


def explain_item(
    model: nn.Module,
    card: Card,
    item: Any,
    methods: Sequence[str] = (ALL,),
    *,
    name: str = "",
    target: str | int | None = None,
    layer: str = "",
    batches: Sequence[tuple[Tensor, Tensor]] | None = None,
    progress: Progress = False,
) -> Explanations:
    """What methods of `striate.interpret.METHODS` say of an item, as `card.preprocess` reads it.

    `methods`: names, or name:option=value,…; "all" stands for each, of which those that do not fit say why. `target`:
    a class, by its name or number; without it the greatest output. `layer`: a module whose output is explained, or
    looked at, where the method has one. `batches`: of a set, for the methods that look at one (see `set_of`).

    Raises InputError for an unknown class, method, option or layer.
    """
    stored = card.preprocess.read(item)
    place = next(model.parameters()).device
    units = card.preprocess.units(stored[None].to(place))
    task = card.build_task()
    x, _ = task.example(card.preprocess.standardize(units), torch.empty(1, 0, device=place), None)
    everything = ALL in methods
    with examined(model) as network, torch.no_grad():
        outputs = {path: output_of(network, x, path) for path in {"", layer}}
        answer = task.answer(network, x)[0].row()
    specs = [*METHODS] if everything else methods
    # Of what the network answers, unless a layer is explained.
    asked = {spec: layer if "layer" in METHODS[parse_spec(spec)[0]].takes else "" for spec in specs}
    question = "; ".join(
        sorted({_target(outputs[of], card, target)[1] + f" of {of}" * bool(of) for of in asked.values()})
    )
    found = []
    for spec in specs:
        wanted, _ = _target(outputs[asked[spec]], card, target)
        looked_at = layer if not everything or {"layer", "at"} & {*METHODS[spec].takes} else ""
        known: dict[str, Any] = {"limits": card.preprocess, "batches": batches, "names": card.class_names}
        try:
            made = explain(model, x, spec, target=wanted, layer=looked_at, progress=progress, **known)
        except InputError as error:
            if not everything:
                raise
            found.append(Explained(spec, None, str(error)))
            continue
        if isinstance(made, Map) and isinstance(card.preprocess, Symbols):
            made = made.lettered(card.preprocess.letters(stored))
        found.append(Explained(spec, made))
    return Explanations(name, question, answer, tuple(found))


def set_of(card: Card, items: Items, most: int) -> list[tuple[Tensor, Tensor]]:
    """The first `most` items as batches of network inputs and targets."""
    task, few = card.build_task(), items.subset(range(min(most, len(items))))
    batches = []
    for first in range(0, len(few), BATCH):
        part = slice(first, first + BATCH)
        inputs, targets = card.preprocess.normalize(few.inputs[part]), few.targets[part]
        batches.append((task.example(inputs, targets, None)[0], targets))
    return batches


def _target(output: Tensor, card: Card, target: str | int | None) -> tuple[Any, str]:
    """What methods are given, and how it is called."""
    names = card.class_names if output.dim() > 1 and len(card.class_names) == output.shape[1] else ()
    if isinstance(target, str) and (target in names or not target.removeprefix("-").isdecimal()):
        if target not in names:
            raise InputError("no such class", got=repr(target), fix=did_you_mean(target, names))
        target = names.index(target)
    greatest = classes_of(output)
    number = int(target) if target is not None else greatest[0] if greatest else None
    scored(output, number)
    if number is None:
        return None, "the output"
    called = f"output {number}" + (f", {names[number]}" if names else "")
    if output.dim() == 2:
        return number, called

    def total(outputs: Tensor) -> Tensor:
        return scored(outputs, number)

    total.__qualname__ = f"output {number}, summed over its positions"
    return total, total.__qualname__


def _section(result: Explained, name: str, picture: bytes) -> Section:
    entry = METHODS[name]
    title = (result.found.method if isinstance(result.found, Map) else name.replace("_", " ")).partition(" by ")[0]
    title = title[0].upper() + title[1:]
    caption = result.found.title() if isinstance(result.found, Map) else entry.summary
    return Section(title, entry.reading, {caption: picture})
