"""Networks that read DNA: DeepBind (2015), DeepSEA (2015), Basset (2016) and BPNet (2021).

All take Float[n, 4, t]: the bases A, C, G, T as one-hot channels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import nn

from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture


@architecture(
    paper="Alipanahi, Delong, Weirauch, Frey 2015, Predicting the sequence specificities of DNA- and RNA-binding "
    "proteins by deep learning, figure 2 and supplementary section 1",
    year=2015,
    input=(4, 101),
    least=1,
    parameters=2_129,
    macs=191_008,
    lectures="927 models, one for each protein and experiment",
    note="The paper chooses hidden layer, pooling and dropout for each protein by search; here 32 hidden units, the "
    "maximum (as for DNA) and a half. The length is that of the ChIP-seq sequences. Weights start as torch's do: the "
    "paper searches their scale, too.",
)
def deepbind(
    num_classes: int = 1,
    in_channels: int = 4,
    motifs: Annotated[int, Between(1, 4096, whole=True)] = 16,
    motif_length: Annotated[int, Between(1, 1024, whole=True)] = 24,
    pooling: Literal["max", "max_avg"] = "max",
    hidden: Annotated[int, Between(0, 65536, whole=True)] = 32,
    dropout: Chance = 0.5,
    strands: Literal["one", "both"] = "one",
) -> nn.Module:
    """Binding score of a sequence: a scan for 16 motifs of 24 bases, the best match of each, a small dense network.

    Takes sequences of any length: `motif_length` - 1 unknown bases (each channel 0.25) are added at both ends, so that
    motifs may overhang. `pooling` is max, or max_avg (RNA) which adds the mean match of each motif. `hidden=0` leaves
    out the hidden layer; `dropout` stands before the last layer. With strands=both the score is the greater one of the
    sequence and its reverse complement, by the same weights (supplementary section 2), so both have one score.
    """
    net = DeepBind(num_classes, in_channels, motifs, motif_length, pooling == "max_avg", hidden, dropout)
    return BothStrands(net) if strands == "both" else net


class DeepBind(nn.Module):
    """See `deepbind`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        motifs: int,
        motif_length: int,
        with_mean: bool,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.with_mean = with_mean
        self.motifs = nn.Conv1d(in_channels, motifs, motif_length)
        self.overhang = nn.ConstantPad1d(motif_length - 1, 0.25)
        features = motifs * (1 + with_mean)
        middle: list[nn.Module] = [nn.Linear(features, hidden), nn.ReLU()] if hidden else []
        self.classifier = nn.Sequential(*middle, nn.Dropout(dropout), nn.Linear(hidden or features, num_classes))

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Scores."""
        x = F.relu(self.motifs(self.overhang(x)))
        x = torch.cat([x.amax(2), x.mean(2)], 1) if self.with_mean else x.amax(2)
        scores: Tensor = self.classifier(x)
        return scores


class BothStrands(nn.Module):
    """The greater score of a sequence and of its reverse complement, output by output, by one network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Scores."""
        scores: Tensor = torch.maximum(self.net(x), self.net(x.flip(1, 2)))
        return scores


@architecture(
    paper="Zhou, Troyanskaya 2015, Predicting effects of noncoding variants with deep learning-based sequence model, "
    "supplementary note",
    year=2015,
    input=(4, 1000),
    least=163,
    parameters=52_843_119,
    macs=549_602_395,
    lectures="deeper features shared between predictive tasks (cited there under DeepBind's authors)",
    note="Training also keeps the norm of each kernel at 0.9 or below and adds L1 and L2 penalties: no part of the "
    "network.",
)
def deepsea(
    num_classes: int = 919,
    in_channels: int = 4,
    input_size: tuple[int, ...] = (1000,),
    width: Width = 1.0,
    dropout: Annotated[float, Between(0, 2)] = 1.0,
) -> nn.Module:
    """919 chromatin features of the middle of 1,000 bases: three convolutions (320, 480, 960 maps over 8), 925 units.

    Steps 1000 -> 993 -> 248 -> 241 -> 60 -> 53 (max pooling by 4 after the first two), then 50,880 values. `width`
    multiplies maps and units, `dropout` the paper's probabilities (0.2, 0.2, 0.5). Returns logits of independent
    features.
    """
    first, second, third, units = (scaled(maps, width) for maps in (320, 480, 960, 925))
    length = ((input_size[0] - 7) // 4 - 7) // 4 - 7
    return nn.Sequential(
        *(nn.Conv1d(in_channels, first, 8), nn.ReLU(), nn.MaxPool1d(4), nn.Dropout(0.2 * dropout)),
        *(nn.Conv1d(first, second, 8), nn.ReLU(), nn.MaxPool1d(4), nn.Dropout(0.2 * dropout)),
        *(nn.Conv1d(second, third, 8), nn.ReLU(), nn.Dropout(0.5 * dropout)),
        *(nn.Flatten(), nn.Linear(third * length, units), nn.ReLU(), nn.Linear(units, num_classes)),
    )


@architecture(
    paper="Kelley, Snoek, Rinn 2016, Basset: learning the regulatory code of the accessible genome, figure 1, methods",
    year=2016,
    input=(4, 600),
    least=168,
    parameters=4_135_064,
    macs=149_073_600,
)
def basset(
    num_classes: int = 164,
    in_channels: int = 4,
    input_size: tuple[int, ...] = (600,),
    width: Width = 1.0,
    dropout: Chance = 0.3,
) -> nn.Module:
    """Accessibility of 600 bases in 164 cell types: three convolutions (over 19, 11, 7), 1,000 units twice.

    300, 200 and 200 maps. Batch norm and ReLU follow each convolution and hidden layer, max pooling by 3, 4 and 4
    each convolution: steps 600 -> 582 -> 194 -> 184 -> 46 -> 40 -> 10. `width` multiplies maps and units. Returns
    logits of independent cell types.
    """
    layers: list[nn.Module] = []
    length, channels = input_size[0], in_channels
    for base, kernel, pool in ((300, 19, 3), (200, 11, 4), (200, 7, 4)):
        maps = scaled(base, width)
        layers += [nn.Conv1d(channels, maps, kernel), nn.BatchNorm1d(maps), nn.ReLU(), nn.MaxPool1d(pool)]
        length, channels = (length - kernel + 1) // pool, maps
    layers.append(nn.Flatten())
    features, units = channels * length, scaled(1000, width)
    for _ in range(2):
        layers += [nn.Linear(features, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(dropout)]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, num_classes))


@architecture(
    paper="Avsec et al. 2021, Base-resolution models of transcription-factor binding reveal soft motif syntax, "
    "methods and figure 1",
    year=2021,
    input=(4, 1000),
    output=(8, 1000),
    least=1,
    parameters=130_960,
    macs=129_792_512,
    note="A dilated BPNet-type net: without the control track that the paper adds to both heads. The paper's heads of "
    "four proteins with two strands each are one layer of eight tracks here, which is the same function.",
)
def bpnet(
    num_classes: int = 8,
    in_channels: int = 4,
    width: Width = 1.0,
    layers: Annotated[int, Between(1, 20, whole=True)] = 9,
) -> nn.Module:
    """Binding at each base: nine dilated convolutions (2 to 512) with residual sums, heads for shape and count.

    Takes sequences of any length. Returns two tensors: logits of each track's profile Float[n, k, t] (a softmax over
    t tells where the reads are) and the logarithm of its total count Float[n, k]. Tracks (`num_classes`) are proteins
    times strands. The first convolution is over 25; the maps before the heads see 1,034 bases on each side. `width`
    multiplies the 64 maps.
    """
    return BPNet(num_classes, in_channels, scaled(64, width), layers)


class BPNet(nn.Module):
    """See `bpnet`."""

    def __init__(self, num_classes: int, in_channels: int, maps: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(in_channels, maps, 25, padding=12)
        self.dilated = nn.ModuleList(
            nn.Conv1d(maps, maps, 3, padding=2**i, dilation=2**i) for i in range(1, layers + 1)
        )
        self.profile = nn.ConvTranspose1d(maps, num_classes, 25, padding=12)
        self.count = nn.Linear(maps, num_classes)

    def forward(self, x: Float[Tensor, "n c t"]) -> tuple[Float[Tensor, "n k t"], Float[Tensor, "n k"]]:
        """Logits of the profiles, logarithms of the counts."""
        x = F.relu(self.first(x))
        for conv in self.dilated:
            x = x + F.relu(conv(x))
        return self.profile(x), self.count(x.mean(2))
