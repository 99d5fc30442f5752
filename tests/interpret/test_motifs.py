"""Motifs of filters, files of motifs, and the comparison of motifs."""

from __future__ import annotations

import gzip
import itertools
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from striate.cli import main
from striate.errors import InputError
from striate.interpret import Motif, filter_motifs, match_motifs, read_motifs, write_motifs
from striate.interpret.matching import _levels, _similarity, _tails
from striate.interpret.sequences import one_hot
from striate.runs import load


def motif(name: str, width: int, seed: int) -> Motif:
    """A random one."""
    drawn = np.random.default_rng(seed).dirichlet([0.4] * 4, width).T
    return Motif(name, torch.tensor(drawn, dtype=torch.float32), 100)


def test_information_of_known_positions() -> None:
    matrix = torch.tensor([[1.0, 0.5, 0.25, 0.7], [0, 0.5, 0.25, 0.1], [0, 0, 0.25, 0.1], [0, 0, 0.25, 0.1]])
    bits = Motif("m", matrix).information()
    expected = 2 + (0.7 * np.log2(0.7) + 0.3 * np.log2(0.1))
    torch.testing.assert_close(bits, torch.tensor([2.0, 1.0, 0.0, expected]).float())
    assert Motif("m", matrix).consensus == "AAaA"
    assert len(Motif("m", matrix).trimmed(0.5)) == 4
    assert len(Motif("m", matrix[:, :3]).trimmed(0.5)) == 2
    assert len(Motif("m", matrix[:, 2:3]).trimmed(0.5)) == 1
    assert Motif("m", one_hot("AACG")).reversed().consensus == "CGTT"


def test_a_filters_motif_is_the_mean_of_what_activates_it() -> None:
    """Against a loop over all windows."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 3, 5, stride=2, padding=2), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    letters = np.random.default_rng(0).integers(4, size=(6, 21))
    x = torch.stack([one_hot("".join("ACGT"[i] for i in row)) for row in letters])
    found = filter_motifs(net, x, threshold=0.5, batch=4)
    conv = net[0].requires_grad_(False)
    padded = torch.full((6, 4, 25), 0.25)
    padded[:, :, 2:-2] = x
    for f, (weight, bias) in enumerate(zip(conv.weight, conv.bias, strict=True)):
        windows, scores = [], []
        for item, place in itertools.product(range(6), range(0, 21, 2)):
            windows.append(padded[item, :, place : place + 5])
            known = torch.where((windows[-1] == 0.25).all(0), 0.0, windows[-1])  # the convolution pads with zeros
            scores.append(float((weight * known).sum() + bias))
        chosen = [w for w, s in zip(windows, scores, strict=True) if s > 0.5 * max(scores)]
        assert found[f].sites == len(chosen)
        torch.testing.assert_close(found[f].matrix, torch.stack(chosen).mean(0))


def test_filters_that_are_never_active_say_nothing() -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU())
    nn.init.constant_(net[0].bias, -100)
    found = filter_motifs(net, one_hot("ACGTACGT")[None])
    assert [m.sites for m in found] == [0, 0]
    assert found[0].information().sum() == 0
    assert match_motifs(found, [motif("k", 6, 0)]).rows == ()


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3, padding="same"), nn.Dropout(0.5)).train()
    net[1].eval()
    filter_motifs(net, one_hot("ACGTACGT")[None], layer="0")
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert not net[0]._forward_hooks


class Unused(nn.Module):
    """A layer that forward leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(2)


