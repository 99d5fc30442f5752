"""One page that tells a run: headline numbers, pictures and how to read them, classes, recipe, reuse.

The page is a single string of HTML. It loads nothing: pictures are inlined, style and script are in it, and
its content security policy forbids the rest, so it can be mailed, archived and opened from a disk.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import isfinite
from pathlib import Path
from typing import Protocol, runtime_checkable

from striate.errors import InputError, did_you_mean

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Section:
    """Pictures under one heading; `reading` is the sentence that teaches how to read them.

    `figures` maps a caption to the bytes of a PNG; the caption is its text for those who cannot see it.
    """

    title: str
    reading: str
    figures: Mapping[str, bytes]


@runtime_checkable
class ClassRow(Protocol):
    """Scores of one class in [0, 1], NaN where undefined, and the number of its test examples."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> float: ...
    @property
    def recall(self) -> float: ...
    @property
    def f1(self) -> float: ...
    @property
    def support(self) -> int: ...


@dataclass(frozen=True)
class Report:
    """All that the page says. Mappings keep their order; what is empty is left out.

    facts: headline numbers ("test accuracy": "98.7 %"), commands: what one does -> the line to type,
    versions: software -> version.
    """

    title: str
    subtitle: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    per_class: Sequence[ClassRow] = ()
    recipe: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


# In the order of the page: name of the picture -> heading, how to read it, caption.
_KNOWN = {
    "curves": (
        "Training",
        "Training and validation loss should fall together. Validation rising while training still falls is "
        "overfitting: stop earlier, augment more or regularize. Both staying high is a network that is too "
        "small or a learning rate that does not fit.",
        "Loss, accuracy and schedule, step by step",
    ),
    "confusion": (
        "Which classes are confused",
        "Each row is a true class, each column a prediction; a perfect network fills only the diagonal. A "
        "dark cell beside it is a pair to look into. The color scale is a square root, so rare errors "
        "show, too.",
        "Confusion matrix: true classes in rows, predicted classes in columns",
    ),
    "reliability": (
        "How far to trust its confidence",
        "Of the predictions made with 80 % confidence, 80 % should be right. Bars below the dashed line mean "
        "a network that is too sure, above it one that is too modest; bars of few predictions are noise.",
        "Accuracy against confidence, with the number of predictions in each bin",
    ),
    "mistakes": (
        "The surest mistakes",
        "Wrong predictions, the most confident first. Check these by eye: many turn out to be wrong labels, "
        "the others show what the network has not learned.",
        "Test images that were misclassified with the highest probability",
    ),
    "filters": (
        "What the first layer looks for",
        "The weights of the first convolution. Clean edges, blobs and color contrasts are a trained layer; "
        "noise is one that learned little, and an even tile is a filter that is not used.",
        "Filters of the first convolution",
    ),
    "feature_maps": (
        "What each layer makes of an image",
        "Bright is where a channel responds. Early layers keep the outlines of the image, later ones answer "
        "to parts at coarser and coarser resolution; even tiles are channels that this image leaves silent.",
        "An image and its feature maps, layer by layer",
    ),
    "examples": (
        "What it was trained on",
        "Training images as the network gets them, after augmentation. Each should still be recognizable as "
        "its class; if not, the augmentation is too strong or the labels are wrong.",
        "Training images with their class",
    ),
}


def standard_sections(pictures: Mapping[str, bytes]) -> tuple[Section, ...]:
    """Pictures by what they show -> sections in the page's order.

    Raises InputError for a name that has no section.
    """
    for name in pictures:
        if name not in _KNOWN:
            raise InputError("no section for a picture", got=repr(name), fix=did_you_mean(name, _KNOWN))
    return tuple(
        Section(title, reading, {caption: pictures[name]})
        for name, (title, reading, caption) in _KNOWN.items()
        if name in pictures
    )


