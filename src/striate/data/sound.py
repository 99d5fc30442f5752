"""Recordings: any file that libsndfile reads, mixed to one channel and brought to one rate and one length."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from striate.errors import InputError
from striate.shapes import Float, Tensor

# By their ending; soundfile reads these and more.
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".oga", ".aif", ".aiff", ".au", ".mp3"})

# What libsndfile notes of a wav, an aiff or an au whose head promises more bytes of samples than the file holds.
SHORT = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
STREAMED = 0x7FFF0000  # from here on the length is none: who wrote the head into a pipe did not know it yet


@dataclass(frozen=True)
class Packed:
    """A file inside an archive: its name there and its bytes."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def read_sound(file: str | Path | Packed) -> tuple[Float[Tensor, " t"], int]:
    """Samples in -1..1 and their rate in Hz (samples a second); several channels are averaged to one.

    Raises InputError, naming the file, for one that is missing, that is no sound, that was cut short, or that holds no
    samples or others than finite numbers. A silent recording is a recording.
    """
    import soundfile  # loads libsndfile

    try:
        content = io.BytesIO(file.content) if isinstance(file, Packed) else str(file)
        with soundfile.SoundFile(content) as sound:
            samples, rate, told = sound.read(dtype="float32", always_2d=True), sound.samplerate, sound.extra_info
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError) as error:
        missing = isinstance(file, str | Path) and not Path(file).is_file()
        got = "no such file" if missing else str(error).partition(": ")[2] or str(error)
        fix = "Check the path." if missing else "Convert it."
        raise InputError("cannot read the sound", where=file, got=got.rstrip("."), fix=fix) from None
    if (short := SHORT.search(told)) and int(short[2]) + 1 < int(short[1]) < STREAMED:  # some count the byte that pads
        expected, got = (f"{int(count):,} bytes" for count in short.groups())
        raise InputError("a recording was cut short", where=file, expected=expected, got=got, fix="Copy it again.")
    if len(samples) == 0:
        raise InputError("a recording without samples", where=file)
    if not np.isfinite(samples).all():
        raise InputError("a recording has samples that are no finite numbers", where=file, fix="Save it as 16 bits.")
    return torch.from_numpy(samples.mean(1)), int(rate)


@dataclass(frozen=True)
class Header:
    """What a sound file says of itself: samples a channel, their rate in Hz, channels."""

    samples: int
    rate: int
    channels: int


def read_header(file: str | Path | Packed) -> Header | None:
    """The header of a sound file; None where it cannot be read, which `read_sound` explains."""
    import soundfile

    try:
        found = soundfile.info(io.BytesIO(file.content) if isinstance(file, Packed) else str(file))
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError):
        return None
    return Header(int(found.frames), int(found.samplerate), int(found.channels))


def write_sound(path: Path, samples: Float[Tensor, " t"], rate: int) -> Path:
    """Write samples in -1..1 (others are clipped) with 16 bits, in the format that the path's ending names."""
    import soundfile

    soundfile.write(str(path), samples.clamp(-1, 1).cpu().numpy(), rate, subtype="PCM_16")
    return path


def resample(samples: Float[Tensor, "*c t"], rate: int, to: int) -> Float[Tensor, "*c t2"]:
    """The same sound at `to` samples a second instead of `rate`: ceil(t * to / rate) of them.

    What the new rate cannot hold, above to / 2 Hz, is filtered out (polyphase, Kaiser window, scipy's default).

    >>> resample(torch.zeros(44100), 44100, 8000).shape
    torch.Size([8000])
    """
    if rate == to:
        return samples
    from scipy.signal import resample_poly  # 0.2 s

    common = math.gcd(rate, to)
    return torch.from_numpy(resample_poly(samples.numpy(), to // common, rate // common, axis=-1).copy())


def centered(samples: Float[Tensor, "*c t"], length: int) -> Float[Tensor, "*c length"]:
    """The middle `length` samples, or all of them with silence before and after (one more after, if it is odd).

    >>> centered(torch.tensor([1.0, 2.0, 3.0]), 6), centered(torch.tensor([1.0, 2.0, 3.0, 4.0]), 2)
    (tensor([0., 1., 2., 3., 0., 0.]), tensor([2., 3.]))
    """
    missing = length - samples.shape[-1]
    if missing >= 0:
        return torch.nn.functional.pad(samples, (missing // 2, missing - missing // 2))
    first = -missing // 2
    return samples[..., first : first + length]
