"""Pictures of kernels and of the Gabor functions that they are like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from striate.errors import InputError
from striate.interpret import sheet
from striate.interpret.sheet import INK, MARGIN, MUTED, PALE, RULE
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.features.gabor import Gabors

SIGNS = "blue below zero, white zero, red above"
MOST, ROWS, COLUMNS = 96, 16, 12  # kernels, and of slices kernels and channels
TINTS = {"oriented": "#0072b2", "blob": "#009e73", "no Gabor": "#d55e00"}  # Okabe & Ito


def draw_filters(weights: Tensor, way: str, layer: str) -> Figure:
    """See `Filters.plot`."""
    if weights.ndim < 3 or not weights.numel():
        raise InputError("cannot draw filters", expected="weights (k, c, *space)", got=tuple(weights.shape))
    weights = weights.detach().cpu().float().nan_to_num(0, 0, 0)
    k, c = weights.shape[:2]
    size, rank = "×".join(map(str, (*weights.shape[2:], c))), weights.ndim - 2
    of = f"{size} of {layer}" if layer else size
    if way == "principal":
        return _principal(weights, of)
    if rank == 3 and c == 1:
        return _rows(weights[:, 0], f"{of} (rows), {{}} (columns)", "plane")
    if rank == 3:
        weights, of = weights[:, :, weights.shape[2] // 2], f"{of} (middle plane)"
    flat = weights.ndim == 3
    if way == "slices" or not (flat or c in (1, 3)):
        return _rows(weights, f"{of} (rows), {{}} (columns)", "channel")
    planes, note = weights if flat else weights[:, 0], "Each on its own scale, " + _limits(weights) + f": {SIGNS}."
    if not flat and c == 3:
        planes, note = sheet.stretch(weights), "Colors, each from its least to its greatest weight."
    return _tiles(planes, f"{sheet.some(min(k, MOST), k, 'filter')} of {of}", note, flat)


def _tiles(planes: Tensor, title: str, note: str, flat: bool) -> Figure:
    shown, room = min(len(planes), MOST), (0.85 if flat else 0.56, 0.56)
    figure, axes, boxes = sheet.grid(shown, 8 if flat else COLUMNS, room, title, note, gap=0.07)
    for plane, corner in zip(planes, boxes, strict=False):
        sheet.tile(axes, plane.numpy(), (*corner, *room), fit=not flat, **sheet.diverging(plane))
    return figure


def _rows(weights: Tensor, title: str, what: str) -> Figure:
    """One row per kernel, one column per slice; a row has one scale, so its slices compare. Slices of 1-D kernels are
    strips of time."""
    k, c = weights.shape[:2]
    rows, columns = min(k, ROWS), min(c, COLUMNS)
    title = f"{sheet.some(rows, k, 'filter')} of {title.format(sheet.some(columns, c, what))}"
    note = f"Each row on its own scale, {_limits(weights[:rows, :columns])}: {SIGNS}."
    slices = weights[:rows, :columns]
    slices = slices[:, :, None] if slices.ndim == 3 else slices
    tall = 0.5 * min(max(slices.shape[2] / slices.shape[3], 0.2), 1.5)
    figure, axes, boxes = sheet.grid(rows * columns, columns, (0.5, tall), title, note, gap=0.06)
    for place, corner in enumerate(boxes):
        row, column = divmod(place, columns)
        colors = sheet.diverging(slices[row])
        sheet.tile(axes, slices[row, column].numpy(), (*corner, 0.5, tall), fit=slices.shape[2] > 1, **colors)
    return figure


def _principal(weights: Tensor, of: str) -> Figure:
    """Kernels (k, c, h, w) in the three combinations of channels along which they vary most, as red, green and blue."""
    k, c = weights.shape[:2]
    if weights.ndim != 4 or c < 3:
        got = f"{c} channels in {weights.ndim - 2}-D"
        raise InputError("no principal components to draw", expected="at least 3 channels in 2-D", got=got)
    flat = weights.movedim(1, -1).reshape(-1, c).double()
    strength, parts = torch.linalg.svd(flat, full_matrices=False)[1:]
    kept = float((strength[:3] ** 2).sum() / (strength**2).sum().clamp_min(1e-30))
    colors = (flat @ parts[:3].T).float().unflatten(0, (k, *weights.shape[2:])).movedim(-1, 1)
    title = f"{sheet.some(min(k, MOST), k, 'filter')} of {of}"
    share = f"{kept:.0%} of the squared weights"
    note = f"The three principal components of the {c} channels as colors ({share}), each kernel stretched."
    return _tiles(sheet.stretch(colors), title, note, flat=False)


def _limits(weights: Tensor) -> str:
    """The range of the scales."""
    greatest = weights.flatten(1).abs().amax(1)
    least, most = float(greatest.min()), float(greatest.max())
    return f"±{most:.2g}" if least > 0.99 * most else f"±{least:.2g} to ±{most:.2g}"


def draw_gabors(found: Gabors) -> Figure:
    """See `Gabors.plot`."""
    order = sorted(found.rows, key=lambda row: -np.nan_to_num(row.r2))[: 4 * COLUMNS]
    flat = found.weights.ndim == 3
    cell, gap, lines = (0.62, 1.62), 0.08, -(-len(order) // COLUMNS)
    width = COLUMNS * (cell[0] + gap) + 2 * MARGIN
    note = "Each kernel above its Gabor function, same scale, the best told first: share of variance R², orientation "
    note += "of the bars, cycles per pixel."
    figure, axes = sheet.blank(width, 0.85 + lines * (cell[1] + gap) + 2.5, found.title(), note)
    for place, row in enumerate(order):
        x, y = MARGIN + place % COLUMNS * (cell[0] + gap), 0.85 + place // COLUMNS * (cell[1] + gap)
        pair = torch.stack([found.weights[row.kernel], found.fitted[row.kernel]]).float().nan_to_num(0, 0, 0)
        pictures = pair.mean(1)
        if _colored(pair):
            least, most = pair[0].min(), pair[0].max()
            pictures = ((pair - least) / (most - least).clamp_min(1e-30)).clamp(0, 1).movedim(1, -1)
        for number, picture in enumerate(pictures):
            tall = 0.62 if not flat else 0.3
            values = picture[None] if flat else picture
            colors = {} if _colored(pair) else sheet.diverging(pictures[0])
            sheet.tile(axes, values.numpy(), (x, y + number * (tall + 0.03), 0.62, tall), fit=not flat, **colors)
        told = (
            f"R² {row.r2:.2f}",
            f"{round(row.orientation) % 180}° {row.frequency:.2f}" if row.verdict == "oriented" else row.verdict,
        )
        for number, text in enumerate(told):
            sheet.write(axes, x, y + 1.35 + 0.13 * number, text, 6.5, TINTS[row.verdict] if number else INK)
    top = 0.85 + lines * (cell[1] + gap) + 0.35
    if not flat:
        _bars(axes, (MARGIN + 0.3, top, 3.4, 1.5), found.histogram(), "orientation of the bars", "°", 180)
    frequencies = [row.frequency for row in found.rows if row.verdict == "oriented"]
    counts = np.histogram(frequencies, bins=10, range=(0, 0.5))[0].tolist()
    _bars(axes, (MARGIN + 4.6, top, 3.4, 1.5), counts, "spatial frequency, cycles per pixel", "", 0.5)
    return figure


def _colored(pair: Tensor) -> bool:
    return pair.ndim == 4 and pair.shape[1] == 3


def _bars(axes: Axes, box: sheet.Box, counts: Sequence[int], title: str, unit: str, end: float) -> None:
    """A histogram of oriented kernels; with `unit` its bins are centered at multiples of a step, else between them."""
    x, y, width, height = box
    most, step = max(max(counts), 1), width / len(counts)
    sheet.write(axes, x, y - 0.14, f"{title} ({sum(counts)} oriented kernels)", 8, INK)
    axes.plot([x, x + width], [y + height] * 2, color=RULE, linewidth=0.8)
    for number, count in enumerate(counts):
        tall = height * 0.92 * count / most
        axes.bar(
            x + (number + 0.5) * step,
            tall,
            0.8 * step,
            bottom=y + height - tall,
            color=TINTS["oriented"] if count else PALE,
        )
        if count:
            sheet.write(axes, x + (number + 0.5) * step, y + height - tall - 0.07, str(count), 6.5, MUTED, ha="center")
        value = end * number / len(counts)
        place = x + (number + (0.5 if unit else 0)) * step
        sheet.write(axes, place, y + height + 0.11, f"{value:.3g}{unit}", 6.5, MUTED, ha="center")
