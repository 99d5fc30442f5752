"""Networks by name, each faithful to its paper and counted by a test."""

from striate.zoo import alexnet, history, lectures, lenet, mnist_fast, neocognitron, nin, squeezenet, vgg
from striate.zoo.registry import ARCHITECTURES, Architecture, architecture, build, names

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "alexnet",
    "architecture",
    "build",
    "history",
    "lectures",
    "lenet",
    "mnist_fast",
    "names",
    "neocognitron",
    "nin",
    "squeezenet",
    "vgg",
]
