"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import (
    densenet,
    googlenet,
    inception,
    inception_resnet,
    lectures,
    lenet,
    mnist_fast,
    mobilenet,
    resnet,
    resnet_cifar,
)
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture",
    "build",
    "densenet",
    "googlenet",
    "inception",
    "inception_resnet",
    "lectures",
    "lenet",
    "mnist_fast",
    "mobilenet",
    "names",
    "resnet",
    "resnet_cifar",
]
