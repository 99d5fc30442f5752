"""Encoder-decoders that carry the places of their maxima over: SegNet and the deconvolution network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import nn

from striate.layers.by_rank import Layer
from striate.layers.initialization import initialize_gaussian, initialize_he
from striate.layers.stage import conv_stage
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture
from striate.zoo.vgg import VGG16

# Widths of the decoders' convolutions: VGG-16 mirrored, each stage ending as wide as the next one begins.
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64, 64))


@architecture(
    paper="Badrinarayanan, Kendall, Cipolla 2017, SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image "
    "Segmentation, section III",
    year=2015,
    input=(3, 360, 480),
    output=(11, 360, 480),
    least=1,
    parameters=29_449_355,
    macs=106_712_432_640,
    lectures="encoder: the 13 convolutions of VGG-16; max-pool indices upsample",
    note="On arXiv from 2015. Pooling keeps the rest of an odd side, as in the authors' Caffe files (360 -> 180 -> 90 "
    "-> 45 -> 23 -> 12). Some of those files add dropout, which the paper does not have; the classes are CamVid's.",
)
def segnet(num_classes: int = 11, in_channels: int = 3, width: Width = 1.0) -> nn.Module:
    """VGG-16's 13 convolutions with batch norm, mirrored by a decoder that unpools where the encoder found its maxima.

    Maps of 360: 360 -> 180 -> 90 -> 45 -> 23 -> 12 and back; the last 3x3 convolution gives the classes. Takes images
    of any size. `width` multiplies the channels.
    """
    *widths, last = _scaled(DECODER, width)
    score = nn.Conv2d(last[0], num_classes, 3, padding=1)
    net = Unpooling(in_channels, _scaled(VGG16, width), nn.Sequential(), [*widths, last[:1]], score)
    return net.apply(initialize_he)


@architecture(
    paper="Noh, Hong, Han 2015, Learning Deconvolution Network for Semantic Segmentation, table of appendix",
    year=2015,
    input=(3, 224, 224),
    output=(21, 224, 224),
    least=1,
    parameters=251_805_653,
    macs=32_745_979_904,
    published="about 252 M",
    note="fc6 covers the whole of pool5, so that its size is that of the image: 7x7 for 224x224. Batch norm follows "
    "every convolution but the last. The authors start the convolutions from VGG-16's weights.",
)
def deconvnet(
    num_classes: int = 21, in_channels: int = 3, input_size: tuple[int, int] = (224, 224), width: Width = 1.0
) -> nn.Module:
    """VGG-16 down to one position, and a mirror of unpoolings with switches and transposed convolutions.

    Maps of 224: 112 -> 56 -> 28 -> 14 -> 7 -> 1 (fc6 and fc7 with 4,096 channels) and back. `width` multiplies the
    channels. The transposed convolutions start from a Gaussian of deviation 0.01.
    """
    widths = _scaled(DECODER, width)
    wide, hidden, cover = widths[0][0], scaled(4096, width), tuple(-(-side // 32) for side in input_size)
    middle = nn.Sequential()
    stage = partial(conv_stage, norm=nn.BatchNorm2d, padding=0)
    middle.fc6 = stage(wide, [hidden], kernel_size=cover)
    middle.fc7 = stage(hidden, [hidden], kernel_size=1)
    middle.fc6_deconv = stage(hidden, [wide], conv=nn.ConvTranspose2d, kernel_size=cover)
    score = nn.Conv2d(widths[-1][-1], num_classes, 1)
    net = Unpooling(in_channels, _scaled(VGG16, width), middle, widths, score, nn.ConvTranspose2d)
    net.apply(initialize_he)
    for part in (middle.fc6_deconv, net.decoder, score):
        part.apply(partial(initialize_gaussian, std=0.01))
    return net


class Unpooling(nn.Module):
    """Stages with pooling, `middle`, stages after unpooling, and `score`; see `segnet` and `deconvnet`.

    Each pooling hands the places of its maxima to the unpooling of the same size, which puts the values back there.
    """

    def __init__(
        self,
        in_channels: int,
        encoder: Sequence[Sequence[int]],
        middle: nn.Module,
        decoder: Sequence[Sequence[int]],
        score: nn.Module,
        conv: Layer = nn.Conv2d,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for widths in encoder:
            self.encoder.append(conv_stage(in_channels, widths, norm=nn.BatchNorm2d))
            in_channels = widths[-1]
        self.middle = middle
        for widths in decoder:
            self.decoder.append(conv_stage(in_channels, widths, norm=nn.BatchNorm2d, conv=conv))
            in_channels = widths[-1]
        self.score = score

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """Logits of each pixel."""
        switches = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[2:]
            x, places = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            switches.append((places, size))
        x = self.middle(x)
        for stage, (places, size) in zip(self.decoder, reversed(switches), strict=True):
            x = stage(F.max_unpool2d(x, places, [2, 2], output_size=size))
        logits: Tensor = self.score(x)
        return logits


def _scaled(stages: Sequence[Sequence[int]], width: float) -> list[list[int]]:
    """Channel counts times `width`, at least one each."""
    return [[scaled(channels, width) for channels in stage] for stage in stages]
