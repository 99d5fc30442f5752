"""How a change of the input moves through each operation, one rule an operation; where all is dense, torch's own."""

from striate.locality.patch.rules.base import RULES, Call, Norm
from striate.locality.patch.rules.dense import DENSE
from striate.locality.patch.rules.pointwise import pointwise
from striate.locality.patch.rules.sampling import max_pool
from striate.locality.patch.rules.views import reshape

__all__ = [
    "DENSE",
    "RULES",
    "Call",
    "Norm",
    "max_pool",
    "pointwise",
    "reshape",
]
