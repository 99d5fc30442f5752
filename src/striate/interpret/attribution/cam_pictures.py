"""Pictures of class activation maps: the input, the map where its units look, and both over each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from striate.interpret import sheet
from striate.interpret.letter_pictures import Meaning, draw_letters
from striate.interpret.pictures import SIDE, WIDE, draw_channels, height_of, magnitude, photo_of, scale, titled
from striate.interpret.sheet import MARGIN, RULE, Array
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.attribution.cam import CamMap


def draw_cam(found: CamMap, output: tuple[int, ...]) -> Figure:
    """See `CamMap.plot`."""
    heat, x, note = found.heatmap()[output], found.x[output[0] if output else 0].double(), _note(found)
    if "letters" in found.parameters:
        below = "against it" if bool((heat < 0).any()) else ""
        means = Meaning("speaks for the output", below, "no unit looks there", note)
        return draw_letters(heat, found.parameters["letters"], titled(found, output), means, found.method)
    if heat.dim() == 1:
        return _draw_signal(heat, x, found, output, note)
    if heat.dim() == 3:
        plane = int(heat.nan_to_num().abs().amax((1, 2)).argmax())
        heat, x, note = heat[plane], x[:, plane], f"Plane {plane}. {note}"
    image = photo_of(x)
    tall = SIDE * min(1.6, image.shape[0] / image.shape[1])
    figure, axes = sheet.blank(3 * SIDE + 0.4 + 2 * MARGIN, tall + 1.75, titled(found, output), note)
    for place, pixels in enumerate((image, *overlaid(image, heat))):
        sheet.tile(axes, pixels, (MARGIN + place * (SIDE + 0.2), 0.85, SIDE, tall))
    name, _, most = colors_of(heat)
    scale(axes, MARGIN, tall + 1.15, most, found.method, name)
    return figure


def overlaid(image: Array, heat: Tensor, signed: bool = False) -> tuple[Array, Array]:
    """A heat map in its colors, and over the image in gray: the stronger, the less of the image is seen."""
    name, least, most = colors_of(heat, signed)
    level = (heat.double() - least) / (most - least)
    colored = colormaps[name].with_extremes(bad=RULE)(np.ma.masked_invalid(level.numpy()))[..., :3]
    share = np.clip(np.nan_to_num((heat.double().abs() / most).numpy()), 0, 0.8)[..., None]
    gray = image.mean(2, keepdims=True) / 255
    return colored, share * colored + (1 - share) * gray


def colors_of(heat: Tensor, signed: bool = False) -> tuple[str, float, float]:
    """The color map and its range: around 0 if `signed`, or where there are values below it."""
    most = magnitude(heat)
    return ("RdBu_r", -most, most) if signed or bool((heat < 0).any()) else ("viridis", 0.0, most)


def _draw_signal(heat: Tensor, x: Tensor, found: CamMap, output: tuple[int, ...], note: str) -> Figure:
    """The signal, the map below."""
    tall = height_of(x)
    figure, axes = sheet.blank(WIDE + 2 * MARGIN, tall + 2.2, titled(found, output), note)
    draw_channels(axes, x, (MARGIN, 0.85, WIDE, tall))
    name, least, most = colors_of(heat)
    colors: dict[str, Any] = {"cmap": colormaps[name].with_extremes(bad=RULE), "vmin": least, "vmax": most}
    row = np.ma.masked_invalid(heat.double().numpy())[None]
    sheet.tile(axes, row, (MARGIN, 0.95 + tall, WIDE, 0.4), fit=False, **colors)
    scale(axes, MARGIN, tall + 1.6, most, found.method, name)
    return figure


def _note(found: CamMap) -> str:
    place = found.placement
    if place.problem:
        return f"{found.parameters['layer']}, stretched over the input: {place.problem}."
    off = max(place.displacement)
    said = f"{found.parameters['layer']}, each unit at the middle of its window ({_by(place.size)})"
    return f"{said}; stretching would be {off:.3g} positions off." if off >= 0.05 and math.isfinite(off) else f"{said}."


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
