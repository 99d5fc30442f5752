"""What the score loses without each channel, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.figure import Figure

from striate.interpret import sheet
from striate.interpret.pictures import magnitude
from striate.interpret.sheet import INK, MARGIN, MUTED, RULE

if TYPE_CHECKING:
    from striate.interpret.features.ablation import Ablation

BARS, WIDE, STEP = 40, 5.0, 0.2


def draw_ablation(found: Ablation) -> Figure:
    """See `Ablation.plot`."""
    loss = found.loss.double().nan_to_num(0, 0, 0)
    most = loss.abs().topk(min(BARS, len(loss))).indices
    shown = most[loss[most].argsort(descending=True, stable=True)].tolist()
    limit, left = magnitude(loss), MARGIN + 0.5
    zero = left + WIDE * max(0.0, float(-loss.min())) / max(float(loss.max() - loss.clamp(max=0).min()), 1e-30)
    inch = WIDE / max(float(loss.clamp(min=0).max() - loss.clamp(max=0).min()), 1e-30)
    note = "Red: the score falls without the channel; blue: it rises."
    if len(shown) < len(loss):
        note += f" The {len(shown)} of {len(loss)} with the greatest effect."
    figure, axes = sheet.blank(left + WIDE + 0.9, 1.0 + STEP * len(shown), found.title(), note)
    for line, place in enumerate(shown):
        y, value = 0.95 + STEP * line, float(loss[place])
        sheet.write(axes, MARGIN, y, str(found.channels[place]), 7.5, INK)
        axes.barh(y, value * inch, 0.13, left=zero, color=colormaps["RdBu_r"](0.5 + 0.4 * value / limit))
        sheet.write(axes, left + WIDE + 0.1, y, f"{value:+.3g}", 7.5, MUTED)
    axes.plot([zero, zero], [0.85, 0.95 + STEP * (len(shown) - 1) + 0.1], color=RULE, linewidth=0.8)
    return figure
