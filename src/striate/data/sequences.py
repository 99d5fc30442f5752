"""Files of DNA and RNA, and shuffles of sequences that keep every pair of neighbors."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

FASTA_ENDINGS = (".fa", ".fasta", ".fna", ".fas")


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file, plain or gzip, without their ends (newline, or carriage return and newline).

    Raises InputError for a file that cannot be opened or unpacked, and for bytes that are no text of `encoding`.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("cannot read a file", where=path, got=f"{error}") from None
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fix = f"Save it as {encoding.upper()}."
        raise InputError("this is no text", where=f"{path}, line {line}", expected=encoding, fix=fix) from None
    # Not splitlines(): a form feed or a next-line character inside a sentence ends no line.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def is_fasta(path: Path) -> bool:
    """Whether a file's name says FASTA, packed or not."""
    return path.name.lower().removesuffix(".gz").endswith(FASTA_ENDINGS)


def read_fasta(path: Path) -> dict[str, str]:
    """Name -> sequence of a FASTA file, plain or gzip; the name is the header's first word.

    Letters are given as they stand. Raises InputError for text before the first header, an empty sequence, a header
    without a name and a name that comes twice, each with its line.
    """
    parts: dict[str, list[str]] = {}
    begins: dict[str, int] = {}
    name = ""
    for number, line in enumerate(map(str.strip, read_lines(path)), 1):
        if line.startswith(">"):
            name = (line[1:].split() or [""])[0]
            where = f"{path}, line {number}"
            if not name:
                raise InputError("a sequence without a name", where=where, expected=">NAME")
            if name in parts:
                fix = f"The first is in line {begins[name]}: rename one."
                raise InputError("two sequences have one name", where=where, got=name, fix=fix)
            parts[name], begins[name] = [], number
        elif line and not name:
            raise InputError("this is no FASTA file", where=f"{path}, line {number}", expected=">NAME", got=line[:40])
        elif line:
            parts[name].append(line)
    if not parts:
        raise InputError("a FASTA file without sequences", where=path, expected=">NAME and its letters")
    for name, found in parts.items():
        if not found:
            raise InputError("a sequence without letters", where=f"{path}, line {begins[name]}", got=name)
    return {name: "".join(found) for name, found in parts.items()}


def read_seq(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], npt.NDArray[np.int64]]:
    """Names, sequences and labels (1 bound, 0 not) of a `.seq` file of DeepBind's, plain or gzip.

    Tab-separated with a header FoldID, EventID, seq, Bound. Raises InputError for another header, a row of another
    number of fields, an empty sequence and a label other than 0 and 1, with the line.
    """
    lines = read_lines(path)
    header = ["FoldID", "EventID", "seq", "Bound"]
    if not lines or lines[0].split("\t") != header:
        got = lines[0][:60] if lines else "an empty file"
        raise InputError("this is no .seq file", where=path, expected=", ".join(header), got=got)
    names, sequences, labels = [], [], []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(header) or fields[3] not in ("0", "1") or not fields[2]:
            expected = "fold, event, sequence, 0 or 1, with tabs between"
            raise InputError("a row of a .seq file", where=f"{path}, line {number}", expected=expected, got=line[:60])
        names.append(fields[1])
        sequences.append(fields[2])
        labels.append(int(fields[3]))
    if not names:
        raise InputError("a .seq file without sequences", where=path)
    return tuple(names), tuple(sequences), np.array(labels)


def shuffle_pairs(sequences: Sequence[str], seed: int = 0) -> list[str]:
    """Each sequence shuffled so that it keeps its first and last letter and how often each pair of neighbors stands.

    The letters are places and the pairs are steps from one to the next, so a shuffle is another walk over the same
    steps; each of them is equally likely. Random orders of the steps that leave each place are such a walk exactly if
    the last steps lead from every place to the last letter; other orders are drawn again.
    Source: Altschul & Erickson 1985, "Significance of nucleotide sequence alignments", dinucleotide shuffling.

    >>> shuffle_pairs(["ACGACTACGGT"], seed=1)
    ['ACGTACGGACT']
    """
    shuffled = [""] * len(sequences)
    by_length: dict[int, list[int]] = {}
    for place, sequence in enumerate(sequences):
        by_length.setdefault(len(sequence), []).append(place)
    for length, places in by_length.items():
        if length < 3:
            mixed = [sequences[place] for place in places]
        else:
            letters = np.array([list(sequences[place]) for place in places])
            alphabet, codes = np.unique(letters, return_inverse=True)
            walks = _walk(codes.reshape(letters.shape), len(alphabet), np.random.default_rng((seed, length)))
            mixed = ["".join(row) for row in alphabet[walks].tolist()]
        for place, text in zip(places, mixed, strict=True):
            shuffled[place] = text
    return shuffled


def _walk(codes: npt.NDArray[np.int64], letters: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A random walk over the steps of each row of codes (n, length), all rows at once."""
    n, length = codes.shape
    order = _orders(codes, letters, rng)
    steps = np.take_along_axis(codes[:, 1:], order, 1)  # sorted by the letter that they leave
    begin = np.zeros((n, letters), np.int64)
    for letter in range(1, letters):
        begin[:, letter] = begin[:, letter - 1] + (codes[:, :-1] == letter - 1).sum(1)
    rows = np.arange(n)
    walks = np.empty_like(codes)
    walks[:, 0] = codes[:, 0]
    for i in range(1, length):
        here = walks[:, i - 1]
        walks[:, i] = steps[rows, begin[rows, here]]
        begin[rows, here] += 1
    return walks


def _orders(codes: npt.NDArray[np.int64], letters: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Positions of the steps by the letter that they leave, in random order, such that a walk uses all of them."""
    source, end = codes[:, :-1], codes[:, -1]
    order = np.empty_like(source)
    left = np.arange(len(codes))
    while len(left):
        keys = source[left] + rng.random(source[left].shape)
        drawn = np.argsort(keys, axis=1)
        order[left] = drawn
        left = left[~_all_lead_to(np.take_along_axis(codes[left, 1:], drawn, 1), source[left], end[left], letters)]
    return order


def _all_lead_to(
    steps: npt.NDArray[np.int64], source: npt.NDArray[np.int64], end: npt.NDArray[np.int64], letters: int
) -> npt.NDArray[np.bool_]:
    """Whether the last steps from each letter (`steps` sorted by the letter they leave) lead to `end` in the end."""
    rows = np.arange(len(steps))
    counts = np.stack([(source == letter).sum(1) for letter in range(letters)], 1)
    last = np.take_along_axis(steps, np.maximum(counts.cumsum(1) - 1, 0), 1)
    there = np.tile(np.arange(letters), (len(steps), 1))
    last = np.where(counts > 0, last, end[:, None])  # a letter that is not left is the end, or is not there
    last[rows, end] = end
    for _ in range(letters):
        there = np.take_along_axis(last, there, 1)
    return np.asarray((there == end[:, None]).all(1))
