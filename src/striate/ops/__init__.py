"""Pure tensor functions without parameters, of any rank."""

from striate.ops.algorithms import Choice, calibrate, explain_choice, forget
from striate.ops.color import (
    ab_bins,
    delta_e,
    delta_e_2000,
    lab_to_srgb,
    lab_to_xyz,
    rgb_to_yuv,
    srgb_to_lab,
    srgb_to_xyz,
    xyz_to_lab,
    xyz_to_srgb,
    yuv_to_rgb,
)
from striate.ops.convolve import convolve, correlate, output_size
from striate.ops.edges import ImageGradient, grey_values, sobel
from striate.ops.functions import BOX, RAMP, Piecewise, convolve_functions, correlate_functions
from striate.ops.gradients import input_gradient, kernel_gradient
from striate.ops.kernels import binomial, random_filters, sobel_kernels
from striate.ops.local import correlate_locally
from striate.ops.matching import Match, match_template
from striate.ops.matrix import convolution_matrix
from striate.ops.nonlocal_means import non_local_means
from striate.ops.padding import extend, padding_pairs
from striate.ops.patches import patches
from striate.ops.pool import (
    blur_pool,
    channel_pool,
    lp_pool,
    max_pool_with_indices,
    max_unpool,
    stochastic_pool,
    weighted_pool,
    window_pool,
)
from striate.ops.pyramid import expand, gaussian_pyramid, laplacian_pyramid, reconstruct
from striate.ops.resample import pixel_shuffle, pixel_unshuffle, resize
from striate.ops.samples import Samples, convolve_samples, correlate_samples, difference
from striate.ops.separable import Separable, correlate_separable, factorize, is_separable
from striate.ops.transpose import insert_zeros, transposed
from striate.ops.windows import windows

__all__ = [
    "BOX",
    "RAMP",
    "Choice",
    "ImageGradient",
    "Match",
    "Piecewise",
    "Samples",
    "Separable",
    "ab_bins",
    "binomial",
    "blur_pool",
    "calibrate",
    "channel_pool",
    "convolution_matrix",
    "convolve",
    "convolve_functions",
    "convolve_samples",
    "correlate",
    "correlate_functions",
    "correlate_locally",
    "correlate_samples",
    "correlate_separable",
    "delta_e",
    "delta_e_2000",
    "difference",
    "expand",
    "explain_choice",
    "extend",
    "factorize",
    "forget",
    "gaussian_pyramid",
    "grey_values",
    "input_gradient",
    "insert_zeros",
    "is_separable",
    "kernel_gradient",
    "lab_to_srgb",
    "lab_to_xyz",
    "laplacian_pyramid",
    "lp_pool",
    "match_template",
    "max_pool_with_indices",
    "max_unpool",
    "non_local_means",
    "output_size",
    "padding_pairs",
    "patches",
    "pixel_shuffle",
    "pixel_unshuffle",
    "random_filters",
    "reconstruct",
    "resize",
    "rgb_to_yuv",
    "sobel",
    "sobel_kernels",
    "srgb_to_lab",
    "srgb_to_xyz",
    "stochastic_pool",
    "transposed",
    "weighted_pool",
    "window_pool",
    "windows",
    "xyz_to_lab",
    "xyz_to_srgb",
    "yuv_to_rgb",
]
