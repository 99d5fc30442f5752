"""Pure tensor functions without parameters, of any rank."""

from striate.ops.algorithms import correlation

__all__ = ["correlation"]
