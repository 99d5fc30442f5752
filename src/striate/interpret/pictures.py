"""Pictures of explanations: a `Map` in, a matplotlib `Figure` out; nothing is computed, shown or saved here.

Red says that a position, or a letter, speaks for the output that is drawn, blue that it speaks against it; the scale
stands below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from striate.interpret import sheet
from striate.interpret.sheet import INK, MARGIN, MUTED, RULE, Array, Inches
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.map import Map
    from striate.interpret.motifs import Motif
    from striate.interpret.mutagenesis import MutationMap, VariantMap
    from striate.interpret.occlusion import OcclusionMap

WIDE, SIDE, LINE = 8.0, 2.5, 100  # inches of a strip and of an image, letters of a strip
STRIPS, BARS = 20, 40  # at most
MANY, BEYOND = 10_000, 0.005  # of so many values this share may be drawn as the limit


def draw_occlusion(found: OcclusionMap, output: tuple[int, ...]) -> Figure:
    """See `OcclusionMap.plot`."""
    heat, x = found.heatmap()[output], found.x[0]
    note = "Red: covering lowers the output; blue: it raises it; gray: never covered."
    if "letters" in found.parameters:
        from striate.interpret.letter_pictures import Meaning, draw_letters

        means = Meaning("covering lowers the output", "it raises it", "never covered")
        return draw_letters(heat, found.parameters["letters"], titled(found, output), means, "drop of the output")
    if heat.dim() == 1:
        return _draw_signal(heat, x, found, output, note)
    if heat.dim() == 3:
        plane = int(heat.abs().nan_to_num().amax((1, 2)).argmax())
        heat, x, note = heat[plane], x[:, plane], f"Plane {plane}. {note}"
    image, limit = photo_of(x), magnitude(heat)
    tall = SIDE * min(1.6, image.shape[0] / image.shape[1])
    figure, axes = sheet.blank(3 * SIDE + 0.4 + 2 * MARGIN, tall + 1.75, titled(found, output), note)
    colored = colormaps["RdBu_r"].with_extremes(bad=RULE)(np.ma.masked_invalid(heat.double() / limit / 2 + 0.5))
    share = np.clip(np.nan_to_num(heat.double().abs().numpy() / limit), 0, 0.9)[..., None]
    gray = image.mean(2, keepdims=True) / 255
    over = share * colored[..., :3] + (1 - share) * gray
    for place, pixels in enumerate((image, colored[..., :3], over)):
        sheet.tile(axes, pixels, (MARGIN + place * (SIDE + 0.2), 0.85, SIDE, tall))
    scale(axes, MARGIN, tall + 1.15, limit, "drop of the output")
    return figure


def draw_logos(motifs: Sequence[Motif]) -> Figure:
    """Sequence logos below each other: letters as high as their probability times the position's bits, of 2."""
    widest = max(len(motif) for motif in motifs)
    wide, tall = max(2.6, 0.22 * widest), 0.8
    note = "Heights: probability × bits of the position (2 at most)."
    figure, axes = sheet.blank(wide + 2 * MARGIN, 1.1 + len(motifs) * (tall + 0.45), "Motifs", note)
    for row, motif in enumerate(motifs):
        top = 0.85 + row * (tall + 0.45)
        label = f"{motif.name}, {motif.sites:,} sites" if motif.sites else motif.name
        axes.text(MARGIN, top, label, fontsize=8, color=MUTED, va="bottom")
        heights = (motif.matrix * motif.information()).double().tolist()
        step = wide / widest
        axes.plot([MARGIN, MARGIN + step * len(motif)], [top + 0.1 + tall] * 2, color=RULE, linewidth=0.8)
        for place in range(len(motif)):
            bottom = top + 0.1 + tall
            for bits, base in sorted(zip((row[place] for row in heights), "ACGT", strict=True)):
                size = bits / 2 * tall
                if size > 0.005:
                    axes.add_patch(letter(base, (MARGIN + place * step, bottom, step, -size)))
                bottom -= size
    return figure


@cache
def _outline(base: str) -> TextPath:
    return TextPath((0, 0), base, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))


