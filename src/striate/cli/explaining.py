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

from striate.cli.screen import print_line, print_table, say
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
    """What the network takes: images, recordings, texts ..."""
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
    """Of a file that holds many items, how many to explain."""
    out: Path = Path("explanations")
    """Folder for pictures, numbers and pages, one folder an item."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    json: bool = False
    """Print one JSON list with all numbers."""

    def run(self) -> None:
        """Write the pictures and say where they are."""
        from striate.interpret.methods import METHODS
        from striate.runs import load
        from striate.runs.answers import file_stems
        from striate.runs.explaining import explain_item
        from striate.train import find_device

        if self.run_folder is None:
            self._list()
            return
        if not self.files:
            raise InputError("nothing to explain", expected="files", fix="striate explain RUN FILES...")
        for spec in self.method:
            if spec != "all":
                METHODS[spec.partition(":")[0]]  # before anything is loaded
        model, card = load(self.run_folder)
        model.to(find_device(self.device))
        items = [pair for file in self.files for pair in card.preprocess.expand(file)]
        if len(items) > self.first:
            say(f"the first {self.first} of {len(items)} items (--first)")
        items = items[: self.first]
        made: list[dict[str, Any]] = []
        batches = self._batches(card)
        stems = file_stems([name for name, _ in items])
        for name, item in items:
            with showing_progress() as progress:
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
            page = found.write(self.out / stems[name], f"What {card.architecture} sees", self._command(name))
            results = {result.method: result.missing or result.found.json() for result in found.results}
            made.append({"file": name, "explained": found.question, **found.answer, "page": str(page)} | results)
            if not self.json:
                for result in found.results:
                    if result.missing and "all" not in self.method:
                        say(f"{result.method}: {result.missing}")
                print_line(f"{name}: {found.question}: {page}")
        if self.json:
            print_line(json.dumps(made))

    def _batches(self, card: Card) -> list[tuple[Tensor, Tensor]] | None:
        from striate.runs.evaluation import items_of
        from striate.runs.explaining import set_of

        if self.data is None or self.run_folder is None:
            return None
        with showing_progress() as progress:
            items = items_of(self.run_folder, card, None if self.data == "own" else self.data, progress)
        return set_of(card, items, self.set_size)

    def _command(self, name: str) -> str:
        methods = " ".join(map(shlex.quote, self.method))
        target = f" --target {shlex.quote(self.target)}" if self.target else ""
        layer = f" --layer {shlex.quote(self.layer)}" if self.layer else ""
        return (
            f"striate explain {shlex.quote(str(self.run_folder))} {shlex.quote(name)} --method {methods}{target}{layer}"
        )

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
