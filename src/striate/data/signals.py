"""Kinds of input for sound: waveforms and their spectrograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from striate.data.inputs import input_kind
from striate.data.items import Input, Reading
from striate.data.mel import log_mel, mel_filters
from striate.data.sound import SOUNDS, Packed, centered, read_header, read_sound, resample
from striate.errors import InputError
from striate.shapes import Float, Int16, Int64, Tensor

LOUDEST = 32767  # samples are kept as 16-bit numbers
Raw = Sequence[Path] | Sequence[Packed]


@dataclass(frozen=True)
class Sound(Input):
    """What the kinds of input of sound share: recordings of `length` samples at `rate` Hz, in 16 bits.

    A recording of another rate is resampled, one with several channels is averaged to one, and of one that is longer
    the middle is kept; a shorter one lies between two halves of silence.
    """

    family: ClassVar[str] = "signals"
    rate: int
    length: int

    def __post_init__(self) -> None:
        if self.rate < 1 or self.length < 1:
            raise InputError(
                "recordings are as long as a sample or longer",
                expected="a rate in Hz and a length in seconds above 0",
                got=f"{self.rate} Hz, {self.length} samples",
            )

    def read(self, item: str | Path | Packed | Float[Any, " t"]) -> Int16[Tensor, "1 length"]:
        """A sound file, or samples in -1..1 at the rate (a tensor or an array), as 16 bits; louder ones are clipped."""
        if isinstance(item, str | Path | Packed):
            samples, rate = read_sound(item)
            samples = resample(samples, rate, self.rate)
        else:
            samples = torch.as_tensor(item).float().flatten()
        return (centered(samples, self.length).clamp(-1, 1) * LOUDEST).round().short()[None]

    def reads(self, file: Path) -> bool:
        """Recordings."""
        return file.suffix.lower() in SOUNDS

    def store(self, raw: Raw, reading: Reading) -> tuple[Int16[Tensor, "n 1 length"], list[int]]:
        """All recordings through `read`; with `skip_corrupt` the broken ones are silent and their positions told."""
        stored = torch.zeros(len(raw), 1, self.length, dtype=torch.int16)
        corrupt = []
        for position, file in enumerate(raw):
            try:
                stored[position] = self.read(file)
            except InputError as error:
                if not reading.skip_corrupt:
                    raise error.or_skip() from None
                corrupt.append(position)
            if reading.progress:
                reading.progress(position + 1, len(raw), "reading sound")
        return stored, corrupt

    def notes(self, raw: Sequence[Any]) -> tuple[str, ...]:
        """How many recordings are resampled, mixed and cut."""
        known = [found for file in raw if isinstance(file, str | Path | Packed) and (found := read_header(file))]
        rates = sorted({found.rate for found in known} - {self.rate})
        seconds = self.length / self.rate
        counts = {
            f"resampled from {', '.join(map(str, rates))} to {self.rate} Hz": [f.rate != self.rate for f in known],
            "of several channels: averaged to one": [f.channels > 1 for f in known],
            f"longer than {seconds:g} s: only the middle is kept": [f.samples > seconds * f.rate for f in known],
        }
        return tuple(f"{sum(rows)} of {len(raw)} recordings {what}" for what, rows in counts.items() if any(rows))

    def units(self, stored: Int16[Tensor, "n 1 t"]) -> Float[Tensor, "n 1 t"]:
        """Samples in -1..1."""
        return stored.float() / LOUDEST

    def json(self) -> dict[str, Any]:
        """As plain types, for a card."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Any:
        """The inverse of `json`."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k != "kind"}
        return cls(**values)


def sizes(raw: Raw, rate: int | None, seconds: float | None) -> tuple[int, int]:
    """Rate and length of the input: as given, else the rate of most recordings and the length of the longest."""
    wanted = rate is None or seconds is None
    known = [found for file in raw if wanted and (found := read_header(file))]
    rates = [found.rate for found in known]
    rate = rate or max(sorted(set(rates)), key=rates.count, default=8000)
    longest = max((math.ceil(found.samples * rate / found.rate) for found in known), default=rate)
    return rate, longest if seconds is None else round(seconds * rate)


@input_kind("waveform", reads=("sound",))
@dataclass(frozen=True)
class Waveform(Sound):
    """Samples of sound, Float[1, rate * seconds], divided by their root mean square over the training set.

    Options: `rate` in Hz (by default that of most recordings), `seconds` (by default those of the longest). Recordings
    of another rate are resampled, longer ones lose their ends, shorter ones lie in the middle of silence.
    """

    extremes: ClassVar[tuple[float, float] | None] = (-1.0, 1.0)
    scale: float = 1.0

    @classmethod
    def fit(
        cls, raw: Raw, reading: Reading, rate: int | None = None, seconds: float | None = None
    ) -> tuple[Int16[Tensor, "n 1 t"], Waveform, list[int]]:
        """All recordings, this kind of input measured on the training ones, and the positions of broken ones."""
        plain = cls(*sizes(raw, rate, seconds))
        stored, corrupt = plain.store(raw, reading)
        train = plain.units(stored[torch.from_numpy(reading.train(corrupt))])
        return stored, replace(plain, scale=float(train.square().mean().sqrt()) or 1.0), corrupt

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, samples)."""
        return 1, self.length

    def standardize(self, units: Float[Tensor, "n 1 t"]) -> Float[Tensor, "n 1 t"]:
        """Samples in -1..1 to network input."""
        return units / self.scale

    def unscaled(self) -> Waveform:
        """The same with samples in -1..1."""
        return replace(self, scale=1.0)


