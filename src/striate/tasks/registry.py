"""Tasks by name, and what every task can do."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_type_hints, runtime_checkable

import torch
from rich.table import Table
from torch import nn

from striate.data import Data, Framing, Meaning
from striate.errors import InputError, did_you_mean
from striate.plain import from_null
from striate.recipe import read_as
from striate.registry import Registry, bind_options, parse_spec
from striate.shapes import Tensor


@runtime_checkable
class Scores(Protocol):
    """Measures of `n` items: a frozen dataclass.

    Where it has them, `shares` names the numbers of the summary that are shares of the n items, and `fixed` those that
    are no measures of the items, as counts and constants, and get no interval.
    """

    @property
    def n(self) -> int: ...

    def summary(self) -> dict[str, float]:
        """The single numbers: n first, then the headline measure, then the others."""
        ...

    def json(self) -> dict[str, Any]:
        """All of it as plain types."""
        ...

    def table(self) -> Table:
        """All that people read, to print."""
        ...


@runtime_checkable
class Result(Protocol):
    """What a network says of one item: a frozen dataclass."""

    def row(self) -> dict[str, Any]:
        """The columns of a table or of a CSV file: text and numbers."""
        ...

    def json(self) -> dict[str, Any]:
        """All of it as plain types."""
        ...

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """Write the files that people expect, named after `stem`, and give their paths.

        `given` is what the network was given; for what lies in a picture (`Placed`), the whole picture.
        """
        ...


@runtime_checkable
class Placed(Protocol):
    """A result that lies in a picture: a mask, a box, points, colors."""

    def within(self, framing: Framing) -> Result:
        """The same in the pixels of the whole picture, of which the network saw a part at another size."""
        ...


class Task(ABC):
    """The meaning of a network's output. Tensors have the items as their first axis.

    A task is a frozen dataclass whose fields are plain types, so that a card can keep it. What is not abstract has the
    usual answer here.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]]
    """Kinds of targets (`striate.data.Meaning`) that it learns from."""
    told_by: ClassVar[tuple[str, ...]] = ()
    """Fields that change only how the answers are read out, so that a prediction may set them anew."""
    scaled: ClassVar[bool] = True
    """Whether networks get standardized inputs; if not, units: pictures in 0..1."""
    dense: ClassVar[Literal["", "resized", "own"]] = ""
    """Of answers for every place of the input: how the network gets a whole file in a prediction, resized as in
    training (without cutting) or at its own pixels."""

    @classmethod
    @abstractmethod
    def of(cls, data: Data, *args: Any, **kwargs: Any) -> Task:
        """The task for `data`, with the options of a recipe's `task: NAME:key=value`."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """What the network needs as `num_classes`."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each output stands for (classes, points, letters): weights of a last layer belong to these."""
        return ()

    def alike(self, other: Task) -> bool:
        """Whether the outputs for both mean the same: networks may be averaged, the weights of a last layer shared."""
        return (self.name, self.outputs, self.output_names) == (other.name, other.outputs, other.output_names)

    def translated(self, output: Any, into: Any) -> Any:
        """An output for this task as one for `into`, an alike one measured on other training items."""
        return output

    def in_channels(self, channels: int) -> int:
        """Channels that the network gets of inputs of so many."""
        return channels

    @abstractmethod
    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Targets as people write them -> the tensor that `loss` and `score` take."""

    def example(self, inputs: Tensor, targets: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """What the network is given and what it should answer, of a batch of items.

        Without a generator, as for predictions, the inputs are taken as they are and the targets mean nothing.
        """
        return inputs, targets

    @abstractmethod
    def check(self, output: Any, target: Tensor) -> None:
        """Raise InputError if the output's shape or the targets' kind does not fit the task."""

    @abstractmethod
    def loss(self, output: Any, target: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar to differentiate."""

    def keep(self, output: Any, target: Tensor) -> Tensor:
        """What scoring needs to know of a batch of outputs, a row an item: by default all of it, in 32 bits."""
        kept: Tensor = output.float()
        return kept

    @abstractmethod
    def metrics(self, kept: Tensor, target: Tensor) -> Mapping[str, float]:
        """A few cheap numbers of a whole set for the progress display, "loss" among them, from what `keep` kept."""

    @abstractmethod
    def score(self, kept: Tensor, target: Tensor) -> Scores:
        """Every measure of a whole set, from what `keep` kept; InputError for an empty one."""

    @abstractmethod
    def decode(self, output: Any) -> Sequence[Result]:
        """What to tell a person: one result for each item."""

    def answer(self, model: nn.Module, inputs: Tensor) -> Sequence[Result]:
        """What the network says of a batch of inputs (as `example` makes them); by default its decoded output."""
        return self.decode(model(inputs))

    def json(self) -> dict[str, Any]:
        """Name and fields as plain types, for a card."""
        return {"name": self.name, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}}  # type: ignore[arg-type]


