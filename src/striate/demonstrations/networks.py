"""Whole networks in the small: a classifier stage by stage, dense layers that slide, separable kernels, shortcuts."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch.nn import functional as F

from striate.demonstrations import drawing
from striate.demonstrations.drawing import COLORS, READ, WRITTEN
from striate.demonstrations.photographs import colored_photograph, gray_photograph
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.interpret import sheet
from striate.interpret.sheet import INK, MUTED
from striate.ops import correlate
from striate.registry import Between
from striate.shapes import Tensor


@demonstration(moves=True, filters=Between(1, 8, whole=True), classes=Between(2, 5, whole=True))
def classifier(filters: int = 4, classes: int = 3) -> Scene:
    """A small network stage by stage: 10x10x3, convolution, ReLU, pooling, flattening, a dense layer, probabilities."""
    generator = torch.Generator().manual_seed(3)
    image = colored_photograph("flower.jpg", (10, 10)) / 255
    kernels = torch.randn(filters, 3, 2, 2, generator=generator) / 2
    maps = correlate(image[None] - image.mean(), kernels, stride=2)[0]
    active = maps.relu()
    small = F.max_pool2d(active, 2)
    flat = small.flatten()
    dense = torch.randn(classes, len(flat), generator=generator) / len(flat) ** 0.5
    scores = dense @ flat
    chances = scores.softmax(0)
    tall = max(3.0, 0.9 * filters)
    titles = ("picture", "convolution", "ReLU", "max pooling", "flatten", "dense", "softmax")
    wide, few = f"5x5x{filters}", str(classes)
    shapes = ("10x10x3", wide, wide, f"2x2x{filters}", str(len(flat)), few, few)
    starts = (0.2, 2.3, 3.7, 5.1, 6.3, 7.4, 8.6)

    def draw(axes: Axes, step: int) -> None:
        drawing.scale(axes, (2.3, tall + 0.62), sheet.diverging(maps), "maps and flattened maps")
        for place, x in enumerate(starts[: step + 1]):
            sheet.write(axes, x, 0.1, titles[place], 8.5, weight="bold")
            sheet.write(axes, x, 0.27, shapes[place], 8, MUTED)
            if place:
                drawing.arrow(axes, (x - 0.3, 0.5 + tall / 2), (x - 0.08, 0.5 + tall / 2))
        sheet.tile(axes, image.permute(1, 2, 0).clamp(0, 1).numpy(), (0.2, 0.5 + tall / 2 - 0.8, 1.6, 1.6))
        for place, stack in enumerate((maps, active, small), 1):
            side = (0.8 if place < 3 else 0.6) / stack.shape[1]
            for number, plane in enumerate(stack if step >= place else ()):
                y = 0.5 + tall * (number + 0.5) / filters - side * stack.shape[1] / 2
                drawing.cells(axes, plane, (starts[place], y), side, colors=sheet.diverging(maps), write=False)
        for place, column in ((4, flat), (5, scores), (6, chances)):
            if step >= place:
                side = min(0.42, tall / len(column))
                colors = drawing.amount(1) if place == 6 else sheet.diverging(maps if place == 4 else scores)
                corner = (starts[place], 0.5 + (tall - side * len(column)) / 2)
                drawing.cells(axes, (column * 100).round()[:, None] / 100, corner, side, colors=colors, write=place > 4)

    return Scene(
        title="A convolutional network, stage by stage",
        note="Untrained, with random weights; kernels of 2x2x3 with stride 2, pooling of 2x2. "
        "Blue below zero, red above.",
        data={"image": image, "maps": maps, "active": active, "pooled": small, "flat": flat}
        | {"scores": scores, "probabilities": chances},
        numbers=dict(zip(titles, shapes, strict=True)) | {"weights": kernels.numel() + dense.numel()},
        size=(9.3, tall + 0.95),
        draw=draw,
        steps=len(titles),
    )


@demonstration(moves=True, size=Between(5, 12, whole=True), source="Sermanet et al. 2014, section 3.5; arXiv:1312.6229")
def dense_as_convolution(size: int = 9) -> Scene:
    """A dense layer made for 5x5 pixels runs over a larger picture as a convolution: a map of scores for each class."""
    generator = torch.Generator().manual_seed(0)
    image = (gray_photograph("flower.jpg", (size, size)) / 25.5).round()
    layer = torch.randint(-1, 2, (4, 25), generator=generator).float()
    found = correlate(image[None, None], layer.reshape(4, 1, 5, 5))[0]
    outputs = size - 4
    windows = image.unfold(0, 5, 1).unfold(1, 5, 1).reshape(-1, 25)
    dense = (windows @ layer.T).T.reshape(4, outputs, outputs)
    side = 0.32
    small = min(0.32, 1.45 / outputs)

    def draw(axes: Axes, step: int) -> None:
        row, column = divmod(step, outputs)
        drawing.cells(
            axes,
            image,
            (0.2, 0.35),
            side,
            colors={"cmap": "gray", "vmin": 0, "vmax": 10},
            title=f"picture {size}x{size}",
        )
        drawing.window(axes, (0.2, 0.35), side, (row, column), (5, 5))
        for number in range(4):
            x = 0.6 + size * side + (number % 2) * 1.75
            y = 0.35 + number // 2 * 1.85
            known = drawing.until((outputs, outputs), step)
            drawing.cells(
                axes,
                found[number],
                (x, y),
                small,
                colors=sheet.diverging(found),
                known=known,
                title=f"score of class {number + 1}",
            )
            drawing.window(axes, (x, y), small, (row, column), color=WRITTEN)

    return Scene(
        title="A dense layer as a convolution",
        note=f"25 inputs and 4 outputs: 100 weights. "
        f"On {size}x{size} pixels they give {outputs}x{outputs} places in one pass.",
        data={"image": image, "weights": layer, "scores": found, "dense": dense},
        numbers={
            "weights": layer.numel(),
            "places": outputs**2,
            "convolution - dense layer, place by place": (found - dense).abs().max().item(),
        },
        size=(4.2 + size * side, max(4.05, 0.6 + size * side)),
        draw=draw,
        steps=outputs**2,
    )


@demonstration(
    kernel=Between(1, 15, whole=True),
    channels=Between(1, 4096, whole=True),
    filters=Between(1, 4096, whole=True),
    size=Between(1, 1024, whole=True),
    source="Howard et al. 2017, section 3.1; arXiv:1704.04861",
)
def separable(kernel: int = 3, channels: int = 256, filters: int = 256, size: int = 14) -> Scene:
    """What a depthwise separable convolution costs, beside the standard one: 1 / filters + 1 / kernel² of it."""
    places = size**2
    macs = {
        "standard": places * kernel**2 * channels * filters,
        "depthwise": places * kernel**2 * channels,
        "pointwise": places * channels * filters,
    }
    weights = {name: count // places for name, count in macs.items()}
    ratio = 1 / filters + 1 / kernel**2
    widths = torch.arange(1, 513)
    curves = {k: 1 / widths + 1 / k**2 for k in sorted({3, 5, 7, kernel})}

    def draw(axes: Axes, _: int) -> None:
        left = drawing.chart(axes, (0.95, 0.4, 3.3, 2.5), "multiply-adds (millions)")
        top = macs["standard"] / 1e6
        left.bar(0, top, 0.55, color=READ)
        left.bar(1, macs["depthwise"] / 1e6, 0.55, color=COLORS[4])
        left.bar(1, macs["pointwise"] / 1e6, 0.55, bottom=macs["depthwise"] / 1e6, color=COLORS[0])
        both = (macs["depthwise"] + macs["pointwise"]) / 1e6
        left.text(0, top * 1.02, f"{top:.4g}", ha="center", fontsize=8)
        left.text(1, both + top * 0.02, f"{both:.4g}, 1/{1 / ratio:.3g} of it", ha="center", fontsize=8)
        left.set(
            xticks=(0, 1), xticklabels=("standard", "depthwise (yellow)\n+ pointwise (blue)"), ylim=(0, 1.12 * top)
        )
        left.grid(axis="x", visible=False)
        right = drawing.chart(axes, (5.2, 0.4, 3.6, 2.5), "share of the standard cost", "filters")
        for (k, curve), color in zip(curves.items(), COLORS, strict=False):
            right.loglog(widths, curve, color=color, linewidth=1.5, label=f"{k}x{k}")
        right.plot(min(filters, 512), ratio, "o", color=INK, markersize=6)
        right.legend(fontsize=8, frameon=False, title="kernel", title_fontsize=8)
        right.set(xlim=(1, 512), ylim=(0.01, 2.5))

    return Scene(
        title="Depthwise separable convolution",
        note=f"{kernel}x{kernel} kernel, {channels} channels in, {filters} out, {size}x{size} places: "
        "each channel by itself, then 1x1 across them.",
        data={"filters": widths} | {f"share, {k}x{k}": curve for k, curve in curves.items()},
        numbers={f"{name}: MACs": count for name, count in macs.items()}
        | {f"{name}: weights": count for name, count in weights.items()}
        | {"share": ratio, "share, counted": (macs["depthwise"] + macs["pointwise"]) / macs["standard"]},
        size=(9.1, 3.5),
        draw=draw,
    )


@demonstration(depth=Between(2, 60, whole=True), source="He et al. 2016, section 3.2; Ioffe and Szegedy 2015")
def residual(depth: int = 20) -> Scene:
    """A residual block with batch normalization, and the variance of the signal through a stack of such blocks."""
    variances = {name: _variances(name, depth) for name in ("plain", "residual", "residual, normalized")}

    def draw(axes: Axes, _: int) -> None:
        names = ("convolution", "batch norm", "ReLU", "convolution", "batch norm")
        x, tall = 0.9, 0.36
        tops = [0.62 + 0.56 * i for i in range(6)]
        sheet.write(axes, 0.2, 0.1, "y = relu(F(x) + x)", 9, weight="bold")
        sheet.write(axes, x + 0.7, 0.33, "x", 9, ha="center")
        for number, (name, y) in enumerate(zip(names, tops, strict=False)):
            drawing.box(axes, (x, y, 1.4, tall), name, COLORS[(0, 3, 4, 0, 3)[number]])
            drawing.arrow(axes, (x + 0.7, y - 0.2), (x + 0.7, y))
        drawing.arrow(axes, (x + 0.7, tops[4] + tall), (x + 0.7, tops[5] + 0.06))
        drawing.units(axes, [(x + 0.7, tops[5] + 0.2)], ["+"], ["white"], 0.14)
        drawing.arrow(axes, (x + 0.7, tops[5] + 0.34), (x + 0.7, tops[5] + 0.6))
        sheet.write(axes, x + 0.8, tops[5] + 0.48, "ReLU, y", 8.5)
        drawing.lines(
            axes, [((x + 0.7, 0.47), (x + 1.95, 0.47)), ((x + 1.95, 0.47), (x + 1.95, tops[5] + 0.2))], READ, 1.6
        )
        drawing.arrow(axes, (x + 1.95, tops[5] + 0.2), (x + 0.86, tops[5] + 0.2), color=READ)
        sheet.write(axes, x + 2.02, 2.0, "x, unchanged", 8, READ, rotation=90)
        chart = drawing.chart(axes, (4.3, 0.45, 4.4, 3.2), "variance of the signal", "blocks")
        for (name, values), color in zip(variances.items(), (COLORS[3], READ, COLORS[0]), strict=True):
            chart.semilogy(range(depth + 1), values, color=color, linewidth=1.6, label=name)
        chart.legend(fontsize=8, frameon=False)
        chart.set(xlim=(0, depth))
        chart.xaxis.set_major_locator(MaxNLocator(integer=True))

    return Scene(
        title="The residual block, and why it is normalized",
        note="Measured at random weights: "
        "each block adds its variance to that of the signal, so it multiplies; with F normalized it only adds up.",
        data=variances,
        numbers={f"{name}: after {depth} blocks": values[-1].item() for name, values in variances.items()},
        size=(9.0, 4.4),
        draw=draw,
    )


def _variances(kind: str, depth: int) -> Tensor:
    """Of noise through blocks of two 3x3 convolutions with He's initialization, block by block."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 16, 12, 12, generator=generator)
    found = [x.var()]
    for _ in range(depth):
        y = x
        for layer in range(2):
            kernels = torch.randn(16, 16, 3, 3, generator=generator) * (2 / 144) ** 0.5
            y = correlate(y, kernels, padding="same", padding_mode="circular")
            if kind == "residual, normalized":
                y = F.batch_norm(y, None, None, training=True)
            y = y.relu() if layer == 0 else y
        x = (y if kind == "plain" else y + x).relu()
        found.append(x.var())
    return torch.stack(found)
