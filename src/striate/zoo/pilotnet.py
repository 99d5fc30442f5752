"""PilotNet (Bojarski et al. 2016): from one camera to the steering wheel."""

from __future__ import annotations

from torch import nn

from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

# Maps, kernel and stride of the convolutions (figure 4), units of the hidden dense layers.
CONVOLUTIONS = ((24, 5, 2), (36, 5, 2), (48, 5, 2), (64, 3, 1), (64, 3, 1))
UNITS = (100, 50, 10)


@architecture(
    paper="Bojarski et al. 2016, End to end learning for self-driving cars, section 5 and figure 4",
    year=2016,
    input=(3, 66, 200),
    output=(1,),
    least=61,
    parameters=252_219,
    macs=26_876_342,
    published="about 250 thousand parameters and 27 million connections",
    lectures="one camera, one steering command",
    note="Figure 4 writes 1164 at the flattened maps, but 64 maps of 1x18 are 1,152 values, and a dense layer of 1,164 "
    "units would bring 1.6 million parameters: there is none. The paper names no activation; ReLU here. Its "
    "normalization is fixed: here from 0..1 to -1..1.",
)
def pilotnet(
    num_classes: int = 1,
    in_channels: int = 3,
    input_size: tuple[int, ...] = (66, 200),
    width: Width = 1.0,
) -> nn.Module:
    """Steering command (inverse turning radius) of a YUV image: five convolutions, four dense layers, no pooling.

    Takes values in 0..1. Maps 66x200 -> 31x98 -> 14x47 -> 5x22 -> 3x20 -> 1x18, then 100, 50 and 10 units. `width`
    multiplies maps and units.
    """
    return PilotNet(num_classes, in_channels, input_size, width)


class PilotNet(nn.Module):
    """See `pilotnet`."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, ...], width: float) -> None:
        super().__init__()
        h, w = input_size
        layers: list[nn.Module] = []
        for base, kernel, stride in CONVOLUTIONS:
            maps = scaled(base, width)
            layers += [nn.Conv2d(in_channels, maps, kernel, stride), nn.ReLU()]
            h, w, in_channels = (h - kernel) // stride + 1, (w - kernel) // stride + 1, maps
        self.features = nn.Sequential(*layers)
        dense: list[nn.Module] = []
        features = in_channels * h * w
        for base in UNITS:
            units = scaled(base, width)
            dense += [nn.Linear(features, units), nn.ReLU()]
            features = units
        self.steering = nn.Sequential(*dense, nn.Linear(features, num_classes))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Steering commands."""
        command: Tensor = self.steering(self.features(x * 2 - 1).flatten(1))
        return command