def render(report: Report) -> str:
    """The page as one string of HTML, to be written as UTF-8.

    Raises InputError for a picture that is not a PNG.
    """
    blocks = [(section.title, section.reading, _figures(section.figures)) for section in report.sections]
    if report.per_class:
        blocks.append(("Class by class", _CLASSES, _per_class(report.per_class)))
    if report.recipe:
        blocks.append(("Recipe", _RECIPE, f'<pre tabindex="0"><code>{_text(report.recipe)}</code></pre>'))
    if report.commands:
        blocks.append(("Use it again", _COMMANDS, _commands(report.commands)))
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#s{i}">{_text(title)}</a></li>' for i, (title, *_) in enumerate(blocks))
    body = "\n".join(
        f'<section id="s{i}" aria-labelledby="h{i}"><div class="head"><h2 id="h{i}">{_text(title)}</h2>'
        f'<p class="reading">{_text(reading)}</p></div><div class="content">{content}</div></section>'
        for i, (title, reading, content) in enumerate(blocks)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{_text(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<div class="page">
<header>
<h1>{_text(report.title)}</h1>
{f'<p class="subtitle">{_text(report.subtitle)}</p>' if report.subtitle else ""}
{_pairs("facts", report.facts)}
{f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if links else ""}
</header>
<main>
{body}
</main>
<footer>{_pairs("versions", report.versions)}</footer>
</div>
<dialog aria-label="Enlarged picture"><img alt=""></dialog>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _text(text: str) -> str:
    """Escaped for HTML; what UTF-8 cannot write (from odd file names) becomes "?"."""
    return escape(text.encode("utf-8", "replace").decode("utf-8"))


def _pairs(kind: str, pairs: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in pairs.items())
    return f'<dl class="{kind}">{rows}</dl>' if rows else ""


def _figures(figures: Mapping[str, bytes]) -> str:
    return "".join(_figure(caption, png) for caption, png in figures.items())


def _figure(caption: str, png: bytes) -> str:
    if png[:8] != _PNG or len(png) < 24:
        raise InputError(
            "cannot put a picture into the report", where=repr(caption), expected="a PNG", got=repr(png[:8])
        )
    width, height = struct.unpack(">II", png[16:24])  # known in advance, so the page does not jump
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = f'<img src="{source}" alt="{_text(caption)}" width="{width}" height="{height}">'
    button = f'<button type="button" class="zoom" title="Enlarge">{image}</button>'
    return f"<figure>{button}<figcaption>{_text(caption)}</figcaption></figure>"


def _per_class(rows: Sequence[ClassRow]) -> str:
    titles = ("Class", "Precision", "Recall", "F1", "Count")
    head = "".join(f'<th scope="col"><button type="button">{title}</button></th>' for title in titles)
    longest = max(len(row.name) for row in rows)  # decides the width of the first column
    lines = []
    for row in rows:
        shares = "".join(
            f'<td class="share" style="--v:{100 * share:.1f}">{100 * share:.1f} %</td>'
            if isfinite(share)
            else "<td>–</td>"
            for share in (row.precision, row.recall, row.f1)
        )
        lines.append(f'<tr><th scope="row">{_text(row.name)}</th>{shares}<td>{row.support:,}</td></tr>')
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Scores of each class">'
        f'<table style="--name:{longest}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _commands(commands: Mapping[str, str]) -> str:
    return "".join(
        f'<h3>{_text(what)}</h3><pre class="command"><code>{_text(line)}</code></pre>'
        for what, line in commands.items()
    )


_CLASSES = (
    "Precision: how many of those predicted as the class belong to it. Recall: how many of the class were "
    "found. F1 is their harmonic mean, the count that of its examples. Click a column title to sort by it."
)
_RECIPE = "Every setting of this run. Saved as recipe.yaml, it trains the same network again."
_COMMANDS = "What to type to use this run again; a click selects the whole line."

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

_SCRIPT = """
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll(".zoom")) button.onclick = () => {
  const from = button.querySelector("img"), to = dialog.querySelector("img");
  to.src = from.src; to.alt = from.alt;
  dialog.showModal();
};
dialog.onclick = () => dialog.close();
for (const head of document.querySelectorAll("thead th")) head.querySelector("button").onclick = () => {
  const up = head.ariaSort !== "ascending", column = head.cellIndex;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.ariaSort = up ? "ascending" : "descending";
  const key = row => Number(row.cells[column].textContent.replace(/[, %]/g, "")) || 0;
  const order = column ? (a, b) => key(a) - key(b)
    : (a, b) => a.cells[0].textContent.localeCompare(b.cells[0].textContent, undefined, {numeric: true});
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows].sort(order);
  body.append(...(up ? rows : rows.reverse()));
};
"""
