"""Networks that read text: characters (Zhang 2015), words (Kim 2014) and the lectures' Keras classifier."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import nn

from striate.layers.initialization import initialize_gaussian, initialize_keras
from striate.registry import Between
from striate.shapes import Float, Int64, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

Count = Annotated[int, Between(1, 1_000_000, whole=True)]

# Zhang et al., tables 1 and 2 and section 2.3: maps, dense units, standard deviation of the initial weights.
CHAR_CNN = {"small": (256, 1024, 0.05), "large": (1024, 2048, 0.02)}
# Kernel and max pooling of each convolution.
CHAR_LAYERS = ((7, 3), (7, 3), (3, 1), (3, 1), (3, 1), (3, 3))


@architecture(
    paper="Zhang, Zhao, LeCun 2015, Character-level convolutional networks for text classification, tables 1 and 2",
    year=2015,
    input=(70, 1014),
    least=123,
    parameters=11_339_780,
    macs=370_372_608,
    note="The paper states no parameters; size=large has 95,940,612. Classes depend on the data set: here the four of "
    "AG's news, the first of the paper's eight. The paper says that weights start Gaussian; biases start at zero here.",
)
def char_cnn(
    num_classes: int = 4,
    in_channels: int = 70,
    input_size: tuple[int, ...] = (1014,),
    size: Literal["small", "large"] = "small",
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Text classifier that sees one-hot characters: six convolutions over time and three dense layers.

    Takes Float[n, 70, 1014]: the paper's 70 characters, the last one first, zeros for others and for the end. Steps
    1014 -> 336 -> 110 -> 108 -> 106 -> 104 -> 34 after each convolution and its pooling: (length - 96)/27 at the end.
    `size` is small (256 maps, 1,024 units) or large (1,024 and 2,048); `width` multiplies both; `dropout` follows both
    hidden dense layers.
    """
    maps, units, std = CHAR_CNN[size]
    return CharCNN(num_classes, in_channels, input_size[0], scaled(maps, width), scaled(units, width), std, dropout)


class CharCNN(nn.Module):
    """See `char_cnn`."""

    def __init__(
        self, num_classes: int, in_channels: int, length: int, maps: int, units: int, std: float, dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for kernel, pool in CHAR_LAYERS:
            layers += [nn.Conv1d(in_channels, maps, kernel), nn.ReLU()]
            length = (length - kernel + 1) // pool
            in_channels = maps
            if pool > 1:
                layers.append(nn.MaxPool1d(pool))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(maps * length, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, num_classes),
        )
        self.apply(partial(initialize_gaussian, std=std))

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


@architecture(
    paper="Kim 2014, Convolutional neural networks for sentence classification, sections 2 and 3",
    year=2014,
    input=(64,),
    tokens=True,
    least=5,
    parameters=5_990_702,
    macs=21_900_600,
    lectures="about 90 % on IMDB quickly",
    note="The vocabulary is the paper's of movie reviews (18,765 words) and, as number 0, padding, whose vector stays "
    "zero; sentences are the author's code's 56 words with 4 paddings at each end. The vectors are most of the "
    "parameters: 360,902 are others. Vectors start uniform in ±0.25 (author's code); in static, non-static and "
    "multichannel mode the paper's are word2vec's: see `load_vectors`. Multichannel adds the vectors of both channels "
    "before the shared filters, which is adding their results.",
)
def text_cnn(
    num_classes: int = 2,
    in_channels: int = 18_766,
    mode: Literal["rand", "static", "non-static", "multichannel"] = "rand",
    width: Width = 1.0,
    dropout: Chance = 0.5,
    vector: Count = 300,
) -> nn.Module:
    """Sentence classifier: filters over 3, 4 and 5 word vectors (100 each), the maximum over time, one dense layer.

    Takes Int[n, t] of numbers below `in_channels`, at least 5 words; 0 is padding. `mode` is rand (vectors learn from
    a random start), static (vectors stay), non-static (vectors learn on) or multichannel (one set stays, one learns);
    all but rand are for vectors from elsewhere, see `load_vectors`, and `open_session` refuses them without.
    `width` multiplies the 100 maps, `vector` is the length of the word vectors. Kim keeps the norm of each class's
    weights at 3 or below: call `constrain()` after each step.
    """
    return TextCNN(num_classes, in_channels, mode, scaled(100, width), dropout, vector)


