"""GoogLeNet (Szegedy et al. 2014)."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import nn

from striate.layers.branches import ConvUnit, inception
from striate.layers.initialization import initialize_xavier
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance
from striate.zoo.registry import architecture

Logits = Float[Tensor, "n k"]
# In training mode with auxiliary heads, the main output first.
LogitsOrMore = Logits | tuple[Logits, ...]


@architecture(
    paper="Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2014, Going deeper with "
    "convolutions, table 1 and figure 3",
    year=2014,
    input=(3, 224, 224),
    least=31,
    parameters=6_998_552,
    macs=1_582_671_872,
    published="12 times fewer than AlexNet; the rows of table 1 add up to 6.8M",
    lectures="5 M, 12 times fewer than AlexNet",
    note="It is 8.7 times fewer than AlexNet's 60,965,224 (8.9 than its ungrouped form's), not 12. Auxiliary heads "
    "(aux=True) are for training alone. The initialization is not stated: Xavier, zero biases. batch_norm=True is "
    "torchvision's form, 6,624,904 parameters: batch norm for biases and local response norm, 3x3 convolutions where "
    "the paper has 5x5, a last pooling of 2x2 for 3x3, and heads that average to 4x4 in overlapping windows.",
    aliases=("inception_v1",),
)
def googlenet(
    num_classes: int = 1000,
    in_channels: int = 3,
    aux: bool = False,
    batch_norm: bool = False,
    dropout: Chance = 0.4,
) -> nn.Module:
    """Nine modules of parallel 1x1, 3x3, 5x5 convolutions and pooling, no large dense layer.

    Maps 224 -> 112 -> 56 -> 28 -> 14 -> 7 (poolings round up), then the global average. With `aux`, two heads after
    modules 4a and 4d learn with it: in training mode the result is (main, head of 4d, head of 4a), whose losses the
    paper weighs by 1, 0.3 and 0.3; they need images of 79 pixels. `batch_norm` gives torchvision's form (entry's note).
    """
    return GoogLeNet(num_classes, in_channels, aux, batch_norm, dropout)


class GoogLeNet(nn.Module):
    """See `googlenet`."""

    def __init__(self, num_classes: int, in_channels: int, aux: bool, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        unit = partial(ConvUnit, batch_norm=batch_norm)
        module = partial(inception, batch_norm=batch_norm, kernel=3 if batch_norm else 5)
        self.norm = nn.Identity() if batch_norm else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool4 = nn.MaxPool2d(2, 2, ceil_mode=True) if batch_norm else self.pool
        self.conv1 = unit(in_channels, 64, 7, 2)
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3)
        self.inception3a = module(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = module(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = module(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = module(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = module(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = module(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = module(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = module(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = module(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = AuxiliaryHead(512, num_classes, batch_norm) if aux else None
        self.aux2 = AuxiliaryHead(528, num_classes, batch_norm) if aux else None
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        self.apply(initialize_xavier)

    def forward(self, x: Float[Tensor, "n c h w"]) -> LogitsOrMore:
        """Logits; in training mode with auxiliary heads theirs, too."""
        x = self.norm(self.pool(self.conv1(x)))
        x = self.pool(self.norm(self.conv3(self.conv2(x))))
        x = self.pool(self.inception3b(self.inception3a(x)))
        middle = self.inception4a(x)
        late = self.inception4d(self.inception4c(self.inception4b(middle)))
        x = self.pool4(self.inception4e(late))
        x = self.inception5b(self.inception5a(x))
        logits: Tensor = self.fc(self.dropout(x.mean((2, 3))))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux2(late), self.aux1(middle)
        return logits


class AuxiliaryHead(nn.Module):
    """Average pooling to 4x4, a 1x1 convolution and two dense layers."""

    def __init__(self, in_channels: int, num_classes: int, batch_norm: bool) -> None:
        super().__init__()
        # 14x14 maps become 4x4; of other sizes the second pooling makes 4x4.
        self.pool = nn.Identity() if batch_norm else nn.AvgPool2d(5, 3)
        self.conv = ConvUnit(in_channels, 128, 1, batch_norm=batch_norm)
        self.fc1 = nn.Linear(2048, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.conv(F.adaptive_avg_pool2d(self.pool(x), 4))
        logits: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))
        return logits
