"""Motifs compared with known ones: the most alike, at which offset and strand, and how likely that is by chance."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table
from rich.text import Text

from striate.errors import InputError
from striate.interpret.motifs import Motif
from striate.train.checkpoint import write_atomically

LEVELS = 100  # whole numbers that the similarity of two positions may have
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Match:
    """A motif and a known one: position 0 of the known one lies at position `offset` of the motif.

    `strand` is "-" where the known one is turned round. `overlap` positions are compared, with the mean Pearson
    `correlation` over them. `p_value`: the chance that one known motif of as many offsets is as similar;
    `e_value`: how many of all known ones would be.
    """

    query: str
    target: str
    offset: int
    strand: str
    overlap: int
    correlation: float
    p_value: float
    e_value: float


@dataclass(frozen=True)
class Matches:
    """Matches of motifs, the likeliest of each first."""

    rows: tuple[Match, ...]

    def of(self, query: str) -> tuple[Match, ...]:
        """Those of one motif."""
        return tuple(row for row in self.rows if row.query == query)

    def json(self) -> list[dict[str, Any]]:
        """As plain types."""
        return [asdict(row) for row in self.rows]

    def table(self) -> Table:
        """A row a match."""
        table = Table("motif", "known", "E-value", "p-value", "correlation", "offset", "strand", "overlap")
        for row in self.rows:
            chances = f"{row.e_value:.2g}", f"{row.p_value:.2g}", f"{row.correlation:.3f}"
            table.add_row(Text(row.query), Text(row.target), *chances, str(row.offset), row.strand, str(row.overlap))
        return table

    def save(self, path: str | Path) -> None:
        """Write a CSV file; StorageError where it cannot be written."""
        out = io.StringIO()
        writer = csv.DictWriter(out, fieldnames=list(Match.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.json())
        write_atomically(Path(path), out.getvalue().encode())


def match_motifs(
    motifs: Sequence[Motif],
    known: Sequence[Motif],
    *,
    statistic: str = "euclidean",
    least_overlap: int = 5,
    most: int = 5,
) -> Matches:
    """The `most` similar known motifs for each motif, by the p-value of Tomtom, on both strands.

    Two positions are as similar as the negative Euclidean distance, or the Pearson correlation, of their four
    probabilities. A motif lies over a known one at every offset that leaves `least_overlap` positions in common (or all
    of the shorter one); the similarities there are summed. Their chance is exact for positions drawn from those of all
    known motifs: the distribution of a sum is the convolution of those of its terms, which are whole numbers from 0 to
    100. The least chance p over m offsets and strands becomes 1 - (1 - p)^m, and the E-value is that times the
    number of known motifs. Motifs without sites or information are left out.

    Raises InputError where there is nothing to compare and for unknown statistics.
    Source: Gupta, Stamatoyannopoulos, Bailey, Noble 2007, "Quantifying similarity between motifs".
    """
    if statistic not in ("euclidean", "pearson"):
        raise InputError("unknown statistic", expected="euclidean or pearson", got=statistic)
    if least_overlap < 1 or most < 1:
        raise InputError("least_overlap and most of matches", expected="at least 1", got=(least_overlap, most))
    if not known:
        raise InputError("no known motifs to compare with", fix="Read some: striate.interpret.read_motifs(path)")
    targets = _Targets(known)
    rows: list[Match] = []
    for motif in motifs:
        if motif.sites or float(motif.information().sum()) > 1e-3:
            rows += _best(motif, known, targets, statistic, least_overlap, most)
    return Matches(tuple(rows))


class _Targets:
    """All known motifs, each on both strands, as one array padded to the widest; and all of their positions."""

    def __init__(self, known: Sequence[Motif]) -> None:
        both = [m.matrix.double().numpy() for motif in known for m in (motif, motif.reversed())]
        self.widths = np.array([matrix.shape[1] for matrix in both])
        self.inside = np.arange(self.widths.max()) < self.widths[:, None]  # 2m w
        self.padded = np.zeros((len(both), self.widths.max(), 4))
        for place, matrix in enumerate(both):
            self.padded[place, : matrix.shape[1]] = matrix.T
        self.positions = self.padded[self.inside]


def _best(
    motif: Motif, known: Sequence[Motif], targets: _Targets, statistic: str, least: int, most: int
) -> list[Match]:
    query = motif.matrix.double().numpy().T
    width = len(query)
    scores = _levels(_similarity(query, targets.positions, statistic))  # w positions
    tails = _tails(scores)
    spread = np.zeros((width, *targets.inside.shape), np.int64)
    spread[:, targets.inside] = scores
    offsets = range(1 - targets.padded.shape[1], width)
    chances = np.ones((len(offsets), len(targets.widths)))
    tried = np.zeros(len(targets.widths), np.int64)
    for place, offset in enumerate(offsets):
        first, ends = max(0, offset), np.minimum(width, offset + targets.widths)
        allowed = ends - first >= np.minimum(least, np.minimum(width, targets.widths))
        total = np.zeros(len(targets.widths), np.int64)
        for position in range(first, min(width, offset + targets.padded.shape[1])):
            total += spread[position, :, position - offset]  # zero beyond the known motif's end
        spans = np.where(allowed, ends, first + 1)
        chances[place] = np.where(allowed, tails[first, spans, total], 1.0)
        tried += allowed
    by_strand = chances.reshape(len(offsets), len(known), 2)
    least_p = by_strand.min((0, 2))
    times = tried.reshape(len(known), 2).sum(1)
    p_values = -np.expm1(times * np.log1p(-np.minimum(least_p, 1 - 1e-15)))
    rows = []
    for target in np.lexsort((least_p, p_values))[:most].tolist():
        place, strand = divmod(int(by_strand[:, target].argmin()), 2)
        offset, row = offsets[place], 2 * target + strand
        first, end = max(0, offset), min(width, offset + int(targets.widths[row]))
        pairs = query[first:end], targets.padded[row, first - offset : end - offset]
        alike = float(np.diagonal(_similarity(*pairs, "pearson")).mean())
        p_value = float(p_values[target])
        rows.append(
            Match(motif.name, known[target].name, offset, "+-"[strand], end - first, alike, p_value,
                  min(p_value * len(known), float(len(known))))
        )  # fmt: skip
    return rows


def _similarity(query: Array, columns: Array, statistic: str) -> Array:
    """Of each position (w, 4) with each of `columns` (n, 4)."""
    if statistic == "euclidean":
        return np.asarray(-np.sqrt(((query[:, None] - columns) ** 2).sum(2)))
    centered = [part - part.mean(1, keepdims=True) for part in (query, columns)]
    norms = [np.sqrt((part**2).sum(1)) for part in centered]
    product = norms[0][:, None] * norms[1]
    # A position that tells nothing correlates with none.
    both = centered[0] @ centered[1].T
    return np.asarray(np.divide(both, product, out=np.zeros_like(product), where=product > 1e-12))


def _levels(similarity: Array) -> Array:
    """Whole numbers 0 to LEVELS over the range of all similarities of one motif."""
    low, high = similarity.min(), similarity.max()
    return np.asarray(np.rint((similarity - low) / max(high - low, 1e-12) * LEVELS), dtype=np.int64)


def _tails(scores: Array) -> Array:
    """tails[first, end, s]: the chance that the positions first to end - 1 sum to s or more."""
    width = len(scores)
    single = [np.bincount(row, minlength=LEVELS + 1) / len(row) for row in scores]
    tails = np.zeros((width, width + 1, width * LEVELS + 1))
    for first in range(width):
        density = np.ones(1)
        for end in range(first + 1, width + 1):
            density = np.convolve(density, single[end - 1])
            tails[first, end, : len(density)] = np.minimum(density[::-1].cumsum()[::-1], 1.0)
    return tails
