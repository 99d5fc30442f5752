"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import (
    alexnet,
    densenet,
    googlenet,
    history,
    inception,
    lectures,
    lenet,
    mnist_fast,
    mobilenet,
    neocognitron,
    nin,
    resnet,
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
    "densenet",
    "features_only",
    "googlenet",
    "history",
    "inception",
    "lectures",
    "lenet",
    "mnist_fast",
    "mobilenet",
    "names",
    "native",
    "neocognitron",
    "nin",
    "resnet",
    "squeezenet",
    "to_convolutional",
    "to_dense",
    "vgg",
]
