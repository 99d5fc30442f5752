"""The verbs that train networks and use what was trained."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from striate.cli.screen import SCREEN, print_line, print_table, say
from striate.errors import InputError
from striate.recipe import Recipe

if TYPE_CHECKING:
    from striate.train import Step

INTERRUPTED = 130


@dataclass(frozen=True)
class Train:
    """Train a network, test it, and write a run folder with weights, pictures and a report.

    Without arguments: LeNet-5 on scikit-learn's handwritten digits.
    """

    file: Positional[Path | None] = None
    """A recipe.yaml to replay; the options below override it."""
    resume: Path | None = None
    """Continue the interrupted run in this folder; all else comes from its recipe."""
    out: Path = Path("runs")
    """The folder in which the run's own folder is made."""
    recipe: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)

    def run(self) -> None:
        """Train, test, draw."""
        from striate.runs import CHECKPOINT, conclude, make_folder, open_session, record, write_report
        from striate.train import fit

        recipe = self.recipe if self.resume is None else self._resumed()
        with showing_progress() as progress:
            session = open_session(recipe, progress)
        report_skipped(session.data.skipped)
        checkpoint = None if self.resume is None else self.resume / CHECKPOINT
        resume = checkpoint if checkpoint is not None and checkpoint.is_file() else None
        steps = fit(session.model, session.task, session.data, session.recipe, resume=resume)
        # The folder is made only now: a recipe that cannot be used leaves nothing behind.
        folder = self.resume or make_folder(session.recipe, self.out)
        if not show_training(record(steps, folder), recipe.epochs):
            say(f"stopped and saved. Go on with: striate train --resume {shlex.quote(str(folder))}")
            print_line(f"run: {folder}")
            sys.exit(INTERRUPTED)
        outcome = conclude(session, folder)
        page = write_report(session, outcome, folder)
        SCREEN.print(outcome.scores.table())
        say(f"report: {page}")
        print_line(f"test accuracy: {outcome.scores.accuracy:.4f} ({outcome.scores.n} images)")
        print_line(f"run: {folder}")

    def _resumed(self) -> Recipe:
        """The recipe of the run to resume, on the device asked for now."""
        assert self.resume is not None
        device, workers = self.recipe.device, self.recipe.workers
        if self.file is not None or self.recipe != Recipe(device=device, workers=workers):
            raise InputError(
                "a resumed run keeps its recipe",
                where=f"--resume {self.resume}",
                expected="no other option than --device and --workers",
                fix="To train another recipe, leave --resume out.",
            )
        if not (self.resume / "recipe.yaml").is_file():
            raise InputError("nothing to resume", where=self.resume, expected="a run's folder, with recipe.yaml in it")
        return dataclasses.replace(Recipe.read(self.resume / "recipe.yaml"), device=device, workers=workers)


@dataclass(frozen=True)
class Evaluate:
    """Score the model of a run on its own test images, or on other data."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""
    data: str | None = None
    """Other data, as in train: mnist:PATH, folder:PATH ... (its test images, or all if it has none)."""
    skip_corrupt: bool = False
    """Leave out images that cannot be read."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print the scores."""
        from striate.runs import evaluate_run

        with showing_progress() as progress:
            scores, skipped = evaluate_run(
                self.run_folder,
                self.data,
                device=self.device,
                skip_corrupt=self.skip_corrupt,
                progress=progress,
            )
        report_skipped(skipped)
        if self.json:
            print_line(json.dumps({**scores.json(), "skipped": skipped}))
        else:
            print_table(scores.table())


@dataclass(frozen=True)
class Predict:
    """Tell the classes of image files."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""
    files: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILES")]
    """Images."""
    top_k: int = 3
    """How many classes to tell for each image."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    json: bool = False
    """Print one JSON list."""

    def run(self) -> None:
        """Print the predictions."""
        from striate.runs import load, predict
        from striate.train import find_device

        if not self.files:
            raise InputError("nothing to predict", expected="image files", fix="striate predict RUN FILES...")
        model, card = load(self.run_folder)
        predictions = predict(model.to(find_device(self.device)), card, self.files, self.top_k)
        if self.json:
            rows = [
                {"file": str(file), "classes": p.classes, "probabilities": p.probabilities}
                for file, p in zip(self.files, predictions, strict=True)
            ]
            print_line(json.dumps(rows))
            return
        table = Table("file", "class", "probability", "next")
        for file, prediction in zip(self.files, predictions, strict=True):
            # With several labels, an image may have none.
            best, *rest = zip(prediction.classes or ("–",), prediction.probabilities or (0.0,), strict=True)
            others = ", ".join(f"{name} {probability:.3f}" for name, probability in rest)
            table.add_row(escape(str(file)), escape(best[0]), f"{best[1]:.3f}", escape(others))
        print_table(table)


@dataclass(frozen=True)
class Runs:
    """List runs and compare their scores and what differs in their recipes."""

    folders: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FOLDERS")] = (Path("runs"),)
    """Runs, or folders that hold runs."""
    json: bool = False
    """Print one JSON list."""

    def run(self) -> None:
        """Print the runs."""
        from striate.runs import list_runs

        found = list_runs(self.folders or (Path("runs"),))
        if self.json:
            print_line(json.dumps(found.json()))
        else:
            print_table(found.table())


def show_training(steps: Generator[Step, None, None], epochs: float) -> bool:
    """Train with a live display; False when Ctrl-C stopped it (after the step at hand, with a checkpoint)."""
    with stopping_on_interrupt() as stopped, live_bar(epochs) as update:
        for step in steps:
            update(step)
            if step.ends_epoch:
                say(describe_epoch(step))
            if stopped():
                steps.close()
                return False
    return True


def describe_epoch(step: Step) -> str:
    """One line on an epoch."""
    parts = [f"epoch {step.epoch:>4}", f"loss {step.train_loss:.4f}"]
    parts += [f"validation {name} {value:.4f}" for name, value in (step.validation or {}).items()]
    return "  ".join([*parts, f"learning rate {step.learning_rate:.2g}"])


@contextlib.contextmanager
def live_bar(epochs: float) -> Iterator[Callable[[Step], None]]:
    """On a terminal, a bar with epoch, loss and time left."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=SCREEN, transient=True, disable=not SCREEN.is_terminal) as progress:
        task = progress.add_task("starting", total=None, loss="")

        def update(step: Step) -> None:
            progress.update(
                task,
                completed=step.number,
                total=step.of,
                description=f"epoch {step.epoch}/{epochs:g}",
                loss=f"loss {step.loss:.4f}",
            )

        yield update


@contextlib.contextmanager
def stopping_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C raises a flag that the body asks for; a second one interrupts at once."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, previous)
        say("finishing the step and saving (Ctrl-C again: at once, without saving)")

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def showing_progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar for slow reading, shown on the first report."""
    from rich.progress import Progress

    with Progress(console=SCREEN, transient=True, disable=not SCREEN.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def report(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


def report_skipped(names: Sequence[str]) -> None:
    """Name and count the images that were left out."""
    for name in names:
        say(f"left out, cannot be read: {name}")
    if names:
        say(f"images left out: {len(names)}")
