"""A result that is written to a .npy file part by part, and goes on where it was after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.errors import InputError, StorageError
from striate.locality.tile.source import runs
from striate.shapes import Float, Tensor

# Seconds of work, at most, that a kill may cost.
EVERY = 1.0
REMEDY = "Delete both files to begin anew, or give another `out`."


class Result:
    """A result in memory."""

    done = 0

    def __init__(self, tensor: Float[Tensor, "n k *space"]) -> None:
        self.tensor = tensor

    def write(self, place: tuple[slice, ...], part: Float[Tensor, "n k *space"]) -> None:
        """Write a part."""
        self.tensor[place] = part


class Ledger:
    """The file and, beside it, a JSON file of what makes the result and how many parts of it are written.

    `told` is what makes the result: a result begun with something else is an error. Parts are written in turn, and
    counted in `done` once they are in the file.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str, told: dict[str, Any]) -> None:
        self.path, self.beside = path, path.with_name(path.name + ".json")
        self.told: dict[str, Any] = json.loads(json.dumps({**told, "shape": shape, "dtype": dtype}))
        self.shape, self.done = shape, 0
        found = self._found() if self.beside.exists() else None
        if found is not None:
            self.done = found
        elif path.exists():
            raise InputError("a file is there already, and no result that can go on", where=path, fix=REMEDY)
        else:  # the file gets its name last: a kill on the way leaves nothing that stands in the way of the same call
            new = self._allocate(np.dtype(dtype))
            self._note()
            new.replace(path)
        self._kept, self._last = self.done, time.monotonic()
        self._offset = np.load(path, mmap_mode="r").offset
        self._file = path.open("r+b", buffering=0)

    @property
    def tensor(self) -> Float[Tensor, "n k *space"]:
        """The result, mapped; what is written into it does not go to the file."""
        return torch.from_numpy(np.load(self.path, mmap_mode="c"))

    def write(self, place: tuple[slice, ...], part: Float[Tensor, "n k *space"]) -> None:
        """Write the next part."""
        array = (part.float() if part.dtype == torch.bfloat16 else part).contiguous().numpy()
        starts, length = runs(self.shape, place)
        for row, start in zip(array.reshape(len(starts), length), starts, strict=True):
            self._file.seek(self._offset + int(start) * array.itemsize)
            put(self._file, row)
        self.done += 1
        if time.monotonic() - self._last >= EVERY:
            self._keep()

    def close(self) -> None:
        """Put down what was written since."""
        if self._kept != self.done:
            self._keep()
        self._file.close()

    def _found(self) -> int | None:
        """How many parts are written; None where nothing was begun."""
        try:
            found = json.loads(self.beside.read_text())
            told, done = found["made_of"], int(found["done"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("this file does not say how far a result is", where=self.beside, fix=REMEDY) from error
        if not done and not self.path.exists():
            return None
        other = [name for name in self.told if told.get(name) != self.told[name]]
        if other:
            raise InputError(
                f"the result that was begun there has another {other[0]}",
                where=self.path,
                expected=self.told[other[0]],
                got=told.get(other[0]),
                fix=REMEDY,
            )
        if not self.path.exists():
            raise InputError("the result that was begun is gone", where=self.path, fix=f"Delete {self.beside}.")
        return done

    def _allocate(self, kind: np.dtype[Any]) -> Path:
        """The file in its full length, all of it on the disk where the system can: a full one is found now."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            with new.open("wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": self.shape}
                np.lib.format.write_array_header_1_0(file, header)
                file.flush()
                length = math.prod(self.shape) * kind.itemsize
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), file.tell(), length)
                else:
                    file.truncate(file.tell() + length)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
        return new

    def _keep(self) -> None:
        """Put down how far the result is, after its parts."""
        os.fsync(self._file.fileno())
        self._note()
        self._kept, self._last = self.done, time.monotonic()

    def _note(self) -> None:
        """Replace the JSON file as a whole, so that a kill leaves the old one or the new one."""
        new = self.beside.with_name(self.beside.name + ".new")
        new.write_text(json.dumps({"made_of": self.told, "done": self.done}, indent=1) + "\n")
        new.replace(self.beside)


def put(file: FileIO, row: NDArray[Any]) -> None:
    """Write all of a row; the system takes at most so much at a time."""
    left = row.view(np.uint8).data
    while left:
        left = left[file.write(left) :]


def digest(tensors: Iterable[tuple[str, torch.Tensor]], *texts: str) -> str:
    """A digest of tensors by name, and of texts."""
    found = hashlib.sha256("\n".join(texts).encode())
    for name, tensor in tensors:
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # As bytes: numpy has no bfloat16.
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
