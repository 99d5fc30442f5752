"""Texts and sequences as network inputs: words, characters, bases. Stored as small numbers, one-hot only in a batch."""

from __future__ import annotations

import contextlib
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from striate.data.augment.symbols import PADDING, UNKNOWN
from striate.data.inputs import input_kind
from striate.data.items import Input, Reading
from striate.data.sequences import is_fasta, read_fasta, read_lines, read_seq
from striate.data.vectors import read_vectors
from striate.errors import InputError
from striate.shapes import Tensor

# Zhang et al. 2015, section 2.2: 26 letters, 10 digits, 33 other characters (the hyphen twice) and the new line.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}\n"
BASES = "ACGT"
N = len(BASES)  # the number of a base that is not known


class Symbols(Input):
    """What words, characters and bases have in common: an item is a text, and nothing is standardized."""

    @abstractmethod
    def number(self, text: str, where: str = "") -> Tensor:
        """The numbers of a text's symbols at the input's length; InputError names the place `where` it stands."""

    @abstractmethod
    def letters(self, stored: Tensor) -> list[str]:
        """What stands at each position of a stored text (length,): a word, a character, a base."""

    def expand(self, file: Path) -> Sequence[tuple[str, Any]]:
        """A text for each line of a file."""
        return [(f"{file}, line {number}", line) for number, line in enumerate(read_lines(file), 1)]

    def read(self, item: Any) -> Tensor:
        """One text as it is stored."""
        if not isinstance(item, str):
            raise InputError("an item is no text", expected="str", got=type(item).__name__)
        return self.number(item, repr(item[:20] + "…" * (len(item) > 20)))

    def store(self, raw: Sequence[str], reading: Reading) -> tuple[Tensor, list[int]]:
        """All texts as they are stored, and the positions of those that cannot be (with `reading.skip_corrupt`)."""
        rows: dict[int, Tensor] = {}
        for place, text in enumerate(raw):
            try:
                rows[place] = self.number(text, str(reading.names[place]) if reading.names else f"item {place}")
            except InputError:
                if not reading.skip_corrupt:
                    raise
        if not rows:
            raise InputError("no text can be read", where=reading.where, expected="at least one")
        corrupt = [place for place in range(len(raw)) if place not in rows]
        stored = torch.zeros(len(raw), *next(iter(rows.values())).shape, dtype=next(iter(rows.values())).dtype)
        stored[list(rows)] = torch.stack(list(rows.values()))
        return stored, corrupt

    def json(self) -> dict[str, Any]:
        """As plain types, for a card."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Symbols:
        """The inverse of `json`; a missing or malformed entry raises InputError."""
        try:
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
            values.pop("kind")
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise InputError(f"a stored input of {cls.__name__.lower()}", got=f"{error}") from None


def split_words(text: str) -> list[str]:
    """The words of an English text in lower case; clitics (n't, 's, 've, 're, 'd, 'll) and , ! ( ) ? are words.

    Every other character but letters, digits, ' and ` separates words. This is the tokenization of Kim 2014 (the
    author's process_data.py), which finds 18,765 words in the movie reviews.

    >>> split_words("It isn't Hitchcock's best -- (but close), is it?")
    ['it', 'is', "n't", 'hitchcock', "'s", 'best', '(', 'but', 'close', ')', ',', 'is', 'it', '?']
    """
    text = re.sub(r"[^A-Za-z0-9(),!?'`]", " ", text)
    text = re.sub(r"'s|'ve|n't|'re|'d|'ll|[,!()?]", lambda found: f" {found[0]}" + " " * (len(found[0]) == 1), text)
    return text.lower().split()


@input_kind("words", reads=("text",))
@dataclass(frozen=True)
class Words(Symbols):
    """Numbers of words: 0 padding, 1 unknown, then the vocabulary, the most frequent word first.

    A text is `padding` zeros, its words and zeros up to `length`. align=start: what is too long is cut at its end, and
    zeros fill the end; align=end (Keras' pad_sequences): both happen at the start. `vectors` is a file of word vectors
    with which a network starts.
    """

    family: ClassVar[str] = "words"
    vocabulary: tuple[str, ...]
    length: int
    padding: int = 4
    align: str = "start"
    vectors: str | None = None

    def __post_init__(self) -> None:
        if self.length <= 2 * self.padding:
            expected = f"more than {2 * self.padding}, the padding of both ends"
            raise InputError("length of a text", expected=expected, got=self.length)
        if self.align not in ("start", "end"):
            raise InputError("align of words", expected="start or end", got=self.align)

    @classmethod
    def fit(
        cls,
        raw: Sequence[str],
        reading: Reading,
        keep: int | None = None,
        skip: int = 0,
        length: int | None = None,
        padding: int = 4,
        align: str = "start",
        vectors: str | None = None,
    ) -> tuple[Tensor, Words, list[int]]:
        """The vocabulary of the training texts: words of rank `skip` + 1 to `keep` by frequency (all: None).

        Words of equal frequency stand in the order of the alphabet. Others, those skipped too, are the unknown word, as
        with num_words and skip_top of Keras. `length` is by default that of the longest training text with `padding`
        (Kim: 4, one less than the widest filter) at both ends. `vectors`: see `read_vectors`.
        """
        if keep is not None and not 0 <= skip < keep:
            raise InputError("skip of words", expected=f"0 to {keep - 1}, below keep", got=skip)
        texts = [split_words(text) for text in raw]
        empty = [place for place, words in enumerate(texts) if not words]
        train = [texts[place] for place in reading.train(empty if reading.skip_corrupt else [])]
        counts = Counter(word for words in train for word in words)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        longest = length or max(map(len, train), default=1) + 2 * padding
        fitted = cls(tuple(ranked[skip:keep]), longest, padding, align, vectors)
        stored, corrupt = fitted.store(raw, reading)
        return stored, fitted, corrupt

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(length,)."""
        return (self.length,)

    @property
    def channels(self) -> int:
        """The number of different numbers: the vocabulary, padding and unknown."""
        return len(self.vocabulary) + 2

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary, 2)}

    def number(self, text: str, where: str = "") -> Tensor:
        """Int32[length]."""
        found = [self._numbers.get(word, UNKNOWN) for word in split_words(text)]
        if not found:
            raise InputError("a text without words", where=where, got=repr(text[:40]), fix="Remove it.")
        room = self.length - 2 * self.padding
        row = np.full(self.length, PADDING, np.int32)
        if self.align == "start":
            found = found[:room]
            row[self.padding : self.padding + len(found)] = found
        else:
            found = found[-room:]
            row[self.length - self.padding - len(found) : self.length - self.padding] = found
        return torch.from_numpy(row)

    def letters(self, stored: Tensor) -> list[str]:
        """Words; "·" for padding, "?" for words that are not in the vocabulary."""
        return [("·", "?", *self.vocabulary)[number] for number in stored.tolist()]

    def units(self, stored: Tensor) -> Tensor:
        """Int64[n length], as embeddings take them."""
        return stored.long()

    def start(self, model: nn.Module) -> None:
        """Put the `vectors` into a network that has `load_vectors` (text_cnn).

        Other words keep the network's own random vectors. Raises InputError for a network without word vectors, for
        vectors of another length, and for a file without any word of the vocabulary.
        """
        if self.vectors is None:
            return
        load = getattr(model, "load_vectors", None)
        if load is None:
            name = type(model).__name__
            raise InputError("this network takes no word vectors", got=name, fix="Use text_cnn.")
        found = read_vectors(Path(self.vectors), set(self.vocabulary))
        weight = next(model.parameters()).detach().clone()
        for word, vector in found.items():
            if len(vector) != weight.shape[1]:
                fix = f"Build the network with text_cnn:vector={len(vector)}."
                got = f"{len(vector)} numbers a word"
                expected = f"{weight.shape[1]}"
                raise InputError("word vectors of another length", where=word, expected=expected, got=got, fix=fix)
            weight[self._numbers[word]] = torch.from_numpy(vector)
        load(weight)


