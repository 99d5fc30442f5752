"""The output as a function of the distance of two motifs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from striate.interpret import sheet
from striate.interpret.sheet import INK, MARGIN, MUTED, RULE

if TYPE_CHECKING:
    from striate.interpret.spacing import SpacingMap

WIDE, TALL = 7.0, 2.6
BOTH = "#0072b2"


def draw_spacing(found: SpacingMap, output: tuple[int, ...]) -> Figure:
    """See `SpacingMap.plot`."""
    several = len(found.x) > 1
    index: Any = (slice(None), *output) if several else output
    base = found.base[index]
    both = (found.scores[index] - base[..., None]).double().numpy()
    alone = (found.second[index] + (found.first[index] - 2 * base)[..., None]).double().numpy()
    if not several:
        both, alone = both[None], alone[None]
    facts = found.parameters
    note = f"{facts['first']} at {facts['position']}, {facts['second']} at each distance from it"
    note += f", means of {len(both)} backgrounds (band: one standard deviation)." if several else "."
    note += " Dashed: the sum of what each does alone."
    named = f", output {','.join(map(str, output))}" if output else ""
    figure, axes = sheet.blank(WIDE + 2 * MARGIN + 0.5, TALL + 1.5, f"Motif spacing{named}", note)
    box = axes.inset_axes((MARGIN + 0.5, 0.85, WIDE, TALL), transform=axes.transData)
    distances = np.array([int(d) for d in found.axes["distance"]])
    for part in (distances < 0, distances > 0):
        if not part.any():
            continue
        middle, spread = both.mean(0)[part], both.std(0)[part]
        box.fill_between(distances[part], middle - spread, middle + spread, color=BOTH, alpha=0.15, linewidth=0)
        box.plot(distances[part], middle, color=BOTH, linewidth=1.4)
        box.plot(distances[part], alone.mean(0)[part], color=INK, linewidth=1, linestyle="--")
    box.axhline(0, color=RULE, linewidth=0.8)
    box.spines[["top", "right"]].set_visible(False)
    box.spines[:].set_color(RULE)
    box.tick_params(labelsize=7.5, colors=MUTED, length=3)
    box.set_xlabel("distance between the first letters", fontsize=8, color=MUTED)
    box.set_ylabel("change of the output", fontsize=8, color=MUTED)
    return figure
