"""Demonstrations by name: a decorated function each, which gives a `Scene`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from striate.demonstrations.scene import FORMATS, Scene
from striate.errors import InputError
from striate.registry import Between, Registry, bind_options, parse_spec

Allowed = Between | tuple[Any, ...]
Function = Callable[..., Scene]


@dataclass(frozen=True)
class Demonstration:
    """A registered demonstration.

    `moves`: whether it has more than one step; `examples`: specs for the docs; `source`: a book or paper with
    the like of it; `allowed`: the values of each option.
    """

    name: str
    function: Function
    moves: bool
    examples: tuple[str, ...]
    source: str
    allowed: Mapping[str, Allowed]

    @property
    def summary(self) -> str:
        """What it shows, in one line."""
        return (self.function.__doc__ or "").partition("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """The options and their values by default."""
        return {key: option.default for key, option in inspect.signature(self.function).parameters.items()}

    @property
    def formats(self) -> tuple[str, ...]:
        """What it is best saved as."""
        return FORMATS if self.moves else tuple(name for name in FORMATS if name != "gif")

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        allowed = {key: str(values) if isinstance(values, Between) else values for key, values in self.allowed.items()}
        facts = {"name": self.name, "summary": self.summary, "formats": self.formats, "source": self.source}
        return facts | {"options": self.defaults, "allowed": allowed, "examples": self.examples}


DEMONSTRATIONS: Registry[Demonstration] = Registry("demonstration")


def demonstration(
    *, moves: bool = False, examples: tuple[str, ...] = (), source: str = "", **allowed: Allowed
) -> Callable[[Function], Function]:
    """Register the decorated function under its name, with the `allowed` values of its options.

    Its options are checked before it runs, and the scene that it gives is told its name and options.
    """

    def register(function: Function) -> Function:
        name = function.__name__

        @functools.wraps(function)
        def checked(*values: Any, **options: Any) -> Scene:
            bound = inspect.signature(function).bind(*values, **options)
            bound.apply_defaults()
            for key, value in bound.arguments.items():
                if key in allowed and not _allows(allowed[key], value):
                    where, expected = f"{name}:{key}", _words(allowed[key])
                    raise InputError("cannot use this value", where=where, expected=expected, got=repr(value))
            return dataclasses.replace(function(**bound.arguments), name=name, options=bound.arguments)

        DEMONSTRATIONS.add(Demonstration(name, checked, moves, examples or (name,), source, allowed))
        return checked

    return register


def show(spec: str, **options: Any) -> Scene:
    """The scene of a demonstration: `show("stride:size=9")`, or `show("stride", size=9)`.

    Raises InputError for an unknown name or option, and for a value that the option does not allow.
    """
    name, given = parse_spec(spec)
    entry = DEMONSTRATIONS[name]
    return entry.function(**bind_options("demonstration", name, entry.function, {**given, **options}))


def _allows(allowed: Allowed, value: object) -> bool:
    # True == 1, but is no number of steps.
    return (
        value in allowed
        if isinstance(allowed, Between)
        else any(value is one or (value == one and type(value) is type(one)) for one in allowed)
    )


def _words(allowed: Allowed) -> str:
    return str(allowed) if isinstance(allowed, Between) else " or ".join(map(str, allowed))
