"""The operations on one signal, picture or volume as it stands, without axes for the batch and the channels."""

from __future__ import annotations

from typing import Any

from striate.ops import convolve, correlate
from striate.shapes import Float, Tensor


def correlated(x: Float[Tensor, "*space"], kernel: Float[Tensor, "*window"], **options: Any) -> Float[Tensor, "*out"]:
    """`ops.correlate` of one channel with one kernel."""
    return correlate(x[None, None], kernel[None, None], **options)[0, 0]


def convolved(x: Float[Tensor, "*space"], kernel: Float[Tensor, "*window"], **options: Any) -> Float[Tensor, "*out"]:
    """`ops.convolve` of one channel with one kernel."""
    return convolve(x[None, None], kernel[None, None], **options)[0, 0]
