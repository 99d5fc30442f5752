"""WaveNet (van den Oord et al. 2016): raw audio, sample by sample, from causal dilated convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.geometry.state import unwrapped
from striate.layers.causal import GatedResidual
from striate.locality.stream.steps import stream
from striate.registry import Between
from striate.shapes import Float, Int64, Tensor
from striate.zoo.registry import architecture

Channels = Annotated[int, Between(1, 65536, whole=True)]
Condition = Annotated[int, Between(0, 65536, whole=True)]
# Random numbers are drawn for so many steps at a time.
DRAWN = 256


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
            GatedResidual(residual, skip, dilation, global_channels, local_channels, last=index == len(dilations) - 1)
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


def generate(
    model: nn.Module,
    steps: int,
    *,
    streams: int = 1,
    prompt: Int64[Tensor, "n p"] | None = None,
    speaker: Float[Tensor, "speakers g"] | None = None,
    features: Float[Tensor, "items l t"] | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Int64[Tensor, "n steps"]:
    """Levels that a WaveNet makes up one after the other, each drawn given all before it: Int64[n, steps].

    The network runs as a stream: one step of work for one sample, all streams at once. `prompt` are levels to go on
    from (by default one of silence, the middle level); they are not returned. `speaker` and `features` condition as in
    the forward; the features are those of all samples that the network reads, the prompt and all new ones but the last.
    Levels are drawn from softmax(logits / `temperature`), with `generator`'s random numbers; at 0 the likeliest is
    taken. `mu_law_decode` makes amplitudes of them.

    Raises InputError for a network that is no WaveNet or has channels for neither levels nor amplitudes, for levels out
    of range, and for conditions that do not fit.
    """
    network = unwrapped(model)
    if not isinstance(network, WaveNet):
        fix = "Stream other networks with striate.locality.stream."
        raise InputError("only a WaveNet generates levels", got=type(network).__name__, fix=fix)
    given = [len(tensor) for tensor in (prompt, speaker, features) if tensor is not None]
    streams = given[0] if given and streams == 1 else streams
    like, levels = network.post2.weight, network.post2.out_channels
    if prompt is None:
        prompt = torch.full((streams, 1), levels // 2, device=like.device)
    read = prompt.shape[1] + steps - 1
    _check(prompt, levels, steps, temperature, given, streams)
    if features is not None and features.shape[2] != read:
        raise InputError("features are given for each sample that is read", expected=read, got=features.shape[2])
    network._check(speaker=speaker, features=features)
    channels = {"x": network.first.in_channels} | ({} if features is None else {"features": features.shape[1]})
    conditions = {} if speaker is None else {"speaker": speaker}
    running = stream(network, channels, streams=streams, conditions=conditions)
    inputs = _inputs(network, levels)
    drawn = torch.promote_types(like.dtype, torch.float32)  # in half precision the tail of the noise is lost
    made = torch.empty(streams, steps, dtype=torch.long, device=like.device)
    for t in _counted(read, progress):
        level = prompt[:, t] if t < prompt.shape[1] else made[:, t - prompt.shape[1]]
        more = {} if features is None else {"features": features[:, :, t]}
        logits = running.step(inputs[level], **more)
        new = t - prompt.shape[1] + 1
        if logits is None or new < 0:
            continue
        if temperature:
            if new % DRAWN == 0:
                noise = -like.new_empty(DRAWN, streams, levels, dtype=drawn).exponential_(generator=generator).log()
            # The greatest of logits with Gumbel noise is a draw from their softmax.
            logits = torch.add(noise[new % DRAWN], logits, alpha=1 / temperature)
        torch.argmax(logits, 1, out=made[:, new])
    return made


def _check(prompt: Tensor, levels: int, steps: int, temperature: float, given: list[int], streams: int) -> None:
    if steps < 1 or prompt.shape[1] < 1:
        raise InputError(
            "a WaveNet generates one sample or more, from one or more", got=f"{steps} from {prompt.shape[1]}"
        )
    if temperature < 0:
        raise InputError("a temperature is 0 or more", got=temperature)
    if any(count != streams for count in given):
        raise InputError("prompt, speaker and features have one item a stream", expected=streams, got=given)
    if not 0 <= int(prompt.min()) <= int(prompt.max()) < levels:
        raise InputError(
            "a prompt has levels of the network",
            expected=f"0 to {levels - 1}",
            got=f"{int(prompt.min())} to {int(prompt.max())}",
        )


def _inputs(network: WaveNet, levels: int) -> Float[Tensor, "levels c"]:
    """What the network reads for each level: one-hot, or the amplitude."""
    like, channels = network.post2.weight, network.first.in_channels
    if channels == levels:
        return torch.eye(levels, dtype=like.dtype, device=like.device)
    if channels == 1:
        return mu_law_decode(torch.arange(levels, device=like.device), levels).to(like.dtype)[:, None]
    raise InputError("a WaveNet goes on from its own levels", expected=f"in_channels {levels}, or 1", got=channels)


def _counted(count: int, progress: bool) -> Iterable[int]:
    if not progress:
        return range(count)
    from rich.progress import track

    return track(range(count), description="samples")


def mu_law_encode(amplitudes: Float[Tensor, "*any"], levels: int = 256) -> Int64[Tensor, "*any"]:
    """Levels 0 … levels - 1 of amplitudes -1 … 1, finer near silence: sign(x) ln(1 + µ|x|) / ln(1 + µ), µ = levels - 1.

    Source: van den Oord et al. 2016, section 2.2 (ITU-T G.711).

    >>> mu_law_encode(torch.tensor([-1.0, 0.0, 0.01, 1.0])).tolist()
    [0, 128, 157, 255]
    """
    mu = levels - 1
    compressed = amplitudes.sign() * (mu * amplitudes.abs()).log1p() / math.log1p(mu)
    return ((compressed.clamp(-1, 1) + 1) / 2 * mu + 0.5).long()


def mu_law_decode(codes: Int64[Tensor, "*any"], levels: int = 256) -> Float[Tensor, "*any"]:
    """The amplitude in the middle of each level: the inverse of `mu_law_encode`."""
    mu = levels - 1
    compressed = 2 * codes.to(torch.get_default_dtype()) / mu - 1
    return compressed.sign() * (compressed.abs() * math.log1p(mu)).expm1() / mu
