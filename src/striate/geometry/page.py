"""A report as one self-contained page of HTML; its styles hold inside it only, so that notebooks can show it."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from striate.geometry.pictures import INK, KINDS, LINE, MUTED, PAPER, SKIP, draw_network
from striate.geometry.report import Layer, Report, Share
from striate.geometry.words import by, number, size

DARK_PAPER = "#161b22"
# Colors of the drawing (light, dark) by the name of their CSS variable; those of the kinds follow from their borders.
COLORS = {"paper": (PAPER, DARK_PAPER), "ink": (INK, "#e6edf3"), "muted": (MUTED, "#9aa6b2")}
COLORS |= {"line": (LINE, "#6e7985"), "skip": (SKIP, "#93a5e0")}
# Header of the table: groups, and their columns.
GROUPS: Mapping[str, Sequence[str]] = {
    "": ("layer", "operation", "output"),
    "parameters": ("trainable", "frozen", "shared"),
    "operations": ("MACs", "bias", "norm", "activation", "pooling", "elementwise"),
    "memory": ("bytes",),
    "what an output sees": ("receptive field", "stride", "offset", "padding"),
}
SHARES = {"convolution": "convolutions", "linear": "fully connected", "other": "elsewhere"}


def page(report: Report) -> str:
    """The page: totals, shares as bars, the network drawn, a row for every operation. It loads nothing."""
    inputs = ", ".join(f"{name} {by(shape[1:])}" for name, shape in report.inputs.items()).removeprefix("input ")
    totals = report.summary()
    facts = {
        "parameters": totals.pop("parameters"),
        "multiply-adds (MACs)": totals.pop("MACs"),
        "of weights": totals.pop("weights"),
        "of activations at a time": size(report.memory.inference_peak),
    }
    bars = {"parameters in": _bar(report.parameter_share), "activations in": _bar(report.activation_share)}
    sections = [
        ("Totals", "Of one item; of the shapes, channels come first.", _pairs("summary", totals.items(), bars)),
        ("Network", _DRAWING, f'<div class="scroll" tabindex="0">{_drawing(report)}</div>'),
        ("Operations", _TABLE, _table(report)),
    ]
    body = "".join(
        f'<section><h2>{title}</h2><p class="note">{note}</p>{content}</section>' for title, note, content in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{_text(report.network)}</title>
</head>
<body>
<div class="striate-report">
<style>
{_style()}</style>
<header><h1>{_text(report.network)}</h1>
<p class="note">Input {_text(inputs)}</p>{_pairs("facts", facts.items())}</header>
{body}
</div>
</body>
</html>
"""


def _text(text: str) -> str:
    """Escaped for HTML; what UTF-8 cannot write becomes "?"."""
    return escape(text.encode("utf-8", "replace").decode("utf-8"))


def _pairs(kind: str, pairs: Iterable[tuple[str, str]], drawn: Mapping[str, str] | None = None) -> str:
    """A list of names and texts; `drawn` has the HTML that stands for some of the texts."""
    rows = (f"<div><dt>{_text(k)}</dt><dd>{(drawn or {}).get(k) or _text(text)}</dd></div>" for k, text in pairs)
    return f'<dl class="{kind}">{"".join(rows)}</dl>'


def _bar(share: Share) -> str:
    """Three shares as numbers, and as the parts of a bar."""
    parts = dataclasses.asdict(share).items()
    said = "".join(f'<span><i class="{name}"></i>{SHARES[name]} {part:.2%}</span> ' for name, part in parts)
    drawn = "".join(f'<b class="{name}" style="width:{100 * part:.2f}%"></b>' for name, part in parts)
    return f'<div class="shares">{said}</div><div class="bar">{drawn}</div>'


def _table(report: Report) -> str:
    head = "".join(f'<th scope="colgroup" colspan="{len(columns)}">{group}</th>' for group, columns in GROUPS.items())
    first = {columns[0] for columns in GROUPS.values()}
    names = "".join(
        f'<th scope="col"{_class("first" if name in first else "")}>{name}</th>'
        for columns in GROUPS.values()
        for name in columns
    )
    rows = "".join(_row(layer) for layer in report.rows)
    counts = [number(count) for count in dataclasses.astuple(report.counts)]
    held = [number(sum(getattr(layer, name) for layer in report.layers)) for name in ("trainable", "frozen")]
    total = ["", "", *held, "", *counts, number(sum(layer.activation_bytes for layer in report.layers)), "", "", "", ""]
    foot = "".join(f"<td>{cell}</td>" for cell in total)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Operations"><table>'
        f"<thead><tr>{head}</tr><tr>{names}</tr></thead><tbody>{rows}</tbody>"
        f'<tfoot><tr><th scope="row">total</th>{foot}</tr></tfoot></table></div>'
    )


