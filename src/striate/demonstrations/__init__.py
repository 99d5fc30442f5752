"""How the operations work, drawn: each demonstration returns its data, its numbers and its pictures, step by step.

scene = striate.demonstrations.show("sobel")        # or striate show sobel
scene.data["feature_map"], scene.numbers
scene.save("sobel.gif")                             # .png and .svg hold still
"""

from striate.demonstrations.borders import dilation, padding, padding_modes, shrinking, stride
from striate.demonstrations.connections import local_weights, receptive_field, shared_weights, sparse_connections
from striate.demonstrations.curves import activations
from striate.demonstrations.flipping import box_and_ramp, rotated_kernel, signals
from striate.demonstrations.moving import equivariance
from striate.demonstrations.networks import classifier, dense_as_convolution, residual, separable
from striate.demonstrations.photographs import edges, template
from striate.demonstrations.pooling import invariance, pooling
from striate.demonstrations.registry import DEMONSTRATIONS, Demonstration, demonstration, show
from striate.demonstrations.scene import Scene
from striate.demonstrations.sliding import products, sobel, words
from striate.demonstrations.upsampling import checkerboard, matrix, transposed, zero_insertion

__all__ = [
    "DEMONSTRATIONS",
    "Demonstration",
    "Scene",
    "activations",
    "box_and_ramp",
    "checkerboard",
    "classifier",
    "demonstration",
    "dense_as_convolution",
    "dilation",
    "edges",
    "equivariance",
    "invariance",
    "local_weights",
    "matrix",
    "padding",
    "padding_modes",
    "pooling",
    "products",
    "receptive_field",
    "residual",
    "rotated_kernel",
    "separable",
    "shared_weights",
    "show",
    "shrinking",
    "signals",
    "sobel",
    "sparse_connections",
    "stride",
    "template",
    "transposed",
    "words",
    "zero_insertion",
]
