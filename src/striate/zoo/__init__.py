"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import alexnet, lectures, lenet, mnist_fast, nin, squeezenet, vgg
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "alexnet",
    "architecture",
    "build",
    "lectures",
    "lenet",
    "mnist_fast",
    "names",
    "nin",
    "squeezenet",
    "vgg",
]
