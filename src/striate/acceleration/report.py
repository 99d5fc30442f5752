"""What was changed in a network, and what it gained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from striate.plain import to_json


@dataclass(frozen=True)
class Row:
    """One layer: what was done to it, and its seconds on the example before and after (0: done inside another)."""

    layer: str
    done: tuple[str, ...]
    seconds_before: float
    seconds_after: float


@dataclass(frozen=True)
class Step:
    """One rewrite: how many layers it touched, whether it stayed, and why not.

    `seconds_without` is the network's time with all other rewrites but this one, None where that was not measured.
    """

    rewrite: str
    layers: int
    kept: bool
    reason: str = ""
    seconds_without: float | None = None


@dataclass(frozen=True)
class Acceleration:
    """What `accelerate` did: layers, rewrites, seconds of one call before and after, and how far outputs differ.

    `difference` is the largest difference of an output's numbers by the largest number of that output.
    """

    rows: tuple[Row, ...]
    steps: tuple[Step, ...]
    seconds_before: float
    seconds_after: float
    difference: float
    example: str
    threads: int

    @property
    def gain(self) -> float:
        """How many times faster."""
        return self.seconds_before / self.seconds_after

    def table(self) -> str:
        """The report as text: the gain, the rewrites, then the layers that changed."""
        head = (
            f"{self.gain:.2f}× faster: {milliseconds(self.seconds_before)} -> {milliseconds(self.seconds_after)} ms a "
            f"call on {self.example}, {self.threads} threads, outputs equal to {self.difference:.0e}"
        )
        steps = [("rewrite", "layers", "", "ms without it")]
        for step in self.steps:
            without = "" if step.seconds_without is None else milliseconds(step.seconds_without)
            outcome = ", ".join(filter(None, ["kept" * step.kept, step.reason]))
            steps.append((step.rewrite, str(step.layers or ""), outcome, without))
        rows = [("layer", "done", "ms before", "ms after")]
        for row in self.rows:
            if row.done:
                times = milliseconds(row.seconds_before), milliseconds(row.seconds_after)
                rows.append((row.layer, ", ".join(row.done), *times))
        return "\n\n".join([head, aligned(steps), aligned(rows)])

    def json(self) -> str:
        """All of it as JSON."""
        return to_json({**dataclasses.asdict(self), "gain": self.gain}, indent=1)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return f"<pre>{self.table()}</pre>"


def milliseconds(seconds: float) -> str:
    """Three digits, about."""
    return f"{1e3 * seconds:.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns side by side."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
