"""Words, characters and bases as inputs."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate import zoo
from striate.data import Bases, Characters, Reading, Words, read_input
from striate.data.bases import numbers_of
from striate.data.items import Entry
from striate.data.symbols import ALPHABET, split_words
from striate.errors import InputError


def reading(count: int, **options: object) -> Reading:
    """All items train."""

    def train(corrupt: list[int]) -> np.ndarray:
        return np.setdiff1d(np.arange(count), corrupt)

    return Reading("here", train, **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I'd've said he'll, they're", "i 'd 've said he 'll , they 're"),
        ("can't we? (no!)", "ca n't we ? ( no ! )"),
        ('the "rock" -- 21st/century\'s', "the rock 21st century 's"),
        ("`quoted'  a\tb\n", "`quoted' a b"),
    ],
)
def test_words_by_kims_rules(text: str, words: str) -> None:
    assert split_words(text) == split_words(text, "ascii") == words.split()


def test_words_of_any_script_keep_their_letters() -> None:
    """Python's own split is the other way to cut these texts, which have blanks between words and nothing else."""
    text = "größer schöne Škoda ВОЙНА мир हिन्दी ไทย ١٢٣ ναί"
    assert split_words(text) == text.lower().split()
    assert split_words("Donau\u00addampf क\u200d्ष می\u200cخواهم a\u200bb") == [
        "donaudampf", "क\u200d्ष", "می\u200cخواهم", "a", "b",
    ]  # fmt: skip
    assert split_words("cafe\u0301 — isn’t «déjà»") == ["café", "is", "n't", "déjà"]
    assert Words.fit((text,), reading(1))[1].vocabulary == tuple(sorted(text.lower().split()))
    assert Words.fit(("größer",), reading(1), alphabet="ascii")[1].vocabulary == ("er", "gr")


def test_movie_reviews_have_the_vocabulary_of_the_paper(shared_data: Path) -> None:
    """Kim 2014, table 1: 18,765 words, 20 a sentence on average; the longest has 56 (the author's code)."""
    files = (shared_data / "rt-polarity" / f"rt-polarity.{end}" for end in ("pos", "neg"))
    texts = [split_words(line, "ascii") for file in files for line in file.read_text("latin-1").splitlines()]
    assert len({word for text in texts for word in text}) == 18_765
    assert round(sum(map(len, texts)) / len(texts)) == 20
    assert max(map(len, texts)) == 56


TEXTS = ("b a a c", "a b d", "e e e e e e f")  # the last one does not train


def fit_words(**options: object) -> tuple[torch.Tensor, Words]:
    few = Reading("here", lambda _: np.array([0, 1]))
    stored, fitted, corrupt = Words.fit(TEXTS, few, **options)
    assert corrupt == []
    return stored, fitted


def test_the_vocabulary_is_that_of_the_training_part_by_frequency() -> None:
    stored, words = fit_words(padding=1)
    assert words.vocabulary == ("a", "b", "c", "d")  # a 3 times, b 2; c and d in the order of the alphabet
    assert (words.shape, words.channels) == ((6,), 6)
    assert stored.tolist() == [[0, 3, 2, 2, 4, 0], [0, 2, 3, 5, 0, 0], [0, 1, 1, 1, 1, 0]]  # too long: cut at its end
    assert stored.dtype == torch.int32
    assert words.units(stored).dtype == torch.int64


def test_keep_and_skip_are_ranks() -> None:
    assert fit_words(keep=3, skip=1, padding=0)[1].vocabulary == ("b", "c")
    assert fit_words(keep=3, skip=1, padding=0)[0][0].tolist() == [2, 1, 1, 3]


def test_words_at_the_end_as_keras_pads() -> None:
    stored, _ = fit_words(padding=0, length=5, align="end")
    assert stored.tolist() == [[0, 3, 2, 2, 4], [0, 0, 2, 3, 5], [1, 1, 1, 1, 1]]


