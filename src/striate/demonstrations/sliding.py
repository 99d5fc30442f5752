"""A kernel slides over its input: numbers, letters, words."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes

from striate.demonstrations import drawing
from striate.demonstrations.plane import correlated
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.interpret import sheet
from striate.interpret.sheet import INK, MUTED
from striate.ops import grey_values, output_size, sobel_kernels
from striate.registry import Between
from striate.shapes import Float, Tensor

KERNELS = dict(zip(("sobel_x", "sobel_y"), sobel_kernels(), strict=True))
FIGURE = """
....##....
...####...
....##....
#..####...
..######..
.#.####.#.
...####...
...####...
...#..#..#
..##..##..
"""
SENTENCE = ["the", "film", "was", "long", "but", "I", "liked", "the", "end"]


def little_figure() -> Float[Tensor, "h w"]:
    """A white figure with raised arms on black, 10x10, in 0..255."""
    return torch.tensor([[255.0 * (letter == "#") for letter in line] for line in FIGURE.split()])


@demonstration(moves=True, examples=("sobel", "sobel:kernel=sobel_y"), kernel=tuple(KERNELS))
def sobel(kernel: str = "sobel_x") -> Scene:
    """A Sobel kernel slides over a 10x10 picture: every sum of products, the map, and its gray values."""
    image, weights = little_figure(), KERNELS[kernel]
    found = correlated(image, weights)
    gray = grey_values(found)
    least, greatest = found.min().item(), found.max().item()
    signed = sheet.diverging(found)

    def draw(axes: Axes, step: int) -> None:
        row, column = divmod(step, 8)
        known = drawing.until((8, 8), step)
        patch = image[row : row + 3, column : column + 3]
        drawing.cells(axes, image, (0.2, 0.3), 0.3, colors=drawing.GRAY, title="picture")
        drawing.window(axes, (0.2, 0.3), 0.3, (row, column), (3, 3))
        drawing.cells(axes, weights, (3.5, 0.3), 0.36, title="kernel")
        drawing.cells(axes, patch, (3.5, 1.85), 0.36, colors=drawing.GRAY, title="what it reads")
        drawing.window(axes, (3.5, 1.85), 0.36, (0, 0), (3, 3))
        drawing.cells(axes, found, (4.9, 0.3), 0.375, colors=signed, known=known, title="feature map: sums of products")
        drawing.window(axes, (4.9, 0.3), 0.375, (row, column), color=drawing.WRITTEN)
        drawing.cells(axes, gray, (8.2, 0.3), 0.375, colors=drawing.GRAY, known=known, title="the map as gray values")
        drawing.window(axes, (8.2, 0.3), 0.375, (row, column), color=drawing.WRITTEN)
        pairs = zip(weights.flatten().tolist(), patch.flatten().tolist(), strict=True)
        terms = " + ".join(f"{drawing.number(w)}·{drawing.number(x)}" for w, x in pairs).replace("+ −", "− ")
        value = drawing.number(found[row, column].item())
        sheet.write(axes, 0.2, 3.55, f"row {row + 1}, column {column + 1}:  {terms} = {value}", 9)
        share = f"({value} + {drawing.number(-least)}) / {drawing.number(greatest - least)} · 255"
        shade = drawing.number(gray[row, column].item())
        sheet.write(axes, 8.2, 3.55, f"gray = {share} = {shade}".replace("+ −", "− "), 9)

    return Scene(
        title=f"{kernel} slides over a picture (cross-correlation, valid)",
        note="Red is a step from dark to light, blue one from light to dark, white none. The gray values run from the "
        "least sum of products, 0, to the greatest, 255.",
        data={"image": image, "kernel": weights, "feature_map": found, "gray": gray},
        numbers={
            "input": "10x10",
            "output": "8x8",
            "least": least,
            "greatest": greatest,
            "gray of 0": gray[0, 0].item(),
        },
        size=(11.4, 3.8),
        draw=draw,
        steps=64,
    )


@demonstration(moves=True, size=Between(2, 5, whole=True), kernel=Between(1, 3, whole=True))
def products(size: int = 3, kernel: int = 2) -> Scene:
    """A kernel of letters slides over a picture of letters: each output written out as a sum of products."""
    image, (side,) = drawing.letters(size, size), output_size((size,), (kernel,))
    kernels = [[f"w{p + 1}{q + 1}" for q in range(kernel)] for p in range(kernel)]
    outputs = [[f"s{i + 1}{j + 1}" for j in range(side)] for i in range(side)]
    reads = torch.arange(size**2).reshape(size, size).unfold(0, kernel, 1).unfold(1, kernel, 1).reshape(side, side, -1)
    flat = [name for row in kernels for name in row]
    sums = [
        " + ".join(f"{image[n // size][n % size]}·{w}" for n, w in zip(places, flat, strict=True))
        for places in reads.reshape(side**2, -1).tolist()
    ]
    cell = 0.42
    width = max(1.0 + (size + kernel + side) * cell, 0.65 * kernel**2 + 0.9)

    def draw(axes: Axes, step: int) -> None:
        row, column = divmod(step, side)
        x = 0.2 + size * cell + 0.3
        drawing.cells(axes, image, (0.2, 0.3), cell, title="picture")
        drawing.window(axes, (0.2, 0.3), cell, (row, column), (kernel, kernel), fill=True)
        drawing.cells(axes, kernels, (x, 0.3), cell, title="kernel")
        x += kernel * cell + 0.3
        drawing.cells(axes, outputs, (x, 0.3), cell, known=drawing.until((side, side), step), title="output")
        drawing.window(axes, (x, 0.3), cell, (row, column), color=drawing.WRITTEN, fill=True)
        sheet.write(axes, 0.2, 0.3 + size * cell + 0.25, f"{outputs[row][column]} = {sums[step]}", 9)

    return Scene(
        title=f"{kernel}x{kernel} kernel on a {size}x{size} picture",
        note="Each output is the sum of the products of the kernel's weights with what lies under them.",
        data={"reads": reads},
        numbers=dict(zip([name for row in outputs for name in row], sums, strict=True)),
        size=(width, 0.3 + size * cell + 0.5),
        draw=draw,
        steps=side**2,
        still=tuple(range(side**2)) if side <= 2 else (side**2 - 1,),
    )


def _tenths(*shape: int, generator: torch.Generator) -> Tensor:
    return (10 * torch.randn(*shape, generator=generator)).round() / 10


@demonstration(moves=True, height=Between(1, 9, whole=True), source="Kim 2014, section 2; arXiv:1408.5882")
def words(height: int = 2) -> Scene:
    """A 1-D convolution over a sentence: the kernel is as wide as a word's vector and moves down word by word."""
    generator = torch.Generator().manual_seed(0)
    known = {word: _tenths(5, generator=generator) for word in dict.fromkeys(SENTENCE)}
    vectors = torch.stack([known[word] for word in SENTENCE])
    kernel = _tenths(height, 5, generator=generator)
    found = correlated(vectors, kernel)  # as wide as the vectors: it has one place across
    colors, signed, side = sheet.diverging(vectors), sheet.diverging(found), 0.36

    def draw(axes: Axes, step: int) -> None:
        for row, word in enumerate(SENTENCE):
            read = step <= row < step + height
            sheet.write(axes, 0.75, 0.48 + row * side, word, 9, drawing.READ if read else INK, ha="right")
        drawing.cells(axes, vectors, (0.85, 0.3), side, colors=colors, title="a vector for each word")
        drawing.window(axes, (0.85, 0.3), side, (step, 0), (height, 5))
        drawing.cells(axes, kernel, (3.05, 0.3), side, colors=sheet.diverging(kernel), title="kernel")
        drawing.cells(
            axes, found, (5.25, 0.3), side, colors=signed, known=drawing.until((len(found), 1), step), title="output"
        )
        drawing.window(axes, (5.25, 0.3), side, (step, 0), color=drawing.WRITTEN)
        part = " ".join(SENTENCE[step : step + height])
        sheet.write(axes, 0.2, 3.8, f"place {step + 1} of {len(found)} reads “{part}”", 8.5, MUTED)

    return Scene(
        title="Convolution over words",
        note=f"{len(SENTENCE)} words, height {height}: {len(found)} places. Blue below zero, white zero, red above.",
        data={"vectors": vectors, "kernel": kernel, "output": found[:, 0]},
        numbers={"words": len(SENTENCE), "height": height, "places": len(found), "weights": kernel.numel()},
        size=(6.4, 4.0),
        draw=draw,
        steps=len(found),
    )
