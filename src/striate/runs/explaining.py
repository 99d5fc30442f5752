"""What a trained network's answer to a file hangs on: by one method or by all, as pictures, numbers and one page."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.data import Items
from striate.data.symbols import Symbols
from striate.errors import InputError, StorageError, did_you_mean
from striate.interpret.attribution.gradients import strongest
from striate.interpret.map import Map
from striate.interpret.methods import METHODS, Method, explain, read_method
from striate.interpret.scoring import classes_of, examined, output_of, scored
from striate.interpret.sweep import Progress
from striate.plain import to_json
from striate.runs.card import Card
from striate.runs.report import Report, Section, render
from striate.shapes import Tensor
from striate.train import write_atomically

ALL = "all"
BATCH = 32


@dataclass(frozen=True, eq=False)
class Explained:
    """One method's result for an item, and which output it explains, if one; without a result, why there is none."""

    method: str
    found: Any
    missing: str = ""
    question: str = ""


@dataclass(frozen=True, eq=False)
class Explanations:
    """What several methods say of one item: what the network answers, and each method's result.

    `axes`: what those of its pictures mean, where that is not plain. `unbegun`: methods that Ctrl-C left out.
    """

    name: str
    answer: dict[str, Any]
    results: tuple[Explained, ...]
    axes: str = ""
    unbegun: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """What is explained, by those methods that explain something: "output 3, cat"."""
        return "; ".join(sorted({result.question for result in self.results if result.question}))

    def write(self, folder: Path, title: str, command: str) -> Path:
        """METHOD.png, METHOD.npz and METHOD.json for each method, and index.html with all; the path of the page.

        A method that stands there twice, with other options, has METHOD-2.png and so on for the second.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {folder}: {error.strerror}. Choose another --out.") from error
        sections, times = [], Counter[str]()
        left = {result.method: result.missing for result in self.results if result.missing}
        for result in self.results:
            if result.missing:
                continue
            name = read_method(result.method)[0].name
            times[name] += 1
            stem = f"{name}-{times[name]}" if times[name] > 1 else name
            if isinstance(result.found, Map):
                result.found.save(folder / f"{stem}.npz")
            write_atomically(folder / f"{stem}.json", (to_json(result.found.json()) + "\n").encode())
            picture = io.BytesIO()
            try:
                result.found.plot().savefig(picture, format="png")
            except InputError as error:  # too few items of a set, say
                left[result.method] = str(error)
                continue
            write_atomically(folder / f"{stem}.png", picture.getvalue())
            sections.append(_section(result, picture.getvalue()))
        page = folder / "index.html"
        asked = {"what is explained": self.question} if self.question else {}
        facts = asked | {key: f"{v:.4g}" if isinstance(v, float) else str(v) for key, v in self.answer.items()}
        facts |= {"axes of the pictures": self.axes} if self.axes else {}
        if left:
            told = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in left.items())
            sections.append(Section("Methods that do not fit", told, {}))
        if self.unbegun:
            sections.append(Section("Interrupted", f"Left out: {', '.join(self.unbegun)}.", {}))
        report = Report(title, self.name, facts, tuple(sections), commands={"Make this page again": command})
        write_atomically(page, render(report).encode())
        return page


class InterruptedExplanations(KeyboardInterrupt):
    """Ctrl-C while an item is explained; `made` is what is there."""

    def __init__(self, made: Explanations) -> None:
        super().__init__()
        self.made = made


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

    `methods`: names, or name:option=value,…; "all" stands for each that is not named, of which those that do not fit
    say why. `target`: a class, by its name or number; without it the greatest output. `layer`: a module whose output
    is explained, or looked at, where the method has one. `batches`: of a set, for the methods that look at one (see
    `set_of`).

    Raises InputError for an unknown class, method, option or layer, and what a method that is named raises; at Ctrl-C
    InterruptedExplanations, with what was made so far.
    """
    specs = specs_of(methods)
    stored = card.preprocess.read(item)
    place = next(model.parameters()).device
    units = card.preprocess.units(stored[None].to(place))
    task = card.build_task()
    x, _ = task.example(card.preprocess.standardize(units), torch.empty(1, 0, device=place), None)
    with examined(model) as network, torch.no_grad():
        outputs = {path: output_of(network, x, path) for path in dict.fromkeys(("", layer))}
        answer = task.answer(network, x)[0].row()
    _check_target(outputs, card, target, specs)
    found: list[Explained] = []
    for number, spec in enumerate(specs):
        entry = read_method(spec)[0]
        looked_at = layer if spec in methods or {"layer", "at"} & {*entry.takes} else ""
        known: dict[str, Any] = {"limits": card.preprocess, "batches": batches, "names": card.class_names}
        try:
            wanted, question = _wanted(entry, outputs, card, target, layer)
            made = explain(model, x, spec, target=wanted, layer=looked_at, progress=progress, **known)
        except InputError as error:
            if spec in methods:
                raise
            found.append(Explained(spec, None, str(error)))
            continue
        except KeyboardInterrupt:
            so_far = Explanations(name, answer, tuple(found), card.preprocess.axes, tuple(specs[number:]))
            raise InterruptedExplanations(so_far) from None
        if isinstance(made, Map) and isinstance(card.preprocess, Symbols):
            made = made.lettered(card.preprocess.letters(stored))
        found.append(Explained(spec, made, question=question))
    return Explanations(name, answer, tuple(found), card.preprocess.axes)


