"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import genomics, lectures, lenet, mnist_fast, series, tcn, text, wavenet
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture",
    "build",
    "genomics",
    "lectures",
    "lenet",
    "mnist_fast",
    "names",
    "series",
    "tcn",
    "text",
    "wavenet",
]
