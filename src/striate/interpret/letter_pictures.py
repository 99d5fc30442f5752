"""Heat maps of texts and sequences: words on colors, or bases as high as their scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from striate.interpret import sheet
from striate.interpret.pictures import STRIPS, WIDE, letter, line_of, magnitude, scale
from striate.interpret.sheet import INK, MARGIN, MUTED, RULE
from striate.shapes import Float, Tensor

SIZE, HEIGHT, TALL = 9, 0.3, 0.9  # points of words, inches of a line of them and of a strip of bases
ROWS = 40  # at most
PADDING = "·"  # what `striate.data.symbols` writes for it


@dataclass(frozen=True)
class Meaning:
    """What a picture says of its values: of those above zero, below it, and of positions without one."""

    above: str
    below: str = ""
    unknown: str = "not known"
    more: str = ""

    def note(self, heat: Tensor, above: str, below: str, unknown: str) -> str:
        """In words, those values only that there can be."""
        said = [f"{above}: {self.above}"]
        said += [f"{below}: {self.below}"] if self.below else []
        said += [f"{unknown}: {self.unknown}"] if bool(heat.isnan().any()) else []
        return f"{'; '.join(said)}. {self.more}".strip()


def draw_letters(heat: Float[Tensor, " t"], letters: Sequence[str], title: str, means: Meaning, what: str) -> Figure:
    """Words with their scores as colors; where all are bases, a logo, upwards what is above zero."""
    draw = _draw_logo if are_bases(letters) else _draw_words
    return draw(heat.double(), letters, title, means, what)


def are_bases(letters: Sequence[str]) -> bool:
    """Whether letters are drawn as a logo.

    >>> are_bases("ACGT"), are_bases(["a", "word"])
    (True, False)
    """
    return set(letters) <= set("ACGTUN")


def _draw_words(heat: Tensor, words: Sequence[str], title: str, means: Meaning, what: str) -> Figure:
    note = means.note(heat, "Red", "blue", "gray")
    shown_words = [*_without_padding(heat, words)]
    note += f" {PADDING} is padding, its greatest score." if len(shown_words) < len(words) else ""
    wide = 0.62 * SIZE / 72  # inches of a letter, as the sheet counts them
    rows: list[list[tuple[float, int, str]]] = [[]]
    x = 0.0
    for number, word in shown_words:
        shown = sheet.legible(word, WIDE, SIZE)
        room = max(len(shown), 1) * wide + 0.08
        if x + room > WIDE and rows[-1]:
            rows.append([])
            x = 0.0
        rows[-1].append((x, number, shown))
        x += room + 0.03
    limit, left = magnitude(heat), sum(map(len, rows[ROWS:]))
    colors = colormaps["RdBu_r"].with_extremes(bad=RULE)
    note += f" The last {left} are not shown." if left else ""
    rows = rows[:ROWS]
    figure, axes = sheet.blank(WIDE + 2 * MARGIN, 1.0 + HEIGHT * len(rows) + 0.7, title, note)
    for row, line in enumerate(rows):
        for x, number, shown in line:
            value = float(heat[number]) / limit
            box = (MARGIN + x, 0.9 + row * HEIGHT)
            color = colors(value / 2 + 0.5)
            axes.add_patch(Rectangle(box, max(len(shown), 1) * wide + 0.08, HEIGHT - 0.05, color=color, linewidth=0))
            ink = "white" if abs(value) > 0.7 else INK
            sheet.write(axes, box[0] + 0.04, box[1] + HEIGHT / 2 - 0.02, shown, SIZE, ink)
    scale(axes, MARGIN, 1.05 + HEIGHT * len(rows), limit, what)
    return figure


def _without_padding(heat: Tensor, words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The words and where they stand; padding before and behind them is a word each, where its score is greatest."""
    runs = [[*run] for _, run in groupby(range(len(words)), key=lambda place: words[place] == PADDING)]
    for run in runs:
        outer = words[run[0]] == PADDING and (run[0] == 0 or run[-1] == len(words) - 1)
        if outer and len(run) > 1:
            strongest = max(run, key=lambda place: float(heat[place].abs().nan_to_num(-1.0)))
            yield strongest, f"{PADDING} {len(run)} times"
        else:
            yield from ((place, words[place]) for place in run)


def _draw_logo(heat: Tensor, bases: Sequence[str], title: str, means: Meaning, what: str) -> Figure:
    note = means.note(heat, "Upright", "hanging", "no letter") + " Colors tell the bases apart."
    known = heat[heat.isfinite()]
    note += " All scores are 0." if len(known) and not bool(known.any()) else ""
    heat = heat.nan_to_num()
    line = line_of(len(bases))
    strips = min(math.ceil(len(bases) / line), STRIPS)
    note += f" The first {strips * line} of {len(bases)}." if strips * line < len(bases) else ""
    high, low = max(float(heat.max()), 0.0), max(float(-heat.min()), 0.0)
    limit = max(high + low, 1e-30)
    figure, axes = sheet.blank(WIDE + 2 * MARGIN + 0.5, 0.95 + strips * (TALL + 0.25) + 0.3, title, note)
    step = WIDE / line
    for strip in range(strips):
        first, top = strip * line, 0.9 + strip * (TALL + 0.25)
        zero = top + TALL * high / limit
        part = bases[first : first + line]
        sheet.write(axes, MARGIN + 0.42, zero, str(first), 6.5, MUTED, ha="right")
        axes.plot([MARGIN + 0.5, MARGIN + 0.5 + step * len(part)], [zero, zero], color=RULE, linewidth=0.8, zorder=0)
        for place, base in enumerate(part):
            value = float(heat[first + place]) / limit * TALL
            if abs(value) > 0.004 and base != "N":
                _stand(axes, base, MARGIN + 0.5 + place * step, zero, step, value)
    bottom = 0.95 + strips * (TALL + 0.25)
    sheet.write(
        axes,
        MARGIN + 0.5,
        bottom,
        f"{what}: from {-low if low else 0:.3g} to {high:+.3g}; all strips alike",
        7.5,
        MUTED,
    )
    return figure


def _stand(axes: Axes, base: str, x: float, zero: float, step: float, value: float) -> None:
    """A base on the line, or hanging from it."""
    axes.add_patch(letter(base, (x, zero, step, -value)))
