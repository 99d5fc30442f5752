"""Facial key points: the baseline of the tutorial that the lectures' assignment follows, and its six specialists."""

from __future__ import annotations

import copy
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.layers.initialization import initialize_keras
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

# The 15 points in the order of Kaggle's columns; each has x and y.
POINTS = (
    *("left_eye_center", "right_eye_center"),
    *("left_eye_inner_corner", "left_eye_outer_corner", "right_eye_inner_corner", "right_eye_outer_corner"),
    *("left_eyebrow_inner_end", "left_eyebrow_outer_end", "right_eyebrow_inner_end", "right_eyebrow_outer_end"),
    *("nose_tip", "mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip", "mouth_center_bottom_lip"),
)
# Points that each specialist predicts: those that the data set labels together.
SPECIALISTS = {
    "eye_centers": ("left_eye_center", "right_eye_center"),
    "nose": ("nose_tip",),
    "mouth": ("mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip"),
    "bottom_lip": ("mouth_center_bottom_lip",),
    "eye_corners": POINTS[2:6],
    "eyebrows": POINTS[6:10],
}


@architecture(
    paper="D. Nouri 2014, Using convolutional neural nets to detect facial keypoints (tutorial), the last network",
    year=2014,
    input=(1, 96, 96),
    output=(30,),
    least=16,
    parameters=16_561_502,
    macs=52_256_752,
    lectures="a baseline and specialist networks; mean error of 1.6 pixels is fine, 1.4 outstanding",
    note="The tutorial's earlier networks have 500 hidden units and no dropout: hidden=500, dropout=0 (8,051,502).",
)
def facial_points(
    num_classes: int = 30,
    in_channels: int = 1,
    input_size: tuple[int, ...] = (96, 96),
    hidden: Annotated[int, Between(1, 65536, whole=True)] = 1000,
    width: Width = 1.0,
    dropout: Annotated[float, Between(0, 2)] = 1.0,
) -> nn.Module:
    """Coordinates of 15 points of a face: three convolutions (32, 64, 128) with 2x2 max pooling, two hidden layers.

    Takes gray values in 0..1, returns x and y of each of `POINTS` in -1..1 (pixels: 48 + 48 times them, for 96x96).
    Maps 96 -> 94 -> 47 -> 46 -> 23 -> 22 -> 11. `width` multiplies the maps, `dropout` the tutorial's probabilities
    (0.1, 0.2, 0.3 after the poolings, 0.5 after the first hidden layer). `specialists(net)` makes the six specialists.
    """
    return FacialPoints(num_classes, in_channels, input_size, hidden, width, dropout)


class FacialPoints(nn.Module):
    """See `facial_points`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, ...],
        hidden: int,
        width: float,
        dropout: float,
    ) -> None:
        super().__init__()
        h, w = ((((side - 2) // 2 - 1) // 2 - 1) // 2 for side in input_size)
        first, second, third = (scaled(maps, width) for maps in (32, 64, 128))
        self.conv1 = nn.Conv2d(in_channels, first, 3)
        self.conv2 = nn.Conv2d(first, second, 2)
        self.conv3 = nn.Conv2d(second, third, 2)
        self.hidden4 = nn.Linear(third * h * w, hidden)
        self.hidden5 = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, num_classes)
        self.dropouts = nn.ModuleList(nn.Dropout(dropout * p) for p in (0.1, 0.2, 0.3, 0.5))
        self.apply(initialize_keras)  # as Lasagne's defaults

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Coordinates."""
        for conv, dropout in zip((self.conv1, self.conv2, self.conv3), self.dropouts, strict=False):
            x = dropout(F.max_pool2d(conv(x).relu(), 2))
        x = self.dropouts[3](self.hidden4(x.flatten(1)).relu())
        coordinates: Tensor = self.output(self.hidden5(x).relu())
        return coordinates


@torch.no_grad()
def specialists(baseline: FacialPoints) -> dict[str, FacialPoints]:
    """Six copies of the baseline, each with the outputs of its own points only (`SPECIALISTS`), ready to be trained on.

    Each starts with the baseline's weights (the tutorial: a fresh last layer), so at first it predicts the same.
    Raises InputError for a network that does not predict all 15 points.
    """
    if baseline.output.out_features != 2 * len(POINTS):
        raise InputError(
            "cannot make specialists of this network",
            expected=f"{2 * len(POINTS)} outputs",
            got=baseline.output.out_features,
            fix="Start from facial_points with all its points.",
        )
    made = {}
    for name, points in SPECIALISTS.items():
        rows = [2 * POINTS.index(point) + axis for point in points for axis in (0, 1)]
        made[name] = net = copy.deepcopy(baseline)
        net.output.out_features = len(rows)
        net.output.weight = nn.Parameter(net.output.weight[rows])
        net.output.bias = nn.Parameter(net.output.bias[rows])
    return made
