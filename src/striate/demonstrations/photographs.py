"""Kernels at work on photographs: the edges of a picture, and the place of a part of it."""

from __future__ import annotations

import functools

import numpy as np
import torch
from matplotlib.axes import Axes
from PIL import Image

from striate import ops
from striate.demonstrations import drawing
from striate.demonstrations.drawing import READ, WRITTEN
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.interpret import sheet
from striate.registry import Between
from striate.shapes import Float, Tensor

PHOTOGRAPHS = ("china", "flower")


@functools.cache
def colored_photograph(file: str, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """One of scikit-learn's photographs, in 0..255, resized to (height, width)."""
    from sklearn.datasets import load_sample_image  # takes a second

    resized = Image.fromarray(load_sample_image(file)).resize(size[::-1], Image.Resampling.LANCZOS)
    return torch.tensor(np.array(resized), dtype=torch.float32).permute(2, 0, 1)


def gray_photograph(file: str, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """The same in gray, by the luma of its colors."""
    luma = torch.tensor([0.299, 0.587, 0.114])
    return (luma[:, None, None] * colored_photograph(file, size)).sum(0)


@functools.cache
def handwritten(digit: int) -> Float[Tensor, "8 8"]:
    """The first of scikit-learn's handwritten digits that shows this one, in 0..16."""
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().images[digit], dtype=torch.float32)  # the first ten are 0 to 9


@demonstration(photograph=PHOTOGRAPHS, source="Sobel and Feldman 1968")
def edges(photograph: str = "china") -> Scene:
    """The edges of a photograph: changes from left to right, from top to bottom, and the magnitude of both."""
    image = gray_photograph(f"{photograph}.jpg", (214, 320))
    found = ops.sobel(image)
    gx, gy, magnitude = found.x, found.y, found.magnitude
    limit = 500.0
    signed = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}

    def draw(axes: Axes, _: int) -> None:
        wide, tall = 4.2, 4.2 * 214 / 320
        panels = {
            "photograph": (image, drawing.GRAY),
            "left to right: Gx": (gx, signed),
            "top to bottom: Gy": (gy, signed),
            "magnitude: √(Gx² + Gy²)": (magnitude, {"cmap": "gray_r", "vmin": 0, "vmax": limit}),
        }
        for place, (name, (pixels, colors)) in enumerate(panels.items()):
            row, column = divmod(place, 2)
            drawing.picture(
                axes, pixels, (0.2 + column * (wide + 0.2), 0.3 + row * (tall + 0.4), wide, tall), name, colors
            )
        drawing.scale(axes, (0.2, 2 * tall + 0.85), signed, "Gx, Gy")
        drawing.scale(axes, (0.4 + wide, 2 * tall + 0.85), {"cmap": "gray_r", "vmin": 0, "vmax": limit}, "magnitude")

    return Scene(
        title="Sobel edges of a photograph",
        note="Red: darker to lighter, blue: lighter to darker. Values beyond the scale are drawn as its ends.",
        data={"image": image, "gx": gx, "gy": gy, "magnitude": magnitude},
        numbers={
            "greatest magnitude": magnitude.max().item(),
            "mean magnitude": magnitude.mean().item(),
            "share of edges above 255": (magnitude > 255).float().mean().item(),
        },
        size=(9.0, 6.95),
        draw=draw,
    )


@demonstration(photograph=PHOTOGRAPHS, noise=Between(0, 200), size=Between(8, 64, whole=True))
def template(photograph: str = "china", noise: float = 40, size: int = 24) -> Scene:
    """A part of a photograph is found again by correlation: the peak of the map is its place, if means are removed."""
    image = gray_photograph(f"{photograph}.jpg", (160, 240))
    row, column = {"china": (22, 76), "flower": (60, 100)}[photograph]
    part = image[row : row + size, column : column + size].clone()
    noisy = image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    matches = {method: ops.match_template(noisy, part, method) for method in ("correlation", "normalized")}
    raw, normed = (match.map for match in matches.values())
    places = {method: (match.position[0], match.position[1]) for method, match in matches.items()}

    def draw(axes: Axes, _: int) -> None:
        wide, tall = 4.4, 4.4 * 160 / 240
        pixel = wide / 240
        title = f"photograph with noise of {noise:g} gray levels"
        drawing.picture(axes, noisy, (0.2, 0.3, wide, tall), title, drawing.GRAY)
        drawing.picture(axes, part, (4.9, 0.3, 1.3, 1.3), "part to find", drawing.GRAY)
        for name, color in (("correlation", drawing.THIRD), ("normalized", READ)):
            drawing.window(axes, (0.2, 0.3), pixel, places[name], (size, size), color)
        sheet.write(axes, 4.9, 1.9, "best place by", 8)
        sheet.write(axes, 4.9, 2.1, f"sums of products: {places['correlation']}", 8, drawing.THIRD)
        sheet.write(axes, 4.9, 2.3, f"normalized: {places['normalized']}", 8, READ)
        sheet.write(axes, 4.9, 2.5, f"true: {(row, column)}", 8, WRITTEN)
        y, height, width = tall + 0.75, pixel * len(raw), pixel * raw.shape[1]
        low, high = raw.min().item(), raw.max().item()
        for x, name, title, ends, color in (
            (0.2, "correlation", f"sums of products, {low:.2g} to {high:.2g}", (low, high), drawing.THIRD),
            (0.4 + wide, "normalized", "normalized, −0.3 to 1", (-0.3, 1.0), READ),
        ):
            shades = {"cmap": "gray", "vmin": ends[0], "vmax": ends[1]}
            drawing.picture(axes, matches[name].map, (x, y, width, height), title, shades)
            drawing.window(axes, (x, y), pixel, (places[name][0] - 4, places[name][1] - 4), (9, 9), color)

    error = {name: max(abs(at[0] - row), abs(at[1] - column)) for name, at in places.items()}
    return Scene(
        title="Finding a part of a photograph by cross-correlation",
        note="Normalized: the means are removed, and the sums divided by the norms of part and window, "
        "so 1 is a perfect match.",
        data={"image": noisy, "template": part, "correlation": raw, "normalized": normed},
        numbers={
            "true place": [row, column],
            "place, normalized": list(places["normalized"]),
            "score": normed.max().item(),
            "off by": error["normalized"],
            "place, sums of products": list(places["correlation"]),
            "raw is off by": error["correlation"],
        },
        size=(9.2, 6.5),
        draw=draw,
    )