@input_kind("characters", reads=("text",))
@dataclass(frozen=True)
class Characters(Symbols):
    """One-hot characters of Zhang's alphabet of 70, the last one first, in lower case.

    Characters outside the alphabet and the places after a text's start are zeros; of a longer text the last `length`
    characters are kept. As the author's code (Crepe) has it, the second place of the hyphen is the one that is used.
    """

    family: ClassVar[str] = "characters"
    length: int = 1014

    @classmethod
    def fit(
        cls, raw: Sequence[str], reading: Reading, length: int | None = None
    ) -> tuple[Tensor, Characters, list[int]]:
        """`length` is the paper's 1,014 if not given."""
        if length is not None and length < 1:
            raise InputError("length of a text", expected="at least 1", got=length)
        fitted = cls(length or 1014)
        stored, corrupt = fitted.store(raw, reading)
        reading.train(corrupt)
        return stored, fitted, corrupt

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(70, length)."""
        return (self.channels, self.length)

    @property
    def channels(self) -> int:
        """70."""
        return len(ALPHABET)

    def number(self, text: str, where: str = "") -> Tensor:
        """UInt8[length]; 70 is no character."""
        if not text.strip():
            raise InputError("a text without characters", where=where, got=repr(text[:40]), fix="Remove it.")
        places = {letter: place for place, letter in enumerate(ALPHABET)}
        row = np.full(self.length, len(ALPHABET), np.uint8)
        found = [places.get(letter, len(ALPHABET)) for letter in reversed(text.lower())][: self.length]
        row[: len(found)] = found
        return torch.from_numpy(row)

    def letters(self, stored: Tensor) -> list[str]:
        """Characters, the text's last one first; "·" for others."""
        return [(*ALPHABET, "·")[number] for number in stored.tolist()]

    def units(self, stored: Tensor) -> Tensor:
        """Float[n 70 length]."""
        return _one_hot(stored, torch.cat([torch.eye(len(ALPHABET)), torch.zeros(1, len(ALPHABET))]))


