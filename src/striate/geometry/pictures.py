"""Pictures of what a network is: its operations, what a unit sees of an image, accuracy against arithmetic.

Plain data in, a matplotlib `Figure` out, without pyplot: no state is shared, any thread may draw, and nothing is shown
or saved here. matplotlib is imported by the functions, so that sizing up a network does not wait for it.
Colors are Okabe & Ito's and tints of them; names from the network are never read as math.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from striate.errors import InputError
from striate.geometry.graph import Node
from striate.geometry.inputs import Inputs
from striate.geometry.layout import BOX, Block, Point, blocks, lay_out
from striate.geometry.report import Layer, Report, traced
from striate.geometry.seen import Seen, named, seen_by
from striate.geometry.words import by

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

DPI = 120
INK, MUTED, PAPER, LINE, SKIP = "#1f2328", "#656d76", "#ffffff", "#8b949e", "#5b6ea8"
# kind -> fill and border
KINDS = {
    "convolution": ("#d3e6f5", "#0072b2"),
    "linear": ("#fbdcc6", "#d55e00"),
    "attention": ("#f5dbea", "#cc79a7"),
    "norm": ("#e3e0f4", "#7a68b0"),
    "activation": ("#fbe9c6", "#e69f00"),
    "pooling": ("#cfeee3", "#009e73"),
    "resampling": ("#d9f1fc", "#56b4e9"),
    "elementwise": ("#f7f3c8", "#b3a500"),
    "shape": ("#eceff2", "#8a939d"),
    "other": ("#efe4dc", "#9a7b62"),
}
SEEN, NOMINAL = "#d55e00", "#0072b2"
MARGIN, TEXT, ROW = 0.25, 6.4, 0.145  # inches, points, inches

Array = NDArray[Any]


def draw_network(report: Report) -> Figure:
    """The network drawn: boxes are operations, colored by kind, with shapes (channels first) on the lines.

    A box says the operation, those that follow it point by point, the module, the parameters that it is the
    first to use, and its receptive field in input positions. Data runs down the first column, up the second, and so on.
    """
    from matplotlib.figure import Figure

    found = blocks(report)
    texts = [_texts(report, block) for block in found]
    heights = [0.11 + ROW * len(lines) for lines in texts]
    edges = [(source, number) for number, block in enumerate(found) for source in block.sources]
    layout = lay_out(heights, edges)
    kinds = [kind for kind in KINDS if any(block.rows and report.layers[block.rows[0]].kind == kind for block in found)]
    width = max(layout.width, 4.4) + 2 * MARGIN
    legend = list(_legend(kinds, width - 2 * MARGIN))
    top = 0.75 + 0.2 * (1 + max((row for _, row, _ in legend), default=-1))
    figure = Figure((width, top + layout.height + MARGIN), DPI, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(top + layout.height + MARGIN, 0))
    axes.axis("off")
    _write(axes, MARGIN, 0.28, fit(report.network, width - 2 * MARGIN, 12, bold=True), 12, weight="bold")
    _write(axes, MARGIN, 0.5, f"{report.parameters:,} parameters, {report.macs:,} multiply-adds", 8, MUTED)
    for x, row, kind in legend:
        _rounded(axes, (MARGIN + x, 0.67 + 0.2 * row), 0.11, 0.11, KINDS[kind], 0.02)
        _write(axes, MARGIN + x + 0.17, 0.73 + 0.2 * row, kind, 7.2, MUTED)
    x0, y0 = MARGIN + (width - 2 * MARGIN - layout.width) / 2, top
    for (_, b), line in layout.lines.items():
        _arrow(axes, [(x0 + x, y0 + y) for x, y in line], SKIP if len(found[b].sources) > 1 and len(line) > 2 else LINE)
    for block, (x, y), (lx, ly), lines in zip(found, layout.boxes, layout.labels, texts, strict=True):
        _draw_block(axes, report, block, (x0 + x, y0 + y), lines)
        if block.shapes:
            shapes = ", ".join(by(shape) or "1" for shape in block.shapes)
            halo = {"boxstyle": "square,pad=0.12", "facecolor": PAPER, "edgecolor": "none"}
            _write(axes, x0 + lx, y0 + ly, fit(shapes, BOX, TEXT), TEXT, ha="center", bbox=halo, zorder=4)
    return figure


def _texts(report: Report, block: Block) -> list[tuple[str, str]]:
    """The lines of a box: what stands on the left, and on the right."""
    if not block.rows:
        return [(block.name if block.sources or block.name == "input" else f"input {block.name}", "")]
    layers = [report.layers[row] for row in block.rows]
    first, last = layers[0], layers[-1]
    parameters, shared = sum(layer.parameters for layer in layers), any(layer.shared for layer in layers)
    count = f"{parameters:,}" if parameters < 1_000_000 else f"{parameters / 1e6:.4g} M"
    held = f"{count} params" if parameters else "shared params" if shared else ""
    seen = f"sees {'' if last.exact else '≤ '}{by(last.receptive_field)}" if last.receptive_field else ""
    followers = " ".join(f"+ {layer.operation}" for layer in layers[1:])
    lines = [(f"{first.operation} {_kernel(report, first)}".strip(), held)]
    lines += [(followers, ""), (first.path, seen)] if first.path else [(followers, seen)]
    return [line for line in lines if any(line)]


def _kernel(report: Report, layer: Layer) -> str:
    """Size of a convolution's kernel, where it is a parameter as it stands."""
    shapes = [report.graph.weights[name].shape for name in layer.weights] if layer.kind == "convolution" else []
    return next((by(shape[2:]) for shape in shapes if len(shape) == len(layer.shape) + 1), "")


