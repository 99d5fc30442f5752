"""Pictures of feature maps: all layers on one sheet, or one layer with what its strongest units see of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from striate.interpret import sheet
from striate.interpret.pictures import photo_of
from striate.interpret.sheet import MARGIN, MUTED, Array, Inches
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.geometry.seen import Seen
    from striate.interpret.features.maps import FeatureMaps

MAP, LAYERS, CHANNELS = 0.66, 12, 8  # inches of a map; layers and channels of each on the sheet of all
SHOWN, SIDE = 12, 1.25  # channels of one layer, inches of their maps
MARK = "#d55e00"


def draw_layers(found: FeatureMaps) -> Figure:
    """The input, and below it a row per layer with its most varied channels, each on its own scale.

    Of more than 12 layers an even choice is drawn, the first and the last among them; of a volume, the middle plane.
    """
    layers = list(found.items())
    shown = [layers[i] for i in np.linspace(0, len(layers) - 1, min(LAYERS, len(layers))).round().astype(int)]
    title = sheet.some(len(shown), len(layers), "layer")
    note = (
        f"From the input down: the {CHANNELS} most varied channels of each with their numbers, each on its own scale."
    )
    planes = [sheet.planes(layer) for _, layer in shown]
    tall = [MAP * min(max(plane.shape[1] / plane.shape[2], 0.4), 1) for plane in planes]
    label, y = 1.9, 2.2
    width, height = label + CHANNELS * (MAP + 0.06) + 2 * MARGIN, y + sum(tall) + 0.22 * len(tall)
    figure, axes = sheet.blank(width, height, title, note)
    _name_layer(axes, 0.85, "input", found.x[0])
    picture = _input(found.x[0], found.x.shape[2] // 2)
    sheet.tile(axes, picture, (MARGIN + label, 0.75, 1.2 if picture.shape[0] > 1 else 4, 1.2), fit=found.x.dim() > 3)
    for (path, layer), plane, room in zip(shown, planes, tall, strict=True):
        _name_layer(axes, y + 0.1, sheet.legible(path, label, 8.5, keep_end=True), layer)
        varied = plane.flatten(1).std(1, correction=0).topk(min(CHANNELS, len(plane))).indices
        for place, channel in enumerate(sorted(varied.tolist())):
            x = MARGIN + label + place * (MAP + 0.06)
            sheet.write(axes, x, y - 0.08, str(channel), 5.5, MUTED)
            sheet.tile(axes, plane[channel].numpy(), (x, y, MAP, room), fit=False, cmap="viridis")
        y += room + 0.22
    return figure


def draw_layer(found: FeatureMaps, layer: str, channels: Sequence[int] | None) -> Figure:
    """Each channel's map on its own scale, its strongest unit ringed, and the input with the box that it sees."""
    values = found[layer].float().nan_to_num(0, 0, 0)
    best = values.flatten(1).amax(1)
    chosen = best.topk(min(SHOWN, len(best))).indices.tolist() if channels is None else list(channels)
    rows = -(-len(chosen) // 4)
    tall = SIDE * (1 if values.ndim > 2 else 0.35)
    shape = " × ".join(map(str, values.shape))
    title = f"{layer}: {shape}, {sheet.some(len(chosen), len(values), 'channel')}"
    note = (
        "Maps on their own scales (least to greatest above), dark low, light high. Ringed: the strongest unit; boxed: "
    )
    note += "what it sees (dashed: beyond the border, too)."
    figure, axes = sheet.blank(4 * (2 * SIDE + 0.25) + 2 * MARGIN, 0.9 + rows * (tall + 0.35), title, note)
    for place, channel in enumerate(chosen):
        x, y = MARGIN + place % 4 * (2 * SIDE + 0.25), 1.0 + place // 4 * (tall + 0.35)
        unit = found.strongest(layer, channel)
        seen = found.seen(layer, unit)
        plane, (row, column) = _plane(values[channel], unit[1:])
        span = f"{float(values[channel].min()):.2g} to {float(values[channel].max()):.2g}"
        sheet.write(axes, x, y - 0.1, f"{channel}: {span}", 7, MUTED)
        sheet.tile(axes, plane.numpy(), (x, y, SIDE, tall), fit=False, cmap="viridis")
        high, wide = tall / plane.shape[0], SIDE / plane.shape[1]
        axes.add_patch(Circle((x + (column + 0.5) * wide, y + (row + 0.5) * high), 0.06, fill=False, edgecolor=MARK))
        middle = seen.center[0] if seen is not None else found.x.shape[2] // 2
        picture = _input(found.x[0], int(min(max(middle, 0), found.x.shape[2] - 1)))
        box = (x + SIDE + 0.04, y, SIDE, tall)
        sheet.tile(axes, picture, box, fit=False)
        if seen is not None and seen.hull is not None:
            _draw_box(axes, box, picture, seen)
    return figure


def _draw_box(axes: Axes, box: sheet.Box, picture: Array, seen: Seen) -> None:
    """What a unit sees, clipped to the input; dashed where it looks beyond the border."""
    x, y, width, height = box
    spans = list(seen.hull or ())
    rows = spans[-2] if len(spans) > 1 else (0, picture.shape[0] - 1)
    high, wide = height / picture.shape[0], width / picture.shape[1]
    corner = (x + spans[-1][0] * wide, y + rows[0] * high)
    size = (spans[-1][1] - spans[-1][0] + 1) * wide, (rows[1] - rows[0] + 1) * high
    beyond = seen.nominal != seen.hull
    axes.add_patch(
        Rectangle(corner, *size, fill=False, edgecolor=MARK, linewidth=1.2, linestyle="--" if beyond else "-")
    )


def _plane(values: Tensor, unit: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
    """One channel as a picture (of a volume the unit's plane), and where in it the unit lies."""
    if values.ndim == 1:
        return values[None], (0, unit[0])
    if values.ndim == 3:
        return values[unit[0]], (unit[1], unit[2])
    return values, (unit[0], unit[1])


def _input(x: Tensor, plane: int) -> Array:
    """An input as a picture from its least to its greatest value: a signal as rows of channels, a volume's plane."""
    x = x[None] if x.ndim == 2 else x[:, plane] if x.ndim == 4 else x
    return photo_of(x)


def _name_layer(axes: Axes, y: Inches, path: str, values: Tensor) -> None:
    sheet.write(axes, MARGIN, y, path, 8.5, weight="bold")
    sheet.write(axes, MARGIN, y + 0.17, " × ".join(map(str, values.shape)), 7.5, MUTED)
