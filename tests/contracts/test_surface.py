"""The public names: a change here is a change for every user."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys

import pytest

import striate

PUBLIC = [
    *("Classify", "DivergedError", "InputError", "Recipe", "Step", "StorageError", "StriateError"),
    *("accelerate", "acceleration", "build", "data", "demonstrations", "describe"),
    *(
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
    ),
    *("port", "predict", "recipe", "runs", "tasks", "train", "zoo"),
]
PACKAGES = [
    *("acceleration", "data", "demonstrations", "geometry", "interpret", "layers", "locality", "ops"),
    *("port", "runs", "tasks", "train", "zoo"),
]


def test_the_surface_is_this_list() -> None:
    assert striate.__all__ == PUBLIC
    assert {*PUBLIC, "__version__"} == set(dir(striate))
    assert re.fullmatch(r"\d+\.\d+\.\d+", striate.__version__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(striate, name))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_subpackage_resolves_and_says_what_it_is(package: str) -> None:
    module = importlib.import_module(f"striate.{package}")
    assert len(set(module.__all__)) == len(module.__all__)
    values = {name: getattr(module, name) for name in module.__all__}
    written = {name: value for name, value in values.items() if inspect.isroutine(value) or inspect.isclass(value)}
    # A dataclass without a docstring is given its signature as one.
    assert [name for name, value in written.items() if (value.__doc__ or f"{name}(").startswith(f"{name}(")] == []


def test_names_of_the_zoo_are_public() -> None:
    assert striate.zoo.names() == tuple(striate.zoo.ARCHITECTURES)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'striate' has no attribute 'bild'"):
        striate.bild  # noqa: B018


def test_importing_striate_loads_nothing_else() -> None:
    code = "import sys, striate; print([m for m in sys.modules if m.startswith(('torch', 'numpy', 'striate.'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "[]\n"