def _draw_block(axes: Axes, report: Report, block: Block, corner: Point, lines: Sequence[tuple[str, str]]) -> None:
    x, y = corner
    colors = KINDS.get(report.layers[block.rows[0]].kind, KINDS["other"]) if block.rows else (PAPER, INK)
    _rounded(axes, corner, BOX, 0.11 + ROW * len(lines), colors, 0.06)
    for row, (left, right) in enumerate(lines):
        middle = y + 0.055 + ROW * (row + 0.5)
        if right:
            _write(axes, x + BOX - 0.08, middle, right, TEXT, MUTED, ha="right", zorder=5)
        size = TEXT if row else 7.2
        room = BOX - 0.22 - breadth(right, TEXT)
        head = {"weight": "bold"} if row == 0 else {}
        text = fit(left, room, size, keep_end=row > 0 and not left.startswith("+"), bold=row == 0)
        _write(axes, x + 0.08, middle, text, size, INK if row < len(lines) - 1 or not row else MUTED, zorder=5, **head)


def _legend(kinds: Sequence[str], width: float) -> Iterator[tuple[float, int, str]]:
    """Place (inches, row) of each kind."""
    x, row = 0.0, 0
    for kind in kinds:
        room = 0.3 + breadth(kind, 7.2)
        if x and x + room > width:
            x, row = 0.0, row + 1
        yield x, row, kind
        x += room


