"""The verb that looks inside a trained network."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from striate.cli.screen import print_json, print_line, print_table, say
from striate.cli.training import showing_progress
from striate.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from striate.runs import Card


@dataclass(frozen=True)
class Explain:
    """Show what a trained network's answer to a file hangs on, by one method or all; or list the methods."""

    run_folder: Annotated[Positional[Path | None], tyro.conf.arg(metavar="[RUN]")] = None
    """Folder of a run."""
    files: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILES")] = ()
    """What the network takes: images, recordings, texts ..., or folders of them."""
    method: tuple[str, ...] = ("all",)
    """Methods of the list, with options as in occlusion:patch=8,stride=4; all for one page with each that fits."""
    target: str | None = None
    """The class to explain, by name or number; by default the greatest output."""
    layer: str = ""
    """A layer by its path, as striate describe prints it: its output is explained, or looked at."""
    data: str | None = None
    """A set, as in train, for methods that look at one (top_patches, embed ...); "own": the run's test items."""
    set_size: int = 500
    """How many items of the set to look at."""
    first: int = 8
    """How many items to explain, of all files together."""
    out: Path = Path("explanations")
    """Folder for pictures, numbers and pages, one folder an item."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    json: bool = False
    """Print one JSON list with all numbers."""

    def run(self) -> None:
        """Write the pictures and say where they are."""
        from striate.runs import load
        from striate.runs.answers import check_names, file_stems
        from striate.runs.explaining import InterruptedExplanations, explain_item
        from striate.train import find_device

        if self.run_folder is None:
            self._list()
            return
        self._check()
        model, card = load(self.run_folder)
        model.to(find_device(self.device))
        items = self._items(card)
        made: list[dict[str, Any]] = []
        batches = self._batches(card)
        names = [name for name, _, _ in items]
        check_names(names)
        stems = file_stems(names)
        interrupted = None
        for name, item, again in items:
            with showing_progress() as progress:
                try:
                    found = explain_item(
                        model,
                        card,
                        item,
                        self.method,
                        name=name,
                        target=self.target,
                        layer=self.layer,
                        batches=batches,
                        progress=progress,
                    )
                except InterruptedExplanations as stop:
                    interrupted, found = stop, stop.made
            if interrupted and all(result.missing for result in found.results):
                break
            page = found.write(self.out / stems[name], f"What {card.architecture} sees", again)
            results = {result.method: result.missing or result.found.json() for result in found.results}
            made.append({"file": name, "explained": found.question, **found.answer, "page": str(page)} | results)
            if not self.json:
                print_line(": ".join(filter(None, (name, found.question, str(page)))))
            if interrupted:
                break
        if self.json:
            print_json(made)
        if interrupted:
            raise interrupted

    def _check(self) -> None:
        """What can be told before anything is loaded."""
        from striate.runs.explaining import specs_of

        if not self.files:
            raise InputError("nothing to explain", expected="files", fix="striate explain RUN FILES...")
        for option, number in (("--first", self.first), ("--set-size", self.set_size)):
            if number < 1:
                raise InputError(f"wrong {option}", expected="1 or more", got=number)
        specs_of(self.method)

    def _items(self, card: Card) -> list[tuple[str, Any, str]]:
        """The first items of the files, and of those in folders: name, item, and the command that explains it again."""
        from striate.runs.answers import files_of

        items = []
        for file in dict.fromkeys(file for path in self.files for file in files_of(card.preprocess, path, say)):
            inside = card.preprocess.expand(file)
            if not inside:
                raise InputError("nothing to explain", where=file, expected="at least one item", got="none")
            items += [(name, item, self._command(file, place)) for place, (name, item) in enumerate(inside)]
        for note in card.preprocess.notes([item for _, item, _ in items[: self.first]]):
            say(note)
        if len(items) > self.first:
            say(f"the first {self.first} of {len(items)} items (--first)")
        return items[: self.first]

    def _batches(self, card: Card) -> list[tuple[Tensor, Tensor]] | None:
        from striate.runs.evaluation import items_of
        from striate.runs.explaining import set_of

        if self.data is None or self.run_folder is None:
            return None
        with showing_progress() as progress:
            items = items_of(self.run_folder, card, None if self.data == "own" else self.data, progress)
        return set_of(card, items, self.set_size)

    def _command(self, file: Path, place: int) -> str:
        """What explains an item of a file again, and those before it."""
        usual = type(self)()
        given = {
            name: value
            for name in ("target", "layer", "data", "set_size", "first", "out", "device")
            if (value := getattr(self, name)) != getattr(usual, name)
        }
        if place >= usual.first:
            given["first"] = place + 1
        options = [word for name, value in given.items() for word in ("--" + name.replace("_", "-"), str(value))]
        return shlex.join(["striate", "explain", str(self.run_folder), str(file), "--method", *self.method, *options])

    def _list(self) -> None:
        from striate.interpret.methods import METHODS

        if self.json:
            print_line(json.dumps([entry.json() for entry in METHODS.values()], default=str))
            return
        table = Table("method", "what it shows", "options")
        for entry in METHODS.values():
            options = " ".join(key if value is None else f"{key}={value}" for key, value in entry.options.items())
            table.add_row(entry.name, escape(entry.summary), escape(options))
        print_table(table)
