"""The verbs that train networks and use what was trained."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from striate.cli.screen import SCREEN, print_json, print_line, print_rows, print_table, say
from striate.errors import InputError
from striate.recipe import Recipe
from striate.registry import parse_spec

if TYPE_CHECKING:
    from striate.train import Step

INTERRUPTED = 130
WIDEST = 8  # columns of predictions on a screen


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
        from striate.tasks import spell
        from striate.train import fit

        recipe = self.recipe if self.resume is None else self._resumed()
        checkpoint = None if self.resume is None else self.resume / CHECKPOINT
        resume = checkpoint if checkpoint is not None and checkpoint.is_file() else None
        with showing_progress() as progress:
            session = open_session(recipe, progress, resuming=resume is not None)
        report_skipped(session.data.skipped)
        for note in session.data.notes:
            say(note)
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
        count, (name, value) = list(outcome.scores.summary().items())[:2]
        print_line(f"test {spell(name)}: {value:.4f} ({count[1]} items)")
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
    """Score the model of a run on its own test items, or on other data, with intervals that hold 95 % of the time."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""
    others: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="MORE_RUNS")] = ()
    """Runs that answer together with it: the mean of the outputs is scored, on items that none was trained on."""
    data: str | None = None
    """Other data, as in train: mnist:PATH, folder:PATH ... (its test items, or all if it has none; without those that
    the model was trained on)."""
    skip_corrupt: bool = False
    """Leave out files that cannot be read."""
    resamples: int = 1000
    """Draws of the bootstrap for the intervals that hold 95 % of the time; 0: no intervals."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print the scores."""
        from striate.runs import evaluate_run
        from striate.tasks import spell

        with showing_progress() as progress:
            found = evaluate_run(
                (self.run_folder, *self.others),
                self.data,
                device=self.device,
                skip_corrupt=self.skip_corrupt,
                resamples=self.resamples,
                progress=progress,
            )
        report_skipped(found.skipped)
        for note in found.notes:
            say(note)
        if self.json:
            names = ("intervals", "intervals_over", "skipped", "notes")
            others = {name: getattr(found, name) for name in names}
            print_json({**found.scores.json(), **others})
            return
        print_table(found.scores.table())
        if found.intervals:
            table = Table("measure", "value", "95 % from", "to", caption=f"intervals over {found.intervals_over}")
            for name, (low, high) in found.intervals.items():
                table.add_row(spell(name), *(f"{x:.4f}" for x in (found.scores.summary()[name], low, high)))
            print_table(table)


@dataclass(frozen=True)
class Predict:
    """Tell what a trained network says of files: classes, masks, boxes, sounds ...; interrupted, it goes on."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""
    files: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILES")]
    """What the network takes: images, recordings, texts ..., or folders of them. Runs before them answer together with
    the first one: the mean of the outputs."""
    out: Path | None = None
    """Folder for predictions.csv, predictions.jsonl and the files of the task (masks, pictures, sounds ...)."""
    top_k: int | None = None
    """Classification: how many classes to tell for each item; by default 3."""
    task: str | None = None
    """Options of the task, as key=value,...: seconds=2,temperature=0.8 for generated sound."""
    scale: float | None = None
    """Of masks, colors and clean pictures: pixels that the network gets for a pixel of the file (1: its own); by
    default so many that things are as large as in training, and 1 for clean pictures."""
    batch_size: int = 16
    """Items per forward pass; of whole pictures, each is computed alone, in tiles if it is larger than such a batch."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    skip_corrupt: bool = False
    """Leave out files that cannot be read: named, counted, and written with their error."""
    json: bool = False
    """Print one JSON list."""

    def run(self) -> None:
        """Print the predictions; with --out, write them, too."""
        from striate.runs import answer_files, is_run, load
        from striate.train import find_device

        runs = tuple(itertools.takewhile(is_run, self.files))
        files = self.files[len(runs) :]
        if not files:
            raise InputError("nothing to predict", expected="files", fix="striate predict RUN FILES...")
        model, card = load(self.run_folder, *runs)
        model.to(find_device(self.device))
        options = self._options(card.build_task().name)
        with showing_progress() as progress:
            lines = answer_files(
                model,
                card,
                files,
                self.out,
                batch_size=self.batch_size,
                scale=self.scale,
                skip_corrupt=self.skip_corrupt,
                progress=progress,
                say=say,
                **options,
            )
        report_skipped([line["file"] for line in lines if "error" in line])
        rows = [{"file": line["file"], **line.pop("row")} for line in lines]
        if self.json:
            print_json(lines)
        else:
            self._show(rows, [line.get("saved", ()) for line in lines])

    def _show(self, rows: list[dict[str, Any]], saved: Sequence[Sequence[str]]) -> None:
        """The rows as a table; of wide ones the file and what was saved for it, or else the first columns."""
        columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in ("file", "error")]
        kept = columns
        if len(columns) >= WIDEST:
            kept = [] if any(saved) else columns[: WIDEST - 1]
            rows = [{key: row[key] for key in ("file", *kept, "error") if key in row} for row in rows]
            for row, names in zip(rows, saved, strict=True):
                if self.out is not None and names:
                    row["saved"] = ", ".join(str(self.out / name) for name in names)
        print_rows(rows)
        if len(kept) < len(columns):
            where = "with --out FOLDER, or --json" if self.out is None else f"in {self.out / 'predictions.csv'}"
            say(f"… {len(columns) - len(kept)} more columns {where}")
        if self.out is not None:
            print_line(f"predictions: {self.out}")

    def _options(self, task: str) -> dict[str, Any]:
        """What the task is told."""
        given = parse_spec(f"{task}:{self.task or ''}")[1]
        if task == "classify":
            return {"top_k": 3 if self.top_k is None else self.top_k, **given}
        if self.top_k is not None:
            raise InputError("top_k is for classification", where=f"task {task}", fix="Leave --top-k out.")
        return given


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
            print_json(found.json())
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
    from striate.tasks import spell

    parts = [f"epoch {step.epoch:>4}", f"loss {step.train_loss:.4f}"]
    parts += [f"validation {spell(name)} {value:.4f}" for name, value in (step.validation or {}).items()]
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
    asked, process = False, os.getpid()
    # The signal may come while a line is being written, and the stream refuses another one from within: a thread waits.
    telling = threading.Thread(
        target=say, args=("finishing the step and saving (Ctrl-C again: at once, without saving)",)
    )

    def ask(*_: object) -> None:
        nonlocal asked
        # Forked workers get the terminal's Ctrl-C, too; a second signal may come before the line below is through.
        if os.getpid() != process or asked:
            return
        asked = True
        signal.signal(signal.SIGINT, previous)
        telling.start()

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)
        if telling.is_alive():
            telling.join()


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
    """Name and count the files that were left out."""
    for name in names:
        say(f"left out, cannot be read: {name}")
    if names:
        say(f"files left out: {len(names)}")
