"""Mel spectrograms against their definition, written again with loops in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from striate.data.mel import hertz_of, log_mel, mel_filters, mel_of
from striate.errors import InputError


def test_mel_of_known_frequencies() -> None:
    """HTK's formula with the natural logarithm, 1127 ln(1 + f / 700); 1000 Hz are 1000 mel by construction."""
    hertz = torch.tensor([0.0, 100.0, 1000.0, 4000.0], dtype=torch.float64)
    expected = [1127.01048 * math.log1p(f / 700) for f in hertz.tolist()]
    torch.testing.assert_close(mel_of(hertz), torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(hertz_of(mel_of(hertz)), hertz)


def filters_by_definition(bands: int, window: int, rate: int) -> np.ndarray:
    """Triangle by triangle and frequency by frequency."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    corners = [700 * (10 ** (top * k / (bands + 1) / 2595) - 1) for k in range(bands + 2)]
    filters = np.zeros((bands, window // 2 + 1))
    for b in range(bands):
        left, peak, right = corners[b : b + 3]
        for k in range(window // 2 + 1):
            f = k * rate / window
            if left <= f <= peak:
                filters[b, k] = (f - left) / (peak - left)
            elif peak < f <= right:
                filters[b, k] = (right - f) / (right - peak)
    return filters


@pytest.mark.parametrize(("bands", "window", "rate"), [(40, 256, 8000), (64, 1024, 16000), (1, 8, 100)])
def test_filters_are_the_triangles(bands: int, window: int, rate: int) -> None:
    made = mel_filters(bands, window, rate)
    np.testing.assert_allclose(made.numpy(), filters_by_definition(bands, window, rate), atol=1e-6)


def test_neighboring_triangles_add_up_to_one() -> None:
    filters = mel_filters(30, 4096, 16000)
    peaks = filters.argmax(1)
    torch.testing.assert_close(filters.sum(0)[peaks[0] + 1 : peaks[-1]], torch.ones(int(peaks[-1] - peaks[0]) - 1))


def test_log_mel_is_windows_transform_triangles_logarithm() -> None:
    window, hop = 32, 10
    samples = torch.randn(2, 75, generator=torch.Generator().manual_seed(0))
    filters = mel_filters(6, window, 8000)
    made = log_mel(samples, filters, hop, 1e-3).numpy()
    assert made.shape == (2, 6, 1 + 75 // hop)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.pad(samples.numpy().astype(np.float64), ((0, 0), (window // 2, window // 2)), mode="reflect")
    for item in range(2):
        for frame in range(made.shape[2]):
            piece = padded[item, frame * hop : frame * hop + window] * hann
            power = np.abs(np.fft.rfft(piece)) ** 2
            expected = np.log(filters_by_definition(6, window, 8000) @ power + 1e-3)
            np.testing.assert_allclose(made[item, :, frame], expected, rtol=1e-4, atol=1e-4)


def test_a_tone_lies_in_its_band() -> None:
    rate, filters = 8000, mel_filters(40, 256, 8000)
    for hertz in (300.0, 1000.0, 2500.0):
        tone = torch.sin(2 * torch.pi * hertz * torch.arange(rate) / rate)[None]
        band = int(log_mel(tone, filters, 80)[0].mean(1).argmax())
        corners = hertz_of(torch.linspace(0, float(mel_of(torch.tensor(4000.0))), 42))
        assert corners[band] < hertz < corners[band + 2]


def test_bad_bands() -> None:
    with pytest.raises(InputError, match="a mel band holds no frequency: expected bands wider than 31.2 Hz.*100 bands"):
        mel_filters(100, 256, 8000)
    with pytest.raises(InputError, match="mel bands lie below half the rate: .*<= 4000 Hz, got 40 bands, 0 to 5000"):
        mel_filters(40, 256, 8000, 0, 5000)
    with pytest.raises(InputError, match="mel bands lie below half the rate: .*got 0 bands"):
        mel_filters(0, 256, 8000)
