"""Several algorithms for one cross-correlation."""

from striate.ops.algorithms.direct import correlation

__all__ = ["correlation"]
