"""Initial weights that several families share; each is applied to a whole network with `net.apply(...)`."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def initialize_as_keras(module: nn.Module) -> None:
    """Keras' defaults: Glorot uniform weights, zero biases."""
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


def initialize_gaussian(module: nn.Module, std: float) -> None:
    """Weights of convolutions and dense layers from N(0, std²), zero biases."""
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