def _rounded(axes: Axes, corner: Point, width: float, height: float, colors: tuple[str, str], radius: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = f"round,pad=0,rounding_size={radius}"
    box = FancyBboxPatch(
        corner, width, height, style, facecolor=colors[0], edgecolor=colors[1], linewidth=0.9, zorder=3
    )
    axes.add_patch(box)


def _arrow(axes: Axes, points: Sequence[Point], color: str) -> None:
    from matplotlib.patches import FancyArrowPatch

    style = "-|>,head_length=3.6,head_width=1.7"
    line = FancyArrowPatch(
        path=_curved(points), arrowstyle=style, mutation_scale=1, color=color, linewidth=1.1, zorder=2
    )
    axes.add_patch(line)


def _curved(points: Sequence[Point], radius: float = 0.14) -> Path:
    """A line through corners, which it rounds off."""
    from matplotlib.path import Path

    corners, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for end in (before, after):
            length = abs(end[0] - corner[0]) + abs(end[1] - corner[1])
            share = min(radius / length, 0.5)
            near = (corner[0] + (end[0] - corner[0]) * share, corner[1] + (end[1] - corner[1]) * share)
            corners += [near] if end is before else [corner, near]
            codes += [Path.LINETO] if end is before else [Path.CURVE3, Path.CURVE3]
    return Path([*corners, points[-1]], [*codes, Path.LINETO])


def draw_receptive_field(
    model: nn.Module,
    image: Any,
    layer: int | str | Node,
    unit: Sequence[int] | None = None,
    *,
    input_shape: Inputs | None = None,
) -> Figure:
    """Mark on an image what one unit of a layer sees of it: exactly, holes of dilation included; the rest is darkened.

    `image` is a tensor (c, *space) of numbers 0 to 1 or uint8, a numpy array (h, w) or (h, w, c), or a PIL image. With
    one spatial axis it is drawn as curves, with three as slices through the center. `layer` is a module path, `unit` a
    position (row, column), by default the middle one. The solid frame is the hull of what is seen; the dashed one the
    receptive field with the padding that it reaches into, which is hatched (no further than one image away).

    `input_shape` is what the network takes where that is not the image as it is: a shape to which the image is resized,
    or, for a network with several inputs, what `describe` takes (the image is the first).

    Raises InputError as `describe` does, and for a layer or unit that is not there.
    """
    from matplotlib.figure import Figure

    pixels = _pixels(image)
    graph = traced(model, tuple(pixels.shape) if input_shape is None else input_shape)
    pixels = _resized(pixels, graph.values[next(iter(graph.inputs.values()))].shape[2:])
    seen = seen_by(graph, layer, unit)
    views = _views(pixels.numpy(), seen)
    sizes = [_size(view, 5.8 / len(views)) for _, _, view in views]
    width = sum(wide for wide, _ in sizes) + 0.5 * len(views) + 0.2
    width = max(width, 5.0)
    note = textwrap.wrap(_note(seen), int((width - 0.4) * 72 / (0.62 * 8)))
    head = 0.55 + 0.16 * len(note) + (0.2 if len(views) > 1 else 0)
    height = head + max(tall for _, tall in sizes) + 0.35
    figure = Figure((width, height), DPI, facecolor=PAPER)
    x = 0.5
    for (title, values, view), (wide, tall) in zip(views, sizes, strict=True):
        axes = figure.add_axes((x / width, 1 - (head + tall) / height, wide / width, tall / height))
        (_mark_signal if view.mask.ndim == 1 else _mark_image)(axes, values, view)
        axes.set_title(title, fontsize=8.5, color=INK, loc="left")
        x += wide + 0.5
    title = named(graph, graph.find(layer)) + (f", unit {', '.join(map(str, seen.unit))}" if seen.unit else "")
    lines = [(title, 11.0, INK, "bold"), *((line, 8.0, MUTED, "normal") for line in note)]
    for row, (text, size, color, weight) in enumerate(lines):
        text = fit(text, width - 0.4, size, bold=weight == "bold")
        y = 1 - (0.25 + 0.17 * row + (0.05 if row else 0)) / height
        figure.text(0.2 / width, y, text, size=size, color=color, weight=weight, va="center", parse_math=False)
    return figure


def _pixels(image: Any) -> torch.Tensor:
    """An image of any kind as float (c, *space)."""
    if hasattr(image, "convert"):  # PIL
        image = np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0) if image.ndim > 2 else image[None]))
    if not isinstance(image, torch.Tensor) or not 2 <= image.dim() <= 4:
        raise InputError(
            "this is no image to mark",
            expected="a tensor (c, t), (c, h, w) or (c, d, h, w), an array (h, w) or (h, w, c), or a PIL image",
            got=f"{type(image).__name__} {tuple(getattr(image, 'shape', ()))}",
        )
    return image.detach().cpu().float() / (1 if image.is_floating_point() else 255)


