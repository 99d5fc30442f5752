"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import lectures, lenet, mnist_fast
from striate.zoo.convert import native, to_convolutional, to_dense
from striate.zoo.features import Feature, Features, features_only
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Feature",
    "Features",
    "architecture",
    "build",
    "features_only",
    "lectures",
    "lenet",
    "mnist_fast",
    "names",
    "native",
    "to_convolutional",
    "to_dense",
]