def test_words_of_a_kim_net_pass_through_it() -> None:
    stored, words = fit_words()
    net = zoo.build("text_cnn", in_channels=words.channels, width=0.1, vector=8)
    assert net(words.normalize(stored)).shape == (3, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": 5, "skip": 5}, "skip of words: expected 0 to 4, below keep, got 5"),
        ({"length": 8}, "length of a text: expected more than 8, the padding of both ends, got 8"),
        ({"align": "middle"}, "align of words: expected start or end, got middle"),
        ({"alphabet": "greek"}, "alphabet of words: expected unicode or ascii, got greek"),
    ],
)
def test_errors_of_words(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit_words(**options)


@pytest.mark.parametrize("form", [Words, Characters])
def test_an_empty_text_is_named_or_left_out(form: type[Words] | type[Characters]) -> None:
    texts, names = ("good film", " ", "bad"), ("a.txt, line 1", "a.txt, line 2", "a.txt, line 3")
    with pytest.raises(InputError, match=r"a text without (words|characters): a.txt, line 2: got ' '. Remove it."):
        form.fit(texts, reading(3, names=names))
    stored, _, corrupt = form.fit(texts, reading(3, names=names, skip_corrupt=True))
    assert corrupt == [1]
    assert len(stored) == 3
    with pytest.raises(InputError, match="no text can be read: here"):
        form.fit((" ",), reading(1, skip_corrupt=True))


def test_what_is_no_text() -> None:
    with pytest.raises(InputError, match="an item is no text: expected str, got int"):
        Characters(5).read(7)


def test_characters_stand_backwards() -> None:
    """Zhang 2015, section 2.2: 70 characters, quantized from the last one on; others are zeros."""
    assert len(ALPHABET) == 70
    assert len(set(ALPHABET)) == 69  # the hyphen stands twice, as printed
    characters = Characters(6)
    one_hot = characters("Ab é-")
    assert one_hot.shape == characters.shape == (70, 6)
    assert one_hot.sum(0).tolist() == [1, 0, 0, 1, 1, 0]
    assert [ALPHABET[i] for i in one_hot.argmax(0)[[0, 3, 4]].tolist()] == ["-", "b", "a"]
    assert characters("xyzabcdef").argmax(0).tolist() == [ALPHABET.index(c) for c in "fedcba"]  # the last six
    assert Characters.fit(("abc",), reading(1))[1].length == 1014
    with pytest.raises(InputError, match="length of a text: expected at least 1, got 0"):
        Characters.fit(("abc",), reading(1), length=0)


@given(st.text("ACGTUNacgtun", min_size=1, max_size=40))
@settings(deadline=None)
def test_bases_one_by_one(text: str) -> None:
    columns = Bases(len(text))(text)
    for letter, column in zip(text.upper().replace("U", "T"), columns.T, strict=True):
        expected = [0.25] * 4 if letter == "N" else [float(letter == base) for base in "ACGT"]
        assert column.tolist() == expected


def test_unknown_bases_and_lower_case() -> None:
    assert Bases(2, unknown=0.0)("aN").tolist() == [[1, 0], [0, 0], [0, 0], [0, 0]]
    assert Bases(2, case="mask").read("aC").tolist() == [4, 1]
    assert Bases(2).read("aC").tolist() == [0, 1]
    with pytest.raises(
        InputError, match=r"a letter that is no base: 'Ca', position 2: expected capitals, got 'a'. Write"
    ):
        Bases(2, case="upper").read("Ca")


@pytest.mark.parametrize(("length", "text"), [(2, "CG"), (3, "ACG"), (5, "ACGTN"), (6, "NACGTN"), (7, "NACGTNN")])
def test_another_length_is_cut_or_filled_at_both_ends(length: int, text: str) -> None:
    _, bases, _ = Bases.fit(("ACGTN"[:4],), reading(1), length=length)
    assert bases.read("ACGT").tolist() == [*numbers_of(text)]


def test_unequal_lengths_are_an_error_unless_a_length_is_asked_for() -> None:
    said = (
        r"sequences of unequal lengths: s.fa, two: expected 4, got 3. Fill .* --inputs bases:length=4 .*--skip-corrupt"
    )
    with pytest.raises(InputError, match=said):
        Bases.fit(("ACGT", "ACG"), reading(2, names=("s.fa, one", "s.fa, two")))
    stored, _, _ = Bases.fit(("ACGT", "ACG"), reading(2), length=4)
    assert stored.tolist() == [[0, 1, 2, 3], [0, 1, 2, 4]]


@pytest.mark.parametrize(("text", "position", "letter"), [("ACGR", 4, "R"), ("-CGT", 1, "-"), ("AÀGT", 2, "À")])
def test_another_letter_is_named_with_its_sequence_and_position(text: str, position: int, letter: str) -> None:
    said = f"a letter that is no base: s.fa, two, position {position}: expected A, C, G, T .* and N, got '{letter}'"
    with pytest.raises(InputError, match=said):
        Bases.fit(("ACGT", text), reading(2, names=("s.fa, one", "s.fa, two")))
    _, _, corrupt = Bases.fit(("ACGT", text), reading(2, skip_corrupt=True))
    assert corrupt == [1]
    with pytest.raises(InputError, match="a sequence without letters: here"):
        numbers_of("", "here")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 0}, "length of a sequence: expected at least 1, got 0"),
        ({"length": 5, "case": "lower"}, "case of bases: expected any, mask or upper, got lower"),
        ({"length": 5, "unknown": 2.0}, "value of unknown bases: expected 0 to 1, got 2.0"),
    ],
)
def test_errors_of_bases(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Bases(**options)


@pytest.mark.parametrize(
    "form", [Words(("a", "b"), 9, vectors="v.txt"), Characters(20), Bases(7, 0.0, "mask", True)], ids=repr
)
def test_kinds_of_input_go_to_a_card_and_back(form: Words | Characters | Bases) -> None:
    assert read_input(form.json()) == form
    with pytest.raises(InputError, match="a stored input of"):
        type(form).from_json({"kind": "words", "size": 3})


def test_a_file_holds_a_text_a_line_or_its_sequences(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good\nbad\n")
    (tmp_path / "a.fa.gz").write_bytes(gzip.compress(b">one\nAC\n>two\nGT\n"))
    (tmp_path / "a.seq").write_text("FoldID\tEventID\tseq\tBound\nA\tp\tAC\t1\n")
    names = [f"{tmp_path / 'a.txt'}, line 1", f"{tmp_path / 'a.txt'}, line 2"]
    assert Characters(5).expand(tmp_path / "a.txt") == [
        (name, Entry(text, name)) for name, text in zip(names, ("good", "bad"), strict=True)
    ]
    assert [entry.value for _, entry in Bases(2).expand(tmp_path / "a.fa.gz")] == ["AC", "GT"]
    assert [name.rpartition(", ")[2] for name, _ in Bases(2).expand(tmp_path / "a.fa.gz")] == ["one", "two"]
    assert Bases(2).expand(tmp_path / "a.seq")[0][1].value == "AC"
    assert Bases(4).expand(tmp_path / "a.txt")[0][1].value == "good"


def test_a_window_knows_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">one\nACGTACGTRC\n>two\nacgtac\n")
    bases = Bases(4)
    windows = dict(bases.expand(tmp_path / "a.fa"))
    assert list(windows)[:2] == [f"{tmp_path}/a.fa, one:0-4", f"{tmp_path}/a.fa, one:2-6"]
    with pytest.raises(InputError, match=rf"a letter that is no base: {tmp_path}/a.fa, one, position 9: .*got 'R'"):
        bases.read(windows[f"{tmp_path}/a.fa, one:6-10"])
    assert bases.notes(list(windows.values())) == ("1 of 2 items have letters in lower case, read as capitals",)


def test_word_vectors_start_a_network(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("a 1 2 3\nelse 4 5 6\n")
    words = Words(("a", "b"), 9, vectors=str(tmp_path / "v.txt"))
    for mode, channels in (("static", 1), ("non-static", 1), ("multichannel", 2)):
        net = zoo.build("text_cnn", in_channels=4, vector=3, mode=mode)
        before = net.channels[0].weight.detach().clone()
        words.start(net)
        assert len(net.channels) == channels
        for channel in net.channels:
            assert channel.weight.tolist()[0] == [0, 0, 0]
            assert channel.weight.tolist()[2] == [1, 2, 3]
            torch.testing.assert_close(channel.weight[[1, 3]], before[[1, 3]])  # random, as they were
    Words(("a", "b"), 9).start(net)
    with pytest.raises(InputError, match=r"word vectors of another length: a: expected 4, got 3 numbers.*vector=3"):
        words.start(zoo.build("text_cnn", in_channels=4, vector=4))
    with pytest.raises(InputError, match="this network takes no word vectors: got Linear. Use text_cnn."):
        words.start(nn.Linear(2, 2))


def test_what_happens_to_texts_is_told() -> None:
    bases = Bases(6, case="any", fits=True)
    assert bases.notes(["ACGTAC", "acgtac", "ACGTNN", "ACG", "ACGTACGT"]) == (
        "1 of 5 items have letters in lower case, read as capitals",
        "1 of 5 items have unknown bases (N), read as 0.25 of each",
        "1 of 5 items are filled up with N to 6 bases",
        "1 of 5 items are cut to the 6 bases in their middle",
    )
    assert Bases(6).notes(["ACGTAC"]) == ()
    words = Words(("a",), length=11, padding=4)
    assert words.notes(["a b c", "a b c d", "abcdefghijkl"]) == ("1 of 3 items are cut to 3 words at their end",)
    said = "1 of 2 items have letters outside ASCII, read as blanks (alphabet=unicode keeps them)"
    assert Words(("a",), 11, alphabet="ascii").notes(["größer", "a – b"]) == (said,)
    assert Words(("a",), 11).notes(["größer"]) == ()
    letters = Characters(5)
    assert letters.notes(["a b", "fünf", "abcdef"]) == (
        "1 of 3 items have characters outside the alphabet, read as none",
        "1 of 3 items are cut to their last 5 characters",
    )
