"""Random changes of signals that keep their class: whole batches at once, each signal with its own draw.

They act on the samples, whatever the network sees of them: a band that is masked here is dark in the spectrogram, too.
Every function takes signals and a generator, gives signals of the same shape, and leaves them as they are at zero
strength.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from striate.data.augment.registry import augmentation
from striate.registry import Between
from striate.shapes import Float, Tensor

Signals = Float[Tensor, "n c t"]


def each(signals: Signals, generator: torch.Generator, low: float, high: float) -> Float[Tensor, "n 1 1"]:
    """One number per signal, from low to high."""
    drawn = torch.rand(len(signals), generator=generator, device=generator.device)
    return (low + (high - low) * drawn).to(signals.device, signals.dtype).view(-1, 1, 1)


def span(signals: Signals, generator: torch.Generator, length: int, share: float) -> Tensor:
    """Of `length` places, per signal: whether each lies in a run of up to `share` of them, placed anywhere."""
    size = (each(signals, generator, 0, share) * length).round()
    first = (each(signals, generator, 0, 1) * (length - size + 1)).floor()
    places = torch.arange(length, device=signals.device)
    return (places >= first) & (places < first + size)


@augmentation("delay:0.1", takes=("signals",), share=Between(0, 1))
def delay(signals: Signals, generator: torch.Generator, share: float = 0.1) -> Signals:
    """Move in time by up to `share` of the length either way; zeros come in, and what leaves is lost."""
    length = signals.shape[-1]
    moved = (each(signals, generator, -share, share) * length).round().long()
    source = torch.arange(length, device=signals.device) - moved
    inside = (source >= 0) & (source < length)
    return signals.gather(2, source.clamp(0, length - 1).expand_as(signals)).where(inside, signals.new_zeros(()))


@augmentation("speed:0.1", takes=("signals",), share=Between(0, 1))
def speed(signals: Signals, generator: torch.Generator, share: float = 0.1) -> Signals:
    """Play faster or slower, about the middle, by a factor from 1 / (1 + share) to 1 + share: length and pitch change.

    What is over earlier has zeros on both sides, what is longer loses its ends. Values between samples are those of
    Keys's cubic convolution; tones that pass half the rate when played faster are not filtered out.
    Source: T. Ko et al., "Audio augmentation for speech recognition" (2015), section 2.1.
    """
    length = signals.shape[-1]
    middle = (length - 1) / 2
    factor = (1 + share) ** each(signals, generator, -1, 1).float()
    places = (torch.arange(length, device=signals.device) - middle) * factor + middle
    places = places.clamp(-2, length)  # there, and beyond, is silence
    left = places.floor()
    padded, taps = F.pad(signals, (3, 3)), left.long() + 2
    a, b, c, d = (padded.gather(2, (taps + k).expand_as(signals)) for k in range(4))
    t = (places - left).to(signals.dtype)
    return b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


@augmentation("gain:6", takes=("signals",), decibels=Between(0, 60))
def gain(signals: Signals, generator: torch.Generator, decibels: float = 6) -> Signals:
    """Make louder or softer by up to so many decibels (times 10^(dB / 20)); 6 are a factor of 2."""
    return signals * 10 ** (each(signals, generator, -decibels, decibels) / 20)


@augmentation("hiss:0.1", takes=("signals",), share=Between(0, 10))
def hiss(signals: Signals, generator: torch.Generator, share: float = 0.1) -> Signals:
    """Add white Gaussian noise, of up to `share` of each signal's root mean square."""
    drawn = torch.randn(signals.shape, generator=generator, device=generator.device).to(signals)
    loudness = signals.square().mean((1, 2), keepdim=True).nan_to_num().sqrt()
    return signals + drawn * loudness * each(signals, generator, 0, share)


@augmentation("mask_time:0.15", takes=("signals",), share=Between(0, 1))
def mask_time(signals: Signals, generator: torch.Generator, share: float = 0.15) -> Signals:
    """Silence a stretch of up to `share` of the time.

    Source: D. S. Park et al., "SpecAugment" (2019), section 2, there on the spectrogram.
    """
    return signals.masked_fill(span(signals, generator, signals.shape[-1], share), 0)


@augmentation("mask_band:0.15", takes=("signals",), share=Between(0, 1))
def mask_band(signals: Signals, generator: torch.Generator, share: float = 0.15) -> Signals:
    """Take a band of up to `share` of the frequencies out, by the Fourier transform of the whole signal.

    Source: D. S. Park et al., "SpecAugment" (2019), section 2, there on the spectrogram.
    """
    spectrum = torch.fft.rfft(signals)
    lost = span(signals, generator, spectrum.shape[-1], share)
    kept: Tensor = torch.fft.irfft(spectrum.masked_fill(lost, 0), signals.shape[-1])
    return kept


@augmentation("excerpt:2000", takes=("signals",), samples=Between(1, 1 << 30, whole=True))
def excerpt(signals: Signals, generator: torch.Generator, samples: int = 2000) -> Float[Tensor, "n c t2"]:
    """Keep so many samples from a random place of what sounds; silence (exact zeros) only where that is shorter."""
    length = signals.shape[-1]
    if samples >= length:
        return signals
    loud = (signals != 0).any(1)
    first = torch.where(loud.any(1), loud.int().argmax(1), 0)
    last = torch.where(loud.any(1), length - loud.flip(1).int().argmax(1), length)
    room = (last - first - samples).clamp_min(0).view(-1, 1, 1)
    start = first.view(-1, 1, 1).clamp(max=length - samples)
    start = start + (each(signals, generator, 0, 1) * (room + 1)).floor().long().minimum(room)
    places = (start + torch.arange(samples, device=signals.device)).clamp(max=length - 1)
    return signals.gather(2, places.expand(-1, signals.shape[1], -1))
