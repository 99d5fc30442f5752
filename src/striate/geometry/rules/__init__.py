"""One rule an operation: how its outputs read its inputs, and what it counts.

A rule is a function from a `Call` to `Facts`, registered under the operation's name in torch's core (`aten::relu`; an
in-place form has the rule of the plain one). Operations that torch itself marks as pointwise need none. To add one:

    from striate.geometry import Facts, pointwise, rule

    @rule("mylib::my_activation")
    def my_activation(call):
        return Facts("my_activation", "activation", pointwise(call))
"""

from striate.geometry.rules.arithmetic import activation
from striate.geometry.rules.base import (
    PRODUCTS,
    RULES,
    Call,
    Facts,
    all_of,
    facts_of,
    over,
    pointwise,
    reduced,
    rule,
    same,
    writes,
)
from striate.geometry.rules.composed import COMPOSED
from striate.geometry.rules.products import convolution
from striate.geometry.rules.sampling import pool
from striate.geometry.rules.views import written_through

__all__ = [
    "COMPOSED",
    "PRODUCTS",
    "RULES",
    "Call",
    "Facts",
    "activation",
    "all_of",
    "convolution",
    "facts_of",
    "over",
    "pointwise",
    "pool",
    "reduced",
    "rule",
    "same",
    "writes",
    "written_through",
]
