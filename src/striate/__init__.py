"""striate: convolutional networks on PyTorch, from data to trained, tested and explained model.

    files -> data -> Batch -> model -> output -> task.loss -> fit -> run folder -> load, predict, evaluate
                                 |  \\                \\-> task.decode, task.score
                              zoo.build               interpret, report.html

    import striate

    recipe = striate.Recipe(model="lenet5", data="digits", epochs=10)
    session = striate.open_session(recipe)
    for step in striate.fit(session.model, session.task, session.data, recipe):
        print(step.number, step.loss)

Names are imported when first used, so that the command line can answer `--help` without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from striate import (
        acceleration,
        data,
        demonstrations,
        errors,
        geometry,
        interpret,
        layers,
        locality,
        ops,
        port,
        recipe,
        runs,
        tasks,
        train,
        zoo,
    )
    from striate.acceleration import accelerate
    from striate.data import load_data
    from striate.errors import DivergedError, InputError, StorageError, StriateError
    from striate.geometry import describe
    from striate.recipe import Recipe
    from striate.runs import evaluate_run, list_runs, load, open_session, predict
    from striate.tasks import Classify
    from striate.train import Step, fit
    from striate.zoo import build

__version__ = "0.1.0"

_PUBLIC = {
    "accelerate": "acceleration",
    "build": "zoo",
    "Classify": "tasks",
    "describe": "geometry",
    "DivergedError": "errors",
    "evaluate_run": "runs",
    "fit": "train",
    "InputError": "errors",
    "list_runs": "runs",
    "load": "runs",
    "load_data": "data",
    "open_session": "runs",
    "predict": "runs",
    "Recipe": "recipe",
    "Step": "train",
    "StorageError": "errors",
    "StriateError": "errors",
}
_PACKAGES = (
    "acceleration",
    "data",
    "demonstrations",
    "errors",
    "geometry",
    "interpret",
    "layers",
    "locality",
    "ops",
    "port",
    "recipe",
    "runs",
    "tasks",
    "train",
    "zoo",
)

__all__ = [
    "Classify",
    "DivergedError",
    "InputError",
    "Recipe",
    "Step",
    "StorageError",
    "StriateError",
    "accelerate",
    "acceleration",
    "build",
    "data",
    "demonstrations",
    "describe",
    "errors",
    "evaluate_run",
    "fit",
    "geometry",
    "interpret",
    "layers",
    "list_runs",
    "load",
    "load_data",
    "locality",
    "open_session",
    "ops",
    "port",
    "predict",
    "recipe",
    "runs",
    "tasks",
    "train",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"striate.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"striate.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'striate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
