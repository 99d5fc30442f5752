"""CRNN (Shi, Bai, Yao 2015): a convolutional network and a recurrent one read text in an image together."""

from __future__ import annotations

from torch import nn

from striate.errors import InputError
from striate.layers.recurrent import LSTM
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

ROWS = 32
# Table 1: maps, kernel, padding, batch norm and max pooling (rows, columns) of each convolution.
CONVOLUTIONS = (
    (64, 3, 1, False, (2, 2)),
    (128, 3, 1, False, (2, 2)),
    (256, 3, 1, False, None),
    (256, 3, 1, False, (2, 1)),
    (512, 3, 1, True, None),
    (512, 3, 1, True, (2, 1)),
    (512, 2, 0, False, None),
)


@architecture(
    paper="Shi, Bai, Yao 2015, An end-to-end trainable neural network for image-based sequence recognition, table 1",
    year=2015,
    input=(1, 32, 100),
    output=(37, 24),
    least=32,
    parameters=8_330_789,
    macs=683_347_968,
    published="8.3 million",
    lectures="a CNN reads the letters of a sign, an RNN translates (Google Translate, 2015): this is its reading half",
    note="The lectures' network is not published. Table 1 alone would have 8.7 million parameters; a dense layer of "
    "256 between the recurrent layers, as in the authors' code, gives the 8.3 million. The code pools 2x2 where "
    "table 1 has 1x2 (26 steps instead of 24; the text says 25) and has batch norm after convolutions 3, 5 and 7 "
    "instead of 5 and 6. LSTMs are torch's, with two biases.",
)
def crnn(
    num_classes: int = 37,
    in_channels: int = 1,
    width: Width = 1.0,
) -> nn.Module:
    """Letters along a line of text: seven convolutions, each column of maps a step, two bidirectional LSTMs of 256.

    Takes lines of 32 rows, and any number of columns from 32 on. Maps 32x100 -> 16x50 -> 8x25 -> 4x25 -> 2x25 -> 1x24.
    Returns Float[n, k, t], logits of each step for 36 letters and digits and the blank of CTC; for torch's ctc_loss:
    `logits.permute(2, 0, 1).log_softmax(2)`. More rows than 47 give more than one row of maps; they are averaged.
    `width` multiplies maps and hidden units.

    The forward raises InputError for less than 32 rows or columns.
    """
    return CRNN(num_classes, in_channels, width)


class CRNN(nn.Module):
    """See `crnn`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for base, kernel, padding, norm, window in CONVOLUTIONS:
            maps = scaled(base, width)
            layers += [nn.Conv2d(in_channels, maps, kernel, padding=padding)]
            layers += [nn.BatchNorm2d(maps)] if norm else []
            layers += [nn.ReLU()]
            layers += [nn.MaxPool2d(window)] if window else []
            in_channels = maps
        self.features = nn.Sequential(*layers)
        hidden = scaled(256, width)
        self.lstm1 = LSTM(in_channels, hidden, bidirectional=True)
        self.between = nn.Linear(2 * hidden, hidden)
        self.lstm2 = LSTM(hidden, hidden, bidirectional=True)
        self.transcription = nn.Linear(2 * hidden, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k t"]:
        """Logits of each step."""
        if min(x.shape[2:]) < ROWS:
            raise InputError(
                "network crnn cannot take an image of this size",
                expected=f"at least {ROWS}x{ROWS}",
                got="x".join(map(str, x.shape[2:])),
                fix="Scale lines of text to 32 rows.",
            )
        steps = self.features(x).mean(2).transpose(1, 2)
        steps = self.lstm2(self.between(self.lstm1(steps)))
        logits: Tensor = self.transcription(steps)
        return logits.transpose(1, 2)
