"""Runs side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs.card import CARD, read_card
from striate.runs.record import RECIPE, read_metrics
from striate.tasks import spell


@dataclass(frozen=True)
class RunSummary:
    """A run: its recipe, where it stands (trained, unfinished at some epoch, or unreadable), and its scores.

    Of an unreadable run, `problem` says what is wrong with it, and there is no recipe.
    """

    folder: str
    state: str
    recipe: Recipe | None
    epochs: int
    seconds: float
    validation: dict[str, float]
    scores: dict[str, float]
    problem: str = ""

    @property
    def measure(self) -> str:
        """The headline of its task's scores; of an unfinished run what was watched beside the loss; '' for neither."""
        names = [name for name in (self.scores or self.validation) if name != "n"]
        return next((name for name in names if name != "loss"), names[0] if names else "")

    def json(self) -> dict[str, Any]:
        """As plain types."""
        return {**dataclasses.asdict(self), "measure": self.measure}


@dataclass(frozen=True)
class RunList:
    """Runs, newest last."""

    runs: tuple[RunSummary, ...]

    @property
    def differing(self) -> tuple[str, ...]:
        """Fields of the recipes that are not the same in all runs."""
        fields = [field.name for field in dataclasses.fields(Recipe)]
        recipes = [run.recipe for run in self.runs if run.recipe]
        return tuple(name for name in fields if len({repr(getattr(recipe, name)) for recipe in recipes}) > 1)

    def json(self) -> list[dict[str, Any]]:
        """As plain types."""
        return [run.json() for run in self.runs]

    def table(self) -> Table:
        """One row a run: scores, and what tells its recipe from the others."""
        columns = [name for name in ("model", "data", "seed") if name not in self.differing]
        columns += self.differing
        table = Table("run", "state", "measure", "test", "n", "validation", "epochs", "seconds", *columns)
        for run in self.runs:
            tested, watched = run.scores.get(run.measure), run.validation.get(run.measure)
            cells = (
                run.folder,
                run.state,
                spell(run.measure) or "–",
                "–" if tested is None else f"{tested:.4f}",
                f"{run.scores.get('n', 0)}",
                "–" if watched is None else f"{watched:.4f}",
                f"{run.epochs}/{run.recipe.epochs:g}" if run.recipe else "–",
                f"{run.seconds:.1f}",
                *(_spell(getattr(run.recipe, name, None)) for name in columns),
            )
            table.add_row(*map(Text, cells))  # brackets in a path are no markup
        return table


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    return (folder / CARD).is_file() or (folder / RECIPE).is_file()


def read_run(folder: Path) -> RunSummary:
    """What a run folder says; InputError if it holds no recipe or files that cannot be read."""
    if not (folder / RECIPE).is_file():
        raise InputError("this folder is no run", where=folder, expected=f"a {RECIPE} in it")
    finished = (folder / CARD).is_file()
    recipe = Recipe.read(folder / RECIPE)
    scores = read_card(folder).scores if finished else {}
    try:
        epochs = [line for line in read_metrics(folder) if line["kind"] == "epoch"]
        seconds = sum(line["seconds"] for line in epochs)
        validation = (epochs[-1]["validation"] or {}) if epochs else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("cannot read the metrics of a run", where=folder, got=f"{error!r}") from None
    state = "trained" if finished else "unfinished"
    return RunSummary(str(folder), state, recipe, len(epochs), seconds, validation, scores)


def list_runs(folders: Sequence[Path]) -> RunList:
    """The runs named, and those inside the folders named; InputError where there is none.

    A run whose files are damaged is listed as unreadable, so that it does not hide the others.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError("no such folder", where=folder, fix="Train something: striate train")
        inside = [folder] if (folder / RECIPE).is_file() else sorted(p.parent for p in folder.glob(f"*/{RECIPE}"))
        if not inside:
            raise InputError("no runs here", where=folder, fix="Train something: striate train")
        found += inside
    return RunList(tuple(_read_or_tell(folder) for folder in dict.fromkeys(found)))


def _read_or_tell(folder: Path) -> RunSummary:
    try:
        return read_run(folder)
    except (InputError, OSError) as error:
        return RunSummary(str(folder), "unreadable", None, 0, 0.0, {}, {}, problem=str(error))


def _spell(value: Any) -> str:
    return "–" if value is None else json.dumps(value) if isinstance(value, tuple) else str(value)
