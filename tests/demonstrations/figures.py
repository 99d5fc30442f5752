"""What a person would see at a glance in a figure: words that are cut off."""

from __future__ import annotations

from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def cut_off(figure: Figure) -> list[str]:
    """Words that do not lie inside the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    edge = figure.bbox
    found = []
    # matplotlib keeps labels of ticks that lie outside of the axis, and does not draw them.
    ticks = {label for axis in figure.findobj(Axis) for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text.get_text().strip() and text not in ticks:
            box = text.get_window_extent(canvas.get_renderer())
            if box.x0 < -1 or box.y0 < -1 or box.x1 > edge.x1 + 1 or box.y1 > edge.y1 + 1:
                found.append(text.get_text())
    return found