@pytest.mark.parametrize(
    ("net", "options", "said"),
    [
        (nn.Sequential(nn.Linear(2, 2)), {}, "no such convolution of sequences: Sequential: expected none"),
        (nn.Sequential(nn.Conv1d(4, 2, 3)), {"layer": "9"}, "no such convolution of sequences: 9: expected 0"),
        (
            nn.Sequential(nn.Conv1d(8, 2, 3)),
            {},
            "this layer does not read bases: 0: expected 4 channels, dilation 1, got 8",
        ),
        (
            nn.Sequential(nn.Conv1d(4, 2, 3)),
            {"threshold": 1.0},
            "threshold of active subsequences: expected at least 0",
        ),
        (Unused(), {}, "this layer was never run: conv"),
    ],
)
def test_errors_of_filter_motifs(net: nn.Module, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        filter_motifs(net, torch.zeros(1, 4, 9), **options)


def test_errors_of_motifs() -> None:
    with pytest.raises(InputError, match=r"matrix of a motif: m: expected axes \(4, width\), got \(3, 2\)"):
        Motif("m", torch.ones(3, 2))
    with pytest.raises(
        InputError, match=r"a position of a motif: m, position 2: expected probabilities with the sum 1"
    ):
        Motif("m", torch.tensor([[0.25, 0.5]] * 4))


MEME = """MEME version 4

ALPHABET= ACGT

MOTIF one alt
letter-probability matrix: alength= 4 w= 2 nsites= 7 E= 0
 0.5 0.5 0 0
 0.0 0.0 0 1

MOTIF two
letter-probability matrix: alength= 4
0.25 0.25 0.25 0.25
URL http://example.org
"""
JASPAR = ">MA1 one\nA [ 5 0 ]\nC [ 5 0 ]\nG [ 0 0 ]\nT [ 0 10 ]\n>MA2\n1\n1\n1\n1\n"


def test_the_two_formats_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.meme").write_text(MEME)
    (tmp_path / "b.jaspar.gz").write_bytes(gzip.compress(JASPAR.encode()))
    (tmp_path / "c.jaspar").write_text(JASPAR)
    with tarfile.open(tmp_path / "d.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "c.jaspar", "in/c.jaspar")
    meme, *others = (read_motifs(tmp_path / name) for name in ("a.meme", "b.jaspar.gz", "c.jaspar", "d.tar.gz"))
    assert [m.name for m in meme] == ["one alt", "two"]
    assert [m.sites for m in meme] == [7, 0]
    for motifs in others:
        assert [(m.name, m.sites) for m in motifs] == [("MA1 one", 10), ("MA2", 4)]
        for a, b in zip(meme, motifs, strict=True):
            torch.testing.assert_close(a.matrix, b.matrix)
    assert len(read_motifs(tmp_path)) == 4  # of a folder: a.meme and c.jaspar


def test_written_motifs_are_read_again(tmp_path: Path) -> None:
    some = [motif("a", 6, 0), Motif("none", torch.full((4, 3), 0.25), 0), motif("b", 9, 1)]
    write_motifs(some, tmp_path / "m.meme")
    again = read_motifs(tmp_path / "m.meme")
    assert [(m.name, m.sites) for m in again] == [("a", 100), ("b", 100)]
    torch.testing.assert_close(again[1].matrix, some[2].matrix, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a file without motifs: .*expected MEME or JASPAR text format"),
        (">MA1\nA [ 1 2 ]\n", r"a motif in JASPAR format: .*line 1: expected >NAME and 4 rows"),
        ("hello\n1\n1\n1\n1\n", r"a motif in JASPAR format: .*line 1"),
        (">MA1\n1 2\n1 2\n1\n1 2\n", r"a row of a motif: .*line 4: expected 2 numbers, got '1'"),
        (MEME.replace("0.5 0.5 0 0", "0.5 0.5 0"), r"a row of a motif: .*line 7: expected 4 numbers"),
        (MEME.replace("0.5 0.5 0 0", "0.5 0.5 0 x"), r"a row of a motif: .*line 7: expected 4 numbers"),
        (MEME.replace("w= 2", "w= 3"), r"a motif ends early: .*one alt: expected 3 rows, got 2"),
        (MEME.replace("alength= 4 w", "alength= 20 w"), "a motif of another alphabet: .*line 6: expected ACGT"),
        (
            MEME.replace("0.5 0.5 0 0", "0.5 0.2 0 0.1").replace(" 0.0 0.0 0 1", "-1 1 0 1"),
            "a position of a motif: one",
        ),
    ],
)
def test_errors_of_files(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_motifs(tmp_path / "m.txt")


def test_a_folder_without_motifs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a folder without motifs: .*expected \*.meme"):
        read_motifs(tmp_path)


@pytest.mark.parametrize("statistic", ["euclidean", "pearson"])
def test_the_chance_of_a_sum_is_that_of_all_draws(statistic: str) -> None:
    """Every triple of positions of the known motifs, counted."""
    query = motif("q", 3, 0).matrix.double().numpy().T
    columns = motif("k", 9, 1).matrix.double().numpy().T
    scores = _levels(_similarity(query, columns, statistic))
    assert scores.min() == 0
    assert scores.max() == 100
    sums = [sum(scores[i, j] for i, j in enumerate(draw)) for draw in itertools.product(range(9), repeat=3)]
    tails = _tails(scores)
    for score in range(0, 301, 7):
        assert tails[0, 3, score] == pytest.approx(np.mean(np.array(sums) >= score), abs=1e-12)
        assert tails[2, 3, score] == pytest.approx((scores[2] >= score).mean(), abs=1e-12)


def test_similarities_are_the_textbook_ones() -> None:
    a, b = (motif("m", 7, seed).matrix.double().numpy().T for seed in (1, 2))
    for i, j in itertools.product(range(7), repeat=2):
        assert _similarity(a, b, "pearson")[i, j] == pytest.approx(np.corrcoef(a[i], b[j])[0, 1])
        assert _similarity(a, b, "euclidean")[i, j] == pytest.approx(-np.linalg.norm(a[i] - b[j]))


@pytest.mark.parametrize("statistic", ["euclidean", "pearson"])
@pytest.mark.parametrize(("first", "end", "turned"), [(0, 12, False), (3, 12, False), (0, 7, True), (2, 10, True)])
def test_a_part_of_a_known_motif_is_found_where_it_is(statistic: str, first: int, end: int, turned: bool) -> None:
    known = [motif(f"k{i}", 8 + i % 6, i) for i in range(60)]
    target = known[16]
    assert len(target) == 12
    part = Motif("q", target.matrix[:, first:end], 10)
    found = match_motifs([part.reversed() if turned else part], known, statistic=statistic, most=2).rows
    assert (found[0].target, found[0].strand) == ("k16", "-" if turned else "+")
    assert found[0].overlap == end - first
    # Turned round, what the part leaves out at the known motif's end comes before it.
    assert found[0].offset == -(12 - end if turned else first)
    assert found[0].correlation == pytest.approx(1, abs=1e-5)
    assert found[0].e_value < 0.01 < found[1].e_value


def test_p_values_of_chance_matches_are_no_smaller_than_chance_has_it() -> None:
    """Of 40 random motifs against 50 others: the best of 2,000 comparisons has an E-value near or above 0.02."""
    known = [motif(f"k{i}", 10, i) for i in range(50)]
    rows = match_motifs([motif(f"q{i}", 9, 1000 + i) for i in range(40)], known, most=50).rows
    p = np.array([row.p_value for row in rows])
    assert len(p) == 2000
    for level in (0.01, 0.05, 0.2, 0.5):
        assert (p <= level).mean() < 1.5 * level + 0.005
    assert 0.3 < np.median(p) < 0.9


def test_matches_are_saved_and_shown(tmp_path: Path) -> None:
    found = match_motifs([motif("q", 8, 0)], [motif("k[b]", 8, 0)])
    found.save(tmp_path / "m.csv")
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == "query,target,offset,strand,overlap,correlation,p_value,e_value"
    assert lines[1].startswith("q,k[b],0,+,8,")
    assert found.table().row_count == len(found.of("q")) == 1
    assert found.json()[0]["overlap"] == 8


def test_errors_of_matching() -> None:
    with pytest.raises(InputError, match="unknown statistic: expected euclidean or pearson, got kl"):
        match_motifs([motif("q", 8, 0)], [motif("k", 8, 0)], statistic="kl")
    with pytest.raises(InputError, match="no known motifs to compare with"):
        match_motifs([motif("q", 8, 0)], [])
    with pytest.raises(InputError, match="least_overlap and most of matches: expected at least 1"):
        match_motifs([motif("q", 8, 0)], [motif("k", 8, 0)], most=0)


def test_ctcf_of_jaspar_is_ctcf_of_hocomoco(shared_data: Path) -> None:
    jaspar = read_motifs(shared_data / "motifs" / "JASPAR2022_vertebrates_profiles.tar.gz")
    hocomoco = read_motifs(shared_data / "motifs" / "H12CORE_meme_format.meme.gz")
    assert (len(jaspar), len(hocomoco)) == (1207, 1443)
    names = {"MA0139.1": "CTCF", "MA0138.2": "REST", "MA0148.4": "FOXA"}
    for number, factor in names.items():
        (query,) = (m for m in jaspar if m.name.startswith(number))
        best = match_motifs([query], hocomoco, most=1).rows[0]
        assert best.target.startswith(factor), best
        assert best.e_value < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("factor", ["REST", "CTCFL", "ELK1", "USF1", "FOXA1"])
def test_filters_trained_on_peaks_of_a_factor_are_its_known_motif(
    factor: str, shared_data: Path, tmp_path: Path
) -> None:
    """Among the first three known motifs that its filters match best, after 2,500 peaks of an experiment."""
    (peaks,) = (shared_data / "tfbs-encode").glob(f"{factor}_*_AC.seq.gz")
    lines = gzip.decompress(peaks.read_bytes()).decode().splitlines()[:2501]
    (tmp_path / peaks.name).write_bytes(gzip.compress("\n".join(lines).encode()))
    shutil.copy(str(peaks).replace("_AC", "_B"), tmp_path)
    options = "--validation 0 --epochs 2 --batch-size 32 --learning-rate 0.01 --optimizer adamw --device cpu"
    network = ["--model", "deepbind:strands=both,motifs=16,hidden=0"]
    data = ["--data", f"chip:{tmp_path / peaks.name}", "--out", str(tmp_path / "runs")]
    main(["train", *data, *network, *options.split()])
    (run,) = (tmp_path / "runs").iterdir()
    model, card = load(run)
    x = torch.stack([card.preprocess(line.split("\t")[2]) for line in lines[1:1001]])
    found = [motif.trimmed() for motif in filter_motifs(model, x)]
    matches = match_motifs(found, read_motifs(shared_data / "motifs" / "H12CORE_meme_format.meme.gz"), most=3)
    best = {match.target: match.e_value for match in sorted(matches.rows, key=lambda match: -match.e_value)}
    ranked = sorted(best, key=best.__getitem__)
    known, *_ = (name for name in ranked if name.startswith(f"{factor}."))
    assert known in ranked[:3]
    assert best[known] < 1e-5
