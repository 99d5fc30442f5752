"""The pictures of a run: plain data in, a matplotlib `Figure` out; nothing is computed, shown or saved here.

Every function builds a `matplotlib.figure.Figure` of its own, without pyplot, so no state is shared and any
thread may draw. Save with `figure.savefig(path)` (120 dots per inch).
Colors are Okabe & Ito's, told apart also with a color vision deficiency; text that comes from the user is
never read as math, is shortened to its room, and shows □ for a letter that the font lacks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from striate.errors import InputError
from striate.interpret import sheet
from striate.interpret.sheet import DPI, INK, MUTED, PALE, RULE, Array, Inches
from striate.shapes import Int64, Tensor, UInt8
from striate.tasks import spell

BLUE, ORANGE = "#0072b2", "#d55e00"
OTHERS = ("#009e73", "#cc79a7", "#56b4e9", "#e69f00")
STRONG: dict[str, Any] = {"linewidth": 1.8}
PALE_LINE: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.3}
LEGEND: dict[str, Any] = {"fontsize": 8.5, "frameon": False, "labelcolor": INK}
DOTTED: dict[str, Any] = {"linewidth": 1.8, "marker": "o", "markersize": 4}

Lines = Sequence[Mapping[str, Any]]


@runtime_checkable
class Bin(Protocol):
    """One bar of a calibration diagram: confidences in (lower, upper], their means, how many."""

    @property
    def lower(self) -> float: ...
    @property
    def upper(self) -> float: ...
    @property
    def confidence(self) -> float: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def count(self) -> int: ...


@runtime_checkable
class Mistake(Protocol):
    """One wrong prediction; `probability` is what the network gave to the class it predicted."""

    @property
    def image(self) -> UInt8[Tensor, "c h w"]: ...
    @property
    def truth(self) -> str: ...
    @property
    def predicted(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def name(self) -> str: ...


def curves(history: Lines) -> Figure:
    """Loss, accuracy, learning rate and momentum against the step, from the lines of metrics.jsonl.

    The loss of each step is pale, its mean over neighboring steps strong, validation has dots. A panel
    without numbers is left out, the loss axis turns logarithmic where it spans a factor of 50, and values
    that are not finite leave a gap. Raises InputError for a history without a step or epoch line.
    """
    steps, epochs = ([line for line in history if line.get("kind") == kind] for kind in ("step", "epoch"))
    if not steps and not epochs:
        raise InputError("no curves to draw", expected="step or epoch lines", got=f"{len(history)} others")
    validated = [line for line in epochs if line.get("validation")]
    scores = sorted({key for line in validated for key in line["validation"] if "accuracy" in key})
    rates = [key for key in ("learning_rate", "momentum") if np.isfinite(_column(steps, key)).any()]
    rows = {("loss", "loss"): 3.0}  # panels side by side -> relative height
    if scores:
        rows["accuracy", "accuracy"] = 2.4
    if rates:
        rows[rates[0], rates[-1]] = 1.6
    figure = _framed(7.5, 1.1 + 2.3 * len(rows))
    panels = figure.subplot_mosaic([list(row) for row in rows], height_ratios=list(rows.values()))
    _draw_loss(panels["loss"], steps, epochs, validated)
    if scores:
        _draw_accuracy(panels["accuracy"], validated, scores)
    for key in rates:
        _line(panels[key], _column(steps, "step"), _column(steps, key), color=INK, linewidth=1.2)
        _title(panels[key], key.replace("_", " ").capitalize())
        panels[key].yaxis.set_major_formatter("{x:g}")
        panels[key].yaxis.set_major_locator(MaxNLocator(4))
    last = max(1, *(line["step"] for line in (*steps, *epochs)))
    for panel in panels.values():
        _plain(panel, "step")
        panel.set_xlim(-0.02 * last, 1.02 * last)
        panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        panel.xaxis.set_major_formatter("{x:,.0f}")
    if epochs:
        _epoch_axis(panels["loss"], epochs)
    return figure


def _draw_loss(axes: Axes, steps: Lines, epochs: Lines, validated: Lines) -> None:
    if steps:
        x, loss, label = _column(steps, "step"), _column(steps, "loss"), "training, each step"
    else:
        x, loss, label = _column(epochs, "step"), _column(epochs, "train_loss"), "training, mean of the epoch"
    reach = len(loss) // 50
    _line(axes, x, loss, label=label, color=BLUE, **(PALE_LINE if reach else STRONG))
    if reach:
        label = f"training, mean of {2 * reach + 1} steps"
        _line(axes, x, _smooth(loss, reach), label=label, color=BLUE, **STRONG)
    checked = _column([line["validation"] for line in validated], "loss")
    if validated:
        _line(axes, _column(validated, "step"), checked, label="validation", color=ORANGE, **DOTTED)
    values = np.concatenate([loss, checked])
    values = values[np.isfinite(values)]
    wide = len(values) and 0 < 50 * values.min() < values.max()
    if wide:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    _title(axes, "Loss (logarithmic)" if wide else "Loss")
    axes.legend(**LEGEND)


def _draw_accuracy(axes: Axes, validated: Lines, names: Sequence[str]) -> None:
    for name, color in zip(names, [ORANGE, *OTHERS] * len(names), strict=False):
        values = _column([line["validation"] for line in validated], name)
        _line(axes, _column(validated, "step"), values, label=spell(name), color=color, **DOTTED)
    first = _column([line["validation"] for line in validated], names[0])
    title = f"Validation {spell(names[0])}"
    if np.isfinite(first).any():
        best = int(np.nanargmax(first))
        title += f", best {100 * first[best]:.2f} % in epoch {validated[best]['epoch']}"
    _title(axes, title)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if len(names) > 1:
        axes.legend(**LEGEND)


def _epoch_axis(axes: Axes, epochs: Lines) -> None:
    """Epoch numbers along the top, at the steps where the epochs end, at most twelve of them."""
    some = epochs[:: math.ceil(len(epochs) / 12)]
    top = axes.secondary_xaxis("top")
    top.set_xticks([line["step"] for line in some], [str(line["epoch"]) for line in some])
    top.set_xlabel("epoch", fontsize=9, color=MUTED, loc="right")
    top.tick_params(labelsize=8.5, colors=MUTED, color=RULE, length=3)
    top.spines["top"].set_visible(False)


def confusion(matrix: Int64[Tensor, "k k"], class_names: Sequence[str]) -> Figure:
    """How often each true class (row) was predicted as each class (column): colors are shares of the row.

    The color scale is a square root, so that a share of 1 % can be seen. Counts are written in the cells up
    to 25 classes; beyond, names are thinned to those that fit. A class without examples is a gray row.
    Raises InputError unless the matrix is square with one name per class.
    """
    k = len(class_names)
    if tuple(matrix.shape) != (k, k) or not k:
        raise InputError("cannot draw the confusion", expected=f"a {k} × {k} matrix", got=tuple(matrix.shape))
    counts = matrix.cpu().numpy()
    totals = counts.sum(1, keepdims=True).repeat(k, 1)
    shares = np.ma.masked_array(counts / np.maximum(totals, 1), totals == 0)
    side = min(max(2.4 + 0.38 * k, 4.8), 10)
    figure = _framed(side + 0.4, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=colormaps["Blues"].with_extremes(bad=RULE), norm=PowerNorm(0.5, 0, 1))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.01, 0.1, 0.5, 1], format=PercentFormatter(1))
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=0)
    bar.set_label("share of the true class", fontsize=8.5, color=MUTED)
    bar.outline.set_visible(False)
    _plain(axes, "predicted class", "true class")
    axes.grid(False)
    _name_classes(axes, class_names, 0.62 * side)
    if k <= 25:
        _write_counts(axes, counts, shares, 0.62 * side * 72 / k)
    _title(axes, f"{int(counts.trace()):,} of {int(counts.sum()):,} on the diagonal")
    return figure


def _name_classes(axes: Axes, class_names: Sequence[str], inches: Inches) -> None:
    """Class names along both sides, each `every`-th where not all fit into the inches of a side."""
    every = math.ceil(len(class_names) / (inches * 9))
    places = list(range(0, len(class_names), every))
    names = [sheet.legible(class_names[i], 1.4, 8) for i in places]
    upright = 0.08 * max(map(len, names)) > inches / len(names)
    axes.set_xticks(places, names, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)
    axes.tick_params(labelsize=8, length=0 if every == 1 else 2)


def _write_counts(axes: Axes, counts: Array, shares: Array, points: float) -> None:
    """The counts that are not zero, in letters that fit a cell of so many points."""
    size = min(9.5, 0.9 * points / (0.62 * min(len(str(counts.max())), 4)))
    for row, column in np.argwhere(counts > 0):
        count = int(counts[row, column])
        text = str(count) if count < 10_000 else f"{count / 1000:.0f}k"
        color = "white" if shares[row, column] > 0.4 else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


def reliability(bins: Sequence[Bin]) -> Figure:
    """Accuracy against confidence, bin by bin, and how many predictions fell into each bin.

    On the diagonal a confidence of 80 % is right 8 times in 10; the gap to it is hatched. Empty bins are
    left out. Raises InputError where every bin is empty.
    Source: Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", fig. 1.
    """
    full = [b for b in bins if b.count]
    if not full:
        raise InputError("no calibration to draw", expected="predictions", got=f"{len(bins)} empty bins")
    figure = _framed(5.4, 6.2)
    top, bottom = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    left, width = [b.lower for b in full], [b.upper - b.lower for b in full]
    accuracy = np.array([b.accuracy for b in full])
    gap = np.array([b.confidence for b in full]) - accuracy
    bar = {"width": width, "align": "edge", "linewidth": 1.0}
    top.bar(left, accuracy, color=BLUE, alpha=0.75, edgecolor="white", label="accuracy", **bar)
    hatched = {"color": "none", "edgecolor": ORANGE, "hatch": "////", "label": "gap to the confidence"}
    top.bar(left, gap, bottom=accuracy, **hatched, **bar)
    top.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfectly calibrated")
    top.set(xlim=(0, 1), ylim=(0, 1))
    top.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside lower center", ncols=3, **LEGEND)
    _title(top, "Is it as sure as it should be?")
    bottom.bar(left, [b.count for b in full], color=MUTED, edgecolor="white", **bar)
    bottom.xaxis.set_major_formatter(PercentFormatter(1.0))
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    _plain(top, "", "accuracy")
    _plain(bottom, "confidence", "predictions")
    return figure


def mistakes(items: Sequence[Mistake]) -> Figure:
    """The wrong predictions in the order given, up to 30: what was predicted, how surely, and what is true.

    Without a mistake the figure says so.
    """
    if not items:
        return sheet.blank(6, 1.2, "No mistakes", "Every prediction was right.")[0]
    shown = items[:30]
    note = "In orange what was predicted and how surely, below it the truth."
    title = sheet.some(len(shown), len(items), "mistake")
    figure, axes, boxes = sheet.grid(len(shown), 5, (1.35, 1.98), title, note)
    for item, (x, y) in zip(shown, boxes, strict=True):
        sheet.write(axes, x, y, sheet.legible(item.predicted, 0.85, 8.5), 8.5, ORANGE, weight="bold")
        sheet.write(axes, x + 1.35, y, f"{100 * item.probability:.0f} %", 8.5, ORANGE, ha="right")
        sheet.write(axes, x, y + 0.17, sheet.legible(item.truth, 1.35, 8.5), 8.5, INK)
        sheet.tile(axes, sheet.photo(item.image), (x, y + 0.36, 1.35, 1.35))
        sheet.write(axes, x, y + 1.81, sheet.legible(item.name, 1.35, 6.5, keep_end=True), 6.5, MUTED)
    return figure


def examples(items: Sequence[tuple[UInt8[Tensor, "c h w"], str]]) -> Figure:
    """Images with their class, up to 40: what the network is shown in training, after augmentation.

    Raises InputError where there is no image.
    """
    if not items:
        raise InputError("no examples to draw", expected="pairs (image, class name)", got="none")
    shown = items[:40]
    note = "As the network sees them, augmented."
    figure, axes, boxes = sheet.grid(len(shown), 8, (0.9, 1.15), f"{len(shown)} training examples", note)
    for (image, name), (x, y) in zip(shown, boxes, strict=True):
        sheet.write(axes, x, y, sheet.legible(name, 0.9, 7.5), 7.5, INK)
        sheet.tile(axes, sheet.photo(image), (x, y + 0.18, 0.9, 0.9))
    return figure


def _column(lines: Lines, key: str) -> Array:
    """One number per line; what is missing or not finite is NaN, which leaves a gap in a line."""
    values = np.array([line.get(key) for line in lines], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _smooth(values: Array, reach: int) -> Array:
    """The mean of each value and `reach` neighbors on both sides (fewer at the ends), without NaNs."""
    known = np.isfinite(values)
    place = np.arange(len(values))
    first, end = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    sums = [np.concatenate([[0.0], np.cumsum(row)]) for row in (np.where(known, values, 0), known)]
    total, count = (row[end] - row[first] for row in sums)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _framed(width: Inches, height: Inches) -> Figure:
    return Figure((width, height), DPI, layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))


def _line(axes: Axes, x: Array, y: Array, **style: Any) -> None:
    alone = {} if np.isfinite(y).sum() > 1 else {"marker": "o", "markersize": 4}
    axes.plot(x, y, **{**alone, **style})


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=11, color=INK, loc="left", fontweight="bold")


def _plain(axes: Axes, x: str = "", y: str = "") -> None:
    """The common look: two quiet axes, small labels, a pale grid behind the data."""
    axes.spines[:].set_color(RULE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=INK, color=RULE, length=3)
    axes.set_axisbelow(True)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_xlabel(x, fontsize=9, color=MUTED)
    axes.set_ylabel(y, fontsize=9, color=MUTED)
