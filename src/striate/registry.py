"""The one registry pattern: named entries, a clear error for an unknown name, and `name:key=value` specs.

Architectures, data sources, augmentations and tasks are each a `Registry`. Adding a thing touches one
file: the function and its decorator. Contract tests, the command line and the docs iterate over it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from striate.errors import InputError, did_you_mean


@runtime_checkable
class Named(Protocol):
    """What a registry holds: anything with a name."""

    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=Named)


class Registry(Mapping[str, Entry]):
    """An ordered mapping from names to entries. `kind` ("network", "data source") is the word used in errors."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        self._aliases: dict[str, str] = {}

    def add(self, entry: Entry, aliases: Collection[str] = (), *, replace: bool = False) -> None:
        """Register `entry` under its name and other ones; a name that is taken raises InputError, unless `replace`."""
        for name in (entry.name, *aliases):
            if name in self and not replace:
                raise InputError(f"two {self.kind}s have one name", got=name, fix="Rename one of them.")
        self._entries[entry.name] = entry
        self._aliases |= dict.fromkeys(aliases, entry.name)

    def __getitem__(self, name: str) -> Entry:
        if name not in self:
            fix = did_you_mean(name, [*self._entries, *self._aliases])
            raise InputError(f"unknown {self.kind}", got=repr(name), fix=fix)
        return self._entries[self._aliases.get(name, name)]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True)
class Between:
    """The numbers from low to high, or only the whole ones, as the allowed values of an option."""

    low: float
    high: float
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a {'whole ' * self.whole}number in {self.low}..{self.high}"


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name` or `name:key=value,key=value` as it stands in recipes and on the command line.

    A value is a Python literal where it reads as one, else a string; a value without a key is passed to the
    function's first option, under the key "".

    >>> parse_spec("lenet5:variant=modern,width=2")
    ('lenet5', {'variant': 'modern', 'width': 2})
    >>> parse_spec("vgg16:batch_norm=true")
    ('vgg16', {'batch_norm': True})
    >>> parse_spec("rotate:10")
    ('rotate', {'': 10})
    """
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = "", part
        if key in options:
            raise InputError("an option is given twice", where=repr(text), got=key or value, fix="Keep one.")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that literal_eval may raise
            options[key] = {"true": True, "false": False}.get(value, value)
    return name.strip(), options


def bind_options(
    kind: str,
    name: str,
    function: Callable[..., Any],
    options: Mapping[str, Any],
    skip: int = 0,
    filled: Collection[str] = (),
) -> dict[str, Any]:
    """Check `options` against the keyword arguments of `function` and name a value given without a key.

    `skip` is the number of leading parameters that are no options (the images, say); the options in `filled` can be
    given with their key only, since the caller fills them in itself most of the time.

    >>> def net(classes, width=1, depth=2): ...
    >>> bind_options("network", "net", net, {"": 8}, filled=("classes",))
    {'width': 8}
    """
    known = [p.name for p in inspect.signature(function).parameters.values()][skip:]
    bound = dict(options)
    if "" in bound:
        first = next((key for key in known if key not in filled), None)
        if first is None:
            raise InputError(f"{kind} {name} takes no options", got=bound[""], fix=f"Write just {name}.")
        if first in bound:
            raise InputError("an option is given twice", where=f"{kind} {name}", got=first, fix="Keep one.")
        bound = {first: bound.pop(""), **bound}
    for key in bound:
        if key not in known:
            raise InputError(f"{kind} {name} has no option", got=repr(key), fix=did_you_mean(key, known))
    return bound
