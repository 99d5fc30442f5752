"""C3D (Tran et al. 2015): features of video from 3x3x3 convolutions alone."""

from __future__ import annotations

from torch import nn

from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

# Figure 3: names and maps of the convolutions; each group is followed by max pooling over (frames, rows, columns).
GROUPS: tuple[tuple[dict[str, int], tuple[int, int, int]], ...] = (
    ({"conv1a": 64}, (1, 2, 2)),
    ({"conv2a": 128}, (2, 2, 2)),
    ({"conv3a": 256, "conv3b": 256}, (2, 2, 2)),
    ({"conv4a": 512, "conv4b": 512}, (2, 2, 2)),
    ({"conv5a": 512, "conv5b": 512}, (2, 2, 2)),
)


@architecture(
    paper="Tran, Bourdev, Fergus, Torresani, Paluri 2015, Learning spatiotemporal features with 3D convolutional "
    "networks, section 3.3 and figure 3",
    year=2015,
    input=(3, 16, 112, 112),
    least=16,
    parameters=79_991_015,
    macs=38_548_959_232,
    note="The last pooling rounds up, as the authors' Caffe does: 7x7 becomes 4x4 and fc6 sees 8,192 values.",
)
def c3d(
    num_classes: int = 487,
    in_channels: int = 3,
    input_size: tuple[int, ...] = (16, 112, 112),
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Sports in a clip of 16 frames: eight 3x3x3 convolutions, five poolings (the first over space only), three dense.

    Takes Float[n, 3, frames, h, w]. Maps 16x112x112 -> 16x56x56 -> 8x28x28 -> 4x14x14 -> 2x7x7 -> 1x4x4. `width`
    multiplies maps and units; `dropout` follows fc6 and fc7.
    """
    return C3D(num_classes, in_channels, input_size, width, dropout)


class C3D(nn.Module):
    """See `c3d`."""

    def __init__(
        self, num_classes: int, in_channels: int, input_size: tuple[int, ...], width: float, dropout: float
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        sides = list(input_size)
        for number, (convolutions, window) in enumerate(GROUPS, 1):
            for name, base in convolutions.items():
                maps = scaled(base, width)
                self.features.add_module(name, nn.Conv3d(in_channels, maps, 3, padding=1))
                self.features.add_module(f"relu{name[4:]}", nn.ReLU())
                in_channels = maps
            last = number == len(GROUPS)
            self.features.add_module(f"pool{number}", nn.MaxPool3d(window, ceil_mode=last))
            sides = [(side + last * (step - 1)) // step for side, step in zip(sides, window, strict=True)]
        frames, h, w = sides
        units = scaled(4096, width)
        self.fc6 = nn.Linear(in_channels * frames * h * w, units)
        self.fc7 = nn.Linear(units, units)
        self.fc8 = nn.Linear(units, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.features(x).flatten(1)
        x = self.dropout(self.fc6(x).relu())
        x = self.dropout(self.fc7(x).relu())
        logits: Tensor = self.fc8(x)
        return logits
