"""The command line: one verb a capability, a thin layer over the public functions.

torch is imported only when a verb runs, so that every --help answers at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional

from striate.errors import InputError, StriateError, did_you_mean
from striate.recipe import Recipe

if TYPE_CHECKING:
    from striate.train import Step

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
# People read standard error, programs standard output.
SCREEN = Console(stderr=True, highlight=False)


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


@dataclass(frozen=True)
class Zoo:
    """List the networks of the zoo, or all that is known of one."""

    network: Annotated[Positional[str | None], tyro.conf.arg(metavar="[NETWORK]")] = None
    """A network of the list."""
    json: bool = False
    """Print JSON: a list, or one object."""

    def run(self) -> None:
        """Print the networks."""
        from striate.zoo import ARCHITECTURES

        if self.network is not None:
            facts = ARCHITECTURES[self.network.partition(":")[0]].json()
            lines = [f"{key}: {value}" for key, value in facts.items() if value not in ("", None, (), False)]
            print_line(json.dumps(facts) if self.json else "\n".join(lines))
            return
        if self.json:
            print_line(json.dumps([entry.json() for entry in ARCHITECTURES.values()]))
            return
        table = Table("network", "year", "input", "parameters", "MACs", "what it is")
        for entry in ARCHITECTURES.values():
            shape = "x".join(map(str, entry.input)) + " tokens" * entry.tokens
            counts = f"{entry.parameters:,}", f"{entry.macs:,}"
            table.add_row(entry.name, str(entry.year), shape, *counts, entry.summary)
        print_table(table)


@dataclass(frozen=True)
class Describe:
    """Size up a network before it runs: shapes, parameters, MACs, memory, and what each layer sees."""

    network: Annotated[Positional[str], tyro.conf.arg(metavar="NETWORK")]
    """A network of the zoo, the folder of a run, or module:callable for your own."""
    input: str | None = None
    """Shape of one input, as 3x224x224, or 20:int64 for whole numbers; several with commas between. By default the one
    that the network was made for."""
    everything: bool = False
    """Show views and reshapes, too."""
    html: Path | None = None
    """Write a page with the network drawn, too."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print the report."""
        from striate.geometry import describe

        given = None if self.input is None else read_inputs(self.input)
        model, shape = find_network(self.network, given)
        if shape is None:
            raise InputError("the input has no known shape", where=self.network, fix="Add --input 3x224x224, say.")
        report = describe(model, shape)
        if self.html is not None:
            try:
                self.html.write_text(report.html(), encoding="utf-8")
            except OSError as error:
                raise InputError("cannot write the page", where=self.html, got=error.strerror) from error
        if self.json:
            print_line(json.dumps(report.json()))
            return
        print_table(report.table(self.everything))
        for name, text in report.summary().items():
            print_line(f"{name}: {text}")


def find_network(name: str, given: Any) -> tuple[Any, Any]:
    """The network of the zoo, of a run, or that `module:callable` returns; and the input: `given`, or its own."""
    import torch

    from striate.runs import load
    from striate.zoo import ARCHITECTURES

    base, _, rest = name.partition(":")
    if base in ARCHITECTURES:
        return network_of_zoo(name, given)
    if Path(name).is_dir():
        model, card = load(name)
        return model, tuple(card.input_shape) if given is None else given
    if not rest:
        return ARCHITECTURES[name], None  # raises, with the nearest names
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = functools.reduce(getattr, rest.split("."), importlib.import_module(base))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError("there is no such callable", got=name, expected="module:callable", fix=f"{error}.") from error
    except Exception as error:
        raise InputError("the module cannot be imported", where=base, got=f"{type(error).__name__}: {error}") from error
    if callable(made) and not isinstance(made, torch.nn.Module):
        try:
            made = made()
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
            fix = "Name a callable that needs no arguments."
            raise InputError("the network cannot be made", where=name, got=got, fix=fix) from error
    if not isinstance(made, torch.nn.Module):
        got = f"{type(made).__name__} {made!r}"
        raise InputError("this is no network", where=name, expected="a torch.nn.Module", got=got)
    return made, given


