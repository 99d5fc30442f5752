"""Finite sets of integers, exact and small: the bits of one number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Indices:
    """A finite set of integers: bit b of `bits` stands for `first + b`.

    One Python integer holds a hundred thousand indices in 12 KB, holes and all, and a shift or a union is one
    machine loop. Made by `of` and `span`, which keep the form unique: `bits` is odd, or the set is empty.

    >>> list(Indices.span(-1, 5, 2) | Indices.of([4]))
    [-1, 1, 3, 4, 5]
    """

    first: int = 0
    bits: int = 0

    @classmethod
    def of(cls, items: Iterable[int]) -> Indices:
        """The set of these integers."""
        items = list(items)
        first = min(items, default=0)
        bits = 0
        for item in items:
            bits |= 1 << (item - first)
        return cls(first, bits)

    @classmethod
    def span(cls, first: int, last: int, step: int = 1) -> Indices:
        """first, first + step, … up to last (included where a step lands on it); empty where last < first."""
        return cls(first, 1).repeat(step, (last - first) // step + 1) if last >= first else cls()

    @property
    def last(self) -> int:
        """The greatest member."""
        return self.first + self.bits.bit_length() - 1

    @property
    def extent(self) -> int:
        """Length of the hull, last - first + 1; 0 where empty."""
        return self.bits.bit_length()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __contains__(self, item: object) -> bool:
        return isinstance(item, int) and item >= self.first and bool(self.bits >> (item - self.first) & 1)

    def __iter__(self) -> Iterator[int]:
        for first, count in self.runs():
            yield from range(first, first + count)

    def __or__(self, other: Indices) -> Indices:
        if not (self.bits and other.bits):
            return self if self.bits else other
        first = min(self.first, other.first)
        return Indices(first, self.bits << (self.first - first) | other.bits << (other.first - first))

    def __and__(self, other: Indices) -> Indices:
        first = max(self.first, other.first)
        return _unique(first, self.bits >> (first - self.first) & other.bits >> (first - other.first))

    def __le__(self, other: Indices) -> bool:
        """Whether every member is one of `other`."""
        return self & other == self

    def shift(self, by: int) -> Indices:
        """Every member moved by `by`."""
        return Indices(self.first + by, self.bits) if self.bits else self

    def within(self, size: int) -> Indices:
        """The members in 0 … size - 1."""
        if not self.bits or (self.first >= 0 and self.last < size):
            return self
        return self & Indices(0, (1 << size) - 1) if size > 0 else Indices()

    def repeat(self, step: int, count: int) -> Indices:
        """The union of `count` copies, each moved by `step` from the one before.

        >>> list(Indices.of([0, 1]).repeat(4, 3))
        [0, 1, 4, 5, 8, 9]
        """
        if not self.bits or count < 1:
            return Indices()
        # By doubling: as many copies are added at a time as there are.
        bits, distance, made = self.bits, abs(step), 1
        while made < count:
            more = min(made, count - made)
            bits |= bits << distance * more
            made += more
        return Indices(self.first + min(0, step * (count - 1)), bits)

    def runs(self) -> Iterator[tuple[int, int]]:
        """The runs of consecutive members, in order: (first, count)."""
        if self.bits & (self.bits + 1) == 0:
            if self.bits:
                yield self.first, self.bits.bit_length()
            return
        for run in re.finditer("1+", bin(self.bits)[:1:-1]):
            yield self.first + run.start(), run.end() - run.start()


def _unique(first: int, bits: int) -> Indices:
    """The set in its unique form."""
    if not bits:
        return Indices()
    zeros = (bits & -bits).bit_length() - 1
    return Indices(first + zeros, bits >> zeros)