class TextCNN(nn.Module):
    """See `text_cnn`."""

    def __init__(self, num_classes: int, in_channels: int, mode: str, maps: int, dropout: float, vector: int) -> None:
        super().__init__()
        kept = {"rand": [True], "static": [False], "non-static": [True], "multichannel": [False, True]}[mode]
        self.channels = nn.ModuleList(nn.Embedding(in_channels, vector, padding_idx=0) for _ in kept)
        for channel, learns in zip(self.channels, kept, strict=True):
            channel.requires_grad_(learns)
        self.convs = nn.ModuleList(nn.Conv1d(vector, maps, words) for words in (3, 4, 5))
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(3 * maps, num_classes)
        self.load_vectors(torch.empty(in_channels, vector).uniform_(-0.25, 0.25))
        self.lacks_vectors = mode != "rand"

    @torch.no_grad()
    def load_vectors(self, vectors: Float[Tensor, "words c"]) -> None:
        """Start all channels from these word vectors (word2vec's, say); that of padding is set to zero."""
        self.lacks_vectors = False
        for weight in self.channels.parameters():
            weight.copy_(vectors)
            weight[0].zero_()

    @torch.no_grad()
    def constrain(self, norm: float = 3.0) -> None:
        """Scale each class's weights down to this norm where they exceed it (section 2.1)."""
        self.dense.weight.copy_(self.dense.weight.renorm(2, 0, norm))

    def forward(self, x: Int64[Tensor, "n t"]) -> Float[Tensor, "n k"]:
        """Logits."""
        words = sum(channel(x) for channel in self.channels).transpose(1, 2)
        x = torch.cat([F.relu(conv(words)).amax(2) for conv in self.convs], 1)
        logits: Tensor = self.dense(self.dropout(x))
        return logits


@architecture(
    paper="Keras classifier of IMDB reviews as printed in the lectures, after Keras' example imdb_cnn (2015)",
    year=2015,
    input=(400,),
    tokens=True,
    least=10,
    parameters=6_601_001,
    macs=57_987_750,
    note="The lectures print names for the sizes; these are those of Keras' example: 5,000 words, reviews of 400, "
    "vectors of 50, 250 filters over 3 words, 250 hidden units. The lectures speak of the 10,000 most frequent words "
    "as data: in_channels=10000.",
)
def keras_text(
    num_classes: int = 1,
    in_channels: int = 5_000,
    input_size: tuple[int, ...] = (400,),
    vector: Count = 50,
    filters: Count = 250,
    kernel: Count = 3,
    hidden: Count = 250,
    dropout: Chance = 0.25,
) -> nn.Module:
    """Word vectors, two convolutions over time with max pooling by 2, a hidden and a dense layer with one score.

    Takes Int[n, t] of numbers below `in_channels`. Steps 400 -> 398 -> 199 -> 197 -> 98. The score is the logit of the
    printed network's sigmoid. `dropout` follows the word vectors and the hidden layer. Initialized as Keras does.
    """
    length = ((input_size[0] - kernel + 1) // 2 - kernel + 1) // 2
    return KerasText(num_classes, in_channels, length, vector, filters, kernel, hidden, dropout)


class KerasText(nn.Module):
    """See `keras_text`; `length` is the number of steps after the second pooling."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        length: int,
        vector: int,
        filters: int,
        kernel: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(in_channels, vector)
        self.conv1 = nn.Conv1d(vector, filters, kernel)
        self.conv2 = nn.Conv1d(filters, filters, kernel)
        self.dense1 = nn.Linear(filters * length, hidden)
        self.dense2 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(dropout)
        self.apply(initialize_keras)

    def forward(self, x: Int64[Tensor, "n t"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.dropout(self.embedding(x)).transpose(1, 2)
        x = F.max_pool1d(F.relu(self.conv1(x)), 2)
        x = F.max_pool1d(F.relu(self.conv2(x)), 2)
        # As printed: dropout before the activation, which is the same as after it.
        x = F.relu(self.dropout(self.dense1(x.flatten(1))))
        logits: Tensor = self.dense2(x)
        return logits
