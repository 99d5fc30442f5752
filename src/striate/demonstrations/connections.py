"""Who is connected with whom, and by which weight: the drawings of units and lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from matplotlib.axes import Axes

from striate.demonstrations import drawing
from striate.demonstrations.drawing import COLORS, READ, Place
from striate.demonstrations.photographs import gray_photograph
from striate.demonstrations.plane import correlated
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.geometry import Window
from striate.interpret import sheet
from striate.ops import correlate_locally, output_size, patches
from striate.registry import Between
from striate.shapes import Tensor

FAINT, SEEN = "#d8dee4", "#f6cdb8"


def reads(size: int, kernel: int) -> Tensor:
    """For each output of a kernel x kernel convolution of a size x size input, row by row, the inputs under it."""
    return patches(torch.arange(size**2).view(1, 1, size, size), kernel)[0]


@demonstration(
    moves=True,
    size=Between(2, 5, whole=True),
    kernel=Between(1, 4, whole=True),
    source="Goodfellow, Bengio, Courville 2016, section 9.2",
)
def sparse_connections(size: int = 3, kernel: int = 2) -> Scene:
    """A dense layer connects every output with every input; a convolution only with those under its window."""
    (side,) = output_size((size,), (kernel,))
    under = reads(size, kernel)
    inputs, outputs = size**2, side**2
    high = 0.36 * inputs + 0.2
    counts = {"dense": (inputs * outputs, inputs * outputs), "convolution": (outputs * kernel**2, kernel**2)}
    names = [name for row in drawing.letters(size, size) for name in row]

    def draw(axes: Axes, step: int) -> None:
        for place, (name, (connections, weights)) in enumerate(counts.items()):
            x = 0.5 + 3.3 * place
            left = [(x, 0.55 + 0.36 * i) for i in range(inputs)]
            gap = 0.36 * inputs / outputs
            right = [(x + 1.9, 0.55 - 0.18 + gap * (i + 0.5)) for i in range(outputs)]
            sheet.write(
                axes, x - 0.2, 0.12, f"{name}: {connections} connections, {weights} weights", 8.5, weight="bold"
            )
            sees = [range(inputs) if name == "dense" else under[i].tolist() for i in range(outputs)]
            drawing.lines(axes, [(left[j], right[i]) for i in range(outputs) for j in sees[i]], FAINT, 0.9)
            drawing.lines(axes, [(left[j], right[step]) for j in sees[step]], READ, 1.6, 2)
            drawing.units(axes, left, names, [SEEN if j in sees[step] else "white" for j in range(inputs)], 0.14)
            texts = [f"s{i // side + 1}{i % side + 1}" for i in range(outputs)]
            drawing.units(axes, right, texts, [SEEN if i == step else "white" for i in range(outputs)], 0.17)
            sheet.write(axes, x - 0.2, 0.45 + high, f"{texts[step]} sees {len(sees[step])} of {inputs}", 8.5, READ)

    return Scene(
        title="Dense and sparse connections",
        note=f"{size}x{size} input, letters row by row; {kernel}x{kernel} kernel; {side}x{side} output.",
        data={"reads": under},
        numbers={
            f"{name}: {what}": n
            for name, pair in counts.items()
            for what, n in zip(("connections", "weights"), pair, strict=True)
        }
        | {"times fewer weights": counts["dense"][1] / counts["convolution"][1]},
        size=(6.5, high + 0.65),
        draw=draw,
        steps=outputs,
    )


@demonstration(moves=True, size=Between(2, 5, whole=True), kernel=Between(1, 3, whole=True))
def shared_weights(size: int = 3, kernel: int = 2) -> Scene:
    """One weight of a kernel at a time: the inputs and the outputs that it connects, everywhere the same."""
    (side,) = output_size((size,), (kernel,))
    under, outputs = reads(size, kernel), side**2
    names = [name for row in drawing.letters(size, size) for name in row]
    weights = [f"w{p + 1}{q + 1}" for p in range(kernel) for q in range(kernel)]
    cell, gap = 0.36, 0.36 * size**2 / outputs
    x = 0.6 + max(size, kernel) * cell

    def draw(axes: Axes, step: int) -> None:
        color = COLORS[step % len(COLORS)]
        grid = [weights[i * kernel : (i + 1) * kernel] for i in range(kernel)]
        drawing.cells(axes, grid, (0.2, 0.55), cell, title="kernel")
        drawing.window(axes, (0.2, 0.55), cell, divmod(step, kernel), color=color, fill=True)
        drawing.cells(axes, drawing.letters(size, size), (0.2, 0.95 + kernel * cell), cell, title="picture")
        left: list[Place] = [(x + 0.3, 0.55 + 0.36 * i) for i in range(size**2)]
        right: list[Place] = [(x + 2.6, 0.37 + gap * (i + 0.5)) for i in range(outputs)]
        used = under[:, step].tolist()
        for j in used:
            drawing.window(axes, (0.2, 0.95 + kernel * cell), cell, divmod(j, size), color=color, fill=True, width=1.3)
        drawing.lines(axes, [(left[j], right[i]) for i in range(outputs) for j in under[i].tolist()], FAINT, 0.9)
        drawing.lines(axes, [(left[j], right[i]) for i, j in enumerate(used)], color, 2, 2)
        drawing.units(axes, left, names, ["white"] * size**2, 0.14)
        drawing.units(
            axes, right, [f"s{i // side + 1}{i % side + 1}" for i in range(outputs)], ["white"] * outputs, 0.17
        )
        title = f"{weights[step]} is used {outputs} times: " + ", ".join(
            f"{names[j]}·{weights[step]}" for j in used[:6]
        )
        sheet.write(axes, 0.2, 0.12, title + ", …" * (outputs > 6), 8.5, weight="bold")

    return Scene(
        title="Shared weights",
        note=f"{kernel**2} weights make all {outputs * kernel**2} connections.",
        data={"reads": under},
        numbers={
            "weights": kernel**2,
            "connections": outputs * kernel**2,
            "uses of each weight": outputs,
            "weights of a dense layer": size**2 * outputs,
        },
        size=(max(x + 3.0, 4.6), max(0.36 * size**2 + 0.6, 1.2 + (size + kernel) * cell)),
        draw=draw,
        steps=kernel**2,
        still=tuple(range(kernel**2)) if kernel <= 2 else (0,),
    )


@demonstration(
    moves=True,
    size=Between(6, 64, whole=True),
    kernel=Between(1, 11, whole=True),
    channels=Between(1, 512, whole=True),
    filters=Between(1, 512, whole=True),
    source="LeCun 1989; Taigman et al. 2014, section 3.1",
)
def local_weights(size: int = 28, kernel: int = 5, channels: int = 1, filters: int = 1) -> Scene:
    """A locally connected layer has weights of its own at each place, a convolution the same at all."""
    (side,) = output_size((size,), (kernel,))
    each = channels * kernel**2 * filters
    counts = {
        "locally connected": each * side**2 + filters * side**2,
        "convolution": each + filters,
        "dense": channels * size**2 * filters * side**2 + filters * side**2,
    }
    generator = torch.Generator().manual_seed(0)
    image = gray_photograph("flower.jpg", (size, size))
    own = torch.randn(side, side, kernel, kernel, generator=generator)
    local = correlate_locally(image[None, None], own[:, :, None, None])[0, 0]
    shared = correlated(image, own[0, 0])
    corners = [(0, 0), (0, side - 1), (side // 2, side // 2), (side - 1, 0)]
    scale, unit = 2.4 / size, 1.9 / side

    def draw(axes: Axes, step: int) -> None:
        row, column = corners[step]
        for place, name in enumerate(("locally connected", "convolution")):
            y = 0.42 + 2.95 * place
            sheet.write(axes, 0.2, y - 0.22, f"{name}: {counts[name]:,} parameters", 9, weight="bold")
            sheet.tile(axes, image.numpy(), (0.2, y, 2.4, 2.4), **drawing.GRAY)
            drawing.window(axes, (0.2, y), scale, (row, column), (kernel, kernel), READ)
            weights = own[row, column] if name == "locally connected" else own[0, 0]
            drawing.cells(
                axes,
                weights,
                (3.0, y + 0.55),
                1.25 / kernel,
                colors={"cmap": "RdBu_r", "vmin": -3, "vmax": 3},
                write=False,
                title="weights here, −3 to 3",
            )
            found = local if name == "locally connected" else shared
            sheet.tile(axes, found.numpy(), (4.7, y + 0.25, 1.9, 1.9), **sheet.diverging(found))
            sheet.write(axes, 4.7, y + 0.12, f"output {side}x{side}", 8, weight="bold")
            drawing.scale(axes, (4.7, y + 2.24), sheet.diverging(found), "output")
            drawing.window(axes, (4.7, y + 0.25), unit, (row, column), color=drawing.WRITTEN)

    return Scene(
        title=f"{size}x{size} input, {kernel}x{kernel} fields: own weights or shared ones",
        note=f"Parameters, biases included, for {channels} input channel{'s' * (channels > 1)} and {filters} field"
        f"{'s' * (filters > 1)} at a place; a dense layer of as many outputs has {counts['dense']:,}.",
        data={"image": image, "locally_connected": local, "convolution": shared, "weights": own},
        numbers={"outputs": f"{side}x{side}", **{f"{name}: parameters": n for name, n in counts.items()}},
        size=(6.8, 6.05),
        draw=draw,
        steps=4,
        still=(2,),
    )


@demonstration(
    moves=True,
    examples=("receptive_field", "receptive_field:dilation=doubling,kernel=2,causal=true"),
    layers=Between(1, 6, whole=True),
    kernel=Between(1, 5, whole=True),
    stride=Between(1, 3, whole=True),
    dilation=("none", "doubling"),
    causal=(False, True),
    source="van den Oord et al. 2016; arXiv:1609.03499",
)
def receptive_field(
    layers: int = 3, kernel: int = 3, stride: int = 1, dilation: str = "none", causal: bool = False
) -> Scene:
    """What one unit sees of the input, layer by layer: the field grows with depth, stride and dilation."""
    rates = [2**layer if dilation == "doubling" else 1 for layer in range(layers)]
    windows = []
    for rate in rates:
        reach = rate * (kernel - 1)
        first = -reach if causal else -(reach // 2)
        windows.append(Window(stride, first, first + reach, step=rate))
    sizes = [window.size for window in accumulate(windows, lambda inner, window: window.after(inner))]
    sees = _seen(windows)
    total = sees[0][-1] - sees[0][0] + 1
    pitch = min(0.42, 8.0 / total)
    wide = max(4.8, 0.9 + pitch * (total - 1))
    left, end = (wide - pitch * (total - 1)) / 2, (wide + pitch * (total - 1)) / 2
    jumps, offsets = [1.0], [-float(sees[0][0])]  # of the units of each level, in inputs
    for window in windows:
        middle = window.hi if causal else (window.lo + window.hi) / 2
        offsets.append(offsets[-1] + jumps[-1] * float(middle))
        jumps.append(jumps[-1] * stride)

    def at(level: int, unit: int) -> Place:
        return left + pitch * (jumps[level] * unit + offsets[level]), 0.42 + 0.75 * (layers - level)

    def draw(axes: Axes, step: int) -> None:
        radius = min(0.11, 0.42 * pitch)
        for level in range(layers, -1, -1):
            shown = [u for u in range(-total, total) if left - 0.1 <= at(level, u)[0] <= end + 0.1]
            marked = set(sees[level]) if level >= layers - 1 - step else set()
            faces = [SEEN if unit in marked else "white" for unit in shown]
            drawing.units(axes, [at(level, unit) for unit in shown], [""] * len(shown), faces, radius)
            if level > 0 and level >= layers - step:
                pairs = [(at(level - 1, i), at(level, o)) for o in sees[level] for i in windows[level - 1].at(o)]
                drawing.lines(axes, pairs, READ, 1.0)
        down, count = step + 1, len(sees[layers - 1 - step])
        sheet.write(axes, 0.2, 0.1, f"{down} layer{'s' * (down > 1)} down: {count} units", 8.5, weight="bold")

    return Scene(
        title=f"What a unit sees through {layers} layers",
        note=f"Kernel {kernel}, stride {stride}, dilation {' '.join(map(str, rates))}{', causal' * causal}. "
        f"The input is at the bottom; the top unit sees {sizes[-1]} of its values.",
        data={"field": torch.tensor(sizes), "sees": torch.tensor(sees[0])},
        numbers={f"after layer {layer + 1}": f"field {size}" for layer, size in enumerate(sizes)}
        | {"weights": layers * kernel},
        size=(wide, 0.75 + 0.75 * layers),
        draw=draw,
        steps=layers,
    )


def _seen(windows: Sequence[Window]) -> list[list[int]]:
    """The units of each level, the input first, that unit 0 of the last one sees."""
    sees = [[0]]
    for window in reversed(windows):
        sees.append(sorted({i for o in sees[-1] for i in window.at(o)}))
    return sees[::-1]
