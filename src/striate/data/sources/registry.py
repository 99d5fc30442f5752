"""Data sources by name, and how one is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from striate.data.items import Listing
from striate.errors import InputError
from striate.registry import Registry


@dataclass(frozen=True)
class Source:
    """A registered data source: `read` gets the path after the colon, or nothing without `has_path`.

    `kind` is that of its raw inputs: pictures, volumes, text, sequences (DNA, RNA), sound or series. `inputs`, `task`
    and `augment` are what a recipe that names none gets. `size` is the height and width of its pictures, None where
    they differ. Where that depends on the file, `of(path)` gives those of these fields that it tells.
    """

    name: str
    read: Callable[..., Listing]
    has_path: bool
    size: tuple[int, ...] | None
    kind: str
    inputs: str
    task: str
    augment: tuple[str, ...]
    of: Callable[[Path], Mapping[str, Any]] | None = None

    @property
    def spec(self) -> str:
        """How it is written: `digits`, `mnist:PATH`."""
        return f"{self.name}:PATH" if self.has_path else self.name

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.read.__doc__ or "").partition("\n")[0]


SOURCES: Registry[Source] = Registry("data source")


def source(
    name: str,
    *,
    has_path: bool = True,
    size: tuple[int, ...] | None = None,
    kind: str = "pictures",
    inputs: str = "pictures",
    task: str = "classify",
    augment: tuple[str, ...] = (),
    of: Callable[[Path], Mapping[str, Any]] | None = None,
) -> Callable[[Callable[..., Listing]], Callable[..., Listing]]:
    """Register the decorated function as the data source `name`."""

    def add(read: Callable[..., Listing]) -> Callable[..., Listing]:
        SOURCES.add(Source(name, read, has_path, size, kind, inputs, task, augment, of))
        return read

    return add


def find_source(spec: str) -> Source:
    """The source that a spec names, as its file tells it; InputError for one that does not exist."""
    name, _, rest = spec.partition(":")
    entry, path = SOURCES[name], Path(rest).expanduser()
    return entry if entry.of is None or not path.is_file() else replace(entry, **entry.of(path))


def read_source(spec: str) -> Listing:
    """The listing of `NAME` or `NAME:PATH`; InputError for a missing or superfluous path."""
    _, colon, rest = spec.partition(":")
    entry = find_source(spec)
    if not entry.has_path:
        if colon:
            raise InputError("a data source that takes no path", where=spec, fix=f"Write just {entry.spec}.")
        return entry.read()
    if not rest:
        raise InputError("a data source without its path", where=spec, fix=f"Write {entry.spec}.")
    path = Path(rest).expanduser()
    archive, _, _ = rest.rpartition(":")  # FILE.tar.gz:NAME
    if entry.of is not None and path.is_dir():
        raise InputError("a folder where a file is wanted", where=path, fix=f"Write {entry.spec}, PATH being a file.")
    if not path.exists() and not (archive and Path(archive).expanduser().is_file()):
        raise InputError("no such file or folder", where=path, fix="Check the path after the first colon.")
    return entry.read(path)
