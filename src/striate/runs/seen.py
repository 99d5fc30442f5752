"""Which items a model was trained on, so that it is not tested on them later: hashes of their inputs."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from striate.data import Data, Items
from striate.data.cache import gather
from striate.errors import InputError
from striate.train import write_atomically

SEEN = "seen.npy"
Hashes = npt.NDArray[np.uint64]


def hashes(items: Items) -> Hashes:
    """8 bytes an item, of its input as it is stored: the same wherever the file lies and whatever it is called."""
    found = [hashlib.blake2b(row.numpy().tobytes(), digest_size=8).digest() for row in items.inputs]
    return np.frombuffer(b"".join(found), np.uint64)


def seen_of(data: Data) -> Hashes:
    """Hashes of the items that train a model or watch over its training: all but those that it is scored on."""
    parts = [part for part in (data.train, data.validation) if part is not None and part is not data.tested]
    return np.unique(np.concatenate([hashes(part) for part in parts])) if parts else np.empty(0, np.uint64)


def write_seen(folder: Path, seen: Hashes) -> None:
    """Keep the hashes in a run's folder."""
    file = io.BytesIO()
    np.save(file, seen)
    write_atomically(folder / SEEN, file.getvalue())


def read_seen(folder: Path) -> Hashes | None:
    """The hashes that a run kept; None for a run that kept none, InputError for a broken file."""
    path = folder / SEEN
    if not path.is_file():
        return None
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.uint64)
    except (OSError, ValueError) as error:
        raise InputError("cannot read which items a model has seen", where=path, got=f"{error}") from None


def without_seen(items: Items, seen: Hashes) -> tuple[Items, str]:
    """The items that are not among those `seen`, and a line on what that left out; all items if none is left."""
    known = np.isin(hashes(items), seen)
    count, of = int(known.sum()), len(items)
    if not count:
        return items, ""
    if count == of:
        return items, f"the model was trained on all {of:,} of these items: the scores say what it remembers"
    where = torch.from_numpy(np.flatnonzero(~known))
    note = f"left out {count:,} of {of:,} items: the model was trained on them, or on the very same ones"
    return items.at(where, gather(items.inputs, where)), note
