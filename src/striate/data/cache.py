"""Pictures of any number decoded once: threads read them, one memory-mapped file keeps them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import torch
from filelock import FileLock

from striate.data.items import Progress, take
from striate.errors import InputError, StorageError
from striate.shapes import Int64, Tensor, UInt8

RESIDENT_BYTES = 1 << 30
FORMAT = 2  # part of the key: raise it when Pictures.read gives other pixels


def cache_folder(cache: Path | None = None) -> Path:
    """Where decoded pictures are kept: `cache`, else $STRIATE_CACHE, else ~/.cache/striate."""
    return cache or Path(os.environ.get("STRIATE_CACHE") or "~/.cache/striate").expanduser()


@runtime_checkable
class Reader(Protocol):
    """What makes a picture pixels of one shape; an `Input`, or a part of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what `read` gives."""

    def read(self, item: Any) -> Tensor:
        """The pixels of a file."""


def decode(
    pictures: Tensor | Sequence[Path],
    preprocess: Reader,
    *,
    key: Sequence[int] = (),
    skip_corrupt: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[UInt8[Tensor, "n c *space"], list[int]]:
    """All pictures through `preprocess.read`, and the positions of the corrupt ones (black, to be left out).

    Pixels that have the shape already are passed through; paths go through the cache file. A corrupt file
    raises InputError unless `skip_corrupt`; a cache that cannot be written raises StorageError. `key` is what decides
    the pixels besides the files and the shape.
    """
    if isinstance(pictures, Tensor):
        return _resized(pictures, preprocess, progress), []
    entry = CacheFile(cache_folder(cache), pictures, preprocess, key)
    corrupt = entry.fill(skip_corrupt, progress)
    return entry.images(), corrupt


def gather(rows: Tensor, where: Int64[Tensor, " m"], cache: Path | None = None) -> Tensor:
    """The rows at `where`: neighbors are a view, few are copied to memory, many bytes to a mapped file.

    That file has no name any more when this returns, so its space is free again when the process ends.
    """
    row = rows[0].nbytes
    neighbors = int(where[-1]) - int(where[0]) == len(where) - 1 and bool((where.diff() == 1).all())
    if neighbors or len(where) * row <= RESIDENT_BYTES:
        return take(rows, where)
    folder = cache_folder(cache)
    with storage(folder), tempfile.NamedTemporaryFile(dir=_made(folder), delete=False) as file:
        try:
            step = max(1, (64 << 20) // row)
            for first in range(0, len(where), step):
                file.write(rows.index_select(0, where[first : first + step]).numpy().tobytes())
            file.flush()
            return mapped(Path(file.name), (len(where), *rows.shape[1:]), rows.dtype)
        finally:
            with contextlib.suppress(PermissionError):  # Windows keeps a mapped file
                Path(file.name).unlink()


def mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
    """The file as a tensor, read page by page when used; writing to the tensor never reaches the file."""
    return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=dtype).view(shape)


class CacheFile:
    """One decoded set: KEY.pixels, written as KEY.pixels.part and renamed when complete.

    The part grows by whole rows, so its length says how far an interrupted run came; KEY.corrupt has one line
    of JSON per unreadable picture: its position and the reason.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], preprocess: Reader, more: Sequence[int] = ()) -> None:
        self.folder, self.paths, self.preprocess = folder, paths, preprocess
        key = hashlib.sha256(json.dumps([FORMAT, preprocess.shape, *more]).encode())
        for path in paths:
            status = path.stat()
            key.update(
                f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape")
            )
        stem = key.hexdigest()[:32]
        self.pixels, self.part = folder / f"{stem}.pixels", folder / f"{stem}.pixels.part"
        self.notes, self.lock = folder / f"{stem}.corrupt", folder / f"{stem}.lock"
        self.row = math.prod(preprocess.shape)

    def images(self) -> UInt8[Tensor, "n c *space"]:
        return mapped(self.pixels, (len(self.paths), *self.preprocess.shape))

    def fill(self, skip_corrupt: bool, progress: Progress | None) -> list[int]:
        """Decode what is missing and return the positions of corrupt pictures."""
        with storage(self.folder):
            _made(self.folder)
            with FileLock(self.lock):  # a second run waits for the first one's file
                if not self.pixels.exists():
                    self._continue(skip_corrupt, progress)
                corrupt = self._corrupt(len(self.paths))
        if corrupt and not skip_corrupt:
            position = min(corrupt)
            raise self._broken(position, corrupt[position])
        return sorted(corrupt)

    def _continue(self, skip_corrupt: bool, progress: Progress | None) -> None:
        done = self.part.stat().st_size // self.row if self.part.exists() else 0
        corrupt = self._corrupt(done)
        notes = [json.dumps([position, reason]) + "\n" for position, reason in corrupt.items()]
        self.notes.write_text("".join(notes))
        with self.part.open("ab") as part, self.notes.open("a") as notes_file:
            part.truncate(done * self.row)
            for position, row in enumerate(self._rows(done), start=done):
                if isinstance(row, InputError):
                    if not skip_corrupt:
                        raise self._broken(position, str(row)) from row
                    notes_file.write(json.dumps([position, str(row)]) + "\n")
                    notes_file.flush()
                part.write(bytes(self.row) if isinstance(row, InputError) else row)
                if progress is not None:
                    progress(position + 1, len(self.paths), "decoding images")
            _sync(part)
        self.part.replace(self.pixels)

    def _rows(self, first: int) -> Iterator[bytes | InputError]:
        """The pixels of each picture from `first` on, in order, decoded ahead by threads."""
        rest = iter(self.paths[first:])
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes without the interpreter lock
            while block := list(islice(rest, 256)):  # a bound on what waits in memory
                yield from threads.map(self._row, block)

    def _row(self, path: Path) -> bytes | InputError:
        try:
            return self.preprocess.read(path).numpy().tobytes()
        except InputError as error:
            return error

    def _corrupt(self, done: int) -> dict[int, str]:
        if not self.notes.exists():
            return {}
        lines = (json.loads(line) for line in self.notes.read_text().splitlines() if line.endswith("]"))
        return {position: reason for position, reason in lines if position < done}

    def _broken(self, position: int, reason: str) -> InputError:
        fix = "Replace or remove it, or leave out corrupt images with --skip-corrupt (skip_corrupt=True)."
        if reason.startswith("cannot decode an image"):
            return InputError(reason, fix=fix)
        return InputError("cannot decode an image", where=self.paths[position], got=reason, fix=fix)


@contextlib.contextmanager
def storage(folder: Path) -> Iterator[None]:
    """Failing writes become StorageError with the way out."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError) or error.errno is None:
            raise
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise StorageError(
            f"cannot write the image cache: {folder}: {what}. "
            "Make room, or set STRIATE_CACHE to a folder on another disk."
        ) from error


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sync(file: BinaryIO) -> None:
    """Bytes on disk before the rename, or a power cut could leave a complete name on incomplete pixels."""
    file.flush()
    os.fsync(file.fileno())


def _resized(
    pictures: UInt8[Tensor, "n _ *size"], preprocess: Reader, progress: Progress | None
) -> UInt8[Tensor, "n c *space"]:
    if tuple(pictures.shape[1:]) == preprocess.shape:
        return pictures
    resized = torch.empty(len(pictures), *preprocess.shape, dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for i, picture in enumerate(threads.map(preprocess.read, pictures)):
            resized[i] = picture
            if progress is not None:
                progress(i + 1, len(pictures), "resizing images")
    return resized
