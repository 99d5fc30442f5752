"""Texts and sequences from the command line: train, evaluate, predict, tracks."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from striate.cli import main
from striate.runs import load
from striate.runs.tracks import nearest, write_tracks

MOTIF = "TGACTCAT"
FAST = ["--epochs", "1", "--batch-size", "20", "--validation", "0", "--device", "cpu"]


def bases(rng: np.random.Generator, length: int, motif: str = "") -> str:
    text = "".join("ACGT"[i] for i in rng.integers(4, size=length))
    place = int(rng.integers(length - len(motif) + 1))
    return text[:place] + motif + text[place + len(motif) :]


def planted(folder: Path, count: int, seed: int = 0) -> Path:
    """Sequences with a motif, and without."""
    rng = np.random.default_rng(seed)
    for part, number in (("train", count), ("test", count // 4)):
        (folder / part).mkdir(parents=True)
        for name, motif in (("positives", MOTIF), ("negatives", "")):
            rows = (f">{name}{i}\n{bases(rng, 40, motif)}\n" for i in range(number))
            (folder / part / f"{name}.fa").write_text("".join(rows))
    return folder


def opinions(folder: Path, count: int, seed: int = 0) -> Path:
    """Sentences with some good or some bad words among others; "not" before one turns it round."""
    rng = np.random.default_rng(seed)
    words = {"good": ["fine", "great", "lovely"], "bad": ["dull", "awful", "poor"]}
    for part, number in (("train", count), ("test", count // 4)):
        (folder / part).mkdir(parents=True)
        for name, other in (("good", "bad"), ("bad", "good")):
            lines = []
            for _ in range(number):
                text = [f"w{i}" for i in rng.integers(200, size=12)]
                told = ["not", rng.choice(words[other])] if rng.random() < 0.5 else ["so", rng.choice(words[name])]
                place = int(rng.integers(11))
                text[place : place + 2] = told
                lines.append(" ".join(text) + "\n")
            (folder / part / f"{name}.txt").write_text("".join(lines))
    return folder


def train(out: Path, *arguments: str) -> Path:
    main(["train", *arguments, "--out", str(out)])
    (folder,) = out.iterdir()
    return folder


def score(folder: Path) -> dict[str, float]:
    return load(folder)[1].scores


def test_dna_from_fasta_to_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted(tmp_path / "data", 40)
    run = train(tmp_path / "runs", "--data", f"fasta:{data}", "--model", "deepbind:strands=both,motifs=4", *FAST)
    assert list(score(run))[:3] == ["n", "auroc", "auprc"]
    assert (run / "report.html").is_file()
    rng = np.random.default_rng(1)
    (tmp_path / "long.fa.gz").write_bytes(gzip.compress(f">chr1 x\n{bases(rng, 130)}\n>short\n{'A' * 40}\n".encode()))
    main(["predict", str(run), str(tmp_path / "long.fa.gz"), "--out", str(tmp_path / "out")])
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    places = [row["file"].rpartition(", ")[2] for row in rows]
    assert places == [*(f"chr1:{s}-{s + 40}" for s in (0, 20, 40, 60, 80, 90)), "short"]
    track = (tmp_path / "out" / "bound.bedGraph").read_text().splitlines()
    assert track[0] == 'track type=bedGraph name="bound"'
    fields = [line.split("\t") for line in track[1:]]
    assert [(int(a), int(b)) for _, a, b, _ in fields] == [(0, 30), (30, 50), (50, 70), (70, 90), (90, 105), (105, 130)]
    assert [float(value) for *_, value in fields] == pytest.approx([float(row["bound"]) for row in rows[:-1]], rel=1e-4)
    (tmp_path / "bad.fa").write_text(">one\n" + "A" * 39 + "R\n")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(run), str(tmp_path / "bad.fa")])
    assert stopped.value.code == 2
    assert "a letter that is no base" in capsys.readouterr().err


def test_texts_from_files_to_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = opinions(tmp_path / "data", 30)
    small = "text_cnn:width=0.1,vector=8"
    run = train(tmp_path / "runs", "--data", f"lines:{data}", "--model", small, *FAST, "--augment", "drop_words:0.1")
    capsys.readouterr()
    (tmp_path / "new.txt").write_text("so fine\nunseen words only\n")
    main(["predict", str(run), str(tmp_path / "new.txt"), "--json"])
    lines = json.loads(capsys.readouterr().out)
    assert [line["file"] for line in lines] == [f"{tmp_path / 'new.txt'}, line {i}" for i in (1, 2)]
    assert set(lines[0]["classes"]) == {"good", "bad"}
    assert sum(lines[0]["probabilities"]) == pytest.approx(1)
    main(["evaluate", str(run), "--json"])
    assert json.loads(capsys.readouterr().out)["n"] == 14
    (tmp_path / "new.txt").write_text("so fine\n\n")
    with pytest.raises(SystemExit):
        main(["predict", str(run), str(tmp_path / "new.txt")])
    assert "a text without words" in capsys.readouterr().err


def test_every_base_has_the_score_of_the_nearest_window() -> None:
    windows = [(0, 10, 0.1), (5, 15, 0.2), (7, 17, 0.3)]
    covered = {place: value for start, end, value in nearest(windows) for place in range(start, end)}
    assert sorted(covered) == list(range(17))
    for place, value in covered.items():
        distances = [abs((start + end) / 2 - place - 0.5) for start, end, _ in windows]
        chosen = [row[2] for row in windows].index(value)
        assert distances[chosen] <= min(distances) + 0.5


def test_what_is_no_window_has_no_track(tmp_path: Path) -> None:
    assert write_tracks([{"file": "a.fa, one", "labels": {"bound": 0.5}}, {"file": "a.fa, x:0-9"}], tmp_path) == []
    assert write_tracks([{"file": "a.fa, x:0-9", "labels": {"a/b": 0.5}}], tmp_path) == [tmp_path / "a_b.bedGraph"]


@pytest.mark.slow
def test_a_planted_motif_is_learned_and_found_in_the_filters(tmp_path: Path) -> None:
    import torch

    from striate.interpret import Motif, filter_motifs, match_motifs, mutagenesis
    from striate.interpret.sequences import one_hot

    data = planted(tmp_path / "data", 600)
    small = "deepbind:strands=both,motifs=8,motif_length=12,hidden=0"
    options = ["--optimizer", "adamw", "--learning-rate", "0.02", "--epochs", "20", "--label-smoothing", "0"]
    run = train(tmp_path / "runs", "--data", f"fasta:{data}", "--model", small, *FAST[2:], *options)
    assert score(run)["auroc"] > 0.97
    model, _ = load(run)
    rng = np.random.default_rng(5)
    x = torch.stack([one_hot(bases(rng, 40, MOTIF)) for _ in range(300)])
    others = [Motif(f"other{i}", one_hot(bases(rng, 8)) * 0.9 + 0.025, 10) for i in range(50)]
    planted_one = Motif("planted", one_hot(MOTIF) * 0.9 + 0.025, 10)
    found = match_motifs(filter_motifs(model, x), [*others, planted_one], most=1).rows
    best = min(found, key=lambda row: row.e_value)
    assert best.target == "planted"
    assert best.e_value < 0.1
    # The mutation map: of all windows of its length, the motif's own matters most.
    sequences = [bases(rng, 40, MOTIF) for _ in range(40)]
    first = []
    for sequence in sequences:
        heat = mutagenesis(model, sequence, target=0).heatmap().flatten()[-40:]
        first.append(int(heat.unfold(0, len(MOTIF), 1).sum(1).argmax()) == sequence.index(MOTIF))
    assert sum(first) >= 36


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "inputs", "rate"),
    [
        ("text_cnn:width=0.2,vector=16", "words", "0.01"),
        ("keras_text:vector=16,filters=32,hidden=32", "words:keep=100,length=20,padding=0,align=end", "0.01"),
        ("char_cnn:width=0.125", "characters:length=123", "0.003"),
    ],
)
def test_opinions_are_learned(tmp_path: Path, model: str, inputs: str, rate: str) -> None:
    data = opinions(tmp_path / "data", 800)
    options = ["--optimizer", "adamw", "--learning-rate", rate, "--epochs", "10", "--label-smoothing", "0"]
    arguments = ["--data", f"lines:{data}", "--model", model, "--inputs", inputs, *FAST[2:], *options]
    assert score(train(tmp_path / "runs", *arguments))["accuracy"] > 0.9