@dataclass(frozen=True)
class TaskEntry:
    """A registered task."""

    name: str
    form: type[Task]

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(self.form) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, Any]:
        """What a recipe may say of it, with the defaults."""
        return {p.name: p.default for p in list(inspect.signature(self.form.of).parameters.values())[1:]}


TASKS: Registry[TaskEntry] = Registry("task")


def task(name: str, *, takes: tuple[str, ...]) -> Callable[[type[Task]], type[Task]]:
    """Register the decorated class as the task `name`, which learns from these kinds of targets."""

    def register(form: type[Task]) -> type[Task]:
        form.name, form.takes = name, takes
        TASKS.add(TaskEntry(name, form))
        return form

    return register


def task_of(spec: str | tuple[str, Mapping[str, Any]], data: Data) -> Task:
    """The task `NAME:key=value,...` (or name and options) for these data.

    Raises InputError for unknown names and options, and where the targets mean something that it does not learn from.
    """
    name, options = parse_spec(spec) if isinstance(spec, str) else spec
    form = TASKS[name].form
    check_takes(name, data.meaning)
    hints = get_type_hints(form.of)
    bound = bind_options("task", name, form.of, options, skip=1)
    known: Task = form.of(
        data, **{key: read_as(hints[key], value, f"task {name}: {key}") for key, value in bound.items()}
    )
    return known


def check_takes(name: str, meaning: Meaning) -> None:
    """Raise InputError where the task does not learn from targets of this meaning."""
    takes = TASKS[name].form.takes
    if meaning.kind not in takes:
        fitting = [entry.name for entry in TASKS.values() if meaning.kind in entry.form.takes]
        raise InputError(
            "the task does not fit the data",
            where=f"task {name}, which learns from targets of kind {' or '.join(takes)}",
            got=f"targets of kind {meaning.kind}",
            fix=f"Choose another task ({', '.join(fitting)}) or other data." if fitting else "Choose other data.",
        )


def read_task(stored: Mapping[str, Any]) -> Task:
    """The task of a card: the inverse of its `json`; InputError for one that cannot be understood."""
    values = dict(stored)
    form = TASKS[str(values.pop("name", ""))].form
    names = {f.name for f in dataclasses.fields(form)}  # type: ignore[arg-type]
    if strange := sorted(set(values) - names):
        raise InputError(
            "unknown fields of a task", where=form.name, expected=", ".join(sorted(names)), got=", ".join(strange)
        )
    hints = get_type_hints(form)
    return form(**{key: from_null(value) if hints[key] is float else _tuples(value) for key, value in values.items()})


def told(task: Task, options: Mapping[str, Any]) -> Task:
    """The task with other values of the fields that a prediction may set (`told_by`).

    Raises InputError for another field (of what the network learned nothing can be changed) and for a wrong type.
    """
    for key in options:
        if key not in task.told_by:
            known = did_you_mean(key, task.told_by) if task.told_by else "Write no options."
            raise InputError(f"a prediction of task {task.name} has no option", got=repr(key), fix=known)
    hints = get_type_hints(type(task))
    values = {key: read_as(hints[key], value, f"task {task.name}: {key}") for key, value in options.items()}
    return dataclasses.replace(task, **values)  # type: ignore[type-var]


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
