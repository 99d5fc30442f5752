"""Arrays that need not fit in memory, read part by part: tensors, numpy's and the like, .npy files, TIFF."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.errors import InputError
from striate.shapes import Num, Tensor

Shape = tuple[int, ...]
Part = tuple[slice, ...]
Read = Callable[[Part], NDArray[Any]]
# An array is told from others by as many of its numbers, in blocks of so many; one in memory by all of them.
SAMPLE, BLOCK = 1 << 18, 1 << 10


@dataclass(frozen=True)
class Source:
    """An array of items, channels and space: `shape` is (n, c, *space), however it is stored.

    `order` has for each of these axes the stored one, None where there is none; `stored` is the shape as stored, and
    `get` reads a part of that, as an array of its own. `identity()` tells this input from others. `decoded` is how many
    bytes a read takes for itself.
    """

    shape: Shape
    stored: Shape
    order: tuple[int | None, ...]
    get: Read
    identity: Callable[[], dict[str, Any]]
    decoded: int = 0

    def read(self, item: int, starts: Sequence[int], sizes: Sequence[int]) -> Num[Tensor, "1 c *space"]:
        """One item, all channels, from `starts` on so many positions."""
        wanted = [slice(item, item + 1), slice(None), *(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))]
        part = [slice(None)] * len(self.stored)
        for axis, at in zip(self.order, wanted, strict=True):
            if axis is not None:
                part[axis] = at
        array = self.get(tuple(part)).transpose([axis for axis in self.order if axis is not None])
        missing = tuple(number for number, axis in enumerate(self.order) if axis is None)
        array = np.expand_dims(array, missing)
        # torch has no other byte order than the machine's.
        return torch.from_numpy(array.astype(_known(array.dtype), copy=False))


def open_source(x: Any, axes: str | None = None) -> Source:
    """The source behind a tensor, an array or a path.

    `axes` names the stored axes by a letter each: n items, c (or s) channels, any other letter space, as in "yxc". By
    default a TIFF's own axes, and otherwise n, c, then space. Raises InputError for what cannot be read, or has axes
    that do not fit.
    """
    if isinstance(x, str | Path):
        return _open_file(Path(x), axes)
    if isinstance(x, torch.Tensor):
        x = x.detach()

        def get(part: Part) -> NDArray[Any]:
            own = x[part].cpu()  # numpy has no bfloat16
            return np.array((own.float() if own.dtype == torch.bfloat16 else own).numpy())

    elif hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__getitem__"):

        def get(part: Part) -> NDArray[Any]:
            return np.array(x[part])

    else:
        raise InputError(
            "this is no input to tile",
            expected="a tensor, an array, or the path of a .npy or TIFF file",
            got=type(x).__name__,
        )
    shape = tuple(int(side) for side in x.shape)
    kind, held = str(x.dtype), isinstance(x, torch.Tensor | np.ndarray) and not isinstance(x, np.memmap)
    return _arranged(shape, axes, get, lambda: {"dtype": kind, "numbers": _digest(shape, get, held)})


def _open_file(path: Path, axes: str | None) -> Source:
    if not path.is_file():
        raise InputError("there is no such file", where=path)
    stat = path.stat()

    def identity() -> dict[str, Any]:
        return {"path": str(path.resolve()), "bytes": stat.st_size, "modified": stat.st_mtime_ns}

    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r")
        except ValueError as error:
            raise InputError("this file cannot be mapped", where=path, got=error) from error
        kind, offset, shape = array.dtype, array.offset, array.shape
        if shape and not array.flags.c_contiguous:
            raise InputError("this file has its first axis innermost", where=path, fix="Save np.ascontiguousarray(x).")
        return _arranged(shape, axes, lambda part: read_part(path, kind, offset, shape, part), identity)
    import tifffile  # a tenth of a second that only TIFFs need

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            shape, letters = tuple(series.shape), series.axes.lower()
            kind, offset = np.dtype(series.dtype).newbyteorder(file.byteorder), series.dataoffset
            page = series.keyframe
            # A segment as it lies, decoded, and without its predictor.
            decoded = 2 * math.prod(page.chunks) * kind.itemsize + max(page.databytecounts)
    except tifffile.TiffFileError as error:
        raise InputError("this is neither a .npy file nor a TIFF", where=path, got=error) from error
    if offset is not None:
        return _arranged(shape, axes or letters, lambda part: read_part(path, kind, offset, shape, part), identity)
    return _arranged(shape, axes or letters, lambda part: _from_segments(path, part), identity, decoded)


def runs(shape: Shape, part: Part) -> tuple[NDArray[np.int64], int]:
    """Where the runs of neighbors begin that make a part of an array stored row by row, and how long each is."""
    bounds = [at.indices(side)[:2] for at, side in zip(part, shape, strict=True)]
    inner = len(shape) - 1
    while inner and bounds[inner] == (0, shape[inner]):
        inner -= 1
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    starts = np.array(bounds[inner][0] * steps[inner], np.int64)
    for (first, last), step in zip(bounds[:inner], steps, strict=False):
        starts = starts[..., None] + np.arange(first, last) * step
    return starts.ravel(), (bounds[inner][1] - bounds[inner][0]) * steps[inner]


def read_part(path: Path, kind: np.dtype[Any], offset: int, shape: Shape, part: Part) -> NDArray[Any]:
    """A part of an array in a file. It is read, not mapped: mapped pages, and those around, count as memory."""
    starts, length = runs(shape, part)
    out = np.empty((len(starts), length), kind)
    with path.open("rb", buffering=0) as file:
        for row, start in zip(out, starts, strict=True):
            file.seek(offset + int(start) * kind.itemsize)
            fill(file, row, path)
    return out.reshape([len(range(*at.indices(side))) for at, side in zip(part, shape, strict=True)])


def fill(file: FileIO, row: NDArray[Any], path: Path) -> None:
    """Read all of a row; the system gives at most so much at a time."""
    left = row.view(np.uint8).data
    while left:
        count = file.readinto(left)
        if not count:
            raise _short(path)
        left = left[count:]


def _short(path: Path) -> InputError:
    return InputError("the file ends early", where=path, fix="Copy or write it anew.")


def _from_segments(path: Path, part: Part) -> NDArray[Any]:
    """A part of a TIFF that is compressed or tiled: only the segments that it touches are read and decoded."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        lead = len(series.shape) - len(series.keyframe.shape)
        bounds = [at.indices(side)[:2] for at, side in zip(part, series.shape, strict=True)]
        out = np.zeros([last - first for first, last in bounds], series.dtype)
        for place in product(*(range(*bound) for bound in bounds[:lead])):
            number = int(np.ravel_multi_index(place, series.shape[:lead])) if lead else 0
            page = series.pages[number]
            if page is not None:  # one that was left out is empty
                target = out[tuple(at - first for at, (first, _) in zip(place, bounds, strict=False))]
                _read_page(page.aspage(), bounds[lead:], target)
    return out


