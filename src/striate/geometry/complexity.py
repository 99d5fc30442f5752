"""The complexity chart: accuracy against arithmetic, discs as large as the network.

A. Canziani, A. Paszke, E. Culurciello, "An analysis of deep neural network models for practical applications",
arXiv:1605.07678 (2016), fig. 2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from striate.errors import InputError
from striate.geometry.pictures import DPI, INK, LINE, MUTED, PAPER, fit
from striate.geometry.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a68b0", "#b3a500")
WIDTH, HEIGHT, LEFT, BOTTOM, SIDE, TOP = 7.8, 5.0, 0.75, 0.6, 1.35, 0.65  # inches; SIDE has the legend
LARGEST = 0.34  # radius of the largest disc, in inches
LOGARITHMIC = 20  # the axis turns logarithmic where operations span such a factor
LABEL = 8.5  # points

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top, in inches of the figure
Disc = tuple[float, float, float]  # x, y, radius


class Measured(NamedTuple):
    """A network with the accuracy, in percent, that somebody measured, and where that stands (paper, run)."""

    name: str
    report: Report
    accuracy: float
    source: str = ""


def draw_complexity(entries: Sequence[Measured | tuple[str, Report, float]]) -> Figure:
    """Accuracy (percent) against multiply-adds of one input; the area of a disc is proportional to the parameters.

    The axis of operations turns logarithmic where they span a factor of 20. Labels do not overlap each other nor, where
    there is room, discs. Sources are listed below.

    Raises InputError for no network, one without multiply-adds, and an accuracy outside 0 to 100.
    """
    from matplotlib.figure import Figure

    networks = [Measured(*entry) for entry in entries]
    _check(networks)
    stated = dict.fromkeys(network.source for network in networks if network.source)
    sources = [f"{', '.join(n.name for n in networks if n.source == source)}: {source}" for source in stated]
    foot = 0.16 * len(sources) + (0.1 if sources else 0)
    figure = Figure((WIDTH, HEIGHT + foot), DPI, facecolor=PAPER)
    room = (WIDTH - LEFT - SIDE, HEIGHT - BOTTOM - TOP)
    tall = HEIGHT + foot
    axes = figure.add_axes((LEFT / WIDTH, (BOTTOM + foot) / tall, room[0] / WIDTH, room[1] / tall))
    _scale(axes, networks, room)
    most = max(network.report.parameters for network in networks)
    radii = [LARGEST * math.sqrt(network.report.parameters / max(most, 1)) for network in networks]
    unit, _ = _unit(max(network.report.macs for network in networks))
    places = [(network.report.macs / unit, network.accuracy) for network in networks]
    for number in sorted(range(len(networks)), key=lambda n: -radii[n]):
        color, size = COLORS[number % len(COLORS)], (144 * radii[number]) ** 2
        axes.scatter(*places[number], s=size, color=color, alpha=0.45, linewidth=0, zorder=3, clip_on=False)
        axes.scatter(*places[number], s=7, color=color, linewidth=0, zorder=4, clip_on=False)
    _write_labels(axes, [network.name for network in networks], places, radii)
    _write_legend(figure, most)
    figure.text(
        0.2 / WIDTH, 1 - 0.3 / tall, "Accuracy against arithmetic", size=12, weight="bold", color=INK, va="center"
    )
    for row, source in enumerate(sources):
        text, y = fit(source, WIDTH - 0.4, 7), (foot - 0.02 - 0.16 * row) / tall
        figure.text(0.2 / WIDTH, y, text, size=7, color=MUTED, va="center", parse_math=False)
    return figure


def _check(networks: Sequence[Measured]) -> None:
    if not networks:
        raise InputError("no networks to compare", expected="tuples (name, report, accuracy)", got="none")
    for network in networks:
        if not 0 <= network.accuracy <= 100:
            got = f"{network.accuracy:g}"
            raise InputError("accuracy is given in percent", where=network.name, expected="0 to 100", got=got)
        if not network.report.macs:
            raise InputError("a network without multiply-adds has no place in the chart", got=network.name)


def _unit(most: int) -> tuple[float, str]:
    """The largest unit of which there is at least one."""
    return next((unit for unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if most >= unit[0]), (1.0, ""))


def _scale(axes: Axes, networks: Sequence[Measured], room: Point) -> None:
    """Limits that leave room for a disc and its label on each side, ticks, names of the axes."""
    unit, prefix = _unit(max(network.report.macs for network in networks))
    counts, scores = [n.report.macs / unit for n in networks], [n.accuracy for n in networks]
    logarithmic = max(counts) >= LOGARITHMIC * min(counts)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        low, high = _limits([math.log10(count) for count in counts], room[0], 0.3)
        axes.set_xlim(10**low, 10**high)
    else:
        low, high = _limits(counts, room[0], 0.1 * max(counts))
        axes.set_xlim(max(low, 0), high)
    low, high = _limits(scores, room[1], 2)
    axes.set_ylim(low, high)
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= min(high, 100)])
    name = f"{prefix}-MACs".lstrip("-") + (", logarithmic" if logarithmic else "")
    axes.set_xlabel(f"multiply-adds of one input ({name})", fontsize=9, color=MUTED)
    axes.set_ylabel("accuracy, %", fontsize=9, color=MUTED)
    axes.tick_params(which="both", labelsize=8.5, colors=INK, color=LINE, length=3)
    axes.spines[:].set_color(LINE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)


def _limits(values: Sequence[float], inches: float, least: float) -> Point:
    low, high = min(values), max(values)
    if high - low < least:
        low, high = low - least / 2, high + least / 2
    pad = (high - low) * (LARGEST + 0.2) / (inches - 2 * LARGEST - 0.4)
    return low - pad, high + pad


def _write_labels(axes: Axes, names: Sequence[str], places: Sequence[Point], radii: Sequence[float]) -> None:
    """Each name beside its disc; one that could be taken for another disc's gets a line to its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    middles = [axes.transData.transform(place) / DPI for place in places]
    discs = [(float(x), float(y), radius) for (x, y), radius in zip(middles, radii, strict=True)]
    left, bottom, right, top = (float(pixel) / DPI for pixel in axes.bbox.extents)
    frame = (left, bottom, right + 0.1, top + 0.1)
    taken: list[Box] = []
    for name, place, disc in zip(names, places, discs, strict=True):
        label = axes.annotate(
            fit(name, 2.2, LABEL), place, (0, 0), textcoords="offset points", fontsize=LABEL, color=INK, ha="center",
            va="center", zorder=6, parse_math=False, annotation_clip=False,
        )  # fmt: skip
        extent = label.get_window_extent(renderer)
        box = _place((float(extent.width) / DPI, float(extent.height) / DPI), disc, discs, taken, frame)
        taken.append(box)
        x, y = (box[0] + box[2]) / 2 - disc[0], (box[1] + box[3]) / 2 - disc[1]
        label.set_position((72 * x, 72 * y))
        if not _belongs(box, disc, discs):
            near = (min(max(disc[0], box[0]), box[2]) - disc[0], min(max(disc[1], box[1]), box[3]) - disc[1])
            line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
            end = (72 * near[0], 72 * near[1])
            axes.annotate("", place, end, textcoords="offset points", arrowprops=line, zorder=5)


