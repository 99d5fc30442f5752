"""Files of word vectors: word2vec (binary and text) and GloVe (text)."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

Vector = npt.NDArray[np.float32]
FORMATS = "word2vec (binary or text) or GloVe (text)"


def read_vectors(path: Path, words: Collection[str]) -> dict[str, Vector]:
    """The vectors of those `words` that the file has; it may be packed with gzip.

        word2vec, text     a line with the number of words and of values, then a line for each word: word v1 v2 ...
        word2vec, binary   the same line, then for each word: its letters, a blank, float32 values
        GloVe              as the text form, without the first line

    Only the vectors that are wanted are kept, so a file of gigabytes needs little memory. Raises InputError for a file
    that is none of these or ends early (with the line or word), and where it has none of the words.
    Source: Mikolov et al. 2013 (word2vec); Pennington et al. 2014 (GloVe).
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            wanted = set(words)
            found = {word: vector for word, vector in _entries(file, path) if word in wanted}
    except (OSError, EOFError) as error:
        raise InputError("cannot read word vectors", where=path, got=f"{error}") from None
    if not found:
        fix = "Words are compared in lower case: is this a file of the texts' language?"
        raise InputError("no word of the vocabulary has a vector", where=path, fix=fix)
    return found


def _entries(file: BufferedIOBase, path: Path) -> Iterator[tuple[str, Vector]]:
    """Each word and its vector."""
    first = file.readline()
    header = first.split()
    if len(header) == 2 and all(field.isdigit() for field in header):
        count, size = map(int, header)
        begin = file.read(4096)
        file.seek(len(first))
        if not _is_text(begin, size):
            yield from _binary(file, path, count, size)
            return
    else:
        yield _line(first, path, 1, None)
        size = len(header) - 1
    for number, line in enumerate(file, 2):
        if line.strip():
            yield _line(line, path, number, size)


def _is_text(begin: bytes, size: int) -> bool:
    """Whether the bytes after the header are a line of a word and `size` numbers (or the beginning of one)."""
    fields = begin.split(b"\n")[0].split(b" ")[1 : size + 1]
    try:
        [float(field) for field in (fields if b"\n" in begin else fields[:-1])]
    except ValueError:
        return False
    return len(fields) > 0 and all(byte < 128 for field in fields for byte in field)


def _line(line: bytes, path: Path, number: int, size: int | None) -> tuple[str, Vector]:
    """One line of text; a word may itself have blanks in it (GloVe's 840B file)."""
    fields = line.decode("utf-8", "replace").rstrip().split(" ")
    values = fields[1:] if size is None else fields[len(fields) - size :]
    try:
        vector = np.array(values, dtype=np.float32)
        if not len(vector) or (size is not None and len(fields) <= size):
            raise ValueError
    except ValueError:
        expected = f"a word and {size or 'its'} numbers"
        raise InputError(
            "this is no file of word vectors", where=f"{path}, line {number}", expected=f"{expected}; {FORMATS}",
            got=repr(" ".join(fields)[:40]),
        ) from None  # fmt: skip
    return " ".join(fields[: len(fields) - len(values)]), vector


def _binary(file: BufferedIOBase, path: Path, count: int, size: int) -> Iterator[tuple[str, Vector]]:
    for number in range(1, count + 1):
        word = bytearray()
        while (letter := file.read(1)) not in (b" ", b""):
            word += letter
        data = file.read(4 * size)
        if len(data) < 4 * size:
            got = f"{number - 1} whole ones"
            raise InputError("a file of word vectors ends early", where=path, expected=f"{count} words", got=got)
        # Some writers end each vector with a new line, which then stands before the next word.
        yield word.lstrip(b"\n").decode("utf-8", "replace"), np.frombuffer(data, "<f4").astype(np.float32)