def _read_page(page: Any, bounds: Sequence[tuple[int, int]], out: NDArray[Any]) -> None:
    """The part of one page within these bounds, into `out`."""
    # A page with its samples one after another has one of them in a segment.
    chunks, handle = (1,) * (len(page.shape) - len(page.chunks)) + page.chunks, page.parent.filehandle
    for place in product(*(range(a // n, -(-b // n)) for (a, b), n in zip(bounds, chunks, strict=True))):
        index = int(np.ravel_multi_index(place, page.chunked))
        if not page.databytecounts[index]:
            continue
        handle.seek(page.dataoffsets[index])
        if len(read := handle.read(page.databytecounts[index])) < page.databytecounts[index]:
            raise _short(Path(handle.path))
        decoded = page.decode(read, index, jpegtables=page.jpegtables)[0]
        assert decoded is not None
        lengths = dict(zip("ZYXS", decoded.shape, strict=True))
        block = decoded.reshape([lengths.get(letter, 1) for letter in page.axes])
        corner = [p * n for p, n in zip(place, chunks, strict=True)]
        ends = [min(c + n, b) for c, n, (_, b) in zip(corner, block.shape, bounds, strict=True)]
        spans = [(max(c, a), end) for c, (a, _), end in zip(corner, bounds, ends, strict=True)]
        into = tuple(slice(s - a, e - a) for (s, e), (a, _) in zip(spans, bounds, strict=True))
        out[into] = block[tuple(slice(s - c, e - c) for (s, e), c in zip(spans, corner, strict=True))]


def _arranged(
    stored: Shape, axes: str | None, get: Read, identity: Callable[[], dict[str, Any]], decoded: int = 0
) -> Source:
    letters = axes.lower() if axes is not None else "nc" + "*" * (len(stored) - 2)
    roles = [{"n": 0, "c": 1, "s": 1}.get(letter, 2) for letter in letters]
    if len(letters) != len(stored) or roles.count(0) > 1 or roles.count(1) > 1 or roles.count(2) < 1:
        raise InputError(
            "the axes of the input cannot be told",
            expected='one letter an axis, n items, c channels, others space, as axes="yxc"',
            got=f"{axes!r} for shape {stored}" if axes is not None else f"shape {stored}",
        )
    if not math.prod(stored):
        raise InputError("the input is empty", got=f"shape {stored}")
    order = [roles.index(role) if role in roles else None for role in (0, 1)]
    order += [axis for axis, role in enumerate(roles) if role == 2]
    shape = tuple(1 if axis is None else stored[axis] for axis in order)
    return Source(shape, stored, tuple(order), get, lambda: {"shape": list(shape), **identity()}, decoded)


def _known(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type of numbers that torch has, which holds those of this one."""
    wider = {"u2": "i4", "u4": "i8", "u8": "i8", "f2": "f4"}.get(dtype.str[1:], dtype.str[1:])
    return np.dtype(wider)


def _digest(shape: Shape, get: Read, everything: bool) -> str:
    """A digest of an array, or of blocks from all over it."""
    most = BLOCK * BLOCK if everything else BLOCK
    axis, inner = len(shape) - 1, 1
    while axis and inner * shape[axis] <= most:
        inner *= shape[axis]
        axis -= 1
    length = max(1, most // inner)  # of this axis; those after it are whole
    grid = (*shape[:axis], -(-shape[axis] // length))
    blocks = math.prod(grid)
    count = blocks if everything else min(blocks, SAMPLE // BLOCK)
    digest = hashlib.sha256()
    for number in range(count):
        *place, along = map(int, np.unravel_index(number * blocks // count, grid))
        part = (*(slice(p, p + 1) for p in place), slice(along * length, min((along + 1) * length, shape[axis])))
        part += (slice(None),) * (len(shape) - axis - 1)
        digest.update(np.ascontiguousarray(get(part)).data)
    return digest.hexdigest()
