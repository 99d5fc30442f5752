"""torch.nn's layers by the number of spatial axes, so that one network is written for 1-D, 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Layer = Callable[..., nn.Module]

CONV: dict[int, Layer] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE: dict[int, Layer] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM: dict[int, Layer] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL: dict[int, Layer] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL: dict[int, Layer] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
DROPOUT: dict[int, Layer] = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
# Interpolation's names for linear.
LINEAR: dict[int, str] = {1: "linear", 2: "bilinear", 3: "trilinear"}