@input_kind("spectrogram", reads=("sound",))
@dataclass(frozen=True)
class Spectrogram(Sound):
    """Log mel spectrogram, as a picture Float[1, bands, frames] or, with `form=channels`, Float[bands, frames].

    Computed for whole batches from the samples: windows of `window` seconds every `hop` seconds, power in `bands`
    triangles that are equally wide in mel (HTK; `striate.data.mel`), ln(power + floor), each band less its mean and
    divided by its standard deviation over the training set. `rate` and `seconds` as for waveforms. Augmentations change
    the samples.
    """

    extremes: ClassVar[tuple[float, float] | None] = None
    bands: int = 40
    window: float = 0.032
    hop: float = 0.01
    floor: float = 1e-4
    form: str = "picture"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("picture", "channels"):
            raise InputError("form of a spectrogram", expected="picture or channels", got=repr(self.form))
        if self.floor <= 0 or self.samples_a_hop < 1 or not 4 <= 2 * self.half <= 2 * self.length - 2:
            raise InputError(
                "windows of a spectrogram",
                expected=f"a floor above 0, hops of a sample or more, windows of 4 to {self.length} samples",
                got=f"floor {self.floor:g}, hop {self.hop:g} s, windows of {self.window:g} s",
            )
        mel_filters(self.bands, 2 * self.half, self.rate)

    @classmethod
    def fit(
        cls,
        raw: Raw,
        reading: Reading,
        rate: int | None = None,
        seconds: float | None = None,
        bands: int = 40,
        window: float = 0.032,
        hop: float = 0.01,
        floor: float = 1e-4,
        form: str = "picture",
    ) -> tuple[Int16[Tensor, "n 1 t"], Spectrogram, list[int]]:
        """All recordings, this kind of input measured on the training ones, and the positions of broken ones."""
        plain = cls(*sizes(raw, rate, seconds), bands, window, hop, floor, form)
        stored, corrupt = plain.store(raw, reading)
        return stored, plain.measured(stored, torch.from_numpy(reading.train(corrupt))), corrupt

    def measured(self, stored: Int16[Tensor, "n 1 t"], where: Int64[Tensor, " m"]) -> Spectrogram:
        """The same with the mean and the standard deviation (population) of each band over the items at `where`."""
        total = torch.zeros(2, self.bands, dtype=torch.float64)
        for part in torch.split(where, 256):
            levels = self.levels(self.units(stored[part])).double()
            total += torch.stack([levels.sum((0, 2)), levels.square().sum((0, 2))])
        mean, square = total / (len(where) * self.frames)
        std = (square - mean**2).clamp_min(0).sqrt()
        return replace(self, mean=tuple(mean.tolist()), std=tuple(torch.where(std > 1e-6, std, 1.0).tolist()))

    @property
    def half(self) -> int:
        """Half a window, in samples."""
        return round(self.window * self.rate / 2)

    @property
    def samples_a_hop(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop * self.rate)

    @property
    def frames(self) -> int:
        """Columns of the spectrogram."""
        return 1 + self.length // self.samples_a_hop

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, bands, frames) or (bands, frames)."""
        return (1, self.bands, self.frames) if self.form == "picture" else (self.bands, self.frames)

    @property
    def axes(self) -> str:
        """Time and frequency."""
        seconds, highest = self.length / self.rate, self.rate / 2
        bands = f"{self.bands} bands of frequency, equally wide in mel, from 0 Hz at the top to {highest:g} Hz below"
        return f"time from left to right, {seconds:g} s; {bands}"

    def levels(self, units: Float[Tensor, "n 1 t"]) -> Float[Tensor, "n bands frames"]:
        """ln(power + floor) of samples in -1..1."""
        filters = mel_filters(self.bands, 2 * self.half, self.rate).to(units)
        return log_mel(units[:, 0], filters, self.samples_a_hop, self.floor)

    def standardize(self, units: Float[Tensor, "n 1 t"]) -> Float[Tensor, "n *c bands frames"]:
        """Samples in -1..1 to network input."""
        levels = self.levels(units)
        return self.rescaled(levels[:, None] if self.form == "picture" else levels)

    def rescaled(self, inputs: Float[Tensor, "n *c bands frames"]) -> Float[Tensor, "n *c bands frames"]:
        """Levels, standardized."""
        if not self.mean:
            return inputs
        mean, std = (inputs.new_tensor(values)[:, None] for values in (self.mean, self.std))
        return (inputs - mean) / std

    def unscaled(self) -> Spectrogram:
        """The same with the levels as they are."""
        return replace(self, mean=(), std=())