def letter(base: str, box: sheet.Box) -> PathPatch:
    """A letter stretched to a box (left, edge it stands on, width, height; a negative height goes up)."""
    outline = _outline(base)
    extent = outline.get_extents()
    left, bottom, width, height = box
    stretch = Affine2D().translate(-extent.x0, -extent.y0).scale(0.94 * width / extent.width, height / extent.height)
    colors = {"A": "#2a9d55", "C": "#2b6cb0", "G": "#d69e2e", "T": "#c53030", "U": "#c53030"}
    path = stretch.translate(left, bottom).transform_path(outline)
    return PathPatch(path, facecolor=colors.get(base, INK), linewidth=0)


def _draw_signal(heat: Tensor, x: Tensor, found: Map, output: tuple[int, ...], note: str) -> Figure:
    """The signal, the heat below."""
    tall = height_of(x)
    figure, axes = sheet.blank(WIDE + 2 * MARGIN, tall + 2.2, titled(found, output), note)
    limit = magnitude(heat)
    draw_channels(axes, x, (MARGIN, 0.85, WIDE, tall))
    colors = colormaps["RdBu_r"].with_extremes(bad=RULE)
    row = np.ma.masked_invalid(heat.double().numpy())[None]
    sheet.tile(axes, row, (MARGIN, 0.95 + tall, WIDE, 0.4), fit=False, cmap=colors, vmin=-limit, vmax=limit)
    scale(axes, MARGIN, tall + 1.6, limit, "drop of the output")
    return figure


def height_of(x: Tensor) -> float:
    """Inches of a signal's channels."""
    return min(max(0.12 * len(x if x.dim() > 1 else x[None]), 0.8), 2.5)


def draw_channels(axes: Axes, x: Tensor, box: sheet.Box) -> None:
    """A signal (c, t) or (t,) as curves, or, with more than three channels, as rows in gray."""
    rows = (x if x.dim() > 1 else x[None]).double()
    if len(rows) > 3:
        sheet.tile(axes, rows.numpy(), box, fit=False, cmap="gray")
        return
    left, top, wide, tall = box
    step, room = wide / rows.shape[1], max(float(rows.max() - rows.min()), 1e-30)
    for channel in rows:
        level = top + tall * (1 - (channel - rows.min()).numpy() / room)
        axes.plot(left + step * (np.arange(rows.shape[1]) + 0.5), level, color=MUTED, linewidth=0.8)