def _resized(pixels: torch.Tensor, space: tuple[int, ...]) -> torch.Tensor:
    if pixels.shape[1:] == space:
        return pixels
    if pixels.dim() != len(space) + 1:
        raise InputError(
            "the image has not the axes of the network's input", expected=f"{len(space)} after the channels",
            got=by(tuple(pixels.shape)),
        )  # fmt: skip
    mode = ("linear", "bilinear", "trilinear")[len(space) - 1]
    return F.interpolate(pixels[None], space, mode=mode, antialias=len(space) == 2)[0]


def _views(pixels: Array, seen: Seen) -> list[tuple[str, Array, Seen]]:
    """What is drawn side by side: the image, or of a volume the slice across each axis nearest to the center."""
    if seen.mask.ndim < 3:
        return [("", pixels, seen)]
    views = []
    for axis, name in enumerate(("plane", "row", "column")):
        others = tuple(a for a in range(3) if a != axis)
        inside = np.flatnonzero(seen.mask.any(others))
        at = inside[np.abs(inside - seen.center[axis]).argmin()] if len(inside) else seen.mask.shape[axis] // 2
        frame = seen.hull and tuple(seen.hull[a] for a in others)
        around, center = tuple(seen.nominal[a] for a in others), tuple(seen.center[a] for a in others)
        cut = replace(seen, mask=seen.mask.take(at, axis), hull=frame, nominal=around, center=center)
        views.append((f"{name} {at}", pixels.take(at, axis + 1), cut))
    return views


def _limits(seen: Seen) -> list[tuple[float, float]]:
    """First and last coordinate that is drawn on each axis: the input, and as much of the padding as is looked at."""
    found = []
    for size, (lo, hi) in zip(seen.mask.shape, seen.nominal, strict=True):
        room = 0.04 * size
        low = max(lo - 0.5 - room, -size) if lo < 0 else -0.5
        high = min(hi + 0.5 + room, 2 * size) if hi > size - 1 else size - 0.5
        found.append((low, high))
    return found


def _size(seen: Seen, most: float) -> tuple[float, float]:
    """Width and height, in inches, of a picture."""
    if seen.mask.ndim == 1:
        return most, 2.0
    tall, wide = (high - low for low, high in _limits(seen))
    return most * min(1, wide / tall), most * min(1, tall / wide)


def _note(seen: Seen) -> str:
    """What is seen, in a sentence."""
    if seen.hull is None:
        return "Sees nothing of the input."
    names = ("planes", "rows", "columns")[-seen.mask.ndim :] if seen.mask.ndim > 1 else ("positions",)
    spans = ", ".join(f"{name} {lo} to {hi}" for name, (lo, hi) in zip(names, seen.hull, strict=True))
    holes = math.prod(hi - lo + 1 for lo, hi in seen.hull) > seen.mask.sum()
    center = ", ".join(f"{c:g}" for c in seen.center)
    text = f"Sees {seen.mask.sum():,} of {seen.mask.size:,} positions{', with holes' if holes else ''}: {spans} "
    text += f"({by(hi - lo + 1 for lo, hi in seen.hull)}, solid); center {center} (+)."
    if seen.nominal != seen.hull:
        text += f" With the padding: {by(hi - lo + 1 for lo, hi in seen.nominal)} (dashed)."
    return text


