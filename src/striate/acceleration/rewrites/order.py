"""The rewrites by name, in the order in which they are applied: what is less work first, oneDNN's form last."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from torch.fx import GraphModule

from striate.acceleration.rewrites.algorithms import other_algorithms
from striate.acceleration.rewrites.branches import split_concatenations
from striate.acceleration.rewrites.causal import join_gates, pad_in_convolution
from striate.acceleration.rewrites.flat import one_row
from striate.acceleration.rewrites.memory import in_place
from striate.acceleration.rewrites.norms import fold_norms, fold_norms_ahead
from striate.acceleration.rewrites.packing import pack
from striate.acceleration.rewrites.pools import average_before_pointwise, pool_before_relu

Rewrite = Callable[[GraphModule], list[str]]
REWRITES = MappingProxyType(
    {
        "fold norms": fold_norms,
        "fold norms ahead": fold_norms_ahead,
        "average first": average_before_pointwise,
        "pool before ReLU": pool_before_relu,
        "another algorithm": other_algorithms,
        "padding inside": pad_in_convolution,
        "one tanh for a gate": join_gates,
        "sums for concatenations": split_concatenations,
        "signals as rows": one_row,
        "pack": pack,
        "in place": in_place,
    }
)
