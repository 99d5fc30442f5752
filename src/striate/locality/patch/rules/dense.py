"""What is done instead of torch's own operation where all is dense; it is given the call and its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from striate.locality.patch.rules.convolutions import dense_convolution
from striate.locality.patch.rules.linear import dense_addmm, dense_linear, product
from striate.locality.patch.rules.norms import dense_batch_norm

DENSE: dict[str, Callable[..., Any]] = {
    "addmm": dense_addmm,
    "mm": lambda _, rows, weight: product(rows, weight.t(), None),
    "linear": dense_linear,
    "convolution": dense_convolution,
    "native_batch_norm": dense_batch_norm,
    "view": lambda _, x, shape: x.reshape(shape),
    "_unsafe_view": lambda _, x, shape: x.reshape(shape),
}
