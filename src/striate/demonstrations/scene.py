"""What a demonstration returns: the data, the numbers that it shows, and its steps, drawn when asked for."""

from __future__ import annotations

import base64
import html
import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from rich.table import Table

from striate.errors import InputError
from striate.interpret.sheet import DPI, MARGIN, Inches, blank
from striate.shapes import Tensor

FORMATS = ("gif", "png", "svg")
WIDEST = 11.0  # inches of a sheet of several steps


@dataclass(frozen=True, eq=False)
class Scene:
    """Data, numbers and pictures of one demonstration.

    `data`: tensors by name, what is drawn. `numbers`: what the picture states. `draw(axes, step)` draws a step onto
    axes of `size` inches, y down. `still`: the steps of which a still picture (.png, .svg) consists.
    """

    title: str
    note: str
    data: Mapping[str, Tensor]
    numbers: Mapping[str, Any]
    size: tuple[Inches, Inches]
    draw: Callable[[Axes, int], None]
    steps: int = 1
    still: tuple[int, ...] = (-1,)
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def figure(self, step: int = -1) -> Figure:
        """One step drawn, the last one without `step`; all have the same size.

        Raises InputError for a step that there is not.
        """
        if not -self.steps <= step < self.steps:
            raise InputError("no such step", where=self.name or self.title, expected=f"0..{self.steps - 1}", got=step)
        return self._sheet((step,))

    def figures(self) -> Iterator[Figure]:
        """All steps, each drawn when its turn comes."""
        return (self.figure(step) for step in range(self.steps))

    def sheet(self) -> Figure:
        """The still picture: the steps in `still` side by side."""
        return self._sheet(self.still)

    def _sheet(self, steps: tuple[int, ...]) -> Figure:
        width, height = self.size
        columns = min(len(steps), max(1, int(WIDEST / width)))
        columns = math.ceil(len(steps) / math.ceil(len(steps) / columns))  # rows as even as can be
        wide = max(width * columns, 4.0, 0.105 * len(self.title) + 2 * MARGIN)
        head = 0.5 + 0.15 * len(textwrap.wrap(self.note, int((wide - 2 * MARGIN) * 16)))
        tall = head + height * math.ceil(len(steps) / columns)
        figure, _ = blank(wide, tall, self.title, self.note)
        for place, step in enumerate(steps):
            row, column = divmod(place, columns)
            box = (column * width / wide, 1 - (head + (row + 1) * height) / tall, width / wide, height / tall)
            axes = figure.add_axes(box)
            axes.set(xlim=(0, width), ylim=(height, 0))
            axes.axis("off")
            self.draw(axes, step % self.steps)
        return figure

    def save(self, path: str | Path, *, seconds: Inches = 0.6, dpi: int = DPI) -> None:
        """Write a GIF of all steps, or a still PNG or SVG, as the suffix of `path` says.

        `seconds`: how long each step of a GIF stands, the last one three times as long; `dpi`: dots per inch of pixels.
        Raises InputError for another suffix, for a file that cannot be written, and for numbers out of range.
        """
        path = Path(path)
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in FORMATS:
            expected = "a file that ends in .gif, .png or .svg"
            raise InputError("no such kind of picture", where=path, expected=expected, got=path.suffix or "no ending")
        if not 0.02 <= seconds <= 60:
            raise InputError("a step cannot stand so long", expected="0.02 to 60 seconds", got=seconds)
        if not 10 <= dpi <= 600:
            raise InputError("no such resolution", expected="10 to 600 dots per inch", got=dpi)
        if not path.parent.is_dir():  # said before the drawing, which takes time
            raise InputError("cannot write the picture", where=path, got="no such folder")
        content = self.picture(suffix, seconds=seconds, dpi=dpi)
        try:
            path.write_bytes(content)
        except OSError as error:
            raise InputError("cannot write the picture", where=path, got=error.strerror) from error

    def picture(self, format: str, *, seconds: Inches = 0.6, dpi: int = DPI) -> bytes:
        """The content of the file that `save` writes; `format` is "gif", "png" or "svg"."""
        buffer = io.BytesIO()
        if format == "gif":
            _animate(lambda step: _pixels(self.figure(step), dpi), self.steps, buffer, seconds)
        else:
            self.sheet().savefig(buffer, format=format, dpi=dpi)
        return buffer.getvalue()

    def table(self) -> Table:
        """The numbers."""
        table = Table("number", "value", title=self.title, show_header=False, min_width=len(self.title) + 2)
        for key, value in self.numbers.items():
            table.add_row(key, f"{value:.6g}" if isinstance(value, float) else str(value))
        return table

    def json(self) -> dict[str, Any]:
        """Everything but the pictures as plain types."""
        facts = {"name": self.name, "title": self.title, "options": dict(self.options), "steps": self.steps}
        return {
            **facts,
            "numbers": dict(self.numbers),
            "data": {key: value.tolist() for key, value in self.data.items()},
        }

    def _repr_html_(self) -> str:
        kind = FORMATS[0] if self.steps > 1 else "png"
        data = base64.b64encode(self.picture(kind, dpi=80)).decode()
        return f'<img alt="{html.escape(self.title)}" src="data:image/{kind};base64,{data}">'

    def __repr__(self) -> str:
        return f"Scene({self.name or self.title}, {self.steps} step{'s' * (self.steps != 1)})"


def _pixels(figure: Figure, dpi: int) -> Image.Image:
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]


def _animate(page: Callable[[int], Image.Image], steps: int, buffer: io.BytesIO, seconds: Inches) -> None:
    """A GIF with one set of colors for all pages, so that what stands still does not flicker."""
    drawn = {step: page(step) for step in sorted({0, steps // 2, steps - 1})}
    sample = Image.fromarray(np.concatenate([np.asarray(picture) for picture in drawn.values()]))
    palette = sample.quantize(256, Image.Quantize.MAXCOVERAGE)  # the median cut drops rare colors beside photographs
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[(colors > 247).all(1)] = 255  # Pillow finds colors to within 4, and would gray the paper
    palette.putpalette(colors.flatten().tolist())
    pages = (drawn.pop(step) if step in drawn else page(step) for step in range(steps))
    first, *rest = (one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pages)
    times = [round(1000 * seconds)] * (steps - 1) + [round(3000 * seconds)]
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=times, loop=0)
