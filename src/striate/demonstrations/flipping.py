"""Convolution against cross-correlation: the flipped kernel, in the continuous, on signals and on pictures."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes

from striate.demonstrations import drawing
from striate.demonstrations.drawing import COLORS, READ, THIRD, WRITTEN
from striate.demonstrations.plane import convolved, correlated
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.interpret import sheet
from striate.interpret.sheet import INK
from striate.ops import BOX, RAMP, convolve_functions, correlate_functions
from striate.registry import Between

OPERATIONS = ("convolution", "correlation")


@demonstration(moves=True, examples=("box_and_ramp", "box_and_ramp:operation=correlation"), operation=OPERATIONS)
def box_and_ramp(operation: str = "convolution") -> Scene:
    """A ramp passes a box, flipped (convolution) or as it is (correlation): the area of the product is the output."""
    flipped = operation == "convolution"
    at = torch.arange(-2, 8.01, 0.25).double() if flipped else torch.arange(-3, 7.01, 0.25).double()
    area = convolve_functions(BOX, RAMP, at) if flipped else correlate_functions(BOX, RAMP, at, shift="kernel")
    sign, symbol = ("−", "∗") if flipped else ("+", "⋆")
    x = torch.linspace(-7, 9, 801).double()

    def draw(axes: Axes, step: int) -> None:
        here = at[step].item()
        passing = RAMP(here - x if flipped else here + x)
        above = drawing.chart(axes, (0.5, 0.35, 4.3, 1.25), f"f(x) and g(i {sign} x) at i = {drawing.number(here)}")
        above.fill_between(x, (BOX(x) * passing).numpy(), color=COLORS[4], alpha=0.45, linewidth=0)
        above.plot(x, BOX(x), color=THIRD, linewidth=1.5, label="f: box")
        above.plot(x, passing, color=READ, linewidth=1.5, label=f"g(i {sign} x)")
        above.set(xlim=(-7, 9), ylim=(0, 1.25), yticks=(0, 0.5, 1))
        above.legend(fontsize=7, frameon=False, loc="upper right", ncols=2, borderaxespad=0)
        below = drawing.chart(
            axes, (0.5, 2.05, 4.3, 1.05), f"h(i) = (f {symbol} g)(i) = {drawing.number(area[step].item())}", "i"
        )
        below.plot(at[: step + 1], area[: step + 1], color=WRITTEN, linewidth=1.5)
        below.plot(here, area[step], "o", color=WRITTEN, markersize=4)
        below.set(xlim=(-7, 9), ylim=(0, 2.4), yticks=(0, 1, 2))

    whole = {int(i): v.item() for i, v in zip(at, area, strict=True) if i == i.round()}
    return Scene(
        title=f"Box and ramp: {operation}",
        note=f"h(i) = ∫ f(x) g(i {sign} x) dx. Shaded: the product, whose area is the output.",
        data={"i": at, "h": area},
        numbers={f"h({i})": round(v, 6) for i, v in whole.items()} | {"greatest": round(area.max().item(), 6)},
        size=(5.0, 3.5),
        draw=draw,
        steps=len(at),
        still=(8, 16, 24, 32),
    )


@demonstration(moves=True)
def signals() -> Scene:
    """Convolution and correlation of the same signal and kernel, term by term: only one of them flips the kernel."""
    signal, kernel = torch.tensor([0.0, 0, 1, 0, 0, 2, 1]), torch.tensor([1.0, 2, 4])
    results = {
        "convolution": convolved(signal, kernel, padding="full"),
        "cross-correlation": correlated(signal, kernel, padding="full"),
    }
    side, reach = 0.4, len(kernel) - 1
    colors = drawing.amount(8)

    def draw(axes: Axes, step: int) -> None:
        for place, (name, found) in enumerate(results.items()):
            y, start = 0.3 + 2.05 * place, 0.3 + reach * side
            laid = kernel.flip(0) if name == "convolution" else kernel
            drawing.cells(axes, signal[None], (start, y), side, title=f"{name}: signal")
            drawing.cells(axes, laid[None], (0.3 + step * side, y + 0.55), side, colors=drawing.amount(4))
            drawing.window(axes, (0.3 + step * side, y + 0.55), side, (0, 0), (1, 3))
            how = "kernel, flipped" if name == "convolution" else "kernel, as it is"
            sheet.write(axes, 4.9, y + 0.75, how, 8, READ)
            known = drawing.until((1, len(found)), step)
            drawing.cells(axes, found[None], (0.3 + reach * side / 2, y + 1.2), side, colors=colors, known=known)
            drawing.window(axes, (0.3 + reach * side / 2, y + 1.2), side, (0, step), color=WRITTEN)
            padded = [0.0] * reach + signal.tolist() + [0.0] * reach
            terms = " + ".join(
                f"{drawing.number(a)}·{drawing.number(b)}" for a, b in zip(laid.tolist(), padded[step:], strict=False)
            )
            sheet.write(axes, 4.9, y + 1.4, f"{terms} = {drawing.number(found[step].item())}", 8, INK)

    same = torch.equal(results["convolution"], correlated(signal, kernel.flip(0), padding="full"))
    return Scene(
        title="Convolution flips the kernel",
        note="An impulse of the signal leaves a copy of the kernel (convolution) or its mirror image "
        "(cross-correlation).",
        data={
            "signal": signal,
            "kernel": kernel,
            "convolution": results["convolution"],
            "correlation": results["cross-correlation"],
        },
        numbers={
            "values": len(signal),
            "kernel": len(kernel),
            "output, full": len(results["convolution"]),
            "correlation with the flipped kernel is the convolution": same,
        },
        size=(6.8, 4.1),
        draw=draw,
        steps=len(signal) + reach,
    )


@demonstration(impulses=Between(1, 4, whole=True))
def rotated_kernel(impulses: int = 2) -> Scene:
    """Convolution stamps the kernel where the picture has a point; correlation stamps it rotated by 180 degrees."""
    kernel = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
    image = torch.zeros(13, 13)
    for row, column, value in ((3, 3, 1), (9, 8, 2), (3, 10, 3), (10, 2, 1))[:impulses]:
        image[row, column] = value
    results = {
        "convolution": convolved(image, kernel, padding="same"),
        "correlation": correlated(image, kernel, padding="same"),
    }
    rotated = correlated(image, kernel.flip(0, 1), padding="same")
    colors = drawing.amount(3)

    def draw(axes: Axes, _: int) -> None:
        drawing.cells(axes, image, (0.2, 0.35), 0.22, colors=colors, title="picture of points")
        drawing.cells(axes, kernel, (3.35, 0.35), 0.22, colors=drawing.amount(1.0), title="kernel")
        drawing.cells(axes, results["convolution"], (4.35, 0.35), 0.22, colors=colors, title="convolution")
        drawing.cells(axes, results["correlation"], (7.5, 0.35), 0.22, colors=colors, title="cross-correlation")

    return Scene(
        title="Convolution and cross-correlation of a picture",
        note="Networks compute the cross-correlation: as their weights are learned, the rotation makes no difference.",
        data={"image": image, "kernel": kernel, **results},
        numbers={
            "greatest difference of the two": (results["convolution"] - results["correlation"]).abs().max().item(),
            "convolution - correlation with the rotated kernel": (results["convolution"] - rotated).abs().max().item(),
        },
        size=(10.6, 3.5),
        draw=draw,
    )
