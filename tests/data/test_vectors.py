"""Word vectors in each of the formats that are in use."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from striate.data.vectors import read_vectors
from striate.errors import InputError

WORDS = ["the", "film", "café", "a b"]
VALUES = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


def text(count: int = 4) -> str:
    rows = zip(WORDS[:count], VALUES, strict=False)
    return "".join(f"{word} {' '.join(f'{v:.9g}' for v in row)}\n" for word, row in rows)


def binary(end: bytes) -> bytes:
    rows = zip(WORDS[:3], VALUES, strict=False)
    return b"3 5\n" + b"".join(word.encode() + b" " + row.tobytes() + end for word, row in rows)


FILES = {
    "glove": text().encode(),
    "word2vec text": b"4 5\n" + text().encode(),
    "word2vec binary": binary(b""),
    "word2vec binary with new lines": binary(b"\n"),
    "packed": gzip.compress(binary(b"")),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_wanted_words_are_read_exactly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "vectors"
    path.write_bytes(FILES[kind])
    found = read_vectors(path, {"film", "café", "unseen"})
    assert set(found) == {"film", "café"}
    for word, vector in found.items():
        assert vector.dtype == np.float32
        np.testing.assert_array_equal(vector, VALUES[WORDS.index(word)])


def test_a_word_may_have_blanks_in_text(tmp_path: Path) -> None:
    (tmp_path / "v").write_text(text())
    np.testing.assert_array_equal(read_vectors(tmp_path / "v", {"a b"})["a b"], VALUES[3])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "this is no file of word vectors: .*line 1: expected a word and its numbers; word2vec"),
        (b"only\n", "this is no file of word vectors: .*line 1"),
        (text().encode() + b"odd 1 2\n", "this is no file of word vectors: .*line 5: expected a word and 5 numbers"),
        (b"4 5\n" + text(2).encode() + b"odd 1 2 3 x 5\n", "this is no file of word vectors: .*line 4"),
        (binary(b"")[:-3], "a file of word vectors ends early: .*expected 3 words, got 2 whole ones"),
        (b"\x1f\x8bbroken", "cannot read word vectors: .*got"),
        (b"other 1 2\n", "no word of the vocabulary has a vector"),
    ],
)
def test_errors(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "v").write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_vectors(tmp_path / "v", {"film2" if b"other" in data else "film"})
