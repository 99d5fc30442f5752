"""Mel spectrograms by definition: power in short windows, summed in triangular bands, in the logarithm."""

from __future__ import annotations

import torch

from striate.errors import InputError
from striate.shapes import Float, Tensor


def mel_of(hertz: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Pitch in mel, in HTK's form: 2595 log10(1 + f / 700).

    >>> mel_of(torch.tensor([0.0, 1000.0])).round().tolist()
    [0.0, 1000.0]
    """
    return 2595 * (1 + hertz / 700).log10()


def hertz_of(mel: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The inverse of `mel_of`."""
    return 700 * (10 ** (mel / 2595) - 1)


def mel_filters(
    bands: int, window: int, rate: int, low: float = 0.0, high: float | None = None
) -> Float[Tensor, "bands bins"]:
    """Triangles of height 1 over the window // 2 + 1 frequencies of a Fourier transform of `window` samples.

    Band b rises from corner b to corner b + 1 and falls to corner b + 2; the bands + 2 corners lie at equal distances
    in mel from `low` to `high` Hz (half the rate by default), in HTK's mel without norming the areas.

    Raises InputError for a band that holds no frequency of the transform, and for corners outside 0 to rate / 2.
    """
    top = rate / 2 if high is None else high
    if bands < 1 or not 0 <= low < top <= rate / 2:
        raise InputError(
            "mel bands lie below half the rate",
            expected=f"1 band or more, 0 <= low < high <= {rate / 2:g} Hz",
            got=f"{bands} bands, {low:g} to {top:g} Hz",
        )
    ends = mel_of(torch.tensor([low, top], dtype=torch.float64))
    corners = hertz_of(torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64))
    bins = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window
    widths = corners.diff()[:, None]
    rising = (bins - corners[:-2, None]) / widths[:-1]
    falling = (corners[2:, None] - bins) / widths[1:]
    filters = torch.minimum(rising, falling).clamp_min(0)
    if not (filters > 0).any(1).all():
        raise InputError(
            "a mel band holds no frequency",
            expected=f"bands wider than {rate / window:.1f} Hz, the resolution of windows of {window} samples",
            got=f"{bands} bands",
            fix="Take fewer bands or longer windows.",
        )
    return filters.float()


def log_mel(
    samples: Float[Tensor, "n t"], filters: Float[Tensor, "bands bins"], hop: int, floor: float = 1e-6
) -> Float[Tensor, "n bands frames"]:
    """ln(filters @ |STFT|² + floor): 1 + t // hop frames, the k-th about sample k * hop, reflected at the ends.

    Windows are periodic Hann windows of 2 (bins - 1) samples.
    """
    window = 2 * (filters.shape[1] - 1)
    hann = torch.hann_window(window, device=samples.device, dtype=samples.dtype)
    spectrum = torch.stft(samples, window, hop, window=hann, center=True, pad_mode="reflect", return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)
    return (filters.to(power) @ power + floor).log()
