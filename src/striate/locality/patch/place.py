"""Where windows lie on a map: one corner for each of many changes, one size for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

Corners = np.ndarray  # int64 (n, r)


class Place:
    """Windows of one size on a map, the first index of each on each of r axes."""

    __slots__ = ("_rows", "sizes", "starts")

    def __init__(self, starts: Corners, sizes: Sequence[int]) -> None:
        self.starts = starts
        self.sizes = tuple(sizes)
        self._rows: dict[tuple[tuple[int, ...], torch.device], torch.Tensor] = {}

    @classmethod
    def clipped(cls, first: Corners, last: Corners, space: Sequence[int]) -> Place:
        """The least windows within the map that hold the indices first … last (n, r), as far as it has them."""
        most = np.asarray(space) - 1
        first = np.minimum(np.maximum(first, 0), most)
        last = np.minimum(np.maximum(last, first), most)
        sizes = (last - first).max(0) + 1
        return cls(np.minimum(first, most + 1 - sizes), sizes.tolist())

    @classmethod
    def nowhere(cls, n: int) -> Place:
        """Windows on no axis."""
        return cls(np.zeros((n, 0), np.int64), ())

    @property
    def last(self) -> Corners:
        """The last index of each window."""
        last: Corners = self.starts + (np.asarray(self.sizes) - 1)
        return last

    @property
    def cells(self) -> int:
        """Positions in a window."""
        return math.prod(self.sizes)

    def covers(self, space: Sequence[int]) -> bool:
        """Whether the windows are the whole map."""
        return self.sizes == tuple(space)

    def same(self, other: Place) -> bool:
        """Whether both are the same windows."""
        return self is other or (self.sizes == other.sizes and bool((self.starts == other.starts).all()))

    def union(self, other: Place, space: Sequence[int]) -> Place:
        """Windows that hold both."""
        if self.same(other):
            return self
        return Place.clipped(np.minimum(self.starts, other.starts), np.maximum(self.last, other.last), space)

    def moved(self, by: Sequence[int]) -> Place:
        """The same windows on a map whose indices are larger by this much."""
        return Place(self.starts + np.asarray(by), self.sizes)

    def rows(self, space: Sequence[int], device: torch.device) -> torch.Tensor:
        """The number on the map of each cell of each window, row by row; one past the last for cells beyond."""
        key = tuple(space), device
        if key not in self._rows:
            numbers, beyond = _numbers(self.starts, self.sizes, space)
            if beyond is not None:
                numbers[beyond] = math.prod(space)
            self._rows[key] = torch.from_numpy(numbers.reshape(-1)).to(device)
        return self._rows[key]


def _numbers(starts: Corners, sizes: Sequence[int], space: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
    """Row-by-row numbers (n, *sizes) of the cells of windows, and which cells lie beyond the map (None: none)."""
    n, r = starts.shape
    numbers: np.ndarray = np.zeros((n, *[1] * r), np.int64)
    beyond: np.ndarray | None = None
    for axis in range(r):
        at = starts[:, axis, None] + np.arange(sizes[axis])
        form = (n, *(sizes[axis] if a == axis else 1 for a in range(r)))
        at = at.reshape(form)
        numbers = numbers * space[axis] + at
        if starts[:, axis].min() < 0 or starts[:, axis].max() + sizes[axis] > space[axis]:
            outside = (at < 0) | (at >= space[axis])
            beyond = outside if beyond is None else beyond | outside
    if beyond is not None:
        beyond = np.broadcast_to(beyond, numbers.shape)
    return numbers, beyond


def paste(data: torch.Tensor, place: Place, onto: torch.Tensor, there: Place, adding: bool = False) -> torch.Tensor:
    """Write windows (n, *sizes, …) onto others, in place, where they overlap, or add them; returns `onto`."""
    offsets = place.starts - there.starts
    first = offsets[0]
    if (offsets == first).all():
        into, out = [slice(None)], [slice(None)]
        for offset, size, room in zip(first.tolist(), place.sizes, there.sizes, strict=True):
            into.append(slice(max(offset, 0), max(min(offset + size, room), 0)))
            out.append(slice(max(-offset, 0), max(min(size, room - offset), 0)))
        part, given = onto[tuple(into)], data[tuple(out)]
        part.add_(given) if adding else part.copy_(given)
        return onto
    numbers, beyond = _numbers(offsets, place.sizes, there.sizes)
    numbers = numbers + (np.arange(len(offsets)) * there.cells).reshape(-1, *[1] * len(place.sizes))
    rest = data.shape[1 + len(place.sizes) :]
    rows, target = data.reshape(-1, *rest), onto.view(-1, *rest)
    index = torch.from_numpy(numbers.reshape(-1))
    if beyond is not None:
        kept = torch.from_numpy(np.flatnonzero(~beyond.reshape(-1)))
        rows, index = rows[kept.to(rows.device)], index[kept]
    index = index.to(target.device)
    target.index_add_(0, index, rows) if adding else target.index_copy_(0, index, rows)
    return onto


def trimmed(data: torch.Tensor, place: Place, there: Place) -> torch.Tensor:
    """What windows (n, *sizes, …) hold at other windows, 0 where they hold nothing."""
    if place.same(there):
        return data
    rest = data.shape[1 + len(place.sizes) :]
    return paste(data, place, data.new_zeros((len(data), *there.sizes, *rest)), there)
