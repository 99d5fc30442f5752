"""Raw audio: a WaveNet that says what the next sample may be, and goes on from there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from rich.table import Table
from torch import nn

from striate.data import Data
from striate.data.mel import log_mel, mel_filters
from striate.data.signals import Waveform
from striate.data.sound import write_sound
from striate.errors import InputError
from striate.plain import finite
from striate.shapes import Bool, Float, Int64, Tensor
from striate.tasks.registry import Task, task
from striate.zoo.wavenet import generate, mu_law_decode, mu_law_encode

IGNORED = -1  # a sample that is not scored: silence that only fills a recording up


@dataclass(frozen=True)
class GenerationScores:
    """How well the next of `samples` samples in `n` recordings was foreseen.

    bits_per_sample: mean of -log2 p(level | all before it), over all samples. Beside it what is needed without a
    network: uniform: log2 of the number of levels. unigram: by how often each level occurs in the training set.
    previous: by how often it follows the one before (both counts plus a little, so that nothing is impossible).
    """

    n: int
    samples: int
    bits_per_sample: float
    uniform: float
    unigram: float
    previous: float

    # A count, and baselines of the run's own test part: the same for all items that are scored.
    fixed: ClassVar[tuple[str, ...]] = ("samples", "uniform", "unigram", "previous")

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        nats = {"loss": self.bits_per_sample * math.log(2)}
        return {"n": self.n, "bits_per_sample": self.bits_per_sample} | nats | asdict(self)

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def table(self) -> Table:
        """Bits a sample, the network's and the baselines'."""
        table = Table("bits a sample", "", title=f"{self.n} recordings  {self.samples:,} samples")
        for name in ("bits_per_sample", "previous", "unigram", "uniform"):
            table.add_row({"bits_per_sample": "network"}.get(name, name), f"{getattr(self, name):.3f}")
        return table


@dataclass(frozen=True, eq=False)
class Continuation:
    """A recording (`given`, without the silence around it) and what the network made up after it, at `rate` Hz."""

    given: Float[Tensor, " g"]
    made: Float[Tensor, " t"]
    rate: int

    def row(self) -> dict[str, Any]:
        """Lengths and loudness."""
        seconds = {"given_seconds": len(self.given) / self.rate, "made_seconds": len(self.made) / self.rate}
        return seconds | {"root_mean_square": self.made.square().mean().sqrt().item()}

    def json(self) -> dict[str, Any]:
        """The row and the rate; the samples are in the wav file that `save` writes."""
        return self.row() | {"rate": self.rate}

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """The given sound and its continuation as one wav file, and their spectrogram as a picture."""
        folder.mkdir(parents=True, exist_ok=True)
        sound = torch.cat([self.given, self.made])
        picture = folder / f"{stem}.png"
        self.figure().savefig(picture, metadata={"Software": None})
        return [write_sound(folder / f"{stem}.wav", sound, self.rate), picture]

    def figure(self) -> Figure:
        """The log mel spectrogram over time, windows of 32 ms; what was made up begins at the line."""
        sound = torch.cat([self.given, self.made])
        half, hop = round(0.016 * self.rate), round(0.005 * self.rate)
        padded = F.pad(sound, (0, max(0, 2 * half - len(sound))))  # at least a window
        levels = log_mel(padded[None], mel_filters(min(40, half // 4), 2 * half, self.rate), max(1, hop), 1e-4)[0]
        figure = Figure((7.2, 2.6), dpi=120, layout="constrained")
        axes = figure.subplots()
        axes.imshow(levels.numpy(), origin="lower", aspect="auto", extent=(0, len(padded) / self.rate, 0, len(levels)))
        axes.axvline(len(self.given) / self.rate, color="#d55e00", linewidth=1.2)
        axes.set_xlabel("seconds", fontsize=9)
        axes.set_ylabel("mel band", fontsize=9)
        return figure


@task("generate", takes=("class", "labels", "values", "text", "none"))
@dataclass(frozen=True)
class Generate(Task):
    """Raw audio, sample by sample: the network scores the µ-law level of the next sample, given those so far.

    Takes waveforms; their labels are not used. Samples become `levels` levels (µ-law, finer near silence), which the
    network reads one-hot, Float[n, levels, t], or with `one_hot=False` as amplitudes, Float[n, 1, t]; its outputs are
    Float[n, levels, t], the scores of each sample's successor. Exact zeros at the ends of a recording only fill it up
    and are not scored. The loss is the mean cross-entropy in nats.

    To predict is to go on for `seconds` from the end of the given sound (from silence, if it is silent), drawing from
    softmax(scores / `temperature`) with `seed`. `unigram` and `previous` are the baselines of `GenerationScores`, on
    the test part of the data.

    Source: van den Oord et al. 2016, WaveNet, section 2. Raises InputError for data that is no waveform and for values
    out of range.
    """

    told_by: ClassVar[tuple[str, ...]] = ("seconds", "temperature", "seed")
    rate: int
    levels: int = 256
    one_hot: bool = True
    seconds: float = 1.0
    temperature: float = 1.0
    seed: int = 0
    unigram: float = math.nan
    previous: float = math.nan
    scaled = False

    def __post_init__(self) -> None:
        if self.levels < 2 or self.temperature < 0 or self.seconds <= 0 or self.rate < 1:
            raise InputError(
                "cannot generate sound",
                expected="2 levels or more, a temperature of 0 or more, a length and a rate above 0",
                got=f"{self.levels} levels, temperature {self.temperature}, {self.seconds} s at {self.rate} Hz",
            )

    @classmethod
    def of(
        cls, data: Data, levels: int = 256, one_hot: bool = True, seconds: float = 1.0, temperature: float = 1.0
    ) -> Generate:
        """The task for waveforms, with the baselines of their test part."""
        waveform = data.preprocess
        if not isinstance(waveform, Waveform):
            raise InputError(
                "sound is generated sample by sample",
                expected="inputs waveform",
                got=type(waveform).__name__.lower(),
                fix="Read the recordings with --inputs waveform:rate=8000,seconds=1.",
            )
        plain = cls(waveform.rate, levels, one_hot, seconds, temperature)
        train, tested = (plain.targets(waveform.units(part.inputs)) for part in (data.train, data.tested))
        return cls(waveform.rate, levels, one_hot, seconds, temperature, 0, *baselines(train, tested, levels))

    @property
    def outputs(self) -> int:
        """The levels."""
        return self.levels

    def in_channels(self, channels: int) -> int:
        """The levels, one-hot; or 1."""
        return self.levels if self.one_hot else 1

    def encode(self, targets: Sequence[Any]) -> Float[Tensor, "n 0"]:
        """Nothing: a recording is its own target."""
        return torch.empty(len(targets), 0)

    def targets(self, units: Float[Tensor, "n 1 t"]) -> Int64[Tensor, "n t"]:
        """The level of each sample, -1 where it only fills the recording up."""
        return mu_law_encode(units[:, 0], self.levels).masked_fill(~sounding(units[:, 0]), IGNORED)

    def example(
        self, inputs: Float[Tensor, "n 1 t"], targets: Tensor, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "n c t2"], Tensor]:
        """Levels, and those of the samples after them: the last sample has no successor, so it is no input."""
        read = mu_law_encode(inputs[:, 0], self.levels)
        wanted = self.targets(inputs)
        if generator is None:
            return self.network_input(read), targets
        return self.network_input(read[:, :-1]), wanted[:, 1:]

    def network_input(self, levels: Int64[Tensor, "n t"]) -> Float[Tensor, "n c t"]:
        """Levels as the network reads them."""
        if not self.one_hot:
            return mu_law_decode(levels, self.levels)[:, None]
        empty = torch.zeros(len(levels), self.levels, levels.shape[1], device=levels.device)
        return empty.scatter_(1, levels[:, None], 1.0)

    def check(self, output: Any, target: Tensor) -> None:
        """Raise InputError unless there is a score for each level of each sample."""
        expected = (len(target), self.levels, *target.shape[1:])
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                "the network's outputs do not fit the samples",
                expected=f"shape {expected}: scores of the next sample's levels",
                got=got,
                fix="Take a causal network that keeps the length, as wavenet or tcn:each_step=true.",
            )

    def loss(self, output: Float[Tensor, "n k t"], target: Int64[Tensor, "n t"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of the next samples, in nats."""
        total = F.cross_entropy(output, target, ignore_index=IGNORED, reduction="sum")
        return total / (target != IGNORED).sum().clamp_min(1)

    def keep(self, output: Float[Tensor, "n k t"], target: Int64[Tensor, "n t"]) -> Float[Tensor, "n 2"]:
        """Of each recording: the sum of its samples' cross-entropies in nats, and their number."""
        nats = F.cross_entropy(output.float(), target, ignore_index=IGNORED, reduction="none").sum(1)
        return torch.stack([nats, (target != IGNORED).sum(1)], 1)

    def metrics(self, kept: Float[Tensor, "n 2"], target: Tensor) -> dict[str, float]:
        """Loss in nats and bits, a sample."""
        nats = (kept[:, 0].double().sum() / kept[:, 1].double().sum().clamp_min(1)).item()
        return {"loss": nats, "bits_per_sample": nats / math.log(2)}

    def score(self, kept: Float[Tensor, "n 2"], target: Tensor) -> GenerationScores:
        """Bits a sample; InputError where there is none."""
        samples = int(kept[:, 1].sum()) if len(kept) else 0
        if not samples:
            raise InputError("cannot score an empty set", expected="at least one sample that is no silence", got="0")
        bits = self.metrics(kept, target)["bits_per_sample"]
        return GenerationScores(len(kept), samples, bits, math.log2(self.levels), self.unigram, self.previous)

    def decode(self, output: Float[Tensor, "n k t"]) -> tuple[Continuation, ...]:
        """One sample more: the likeliest after the last."""
        amplitudes = mu_law_decode(output[:, :, -1].argmax(1), self.levels)
        return tuple(Continuation(torch.zeros(0), made[None].cpu(), self.rate) for made in amplitudes)

    def answer(self, model: nn.Module, inputs: Float[Tensor, "n c t"]) -> tuple[Continuation, ...]:
        """Each recording with `seconds` more, generated through `striate.locality.stream`."""
        levels = inputs.argmax(1) if self.one_hot else mu_law_encode(inputs[:, 0], self.levels)
        steps = math.ceil(self.seconds * self.rate)
        results = []
        for row in levels:
            loud = (row != self.levels // 2).nonzero().flatten()
            given = row[loud[0] : loud[-1] + 1] if len(loud) else row[:0]
            prompt = given if len(given) else row[:1]
            draws = torch.Generator(inputs.device).manual_seed(self.seed)
            made = generate(model, steps, prompt=prompt[None], temperature=self.temperature, generator=draws)[0]
            heard, new = (mu_law_decode(part, self.levels).float().cpu() for part in (given, made))
            results.append(Continuation(heard, new, self.rate))
        return tuple(results)


def sounding(samples: Float[Tensor, "n t"]) -> Bool[Tensor, "n t"]:
    """Whether each sample lies between the first and the last that are not exactly 0.

    >>> sounding(torch.tensor([[0.0, 0.5, 0.0, 0.25, 0.0]])).int().tolist()
    [[0, 1, 1, 1, 0]]
    """
    loud = samples != 0
    return loud.cummax(1).values & loud.flip(1).cummax(1).values.flip(1)


def baselines(train: Int64[Tensor, "n t"], tested: Int64[Tensor, "m u"], levels: int) -> tuple[float, float]:
    """Bits a sample in `tested` by the levels' frequencies in `train`: each for itself, and each after the one before.

    Each level is counted half a time more than it occurs; after each level, by its frequency instead.
    """

    def pairs(sets: Int64[Tensor, "n t"]) -> tuple[Tensor, Tensor]:
        before, after = sets[:, :-1].flatten(), sets[:, 1:].flatten()
        known = after != IGNORED
        return torch.where(before == IGNORED, levels // 2, before)[known], after[known]

    before, after = pairs(train)
    unigram = torch.bincount(after, minlength=levels).double() + 0.5
    unigram /= unigram.sum()
    bigram = torch.bincount(before * levels + after, minlength=levels**2).view(levels, levels).double()
    bigram = (bigram + levels * unigram / 16) / (bigram.sum(1, keepdim=True) + levels / 16)
    before, after = pairs(tested)
    if not len(after):
        return math.nan, math.nan
    return -unigram[after].log2().mean().item(), -bigram[before, after].log2().mean().item()