def specs_of(methods: Sequence[str]) -> list[str]:
    """The methods one by one, each once: "all" stands for those that are not named.

    Raises InputError for an unknown method or option.
    """
    named = {read_method(spec)[0].name for spec in methods if spec != ALL}
    every = [[name for name in METHODS if name not in named] if spec == ALL else [spec] for spec in methods]
    return list(dict.fromkeys(spec for part in every for spec in part))


def set_of(card: Card, items: Items, most: int) -> list[tuple[Tensor, Tensor]]:
    """So many items, drawn with a fixed seed (they may be sorted by class), as batches of inputs and targets."""
    drawn = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))[:most]
    task, few = card.build_task(), items.subset(drawn.tolist())
    batches = []
    for first in range(0, len(few), BATCH):
        part = slice(first, first + BATCH)
        inputs, targets = card.preprocess.normalize(few.inputs[part]), few.targets[part]
        batches.append((task.example(inputs, targets, None)[0], targets))
    return batches


def _check_target(outputs: dict[str, Tensor], card: Card, target: str | int | None, specs: Sequence[str]) -> None:
    """A target is one of some output that is asked for; methods with "all" leave out what does not fit."""
    if target is None:
        return
    entries = [entry for spec in specs if "target" in (entry := read_method(spec)[0]).takes]
    if not entries:
        raise InputError("none of these methods explains an output", got=f"target {target}", fix="Leave it out.")
    errors = []
    for layer, output in outputs.items():
        try:
            _target(output, card, target, layer)
            return
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _wanted(
    entry: Method, outputs: dict[str, Tensor], card: Card, target: str | int | None, layer: str
) -> tuple[Any, str]:
    """What a method is given as target, and how it is called: of the network's output, or of a layer's."""
    if "target" not in entry.takes:
        return None, ""
    of = layer if "layer" in entry.takes else ""
    return _target(outputs[of], card, target, of, entry.strongest)


def _target(output: Tensor, card: Card, target: str | int | None, layer: str, unit: bool = False) -> tuple[Any, str]:
    """An index, or of outputs with positions a function: their sum, or with `unit` the greatest; and in words."""
    number, name = _index(output, card, target, layer, unit)
    of = f" of {layer}" if layer else ""
    if number is None:
        return None, f"the output{of}"
    called = f"output {number}{of}" + f", {name}" * bool(name)
    if output.dim() == 2:
        return number, called
    if unit:
        return strongest(number), f"{called}, where it is strongest"

    def total(outputs: Tensor) -> Tensor:
        return scored(outputs, number)

    total.__qualname__ = f"{called}, summed over its positions"
    return total, total.__qualname__


def _index(output: Tensor, card: Card, target: str | int | None, layer: str, unit: bool) -> tuple[int | None, str]:
    """The index of a class of this output by its name or number, or of the greatest; and its name, if it has one."""
    # The maps of a layer are no classes, though there may be as many.
    classes = output.dim() == 2 or (output.dim() > 2 and not layer)
    names = card.class_names if classes and len(card.class_names) == output.shape[1] else ()
    if target is None:
        greatest = classes_of(output.flatten(2).amax(2) if unit and output.dim() > 2 else output)
        number = greatest[0] if greatest else None
    elif target in names:
        number = names.index(str(target))
    else:
        try:
            number = int(target)
        except ValueError:
            fix = did_you_mean(str(target), names) if names else "Give a number."
            raise InputError("no such class", where=layer or None, got=repr(target), fix=fix) from None
    scored(output, number)  # an unknown one is told
    if number is None:
        return None, ""
    number %= output.shape[1]
    return number, names[number] if names else ""


def _section(result: Explained, picture: bytes) -> Section:
    entry, found = read_method(result.method)[0], result.found
    title = (found.method if isinstance(found, Map) else entry.name.replace("_", " ")).partition(" by ")[0]
    title = title[0].upper() + title[1:]
    options = result.method.partition(":")[2]
    shown = found.title() if isinstance(found, Map) else entry.summary.replace("`", "").rstrip(".")
    caption = "; ".join(filter(None, (shown, result.question)))
    reading = entry.caption("upright", "hanging") if _is_logo(found) else entry.caption()
    return Section(title + f" ({options})" * bool(options), reading, {caption: picture})


def _is_logo(found: Any) -> bool:
    from striate.interpret.letter_pictures import are_bases

    return isinstance(found, Map) and "letters" in found.parameters and are_bases(found.parameters["letters"])
