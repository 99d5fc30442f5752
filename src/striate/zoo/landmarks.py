"""Facial key points: the baseline of the tutorial that the lectures' assignment follows, and specialists for groups."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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
Groups = Mapping[str, tuple[str, ...]]
# Points that each specialist predicts: those that the data set labels together.
SPECIALISTS: Groups = {
    "eye_centers": ("left_eye_center", "right_eye_center"),
    "nose": ("nose_tip",),
    "mouth": ("mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip"),
    "bottom_lip": ("mouth_center_bottom_lip",),
    "eye_corners": POINTS[2:6],
    "eyebrows": POINTS[6:10],
}
# The 68-point scheme and its parts.
POINTS_68 = tuple(f"part_{i}" for i in range(68))
SPECIALISTS_68: Groups = {
    "jaw": POINTS_68[:17],
    "brows": POINTS_68[17:27],
    "nose": POINTS_68[27:36],
    "eyes": POINTS_68[36:48],
    "mouth": POINTS_68[48:],
}


def groups_of(points: Sequence[str]) -> Groups:
    """The specialists' groups of a known set of points; none for others."""
    return {POINTS: SPECIALISTS, POINTS_68: SPECIALISTS_68}.get(tuple(points), {})


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


def specialists(
    baseline: FacialPoints, points: Sequence[str] = POINTS, groups: Groups | None = None
) -> dict[str, FacialPoints]:
    """A copy of the baseline for each group, with the outputs of its own points only, ready to be trained on.

    `points` names the baseline's points in order; `groups` are the names of each specialist's, by default those of
    `groups_of(points)`, which knows Kaggle's 15 points (six specialists) and the 68 (five). Each starts with the
    baseline's weights (the tutorial: a fresh last layer), so at first it predicts the same; `Specialists` puts them
    together. Raises InputError for a network that does not predict all points, and for groups that are none.
    """
    if baseline.output.out_features != 2 * len(points):
        raise InputError(
            "cannot make specialists of this network",
            expected=f"{2 * len(points)} outputs",
            got=baseline.output.out_features,
            fix="Start from facial_points with all its points.",
        )
    made = {}
    for name, rows in _rows(points, groups).items():
        made[name] = net = copy.deepcopy(baseline)
        net.output.out_features = len(rows)
        net.output.weight = nn.Parameter(net.output.weight.detach()[rows])
        assert net.output.bias is not None
        net.output.bias = nn.Parameter(net.output.bias.detach()[rows])
    return made


class Specialists(nn.Module):
    """One network for each group of points, answering as one network for all of them.

    Raises InputError for networks that are not those of the groups, and unless every point has one specialist.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], points: Sequence[str] = POINTS, groups: Groups | None = None
    ) -> None:
        super().__init__()
        rows = _rows(points, groups)
        if set(networks) != set(rows):
            raise InputError("networks and groups differ", expected=", ".join(rows), got=", ".join(networks))
        taken = [row for name in networks for row in rows[name]]
        if sorted(taken) != list(range(2 * len(points))):
            got = ", ".join(name for i, name in enumerate(points) if taken.count(2 * i) != 1)
            raise InputError("points without one specialist", expected="each point in one group", got=got)
        self.networks = nn.ModuleDict(networks)
        self.register_buffer("order", torch.tensor(taken).argsort(), persistent=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Coordinates of all points, in their order."""
        together = torch.cat([network(x) for network in self.networks.values()], 1)
        return together[:, self.get_buffer("order")]


def _rows(points: Sequence[str], groups: Groups | None) -> dict[str, list[int]]:
    """The outputs (x and y of each point) of each group."""
    groups = groups_of(points) if groups is None else groups
    unknown = [name for names in groups.values() for name in names if name not in points]
    if unknown or not groups:
        got = unknown[0] if unknown else "none"
        raise InputError("groups of points", expected=f"names among {points[0]} ... {points[-1]}", got=got)
    position = {name: i for i, name in enumerate(points)}
    return {group: [2 * position[name] + axis for name in names for axis in (0, 1)] for group, names in groups.items()}
