"""Going back up: transposed convolution three ways, its matrix, and the checkerboards that it draws."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from torch.nn import functional as F

from striate import ops
from striate.demonstrations import drawing
from striate.demonstrations.connections import reads
from striate.demonstrations.drawing import READ, WRITTEN
from striate.demonstrations.plane import convolved, correlated
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.interpret import sheet
from striate.interpret.sheet import MUTED
from striate.registry import Between
from striate.shapes import Float, Tensor


def stamped(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """(steps, h, w): the output after each input value laid down its copy of the kernel."""
    size, window = x.shape[0], kernel.shape[0]
    output = torch.zeros(((size - 1) * stride + window,) * 2)
    course = []
    for i in range(size):
        for j in range(size):
            output[i * stride : i * stride + window, j * stride : j * stride + window] += x[i, j] * kernel
            course.append(output.clone())
    return torch.stack(course)


@demonstration(moves=True, examples=("transposed", "transposed:stride=2"), stride=Between(1, 3, whole=True))
def transposed(stride: int = 1) -> Scene:
    """Transposed convolution: each input value stamps the kernel, weighted by itself, and the stamps add up."""
    x, kernel = torch.tensor([[1.0, 1], [2, 3]]), torch.tensor([[1.0, 2], [3, 4]])
    course = stamped(x, kernel, stride)
    output, side = course[-1], 0.42

    def draw(axes: Axes, step: int) -> None:
        row, column = divmod(step, 2)
        drawing.cells(axes, x, (0.2, 0.35), side, title="input")
        drawing.window(axes, (0.2, 0.35), side, (row, column), fill=True)
        drawing.cells(axes, kernel, (1.3, 0.35), side, title="kernel")
        value = drawing.number(x[row, column].item())
        drawing.cells(axes, x[row, column] * kernel, (2.4, 0.35), side, title=f"{value} · kernel")
        drawing.window(axes, (2.4, 0.35), side, (0, 0), (2, 2), fill=True)
        drawing.cells(
            axes, course[step], (3.5, 0.35), side, colors=drawing.amount(output.max().item()), title="output so far"
        )
        drawing.window(axes, (3.5, 0.35), side, (row * stride, column * stride), (2, 2), WRITTEN)

    return Scene(
        title=f"Transposed convolution, stride {stride}",
        note="Where stamps overlap, they add.",
        data={"input": x, "kernel": kernel, "course": course, "output": output},
        numbers={"output": "; ".join(" ".join(map(drawing.number, line)) for line in output.tolist())},
        size=(max(5.0, 3.7 + len(output) * side), 0.55 + len(output) * side),
        draw=draw,
        steps=4,
        still=(0, 1, 2, 3),
    )


@demonstration(moves=True, stride=Between(1, 3, whole=True))
def zero_insertion(stride: int = 2) -> Scene:
    """Transposed convolution as an ordinary one: zeros between the input values and around them, the kernel flipped."""
    x, kernel = torch.tensor([[1.0, 1], [2, 3]]), torch.tensor([[1.0, 2], [3, 4]])
    padded = F.pad(ops.insert_zeros(x[None, None], stride)[0, 0], (1, 1, 1, 1))
    output = convolved(padded, kernel)
    same = torch.equal(output, stamped(x, kernel, stride)[-1])
    side, size = 0.4, len(output)

    def draw(axes: Axes, step: int) -> None:
        row, column = divmod(step, size)
        faces = torch.ones(*padded.shape, 4)
        faces[1:-1:stride, 1:-1:stride] = torch.tensor([0.81, 0.89, 0.95, 1])
        drawing.cells(axes, padded, (0.2, 0.35), side, faces=faces.numpy(), title="input, zeros inserted")
        drawing.window(axes, (0.2, 0.35), side, (row, column), (2, 2), fill=True)
        at = 0.5 + len(padded) * side
        drawing.cells(axes, kernel.flip(0, 1), (at, 0.35), side, title="kernel, flipped")
        at += 1.35
        known = drawing.until((size, size), step)
        drawing.cells(
            axes, output, (at, 0.35), side, colors=drawing.amount(output.max().item()), known=known, title="output"
        )
        drawing.window(axes, (at, 0.35), side, (row, column), color=WRITTEN)

    return Scene(
        title=f"Transposed convolution, stride {stride}, by inserting zeros",
        note=f"A stride of {stride} puts {stride - 1} zero{'s' * (stride != 2)} between the values (blue); "
        "around them stands one ring, the kernel's size less 1.",
        data={"padded": padded, "output": output},
        numbers={
            "output": "; ".join(" ".join(map(drawing.number, line)) for line in output.tolist()),
            "equals the stamps": same,
        },
        size=(2.1 + (len(padded) + size) * side, 0.55 + len(padded) * side),
        draw=draw,
        steps=size**2,
    )


@demonstration(moves=True)
def matrix() -> Scene:
    """A 3x3 convolution of a 4x4 picture as a 4x16 matrix, row by row, and the way back by its transpose."""
    image = torch.tensor([[1.0, 2, 0, 1], [0, 1, 3, 1], [2, 1, 0, 2], [1, 0, 1, 3]])
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    under = reads(4, 3)
    weights = ops.convolution_matrix(kernel[None, None], (4, 4)).to_dense()
    names = [["0"] * 16 for _ in range(4)]
    for row, places in enumerate(under.tolist()):
        for weight, place in enumerate(places):
            names[row][place] = f"w{weight // 3}{weight % 3}"
    there = (weights @ image.flatten()).reshape(2, 2)
    back = (weights.T @ there.flatten()).reshape(4, 4)
    side = 0.37
    face = torch.ones(4, 16, 4)
    face[weights.new_zeros(4, 16).scatter_(1, under, 1.0) > 0] = torch.tensor([0.81, 0.89, 0.95, 1])

    def draw(axes: Axes, step: int) -> None:
        forward = step < 4
        drawing.cells(axes, names, (0.2, 0.35), side, faces=face.numpy(), title="matrix M: a row for each output")
        drawing.cells(axes, image, (0.2, 2.4), side, title="picture x (4x4)")
        drawing.cells(axes, kernel, (2.2, 2.4), side, title="kernel w")
        drawing.cells(axes, there, (3.85, 2.4), side, known=drawing.until((2, 2), step), title="there: y = M x")
        drawing.cells(
            axes,
            back,
            (5.4, 2.4),
            side,
            known=torch.full((4, 4), not forward),
            title="back: Mᵀ y (4x4)",
            colors=sheet.diverging(back),
        )
        if forward:
            drawing.window(axes, (0.2, 0.35), side, (step, 0), (1, 16))
            drawing.window(axes, (0.2, 2.4), side, divmod(step, 2), (3, 3), fill=True)
            drawing.window(axes, (3.85, 2.4), side, divmod(step, 2), color=WRITTEN)
            value = drawing.number(there.flatten()[step].item())
            text = f"row {step + 1} of M, times x read row by row, is output {step + 1}: {value}"
        else:
            drawing.window(axes, (5.4, 2.4), side, (0, 0), (4, 4), WRITTEN)
            text = "The transpose spreads each output over the 9 values that it came from: transposed convolution."
        sheet.write(axes, 0.2, 4.12, text, 8.5, READ if forward else MUTED)

    return Scene(
        title="Convolution as a matrix, there and back",
        note="Each row has the same nine weights, moved along; all else is zero. "
        "The way back has the shape of the input, not its values.",
        data={"image": image, "kernel": kernel, "matrix": weights, "there": there, "back": back},
        numbers={
            "matrix": "4x16",
            "weights": 9,
            "values that are not zero by position": under.numel(),
            "M x - cross-correlation": (there - correlated(image, kernel)).abs().max().item(),
            "Mᵀ y - full convolution": (back - convolved(there, kernel, padding="full")).abs().max().item(),
        },
        size=(7.1, 4.35),
        draw=draw,
        steps=5,
        still=(1, 4),
    )


WAYS = ("transposed convolution", "nearest, then convolution", "bilinear, then convolution")


def upsampled(x: Float[Tensor, "1 1 h w"], kernels: Tensor, stride: int, way: str) -> Tensor:
    """`stride` times larger on each axis, but for the borders; one channel for each of the kernels (k 1 *window)."""
    if way == WAYS[0]:
        return ops.transposed(x, kernels.transpose(0, 1), stride=stride)
    smooth: dict[str, Any] = {"mode": "bilinear", "align_corners": False} if way == WAYS[2] else {}
    return ops.correlate(F.interpolate(x, scale_factor=stride, **smooth), kernels)


@demonstration(
    examples=("checkerboard", "checkerboard:kernel=4"),
    kernel=Between(2, 6, whole=True),
    stride=Between(2, 4, whole=True),
    source="Odena, Dumoulin, Olah 2016; doi:10.23915/distill.00003",
)
def checkerboard(kernel: int = 3, stride: int = 2) -> Scene:
    """Transposed convolution draws checkerboards, upsampling before a convolution does not: both measured."""
    generator = torch.Generator().manual_seed(1)
    kernels = torch.randn(64, 1, kernel, kernel, generator=generator) / kernel
    line, ones = torch.linspace(-1, 1, 24), torch.ones(1, 1, 24, 24)
    hill = (-2 * (line[:, None].square() + line.square())).exp()[None, None]
    flat, counts, shown = {}, {}, {}
    for way in WAYS:
        flat[way] = _inside(upsampled(ones, kernels, stride, way), kernel, 8 * stride)
        counts[way] = _inside(upsampled(ones, torch.ones(1, 1, kernel, kernel), stride, way), kernel, 4 * stride)[0, 0]
        shown[way] = upsampled(hill, kernels[2:3], stride, way)[0, 0]
    uneven = {
        way: (f.var((2, 3), correction=0).sum() / f.square().mean((2, 3)).sum()).sqrt().item()
        for way, f in flat.items()
    }
    spectra = {way: _spectrum(_inside(values, kernel, 16 * stride)) for way, values in shown.items()}
    frequencies = torch.fft.rfftfreq(16 * stride)

    def draw(axes: Axes, _: int) -> None:
        for place, way in enumerate(WAYS):
            x, map_of = 0.55 + place * 3.35, counts[way]
            colors, side = drawing.amount(map_of.max().item()), 1.5 / len(map_of)
            sheet.write(axes, x, 0.1, way, 9, weight="bold")
            drawing.cells(axes, map_of, (x, 0.5), side, colors=colors, title="constant input, kernel of ones")
            color = READ if uneven[way] > 1e-3 else WRITTEN
            sheet.write(axes, x, 2.15, f"unevenness, 64 random kernels: {uneven[way]:.2g}", 7.5, color)
            signed = sheet.diverging(shown[way])
            title = f"smooth input, random kernel, ±{signed['vmax']:.2g}"
            drawing.picture(axes, shown[way], (x, 2.55, 2.6, 2.6), title, signed)
            chart = drawing.chart(axes, (x, 5.55, 2.6, 1.3), "power along rows", "cycles per pixel")
            chart.semilogy(frequencies, spectra[way], color=drawing.THIRD, linewidth=1.3)
            chart.set(xlim=(0, 0.505), ylim=(1e-9, 2))
            chart.axvline(1 / stride, color=READ, linewidth=1.2, linestyle=":")

    return Scene(
        title=f"Checkerboards of a {kernel}x{kernel} kernel, upsampling by {stride}",
        note="Unevenness: root of the variance of the output for a constant input over its mean square. "
        f"Dotted: one cycle in {stride} pixels, where a checkerboard shows; 1 is the strongest frequency.",
        data={f"{way}, constant": counts[way] for way in WAYS} | {f"{way}, smooth": shown[way] for way in WAYS},
        numbers={f"{way}: unevenness": value for way, value in uneven.items()}
        | {f"{way}: power at 1/{stride}": spectra[way][16].item() for way in WAYS},
        size=(10.2, 7.3),
        draw=draw,
    )


def _inside(values: Tensor, kernel: int, size: int) -> Tensor:
    """A part of so many pixels that no border reaches."""
    return values[..., kernel : kernel + size, kernel : kernel + size]


def _spectrum(values: Tensor) -> Tensor:
    """Mean power along the rows under a Hann window, the greatest being 1."""
    window = torch.hann_window(values.shape[1], periodic=False)
    power: Tensor = torch.fft.rfft((values - values.mean()) * window).abs().square().mean(0)
    return power / power.max()
