"""WaveNet (van den Oord et al. 2016): raw audio, sample by sample, from causal dilated convolutions."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.registry import architecture

Channels = Annotated[int, Between(1, 65536, whole=True)]
Condition = Annotated[int, Between(0, 65536, whole=True)]


@architecture(
    paper="van den Oord et al. 2016, WaveNet: a generative model for raw audio, section 2",
    year=2016,
    input=(256, 4000),
    output=(256, 4000),
    least=1,
    parameters=1_279_616,
    macs=5_062_656_000,
    lectures="causal and dilated, on raw audio; dated ICLR 2016",
    note="It appeared on arXiv. Section 2.1 gives the dilations (1 to 512, three times) and figure 4 the layer; "
    "widths are not stated: 64 and, for the skips, 256 here. The residual convolution of the last layer, which "
    "nothing reads, is left out.",
)
def wavenet(
    num_classes: int = 256,
    in_channels: int = 256,
    stacks: Annotated[int, Between(1, 100, whole=True)] = 3,
    layers: Annotated[int, Between(1, 20, whole=True)] = 10,
    residual: Channels = 64,
    skip: Channels = 256,
    global_channels: Condition = 0,
    local_channels: Condition = 0,
) -> nn.Module:
    """Scores of the next sample's 256 levels at each step: gated causal convolutions, dilated 1 to 512, three times.

    Takes Float[n, 256, t], one-hot µ-law levels (or, with in_channels=1, amplitudes), and returns Float[n, 256, t]:
    step t has seen the samples up to t and scores sample t + 1. Receptive field: `stacks` (2^`layers` - 1) + 2 samples,
    3,071 by default. With `global_channels` or `local_channels` the forward takes conditions, too: `speaker`
    Float[n, global_channels], the same for all steps, and `features` Float[n, local_channels, t], brought to one for
    each sample by the caller.

    The forward raises InputError where a condition is missing or was not asked for.
    """
    dilations = [2**i for i in range(layers)] * stacks
    return WaveNet(num_classes, in_channels, dilations, residual, skip, global_channels, local_channels)


class WaveNet(nn.Module):
    """See `wavenet`; `receptive_field` is the number of samples that one output sees."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        dilations: list[int],
        residual: int,
        skip: int,
        global_channels: int,
        local_channels: int,
    ) -> None:
        super().__init__()
        self.conditions = {"speaker": global_channels, "features": local_channels}
        self.receptive_field = 2 + sum(dilations)
        self.first = nn.Conv1d(in_channels, residual, 2)
        self.layers = nn.ModuleList(
            Layer(residual, skip, dilation, global_channels, local_channels, last=index == len(dilations) - 1)
            for index, dilation in enumerate(dilations)
        )
        self.post1 = nn.Conv1d(skip, skip, 1)
        self.post2 = nn.Conv1d(skip, num_classes, 1)

    def forward(
        self,
        x: Float[Tensor, "n c t"],
        speaker: Float[Tensor, "n g"] | None = None,
        features: Float[Tensor, "n l t"] | None = None,
    ) -> Float[Tensor, "n k t"]:
        """Logits of each next sample."""
        self._check(speaker=speaker, features=features)
        x = self.first(F.pad(x, (1, 0)))
        skips = []
        for layer in self.layers:
            x, skip = layer(x, speaker, features)
            skips.append(skip)
        logits: Tensor = self.post2(F.relu(self.post1(F.relu(sum(skips)))))
        return logits

    def _check(self, **given: Tensor | None) -> None:
        for name, channels in self.conditions.items():
            if (given[name] is None) != (channels == 0):
                raise InputError(
                    "wavenet's condition does not fit",
                    where=name,
                    expected=f"{channels} channels" if channels else "none",
                    got="none" if given[name] is None else "some",
                    fix="Build with global_channels for a speaker, local_channels for features, and pass them.",
                )


class Layer(nn.Module):
    """Figure 4: z = tanh(filter) · sigmoid(gate) of a dilated convolution and the conditions; x + 1x1(z), 1x1(z)."""

    def __init__(
        self, residual: int, skip: int, dilation: int, global_channels: int, local_channels: int, last: bool
    ) -> None:
        super().__init__()
        self.dilation = dilation
        # Filter and gate are one convolution of twice the channels.
        self.conv = nn.Conv1d(residual, 2 * residual, 2, dilation=dilation)
        self.speaker = nn.Linear(global_channels, 2 * residual, bias=False) if global_channels else None
        self.features = nn.Conv1d(local_channels, 2 * residual, 1, bias=False) if local_channels else None
        self.residual = None if last else nn.Conv1d(residual, residual, 1)
        self.skip = nn.Conv1d(residual, skip, 1)

    def forward(
        self,
        x: Float[Tensor, "n c t"],
        speaker: Float[Tensor, "n g"] | None,
        features: Float[Tensor, "n l t"] | None,
    ) -> tuple[Float[Tensor, "n c t"], Float[Tensor, "n s t"]]:
        """What the next layer reads, and the skip."""
        gates = self.conv(F.pad(x, (self.dilation, 0)))
        if self.speaker is not None:
            gates = gates + self.speaker(speaker)[:, :, None]
        if self.features is not None:
            gates = gates + self.features(features)
        filtered, gate = gates.chunk(2, 1)
        z = filtered.tanh() * gate.sigmoid()
        return (x if self.residual is None else x + self.residual(z)), self.skip(z)
