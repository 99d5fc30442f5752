"""Draw docs/network.png, docs/receptive_field.png and docs/complexity.png, which docs/geometry.md shows.

    python docs/geometry_pictures.py

The photo is one that comes with scikit-learn. Accuracies are 100 % less the top-1 errors that torchvision's
documentation states (one crop of 224x224); the networks are built here, on the meta device, to be counted.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from striate.geometry import Measured, describe, draw_complexity, draw_network, draw_receptive_field

FOLDER = Path(__file__).parent
SOURCE = "top-1, one crop, docs.pytorch.org/0.1.12/torchvision/models.html"
WIDTHS = {
    "VGG-11": [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0],
    "VGG-16": [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0],
}
UNITS = {"ResNet-18": (2, 2, 2, 2), "ResNet-34": (3, 4, 6, 3), "ResNet-50": (3, 4, 6, 3), "ResNet-152": (3, 8, 36, 3)}


class Residual(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1, beside a way that skips them (He et al. 2015)."""

    def __init__(self, channels: int, width: int, stride: int, deep: bool) -> None:
        super().__init__()
        out = 4 * width if deep else width
        plan = [(width, 1, 1), (width, 3, stride), (out, 1, 1)] if deep else [(width, 3, stride), (out, 3, 1)]
        self.short = nn.Sequential(*convolution(channels, out, 1, stride)) if (channels, stride) != (out, 1) else None
        layers, before = [], channels
        for after, kernel, step in plan:
            layers += [*convolution(before, after, kernel, step), nn.ReLU()]
            before = after
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + (x if self.short is None else self.short(x)))


class UNet(nn.Module):
    """Down and up again, with skips (Ronneberger, Fischer and Brox 2015), two levels of it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, 16), (16, 32), (32, 64)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in ((64, 32), (32, 16)))
        self.merge = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((64, 32), (32, 16)))
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.down[0](x))
        coarse = torch.relu(self.down[1](nn.functional.max_pool2d(fine, 2)))
        x = torch.relu(self.down[2](nn.functional.max_pool2d(coarse, 2)))
        for skip, up, merge in zip((coarse, fine), self.up, self.merge, strict=True):
            x = torch.relu(merge(torch.cat([skip, up(x)], 1)))
        return self.head(x)


def convolution(channels: int, width: int, kernel: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width)


def resnet(name: str) -> nn.Module:
    deep = name in ("ResNet-50", "ResNet-152")
    layers: list[nn.Module] = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, units in enumerate(UNITS[name]):
        for unit in range(units):
            layers.append(Residual(channels, 64 << stage, 2 if stage and not unit else 1, deep))
            channels = (256 if deep else 64) << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def vgg(name: str) -> list[nn.Module]:
    """The convolutional part."""
    layers: list[nn.Module] = []
    channels = 3
    for width in WIDTHS[name]:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        channels = width or channels
    return layers


def alexnet() -> list[nn.Module]:
    """The convolutional part, of one tower (Krizhevsky 2014)."""
    layers: list[nn.Module] = []
    channels = 3
    for width, kernel, stride, pooled in (
        (64, 11, 4, 1),
        (192, 5, 1, 1),
        (384, 3, 1, 0),
        (256, 3, 1, 0),
        (256, 3, 1, 1),
    ):
        padding = 2 if kernel > 3 else 1
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU(), *[nn.MaxPool2d(3, 2)] * pooled]
        channels = width
    return layers


def classified(layers: list[nn.Module], features: int) -> nn.Module:
    head = [nn.Flatten(), nn.Linear(features, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, *head)


def complexity() -> Figure:
    with torch.device("meta"):
        networks = [
            ("AlexNet", classified(alexnet(), 256 * 6 * 6), 56.55),
            ("VGG-11", classified(vgg("VGG-11"), 512 * 7 * 7), 69.02),
            ("VGG-16", classified(vgg("VGG-16"), 512 * 7 * 7), 71.59),
            ("ResNet-18", resnet("ResNet-18"), 69.76),
            ("ResNet-34", resnet("ResNet-34"), 73.30),
            ("ResNet-50", resnet("ResNet-50"), 76.15),
            ("ResNet-152", resnet("ResNet-152"), 78.31),
        ]
        reports = [(name, describe(net, (3, 224, 224)), accuracy) for name, net, accuracy in networks]
    return draw_complexity([Measured(*entry, SOURCE) for entry in reports])


def receptive_field() -> Figure:
    """A unit of VGG-16's fourth pooling, near the border."""
    photo = Image.fromarray(load_sample_image("china.jpg")).resize((384, 256))
    return draw_receptive_field(nn.Sequential(*vgg("VGG-16")), photo, "23", (6, 2))


def save(figure: Figure, name: str, colors: int = 0) -> None:
    """As PNG; drawings need few colors, and documents stay small."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB")
    (image.quantize(colors) if colors else image).save(FOLDER / f"{name}.png", optimize=True)


def main() -> None:
    save(draw_network(describe(UNet(), (1, 64, 64))), "network", colors=64)
    save(receptive_field(), "receptive_field")
    save(complexity(), "complexity", colors=64)


if __name__ == "__main__":
    main()
