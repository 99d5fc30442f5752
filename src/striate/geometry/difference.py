"""Two reports beside each other."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from striate.geometry.report import Layer, Report, plain
from striate.geometry.words import by


@dataclass(frozen=True)
class Difference:
    """What two reports differ in: totals (name, of a, of b), and rows that only one has or that changed."""

    totals: tuple[tuple[str, Any, Any], ...]
    rows: tuple[tuple[Layer | None, Layer | None], ...]

    def table(self) -> Table:
        """Both sides beside each other."""
        table = Table("what", "a", "b", "b - a")
        for name, a, b in self.totals:
            table.add_row(name, *(f"{v:,}" if isinstance(v, int) else str(v) for v in (a, b)), _change(a, b))
        table.add_section()
        for a, b in self.rows:
            row = a or b
            assert row is not None
            change = _change(a.parameters if a else 0, b.parameters if b else 0)
            table.add_row(f"{row.path or '(network)'} {row.operation}", _cell(a), _cell(b), change)
        return table

    def json(self) -> dict[str, Any]:
        """The difference as plain types."""
        rows = [{"a": a and plain(a), "b": b and plain(b)} for a, b in self.rows]
        return {"totals": [{"name": n, "a": a, "b": b} for n, a, b in self.totals], "rows": rows}


def diff(a: Report, b: Report) -> Difference:
    """What differs between two networks, or two inputs of one: totals, and rows matched by path and operation."""
    totals = [(name, getattr(a, name), getattr(b, name)) for name in ("network", "parameters", "trainable", "macs")]
    totals += [(n, v, getattr(b.counts, n)) for n, v in dataclasses.asdict(a.counts).items() if n != "macs"]
    totals += [(f"{n} bytes", v, getattr(b.memory, n)) for n, v in dataclasses.asdict(a.memory).items()]
    keys = [[(row.path, row.operation) for row in report.layers] for report in (a, b)]
    rows: list[tuple[Layer | None, Layer | None]] = []
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    for what, a0, a1, b0, b1 in matcher.get_opcodes():
        if what == "equal":
            pairs = zip(a.layers[a0:a1], b.layers[b0:b1], strict=True)
            rows += [(x, y) for x, y in pairs if _numbers(x) != _numbers(y)]
        else:
            rows += [(x, None) for x in a.layers[a0:a1]] + [(None, y) for y in b.layers[b0:b1]]
    return Difference(tuple(t for t in totals if t[1] != t[2]), tuple(rows))


def _numbers(layer: Layer) -> Layer:
    """A row without its place in the graph."""
    return dataclasses.replace(layer, inputs=())


def _cell(layer: Layer | None) -> str:
    if layer is None:
        return "–"
    seen = f", sees {by(layer.receptive_field)}" if layer.receptive_field else ""
    return f"{by(layer.shape)}, {layer.parameters:,} parameters, {layer.macs:,} MACs{seen}"


def _change(a: Any, b: Any) -> str:
    return f"{b - a:+,}" if isinstance(a, int) and isinstance(b, int) else ""
