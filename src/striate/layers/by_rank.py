"""torch.nn's layers by the number of spatial axes, so that one network is written for 1-D, 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from striate.errors import InputError

Layer = Callable[..., nn.Module]


class ByRank(dict[int, Layer]):
    """A layer for each of 1, 2 and 3 axes; InputError for another number."""

    def __missing__(self, rank: int) -> Layer:
        raise InputError("a layer has 1, 2 or 3 spatial axes", got=rank, fix="rank=2 is for images.")


CONV = ByRank({1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d})
CONV_TRANSPOSE = ByRank({1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d})
BATCH_NORM = ByRank({1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d})
MAX_POOL = ByRank({1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d})
AVG_POOL = ByRank({1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d})
DROPOUT = ByRank({1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d})
# Interpolation's names for linear.
LINEAR: dict[int, str] = {1: "linear", 2: "bilinear", 3: "trilinear"}
