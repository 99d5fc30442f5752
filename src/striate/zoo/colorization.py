"""Colorization as classification of each place's color (Zhang, Isola, Efros 2016)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.layers.initialization import initialize_he
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

# Of conv1 to conv7: channels, number of convolutions, stride of the last one, dilation.
BLOCKS = (
    (64, 2, 2, 1),
    (128, 2, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 1, 1),
    (512, 3, 1, 2),
    (512, 3, 1, 2),
    (512, 3, 1, 1),
)


@architecture(
    paper="Zhang, Isola, Efros 2016, Colorful Image Colorization, figure 2 and appendix",
    year=2016,
    input=(1, 256, 256),
    output=(313, 64, 64),
    least=1,
    parameters=32_235_385,
    macs=41_772_122_112,
    lectures="[64, 64, 313], enlarged to 224x224, bins mapped back to depth 2 and joined with L",
    note="64 places come of 256 pixels (224 would give 56): the lectures enlarge 64 to 224 only for the image shown. "
    "The lectures take the likeliest bin, the authors the annealed mean. The 313 bins, the authors' table, are "
    "computed by `striate.ops.ab_bins`.",
)
def colorization(num_classes: int = 313, in_channels: int = 1, width: Width = 1.0) -> nn.Module:
    """From lightness to logits of the quantized ab colors, at a quarter of the image's size, without pooling.

    Maps of 256: 128 -> 64 -> 32, strided; conv5 and conv6 are dilated by 2; conv8 doubles to 64. Takes images of any
    size. `width` multiplies the channels. Modules are named as in the authors' PyTorch file, without its last layers:
    `annealed_mean` makes colors of the logits.
    """
    return Colorization(num_classes, in_channels, width)


class Colorization(nn.Module):
    """See `colorization`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        for number, (channels, depth, stride, dilation) in enumerate(BLOCKS, 1):
            channels = scaled(channels, width)
            self.add_module(f"model{number}", _block(in_channels, channels, depth, stride, dilation))
            in_channels = channels
        last = scaled(256, width)
        self.model8 = nn.Sequential(
            *(nn.ConvTranspose2d(in_channels, last, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(last, last, 3, padding=1), nn.ReLU(), nn.Conv2d(last, last, 3, padding=1), nn.ReLU()),
            nn.Conv2d(last, num_classes, 1),
        )
        self.apply(initialize_he)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Logits of the bins."""
        for block in self.children():
            x = block(x)
        return x


def annealed_mean(
    logits: Float[Tensor, "n k h w"], bins: Float[Tensor, "k c"], temperature: float = 0.38, enlarge: int = 4
) -> Float[Tensor, "n c h2 w2"]:
    """The mean of the bins' colors under softmax(logits/temperature), enlarged bilinearly (section 2.3).

    `bins` holds a color in each row (for the authors' network their 313 ab pairs). Temperature 1 gives the mean, near
    0 the likeliest bin's color. Raises InputError for a temperature that is not positive.

    >>> import torch
    >>> annealed_mean(torch.zeros(1, 2, 1, 1), torch.tensor([[0.0, 8.0], [4.0, 0.0]]), enlarge=1).flatten().tolist()
    [2.0, 4.0]
    """
    if not temperature > 0:
        raise InputError("cannot anneal", where="temperature", expected="a positive number", got=temperature)
    probability = (logits / temperature).softmax(1).movedim(1, -1)
    colors = (probability @ bins).movedim(-1, 1)
    return F.interpolate(colors, scale_factor=enlarge, mode="bilinear") if enlarge > 1 else colors


def _block(in_channels: int, channels: int, depth: int, stride: int, dilation: int) -> nn.Sequential:
    """Convolutions with ReLU, the last one strided, and batch norm."""
    layers: list[nn.Module] = []
    for number in range(1, depth + 1):
        step = stride if number == depth else 1
        layers += [nn.Conv2d(in_channels, channels, 3, stride=step, padding=dilation, dilation=dilation), nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*layers, nn.BatchNorm2d(channels))
