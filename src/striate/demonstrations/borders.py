"""The edge of the input and the steps of the kernel: padding, stride, dilation."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from striate.demonstrations import drawing
from striate.demonstrations.drawing import READ, WRITTEN
from striate.demonstrations.photographs import handwritten
from striate.demonstrations.plane import correlated
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.interpret import sheet
from striate.interpret.sheet import MUTED
from striate.ops import extend, output_size, padding_pairs
from striate.registry import Between

PADDINGS = {
    "valid": "only whole windows",
    "same": "as many outputs as inputs",
    "full": "every window that meets the input",
    "causal": "no output sees what comes after it",
}
INPUT = (0.81, 0.89, 0.95, 1)
MODES = {
    "zeros": "nothing but zeros",
    "reflect": "mirrored, the edge not repeated",
    "replicate": "the edge repeated",
    "circular": "from the other end",
}


@demonstration(
    moves=True,
    size=Between(2, 8, whole=True),
    kernel=Between(1, 5, whole=True),
    source="Goodfellow, Bengio, Courville 2016, section 9.5",
)
def padding(size: int = 5, kernel: int = 3) -> Scene:
    """Valid, same, full and causal padding: what stands around the input, and how many real values each output sees."""
    ones, window = torch.ones(size, size), torch.ones(kernel, kernel)
    found = {name: correlated(ones, window, padding=name) for name in PADDINGS}
    side = 0.27
    wide, tall = (size + 2 * kernel - 2) * side, max(size + 2 * kernel - 2, 1) * side

    def draw(axes: Axes, step: int) -> None:
        name = list(PADDINGS)[step]
        (before, after), _ = padding_pairs(name, (kernel, kernel))
        whole, output = size + before + after, found[name]
        start = 0.2 + (kernel - 1 - before) * side, 0.55 + (kernel - 1 - before) * side
        sheet.write(axes, 0.2, 0.12, f"{name}: {PADDINGS[name]}", 9, weight="bold")
        values = extend(ones[None, None], ((before, after),) * 2)[0, 0]
        faces = np.where(values[..., None] > 0, INPUT, (1, 1, 1, 1))
        drawing.cells(axes, values, start, side, faces=faces)
        for row, column in ((0, 0), (whole - kernel, whole - kernel)):
            drawing.window(axes, start, side, (row, column), (kernel, kernel), style="-" if row == 0 else "--")
        x, y = 0.5 + wide, 0.55 + (size + kernel - 1 - len(output)) * side / 2 + (kernel - 1) * side / 2
        shape = f"output {len(output)}x{len(output)}"
        drawing.cells(axes, output, (x, y), side, colors=drawing.amount(kernel**2), title=shape)
        drawing.window(axes, (x, y), side, (0, 0), color=WRITTEN)

    return Scene(
        title=f"Padding a {size}x{size} input for a {kernel}x{kernel} kernel",
        note="Blue: the input, of ones; around it the zeros of the padding. Orange: the first and (dashed) the last "
        "window. The output of a kernel of ones counts the real values that it sees.",
        data=found,
        numbers={f"{name}: output": f"{len(values)}x{len(values)}" for name, values in found.items()},
        size=(max(0.75 + wide + (size + kernel - 1) * side, 4.4), 0.7 + tall),
        draw=draw,
        steps=4,
        still=(0, 1, 2, 3),
    )


@demonstration(moves=True, amount=Between(1, 3, whole=True), digit=Between(0, 9, whole=True))
def padding_modes(amount: int = 2, digit: int = 5) -> Scene:
    """The four ways to fill what stands around the input: on the numbers 1234, and on a picture."""
    row = torch.tensor([1.0, 2, 3, 4])
    image = handwritten(digit)
    rows = {mode: extend(row[None, None], ((amount, amount),), mode)[0, 0] for mode in MODES}
    images = {mode: extend(image[None, None], ((2 * amount,) * 2,) * 2, mode)[0, 0] for mode in MODES}
    side = 0.32

    def draw(axes: Axes, step: int) -> None:
        mode = list(MODES)[step]
        sheet.write(axes, 0.2, 0.12, f"{mode}: {MODES[mode]}", 9, weight="bold")
        drawing.cells(axes, rows[mode][None], (0.2, 0.3), side)
        drawing.window(axes, (0.2, 0.3), side, (0, amount), (1, 4), drawing.THIRD, fill=True)
        box = (0.2, 0.85, 2.4, 2.4)
        sheet.tile(axes, images[mode].numpy(), box, cmap="gray", vmin=0, vmax=16)
        pixel = 2.4 / len(images[mode])
        drawing.window(axes, (0.2, 0.85), pixel, (2 * amount,) * 2, (8, 8), drawing.THIRD)

    return Scene(
        title="What stands around the input",
        note="Framed in blue: the input. Pixels run from 0, black, to 16, white.",
        data={f"{mode} row": values for mode, values in rows.items()}
        | {f"{mode} image": v for mode, v in images.items()},
        numbers={mode: " ".join(drawing.number(v) for v in values.tolist()) for mode, values in rows.items()},
        size=(3.6, 3.45),
        draw=draw,
        steps=4,
        still=(0, 1, 2, 3),
    )


@demonstration(
    moves=True,
    width=Between(4, 24, whole=True),
    kernel=Between(2, 9, whole=True),
    source="Goodfellow, Bengio, Courville 2016, figure 9.13",
)
def shrinking(width: int = 16, kernel: int = 6) -> Scene:
    """Without padding each layer is narrower than the one before, and depth ends; with "same" padding it does not."""
    sizes = {"valid": [width], "same": [width]}
    while sizes["valid"][-1] >= kernel and len(sizes["valid"]) < 8:
        for name, widths in sizes.items():
            widths.extend(output_size((widths[-1],), (kernel,), padding=name))
    layers, gap = len(sizes["valid"]), 0.72

    def draw(axes: Axes, step: int) -> None:
        name = ("valid", "same")[step]
        sheet.write(axes, 0.2, 0.12, f"{name}: " + " → ".join(map(str, sizes[name])), 9, weight="bold")
        before = padding_pairs(name, (kernel,))[0][0]
        below: list[drawing.Place] = []
        for layer, count in enumerate(sizes[name]):
            shift = 0 if name == "same" else (kernel - 1) / 2 * layer
            places = [(0.4 + 0.3 * (i + shift), 0.3 + gap * (layers - 1 - layer) + 0.2) for i in range(count)]
            if layer:
                pairs = [
                    (below[i + j - before], place)
                    for i, place in enumerate(places)
                    for j in range(kernel)
                    if 0 <= i + j - before < len(below)
                ]
                drawing.lines(axes, pairs, "#b6c2cf", 0.6)
            drawing.units(axes, places, [""] * count, ["white" if layer else "#cfe3f3"] * count, 0.1)
            below = places

    return Scene(
        title=f"{layers - 1} layers of convolution with {kernel} weights on {width} values",
        note="The input is at the bottom, blue. Units at the border see less of it where zeros are added.",
        data={name: torch.tensor(widths) for name, widths in sizes.items()},
        numbers={name: " → ".join(map(str, widths)) for name, widths in sizes.items()},
        size=(0.6 + 0.3 * width, 0.75 + gap * (layers - 1)),
        draw=draw,
        steps=2,
        still=(0, 1),
    )


@demonstration(
    moves=True,
    examples=("stride", "stride:step=3"),
    size=Between(2, 10, whole=True),
    kernel=Between(1, 5, whole=True),
    step=Between(1, 5, whole=True),
    source="Goodfellow, Bengio, Courville 2016, section 9.5",
)
def stride(size: int = 7, kernel: int = 3, step: int = 2) -> Scene:
    """The kernel moves several places at a time: fewer outputs, and a rest at the edge that no window reads."""
    image = torch.randint(0, 10, (size, size), generator=torch.Generator().manual_seed(0)).float()
    found = correlated(image, torch.ones(kernel, kernel), stride=step)
    side, outputs = 0.36, len(found)
    rest = (size - kernel) % step
    steps = f"({size} − {kernel}) / {step} + 1 = {drawing.number((size - kernel) / step + 1)}"

    def draw(axes: Axes, number: int) -> None:
        row, column = divmod(number, outputs)
        drawing.cells(axes, image, (0.2, 0.3), side, title="input")
        edge = 0.2 + (size - rest) * side, 0.3 + (size - rest) * side
        for box in ((edge[0], 0.3, rest * side, size * side), (0.2, edge[1], (size - rest) * side, rest * side)):
            if rest:
                axes.add_patch(
                    Rectangle(
                        box[:2], *box[2:], facecolor="#e8c7c0", alpha=0.55, hatch="///", edgecolor="white", zorder=2.5
                    )
                )
        drawing.window(axes, (0.2, 0.3), side, (row * step, column * step), (kernel, kernel), fill=True)
        x = 0.6 + size * side
        known = drawing.until((outputs, outputs), number)
        drawing.cells(axes, found, (x, 0.3), side, known=known, title="output: sums of the windows")
        drawing.window(axes, (x, 0.3), side, (row, column), color=WRITTEN)
        sheet.write(
            axes,
            0.2,
            0.5 + size * side,
            steps + (f": no whole number, {rest} left over at the edge" if rest else ""),
            8.5,
            READ if rest else MUTED,
        )

    return Scene(
        title=f"{kernel}x{kernel} kernel, stride {step}, on {size}x{size}",
        note="The kernel of ones adds up what it reads; hatched is what no window reads."
        if rest
        else "The kernel of ones adds up what it reads.",
        data={"image": image, "output": found},
        numbers={
            "output": f"{outputs}x{outputs}",
            "places along an axis": steps,
            "left over": rest,
            "multiply-adds": outputs**2 * kernel**2,
            "at stride 1": (size - kernel + 1) ** 2 * kernel**2,
        },
        size=(max(0.9 + (size + outputs) * side, 0.6 + size * side + 2.2, 4.6), 0.75 + size * side),
        draw=draw,
        steps=outputs**2,
        still=tuple(range(outputs**2)) if outputs <= 2 else (0, outputs**2 - 1),
    )


@demonstration(moves=True, rate=Between(1, 4, whole=True), source="Yu and Koltun 2016; arXiv:1511.07122")
def dilation(rate: int = 3) -> Scene:
    """A dilated 3x3 kernel, rate by rate: nine weights spread over a larger field, with zeros between them."""
    kernel = torch.arange(1.0, 10).reshape(3, 3)
    spread = {each: torch.zeros(2 * each + 1, 2 * each + 1) for each in range(1, rate + 1)}
    for each, values in spread.items():
        values[::each, ::each] = kernel
    size, side = 2 * rate + 5, 0.27
    image = torch.arange(float(size**2)).reshape(size, size)
    errors = [
        (correlated(image, kernel, dilation=each) - correlated(image, v)).abs().max().item()
        for each, v in spread.items()
    ]
    names = drawing.letters(3, 3)

    def draw(axes: Axes, step: int) -> None:
        each = step + 1
        extent = 2 * each + 1
        first = rate + 2 - each
        texts = [[""] * size for _ in range(size)]
        for i in range(extent):
            for j in range(extent):
                on = i % each == 0 and j % each == 0
                texts[first + i][first + j] = names[i // each][j // each] if on else "0"
        sheet.write(axes, 0.2, 0.12, f"rate {each}: 9 weights, field {extent}x{extent}", 9, weight="bold")
        drawing.cells(axes, texts, (0.2, 0.35), side)
        drawing.window(axes, (0.2, 0.35), side, (first, first), (extent, extent), style="--", width=1.2)
        for i in range(3):
            for j in range(3):
                drawing.window(axes, (0.2, 0.35), side, (first + i * each, first + j * each), fill=True, width=1.2)

    return Scene(
        title="Dilated kernels",
        note="Orange: what the kernel reads of its input; between its nine weights stand zeros.",
        data={f"rate {each}": values for each, values in spread.items()},
        numbers={f"rate {each}": f"field {len(values)}x{len(values)}, 9 weights" for each, values in spread.items()}
        | {"greatest difference from the kernel with zeros": max(errors)},
        size=(max(3.4, 0.4 + size * side), 0.5 + size * side),
        draw=draw,
        steps=rate,
        still=tuple(range(rate)),
    )