def _mark_image(axes: Axes, pixels: Array, seen: Seen) -> None:
    from matplotlib.patches import Rectangle

    (top, bottom), (left, right) = _limits(seen)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    size = (right - left, bottom - top)
    axes.add_patch(Rectangle((left, top), *size, facecolor="#f4f6f8", edgecolor="#c6cdd5", hatch="////", linewidth=0))
    colors = pixels if len(pixels) == 3 else pixels.mean(0, keepdims=True).repeat(3, 0)
    low, high = min(colors.min(), 0), max(colors.max(), 1)
    colors = (np.moveaxis(colors, 0, -1) - low) / (high - low)
    dark = np.broadcast_to(0.06 + 0.3 * colors.mean(-1, keepdims=True), colors.shape)
    shown = np.where(seen.mask[..., None], colors, dark)
    rows, columns = seen.mask.shape
    few = max(rows, columns) < 300
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(shown, extent=extent, aspect="auto", interpolation="nearest" if few else "antialiased", zorder=2)
    for spans, color, style in ((seen.nominal, NOMINAL, (0, (4, 3))), (seen.hull, SEEN, "-")):
        if spans and (color == SEEN or spans != seen.hull):
            (y0, y1), (x0, x1) = spans
            corner, size = (x0 - 0.5, y0 - 0.5), (x1 - x0 + 1, y1 - y0 + 1)
            axes.add_patch(
                Rectangle(corner, *size, fill=False, edgecolor=color, linestyle=style, linewidth=1.6, zorder=3)
            )
    for width, color in ((3.2, PAPER), (1.4, SEEN)):
        axes.plot(*seen.center[::-1], "+", color=color, markersize=9 + width / 2, markeredgewidth=width, zorder=4)
    _quiet(axes)
    axes.spines[:].set_visible(False)


def _mark_signal(axes: Axes, values: Array, seen: Seen) -> None:
    [(left, right)], [size] = _limits(seen), seen.mask.shape
    axes.set_xlim(left, right)
    for low, high in ((left, -0.5), (size - 0.5, right)):
        if high > low:
            axes.axvspan(low, high, facecolor="#f4f6f8", edgecolor="#c6cdd5", hatch="////", linewidth=0)
    places = np.arange(size)
    edges = np.repeat(places, 2) + np.tile([-0.5, 0.5], size)
    across = axes.get_xaxis_transform()
    axes.fill_between(edges, 0, 1, where=np.repeat(seen.mask, 2), transform=across, color=SEEN, alpha=0.18, linewidth=0)
    few: dict[str, Any] = {"marker": "o", "markersize": 2.5} if size <= 100 else {}
    for channel in values:
        axes.plot(places, channel, color="#9aa3ad", linewidth=0.9, **few)
        axes.plot(places, np.where(seen.mask, channel, np.nan), "o-", color=INK, linewidth=1.2, markersize=2.5)
    for spans, color, style in ((seen.nominal, NOMINAL, (0, (4, 3))), (seen.hull, SEEN, "-")):
        if spans and (color == SEEN or spans != seen.hull):
            for edge in (spans[0][0] - 0.5, spans[0][1] + 0.5):
                axes.axvline(edge, color=color, linestyle=style, linewidth=1.4)
    axes.plot(seen.center[0], 0.5, "+", color=SEEN, markersize=10, markeredgewidth=1.6, transform=across)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.tick_params(labelsize=7.5, colors=MUTED, color=LINE, length=2.5)
    axes.spines[:].set_color("#c6cdd5")


def _write(axes: Axes, x: float, y: float, text: str, size: float, color: str = INK, **style: Any) -> None:
    """Put `text` at x, its middle at y, as it stands: never read as math."""
    axes.text(x, y, text, fontsize=size, color=color, va="center_baseline", parse_math=False, **style)


@functools.lru_cache(4096)
def breadth(text: str, size: float, bold: bool = False) -> float:
    """How wide a text is drawn, in inches."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, False)  # type: ignore[no-untyped-call]
    return float(width) / DPI


def fit(text: str, inches: float, size: float, keep_end: bool = False, bold: bool = False) -> str:
    """One line of text, shortened to its room, with only letters that the font has."""
    line = "".join(letter if _has_glyph(letter) else "□" for letter in " ".join(text.split()))
    if len(line) < 1000 and breadth(line, size, bold) <= inches:
        return line
    narrowest = 0.25 * size / 72
    for kept in range(min(len(line) - 1, int(inches / narrowest)), 0, -1):
        short = "…" + line[-kept:] if keep_end else line[:kept].rstrip() + "…"
        if breadth(short, size, bold) <= inches:
            return short
    return "…"


@functools.cache
def _has_glyph(letter: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties())).get_char_index(ord(letter)) != 0
