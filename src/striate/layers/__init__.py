"""Layers that torch.nn lacks."""

from striate.layers.activation import ScaledTanh
from striate.layers.connection import TableConv2d
from striate.layers.rbf import RBF
from striate.layers.subsampling import Subsampling2d

__all__ = ["RBF", "ScaledTanh", "Subsampling2d", "TableConv2d"]
