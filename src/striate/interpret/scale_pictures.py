"""The picture of `many_scales`: what was found on the image, and the best score at every place of each scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from striate.errors import InputError
from striate.interpret import sheet
from striate.interpret.sheet import MARGIN, MUTED, Array
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.scales import ScaleMap, Sighting

WIDE, COLUMNS, GAP = 7.0, 4, 0.2  # inches of the image, maps in a row
# Told apart by eye also where colors are not (Okabe & Ito 2008).
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def draw_scales(map: ScaleMap, found: Sequence[Sighting], names: Sequence[str]) -> Figure:
    """See `ScaleMap.plot`."""
    if map.x.dim() != 4:
        raise InputError("only images can be drawn", expected="2 axes of space", got=map.x.dim() - 2)
    height, width = map.x.shape[2:]
    inch = WIDE / width
    tall, side = height * inch, (WIDE - (COLUMNS - 1) * GAP) / COLUMNS
    rows = -(-len(map.levels) // COLUMNS)
    step = side * height / width + 0.35
    title = f"{len(found)} found at {len(map.levels)} scales"
    note = "Below, the best score of each crop, from 0 (black) to 1, at each scale."
    figure, axes = sheet.blank(WIDE + 2 * MARGIN, 0.8 + tall + 0.25 + rows * step, title, note)
    sheet.tile(axes, _photo(map.x[0]), (MARGIN, 0.8, WIDE, tall), fit=False)
    for sighting in reversed(found):
        color = COLORS[sighting.target % len(COLORS)]
        (y, x), (h, w) = (tuple(value * inch for value in values) for values in (sighting.place, sighting.size))
        axes.add_patch(Rectangle((MARGIN + x, 0.8 + y), w, h, fill=False, edgecolor=color, linewidth=1.6))
        name = names[sighting.target] if names else str(sighting.target)
        label = f"{sheet.legible(name, 1.5, 7.5)} {sighting.score:.2f}"
        sheet.write(axes, MARGIN + x + 0.03, 0.8 + y + 0.09, label, 7.5, color, weight="bold")
    for number, level in enumerate(map.levels):
        x, y = MARGIN + number % COLUMNS * (side + GAP), 0.8 + tall + 0.45 + number // COLUMNS * step
        best = level.scores.amax(0).numpy()
        sheet.write(axes, x, y - 0.1, f"scale {level.scale:.2f}", 7.5, MUTED)
        sheet.tile(axes, best, (x, y, side, step - 0.35), cmap="inferno", vmin=0, vmax=1)
    return figure


def _photo(x: Tensor) -> Array:
    """(c, h, w) from its least to its greatest value, as a photo."""
    least, greatest = x.min(), x.max()
    return sheet.photo((255 * (x - least) / (greatest - least).clamp_min(1e-30)).round().to(torch.uint8))
