"""Pooling: a window's values become one, and small shifts vanish."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch.nn import functional as F

from striate.demonstrations import drawing
from striate.demonstrations.drawing import READ, WRITTEN
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.interpret import sheet
from striate.interpret.sheet import INK, MUTED
from striate.registry import Between
from striate.shapes import Tensor

POOLS = {"max": "max", "mean": "mean", "L2": "L2: root of the sum of squares"}


def pooled(values: Tensor, name: str, window: int, stride: int) -> Tensor:
    """Pooling of one plane by its definition, window by window."""
    windows = values.unfold(0, window, stride).unfold(1, window, stride)
    if name == "max":
        return windows.amax((2, 3))
    return windows.mean((2, 3)) if name == "mean" else windows.square().sum((2, 3)).sqrt()


@demonstration(moves=True, window=Between(1, 4, whole=True), stride=Between(1, 4, whole=True))
def pooling(window: int = 2, stride: int = 2) -> Scene:
    """Pooling step by step: the greatest value, the mean and the L2 norm of each window."""
    values = torch.tensor([[1.0, 3, 6, 2], [3, 8, 1, 1], [2, 9, 2, 1], [5, 1, 3, 1]])
    found = {name: pooled(values, name, window, stride) for name in POOLS}
    outputs = len(found["max"])
    side, small = 0.45, min(0.55, 1.8 / outputs)

    def draw(axes: Axes, step: int) -> None:
        row, column = divmod(step, outputs)
        drawing.cells(axes, values, (0.2, 0.3), side, title="input")
        drawing.window(axes, (0.2, 0.3), side, (row * stride, column * stride), (window, window), fill=True)
        for place, (name, meaning) in enumerate(POOLS.items()):
            corner = (2.5 + place * 2.1, 0.3)
            known = drawing.until((outputs, outputs), step)
            drawing.cells(axes, found[name], corner, small, colors=drawing.amount(12), known=known, title=meaning)
            drawing.window(axes, corner, small, (row, column), color=WRITTEN)
        read = (
            values[row * stride : row * stride + window, column * stride : column * stride + window].flatten().tolist()
        )
        said = ", ".join(f"{name} {drawing.number(found[name][row, column].item())}" for name in POOLS)
        sheet.write(axes, 0.2, 2.35, f"of {', '.join(map(drawing.number, read))}:  {said}", 9)

    return Scene(
        title=f"{window}x{window} pooling, stride {stride}",
        note="Pooling has no weights, and treats each channel by itself.",
        data={"input": values, **found},
        numbers={
            name: "; ".join(" ".join(map(drawing.number, row)) for row in grid.tolist()) for name, grid in found.items()
        },
        size=(9.0, 2.6),
        draw=draw,
        steps=outputs**2,
    )


@demonstration(moves=True, shift=Between(1, 6, whole=True), source="Goodfellow, Bengio, Courville 2016, figure 9.8")
def invariance(shift: int = 3) -> Scene:
    """The input moves step by step: every value before pooling changes, far fewer after it."""
    course = torch.tensor([0.2, 0.1, 0.3, 0.9, 0.4, 0.2, 0.1, 0.6, 1.0, 0.3, 0.2, 0.4, 0.1, 0.8, 0.3, 0.5, 0.2, 0.7])
    width, reach = 12, 5
    before = torch.stack([course[6 - moved : 6 - moved + width] for moved in range(shift + 1)])
    after = F.max_pool1d(before[:, None], reach, 1, reach // 2)[:, 0]
    changed = {"before": (before != before[0]), "after": (after != after[0])}
    step_x = 0.52

    def draw(axes: Axes, step: int) -> None:
        rows = {"after": (0.55, after), "before": (1.55, before)}
        places = {name: [(1.75 + step_x * i, y) for i in range(width)] for name, (y, _) in rows.items()}
        pairs = [
            (places["before"][j], places["after"][i])
            for i in range(width)
            for j in range(i - reach // 2, i + reach // 2 + 1)
            if 0 <= j < width
        ]
        drawing.lines(axes, pairs, "#d0d7de", 0.7)
        sheet.write(axes, 0.2, 0.12, f"moved by {step}", 9.5, weight="bold")
        for name, (y, values) in rows.items():
            differs = changed[name][step].tolist()
            texts = [drawing.number(round(v, 3)) for v in values[step].tolist()]
            drawing.units(axes, places[name], texts, ["#f6cdb8" if d else "white" for d in differs], 0.19)
            label = f"max of {reach}" if name == "after" else "before pooling"
            sheet.write(axes, 0.2, y - 0.08, label, 8.5, INK)
            sheet.write(axes, 0.2, y + 0.09, f"{sum(differs)} of {width} changed", 8.5, READ if any(differs) else MUTED)

    counts = {name: flags.sum(1).tolist() for name, flags in changed.items()}
    return Scene(
        title="Max pooling makes small shifts vanish",
        note="Orange: values that differ from those of the unmoved input.",
        data={"before": before, "after": after},
        numbers={
            f"changed {name} pooling, moved by {m}": f"{counts[name][m]} of {width}"
            for m in range(1, shift + 1)
            for name in ("before", "after")
        },
        size=(1.75 + step_x * width, 2.05),
        draw=draw,
        steps=shift + 1,
        still=tuple(range(min(shift + 1, 4))),
    )
