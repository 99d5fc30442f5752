"""What the patch engine did with each layer, and what it saved."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass
class Step:
    """What one operation did over all changes so far; `window` is the largest."""

    path: str
    operation: str
    space: tuple[int, ...]
    window: tuple[int, ...] = ()
    forms: Counter[str] = field(default_factory=Counter)
    macs: int = 0
    full_macs: int = 0
    changes: int = 0


@dataclass(frozen=True)
class Row:
    """An operation: `affected` is the largest window that a change reaches, of the map `space` (empty: all of it).

    `form`: how it was done mostly. `macs`: multiply-adds for one change, the mean; `full_macs`: for the whole map.
    """

    path: str
    operation: str
    affected: tuple[int, ...]
    space: tuple[int, ...]
    form: str
    macs: float
    full_macs: int


@dataclass(frozen=True)
class Plan:
    """The operations in the order of execution. `whole` says why the network could not be run on windows at all."""

    rows: tuple[Row, ...]
    changes: int
    whole: str = ""

    @property
    def macs(self) -> float:
        """Multiply-adds for one change."""
        return sum(row.macs for row in self.rows)

    @property
    def full_macs(self) -> int:
        """Multiply-adds of one run of the whole network."""
        return sum(row.full_macs for row in self.rows)

    def table(self) -> Table:
        """The rows with multiply-adds, and their sums."""
        title = f"{self.changes:,} changes" + (f": whole inputs, as {self.whole}" if self.whole else "")
        table = Table("layer", "operation", "affected", "of", "form", "MACs", "of all", title=title)
        for row in self.rows:
            sizes = ("x".join(map(str, part)) or "all" for part in (row.affected, row.space))
            table.add_row(row.path, row.operation, *sizes, row.form, *_macs(row.macs, row.full_macs))
        table.add_section()
        table.add_row("network", "", "", "", "", *_macs(self.macs, self.full_macs))
        return table

    def json(self) -> dict[str, Any]:
        """The plan as plain types."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        return {
            "changes": self.changes,
            "whole": self.whole,
            "macs": self.macs,
            "full_macs": self.full_macs,
            "rows": rows,
        }


def planned(steps: Iterable[Step], whole: str) -> Plan:
    """Steps as rows, per change."""
    rows = [
        Row(
            step.path,
            step.operation,
            step.window if any(step.window) else (),
            step.space,
            step.forms.most_common(1)[0][0],
            step.macs / step.changes,
            step.full_macs,
        )
        for step in steps
    ]
    return Plan(tuple(rows), max((step.changes for step in steps), default=0), whole)


def _macs(local: float, full: int) -> tuple[str, str]:
    return (f"{round(local):,}", f"{local / full:.1%}") if full else ("", "")
