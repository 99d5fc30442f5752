"""Augmentations of signals against what they are said to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from striate.data.augment.signals import delay, gain, hiss, mask_band, mask_time, speed


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SIGNALS = torch.randn(200, 2, 64, generator=generator(1))


@pytest.mark.parametrize("change", [delay, gain, hiss, mask_time, mask_band, speed])
def test_zero_strength_and_repetition(change: Callable[..., torch.Tensor]) -> None:
    torch.testing.assert_close(change(SIGNALS, generator(), 0), SIGNALS)
    made = change(SIGNALS, generator(), 0.3)
    assert made.shape == SIGNALS.shape
    assert torch.equal(made, change(SIGNALS, generator(), 0.3))
    assert not torch.equal(made, change(SIGNALS, generator(7), 0.3))


def test_delay_moves_by_whole_steps_and_brings_zeros() -> None:
    made = delay(SIGNALS, generator(), 0.25)
    moves = set()
    for before, after in zip(SIGNALS, made, strict=True):
        fitting = [k for k in range(-16, 17) if torch.equal(after, torch.nn.functional.pad(before, (k, -k)))]
        assert len(fitting) == 1
        moves.add(fitting[0])
    assert min(moves) < -10
    assert max(moves) > 10


def test_speed_stretches_time_about_the_middle() -> None:
    def sound(time: torch.Tensor) -> torch.Tensor:
        """A tone of 400 Hz with two harmonics, swelling, a little behind the middle."""
        tones = sum((k * 2 * torch.pi * 400 * time).cos() for k in (1, 2, 3))
        return tones * (-((time - 0.01) / 0.02).square()).exp()

    time = (torch.arange(1000) - 499.5) / 8000
    made = speed(sound(time).expand(100, 2, -1), generator(), 0.25)
    assert torch.equal(made[:, 0], made[:, 1])
    possible = torch.linspace(0.8, 1.25, 451)
    errors = (made[:, :1] - sound(possible[:, None] * time)).abs().amax(2)
    least, which = errors.min(1)
    assert least.max() < 0.15  # of a peak of 3
    factors = possible[which]
    assert factors.min() < 0.82
    assert factors.max() > 1.22
    assert 0.4 < (factors < 1).float().mean() < 0.6


def test_speed_brings_silence_or_loses_the_ends() -> None:
    made = speed(torch.ones(300, 1, 401), generator(), 0.25)[:, 0]
    kept = (made != 0).sum(1)
    assert 318 < kept.min() < 326  # 401 / 1.25, and a tap on either side
    assert kept.max() == 401
    before, after = ((x != 0).int().argmax(1) for x in (made, made.flip(1)))
    assert (before - after).abs().max() <= 1
    assert (made[:, 100:300] - 1).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_speed_is_exact_where_it_can_be(dtype: torch.dtype) -> None:
    noise = torch.randn(2, 1, 300_001, generator=generator()).to(dtype)
    assert torch.equal(speed(noise, generator(), 0), noise)
    assert speed(noise[..., :1], generator(), 1).dtype == dtype
    ramp = torch.arange(1000.0).view(1, 1, -1) - 499.5  # cubics keep straight lines
    slopes = speed(ramp, generator(2), 0.5).diff()[..., 200:800]
    torch.testing.assert_close(slopes, slopes.mean().expand_as(slopes), atol=1e-3, rtol=0)


def test_gain_is_one_factor_a_signal() -> None:
    factor = gain(SIGNALS, generator(), 6) / SIGNALS
    assert factor.std((1, 2)).max() < 1e-5
    decibels = 20 * factor[:, 0, 0].log10()
    assert -6.01 < decibels.min() < -5
    assert 5 < decibels.max() < 6.01


def test_hiss_is_as_loud_as_a_share_of_the_signal() -> None:
    added = hiss(SIGNALS * 10, generator(), 0.5) - SIGNALS * 10
    share = added.square().mean((1, 2)).sqrt() / (SIGNALS * 10).square().mean((1, 2)).sqrt()
    assert share.min() < 0.05
    assert 0.4 < share.max() < 0.6
    assert not hiss(torch.zeros(2, 1, 8), generator(), 1.0).any()  # nothing is added to silence


def test_mask_time_silences_one_run() -> None:
    lost = (mask_time(SIGNALS, generator(), 0.5) == 0).all(1)
    counts = lost.sum(1)
    assert counts.min() <= 1
    assert 28 <= counts.max() <= 32
    runs = (lost.int().diff(prepend=torch.zeros(200, 1)) == 1).sum(1)
    assert runs.max() == 1
    assert lost[:, 0].any()
    assert lost[:, -1].any()  # the borders, too


def test_mask_band_takes_frequencies_out() -> None:
    before, after = (torch.fft.rfft(x).abs() for x in (SIGNALS, mask_band(SIGNALS, generator(), 0.5)))
    lost = (after < 1e-4).all(1)
    assert 12 <= lost.sum(1).max() <= 17
    torch.testing.assert_close(after.where(~lost[:, None], 0), before.where(~lost[:, None], 0), atol=1e-4, rtol=1e-3)
