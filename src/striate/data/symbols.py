"""Texts as network inputs: words, characters. Stored as small numbers, one-hot only in a batch."""

from __future__ import annotations

import re
import unicodedata
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
from striate.data.items import Entry, Input, Reading
from striate.data.sequences import read_lines
from striate.data.vectors import read_vectors
from striate.errors import InputError
from striate.shapes import Tensor

# Zhang et al. 2015, section 2.2: 26 letters, 10 digits, 33 other characters (the hyphen twice) and the new line.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}\n"
LETTERS = frozenset(ALPHABET + " ")  # a blank is none of them, but nothing is lost with it


class Symbols(Input):
    """What words, characters and bases have in common: an item is a text, and nothing is standardized."""

    @abstractmethod
    def number(self, entry: Entry) -> Tensor:
        """The numbers of a text's symbols at the input's length; InputError names the place where it stands."""

    @abstractmethod
    def letters(self, stored: Tensor) -> list[str]:
        """What stands at each position of a stored text (length,): a word, a character, a base."""

    def changes(self, text: str) -> Sequence[str]:
        """What happens to a text, in words that go on from "3 of 10 items"."""
        return ()

    def notes(self, raw: Sequence[Any]) -> tuple[str, ...]:
        """How many texts are changed, and in which ways; the windows of one are one."""
        entries = [item if isinstance(item, Entry) else Entry(item, f"item {place}") for place, item in enumerate(raw)]
        found = dict.fromkeys((entry.where, change) for entry in entries for change in self.changes(entry.value))
        of = len({entry.where for entry in entries})
        return tuple(
            f"{count:,} of {of:,} items {change}" for change, count in Counter(change for _, change in found).items()
        )

    def expand(self, file: Path) -> Sequence[tuple[str, Any]]:
        """A text for each line of a file."""
        names = ((f"{file}, line {number}", line) for number, line in enumerate(read_lines(file), 1))
        return [(name, Entry(line, name)) for name, line in names]

    def reads(self, file: Path) -> bool:
        """Texts, packed or not."""
        return file.name.lower().removesuffix(".gz").endswith(".txt")

    def read(self, item: Any) -> Tensor:
        """One text as it is stored."""
        if isinstance(item, Entry):
            return self.number(item)
        if not isinstance(item, str):
            raise InputError("an item is no text", expected="str", got=type(item).__name__)
        return self.number(Entry(item, repr(item[:20] + "…" * (len(item) > 20))))

    def store(self, raw: Sequence[str], reading: Reading) -> tuple[Tensor, list[int]]:
        """All texts as they are stored, and the positions of those that cannot be (with `reading.skip_corrupt`)."""
        rows: dict[int, Tensor] = {}
        for place, text in enumerate(raw):
            try:
                rows[place] = self.number(Entry(text, str(reading.names[place]) if reading.names else f"item {place}"))
            except InputError as error:
                if not reading.skip_corrupt:
                    raise error.or_skip() from None
        if not rows:
            raise InputError("no text can be read", where=reading.where, expected="at least one")
        corrupt = [place for place in range(len(raw)) if place not in rows]
        stored = torch.zeros(len(raw), *next(iter(rows.values())).shape, dtype=next(iter(rows.values())).dtype)
        stored[list(rows)] = torch.stack(list(rows.values()))
        return stored, corrupt

    def fitted(self, raw: Sequence[str], reading: Reading) -> tuple[Tensor, Any, list[int]]:
        """All texts as they are stored, this kind of input (it measures nothing), the positions of broken ones."""
        stored, corrupt = self.store(raw, reading)
        reading.train(corrupt)
        return stored, self, corrupt

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


class _Separators(dict[int, str]):
    """For str.translate: a blank for each character but letters, their marks, digits, ' ` and words of one sign.

    The soft hyphen leaves nothing, and (non-)joiners, which Indic and Persian words have inside, stay.
    """

    def __init__(self) -> None:
        super().__init__({0xAD: "", 0x200C: "\u200c", 0x200D: "\u200d"})

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = character in "(),!?'`" or unicodedata.category(character)[0] in "LMN"
        self[code] = character if kept else "'" if character == "’" else " "
        return self[code]


SEPARATORS = _Separators()


def split_words(text: str, alphabet: str = "unicode") -> list[str]:
    """The words of a text in lower case; clitics (n't, 's, 've, 're, 'd, 'll) and , ! ( ) ? are words.

    Every other character but letters, digits, ' and ` separates words. With the alphabet `ascii`, so do letters outside
    ASCII: this is the tokenization of Kim 2014 (the author's process_data.py), which finds 18,765 words in the movie
    reviews. With `unicode`, letters and digits are those of any script, and ’ is '; a text in ASCII has the same words
    by both.

    >>> split_words("It isn't Hitchcock's best -- (but close), is it?")
    ['it', 'is', "n't", 'hitchcock', "'s", 'best', '(', 'but', 'close', ')', ',', 'is', 'it', '?']
    >>> split_words("Größer, schöner"), split_words("Größer, schöner", "ascii")
    (['größer', ',', 'schöner'], ['gr', 'er', ',', 'sch', 'ner'])
    """
    if alphabet == "ascii":
        text = re.sub(r"[^A-Za-z0-9(),!?'`]", " ", text)
    else:
        text = unicodedata.normalize("NFC", text).translate(SEPARATORS)
    text = re.sub(r"'s|'ve|n't|'re|'d|'ll|[,!()?]", lambda found: f" {found[0]}" + " " * (len(found[0]) == 1), text)
    return text.lower().split()


