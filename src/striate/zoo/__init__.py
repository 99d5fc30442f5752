"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import lectures, lenet, mnist_fast, series, text
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture",
    "build",
    "lectures",
    "lenet",
    "mnist_fast",
    "names",
    "series",
    "text",
]
