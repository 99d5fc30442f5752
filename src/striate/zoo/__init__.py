"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import (
    alexnet,
    history,
    lectures,
    lenet,
    mnist_fast,
    neocognitron,
    nin,
    squeezenet,
    vgg,
)
from striate.zoo.convert import native, to_convolutional, to_dense
from striate.zoo.features import Feature, Features, features_only
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Feature",
    "Features",
    "alexnet",
    "architecture",
    "build",
    "features_only",
    "history",
    "lectures",
    "lenet",
    "mnist_fast",
    "names",
    "native",
    "neocognitron",
    "nin",
    "squeezenet",
    "to_convolutional",
    "to_dense",
    "vgg",
]
