"""Sound: emotion in speech from mel bands (Anand & Verma 2015), any classes from samples (Dai et al. 2017)."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.layers.recurrent import LSTM
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

Channels = Annotated[int, Between(1, 65536, whole=True)]


@architecture(
    paper="Anand, Verma 2015, Convoluted feelings: convolutional and recurrent nets for detecting emotion from audio "
    "data (Stanford report), abstract",
    year=2015,
    input=(40, 50),
    least=1,
    parameters=335_879,
    macs=16_391_168,
    lectures="CNN features of audio, classified",
    note="Known from the abstract: one convolution of 1,024 filters, patches of 500 ms, 7 emotions (50 % right), and "
    "an LSTM over time (70 %). Chosen here: 40 mel bands every 10 ms, kernels of 80 ms over all bands, the maximum "
    "over a patch, 128 recurrent units.",
)
def audio_emotion(
    num_classes: int = 7,
    in_channels: int = 40,
    filters: Channels = 1024,
    kernel: Channels = 8,
    patch: Channels = 50,
    recurrent: bool = False,
    hidden: Channels = 128,
    dropout: Chance = 0.0,
) -> nn.Module:
    """Emotion of speech: one convolution of 1,024 filters over time, the maximum of each in every half second.

    Takes Float[n, bands, frames], 50 frames (`patch`) for half a second; the last patch may be shorter. Patches are
    averaged or, with `recurrent`, read in order by an LSTM of `hidden` units whose last state is classified.
    `dropout` stands before the last layer.
    """
    return AudioEmotion(num_classes, in_channels, filters, kernel, patch, hidden if recurrent else 0, dropout)


class AudioEmotion(nn.Module):
    """See `audio_emotion`; `hidden` is 0 without a recurrent layer."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        filters: int,
        kernel: int,
        patch: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.around = ((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2)
        self.conv = nn.Conv1d(in_channels, filters, kernel)
        self.lstm = LSTM(filters, hidden) if hidden else None
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden or filters, num_classes)

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.conv(F.pad(x, self.around)).relu()
        x = F.max_pool1d(x, self.patch, ceil_mode=True)
        x = x.mean(2) if self.lstm is None else self.lstm(x.transpose(1, 2))[:, -1]
        logits: Tensor = self.dense(self.dropout(x))
        return logits


@architecture(
    paper="Dai, Dai, Qu, Li, Das 2017, Very deep convolutional neural networks for raw waveforms, table 1",
    year=2017,
    input=(1, 32000),
    least=4,
    parameters=558_090,
    macs=278_533_120,
    published="0.5M parameters",
    note="Published for 4 s of sound at 8 kHz. Padding is not stated: here as many zeros as give the table's lengths "
    "(8000, 2000, 500, 125, 32), the last one by a partial window. Convolutions have no bias beside their norm.",
)
def m5(num_classes: int = 10, in_channels: int = 1, width: Width = 1.0) -> nn.Module:
    """Sound from its samples: a convolution over 80 samples (10 ms at 8 kHz) by 4, then three over 3 steps.

    128, 128, 256 and 512 maps, each convolution with batch norm, ReLU and a maximum over 4 steps; at the end the mean
    over time and one dense layer, so that recordings of any length are taken. `width` multiplies the maps.
    """
    return RawWaveform(num_classes, in_channels, width)


class RawWaveform(nn.Module):
    """See `m5`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for maps, kernel, stride in ((128, 80, 4), (128, 3, 1), (256, 3, 1), (512, 3, 1)):
            maps = scaled(maps, width)
            padding = (kernel - stride) // 2
            layers += [nn.Conv1d(in_channels, maps, kernel, stride, padding, bias=False), nn.BatchNorm1d(maps)]
            layers += [nn.ReLU(), nn.MaxPool1d(4, ceil_mode=True)]
            in_channels = maps
        self.features = nn.Sequential(*layers)
        self.dense = nn.Linear(in_channels, num_classes)

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.dense(self.features(x).mean(2))
        return logits
