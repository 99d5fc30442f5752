"""Tasks by name, and what every task can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from striate.registry import Registry, bind_options
from striate.shapes import Tensor


@runtime_checkable
class Task(Protocol):
    """The meaning of a network's output. Tensors have the batch as their first axis."""

    def encode(self, targets: Sequence[Any]) -> Tensor:
        """Targets as people write them -> the tensor that `loss` and `score` take."""
        ...

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar to differentiate."""
        ...

    def decode(self, output: Tensor) -> Sequence[Any]:
        """What to tell a person: one result for each item."""
        ...

    def score(self, output: Tensor, target: Tensor) -> Any:
        """Named measures of a whole set, as a frozen dataclass."""
        ...

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise InputError if the output's shape or the targets' kind does not fit the task."""
        ...

    def metrics(self, output: Tensor, target: Tensor) -> Mapping[str, float]:
        """A few cheap numbers for the progress display, "loss" among them."""
        ...


@dataclass(frozen=True)
class TaskEntry:
    """A registered task: the function that builds it."""

    name: str
    function: Callable[..., Task]


TASKS: Registry[TaskEntry] = Registry("task")


def task(name: str) -> Callable[[type], type]:
    """Register the decorated class as the task `name`."""

    def register(function: type) -> type:
        TASKS.add(TaskEntry(name, function))
        return function

    return register


def build_task(name: str, **options: Any) -> Task:
    """Build a task by name; InputError for an unknown name or option."""
    function = TASKS[name].function
    return function(**bind_options("task", name, function, options))
