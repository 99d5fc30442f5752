"""Pictures of the checks: similarity against layers, curves, methods side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from striate.interpret import sheet
from striate.interpret.attribution.cam_pictures import overlaid
from striate.interpret.pictures import photo_of
from striate.interpret.sheet import INK, MARGIN, MUTED, RULE
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.trust.comparison import Comparison
    from striate.interpret.trust.curves import Curves
    from striate.interpret.trust.randomization import Randomization

# Okabe & Ito's, told apart by everybody.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a68b0", "#1f2328")
WIDE, TALL = 5.6, 2.6  # inches of a plot


def draw_randomization(found: Sequence[Randomization]) -> Figure:
    """Median rank correlation of the magnitudes against the layers made random, with the middle half of the items; of
    several methods on the same layers."""
    first = found[0]
    title = found[0].title() if len(found) == 1 else f"{first.mode} randomization, {first.spearman.shape[1]} items"
    note = "1: the map stays as it was, whatever the weights. Band: the middle half of the items."
    figure, axes = _plot(title, note, room=0.9 + 0.055 * max(map(len, first.layers)))
    places = np.arange(len(first.layers) + 1)
    for one, color in zip(found, _cycled(), strict=False):
        start = torch.ones(1, one.magnitude.shape[1])
        _band(axes, places, torch.cat([start, one.magnitude]), color, one.method)
    axes.set_xticks(places, ["trained", *first.layers], rotation=90)
    axes.set(ylim=(min(-0.3, axes.get_ylim()[0]), 1.05), ylabel="rank correlation\nof magnitudes")
    axes.axhline(0, color=RULE, linewidth=0.8, zorder=0)
    _named(axes, len(found))
    return figure


def draw_curves(found: Sequence[Curves]) -> Figure:
    """Mean curves of one or several methods, with the middle half of the items of a single one."""
    first, single = found[0], len(found) == 1
    title = first.title() if single else f"{first.kind}, {len(first.scores)} items"
    better = "The lower, the better" if first.kind == "deletion" else "The higher, the better"
    band = " Band: the middle half of the items." if single else ""
    figure, axes = _plot(title, f"{better}; area under the mean curve in brackets.{band}", room=0.6)
    for one, color in zip(found, _cycled(), strict=False):
        label = f"{one.method} ({float(one.auc.mean()):.3f})"
        axes.plot(one.fractions, one.scores.mean(0), color=color, linewidth=1.6, label=label)
        if single:
            low, high = one.scores.quantile(torch.tensor([0.25, 0.75]).to(one.scores), 0)
            axes.fill_between(one.fractions, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set(xlim=(0, 1), xlabel=f"share of positions: {first.kind}", ylabel=str(first.parameters["scale"]))
    _named(axes, 2)
    return figure


def draw_comparison(found: Comparison) -> Figure:
    """See `Comparison.plot`."""
    from striate.interpret.trust.comparison import METRICS

    names, count = found.methods, len(found.scores)
    left, each = 0.3 + 0.085 * max(map(len, names)), 1.75
    tall = 0.24 * len(names)
    note = "Means over the items, with twice their standard errors. Gray: the better of the maps that know no network."
    title = f"{len(names) - len(found.baselines)} methods on {len(found.x)} items"
    width = left + count * each + MARGIN
    figure, _ = sheet.blank(width, tall + 1.55, title, note)
    height = tall + 1.55
    for column, metric in enumerate(found.scores):
        axes = figure.add_axes(((left + column * each) / width, 0.45 / height, (each - 0.25) / width, tall / height))
        mean, error = found.mean(metric)
        blind = mean[[names.index(name) for name in found.baselines]]
        edge = float(blind.max() if METRICS[metric] else blind.min())
        axes.axvline(edge, color=RULE, linewidth=5, zorder=0)
        for row, name in enumerate(names):
            color = MUTED if name in found.baselines else COLORS[0]
            axes.errorbar(float(mean[row]), row, xerr=2 * float(error[row]), fmt="o", markersize=4, color=color, lw=1)
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        axes.set_yticklabels(names if not column else [])
        axes.set_title(f"{metric}\n{'high' if METRICS[metric] else 'low'} is better", fontsize=8, color=INK)
        _quiet(axes)
    return figure


def draw_gallery(found: Comparison, items: int) -> Figure:
    """See `Comparison.gallery`."""
    shown = min(items, len(found.x))
    names = ("input", *found.methods)
    if found.x.dim() != 4:
        return _signals(found, shown)
    size, gap, head, left = 1.1, 0.06, 0.75, 1.75
    width, height = left + shown * (size + gap) + MARGIN, head + len(names) * (size + gap) + MARGIN
    note = "Each map by its own greatest magnitude: yellow; where a method has signs, red for, blue against."
    figure, axes = sheet.blank(width, height, f"{len(found.methods)} methods", note)
    for row, name in enumerate(names):
        y = head + row * (size + gap)
        sheet.write(axes, MARGIN, y + size / 2, sheet.legible(name, left - MARGIN, 8), 8)
        signed = bool(row and (found.heats[row - 1] < 0).any())
        for item in range(shown):
            image = photo_of(found.x[item])
            pixels = overlaid(image, found.heats[row - 1, item], signed)[1] if row else image
            sheet.tile(axes, pixels, (left + item * (size + gap), y, size, size))
    return figure


def _signals(found: Comparison, shown: int) -> Figure:
    """Of signals, and of volumes summed to one row: a strip for each method below each other."""
    strips = found.heats.flatten(3).nan_to_num(0).sum(3) if found.heats.dim() > 3 else found.heats
    head, left, wide, tall = 0.75, 1.6, 6.0, 0.16
    block = (len(found.methods) + 1) * tall
    figure, axes = sheet.blank(left + wide + MARGIN, head + shown * block + MARGIN, f"{len(found.methods)} methods", "")
    for item in range(shown):
        for row, name in enumerate(found.methods):
            y, heat = head + item * block + row * tall, strips[row, item].double()
            sheet.write(axes, MARGIN, y + tall / 2, sheet.legible(name, left - MARGIN, 7), 7)
            colors = sheet.diverging(heat) if bool((heat < 0).any()) else {"cmap": "viridis"}
            sheet.tile(axes, heat.nan_to_num(0).numpy()[None], (left, y, wide, 0.85 * tall), fit=False, **colors)
    return figure


def _plot(title: str, note: str, room: float) -> tuple[Figure, Axes]:
    """A sheet with one plot and `room` inches below it."""
    width, height = WIDE + 2 * MARGIN + 0.6, TALL + 0.9 + room
    figure, _ = sheet.blank(width, height, title, note)
    axes = figure.add_axes(((MARGIN + 0.6) / width, room / height, WIDE / width, TALL / height))
    _quiet(axes)
    return figure, axes


def _band(axes: Axes, places: np.ndarray, values: Tensor, color: str, label: str) -> None:
    low, middle, high = values.double().quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), 1)
    axes.plot(places, middle, "o-", color=color, linewidth=1.4, markersize=3, label=label)
    axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)


def _named(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(fontsize=7.5, frameon=False)


def _cycled() -> Iterator[str]:
    while True:
        yield from COLORS


def _quiet(axes: Axes) -> None:
    axes.tick_params(labelsize=7.5, colors=MUTED, color=RULE, length=2.5)
    axes.xaxis.label.set(fontsize=8, color=MUTED)
    axes.yaxis.label.set(fontsize=8, color=MUTED)
    axes.spines[:].set_color(RULE)
    axes.spines[["top", "right"]].set_visible(False)
