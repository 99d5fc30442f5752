"""One object in one image: what it is, whether it is there, and where (the lectures' two-head network)."""

from __future__ import annotations

import torch
from torch import nn

from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture


@architecture(
    paper="Localization with two heads as the lectures draw it, after Sermanet et al. 2013, OverFeat, section 4",
    year=2013,
    input=(3, 64, 64),
    output=(3,),
    least=8,
    parameters=2_192_712,
    macs=43_386_880,
    lectures="label [b_x, b_y, b_h, b_w, c_o, c_cat, c_car, c_frog]; fails for two cats",
    note="The lectures give the label and the two heads, not the layers: here three 3x3 convolutions with max pooling "
    "and a dense layer, since where a thing is must not be averaged away.",
)
def localizer(
    num_classes: int = 3,
    in_channels: int = 3,
    input_size: tuple[int, ...] = (64, 64),
    width: Width = 1.0,
    dropout: Chance = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """Class of an image's one object beside its box and whether there is one: two heads on one trunk.

    Maps 64 -> 32 -> 16 -> 8 (32, 64, 128 maps), then 256 units. Returns three tensors: logits of the classes
    Float[n, k], the box Float[n, 4] as (x, y, height, width), and the logit of presence Float[n, 1]; `label_vector`
    puts them in the lectures' order. `width` multiplies maps and units, `dropout` follows the dense layer, `batch_norm`
    follows each convolution.
    """
    return Localizer(num_classes, in_channels, input_size, width, dropout, batch_norm)


class Localizer(nn.Module):
    """See `localizer`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, ...],
        width: float,
        dropout: float,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for base in (32, 64, 128):
            maps = scaled(base, width)
            norm = [nn.BatchNorm2d(maps)] if batch_norm else []
            layers += [nn.Conv2d(in_channels, maps, 3, padding=1, bias=not batch_norm), *norm, nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            in_channels = maps
        units = scaled(256, width)
        h, w = (side // 8 for side in input_size)
        self.trunk = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(in_channels * h * w, units), nn.ReLU(), nn.Dropout(dropout)
        )
        self.classes = nn.Linear(units, num_classes)
        self.place = nn.Linear(units, 5)

    def forward(
        self, x: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n 4"], Float[Tensor, "n 1"]]:
        """Logits of the classes, box, logit of presence."""
        x = self.trunk(x)
        place = self.place(x)
        return self.classes(x), place[:, :4], place[:, 4:]


def label_vector(
    classes: Float[Tensor, "n k"], box: Float[Tensor, "n 4"], presence: Float[Tensor, "n 1"]
) -> Float[Tensor, "n v"]:
    """The lectures' vector [b_x, b_y, b_h, b_w, c_o, c_1, … c_k] of a localizer's outputs: box, presence, classes."""
    return torch.cat([box, presence, classes], 1)
