"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import (
    colorization,
    dilated,
    fcn,
    lectures,
    lenet,
    mnist_fast,
    residual_unet,
    roads,
    segnet,
    unet,
    vnet,
)
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture",
    "build",
    "colorization",
    "dilated",
    "fcn",
    "lectures",
    "lenet",
    "mnist_fast",
    "names",
    "residual_unet",
    "roads",
    "segnet",
    "unet",
    "vnet",
]
