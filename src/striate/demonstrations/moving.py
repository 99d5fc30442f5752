"""The input moves: what moves with it, and what stays."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch.nn import functional as F

from striate.demonstrations import drawing
from striate.demonstrations.photographs import handwritten
from striate.demonstrations.plane import correlated
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.demonstrations.sliding import KERNELS
from striate.interpret import sheet
from striate.interpret.sheet import MUTED
from striate.registry import Between

SIZE = 18


@demonstration(moves=True, shift=Between(1, 10, whole=True), digit=Between(0, 9, whole=True))
def equivariance(shift: int = 6, digit: int = 3) -> Scene:
    """A digit moves: its feature map moves with it, the pooled map only every other step, the greatest value stays."""
    first = torch.zeros(SIZE, SIZE)
    first[2:10, 1:9] = handwritten(digit)
    inputs = torch.stack([first.roll((moved // 2, moved), (0, 1)) for moved in range(shift + 1)])
    maps = torch.stack([correlated(x, KERNELS["sobel_x"], padding="same", padding_mode="circular") for x in inputs])
    pools = F.max_pool2d(maps[:, None], 2)[:, 0]
    back = torch.stack([m.roll((-(moved // 2), -moved), (0, 1)) for moved, m in enumerate(maps)])
    errors = (back - maps[0]).abs().amax((1, 2))
    # A pooled map can follow only where the input moved by whole windows.
    halves = [(moved // 2 // 2, moved // 2) for moved in range(shift + 1)]
    pools_back = torch.stack(
        [p.roll((-rows, -columns), (0, 1)) for p, (rows, columns) in zip(pools, halves, strict=True)]
    )
    pool_errors = (pools_back - pools[0]).abs().amax((1, 2))
    greatest = maps.amax((1, 2))
    signed = sheet.diverging(maps)
    width = 2.25

    def draw(axes: Axes, step: int) -> None:
        panels = (
            ("input", inputs[step], {"cmap": "gray", "vmin": 0, "vmax": 16}),
            ("feature map", maps[step], signed),
            ("moved back, less the first", back[step] - maps[0], signed),
            ("2x2 max pooling", pools[step], signed),
            ("moved back, less the first", pools_back[step] - pools[0], signed),
        )
        for place, (name, pixels, colors) in enumerate(panels):
            x = 0.2 + place * (width + 0.15)
            drawing.picture(axes, pixels, (x, 0.3, width, width), name, colors)
            drawing.window(axes, (x, 0.3), width, (0, 0), color="#8b949e", width=0.8)
        said = {
            0: (f"moved {step} right, {step // 2} down", MUTED),
            1: (f"greatest value: {drawing.number(greatest[step].item())}", drawing.WRITTEN),
            2: (f"greatest difference: {drawing.number(errors[step].item())}", drawing.WRITTEN),
            4: (
                f"greatest difference: {drawing.number(pool_errors[step].item())}",
                drawing.READ if pool_errors[step] else drawing.WRITTEN,
            ),
        }
        drawing.scale(axes, (0.2 + 3 * (width + 0.15), width + 0.42), signed, "maps", 1.2)
        for place, (text, color) in said.items():
            sheet.write(axes, 0.2 + place * (width + 0.15), width + 0.5, text, 8.5, color)

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
        size=(0.25 + 5 * (width + 0.15), width + 0.75),
        draw=draw,
        steps=shift + 1,
        still=(0, 3) if shift >= 3 else (0, shift),
    )
