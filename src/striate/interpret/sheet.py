"""Pictures laid out in inches on one sheet: the drawing under every grid of images, filters and maps.

A sheet is a matplotlib figure whose only axes counts in inches, y down. Tiles and words lie where they are
put, so there is no layout to solve: it is fast, and never warns about images that are too small.
"""

from __future__ import annotations

import functools
import math
import textwrap
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

from striate.shapes import Tensor, UInt8

DPI = 120
INK, MUTED, RULE, PALE = "#1f2328", "#656d76", "#d8dee4", "#eef1f4"
MARGIN = 0.2  # inches around the tiles

Array = NDArray[Any]
Inches = int | float  # beartype would refuse 2 for a float
Box = tuple[Inches, Inches, Inches, Inches]


def blank(width: Inches, height: Inches, title: str, note: str) -> tuple[Figure, Axes]:
    """An empty sheet of width × height inches with a title and, below it, a note of one or two lines."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    write(axes, MARGIN, 0.26, title, 11, weight="bold")
    for row, line in enumerate(textwrap.wrap(note, int((width - 2 * MARGIN) * 16))):
        write(axes, MARGIN, 0.47 + 0.15 * row, line, 8, MUTED)
    return figure, axes


def grid(
    count: int, columns: int, size: tuple[Inches, Inches], title: str, note: str, gap: Inches = 0.14
) -> tuple[Figure, Axes, list[tuple[Inches, Inches]]]:
    """A sheet with room for `count` tiles of `size`, and the top left corner of each."""
    width, height = size[0] + gap, size[1] + gap
    room = max(min(columns, count) * width - gap, 4.5, 0.1 * len(title))
    figure, axes = blank(room + 2 * MARGIN, 0.8 + math.ceil(count / columns) * height + 0.1, title, note)
    corners = [(MARGIN + i % columns * width, 0.8 + i // columns * height) for i in range(count)]
    return figure, axes, corners


def tile(axes: Axes, pixels: Array, box: Box, fit: bool = True, **colors: Any) -> None:
    """Draw pixels into a box (x, y, width, height); `fit` keeps the pixels square and centers them."""
    x, y, width, height = box
    rows, columns = pixels.shape[:2]
    if fit:
        scale = min(width / columns, height / rows)
        x, y = x + (width - scale * columns) / 2, y + (height - scale * rows) / 2
        width, height = scale * columns, scale * rows
    # Few pixels must show as squares; many need averaging, which "antialiased" does.
    smooth = "antialiased" if columns > width * DPI else "nearest"
    extent = (x, x + width, y + height, y)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation=smooth, **colors)


def write(axes: Axes, x: Inches, y: Inches, text: str, size: Inches, color: str = INK, **style: Any) -> None:
    """Put `text` at x, its middle at y, as it stands: never read as math."""
    axes.text(x, y, text, fontsize=size, color=color, va="center", parse_math=False, **style)


def legible(text: str, inches: Inches, size: Inches, keep_end: bool = False) -> str:
    """One line of `text` that fits into the room at this font size and has only letters of the font."""
    line = "".join(letter if _has_glyph(letter) else "□" for letter in " ".join(text.split()))
    room = max(int(inches * 72 / (0.62 * size)), 3)
    if len(line) <= room:
        return line
    return "…" + line[1 - room :] if keep_end else line[: room - 1].rstrip() + "…"


def some(shown: int, total: int, noun: str) -> str:
    """What a title counts: "12 of 50 layers", "4 layers", "1 layer"."""
    nouns = noun if total == 1 else f"{noun}s"
    return f"{total} {nouns}" if shown == total else f"{shown} of {total} {nouns}"


@functools.cache
def _has_glyph(letter: str) -> bool:
    return get_font(findfont(FontProperties())).get_char_index(ord(letter)) != 0


def photo(image: UInt8[Tensor, "c h w"]) -> Array:
    """An image as matplotlib wants it, h w 3; anything but three channels becomes their mean, gray."""
    pixels = image.cpu() if len(image) == 3 else image.cpu().float().mean(0, keepdim=True).byte()
    return pixels.expand(3, -1, -1).permute(1, 2, 0).numpy()


def planes(layer: Tensor) -> Tensor:
    """(channels, *space) as pictures (channels, h, w): a signal is one row, a volume its middle plane."""
    layer = layer.detach().cpu().float().nan_to_num(0, 0, 0)
    if layer.ndim == 2:
        return layer[:, None]
    return layer[:, layer.shape[1] // 2] if layer.ndim == 4 else layer


def stretch(weights: Tensor) -> Tensor:
    """Filters (k, 3, h, w) as colors (k, h, w, 3) from 0, the least weight, to 1; a constant one is gray."""
    least, greatest = weights.amin((1, 2, 3), keepdim=True), weights.amax((1, 2, 3), keepdim=True)
    share = (weights - least) / (greatest - least).clamp_min(1e-30)
    return torch.where(greatest > least, share, 0.5).permute(0, 2, 3, 1)


def diverging(values: Tensor) -> dict[str, Any]:
    """Colors for signed values: blue below zero, white zero, red above, up to the greatest magnitude."""
    limit = max(float(values.abs().max()), 1e-30)
    return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
