"""Curves by depth and by motion: equivariance, probes, separation. Nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from striate.interpret import sheet
from striate.interpret.sheet import DPI, INK, MUTED, PALE, RULE

if TYPE_CHECKING:
    from striate.interpret.features.equivariance import Consistency, Equivariance
    from striate.interpret.features.separation import Probes, Separations

BLUE, ORANGE = "#0072b2", "#d55e00"
KINDS = {"shift": "shift, positions", "rotation": "rotation, degrees", "scale": "scale, times"}
MEANINGS = {
    "equivariance": "moves with it\n|f(gx) - g f(x)| / |f(x)|",
    "interior": "the same, inside\nneither border nor filling",
    "invariance": "stays\n|f(gx) - f(x)| / |f(x)|",
}


def draw_equivariance(found: Equivariance) -> Figure:
    """See `Equivariance.plot`: a row for each error and one for the answers, a column for each kind of motion."""
    kinds = [kind for kind in KINDS if found.of(kind)]
    errors = [name for name in MEANINGS if np.isfinite(getattr(found, name).numpy()).any()]
    rows = [*errors, *(["unchanged"] if found.unchanged is not None else [])]
    figure = _framed(2.9 * len(kinds) + 2.0, 2.0 * len(rows) + 0.6)
    panels = figure.subplots(len(rows), len(kinds), squeeze=False, sharex="col", sharey="row")
    colors = colormaps["viridis"](np.linspace(0.95, 0.0, len(found.layers)))
    for column, kind in enumerate(kinds):
        places = found.of(kind)
        amounts = [found.motions[place].number for place in places]
        for row, name in enumerate(rows):
            axes = panels[row][column]
            _plain(axes, KINDS[kind] if row == len(rows) - 1 else "")
            if name == "unchanged" and found.unchanged is not None:
                axes.plot(amounts, found.unchanged[places].numpy(), color=INK, **_dots(amounts))
                axes.set_ylim(-0.02, 1.02)
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
                continue
            values = getattr(found, name)[places].numpy()
            for layer, color in enumerate(colors):
                axes.plot(amounts, values[:, layer], color=color, **_dots(amounts))
    for row, name in enumerate(rows):
        if name != "unchanged":
            panels[row][0].set_ylim(bottom=0)
        panels[row][0].set_ylabel(MEANINGS.get(name, "same answer"), fontsize=8.5, color=MUTED)
    labels = [sheet.legible(layer or "output", 1.6, 8, keep_end=True) for layer in found.layers]
    handles = [panels[0][0].plot([], [], color=color)[0] for color in colors]
    figure.legend(handles, labels, loc="outside right upper", fontsize=7.5, frameon=False, title="layer")
    count = sheet.some(len(found.layers), found.found, "layer")
    figure.suptitle(
        f"A moved input: {count}, {sheet.some(found.items, found.items, 'item')}, border {found.border}",
        fontsize=11,
        color=INK,
    )
    return figure


def draw_probes(found: Probes) -> Figure:
    """See `Probes.plot`."""
    figure = _framed(max(5.0, 0.42 * len(found.layers) + 2.2), 3.4)
    axes = figure.subplots()
    names = [one.layer for one in found.layers]
    shares = np.array([one.accuracy for one in found.layers])
    ends = np.array([one.interval for one in found.layers])
    places = np.arange(len(names))
    axes.fill_between(places, ends[:, 0], ends[:, 1], color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(places, [one.training for one in found.layers], color=RULE, linewidth=1.2, label="items it was fitted to")
    axes.plot(places, shares, color=BLUE, marker="o", markersize=4, label="test items, 95 %")
    axes.axhline(found.chance, color=MUTED, linewidth=0.9, linestyle=":", label="chance")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _by_depth(axes, names)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    count = sheet.some(len(names), max(found.found, len(names)), "layer")
    axes.set_title(f"Linear probes: {count}, {found.items[1]:,} test items", fontsize=11, color=INK, loc="left")
    return figure


def draw_separations(found: Separations) -> Figure:
    """See `Separations.plot`."""
    figure = _framed(max(5.0, 0.42 * len(found.layers) + 2.2), 6.2)
    panels = figure.subplots(3, 1, sharex=True)
    names = [one.layer for one in found.layers]
    titles = ("silhouette", "variance between / within", f"{found.neighbors} nearest neighbors right")
    for axes, key, title in zip(panels, ("silhouette", "ratio", "accuracy"), titles, strict=True):
        values = [getattr(one, key) for one in found.layers]
        axes.plot(range(len(names)), values, color=BLUE, marker="o", markersize=4)
        _by_depth(axes, names)
        axes.set_title(title, fontsize=9.5, color=INK, loc="left")
    ends = np.array([one.interval for one in found.layers])
    panels[2].fill_between(range(len(names)), ends[:, 0], ends[:, 1], color=BLUE, alpha=0.18, linewidth=0)
    panels[2].yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.suptitle(f"Separation of the classes: {found.items:,} items", fontsize=11, color=INK)
    return figure


def draw_consistency(found: Mapping[str, Consistency]) -> Figure:
    """See `Consistency.plot`."""
    figure = _framed(6.5, 0.42 * len(found) + 1.5)
    axes = figure.subplots()
    rows = np.arange(len(found))
    drawn = ((ORANGE, -0.14, "right answers", "accuracy"), (BLUE, 0.14, "two shifts, one answer", "share"))
    for color, aside, label, key in drawn:
        places, shares, ends = [], [], []
        for row, one in zip(rows, found.values(), strict=True):
            interval = one.interval if key == "share" else one.accuracy_interval
            if interval is not None:
                places.append(row + aside)
                shares.append(getattr(one, key))
                ends.append(interval)
        if shares:
            away = np.abs(np.array(ends).T - np.array(shares))
            axes.errorbar(shares, places, xerr=away, color=color, fmt="o", markersize=4, linewidth=1.4, label=label)
    _plain(axes, "share of shifted items, 95 %")
    axes.set_yticks(rows, [sheet.legible(name, 2.0, 8) for name in found], fontsize=8)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
    first = next(iter(found.values()))
    title = f"Shifts of up to {first.most}, {first.items:,} items, border {first.border}"
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    return figure


def _by_depth(axes: Axes, names: Sequence[str]) -> None:
    _plain(axes, "")
    labels = [sheet.legible(name or "output", 1.2, 8, keep_end=True) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)


def _framed(width: float, height: float) -> Figure:
    return Figure((width, height), DPI, layout=ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06))


def _dots(amounts: Sequence[float]) -> dict[str, Any]:
    few = len([amount for amount in amounts if math.isfinite(amount)]) < 30
    return {"linewidth": 1.2, "marker": "o" if few else "", "markersize": 2.5}


def _plain(axes: Axes, x: str) -> None:
    """Two quiet axes, small labels, a pale grid behind the data."""
    axes.spines[:].set_color(RULE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK, color=RULE, length=3)
    axes.set_axisbelow(True)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_xlabel(x, fontsize=8.5, color=MUTED)
