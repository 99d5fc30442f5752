"""Sources of texts and of DNA in the formats that people have."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from striate.data import Listing, load_data
from striate.data.sources import read_source
from striate.errors import InputError

HEAD = "FoldID\tEventID\tseq\tBound\n"


def make(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def facts(listing: Listing) -> list[tuple[str, object]]:
    return list(zip(listing.inputs, listing.targets.tolist(), strict=True))


def test_movie_reviews(tmp_path: Path) -> None:
    make(tmp_path, {"rt-polarity.neg": "bad\nworse\n", "rt-polarity.pos": b"good caf\xe9\x85\r\n"})
    listing = read_source(f"rt_polarity:{tmp_path}")
    assert facts(listing) == [("bad", 0), ("worse", 0), ("good café\x85", 1)]
    assert listing.names[1] == f"{tmp_path / 'rt-polarity.neg'}, line 2"
    assert listing.class_names == ("negative", "positive")
    (tmp_path / "rt-polarity.pos").unlink()
    with pytest.raises(InputError, match=r"a file of movie reviews is missing: .*rt-polarity.pos. Pass the folder"):
        read_source(f"rt_polarity:{tmp_path}")


def test_real_movie_reviews(shared_data: Path) -> None:
    listing = read_source(f"rt_polarity:{shared_data / 'rt-polarity'}")
    assert torch.bincount(listing.targets).tolist() == [5331, 5331]


def test_imdb_folders(tmp_path: Path) -> None:
    files = {
        f"{part}/{kind}/0_1.txt": f"{part} {kind}<br />end" for part in ("train", "test") for kind in ("pos", "neg")
    }
    make(tmp_path, {**files, "train/unsup/1.txt": "left out", "imdb.vocab": "the"})
    listing = read_source(f"imdb:{tmp_path}")
    assert facts(listing) == [("train neg end", 0), ("train pos end", 1), ("test neg end", 0), ("test pos end", 1)]
    assert {name: part.tolist() for name, part in listing.splits.items()} == {"train": [0, 1], "test": [2, 3]}
    data = load_data(f"imdb:{tmp_path}", validation=0)
    assert data.shape == (400,)
    assert data.train.inputs[0, -3:].tolist() != [0, 0, 0]
    (tmp_path / "test/neg/0_1.txt").write_text("")
    with pytest.raises(InputError, match=r"an empty text: .*test/neg/0_1.txt. Remove it."):
        read_source(f"imdb:{tmp_path}")
    (tmp_path / "test/neg/0_1.txt").unlink()
    with pytest.raises(InputError, match=r"no reviews: .*test/neg: expected \*.txt"):
        read_source(f"imdb:{tmp_path}")


def test_lines_of_files_folders_and_tables(tmp_path: Path) -> None:
    make(tmp_path, {"one/b.txt": "B1\nB2\n", "one/a.txt.gz": gzip.compress(b"A1\n"), "one/notes.md": "x"})
    make(
        tmp_path,
        {"two/train/a.txt": "A1", "two/train/b.txt": "B1", "two/test/b.txt": "B2", "t.tsv": "b\tB1\na\tA\t1\n"},
    )
    one, two, table = (read_source(f"lines:{tmp_path / name}") for name in ("one", "two", "t.tsv"))
    assert facts(one) == [("A1", 0), ("B1", 1), ("B2", 1)]
    assert one.class_names == two.class_names == table.class_names == ("a", "b")
    assert facts(two) == [("A1", 0), ("B1", 1), ("B2", 1)]
    assert two.splits["test"].tolist() == [2]
    assert facts(table) == [("A\t1", 0), ("B1", 1)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"s/a.md": "x"}, r"no files of texts: .*/s: expected CLASS.txt"),
        ({"s/a.txt": "x\n\ny\n"}, r"an empty text: .*a.txt, line 2. Remove it."),
        ({"s/a.txt": ""}, r"a file without texts: .*a.txt"),
        ({"s/a.txt": b"x\n\xff"}, r"this is no text: .*a.txt, line 2: expected utf-8"),
        ({"s/test/a.txt": "x"}, r"no training part: .*/s: expected a folder train, got test"),
        ({"s/train/a.txt": "x", "s/test/c.txt": "x"}, r"classes without training texts: test: expected a, got c"),
        ({"s": "a\tx\nb y\n"}, r"a line without a class: .*s, line 2: expected class, tab, text, got 'b y'"),
        ({"s": "a\tx\na\t \n"}, r"an empty text: .*s, line 2"),
    ],
)
def test_errors_of_lines(tmp_path: Path, files: dict[str, str | bytes], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_source(f"lines:{make(tmp_path, files) / 's'}")


def chips(folder: Path) -> Path:
    """Two factors: peaks in training, peaks and shuffles in the test."""
    return make(
        folder,
        {
            "F1_x_AC.seq.gz": gzip.compress((HEAD + "A\tp1\tACGTACGGTA\t1\nA\tp2\tTTGACTTGAC\t1\n").encode()),
            "F1_x_B.seq.gz": gzip.compress((HEAD + "A\tp3\tACGTACGTAA\t1\nA\ts3\tAACGTACGTA\t0\n").encode()),
            "F2_y_AC.seq.gz": gzip.compress((HEAD + "A\tq1\tGGGTACGGTA\t1\n").encode()),
            "F2_y_B.seq.gz": gzip.compress((HEAD + "A\tq2\tACGTACGTAA\t1\nA\ts4\tAACGTACGTA\t0\n").encode()),
        },
    )


def test_peaks_are_trained_beside_their_shuffles(tmp_path: Path) -> None:
    listing = read_source(f"chip:{chips(tmp_path) / 'F1_x_AC.seq.gz'}")
    assert listing.class_names == ("F1",)
    assert listing.targets[:, 0].tolist() == [1, 1, 0, 0, 1, 0]
    assert listing.splits["train"].tolist() == [0, 1, 2, 3]
    for peak, shuffle in ((0, 2), (1, 3)):
        one, other = listing.inputs[peak], listing.inputs[shuffle]
        assert sorted(pairwise(one)) == sorted(pairwise(other))
    assert listing.names[2] == f"{tmp_path / 'F1_x_AC.seq.gz'}, p1, shuffled"


def test_several_factors_are_labels_that_are_known_for_their_own_sequences(tmp_path: Path) -> None:
    listing = read_source(f"chip:{chips(tmp_path)}")
    assert listing.class_names == ("F1", "F2")
    assert listing.targets.nan_to_num(-1).tolist() == [
        *([1, -1], [1, -1], [0, -1], [0, -1]),
        *([-1, 1], [-1, 0]),
        *([1, -1], [0, -1], [-1, 1], [-1, 0]),
    ]


@pytest.mark.parametrize(
    ("files", "path", "said"),
    [
        ({"a.fa": ">a\nAC"}, "", r"no ChIP-seq training sequences: .*expected FACTOR_..._AC.seq.gz"),
        ({"F_AC.seq": HEAD + "A\ta\tACG\t1\n"}, "F_AC.seq", r"no test sequences of a factor: .*F_B.seq"),
        (
            dict.fromkeys(("F_1_AC.seq", "F_2_AC.seq"), HEAD + "A\ta\tACG\t1\n"),
            "",
            "two experiments of one factor: .*got F. Pass the file of one.",
        ),
    ],
)
def test_errors_of_chip(tmp_path: Path, files: dict[str, str | bytes], path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_source(f"chip:{make(tmp_path, files) / path}")


def test_the_real_sets(shared_data: Path) -> None:
    counts = {"CTCFL": 11033, "REST": 6406, "GABPA": 6066, "ELK1": 5084}
    for file in sorted((shared_data / "tfbs-encode").glob("*_AC.seq.gz")):
        factor = file.name.partition("_")[0]
        if factor in counts:
            listing = read_source(f"chip:{file}")
            train, test = (listing.targets[listing.splits[part]] for part in ("train", "test"))
            assert (train.sum(), (train == 0).sum()) == (counts[factor], counts[factor])
            assert (test.sum(), len(test)) == (500, 1000)
            assert {len(text) for text in listing.inputs} == {101}


def test_fasta_beside_a_table(tmp_path: Path) -> None:
    make(tmp_path, {"s.fa.gz": gzip.compress(b">a x\nACGT\n>b\nacgn\n"), "s.tsv": "name\tq\tr\nb\t0\t1\na\t1\t0\n"})
    listing = read_source(f"fasta:{tmp_path / 's.fa.gz'}")
    assert facts(listing) == [("ACGT", [1, 0]), ("acgn", [0, 1])]
    assert listing.class_names == ("q", "r")
    (tmp_path / "s.tsv").write_text("name\tq\tr\nb\t0\t1\na\t1\t\n")
    with pytest.raises(InputError, match="a label without a negative training sequence: r: expected at least one"):
        read_source(f"fasta:{tmp_path / 's.fa.gz'}")


def test_fasta_of_positives_and_negatives(tmp_path: Path) -> None:
    make(tmp_path, {"p/train/positives.fa": ">a\nACGGT\n", "p/train/negatives.fasta": ">b\nTTTTT\n"})
    make(tmp_path, {"p/test/positives.fna": ">a\nACGGA\n", "q/positives.fa": ">a\nACGCGTACGT\n"})
    listing = read_source(f"fasta:{tmp_path / 'p'}")
    # The test part has no negatives of its own: a shuffle, which here is the only sequence with these pairs.
    assert facts(listing) == [("ACGGT", [1]), ("TTTTT", [0]), ("ACGGA", [1]), ("ACGGA", [0])]
    alone = read_source(f"fasta:{tmp_path / 'q'}")
    assert alone.class_names == ("bound",)
    assert sorted(pairwise(alone.inputs[0])) == sorted(pairwise(alone.inputs[1]))


@pytest.mark.parametrize(
    ("files", "path", "said"),
    [
        ({"s.txt": "x"}, "s.txt", r"this is no FASTA file: .*expected NAME.fa"),
        ({"s.fa": ">a\nAC"}, "s.fa", r"no table of labels: .*s.tsv. Write a line for each"),
        ({"s.fa": ">a\nAC", "s.tsv": "a\t1\n"}, "s.fa", r"a table of labels: .*line 1: expected a header"),
        ({"s.fa": ">a\nAC\n>b\nAC", "s.tsv": "n\tq\na\t1\n"}, "s.fa", r"sequences without labels: .*got 1 \(b\)"),
        ({"s.fa": ">a\nAC", "s.tsv": "n\tq\na\t1\nb\t1\n"}, "s.fa", r"labels without a sequence: .*got 1 \(b\)"),
        (
            {"s.fa": ">a\nAC", "s.tsv": "n\tq\na\t2\n"},
            "s.fa",
            r"a row of labels: .*line 2: expected a name and 1",
        ),
        ({"s.fa": ">a\nAC", "s.tsv": "n\tq\na\t1\na\t1\n"}, "s.fa", r"a sequence is labeled twice: .*line 3: got a"),
        ({"s.fa": ">a\nAC", "s.tsv": "n\tq\na\t1\n"}, "s.fa", "a label without a negative training sequence: q"),
        ({"t/negatives.fa": ">a\nAC"}, "t", r"no positive sequences: .*expected positives.fa"),
        ({"t/test/positives.fa": ">a\nAC"}, "t", r"no training part: .*expected a folder train, got test"),
    ],
)
def test_errors_of_fasta(tmp_path: Path, files: dict[str, str | bytes], path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_source(f"fasta:{make(tmp_path, files) / path}")
