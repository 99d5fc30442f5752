"""Pure tensor functions without parameters, of any rank."""

from striate.ops.convolve import convolve, correlate, output_size
from striate.ops.edges import ImageGradient, grey_values, sobel
from striate.ops.functions import BOX, RAMP, Piecewise, convolve_functions, correlate_functions
from striate.ops.gradients import input_gradient, kernel_gradient
from striate.ops.kernels import binomial, random_filters, sobel_kernels
from striate.ops.matching import Match, match_template
from striate.ops.matrix import convolution_matrix
from striate.ops.padding import extend, padding_pairs
from striate.ops.patches import patches
from striate.ops.pyramid import expand, gaussian_pyramid, laplacian_pyramid, reconstruct
from striate.ops.samples import Samples, convolve_samples, correlate_samples, difference
from striate.ops.separable import Separable, correlate_separable, factorize, is_separable
from striate.ops.transpose import insert_zeros, transposed

__all__ = [
    "BOX",
    "RAMP",
    "ImageGradient",
    "Match",
    "Piecewise",
    "Samples",
    "Separable",
    "binomial",
    "convolution_matrix",
    "convolve",
    "convolve_functions",
    "convolve_samples",
    "correlate",
    "correlate_functions",
    "correlate_samples",
    "correlate_separable",
    "difference",
    "expand",
    "extend",
    "factorize",
    "gaussian_pyramid",
    "grey_values",
    "input_gradient",
    "insert_zeros",
    "is_separable",
    "kernel_gradient",
    "laplacian_pyramid",
    "match_template",
    "output_size",
    "padding_pairs",
    "patches",
    "random_filters",
    "reconstruct",
    "sobel",
    "sobel_kernels",
    "transposed",
]
