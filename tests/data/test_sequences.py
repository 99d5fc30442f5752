"""Files of DNA, and shuffles that keep pairs of neighbors."""

from __future__ import annotations

import gzip
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from striate.data.sequences import is_fasta, read_fasta, read_lines, read_seq, shuffle_pairs
from striate.errors import InputError


def pairs(text: str) -> Counter[tuple[str, str]]:
    return Counter(itertools.pairwise(text))


@given(st.lists(st.text("ACGTN", min_size=0, max_size=30), min_size=1, max_size=6), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_shuffle_keeps_its_pairs_and_its_ends(texts: list[str], seed: int) -> None:
    shuffled = shuffle_pairs(texts, seed)
    assert shuffled == shuffle_pairs(texts, seed)
    for text, mixed in zip(texts, shuffled, strict=True):
        assert pairs(mixed) == pairs(text)
        assert (mixed[:1], mixed[-1:]) == (text[:1], text[-1:])


@pytest.mark.parametrize("text", ["AACGATCGA", "ACACGATCA", "TTGATGTAT"])
def test_each_sequence_with_the_pairs_is_equally_likely(text: str) -> None:
    """All of them, found by trying every permutation."""
    possible = {
        "".join(p) for p in itertools.permutations(text) if p[0] == text[0] and pairs("".join(p)) == pairs(text)
    }
    counts = Counter(shuffle_pairs([text] * 6000, seed=3))
    assert set(counts) == possible
    assert len(possible) > 5
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_a_plain_shuffle_would_not_pass() -> None:
    mixed = "".join(np.random.default_rng(0).permutation(list("AACGATACGAGCTTAC")))
    assert pairs(mixed) != pairs("AACGATACGAGCTTAC")


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_fasta_names_are_the_first_words_and_lines_are_joined(tmp_path: Path) -> None:
    text = ">a first one\r\nACG\r\nTTn\r\n\r\n>b\r\nGG\r\n"
    expected = {"a": "ACGTTn", "b": "GG"}
    assert read_fasta(write(tmp_path / "a.fa", text)) == expected
    assert read_fasta(write(tmp_path / "a.fasta.gz", gzip.compress(text.encode()))) == expected
    assert [is_fasta(Path(name)) for name in ("a.FA", "a.fna.gz", "a.tsv", "fa")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ACGT\n", r"this is no FASTA file: .*a.fa, line 1: expected >NAME, got ACGT"),
        (">a\nAC\n>\nAC\n", r"a sequence without a name: .*line 3: expected >NAME"),
        (">a\nAC\n>a\nAC\n", r"two sequences have one name: .*line 3: got a. The first is in line 1"),
        (">a\n>b\nAC\n", r"a sequence without letters: .*line 1: got a"),
        ("\n", "a FASTA file without sequences: .*a.fa"),
        (b">a\nA\xff\n", r"this is no text: .*a.fa, line 2: expected utf-8. Save it as UTF-8"),
        (b"\x1f\x8bbroken", "cannot read a file: .*a.fa: got"),
    ],
)
def test_errors_of_fasta_files(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_fasta(write(tmp_path / "a.fa", text))


HEAD = "FoldID\tEventID\tseq\tBound\n"


def test_seq_files(tmp_path: Path) -> None:
    names, sequences, labels = read_seq(write(tmp_path / "a.seq", HEAD + "A\tone\tACG\t1\nA\ttwo\tGCA\t0\n"))
    assert (names, sequences, labels.tolist()) == (("one", "two"), ("ACG", "GCA"), [1, 0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "this is no .seq file: .*expected FoldID, EventID, seq, Bound, got an empty file"),
        ("seq\tBound\n", "this is no .seq file: .*got seq"),
        (HEAD, "a .seq file without sequences"),
        (HEAD + "A\tone\tACG\t1\nA\ttwo\tACG\n", r"a row of a .seq file: .*line 3: expected fold, event, sequence"),
        (HEAD + "A\tone\tACG\t2\n", r"a row of a .seq file: .*line 2"),
        (HEAD + "A\tone\t\t1\n", r"a row of a .seq file: .*line 2"),
    ],
)
def test_errors_of_seq_files(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_seq(write(tmp_path / "a.seq", text))


def test_only_new_lines_end_lines(tmp_path: Path) -> None:
    """Latin-1 text may hold the byte 0x85, which str.splitlines takes for the end of a line."""
    assert read_lines(write(tmp_path / "a", b"one\x85 and\x0c more\r\ntwo"), "latin-1") == [
        "one\x85 and\x0c more",
        "two",
    ]
    assert read_lines(write(tmp_path / "a", b"")) == []
