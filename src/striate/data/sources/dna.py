"""Sources of DNA and RNA: ChIP-seq peaks of DeepBind's, and FASTA files with labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from striate.data.items import Listing, Meaning
from striate.data.sequences import FASTA_ENDINGS, is_fasta, read_fasta, read_lines, read_seq, shuffle_pairs
from striate.data.sources.registry import source
from striate.data.sources.text import parts_of
from striate.data.splits import consecutive
from striate.errors import InputError

UNKNOWN = math.nan  # the label of a sequence that was not measured
# What each sequence is called, its letters, and its label for each factor.
Rows = list[tuple[str, str, tuple[float, ...]]]


@source("chip", kind="sequences", inputs="bases")
def chip(path: Path) -> Listing:
    """Binding to DNA: PATH is a factor's FACTOR_..._AC.seq.gz, or a folder with several, each beside its _B.seq.gz.

    AC (the training part) holds peaks only; an unbound sequence for each is its shuffle that keeps pairs of neighbors
    (`shuffle_pairs`), the same in every reading. B is the test part, as it stands. With several factors each is a
    label, and a sequence is labeled for the factor of its file alone: whether others bind there was not measured, so
    their labels are unknown, which neither training nor scores count.
    Source: Alipanahi et al. 2015, ENCODE ChIP-seq of its supplement.
    """
    files = sorted(path.glob("*_AC.seq*")) if path.is_dir() else [path]
    if not files or "_AC.seq" not in files[0].name:
        fix = "Pass a factor's training file, or the folder of several."
        raise InputError("no ChIP-seq training sequences", where=path, expected="FACTOR_..._AC.seq.gz", fix=fix)
    factors = [file.name.partition("_")[0] for file in files]
    if len(set(factors)) < len(factors):
        twice = next(name for name in factors if factors.count(name) > 1)
        raise InputError("two experiments of one factor", where=path, got=twice, fix="Pass the file of one.")
    parts: dict[str, Rows] = {"train": [], "test": []}
    for number, file in enumerate(files):
        held = file.with_name(file.name.replace("_AC.seq", "_B.seq"))
        if not held.is_file():
            raise InputError("no test sequences of a factor", where=held, expected="a file beside the training one")
        for part, found in (("train", file), ("test", held)):
            names, sequences, labels = read_seq(found)
            rows = [
                (f"{found}, {name}", sequence, float(label))
                for name, sequence, label in zip(names, sequences, labels.tolist(), strict=True)
            ]
            if part == "train":
                rows += _shuffled([row for row in rows if row[2] == 1], when=not (labels == 0).any())
            parts[part] += [(name, sequence, _only(number, label, len(files))) for name, sequence, label in rows]
    return _listing(parts, factors)


@source("fasta", kind="sequences", inputs="bases")
def fasta(path: Path) -> Listing:
    """DNA or RNA of your own: PATH is a FASTA file beside a table of labels, or a folder of positives and negatives.

    A file NAME.fa (.fasta, .fna; may be packed with gzip) stands beside NAME.tsv: a header "name, label, ..." with tabs
    between, then a line a sequence with 1, 0 or nothing (unknown) for each label. A folder holds positives.fa and
    negatives.fa (or such folders train, test and validation); the one label is "bound". Without negatives.fa they are
    shuffles of the positives that keep pairs of neighbors.
    """
    if path.is_file():
        labels, rows = _labeled(path)
        return _listing({"train": rows}, labels)
    return _listing({part: _two_files(found) for part, found in parts_of(path).items()}, ["bound"])


def _only(number: int, label: float, count: int) -> tuple[float, ...]:
    """The label of one factor, those of the others unknown."""
    return tuple(label if i == number else UNKNOWN for i in range(count))


def _shuffled(rows: Sequence[tuple[str, str, float]], when: bool) -> list[tuple[str, str, float]]:
    if not when:
        return []
    shuffles = shuffle_pairs([sequence for _, sequence, _ in rows])
    return [(f"{name}, shuffled", text, 0.0) for (name, _, _), text in zip(rows, shuffles, strict=True)]


def _two_files(folder: Path) -> Rows:
    bound = _find(folder, "positives")
    if bound is None:
        fix = "Or pass a FASTA file that stands beside a table of labels."
        raise InputError("no positive sequences", where=folder, expected="positives.fa", fix=fix)
    rows = [(f"{bound}, {name}", text, 1.0) for name, text in read_fasta(bound).items()]
    others = _find(folder, "negatives")
    if others is None:
        rows += _shuffled(rows, when=True)
    else:
        rows += [(f"{others}, {name}", text, 0.0) for name, text in read_fasta(others).items()]
    return [(name, text, (label,)) for name, text, label in rows]


def _find(folder: Path, stem: str) -> Path | None:
    files = (folder / f"{stem}{ending}{packed}" for ending in FASTA_ENDINGS for packed in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)


def _labeled(path: Path) -> tuple[list[str], Rows]:
    if not is_fasta(path):
        raise InputError("this is no FASTA file", where=path, expected="NAME.fa, NAME.fasta or NAME.fna (.gz)")
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    file = path.with_name(f"{stem}.tsv")
    if not file.is_file():
        fix = "Write a line for each sequence: name, tab, 1 or 0; and a header: name, tab, the label's name."
        raise InputError("no table of labels", where=file, fix=fix)
    labels, table = _read_table(file)
    sequences = read_fasta(path)
    for what, missing in (
        ("sequences without labels", [name for name in sequences if name not in table]),
        ("labels without a sequence", [name for name in table if name not in sequences]),
    ):
        if missing:
            some = ", ".join(missing[:3]) + ", …" * (len(missing) > 3)
            raise InputError(what, where=file, got=f"{len(missing)} ({some})", fix="Give each sequence a line.")
    return labels, [(f"{path}, {name}", text, table[name]) for name, text in sequences.items()]


def _read_table(path: Path) -> tuple[list[str], Mapping[str, tuple[float, ...]]]:
    """Names of the labels, and the labels of each sequence."""
    lines = read_lines(path)
    labels = lines[0].split("\t")[1:] if lines else []
    if not labels or "0" in labels or "1" in labels:
        expected = "a header: name, then the labels' names, tabs between"
        raise InputError("a table of labels", where=f"{path}, line 1", expected=expected, got=repr(lines[:1])[:60])
    table: dict[str, tuple[float, ...]] = {}
    for number, line in enumerate(lines[1:], 2):
        name, *fields = line.split("\t")
        where = f"{path}, line {number}"
        if len(fields) != len(labels) or not set(fields) <= {"0", "1", ""}:
            expected = f"a name and {len(labels)} times 1, 0 or nothing, tabs between"
            raise InputError("a row of labels", where=where, expected=expected, got=repr(line[:60]))
        if name in table:
            raise InputError("a sequence is labeled twice", where=where, got=name, fix="Remove one line.")
        table[name] = tuple(float(field) if field else UNKNOWN for field in fields)
    return labels, table


def _listing(parts: Mapping[str, Rows], labels: Sequence[str]) -> Listing:
    """The rows of all parts; InputError for a label that has no positive or no negative in training."""
    rows = [row for part in parts.values() for row in part]
    targets = torch.tensor([row[2] for row in rows], dtype=torch.float32)
    splits = consecutive({part: len(found) for part, found in parts.items()})
    train = targets[torch.from_numpy(splits["train"])]
    for number, name in enumerate(labels):
        for value, what in ((1, "positive"), (0, "negative")):
            if not (train[:, number] == value).any():
                raise InputError(f"a label without a {what} training sequence", where=name, expected="at least one")
    names = tuple(row[0] for row in rows)
    return Listing(tuple(row[1] for row in rows), targets, Meaning("labels", tuple(labels)), names, splits)
