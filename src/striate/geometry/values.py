"""Which value each tensor is while a network runs: views of one memory, and what is written into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from striate.geometry.graph import Value
from striate.geometry.reading import Axis, Read, Reading, Readings
from striate.geometry.rules import written_through
from striate.geometry.window import IDENTITY


def storage(tensor: torch.Tensor) -> int:
    """The memory of a tensor: views of one have the same."""
    return int(tensor.untyped_storage()._cdata)


class Values:
    """All values so far; `known` says which of them a tensor (by its id) is, if it depends on the network's input."""

    def __init__(self) -> None:
        self.all: list[Value] = []
        self.known: dict[int, int] = {}
        self._kept: list[torch.Tensor] = []
        self._storages: dict[int, int] = {}
        self._aliases: dict[int, list[torch.Tensor]] = {}  # storage -> the tensors that show it
        # view -> what it is a view of, and how it reads that
        self._views: dict[int, tuple[torch.Tensor, Callable[[], Readings]]] = {}
        self._stale: set[int] = set()

    def keep(self, tensor: torch.Tensor) -> int:
        """The id of a tensor, from now on its own."""
        self._kept.append(tensor)
        return id(tensor)

    def number(self, tensor: torch.Tensor) -> int:
        """The number of a tensor's memory."""
        return self._storages.setdefault(storage(tensor), len(self._storages))

    def add(self, tensor: torch.Tensor, readings: Readings, known: bool = True) -> int:
        """One more value, which this tensor is from now on."""
        self._aliases.setdefault(storage(tensor), []).append(tensor)
        value = Value(
            len(self.all),
            tuple(tensor.shape),
            tensor.dtype,
            readings,
            self.number(tensor),
            tensor.untyped_storage().nbytes(),
        )
        self.all.append(value)
        self.keep(tensor)
        if known:
            self.known[id(tensor)] = value.index
        self._stale.discard(id(tensor))
        return value.index

    def add_view(self, tensor: torch.Tensor, base: torch.Tensor, readings: Callable[[], Readings]) -> None:
        """Note what a tensor is a view of; its readings are asked for where either is written."""
        self.keep(base)
        self._views[self.keep(tensor)] = base, readings

    def write(self, tensor: torch.Tensor, readings: Readings) -> int:
        """An in-place write: the tensor, what it is a view of, and all other views of that are new values."""
        index = self.add(tensor, readings)
        family = [t for t in self._aliases[storage(tensor)] if t is not tensor]
        view: torch.Tensor | None = tensor
        while view is not None and id(view) in self._views:
            base, through = self._view(view)
            old = self.known.get(id(base), -1)  # -1: memory without meaning so far (torch.empty)
            kept, new = written_through(through, old, tuple(base.shape), self.known[id(view)], tuple(view.shape))
            self.add(base, (*kept, *new) if old >= 0 else new)
            family = [t for t in family if t is not base]
            view = base
        self._stale |= {id(t) for t in family if id(t) in self._views}
        return index

    def turn(self, tensor: torch.Tensor, readings: Readings) -> int:
        """An in-place change of shape (transpose_) writes nothing: the tensor is now a view of what it was."""
        shape = self.all[self.known[id(tensor)]].shape
        old = tensor.as_strided(shape, [0] * len(shape))
        self.known[self.keep(old)] = self.known[id(tensor)]
        if id(tensor) in self._views:
            self._views[id(old)] = self._views[id(tensor)]
        self._views |= {view: (old, through) for view, (base, through) in self._views.items() if base is tensor}
        self._views[id(tensor)] = (old, lambda: readings)
        self._aliases[storage(tensor)].append(old)
        return self.add(tensor, readings)

    def refresh(self, tensor: torch.Tensor) -> None:
        """A view of memory that was written since is read anew."""
        if id(tensor) not in self._views or (id(tensor) in self.known and id(tensor) not in self._stale):
            return
        self.refresh(self._views[id(tensor)][0])
        base = self._views[id(tensor)][0]
        if id(base) in self.known:
            _, readings = self._view(tensor)
            source = self.known[id(base)]
            self.add(tensor, tuple(_from(reading, source) for reading in readings))

    def _view(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Readings]:
        base, readings = self._views[id(tensor)]
        identity = Read(-1, tuple(Axis(axis, IDENTITY) for axis in range(tensor.dim())))
        return base, readings() or (identity,)


def _from(reading: Reading, source: int) -> Reading:
    """The same reading of another value."""
    return replace(reading, source=source)
