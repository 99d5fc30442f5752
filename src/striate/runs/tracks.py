"""Scores along sequences as bedGraph files, which genome browsers show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from striate.train import write_atomically

# What `striate.data.Bases.expand` calls a window: FILE, SEQUENCE:START-END.
WINDOW = re.compile(r"^(?P<file>.*), (?P<sequence>\S+):(?P<start>\d+)-(?P<end>\d+)$")
HEAD = 'track type=bedGraph name="'
Window = tuple[int, int, float]


def write_tracks(lines: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write LABEL.bedGraph into `folder` for each label that was predicted for windows of a long sequence.

    Where two files have a sequence of one name, each file has a track of its own, LABEL_FILE.bedGraph. Tracks of
    earlier calls that no line stands behind any more are removed.
    `lines` are those of predictions.jsonl; items that are no windows, and tasks without labels, have no track. Every
    base gets the probability of the window whose middle is the nearest, so that the intervals do not overlap, as the
    format has it; they count from 0 and leave out their end.
    """
    found: dict[str, dict[tuple[str, str], list[Window]]] = {}
    for line in lines:
        if (window := WINDOW.match(line["file"])) is None:
            continue
        start, end = int(window["start"]), int(window["end"])
        for label, probability in line.get("labels", {}).items():
            found.setdefault(label, {}).setdefault((window["file"], window["sequence"]), []).append(
                (start, end, probability)
            )
    tracks: dict[str, list[str]] = {}
    for label, sequences in found.items():
        apart = len({sequence for _, sequence in sequences}) < len(sequences)
        for (file, sequence), windows in sequences.items():
            rows = tracks.setdefault(f"{label}_{file}" if apart else label, [])
            rows += [f"{sequence}\t{start}\t{end}\t{value:.6g}" for start, end, value in nearest(windows)]
    paths = []
    for name, rows in tracks.items():
        paths.append(folder / (re.sub(r"[^A-Za-z0-9._-]+", "_", name) + ".bedGraph"))
        write_atomically(paths[-1], "\n".join([f'{HEAD}{name}"', *rows, ""]).encode())
    for path in set(folder.glob("*.bedGraph")) - set(paths):
        if path.read_bytes().startswith(HEAD.encode()):
            path.unlink()
    return paths


def nearest(windows: Iterable[Window]) -> list[Window]:
    """Intervals that do not overlap: each window's part is where its middle is the nearest of those that hold a base.

    >>> nearest([(0, 100, 0.5), (50, 150, 0.7), (400, 500, 0.1)])
    [(0, 75, 0.5), (75, 150, 0.7), (400, 500, 0.1)]
    """
    ordered = sorted(windows)
    edges = [(a[0] + a[1] + b[0] + b[1]) // 4 for a, b in pairwise(ordered)]
    starts, ends = [ordered[0][0], *edges], [*edges, ordered[-1][1]]
    kept = [(max(start, w[0]), min(end, w[1]), w[2]) for start, end, w in zip(starts, ends, ordered, strict=True)]
    return [(start, end, value) for start, end, value in kept if start < end]
