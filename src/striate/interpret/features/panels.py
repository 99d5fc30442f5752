"""Pictures of optimized inputs, side by side: maximized, inverted, adversarial ones. Nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from striate.interpret import sheet
from striate.interpret.motifs import Motif
from striate.interpret.pictures import draw_logos
from striate.interpret.sheet import INK, MARGIN, MUTED, PALE, RULE, Inches
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.features.adversarial import Adversarial
    from striate.interpret.features.invert import Inverted
    from striate.interpret.features.maximize import Maximized

SIDE, STRIP, GAP = 1.3, (2.6, 0.8), 0.14  # inches of an image and of a signal
COLUMNS, ROWS = 6, 8  # at most: items beside each other, items below each other
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe & Ito
Ends = tuple[Tensor, Tensor]


def draw_maximized(found: Maximized) -> Figure:
    """See `Maximized.plot`. Letters of four kinds are drawn as logos."""
    labels = [f"{score:.4g}" for score in found.scores.tolist()]
    if found.parameters["paint"] == "letters" and found.x.shape[1] == 4 and found.x.dim() == 3:
        titles = [f"{found.title()} = {label}" for label in labels]
        return draw_logos([Motif(title, item.double()) for title, item in zip(titles, found.x, strict=True)])
    items, best = list(found.x), []
    if found.best is not None and found.best_score is not None:
        best = [(found.best[0], f"data's best: {found.best_score:.4g}")]
    shown = [*zip(items, labels, strict=True)][: 2 * COLUMNS] + best
    wide, tall = _size(found.x[0])
    columns = min(len(shown), COLUMNS if found.x.dim() > 3 else 2)
    rows = math.ceil(len(shown) / columns)
    width = max(columns * (wide + GAP) - GAP, 4.5) + 2 * MARGIN
    top, step = 0.8, tall + 0.32
    note = f"{_count(len(items), 2 * COLUMNS, 'start')}; below each its score. Colors: {_range(found.parameters)}."
    figure, axes = sheet.blank(width, top + rows * step + 1.75, found.title(), note)
    ends = _ends(found.parameters, [item for item, _ in shown])
    for number, (item, label) in enumerate(shown):
        x, y = MARGIN + number % columns * (wide + GAP), top + number // columns * step
        _draw(axes, item, (x, y, wide, tall), ends)
        if best and number == len(shown) - 1:
            axes.add_patch(Rectangle((x, y), wide, tall, fill=False, edgecolor=INK, linewidth=1.2))
        sheet.write(axes, x, y + tall + 0.11, sheet.legible(label, wide, 7.5), 7.5, MUTED)
    curve = _inset(figure, (MARGIN + 0.5, top + rows * step + 0.2, width - 2 * MARGIN - 0.6, 1.0))
    curve.plot(found.curve.numpy(), color=LINES[0], linewidth=0.8, alpha=0.7)
    if found.best_score is not None:
        curve.axhline(found.best_score, color=INK, linewidth=0.9, linestyle=":")
    curve.set_xlabel("step", fontsize=8, color=MUTED)
    curve.set_ylabel("score", fontsize=8, color=MUTED)
    return figure


def draw_inverted(found: Inverted) -> Figure:
    """See `Inverted.plot`; the first eight items."""
    items, places = len(found.x[:ROWS]), len(found.layers) + 1
    wide, tall = _size(found.x[0])
    columns = min(places, COLUMNS if found.x.dim() > 3 else 3)
    width, block = columns * (wide + GAP) - GAP + 2 * MARGIN, 0.4 + items * (tall + GAP)
    note = f"Below each layer: |f(x') - f(x)| / |f(x)|, the mean of {len(found.x)}. Colors: {_range(found.parameters)}."
    figure, axes = sheet.blank(max(width, 5.0), 0.9 + math.ceil(places / columns) * block, found.title(), note)
    ends = _ends(found.parameters, list(found.x))
    errors = ["", *(f"{error:.3g}" for error in found.errors.mean(1).tolist())]
    for place, (layer, error) in enumerate(zip(("input", *found.layers), errors, strict=True)):
        x, y = MARGIN + place % columns * (wide + GAP), 0.85 + place // columns * block
        sheet.write(axes, x, y, sheet.legible(layer or "output", wide, 8, keep_end=True), 8, INK)
        sheet.write(axes, x, y + 0.15, error, 7.5, MUTED)
        for row in range(items):
            item = found.found[place - 1, row] if place else found.x[row]
            _draw(axes, item, (x, y + 0.28 + row * (tall + GAP), wide, tall), ends)
    return figure


def draw_adversarial(found: Adversarial, names: Sequence[str]) -> Figure:
    """See `Adversarial.plot`; the first eight items."""
    items = len(found.x[:ROWS])
    wide, tall = _size(found.x[0])
    width = max(3 * (wide + 0.7) - 0.7 + 2 * MARGIN, 6.5)
    step, apart = tall + 0.42, (width - 2 * MARGIN - wide) / 2
    note = f"Epsilon: {found.unit}. The change is enlarged: blue lowers, red raises, white leaves a value."
    title = f"{found.title()}: {sheet.some(items, len(found.x), 'item')}"
    figure, axes = sheet.blank(width, 1.2 + items * step, title, note)
    ends = _ends(found.parameters, list(found.x))
    columns = [MARGIN, MARGIN + apart, MARGIN + 2 * apart]
    for x, head in zip(columns, ("input", "change", "result"), strict=True):
        sheet.write(axes, x, 0.9, head, 8, INK)
    for row in range(items):
        y, change = 1.05 + row * step, found.found[row] - found.x[row]
        limit = float(change.abs().max())
        _draw(axes, found.x[row], (columns[0], y, wide, tall), ends)
        _draw_change(axes, change, (columns[1], y, wide, tall))
        _draw(axes, found.found[row], (columns[2], y, wide, tall), ends)
        size = float(found.epsilon[row])
        said = f"none up to {found.parameters['most']:g}" if math.isnan(size) else f"epsilon {size:.3g}"
        before, after = (found.told(row, chances, names) for chances in (found.before, found.after))
        for x, text in zip(columns, (before, f"{said}, ±{limit:.2g}", after), strict=True):
            sheet.write(axes, x, y + tall + 0.11, sheet.legible(text, apart - 0.05, 7.5), 7.5, MUTED)
    return figure


def _size(item: Tensor) -> tuple[Inches, Inches]:
    """Inches of an item (c, *space)."""
    if item.dim() == 2:
        return STRIP
    rows, columns = item.shape[-2:]
    scale = SIDE / max(rows, columns)
    return scale * columns, scale * rows


def _draw(axes: Axes, item: Tensor, box: sheet.Box, ends: Ends) -> None:
    """An item from its least to its greatest possible value: an image, a volume's middle plane, a signal's lines."""
    x, y, width, height = box
    low, high = (end.reshape(-1, *[1] * (item.dim() - 1)) for end in ends)
    share = ((item.double() - low) / (high - low).clamp_min(1e-30)).clamp(0, 1)
    if item.dim() > 2:
        plane = sheet.planes(share) if item.dim() == 4 else share
        sheet.tile(axes, sheet.photo((plane * 255).round().to(torch.uint8)), box)
        return
    if len(item) > len(LINES):
        sheet.tile(axes, share.numpy(), box, fit=False, cmap="Greys", vmin=0, vmax=1)
        return
    places = torch.linspace(x, x + width, item.shape[1]).numpy()
    axes.plot([x, x + width, x + width, x, x], [y, y, y + height, y + height, y], color=RULE, linewidth=0.6)
    for color, line in zip(LINES, share, strict=False):
        axes.plot(places, y + height * (1 - line.numpy()), color=color, linewidth=0.9)


def _draw_change(axes: Axes, change: Tensor, box: sheet.Box) -> None:
    """Signed values: of images the mean over channels, of volumes the middle plane, of signals rows of channels."""
    colors = sheet.diverging(change)
    if change.dim() == 2:
        sheet.tile(axes, change.double().numpy(), box, fit=False, **colors)
        return
    plane = change[:, change.shape[1] // 2] if change.dim() == 4 else change
    sheet.tile(axes, plane.double().mean(0).numpy(), box, **colors)


def _ends(parameters: dict[str, object], items: Sequence[Tensor]) -> Ends:
    """The limits, or the least and greatest value of what is shown."""
    if parameters["limits"] is not None:
        low, high = (torch.tensor(end, dtype=torch.float64) for end in parameters["limits"])  # type: ignore[attr-defined]
        return low, high
    every = torch.stack(list(items)).double()
    return every.min().reshape(1), every.max().reshape(1)


def _range(parameters: dict[str, object]) -> str:
    return "the whole valid range" if parameters["limits"] is not None else "least to greatest value shown"


def _count(total: int, most: int, noun: str) -> str:
    return sheet.some(min(total, most), total, noun)


def _inset(figure: Figure, box: sheet.Box) -> Axes:
    """Axes of their own in a sheet, at inches from its top left corner."""
    x, y, width, height = box
    across, down = figure.get_size_inches()
    axes = figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(RULE)
    axes.tick_params(labelsize=7.5, colors=INK, color=RULE, length=3)
    axes.grid(color=PALE, linewidth=0.8)
    return axes
