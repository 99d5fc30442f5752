"""Rewrites of a captured graph: each changes it in place and returns the layers that it touched."""

from striate.acceleration.rewrites.order import REWRITES, Rewrite

__all__ = ["REWRITES", "Rewrite"]
