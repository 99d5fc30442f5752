"""VGG (Simonyan, Zisserman 2015), configurations A to E, and the CAM network VGG-GAP built on D."""

from __future__ import annotations

from torch import nn

from striate.layers.initialization import initialize_xavier
from striate.layers.normalization import response_norm
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

PAPER = "Simonyan, Zisserman 2015, Very deep convolutional networks for large-scale image recognition, table 1"
TOTALS = "133, 133, 134, 138 and 144 million for A, B, C, D and E (table 2)"

# Table 1: channels of 3x3 convolutions; /1: a 1x1 convolution; M: 2x2 max pooling; L: local response normalization.
TABLE = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "A-LRN": "64 L M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 256/1 M 512 512 512/1 M 512 512 512/1 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
LAST, HIDDEN = 512, 4096
# D's channels by stage, for the networks built on it.
VGG16 = tuple(tuple(map(int, stage.split())) for stage in TABLE["D"].removesuffix(" M").split(" M "))


@architecture(
    paper=f"{PAPER}, A",
    year=2014,
    input=(3, 224, 224),
    least=32,
    parameters=132_863_336,
    macs=7_609_090_048,
    published=TOTALS,
    lectures="133 million",
    aliases=("vgg_a",),
)
def vgg11(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    batch_norm: bool = False,
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Eight 3x3 convolutions and three dense layers (configuration A).

    Maps 224 -> 112 -> 56 -> 28 -> 14 -> 7, halved by 2x2 max pooling, with up to 512 channels; then 25,088 values,
    4,096 and 4,096. `batch_norm` normalizes after each convolution; `width` multiplies channels and hidden units,
    `dropout` acts after both hidden dense layers. For another `input_size` the first dense layer is as wide as the last
    map is large. Takes torchvision's weights of the same name (with `batch_norm` those of vgg11_bn). Initialized by
    Glorot's rule (Xavier, uniform), biases zero.
    """
    return VGG("A", num_classes, in_channels, input_size, batch_norm, width, dropout)


@architecture(
    paper=f"{PAPER}, A-LRN",
    year=2014,
    input=(3, 224, 224),
    least=32,
    parameters=132_863_336,
    macs=7_609_090_048,
    published=TOTALS,
    lectures="133 million",
    aliases=("vgg_a_lrn",),
)
def vgg11_lrn(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Configuration A with AlexNet's response normalization after the first convolution.

    Maps and options as in `vgg11`.
    """
    return VGG("A-LRN", num_classes, in_channels, input_size, False, width, dropout)


@architecture(
    paper=f"{PAPER}, B",
    year=2014,
    input=(3, 224, 224),
    least=32,
    parameters=133_047_848,
    macs=11_308_466_176,
    published=TOTALS,
    lectures="133 million",
    aliases=("vgg_b",),
)
def vgg13(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    batch_norm: bool = False,
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Ten 3x3 convolutions, two at each size, and three dense layers (configuration B).

    Maps and options as in `vgg11`.
    """
    return VGG("B", num_classes, in_channels, input_size, batch_norm, width, dropout)


@architecture(
    paper=f"{PAPER}, C",
    year=2014,
    input=(3, 224, 224),
    least=32,
    parameters=133_638_952,
    macs=11_770_888_192,
    published=TOTALS,
    lectures="134 million",
    aliases=("vgg_c",),
)
def vgg16_c(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    batch_norm: bool = False,
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Ten 3x3 and three 1x1 convolutions and three dense layers (configuration C).

    Maps and options as in `vgg11`; torchvision has no such network.
    """
    return VGG("C", num_classes, in_channels, input_size, batch_norm, width, dropout)


@architecture(
    paper=f"{PAPER}, D",
    year=2014,
    input=(3, 224, 224),
    least=32,
    parameters=138_357_544,
    macs=15_470_264_320,
    published=TOTALS,
    lectures="138 million (table); 16 convolutions, about 140 million, 85 % of them dense (text)",
    note="13 convolutions and 3 dense layers, which hold 89.36 % of the parameters. The lectures' text describes "
    "vgg19: 16 convolutions, 86.06 %. Their table of 138,344,128 weights leaves out the biases.",
    aliases=("vgg_d",),
)
def vgg16(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    batch_norm: bool = False,
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Thirteen 3x3 convolutions and three dense layers (configuration D).

    Maps and options as in `vgg11`.
    """
    return VGG("D", num_classes, in_channels, input_size, batch_norm, width, dropout)


@architecture(
    paper=f"{PAPER}, E",
    year=2014,
    input=(3, 224, 224),
    least=32,
    parameters=143_667_240,
    macs=19_632_062_464,
    published=TOTALS,
    lectures="144 million",
    aliases=("vgg_e",),
)
def vgg19(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    batch_norm: bool = False,
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Sixteen 3x3 convolutions and three dense layers (configuration E).

    Maps and options as in `vgg11`.
    """
    return VGG("E", num_classes, in_channels, input_size, batch_norm, width, dropout)


@architecture(
    paper="Zhou, Khosla, Lapedriza, Oliva, Torralba 2016, Learning deep features for discriminative localization, 3",
    year=2016,
    input=(3, 224, 224),
    least=16,
    parameters=20_459_304,
    macs=16_272_498_688,
    lectures="cited under another paper's title",
    note="The section describes one 3x3 convolution with 1,024 units in place of all after conv5-3; it names no "
    "groups, though weights were published for two groups (18,100,008 parameters).",
    aliases=("cam",),
)
def vgg16_gap(num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False, width: Width = 1.0) -> nn.Module:
    """The CAM network VGG-GAP: VGG-16 up to conv5-3, one more 3x3 convolution, global average, one dense layer.

    Maps 224 -> 112 -> 56 -> 28 -> 14, where a map of each class is a weighted sum of the last 1,024. Takes images of
    any size from 16 pixels on. `batch_norm` and `width` as in `vgg11`.
    """
    return VGGGAP(num_classes, in_channels, batch_norm, width)


class VGG(nn.Module):
    """A row of `TABLE`, then three dense layers; see `vgg11`."""

    def __init__(
        self,
        configuration: str,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, int],
        batch_norm: bool,
        width: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.features = _features(TABLE[configuration], in_channels, batch_norm, width)
        h, w = (side // 2**5 for side in input_size)
        hidden = scaled(HIDDEN, width)
        self.classifier = nn.Sequential(
            *(nn.Linear(scaled(LAST, width) * h * w, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, num_classes),
        )
        # By which the authors, too, train the deep networks at once (end of their section 3.1).
        self.apply(initialize_xavier)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


class VGGGAP(nn.Module):
    """See `vgg16_gap`."""

    def __init__(self, num_classes: int, in_channels: int, batch_norm: bool, width: float) -> None:
        super().__init__()
        maps = scaled(1024, width)
        self.features = _features(TABLE["D"].removesuffix(" M"), in_channels, batch_norm, width)
        self.conv = nn.Conv2d(scaled(LAST, width), maps, 3, padding=1)
        self.dense = nn.Linear(maps, num_classes)
        self.apply(initialize_xavier)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.conv(self.features(x)).relu()
        logits: Tensor = self.dense(x.mean((2, 3)))
        return logits


def _features(row: str, channels: int, batch_norm: bool, width: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for entry in row.split():
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
        elif entry == "L":
            layers.append(response_norm())
        else:
            number, _, kernel = entry.partition("/")
            maps, size = scaled(int(number), width), int(kernel or 3)
            layers.append(nn.Conv2d(channels, maps, size, padding=size // 2))
            layers += [nn.BatchNorm2d(maps), nn.ReLU()] if batch_norm else [nn.ReLU()]
            channels = maps
    return nn.Sequential(*layers)
