"""DNA and RNA as network input: four channels, one a base."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from striate.data.inputs import input_kind
from striate.data.items import Entry, Reading
from striate.data.sequences import is_fasta, read_fasta, read_seq
from striate.data.symbols import Symbols, one_hot
from striate.errors import InputError
from striate.shapes import Tensor

BASES = "ACGT"
N = len(BASES)  # the number of a base that is not known


@input_kind("bases", reads=("sequences",))
@dataclass(frozen=True)
class Bases(Symbols):
    """One-hot bases A, C, G, T (U is T) as four channels; N, a base that is not known, has `unknown` in all of them.

    Sequences of another length raise InputError, or, if `length` was asked for, are cut to their middle or stand in
    the middle of Ns. Letters in lower case (soft-masked repeats) are read as capitals (case=any), as N (case=mask) or
    refused (case=upper).
    """

    family: ClassVar[str] = "bases"
    length: int
    unknown: float = 0.25
    case: str = "any"
    fits: bool = False

    def __post_init__(self) -> None:
        if self.length < 1:
            raise InputError("length of a sequence", expected="at least 1", got=self.length)
        if self.case not in ("any", "mask", "upper"):
            raise InputError("case of bases", expected="any, mask or upper", got=self.case)
        if not 0 <= self.unknown <= 1:
            raise InputError("value of unknown bases", expected="0 to 1", got=self.unknown)

    @classmethod
    def fit(
        cls,
        raw: Sequence[str],
        reading: Reading,
        length: int | None = None,
        unknown: float = 0.25,
        case: str = "any",
    ) -> tuple[Tensor, Bases, list[int]]:
        """`length` is by default that of all sequences, which then must have one."""
        return cls(length or max(len(raw[0]), 1), unknown, case, fits=length is not None).fitted(raw, reading)

    @property
    def shape(self) -> tuple[int, ...]:
        """(4, length)."""
        return (self.channels, self.length)

    @property
    def channels(self) -> int:
        """4."""
        return len(BASES)

    def expand(self, file: Path) -> Sequence[tuple[str, Any]]:
        """The sequences of a FASTA or .seq file, or one for each line of another.

        A longer one than the network takes becomes windows of that length, half a length apart, the last one at its
        end, named NAME:START-END as in a BED file (from 0, without the end).
        """
        if is_fasta(file):
            found = [Entry(text, f"{file}, {name}") for name, text in read_fasta(file).items()]
        elif _is_seq(file):
            found = [Entry(text, f"{file}, {name}") for name, text in zip(*read_seq(file)[:2], strict=True)]
        else:
            found = [entry for _, entry in super().expand(file)]
        return [window for entry in found for window in self._windows(entry)]

    def reads(self, file: Path) -> bool:
        """FASTA, .seq and texts, packed or not."""
        return is_fasta(file) or _is_seq(file) or super().reads(file)

    def _windows(self, entry: Entry) -> list[tuple[str, Entry]]:
        last = len(entry.value) - self.length
        if last <= 0 or self.fits:
            return [(entry.where, entry)]
        found = []
        for start in (*range(0, last, max(1, self.length // 2)), last):
            end = start + self.length
            found.append((f"{entry.where}:{start}-{end}", Entry(entry.value[start:end], entry.where, start)))
        return found

    def number(self, entry: Entry) -> Tensor:
        """UInt8[length]: 0 to 3 for A, C, G and T, 4 for N."""
        found = numbers_of(entry.value, entry.where, self.case, entry.start)
        missing = self.length - len(found)
        if missing and not self.fits:
            raise InputError(
                "sequences of unequal lengths",
                where=entry.where,
                expected=self.length,
                got=len(found),
                fix=f"{'Fill it up with N' if missing > 0 else 'Cut it'} "
                f"(in training, --inputs bases:length={self.length} does so).",
            )
        before = abs(missing) // 2
        if missing < 0:
            found = found[before : before + self.length]
        else:
            found = np.pad(found, (before, missing - before), constant_values=N)
        return torch.from_numpy(found)

    def letters(self, stored: Tensor) -> list[str]:
        """Bases, N for one that is not known."""
        return [(*BASES, "N")[number] for number in stored.tolist()]

    def store(self, raw: Sequence[str], reading: Reading) -> tuple[Tensor, list[int]]:
        """All sequences as they are stored; those of the right length at once, where all have it."""
        if {len(text) for text in raw} == {self.length}:
            with contextlib.suppress(InputError):  # which sequence it is, is said below
                found = numbers_of("".join(raw), "", self.case).reshape(-1, self.length)
                return torch.from_numpy(found), []
        return super().store(raw, reading)

    def changes(self, text: str) -> Sequence[str]:
        """Letters in lower case, unknown bases, sequences of another length."""
        lower = f"have letters in lower case, read as {'N' if self.case == 'mask' else 'capitals'}"
        told = {
            lower: text != text.upper(),
            f"have unknown bases (N), read as {self.unknown:g} of each": "N" in text.upper(),
            f"are cut to the {self.length} bases in their middle": self.fits and len(text) > self.length,
            f"are filled up with N to {self.length} bases": self.fits and len(text) < self.length,
        }
        return [what for what, holds in told.items() if holds]

    def units(self, stored: Tensor) -> Tensor:
        """Float[n 4 length]."""
        return one_hot(stored, torch.cat([torch.eye(len(BASES)), torch.full((1, len(BASES)), self.unknown)]))


def _is_seq(file: Path) -> bool:
    return file.name.lower().removesuffix(".gz").endswith(".seq")


# The number of each byte in a sequence; 255 where it is no base.
_CODES = np.full(256, 255, np.uint8)
_CODES[np.frombuffer(b"ACGTUNacgtun", np.uint8)] = [0, 1, 2, 3, 3, N] * 2


def numbers_of(text: str, where: str = "", case: str = "any", start: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The numbers of bases; InputError for none, and for a letter that is no base, with its position from 1.

    Of a window, `start` letters stand before it.

    >>> numbers_of("GATTUN").tolist()
    [2, 0, 3, 3, 3, 4]
    """
    if not text:
        raise InputError("a sequence without letters", where=where)
    letters = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)
    found = _CODES[letters]
    lower = letters >= ord("a")
    wrong = (found == 255) | (lower if case == "upper" else False)
    if wrong.any():
        place = int(wrong.argmax())
        small = found[place] != 255
        expected = "capitals" if small else "A, C, G, T (or U) and N"
        fix = "Write capitals (in training, --inputs bases:case=any reads them so, case=mask as N)." if small else ""
        at = f"{where}, position {start + place + 1}" if where else f"position {start + place + 1}"
        raise InputError("a letter that is no base", where=at, expected=expected, got=repr(text[place]), fix=fix)
    return np.where(lower, np.uint8(N), found) if case == "mask" else found