def _one_hot(stored: Tensor, columns: Tensor) -> Tensor:
    """Numbers (n, length) -> the columns (numbers, c) that they mean, (n, c, length)."""
    return columns.to(stored.device)[stored.int()].transpose(1, 2).contiguous()


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
        fitted = cls(length or max(len(raw[0]), 1), unknown, case, fits=length is not None)
        stored, corrupt = fitted.store(raw, reading)
        reading.train(corrupt)
        return stored, fitted, corrupt

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
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
            found = [(f"{file}, {name}", text) for name, text in read_fasta(file).items()]
        elif file.name.removesuffix(".gz").endswith(".seq"):
            found = [(f"{file}, {name}", text) for name, text in zip(*read_seq(file)[:2], strict=True)]
        else:
            found = list(super().expand(file))
        return [window for name, text in found for window in self._windows(name, text)]

    def _windows(self, name: str, text: str) -> list[tuple[str, str]]:
        last = len(text) - self.length
        if last <= 0 or self.fits:
            return [(name, text)]
        starts = [*range(0, last, max(1, self.length // 2)), last]
        return [(f"{name}:{start}-{start + self.length}", text[start : start + self.length]) for start in starts]

    def number(self, text: str, where: str = "") -> Tensor:
        """UInt8[length]: 0 to 3 for A, C, G and T, 4 for N."""
        found = numbers_of(text, where, self.case)
        missing = self.length - len(found)
        if missing and not self.fits:
            fix = f"Cut them to one length, or let it be done: --inputs bases:length={self.length}."
            raise InputError("sequences of unequal lengths", where=where, expected=self.length, got=len(found), fix=fix)
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

    def units(self, stored: Tensor) -> Tensor:
        """Float[n 4 length]."""
        return _one_hot(stored, torch.cat([torch.eye(len(BASES)), torch.full((1, len(BASES)), self.unknown)]))


# The number of each byte in a sequence; 255 where it is no base.
_CODES = np.full(256, 255, np.uint8)
_CODES[np.frombuffer(b"ACGTUNacgtun", np.uint8)] = [0, 1, 2, 3, 3, N] * 2


def numbers_of(text: str, where: str = "", case: str = "any") -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The numbers of bases; InputError for none, and for a letter that is no base, with its position from 1.

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
        fix = "Read it with --inputs bases:case=any (as a capital) or case=mask (as N)." if small else ""
        at = f"{where}, position {place + 1}" if where else f"position {place + 1}"
        raise InputError("a letter that is no base", where=at, expected=expected, got=repr(text[place]), fix=fix)
    return np.where(lower, np.uint8(N), found) if case == "mask" else found