def network_of_zoo(name: str, given: Any) -> tuple[Any, Any]:
    """The network, without memory, with the channels and the size of the shape that is given; and its input."""
    import torch

    from striate.registry import parse_spec
    from striate.zoo import ARCHITECTURES, build

    base, own = parse_spec(name)
    entry, options = ARCHITECTURES[base], {}
    axes = own["rank"] + 1 if "rank" in own else len(entry.input)
    fits = isinstance(given, tuple) and all(isinstance(side, int) for side in given) and len(given) == axes
    if fits and not entry.tokens:
        options["in_channels"] = given[0]
    if fits and entry.takes_input_size and "input_size" not in own:
        options["input_size"] = given if entry.tokens else given[1:]
    with torch.device("meta"):
        model = build(name, **options)
    if fits and entry.tokens:
        return model, torch.zeros((1, *given), dtype=torch.int64, device="meta")
    return model, entry.example(entry.bind(own) | options) if given is None else given


def read_inputs(text: str) -> Any:
    """What `describe` takes: the shape 3x224x224, an example for 20:int64, a tuple for several with commas between."""
    import torch

    parts: list[Any] = []
    for part in text.split(","):
        sides, _, kind = part.partition(":")
        dtype = getattr(torch, kind, None) if kind else None
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sides) or (kind and not isinstance(dtype, torch.dtype)):
            raise InputError("this is no shape", where="--input", expected="3x224x224 or 20:int64, say", got=repr(part))
        shape = tuple(map(int, sides.split("x")))
        parts.append(torch.empty((1, *shape), dtype=dtype, device="meta") if dtype else shape)
    return parts[0] if len(parts) == 1 else tuple(parts)


VERBS: dict[str, Any] = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "runs": Runs,
    "zoo": Zoo,
    "describe": Describe,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line; exits with 2 on bad input, 1 on a failure, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.simplefilter("ignore")
    # Threads that soon stop spinning: where other programs want the cores, small networks train ten times faster.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        parse(arguments).run()
    except StriateError as error:
        complain(str(error))
        sys.exit(BAD_INPUT if isinstance(error, InputError) else FAILED)
    except BrokenPipeError:
        # The reader of our output left (striate zoo | head); Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(INTERRUPTED)


def parse(arguments: list[str]) -> Any:
    """The verb and its options; a recipe file given to `train` is read first, and options override it."""
    if not arguments or arguments[0] not in VERBS:
        if arguments and not arguments[0].startswith("-"):
            raise InputError("unknown verb", got=repr(arguments[0]), fix=did_you_mean(arguments[0], VERBS))
        return _parse_one(_all_verbs(), arguments or ["--help"], "striate")
    verb, rest = arguments[0], arguments[1:]
    command = _parse_one(VERBS[verb], rest, f"striate {verb}")
    if isinstance(command, Train) and command.file is not None:
        default = Train(recipe=Recipe.read(command.file))
        command = _parse_one(Train, rest, f"striate {verb}", default=default)
    return command


def _all_verbs() -> Any:
    # Built at run time, which type checkers do not follow.
    options: Any = tuple(Annotated[verb, tyro.conf.subcommand(name)] for name, verb in VERBS.items())
    return Union[options]  # noqa: UP007


def _parse_one(verb: Any, arguments: list[str], prog: str, **options: Any) -> Any:
    """Parse with tyro; its boxed complaints become one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(verb, args=arguments, prog=prog, config=(FlagCreatePairsOff,), **options)
    except SystemExit as stop:
        if stop.code:
            raise InputError(_unbox(complaint.getvalue()), fix=f"See {prog} --help.") from None
        raise


def _unbox(box: str) -> str:
    """The sentence in a box of tyro's: what is wrong, and the options that it proposes."""
    lines = [line.strip("│╭╮╰╯|+ ") for line in box.splitlines()]
    text = " ".join(line for line in lines[1:] if set(line) - set("─- "))
    sentence = re.split("Perhaps you meant:|Argument helptext:|For full helptext", text)[0].strip(" .")
    sentence = sentence.removeprefix("Error parsing recipe: ")
    near = [line.split()[0] for line in lines if re.match("--[a-z]", line)]
    return f"{sentence} (did you mean {' or '.join(near)}?)" if "Perhaps you meant:" in lines else sentence


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


def say(text: str) -> None:
    """A line for people, on standard error, above a live bar; never folded."""
    SCREEN.print(text, markup=False, soft_wrap=True)


def print_line(text: str) -> None:
    """A line for programs, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_table(table: Table) -> None:
    """A table on standard output, never cut when it goes to a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
    console.print(table)


def complain(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"striate: {' '.join(message.split())}\n")


if __name__ == "__main__":
    main()
