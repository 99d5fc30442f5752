"""What holds for every registry: networks, tasks, data sources, augmentations, demonstrations, methods."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from typing import Any

import pytest

import striate
from striate.data import AUGMENTATIONS, INPUTS, SOURCES
from striate.demonstrations import DEMONSTRATIONS
from striate.errors import InputError
from striate.geometry.rules import RULES
from striate.interpret.methods import METHODS
from striate.registry import Registry
from striate.tasks import TASKS
from striate.zoo import ARCHITECTURES

REGISTRIES = {
    "network": ARCHITECTURES,
    "task": TASKS,
    "data source": SOURCES,
    "kind of input": INPUTS,
    "augmentation": AUGMENTATIONS,
    "demonstration": DEMONSTRATIONS,
    "method": METHODS,
}
each = pytest.mark.parametrize(("kind", "registry"), REGISTRIES.items(), ids=REGISTRIES)


def test_no_registry_is_forgotten() -> None:
    names = [module.name for module in pkgutil.walk_packages(striate.__path__, "striate.")]
    found = {value.kind for name in names for value in vars(import_module(name)).values() if type(value) is Registry}
    # Operations are named as torch does (aten::relu) and have tests of their own.
    assert found == {*REGISTRIES, RULES.kind}


@each
def test_entries_stand_under_their_own_names(kind: str, registry: Registry[Any]) -> None:
    assert registry.kind == kind
    assert len(registry) >= 1
    for name, entry in registry.items():
        assert entry.name == name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)


@each
def test_a_duplicate_is_refused(kind: str, registry: Registry[Any]) -> None:
    before = dict(registry)
    for name, entry in before.items():
        with pytest.raises(InputError, match=f"^two {kind}s have one name: got {name}"):
            registry.add(entry)
    assert dict(registry) == before


@each
def test_an_unknown_name_is_answered_with_a_known_one(kind: str, registry: Registry[Any]) -> None:
    for name in registry:
        with pytest.raises(InputError, match=f"^unknown {kind}: got '{name}_'. Did you mean .*{name}"):
            registry[f"{name}_"]


@each
def test_every_entry_says_in_one_line_what_it_does(kind: str, registry: Registry[Any]) -> None:
    for name, entry in registry.items():
        function = next(getattr(entry, key) for key in ("read", "form", "function") if hasattr(entry, key))
        first, _, rest = (inspect.getdoc(function) or "").partition("\n")
        assert first.endswith("."), f"{kind} {name}: {first!r}"
        assert not rest.strip() or rest.startswith("\n"), f"{kind} {name}: the summary is one line"
        assert getattr(entry, "summary", first) == first
