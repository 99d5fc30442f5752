"""The input moves: what moves with it, and what stays."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch.nn import functional as F

from striate.demonstrations import drawing
from striate.demonstrations.drawing import READ, WRITTEN
from striate.demonstrations.photographs import handwritten
from striate.demonstrations.plane import correlated
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.demonstrations.sliding import KERNELS
from striate.interpret import sheet
from striate.interpret.sheet import MUTED
from striate.registry import Between

HEIGHT, WIDTH = 12, 18


@demonstration(moves=True, shift=Between(1, 10, whole=True), digit=Between(0, 9, whole=True))
def equivariance(shift: int = 6, digit: int = 3) -> Scene:
    """A digit moves: its feature map moves with it, the pooled map only every other step, the greatest value stays."""
    first = torch.zeros(HEIGHT, WIDTH)
    first[2:10, 1:9] = handwritten(digit)
    inputs = torch.stack([first.roll(moved, 1) for moved in range(shift + 1)])
    maps = torch.stack([correlated(x, KERNELS["sobel_x"], padding="same", padding_mode="circular") for x in inputs])
    pools = F.max_pool2d(maps[:, None], 2)[:, 0]
    # Moved back and compared with the first; a pooled map can follow only where the input moved by whole windows.
    left = torch.stack([values.roll(-moved, 1) for moved, values in enumerate(maps)]) - maps[0]
    pools_left = torch.stack([values.roll(-(moved // 2), 1) for moved, values in enumerate(pools)]) - pools[0]
    errors, pool_errors = left.abs().amax((1, 2)), pools_left.abs().amax((1, 2))
    greatest, signed = maps.amax((1, 2)), sheet.diverging(maps)
    wide = 2.25
    side = wide / WIDTH

    def draw(axes: Axes, step: int) -> None:
        bottom, off = 0.3 + side * HEIGHT, pool_errors[step].item()
        panels = (
            ("input", inputs[step], {"cmap": "gray", "vmin": 0, "vmax": 16}),
            ("feature map", maps[step], signed),
            ("moved back, less the first", left[step], signed),
            ("2x2 max pooling", pools[step], signed),
            ("moved back, less the first", pools_left[step], signed),
        )
        said = (
            (f"moved right by {step}", MUTED),
            (f"greatest value: {drawing.number(greatest[step].item())}", WRITTEN),
            (f"greatest difference: {drawing.number(errors[step].item())}", WRITTEN),
            ("", MUTED),
            (f"greatest difference: {drawing.number(off)}", READ if off else WRITTEN),
        )
        for place, ((name, pixels, colors), (text, color)) in enumerate(zip(panels, said, strict=True)):
            x = 0.2 + place * (wide + 0.15)
            drawing.picture(axes, pixels, (x, 0.3, wide, bottom - 0.3), name, colors)
            drawing.window(axes, (x, 0.3), side, (0, 0), (HEIGHT, WIDTH), "#8b949e", width=0.8)
            sheet.write(axes, x, bottom + 0.2, text, 8.5, color)
        drawing.scale(axes, (0.2 + 3 * (wide + 0.15), bottom + 0.12), signed, "maps", 1.2)

    return Scene(
        title="Convolution is equivariant to translation; the greatest value is invariant",
        note="Borders are circular, so that nothing is lost there. "
        "The pooled map has one place for 2x2 of the feature map.",
        data={
            "inputs": inputs,
            "maps": maps,
            "pooled": pools,
            "errors": errors,
            "pooled_errors": pool_errors,
            "greatest": greatest,
        },
        numbers={
            "f(moved x) - moved f(x), greatest": errors.max().item(),
            "greatest value of the map, all shifts": sorted(set(greatest.tolist())),
            "pooled maps that moved exactly": f"{int((pool_errors == 0).sum())} of {shift + 1}",
        },
        size=(0.25 + 5 * (wide + 0.15), side * HEIGHT + 0.75),
        draw=draw,
        steps=shift + 1,
        still=(0, 3) if shift >= 3 else (0, shift),
    )