def _row(layer: Layer) -> str:
    kind = layer.kind if layer.kind in KINDS else "other"
    sees = ("" if layer.exact else "≤ ") + by(layer.receptive_field)
    padding = by(str(before) if before == after else f"{before}+{after}" for before, after in layer.padding)
    counts = (layer.trainable, layer.frozen, layer.shared, *dataclasses.astuple(layer.counts), layer.activation_bytes)
    cells = [
        ("name", f'<i class="{kind}"></i>{_text(layer.operation)}'),
        ("", by(layer.shape)),
        *(("", number(count)) for count in counts),
        ("whole" if layer.sees_whole else "", sees),
        *(("", by(f"{float(value):g}" for value in values)) for values in (layer.stride, layer.offset)),
        ("", padding),
    ]
    view = layer.kind == "shape" and not layer.activation_bytes
    full = _text(f"{layer.path} ({layer.module})")
    name = f'<th scope="row" title="{full}">{_text(layer.path) or "(network)"}</th>'
    return (
        f"<tr{_class('view' if view else '')}>{name}{''.join(f'<td{_class(c)}>{cell}</td>' for c, cell in cells)}</tr>"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _drawing(report: Report) -> str:
    """The network drawn as SVG, its colors as variables, so that it follows the theme; text stays text."""
    from matplotlib import rc_context

    figure, text = draw_network(report), io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "striate"}):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    # The style sheet within would hold for the whole page.
    svg = svg.replace("*{stroke", ".striate-report svg *{stroke", 1)
    names = {light: name for name, (light, _) in _palette().items()}
    svg = re.sub(
        'style="[^"<>]*"', lambda style: re.sub("#[0-9a-f]{6}", lambda c: _variable(c[0], names), style[0]), svg
    )
    width = figure.get_figwidth() * 72
    name = _text(report.network)
    shown = f'role="img" aria-label="{name}, drawn"'
    shown += f' style="width:{width:.0f}pt;min-width:{0.58 * width:.0f}pt"'
    return svg.replace("<svg ", f"<svg {shown} ", 1)


def _variable(color: str, names: Mapping[str, str]) -> str:
    return f"var(--{names[color]})" if color in names else color


def _palette() -> dict[str, tuple[str, str]]:
    """Light and dark color of each variable."""
    kinds = {f"{kind}-fill": (fill, _mixed(border)) for kind, (fill, border) in KINDS.items()}
    return {**COLORS, **kinds, **{kind: (border, border) for kind, (_, border) in KINDS.items()}}


