"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import (
    audio,
    crnn,
    genomics,
    landmarks,
    lectures,
    lenet,
    localizer,
    mnist_fast,
    pilotnet,
    series,
    tcn,
    text,
    video,
    wavenet,
)
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture",
    "audio",
    "build",
    "crnn",
    "genomics",
    "landmarks",
    "lectures",
    "lenet",
    "localizer",
    "mnist_fast",
    "names",
    "pilotnet",
    "series",
    "tcn",
    "text",
    "video",
    "wavenet",
]