@input_kind("words", reads=("text",))
@dataclass(frozen=True)
class Words(Symbols):
    """Numbers of words: 0 padding, 1 unknown, then the vocabulary, the most frequent word first.

    A text is `padding` zeros, its words and zeros up to `length`. align=start: what is too long is cut at its end, and
    zeros fill the end; align=end (Keras' pad_sequences): both happen at the start. `vectors` is a file of word vectors
    with which a network starts. `alphabet`: see `split_words`.
    """

    family: ClassVar[str] = "words"
    vocabulary: tuple[str, ...]
    length: int
    padding: int = 4
    align: str = "start"
    vectors: str | None = None
    alphabet: str = "unicode"

    def __post_init__(self) -> None:
        if self.length <= 2 * self.padding:
            expected = f"more than {2 * self.padding}, the padding of both ends"
            raise InputError("length of a text", expected=expected, got=self.length)
        if self.align not in ("start", "end"):
            raise InputError("align of words", expected="start or end", got=self.align)
        if self.alphabet not in ("unicode", "ascii"):
            raise InputError("alphabet of words", expected="unicode or ascii", got=self.alphabet)

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
        alphabet: str = "unicode",
    ) -> tuple[Tensor, Words, list[int]]:
        """The vocabulary of the training texts: words of rank `skip` + 1 to `keep` by frequency (all: None).

        Words of equal frequency stand in the order of the alphabet. Others, those skipped too, are the unknown word, as
        with num_words and skip_top of Keras. `length` is by default that of the longest training text with `padding`
        (Kim: 4, one less than the widest filter) at both ends. `vectors`: see `read_vectors`,
        `alphabet`: `split_words`.
        """
        if keep is not None and not 0 <= skip < keep:
            raise InputError("skip of words", expected=f"0 to {keep - 1}, below keep", got=skip)
        texts = [split_words(text, alphabet) for text in raw]
        empty = [place for place, words in enumerate(texts) if not words]
        train = [texts[place] for place in reading.train(empty if reading.skip_corrupt else [])]
        counts = Counter(word for words in train for word in words)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        longest = length or max(map(len, train), default=1) + 2 * padding
        fitted = cls(tuple(ranked[skip:keep]), longest, padding, align, vectors, alphabet)
        stored, corrupt = fitted.store(raw, reading)
        return stored, fitted, corrupt

    @property
    def shape(self) -> tuple[int, ...]:
        """(length,)."""
        return (self.length,)

    @property
    def channels(self) -> int:
        """The number of different numbers: the vocabulary, padding and unknown."""
        return len(self.vocabulary) + 2

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary, 2)}

    def number(self, entry: Entry) -> Tensor:
        """Int32[length]."""
        found = [self._numbers.get(word, UNKNOWN) for word in split_words(entry.value, self.alphabet)]
        if not found:
            raise InputError("a text without words", where=entry.where, got=repr(entry.value[:40]), fix="Remove it.")
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

    def changes(self, text: str) -> Sequence[str]:
        """Longer texts are cut; with the alphabet `ascii`, letters outside it are lost."""
        room = self.length - 2 * self.padding
        end = "end" if self.align == "start" else "start"
        # As many words as letters, at most: most texts need not be split.
        long = len(text) > room < len(split_words(text, self.alphabet))
        lost = self.alphabet == "ascii" and any(letter.isalnum() and not letter.isascii() for letter in text)
        return [
            *[f"are cut to {room} words at their {end}"] * long,
            *["have letters outside ASCII, read as blanks (alphabet=unicode keeps them)"] * lost,
        ]

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
        return cls(length or 1014).fitted(raw, reading)

    @property
    def shape(self) -> tuple[int, ...]:
        """(70, length)."""
        return (self.channels, self.length)

    @property
    def channels(self) -> int:
        """70."""
        return len(ALPHABET)

    def number(self, entry: Entry) -> Tensor:
        """UInt8[length]; 70 is no character."""
        text: str = entry.value
        if not text.strip():
            raise InputError("a text without characters", where=entry.where, got=repr(text[:40]), fix="Remove it.")
        places = {letter: place for place, letter in enumerate(ALPHABET)}
        row = np.full(self.length, len(ALPHABET), np.uint8)
        found = [places.get(letter, len(ALPHABET)) for letter in reversed(text.lower())][: self.length]
        row[: len(found)] = found
        return torch.from_numpy(row)

    def letters(self, stored: Tensor) -> list[str]:
        """Characters, the text's last one first; "·" for others."""
        return [(*ALPHABET, "·")[number] for number in stored.tolist()]

    def changes(self, text: str) -> Sequence[str]:
        """Longer texts are cut, letters outside the alphabet are lost."""
        cut = [f"are cut to their last {self.length} characters"] * (len(text) > self.length)
        return cut + ["have characters outside the alphabet, read as none"] * (not LETTERS.issuperset(text.lower()))

    def units(self, stored: Tensor) -> Tensor:
        """Float[n 70 length]."""
        return one_hot(stored, torch.cat([torch.eye(len(ALPHABET)), torch.zeros(1, len(ALPHABET))]))


def one_hot(stored: Tensor, columns: Tensor) -> Tensor:
    """Numbers (n, length) -> the columns (numbers, c) that they mean, (n, c, length)."""
    return columns.to(stored.device)[stored.int()].transpose(1, 2).contiguous()
