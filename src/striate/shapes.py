"""Axis letters and tensor types.

n: items of a batch, c: channels, h w: rows and columns, t: time, k: classes. `*space` stands for any number
of spatial axes. The test suite checks every annotated call against them (jaxtyping with beartype).
"""

from jaxtyping import Bool, Float, Int16, Int64, Num, UInt8
from torch import Tensor

__all__ = ["Bool", "Float", "Int16", "Int64", "Num", "Tensor", "UInt8"]