def _place(size: Point, disc: Disc, discs: Sequence[Disc], taken: Sequence[Box], frame: Box) -> Box:
    """The nearest free place for a label; rather one where no other disc is as near, rather one over no disc."""
    x, y, radius = disc
    boxes = [_around((x + across, y + up), size) for across, up in _moves(radius, size)]
    free = [box for box in boxes if not _meets(box, taken, [])]
    clear = [box for box in free if _inside(box, frame) and not _meets(box, taken, discs)]
    return next(iter([*(box for box in clear if _belongs(box, disc, discs)), *clear, *free]), _around((x, y), size))


def _belongs(box: Box, disc: Disc, discs: Sequence[Disc]) -> bool:
    """Whether a label is near its disc, and nearer than to any other."""
    return _gap(box, disc) < min([0.15, *(_gap(box, other) for other in discs if other != disc)])


def _moves(radius: float, size: Point) -> Iterator[Point]:
    """Places around a disc for the middle of a label of this size, near ones first."""
    for ring in range(80):
        distance = radius + 0.05 + 0.08 * ring
        for degrees in (0, 180, 90, 270, 45, 135, 315, 225, 20, 160, 340, 200, 70, 110, 290, 250):
            across, up = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            yield across * (distance + size[0] / 2), up * (distance + size[1] / 2)


def _around(middle: Point, size: Point) -> Box:
    (x, y), (wide, tall) = middle, size
    return x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2


def _inside(box: Box, frame: Box) -> bool:
    return frame[0] < box[0] and frame[1] < box[1] and box[2] < frame[2] and box[3] < frame[3]


def _meets(box: Box, taken: Sequence[Box], discs: Sequence[Disc]) -> bool:
    """Whether a label overlaps another one, or a disc."""
    left, bottom, right, top = box
    if any(left < b[2] + 0.02 and b[0] < right + 0.02 and bottom < b[3] + 0.01 and b[1] < top + 0.01 for b in taken):
        return True
    return any(_gap(box, (x, y, max(radius, 0.03))) < 0 for x, y, radius in discs)


def _gap(box: Box, disc: Disc) -> float:
    """From a label to the edge of a disc; negative where they overlap."""
    x, y, radius = disc
    return math.hypot(x - min(max(x, box[0]), box[2]), y - min(max(y, box[1]), box[3])) - radius


def _write_legend(figure: Figure, most: int) -> None:
    """Discs of round numbers of parameters."""
    nice = [step * 10**power for power, step in itertools.product(range(13), (1, 2, 5))]
    largest = max((i for i, count in enumerate(nice) if count <= most), default=0)
    shown = [nice[i] for i in (largest, largest - 2, largest - 4) if i >= 0]
    width, height = figure.get_size_inches()
    x, y = WIDTH - SIDE / 2, height - TOP - 0.1
    figure.text(x / width, y / height, "parameters", size=8, color=MUTED, ha="center", va="center")
    axes = figure.add_axes(((WIDTH - SIDE) / width, 0, SIDE / width, 1))
    axes.set(xlim=(0, SIDE), ylim=(0, height))
    axes.axis("off")
    y -= 0.15
    for count in shown:
        radius = LARGEST * math.sqrt(count / max(most, 1))
        y -= radius
        axes.scatter(SIDE / 2, y, s=(144 * radius) ** 2, color=LINE, alpha=0.45, linewidth=0)
        y -= radius + 0.12
        unit, prefix = _unit(count)
        axes.text(SIDE / 2, y, f"{count / unit:g} {prefix}", size=8, color=INK, ha="center", va="center")
        y -= 0.16