def _mixed(border: str) -> str:
    """A dark tint of a color."""
    pairs = ((int(border[i : i + 2], 16), int(DARK_PAPER[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(0.3 * own + 0.7 * paper):02x}" for own, paper in pairs)


def _style() -> str:
    palettes = [";".join(f"--{name}:{colors[dark]}" for name, colors in _palette().items()) for dark in (0, 1)]
    kinds = "".join(f".striate-report .{kind}{{background:var(--{kind})}}" for kind in KINDS)
    return f"""\
.striate-report {{ {palettes[0]}; --rule: #d8dee4; --page: #f6f8fa; color-scheme: light; }}
@media screen and (prefers-color-scheme: dark) {{
  .striate-report {{ {palettes[1]}; --rule: #30363d; --page: #0d1117; color-scheme: dark; }} }}
{kinds}
{_STYLE}"""


_DRAWING = (
    "Each box is an operation, with those that follow it point by point, its module, the "
    "parameters that it is the first "
    "to use, and how much of the input an output of it sees. Shapes stand on the lines; data "
    "runs down the first column, "
    "up the second, and so on."
)
_TABLE = (
    "In the order of execution. Parameters count where they are first used. What an output sees is in input positions, "
    "padding included, and shaded where it is the whole input; stride is from one output to "
    "the next, offset the middle of "
    "what the first sees, padding what lies before and behind the input. Pale rows only rename numbers."
)

_STYLE = """\
body:has(> .striate-report:only-child) { margin: 0; }
body > .striate-report:only-child { min-height: 100vh; }
.striate-report { background: var(--page); color: var(--ink); padding: clamp(0.75rem, 3vw, 2rem); text-align: left;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  -webkit-text-size-adjust: 100%; }
.striate-report * { box-sizing: border-box; }
.striate-report header, .striate-report section { max-width: 92rem; margin: 0 auto 1.25rem; }
.striate-report section { padding: clamp(0.8rem, 2.5vw, 1.5rem); background: var(--paper);
  border: 1px solid var(--rule);
  border-radius: 12px; }
.striate-report h1, .striate-report h2 { margin: 0; line-height: 1.25; overflow-wrap: anywhere; color: var(--ink); }
.striate-report h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); letter-spacing: -0.02em; }
.striate-report h2 { font-size: 1.2rem; }
.striate-report .note { margin: 0.3rem 0 0; max-width: 80ch; color: var(--muted); overflow-wrap: anywhere; }
.striate-report section > .note + * { margin-top: 1rem; }
.striate-report dl, .striate-report dd, .striate-report dt { margin: 0; padding: 0; font-weight: inherit; }
.striate-report .facts { display: flex; flex-wrap: wrap; gap: 1px; margin-top: 1.25rem; background: var(--rule);
  border: 1px solid var(--rule); border-radius: 12px; overflow: hidden; }
.striate-report .facts div { flex: 1 1 9rem; padding: 0.75rem 1rem; background: var(--paper); display: flex;
  flex-direction: column-reverse; justify-content: flex-end; }
.striate-report .facts dt { color: var(--muted); font-size: 0.85rem; }
.striate-report .facts dd { font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.striate-report .summary > div { display: grid; grid-template-columns: minmax(8rem, 15rem) minmax(0, 1fr);
  gap: 0.2rem 1.2rem;
  padding: 0.4rem 0; }
.striate-report .summary > div + div { border-top: 1px solid var(--rule); }
.striate-report .summary dt { color: var(--muted); }
.striate-report .summary dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.striate-report .bar { display: flex; width: 100%; max-width: 32rem; height: 0.7rem; margin: 0.35rem 0 0.2rem;
  border-radius: 4px; overflow: hidden; }
.striate-report .scroll { overflow: auto; max-height: 85vh; border: 1px solid var(--rule); border-radius: 8px; }
.striate-report svg { display: block; max-width: 100%; height: auto; margin: 0 auto; background: var(--paper); }
.striate-report table { border-collapse: separate; border-spacing: 0; width: 100%; margin: 0; font-size: 0.78rem;
  font-variant-numeric: tabular-nums; table-layout: auto; }
.striate-report th, .striate-report td { padding: 0.28rem 0.45rem; text-align: right; white-space: nowrap; border: 0;
  border-top: 1px solid var(--rule); color: var(--ink); background: var(--paper); vertical-align: baseline; }
.striate-report thead { position: sticky; top: 0; z-index: 2; }
.striate-report thead th { border-top: 0; color: var(--muted); font-weight: 600; }
.striate-report thead tr:first-child th { text-align: center; color: var(--ink); padding-bottom: 0; }
.striate-report thead tr:last-child th { border-bottom: 1px solid var(--rule); }
.striate-report thead .first, .striate-report tr > :is(:nth-child(4), :nth-child(7), :nth-child(13), :nth-child(14)) {
  border-left: 1px solid var(--rule); }
.striate-report tbody th, .striate-report tfoot th, .striate-report thead tr:last-child th:first-child {
  position: sticky; left: 0; z-index: 1; text-align: left; font-weight: 550; max-width: 16rem; overflow: hidden;
  text-overflow: ellipsis; }
.striate-report td.name, .striate-report thead tr:last-child th:nth-child(2) { text-align: left; }
.striate-report .shares { display: flex; flex-wrap: wrap; gap: 0 1.1rem; }
.striate-report i { display: inline-block; width: 0.62em; height: 0.62em; margin-right: 0.5em; border-radius: 2px; }
.striate-report td.whole { background: var(--convolution-fill); }
.striate-report .view > * { color: var(--muted); }
.striate-report tfoot > tr > * { font-weight: 650; border-top: 2px solid var(--rule); }
.striate-report :focus-visible { outline: 2px solid var(--convolution); }
@media (max-width: 40rem) {
  .striate-report { font-size: 14px; }
  .striate-report .summary > div { grid-template-columns: 1fr; }
  .striate-report .facts div { flex-basis: 40%; padding: 0.6rem 0.75rem; }
  .striate-report .facts dd { font-size: 1.1rem; }
  .striate-report tbody th, .striate-report tfoot th { max-width: 8.5rem; }
}
@media print {
  .striate-report { --page: #fff; padding: 0; font-size: 9.5pt; min-height: 0 !important; }
  .striate-report section { border: 0; padding: 0; break-inside: auto; }
  .striate-report .scroll { overflow: visible; max-height: none; border: 0; }
  .striate-report svg { width: 100% !important; min-width: 0 !important; max-height: 24cm; }
  .striate-report table { font-size: 4.6pt; }
  .striate-report th, .striate-report td { padding: 1pt 1.4pt; }
  .striate-report thead { position: static; }
  .striate-report tr, .striate-report svg, .striate-report .summary > div { break-inside: avoid; }
  .striate-report h2, .striate-report .note { break-after: avoid; }
  .striate-report .bar, .striate-report i, .striate-report .whole { print-color-adjust: exact; }
}
"""
