"""Pure tensor functions without parameters, of any rank."""

from striate.ops.convolve import convolve, correlate, output_size
from striate.ops.padding import extend, padding_pairs

__all__ = ["convolve", "correlate", "extend", "output_size", "padding_pairs"]
