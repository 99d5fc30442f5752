"""Pictures of embeddings: thumbnails on a grid, colored points, neighbors in rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from striate.errors import InputError
from striate.interpret import sheet
from striate.interpret.sheet import INK, MARGIN, MUTED, Array
from striate.shapes import Float, Int64, Tensor, UInt8

if TYPE_CHECKING:
    from striate.interpret.features.embedding import Embedding

WIDE, LEAST = 7.5, 0.1  # inches of the map; of a thumbnail, at least
NAMES = {"tsne": "t-SNE", "pca": "PCA"}
NAMED = 12  # classes that a legend names
RIGHT, WRONG = "#009e73", "#d55e00"


def draw_embedding(found: Embedding, points: Float[Tensor, "n 2"], way: str, grid: bool | None, room: float) -> Figure:
    """See `Embedding.plot`."""
    title = (
        f"{way.replace('tsne', 't-SNE').replace('pca', 'PCA')} of {len(points):,} items at {found.layer or 'output'}"
    )
    if grid is None:
        grid = found.thumbnails is not None
    if not grid:
        return _draw_points(found, points, title)
    if found.thumbnails is None:
        expected = "images or volumes"
        raise InputError("no thumbnails to put on a grid", expected=expected, fix="Plot with grid=False.")
    if not room >= 1:
        raise InputError("room on the grid", expected="1 or more cells an item", got=room)
    return _draw_grid(found, found.thumbnails, points, title, room)


def _draw_grid(
    found: Embedding, pictures: UInt8[Tensor, "n c h w"], points: Float[Tensor, "n 2"], title: str, room: float
) -> Figure:
    from striate.interpret.features.embedding import snapped

    side = math.ceil(math.sqrt(room * len(points)))
    rows = math.ceil(room * len(points) / side)
    cells = snapped(points, rows, side)
    height, width = pictures.shape[2:]
    size = max(WIDE / side, LEAST)
    tall = size * height / width
    note = "Each item stands in the cell that is free and near where the map puts it; frames have their class's color."
    note = note if found.targets is not None else note.partition(";")[0] + "."
    figure, axes = sheet.blank(side * size + 2 * MARGIN, 0.85 + rows * tall + 0.45, title, note)
    canvas = np.full((rows * height, side * width, 3), 255, np.uint8)
    for picture, (row, column) in zip(pictures, cells.tolist(), strict=True):
        pixels = sheet.photo(picture)
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = pixels
    sheet.tile(axes, canvas, (MARGIN, 0.85, side * size, rows * tall), fit=False)
    if found.targets is not None:
        colors = _colors(found)
        edge = 72 * size / 22
        for target, (row, column) in zip(found.targets.tolist(), cells.tolist(), strict=True):
            at = (MARGIN + (column + 0.06) * size, 0.85 + (row + 0.06) * tall)
            box = Rectangle(at, 0.88 * size, 0.88 * tall, fill=False, edgecolor=colors[target], linewidth=edge)
            axes.add_patch(box)
        _legend(axes, found, colors, 0.85 + rows * tall + 0.2, side * size)
    return figure


def _draw_points(found: Embedding, points: Float[Tensor, "n 2"], title: str) -> Figure:
    note = "Each item where the map puts it" + (", in its class's color." if found.targets is not None else ".")
    figure, axes = sheet.blank(WIDE + 2 * MARGIN, 0.85 + 0.8 * WIDE + 0.5, title, note)
    low, high = points.amin(0), points.amax(0)
    unit = ((points - low) / (high - low).clamp_min(1e-30)).double().numpy()
    x, y = MARGIN + 0.1 + unit[:, 0] * (WIDE - 0.2), 0.95 + (1 - unit[:, 1]) * (0.8 * WIDE - 0.2)
    size = min(30.0, 12_000 / len(points))
    if found.targets is None:
        axes.scatter(x, y, s=size, color=INK, linewidths=0)
        return figure
    colors = _colors(found)
    axes.scatter(x, y, s=size, c=colors[found.targets.numpy()], linewidths=0, alpha=0.85)
    _legend(axes, found, colors, 0.85 + 0.8 * WIDE + 0.2, WIDE)
    for target in _present(found):
        place = (found.targets == target).numpy()
        middle = (float(np.median(x[place])), float(np.median(y[place])))
        label = sheet.legible(_name(found, target), 1.2, 9)
        sheet.write(axes, *middle, label, 9, INK, ha="center", weight="bold")
    return figure


def draw_neighbors(
    found: Embedding,
    items: Sequence[int],
    near: Int64[Tensor, "n count"],
    far: Float[Tensor, "n count"],
    metric: str,
) -> Figure:
    """See `Embedding.plot_neighbors`."""
    n, count = near.shape
    if found.thumbnails is None:
        raise InputError("no thumbnails to draw", expected="images or volumes")
    if not items or not all(0 <= item < n for item in items):
        raise InputError("no such items", expected=f"numbers of 0 to {n - 1}", got=list(items))
    side, gap = 0.7, 0.1
    note = f"Left the item, then its nearest others; below, the {metric} distance."
    if found.targets is not None:
        note += " Frames: green, the same class; orange, another."
    title = f"Nearest neighbors at {found.layer or 'output'}"
    width = (count + 1) * (side + gap) + 0.15 + 2 * MARGIN
    figure, axes = sheet.blank(max(width, 5.5), 0.9 + len(items) * (side + 0.28), title, note)
    for row, item in enumerate(items):
        for column, other in enumerate([item, *near[item].tolist()]):
            x = MARGIN + column * (side + gap) + 0.15 * (column > 0)
            y = 0.9 + row * (side + 0.28)
            sheet.tile(axes, sheet.photo(found.thumbnails[other]), (x, y, side, side), fit=False)
            label = "" if not column else f"{float(far[item, column - 1]):.2g}"
            if found.targets is not None:
                same = int(found.targets[other]) == int(found.targets[item])
                color = INK if not column else RIGHT if same else WRONG
                axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=color, linewidth=1.6))
                label = _name(found, int(found.targets[other])) + f" {label}"
            sheet.write(axes, x, y + side + 0.1, sheet.legible(label, side, 6.5), 6.5, MUTED)
    return figure


def _colors(found: Embedding) -> Array:
    """A color for each class: told apart as well as that many can be."""
    assert found.targets is not None
    count = int(found.targets.max()) + 1
    if count <= 10:
        return np.asarray(colormaps["tab10"].colors)[:count]  # type: ignore[attr-defined]
    return np.asarray(colormaps["tab20"](np.arange(count) % 20))[:, :3]


def _present(found: Embedding) -> list[int]:
    return [] if found.targets is None else sorted(set(found.targets.tolist()))


def _name(found: Embedding, target: int) -> str:
    return found.names[target] if target < len(found.names) else str(target)


def _legend(axes: Axes, found: Embedding, colors: Array, y: float, width: float) -> None:
    assert found.targets is not None
    shown = _present(found)[:NAMED]
    step = width / len(shown)
    for number, target in enumerate(shown):
        x = MARGIN + number * step
        axes.add_patch(Rectangle((x, y - 0.05), 0.1, 0.1, color=colors[target], linewidth=0))
        sheet.write(axes, x + 0.14, y, sheet.legible(_name(found, target), step - 0.18, 7), 7, INK)
