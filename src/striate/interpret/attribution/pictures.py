"""Pictures of attributions: the input, its heat map, and derivatives as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from striate.interpret import sheet
from striate.interpret.letter_pictures import Meaning, draw_letters
from striate.interpret.pictures import SIDE, WIDE, draw_channels, drawn, height_of, magnitude, photo_of, scale, titled
from striate.interpret.sheet import INK, MARGIN, RULE
from striate.shapes import Tensor

if TYPE_CHECKING:
    from striate.interpret.attribution.run import Attribution

SIGNED, UNSIGNED = "RdBu_r", "Greys"


def draw_attribution(found: Attribution, output: tuple[int, ...]) -> Figure:
    """See `Attribution.plot`."""
    heat, item = found.heatmap()[output], found.x[output[0] if len(found.x) > 1 else 0]
    signed = found.summed or not found.x.is_floating_point()
    note = "Red speaks for the output, blue against it." if signed else "The darker, the more the output depends on it."
    what = "share of the output" if found.summed else "derivative" if signed else "greatest magnitude of the channels"
    if "letters" in found.parameters:
        means = Meaning("speaks for the output", "against it") if signed else Meaning("the output depends on it")
        return draw_letters(heat, found.parameters["letters"], titled(found, output), means, what)
    if heat.dim() == 1:
        return _draw_row(found, heat, item, output, note, what, signed)
    scores = found.scores[output]
    if heat.dim() == 3:
        plane = int(heat.abs().amax((1, 2)).argmax())
        heat, item, scores, note = heat[plane], item[:, plane], scores[:, plane], f"Plane {plane}. {note}"
    image, (greatest, beyond) = photo_of(item), drawn(heat)
    tall = SIDE * min(1.6, image.shape[0] / image.shape[1])
    figure, axes = sheet.blank(3 * SIDE + 0.4 + 2 * MARGIN, tall + 1.75, titled(found, output), note)
    colors: dict[str, Any] = {"cmap": SIGNED, "vmin": -greatest} if signed else {"cmap": UNSIGNED, "vmin": 0}
    sheet.tile(axes, image, (MARGIN, 0.85, SIDE, tall))
    sheet.tile(axes, heat.double().numpy(), (MARGIN + SIDE + 0.2, 0.85, SIDE, tall), vmax=greatest, **colors)
    third = _over(image, (heat / greatest).clamp(-1, 1)) if signed or len(scores) not in (1, 3) else _as_picture(scores)
    sheet.tile(axes, third, (MARGIN + 2 * (SIDE + 0.2), 0.85, SIDE, tall))
    scale(axes, MARGIN, tall + 1.15, greatest, what + beyond, SIGNED if signed else UNSIGNED)
    return figure


def _over(image: sheet.Array, share: Tensor) -> sheet.Array:
    """Colors over the gray image, the stronger the more they cover."""
    colored = colormaps[SIGNED](share.double().numpy() / 2 + 0.5)[..., :3]
    covers = np.clip(share.double().abs().numpy(), 0, 0.9)[..., None]
    over: sheet.Array = covers * colored + (1 - covers) * image.mean(2, keepdims=True) / 255
    return over


def _as_picture(scores: Tensor) -> sheet.Array:
    """Derivatives as colors, zero in the middle gray."""
    picture = (scores / drawn(scores)[0] / 2 + 0.5).clamp(0, 1).double()
    return picture.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _draw_row(
    found: Attribution, heat: Tensor, item: Tensor, output: tuple[int, ...], note: str, what: str, signed: bool
) -> Figure:
    """The signal, the heat below."""
    tall = height_of(item)
    figure, axes = sheet.blank(WIDE + 2 * MARGIN, tall + 2.2, titled(found, output), note)
    greatest = magnitude(heat)
    draw_channels(axes, item, (MARGIN, 0.85, WIDE, tall))
    line = np.asarray(heat.double())
    box = axes.inset_axes((MARGIN, 0.95 + tall, WIDE, 0.55), transform=axes.transData)
    box.fill_between(np.arange(len(line)), line, color=RULE, step="mid")
    box.plot(np.arange(len(line)), line, color=INK, linewidth=0.6, drawstyle="steps-mid")
    box.set(xlim=(-0.5, len(line) - 0.5), ylim=((-greatest if signed else 0), greatest))
    box.axis("off")
    colors: dict[str, Any] = {"cmap": SIGNED, "vmin": -greatest} if signed else {"cmap": UNSIGNED, "vmin": 0}
    sheet.tile(axes, line[None], (MARGIN, 1.52 + tall, WIDE, 0.16), fit=False, vmax=greatest, **colors)
    scale(axes, MARGIN, tall + 1.75, greatest, what, SIGNED if signed else UNSIGNED)
    return figure
