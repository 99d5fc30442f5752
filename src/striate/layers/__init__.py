"""Layers that torch.nn lacks, and the blocks that networks are made of; in 1-D, 2-D and 3-D by one class each."""

from striate.layers.activation import ScaledTanh
from striate.layers.branches import Branches, ConvUnit, inception
from striate.layers.causal import CausalConv, GatedResidual
from striate.layers.connection import TableConv2d
from striate.layers.dense import DenseBlock, DenseLayer, Transition
from striate.layers.heads import Heads
from striate.layers.locally_connected import LocallyConnected
from striate.layers.normalization import norm_layer, response_norm
from striate.layers.pooling import (
    BlurPool,
    ChannelPool,
    LpPool,
    MaxBlurPool,
    PoolUnpool,
    StochasticPool,
    WeightedPool,
    WindowPool,
)
from striate.layers.rbf import RBF
from striate.layers.residual import BasicBlock, Bottleneck, Residual, SqueezeExcitation
from striate.layers.separable import SeparableConv
from striate.layers.stage import conv_stage
from striate.layers.subsampling import Subsampling2d
from striate.layers.upsampling import EvenTranspose, SubPixelConv, UpsampleConv

__all__ = [
    "RBF",
    "BasicBlock",
    "BlurPool",
    "Bottleneck",
    "Branches",
    "CausalConv",
    "ChannelPool",
    "ConvUnit",
    "DenseBlock",
    "DenseLayer",
    "EvenTranspose",
    "GatedResidual",
    "Heads",
    "LocallyConnected",
    "LpPool",
    "MaxBlurPool",
    "PoolUnpool",
    "Residual",
    "ScaledTanh",
    "SeparableConv",
    "SqueezeExcitation",
    "StochasticPool",
    "SubPixelConv",
    "Subsampling2d",
    "TableConv2d",
    "Transition",
    "UpsampleConv",
    "WeightedPool",
    "WindowPool",
    "conv_stage",
    "inception",
    "norm_layer",
    "response_norm",
]
