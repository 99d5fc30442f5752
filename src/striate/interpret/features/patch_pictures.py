"""Top patches beside what of them excites their unit, as in Zeiler & Fergus 2014, fig. 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from striate.errors import InputError
from striate.interpret import sheet
from striate.interpret.pictures import magnitude
from striate.interpret.sheet import INK, MARGIN, MUTED, PALE, Array, Inches
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.features.patches import TopPatches

SHOWN, BLOCK = 12, 1.5  # channels; inches of a block of patches
TALL, WIDE = 0.42, 2.0  # inches of a signal
SIGNS = "red above zero, blue below"


def draw_patches(found: TopPatches, rows: Sequence[int] | None, of: int) -> Figure:
    """See `TopPatches.plot`."""
    if rows is None:
        alive = [row for row in range(len(found.channels)) if float(found.values[row, 0]) > 0] or [0]
        places = np.linspace(0, len(alive) - 1, min(SHOWN, len(alive))).round().astype(int)
        rows = [alive[i] for i in dict.fromkeys(places.tolist())]
    count = min(of, found.values.shape[1])
    if not rows or count < 1:
        raise InputError("no patches to draw", expected="at least one channel and place", got=(len(rows), of))
    if found.patches.dim() < 4 or found._lettered():
        return _draw_texts(found, rows, count)
    if found.patches.dim() == 4:
        return _draw_signals(found, rows, count)
    return _draw_images(found, rows, count)


def _draw_images(found: TopPatches, rows: Sequence[int], count: int) -> Figure:
    """A block of patches and one of reconstructions for each channel."""
    side = math.ceil(math.sqrt(count))
    blocks = 1 + (found.reconstructions is not None)
    width = blocks * BLOCK + 0.08 * (blocks - 1)
    columns = max(1, min(4 if blocks == 1 else 3, len(rows)))
    lines = -(-len(rows) // columns)
    high, wide = found.patches.shape[-2:]
    cell = (BLOCK / side, BLOCK / side * min(high / wide, 1.5))
    tall = cell[1] * math.ceil(count / side)
    room = max(columns * (width + 0.3) - 0.3, 5.5)
    notes = f"Patches from {_least(found):.3g} (black) to {_greatest(found):.3g}; gray lies beyond the border."
    if blocks > 1:
        zero = "gray" if found.patches.shape[2] == 3 else "white, red above"
        notes = f"Left what excites the unit ({found.rule}), each on its own scale, zero {zero}; right where. {notes}"
    figure, axes = sheet.blank(room + 2 * MARGIN, 1.0 + lines * (tall + 0.35), found.title(), notes)
    for place, row in enumerate(rows):
        x, y = MARGIN + place % columns * (width + 0.3), 1.1 + place // columns * (tall + 0.35)
        span = f"{float(found.values[row, 0]):.3g} to {float(found.values[row, count - 1]):.3g}"
        sheet.write(axes, x, y - 0.12, f"channel {found.channels[row]}: {span}", 7.5, MUTED)
        for number in range(count):
            at = (x + number % side * cell[0], y + number // side * cell[1])
            if found.reconstructions is not None:
                _tile(axes, _around_zero(found.reconstructions[row, number]), at, cell)
                at = (at[0] + BLOCK + 0.08, at[1])
            _tile(axes, _photo(found.patches[row, number], _least(found), _greatest(found)), at, cell)
    return figure


def _tile(axes: Axes, pixels: Array, at: tuple[Inches, Inches], cell: tuple[Inches, Inches]) -> None:
    sheet.tile(axes, pixels, (*at, cell[0] - 0.03, cell[1] - 0.03), fit=False)


def _photo(patch: Tensor, least: float, greatest: float) -> Array:
    """A patch (c, h, w) on a scale shared by all; gray where it lies beyond the border."""
    plane = _picture(patch)
    outside = plane.isnan().any(0)
    share = ((plane - least) / max(greatest - least, 1e-30)).clamp(0, 1)
    return _pixels(share.masked_fill(outside, float("nan")))


def _around_zero(values: Tensor) -> Array:
    """Signed values: three channels as colors around gray, one from blue over white to red."""
    plane = _picture(values)
    share = plane / magnitude(plane)
    if len(plane) == 3:
        return _pixels(share / 2 + 0.5)
    from matplotlib import colormaps

    colors = colormaps["RdBu_r"].with_extremes(bad=PALE)
    mapped: Array = colors(np.ma.masked_invalid(share.mean(0).double().numpy() / 2 + 0.5))[..., :3]
    return mapped


def _picture(values: Tensor) -> Tensor:
    """(c, h, w) with one or three channels; of a volume the middle plane, of other channels their mean."""
    plane = values[:, values.shape[1] // 2] if values.ndim == 4 else values
    return plane if len(plane) in (1, 3) else plane.mean(0, keepdim=True)


def _pixels(share: Tensor) -> Array:
    pixels: Array = share.nan_to_num(0.8).expand(3, -1, -1).permute(1, 2, 0).double().numpy()
    return pixels


def _least(found: TopPatches) -> float:
    return float(_known(found.patches).min())


def _greatest(found: TopPatches) -> float:
    return float(_known(found.patches).max())


def _known(values: Tensor) -> Tensor:
    known = values[~values.isnan()]
    return known if known.numel() else torch.zeros(1)


def _draw_signals(found: TopPatches, rows: Sequence[int], count: int) -> Figure:
    """Each patch as curves, one a channel (the mean of more than 4), what excites the unit as a strip below it."""
    columns = 3
    lines = -(-count // columns)
    step = lines * (TALL + 0.2) + 0.4
    note = f"Curves: the patches, on one scale. Strips: what of them excites the unit ({found.rule}), {SIGNS}, "
    note += "each on its own scale."
    if found.reconstructions is None:
        note = "The patches, on one scale."
    figure, axes = sheet.blank(columns * (WIDE + 0.2) + 2 * MARGIN, 0.95 + len(rows) * step, found.title(), note)
    least, greatest = _least(found), _greatest(found)
    for line, row in enumerate(rows):
        top = 1.0 + line * step
        span = f"{float(found.values[row, 0]):.3g} to {float(found.values[row, count - 1]):.3g}"
        sheet.write(axes, MARGIN, top, f"channel {found.channels[row]}: {span}", 8, INK)
        for number in range(count):
            x, y = MARGIN + number % columns * (WIDE + 0.2), top + 0.14 + number // columns * (TALL + 0.2)
            patch = found.patches[row, number].double()
            place = x + (np.arange(patch.shape[1]) + 0.5) / patch.shape[1] * WIDE
            for values in patch if len(patch) <= 4 else patch.mean(0, keepdim=True):
                share = (values - least) / max(greatest - least, 1e-30)
                axes.plot(place, y + TALL * (1 - share.numpy()), color=INK, linewidth=0.8)
            if found.reconstructions is not None:
                strip = found.reconstructions[row, number].sum(0, keepdim=True)
                colors = sheet.diverging(strip.nan_to_num())
                sheet.tile(axes, strip.numpy(), (x, y + TALL + 0.02, WIDE, 0.08), fit=False, **colors)
    return figure


def _draw_texts(found: TopPatches, rows: Sequence[int], count: int) -> Figure:
    """The patches of each channel as lines of letters or words, the letters that excite the unit in red."""
    step = 0.17 * count + 0.42
    note = "Best first, with activations; · lies beyond the border."
    if found.reconstructions is not None:
        note = f"Best first, with activations; the redder a letter, the more it excites the unit ({found.rule})."
    lettered = found.patches.dim() == 4
    width = found.patches.shape[-1] * (0.1 if lettered else 0.7) + 0.8
    columns = max(1, min(3, int(9 / (width + 0.2)), len(rows)))
    lines = -(-len(rows) // columns)
    figure, axes = sheet.blank(max(columns * (width + 0.2), 5) + 2 * MARGIN, 0.9 + lines * step, found.title(), note)
    for place, row in enumerate(rows):
        x, y = MARGIN + place % columns * (width + 0.2), 0.95 + place // columns * step
        sheet.write(axes, x, y, f"channel {found.channels[row]}", 8, MUTED)
        for number, text in enumerate(found.texts(found.channels[row])[:count]):
            line = y + 0.17 * (number + 1)
            sheet.write(axes, x, line, f"{float(found.values[row, number]):.3g}", 7, MUTED)
            if not lettered:
                sheet.write(axes, x + 0.5, line, sheet.legible(text, width - 0.5, 7.5), 7.5)
                continue
            weight = _weights(found, row, number, len(text))
            for at, (letter, share) in enumerate(zip(text, weight, strict=True)):
                color = to_hex((0.75 - 0.03 * share, 0.75 - 0.7 * share, 0.75 - 0.65 * share))
                sheet.write(axes, x + 0.5 + 0.1 * at, line, letter, 7.5, color, family="monospace", ha="center")
    return figure


def _weights(found: TopPatches, row: int, number: int, length: int) -> list[float]:
    """How much each letter that stands there excites the unit, of the greatest; 1 where that is not known."""
    if found.reconstructions is None:
        return [1.0] * length
    given = (found.reconstructions[row, number] * found.patches[row, number]).nan_to_num().sum(0).clamp(min=0)
    return [float(share) for share in given / given.max().clamp_min(1e-30)]