def draw_mutations(found: MutationMap, output: tuple[int, ...]) -> Figure:
    """See `MutationMap.plot`. At most 20 strips; up to 150 letters a strip, the sequence is written above."""
    item = output[0] if len(found.x) > 1 else 0
    change, text = found.change[output], found.text(item)
    letters, length = change.shape
    line = line_of(length)
    strips = math.ceil(length / line)
    tall = min(max(0.11 * letters, 0.2), 1.6)
    step = tall + 0.32
    note = "Red: the change raises the output; blue: it lowers it. Rows: " + " ".join(map(str, found.axes["letter"]))
    width = 0.5 + WIDE + 2 * MARGIN
    figure, axes = sheet.blank(width, 0.85 + strips * step + 0.75, titled(found, output), note)
    limit, columns = magnitude(change), min(line, length)
    for strip in range(strips):
        first, y = strip * line, 0.95 + strip * step
        part = change[:, first : first + line]
        room = WIDE * part.shape[1] / columns
        sheet.write(axes, MARGIN + 0.42, y + tall / 2, str(first), 6.5, MUTED, ha="right")
        box = (MARGIN + 0.5, y, room, tall)
        pixels = part.double().numpy()
        sheet.tile(axes, pixels, box, fit=False, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.add_patch(_frame(*box))
        if columns <= 1.5 * LINE:
            for place, letter in enumerate(text[first : first + line]):
                x = MARGIN + 0.5 + (place + 0.5) * WIDE / columns
                sheet.write(axes, x, y - 0.07, letter, 5.5, INK, ha="center")
    scale(axes, MARGIN + 0.5, 0.95 + strips * step + 0.05, limit, "change of the output")
    return figure


def draw_variants(found: VariantMap, output: tuple[int, ...]) -> Figure:
    """See `VariantMap.plot`."""
    change = found.change[output].double()
    shown = change.abs().nan_to_num().topk(min(BARS, len(change))).indices.sort().values.tolist()
    limit, middle = magnitude(change), MARGIN + 1.6 + 2.5
    note = "Red: the variant raises the output; blue: it lowers it."
    if len(shown) < len(change):
        note += f" The {len(shown)} of {len(change)} with the greatest effect."
    figure, axes = sheet.blank(middle + 2.5 + 0.9, 0.85 + 0.2 * len(shown) + 0.2, titled(found, output), note)
    for row, number in enumerate(shown):
        y, value = 0.95 + 0.2 * row, float(change[number])
        label = sheet.legible(str(found.axes["variant"][number]), 1.5, 7.5)
        sheet.write(axes, MARGIN, y, label, 7.5)
        bar = 2.5 * (value if math.isfinite(value) else 0) / limit
        axes.barh(y, bar, 0.13, left=middle, color=colormaps["RdBu_r"](0.85 if value > 0 else 0.15))
        sheet.write(axes, middle + 2.6, y, f"{value:+.3g}", 7.5, MUTED)
    axes.plot([middle, middle], [0.85, 0.95 + 0.2 * (len(shown) - 1) + 0.1], color=MUTED, linewidth=0.8)
    return figure


def line_of(length: int) -> int:
    """How many letters stand in a strip: about 100, no strip with a few left over, at most 20 strips."""
    return math.ceil(length / min(max(1, round(length / LINE)), STRIPS))


def _frame(x: Inches, y: Inches, width: Inches, height: Inches) -> Rectangle:
    return Rectangle((x, y), width, height, fill=False, edgecolor=RULE, linewidth=0.6)


def titled(found: Map, output: tuple[int, ...]) -> str:
    target = found.parameters["target"]
    named = ",".join(map(str, output)) or (str(target) if isinstance(target, int) else "")
    return f"{found.title()}: output {named}{' ' * bool(named)}= {float(found.base[output]):.4g}"


def scale(axes: Axes, x: Inches, y: Inches, limit: float, what: str, colors: str = "RdBu_r") -> None:
    """A strip of the colors with the values at its ends: around zero, or from it."""
    sheet.tile(axes, np.linspace(0, 1, 201)[None], (x, y, 1.8, 0.12), fit=False, cmap=colors, vmin=0, vmax=1)
    ends = [(0.0, f"{-limit:.3g}", "left"), (0.9, "0", "center")] if colors == "RdBu_r" else [(0.0, "0", "left")]
    for place, text, side in (*ends, (1.8, f"{limit:+.3g}", "right")):
        sheet.write(axes, x + place, y + 0.22, text, 7, MUTED, ha=side)
    sheet.write(axes, x + 2.0, y + 0.06, what, 7.5, MUTED)


def magnitude(values: Tensor) -> float:
    """The greatest magnitude; what is not finite does not count."""
    known = values[values.isfinite()].abs().double()
    return max(float(known.max()) if known.numel() else 0.0, 1e-30)


def drawn(values: Tensor) -> tuple[float, str]:
    """The magnitude to which colors reach, and what is to be said of those beyond.

    Of many values a few are far greater than all others, and alone would be seen: these are as dark as the limit.
    """
    known = values[values.isfinite()].abs().double().flatten()
    limit = float(known.quantile(1 - BEYOND)) if MANY <= len(known) < 1 << 24 else 0.0
    if limit:
        return limit, f"; {BEYOND:.1%} are beyond, up to {float(known.max()):.3g}"
    return magnitude(values), ""


def photo_of(x: Tensor) -> Array:
    """(c, h, w) from its least to its greatest value, as a photo."""
    x = x.double().nan_to_num()
    least, greatest = x.min(), x.max()
    return sheet.photo((255 * (x - least) / (greatest - least).clamp_min(1e-30)).round().to(torch.uint8))
