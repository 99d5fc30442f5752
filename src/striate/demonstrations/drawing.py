"""What the scenes are drawn with: grids of numbers, windows, arrows and charts, in inches on given axes.

Gray is a picture from black to white; blue, white and red are values below, at and above zero; white to blue is a
quantity from zero up. Orange marks what is being read, green what is being written.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patches import FancyArrowPatch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from striate.interpret import sheet
from striate.interpret.sheet import INK, MUTED, PALE, RULE, Array, Inches
from striate.shapes import Tensor

READ, WRITTEN, THIRD = "#d55e00", "#009e73", "#0072b2"
COLORS = (THIRD, READ, WRITTEN, "#cc79a7", "#e69f00", "#56b4e9")
GRAY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
Grid = Tensor | Sequence[Sequence[str]]
Place = tuple[Inches, Inches]


def amount(greatest: float) -> dict[str, Any]:
    """Colors for quantities from 0, white, to `greatest`, blue."""
    return {"cmap": "Blues", "vmin": 0, "vmax": max(greatest, 1e-30) * 1.25}


def number(value: float) -> str:
    """A number as short as it reads well, with a true minus sign.

    >>> number(-2.0), number(0.125), number(1 / 3), number(-0.0)
    ('−2', '0.125', '0.333', '0')
    """
    return f"{value + 0.0:.{4 if abs(value) >= 1000 else 3}g}".replace("-", "−")


def cells(
    axes: Axes,
    values: Grid,
    corner: Place,
    side: Inches = 0.3,
    *,
    colors: dict[str, Any] | None = None,
    known: Tensor | None = None,
    title: str = "",
    write: bool = True,
    faces: Array | None = None,
) -> None:
    """A grid with a number or a word in each cell.

    `colors`: a map and its range for numbers; `faces`: colors (rows columns 4) instead. Cells that are not `known` yet
    stay empty.
    """
    rows, columns = (values.shape[0], values.shape[1]) if isinstance(values, Tensor) else (len(values), len(values[0]))
    shown = np.ones((rows, columns), bool) if known is None else known.numpy()
    x, y = corner
    if faces is None:
        faces = np.ones((rows, columns, 4))
        if colors is not None and isinstance(values, Tensor):
            norm = Normalize(colors["vmin"], colors["vmax"])
            faces = colormaps[colors["cmap"]](norm(values.double().numpy()))
    faces = np.where(shown[..., None], faces, np.array([0.965, 0.972, 0.98, 1]))
    width, height = columns * side, rows * side
    sheet.tile(axes, faces, (x, y, width, height), fit=False, zorder=1)
    _rules(axes, corner, rows, columns, side)
    if title:
        sheet.write(axes, x, y - 0.13, title, 8, INK, weight="bold")
    if not write:
        return
    light = faces[..., :3] @ np.array([0.299, 0.587, 0.114])
    texts = [[number(v) for v in row] for row in values.tolist()] if isinstance(values, Tensor) else values
    widest = max(_outline(text)[1] for row in texts for text in row)
    points = min(25 * side, 72 * side * 0.9 / max(widest, 1))
    for color, where in ((INK, shown & (light > 0.5)), ("white", shown & (light <= 0.5))):
        words = [(texts[i][j], (x + (j + 0.5) * side, y + (i + 0.5) * side)) for i, j in np.argwhere(where)]
        _write_all(axes, words, points, color)


def _write_all(axes: Axes, words: Sequence[tuple[str, Place]], points: Inches, color: str) -> None:
    """Words with their middles at places, as one shape: drawn twice as fast as texts one by one."""
    size = np.array([points, -points]) / 72
    shapes = [(_outline(text)[0], at) for text, at in words if text]
    moved = [Path(np.asarray(shape.vertices) * size + at, shape.codes) for shape, at in shapes]
    if moved:
        axes.add_artist(PathPatch(Path.make_compound_path(*moved), facecolor=color, linewidth=0, zorder=3))


@functools.cache
def _outline(text: str) -> tuple[Path, float]:
    """A word in a font of size 1, its middle at 0, 0, up and down that of a digit; and its width."""
    if not text:
        return Path(np.empty((0, 2))), 0.0
    word, digit = TextPath((0, 0), text, 1), TextPath((0, 0), "0", 1).get_extents()
    extent = word.get_extents()
    return Path(
        np.asarray(word.vertices) - ((extent.x0 + extent.x1) / 2, (digit.y0 + digit.y1) / 2), word.codes
    ), extent.width


def _rules(axes: Axes, corner: Place, rows: int, columns: int, side: Inches) -> None:
    x, y = corner
    lines = [[(x, y + i * side), (x + columns * side, y + i * side)] for i in range(rows + 1)]
    lines += [[(x + i * side, y), (x + i * side, y + rows * side)] for i in range(columns + 1)]
    axes.add_collection(LineCollection(lines, colors=RULE, linewidths=0.6, zorder=2), autolim=False)


def window(
    axes: Axes,
    corner: Place,
    side: Inches,
    place: tuple[int, int],
    extent: tuple[int, int] = (1, 1),
    color: str = READ,
    *,
    fill: bool = False,
    style: str = "-",
    width: Inches = 2,
) -> None:
    """A frame around `extent` cells from row and column `place` on, of the grid at `corner`."""
    at = (corner[0] + place[1] * side, corner[1] + place[0] * side)
    size = (extent[1] * side, extent[0] * side)
    face = (*_rgb(color), 0.18) if fill else "none"
    axes.add_patch(Rectangle(at, *size, facecolor=face, edgecolor=color, linewidth=width, linestyle=style, zorder=4))


def _rgb(color: str) -> tuple[float, float, float]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


def arrow(axes: Axes, start: Place, end: Place, text: str = "", color: str = MUTED, bend: Inches = 0) -> None:
    """An arrow with a word above its middle; `bend` lets it go in an arc."""
    shape = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>,head_length=4,head_width=2",
        mutation_scale=1,
        color=color,
        linewidth=1.1,
        connectionstyle=f"arc3,rad={bend}",
        zorder=5,
    )
    axes.add_patch(shape)
    if text:
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 0.12
        sheet.write(axes, *middle, text, 7.5, MUTED, ha="center")


def lines(
    axes: Axes, pairs: Sequence[tuple[Place, Place]], color: str = RULE, width: Inches = 1, order: int = 1
) -> None:
    """Straight lines between places."""
    axes.add_collection(LineCollection(list(pairs), colors=color, linewidths=width, zorder=order), autolim=False)


def units(
    axes: Axes, places: Sequence[Place], texts: Sequence[str], faces: Sequence[str], radius: Inches = 0.13
) -> None:
    """Circles with a word in each; dark ones have white words."""
    from matplotlib.patches import Circle

    for (x, y), text, face in zip(places, texts, faces, strict=True):
        axes.add_patch(Circle((x, y), radius, facecolor=face, edgecolor=MUTED, linewidth=0.8, zorder=4))
        color = "white" if face in COLORS else INK
        sheet.write(axes, x, y + 0.005, text, min(7.5, 52 * radius), color, ha="center", zorder=5)


def scale(axes: Axes, corner: Place, colors: dict[str, Any], what: str, width: Inches = 1.4) -> None:
    """The colors with the values at their ends, and what they mean."""
    x, y = corner
    least, greatest = colors["vmin"], colors["vmax"]
    if colors["cmap"] == "Blues":
        greatest /= 1.25
    sheet.tile(axes, np.linspace(least, greatest, 101)[None], (x, y, width, 0.1), fit=False, **colors)
    sheet.write(axes, x, y + 0.2, number(least), 7, MUTED)
    sheet.write(axes, x + width, y + 0.2, number(greatest), 7, MUTED, ha="right")
    sheet.write(axes, x + width + 0.1, y + 0.05, what, 7, MUTED)


def picture(axes: Axes, pixels: Tensor, box: sheet.Box, title: str, colors: dict[str, Any] | None = None) -> None:
    """A picture (h w) or (h w 3) with its name above."""
    sheet.tile(axes, pixels.numpy(), box, **(colors or {}))
    sheet.write(axes, box[0], box[1] - 0.13, title, 8, INK, weight="bold")


def chart(axes: Axes, box: sheet.Box, title: str = "", x: str = "", y: str = "") -> Axes:
    """Axes of their own in a box (x, y, width, height): the common look of all charts."""
    (_, wide), (tall, _) = axes.get_xlim(), axes.get_ylim()
    left, top, width, height = box
    inner = axes.inset_axes((left / wide, 1 - (top + height) / tall, width / wide, height / tall))
    inner.spines[:].set_color(RULE)
    inner.spines[["top", "right"]].set_visible(False)
    inner.tick_params(labelsize=7.5, colors=INK, color=RULE, length=3)
    inner.set_axisbelow(True)
    inner.grid(color=PALE, linewidth=0.8)
    inner.set_xlabel(x, fontsize=8, color=MUTED)
    inner.set_ylabel(y, fontsize=8, color=MUTED)
    inner.set_title(title, fontsize=8, color=INK, loc="left", fontweight="bold")
    return inner


def letters(rows: int, columns: int) -> list[list[str]]:
    """a, b, c … row by row."""
    return [[chr(ord("a") + row * columns + column) for column in range(columns)] for row in range(rows)]


def until(shape: tuple[int, int], step: int) -> Tensor:
    """Which cells are known after `step` + 1 of them were computed, row by row."""
    return (torch.arange(shape[0] * shape[1]) <= step).reshape(shape)


def box(axes: Axes, place: sheet.Box, text: str, color: str) -> None:
    """A box with a word in it."""
    x, y, width, height = place
    face = tuple(0.25 * part + 0.75 for part in _rgb(color))
    axes.add_patch(Rectangle((x, y), width, height, facecolor=face, edgecolor=color, linewidth=1, zorder=3))
    sheet.write(axes, x + width / 2, y + height / 2, text, 8.5, INK, ha="center", zorder=5)
