"""Networks of depthwise separable convolutions: MobileNet (Howard et al. 2017), MobileNetV2 (Sandler et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from striate.layers.initialization import initialize_gaussian, initialize_he
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

# Table 1 of the first paper: channels and stride of each separable convolution.
SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
# Table 2 of the second: expansion, channels, repetitions, stride.
INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@architecture(
    paper="Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam 2017, MobileNets: efficient convolutional "
    "neural networks for mobile vision applications, table 1",
    year=2017,
    input=(3, 224, 224),
    least=1,
    parameters=4_231_976,
    macs=568_740_352,
    published="4.2M; 569e6 multiply-adds (table 4)",
    lectures="depthwise separable convolutions for mobile devices",
    note="Table 1 gives the last depthwise convolution stride 2, yet 7x7 maps before and after it: stride 1. The "
    "paper's resolution multiplier is the size of the image. Initialization is not stated: torch's.",
)
def mobilenet_v1(num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.0) -> nn.Module:
    """Thirteen depthwise separable convolutions: 3x3 on each map alone, then 1x1 over all of them.

    Maps 224 -> 112 -> 56 -> 28 -> 14 -> 7 with 32 to 1024 channels, then the global average. `width` is the paper's
    width multiplier. Batch norm and ReLU after each convolution; `dropout` before the dense layer.
    """
    return MobileNetV1(num_classes, in_channels, width, dropout)


@architecture(
    paper="Sandler, Howard, Zhu, Zhmoginov, Chen 2018, MobileNetV2: inverted residuals and linear bottlenecks, table 2",
    year=2018,
    input=(3, 224, 224),
    least=1,
    parameters=3_504_872,
    macs=300_774_272,
    published="3.4M; 300e6 multiply-adds (table 4)",
    note="Counted with batch norm's 34,112 values and the 1,281,000 of the classifier. Channels are rounded to "
    "multiples of 8, as in the released code, and a width below 1 leaves the last convolution as it is (section 4). "
    "Dropout and initialization are not stated: those of torchvision.",
)
def mobilenet_v2(num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.2) -> nn.Module:
    """Seventeen inverted residual blocks: 1x1 up to six times the channels, 3x3 on each map, 1x1 down without ReLU.

    Maps 224 -> 112 -> 56 -> 28 -> 14 -> 7 with 32, 16 to 320, 1280 channels, then the global average. `width` is the
    paper's width multiplier. Modules are named as in torchvision.
    """
    return MobileNetV2(num_classes, in_channels, width, dropout)


class MobileNetV1(nn.Module):
    """See `mobilenet_v1`."""

    def __init__(self, num_classes: int, in_channels: int, width: float, dropout: float) -> None:
        super().__init__()
        channels = scaled(32, width)
        self.features = nn.Sequential(conv_norm(in_channels, channels, 3, 2, activation=nn.ReLU))
        for base, stride in SEPARABLE:
            out = scaled(base, width)
            depthwise = conv_norm(channels, channels, 3, stride, channels, nn.ReLU)
            self.features.append(nn.Sequential(depthwise, conv_norm(channels, out, 1, activation=nn.ReLU)))
            channels = out
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.classifier(self.dropout(self.features(x).mean((2, 3))))
        return logits


class MobileNetV2(nn.Module):
    """See `mobilenet_v2`."""

    def __init__(self, num_classes: int, in_channels: int, width: float, dropout: float) -> None:
        super().__init__()
        channels, last = _eights(32 * width), _eights(1280 * max(1.0, width))
        self.features = nn.Sequential(conv_norm(in_channels, channels, 3, 2))
        for expansion, base, repetitions, stride in INVERTED:
            for i in range(repetitions):
                out = _eights(base * width)
                self.features.append(InvertedResidual(channels, out, stride if i == 0 else 1, expansion))
                channels = out
        self.features.append(conv_norm(channels, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.features.apply(partial(initialize_he, mode="fan_out"))
        initialize_gaussian(self.classifier[1], std=0.01)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class InvertedResidual(nn.Module):
    """Expansion, depthwise 3x3 and linear projection; added to the input where the shape is the same."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.conv = nn.Sequential() if expansion == 1 else nn.Sequential(conv_norm(in_channels, inner, 1))
        self.conv.append(conv_norm(inner, inner, 3, stride, inner))
        self.conv.append(nn.Conv2d(inner, out_channels, 1, bias=False))
        self.conv.append(nn.BatchNorm2d(out_channels))
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d v u"]:
        """Maps of the next block."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] = nn.ReLU6,
) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, batch norm and activation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), activation())


def _eights(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and not more than 10 % below `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
