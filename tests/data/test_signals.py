"""Kinds of input for sound and series."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data import INPUTS, Reading, read_input
from striate.data.mel import log_mel, mel_filters
from striate.data.series import Series
from striate.data.signals import Spectrogram, Waveform
from striate.data.sound import write_sound
from striate.errors import InputError


def tones(folder: Path, rates: tuple[int, ...] = (8000, 8000, 16000, 8000), seconds: float = 0.1) -> tuple[Path, ...]:
    paths = []
    for i, rate in enumerate(rates):
        time = torch.arange(round(rate * seconds * (1 + i % 2))) / rate
        paths.append(write_sound(folder / f"{i}.wav", 0.5 * torch.sin(2 * torch.pi * (300 + 200 * i) * time), rate))
    return tuple(paths)


def reading(count: int, **options: Any) -> Reading:
    """Half of the items train."""
    return Reading("here", lambda corrupt: np.setdiff1d(np.arange(0, count, 2), corrupt), **options)


def test_waveforms_have_the_most_common_rate_and_the_longest_length(tmp_path: Path) -> None:
    paths = tones(tmp_path)
    stored, kind, corrupt = Waveform.fit(paths, reading(4))
    assert (kind.rate, kind.length, corrupt) == (8000, 1600, [])
    assert stored.dtype == torch.int16
    assert stored.shape == (4, *kind.shape)
    train = kind.normalize(stored[::2])
    assert train.square().mean() == pytest.approx(1, rel=1e-3)
    assert kind.unscaled().normalize(stored).abs().max() == pytest.approx(0.5, rel=0.01)
    torch.testing.assert_close(kind(paths[3]), kind.normalize(stored[3:])[0])
    assert not stored[0, 0, :399].any()  # 800 samples in the middle of 1600
    assert stored[0, 0, 401:1199].any()


def test_another_rate_is_resampled_and_the_tone_stays(tmp_path: Path) -> None:
    (path,) = tones(tmp_path, (44100,), 1.0)
    stored, kind, _ = Waveform.fit((path,), reading(1), rate=8000, seconds=1)
    spectrum = torch.fft.rfft(kind.units(stored)[0, 0]).abs()
    assert int(spectrum.argmax()) == 300


def test_samples_of_an_array_are_taken_as_they_are() -> None:
    kind = Waveform(8000, 4)
    assert kind.read(np.array([0.5, -2.0])).tolist() == [[0, 16384, -32767, 0]]
    assert kind.units(kind.read(torch.tensor([1.0, -1.0]))[None]).tolist() == [[[0, 1, -1, 0]]]


@pytest.mark.parametrize("form", ["picture", "channels"])
def test_spectrograms_are_normed_by_band_over_the_training_set(tmp_path: Path, form: str) -> None:
    paths = tones(tmp_path)
    stored, kind, _ = Spectrogram.fit(paths, reading(4), rate=8000, seconds=0.2, bands=20, form=form)
    assert kind.shape == ((1, 20, 21) if form == "picture" else (20, 21))
    levels = log_mel(stored[:, 0].float() / 32767, mel_filters(20, 256, 8000), 80, 1e-4)
    mean, std = levels[::2].mean((0, 2)), levels[::2].std((0, 2), correction=0)
    expected = (levels - mean[:, None]) / std[:, None]
    made = kind.normalize(stored)
    assert made.shape == (4, *kind.shape)
    torch.testing.assert_close(made.view(expected.shape), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(kind.unscaled().normalize(stored).view(levels.shape), levels)


def test_silence_is_a_recording(tmp_path: Path) -> None:
    silence = write_sound(tmp_path / "a.wav", torch.zeros(800), 8000)
    for kind in (Waveform, Spectrogram):
        stored, fitted, corrupt = kind.fit((silence, silence), reading(2))
        assert not corrupt
        assert fitted.normalize(stored).isfinite().all()


@pytest.mark.parametrize("kind", [Waveform, Spectrogram])
def test_broken_files_stop_or_are_left_out(tmp_path: Path, kind: Any) -> None:
    paths = list(tones(tmp_path))
    paths[2].write_bytes(b"RIFF")
    with pytest.raises(InputError, match=f"cannot read the sound: {paths[2]}"):
        kind.fit(tuple(paths), reading(4))
    told: list[int] = []
    stored, fitted, corrupt = kind.fit(
        tuple(paths), reading(4, skip_corrupt=True, progress=lambda done, *_: told.append(done))
    )
    assert corrupt == [2]
    assert told == [1, 2, 3, 4]
    assert fitted.length == 1600
    assert not stored[2].any()


KINDS = {
    "waveform": Waveform(8000, 100, 0.25),
    "spectrogram": Spectrogram(8000, 800, bands=3, mean=(0.0, 1.0, 2.0), std=(1.0, 1.0, 3.0)),
    "series": Series(2, 9, "set", "end", "line", (0.0, 1.0), (2.0, 3.0)),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_card_keeps_the_kind(name: str) -> None:
    import json

    kind = KINDS[name]
    assert isinstance(kind, INPUTS[name].form)
    assert read_input(json.loads(json.dumps(kind.json()))) == kind


def test_bad_options_of_sound() -> None:
    with pytest.raises(InputError, match="recordings are as long as a sample or longer: .* got 8000 Hz, 0 samples"):
        Waveform(8000, 0)
    with pytest.raises(InputError, match="form of a spectrogram: expected picture or channels, got 'image'"):
        Spectrogram(8000, 8000, form="image")
    with pytest.raises(InputError, match="windows of a spectrogram: .* got floor 0.0001, hop 0.01 s, windows of 2 s"):
        Spectrogram(8000, 8000, window=2.0)
    with pytest.raises(InputError, match="a mel band holds no frequency"):
        Spectrogram(8000, 8000, bands=200)


def series(*lengths: int) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(0)
    return tuple(5 + 3 * torch.randn(2, length, generator=random) for length in lengths)


@given(st.floats(-10, 10), st.floats(0.125, 8))
def test_a_series_is_normed_for_itself(shift: float, factor: float) -> None:
    (values,) = series(30)
    kind = Series(2, 30)
    made = kind(values)
    torch.testing.assert_close(made.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(made.std(1, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(kind(values * factor + shift), made, atol=1e-3, rtol=1e-3)


def test_a_constant_series_becomes_zeros() -> None:
    assert not Series(1, 4)([3.0, 3.0, 3.0, 3.0]).any()


def test_series_normed_by_the_training_set() -> None:
    raw = series(10, 10, 10)
    stored, kind, _ = Series.fit(raw, reading(3), normalize="set")
    train = torch.cat([raw[0], raw[2]], 1)
    expected = (raw[1] - train.mean(1, keepdim=True)) / train.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(kind.normalize(stored)[1], expected)
    stored, kind, _ = Series.fit(raw, reading(3), normalize="none")
    torch.testing.assert_close(kind.normalize(stored)[1], raw[1])
    assert kind.unscaled() == kind


def test_unequal_lengths_are_refused_or_filled_with_the_mean() -> None:
    raw = series(10, 7, 10)
    with pytest.raises(
        InputError,
        match=r"lengths: series 2: expected 10 steps, got 7. Fill it up .*series:pad=end.*--skip-corrupt",
    ):
        Series.fit(raw, reading(3))
    for normalize in ("item", "set"):
        stored, kind, _ = Series.fit(raw, reading(3), pad="end", normalize=normalize)
        made = kind.normalize(stored)
        assert not made[1, :, 7:].any()
        assert made[1, :, :7].all()
    with pytest.raises(InputError, match="expected 10 steps or less, got 11. Cut it .*the option length of series"):
        kind.read(series(11)[0])
    stored, _, corrupt = Series.fit(raw, reading(3, skip_corrupt=True))
    assert corrupt == [1]
    assert not stored[1].any()


def test_missing_values_are_refused_or_lie_on_a_line() -> None:
    raw = (torch.tensor([[math.nan, 1.0, math.nan, math.nan, 4.0, math.nan]]),)
    with pytest.raises(
        InputError, match="missing values: series 1: got 4 of 6. Put them on a line .*series:missing=line"
    ):
        Series.fit(raw, reading(1))
    stored, _, _ = Series.fit(raw, reading(1), missing="line", normalize="none")
    assert stored.tolist() == [[[1, 1, 2, 3, 4, 4]]]
    with pytest.raises(InputError, match="A channel without any value cannot be filled"):
        Series(1, 3, missing="line").read([math.nan] * 3)


def test_series_in_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2,3\n4,5,6\n")
    assert Series(2, 3, "none")(tmp_path / "a.csv").tolist() == [[1, 2, 3], [4, 5, 6]]
    (tmp_path / "b.txt").write_text("1 2 x\n")
    for name, message in {"b.txt": "could not convert string to float: 'x'", "c.txt": "No such file"}.items():
        with pytest.raises(InputError, match=f"cannot read the series: .*/{name}: expected a row .*{message}"):
            Series(1, 3).read(tmp_path / name)


def test_a_table_of_the_archive_holds_a_series_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1\t1\t2\t3\n\n2\t4\t5\tNaN\n")
    (tmp_path / "b.tsv").write_text("1\t2\t3\n")  # as long as the network's: a series
    kind = Series(1, 3, "none")
    found = dict(kind.expand(tmp_path / "a.tsv"))
    assert list(found) == [f"{tmp_path}/a.tsv, line 1", f"{tmp_path}/a.tsv, line 3"]
    assert kind.read(found[f"{tmp_path}/a.tsv, line 1"]).tolist() == [[1, 2, 3]]
    with pytest.raises(InputError, match=f"unequal lengths: {tmp_path}/a.tsv, line 3: expected 3 steps, got 2"):
        kind.read(found[f"{tmp_path}/a.tsv, line 3"])
    for series, file in ((kind, "b.tsv"), (Series(2, 3), "a.tsv"), (kind, "c.csv")):
        assert series.expand(tmp_path / file) == [(str(tmp_path / file), tmp_path / file)]


def test_a_series_is_named_by_its_file(tmp_path: Path) -> None:
    for text, said in {
        "1,2": "series of unequal lengths: .*/a.csv: expected 3 steps, got 2",
        "1,2,nan": "a time series has missing values: .*/a.csv: got 1 of 3",
        "1,2,inf": "a time series has a value that is infinite: .*/a.csv",
        "1,2,3\n4,5,6": "a time series: .*/a.csv: expected 1 channels of values",
    }.items():
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError, match=said):
            Series(1, 3).read(tmp_path / "a.csv")


def test_bad_series() -> None:
    with pytest.raises(InputError, match=r"a time series: expected 2 channels of values, got \(1, 3\)"):
        Series(2, 3).read([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="a value that is infinite"):
        Series(1, 2).read([1.0, math.inf])
    with pytest.raises(InputError, match="option normalize of series: expected item or set or none, got 'all'"):
        Series(1, 2, "all")


def test_what_was_done_to_recordings_is_told(tmp_path: Path) -> None:
    import soundfile

    paths = tones(tmp_path, (8000, 44100, 16000, 8000))
    soundfile.write(tmp_path / "4.wav", np.zeros((400, 2)), 8000)
    (tmp_path / "5.wav").write_bytes(b"RIFF")  # told by its error
    notes = Waveform(8000, 1000).notes((*paths, tmp_path / "4.wav", tmp_path / "5.wav"))
    assert notes == (
        "2 of 6 recordings resampled from 16000, 44100 to 8000 Hz",
        "1 of 6 recordings of several channels: averaged to one",
        "2 of 6 recordings longer than 0.125 s: only the middle is kept",
    )
    assert Waveform(8000, 1600).notes(paths[:1]) == ()
    assert Waveform(8000, 1600).notes([torch.zeros(3)]) == ()


def test_a_spectrogram_says_what_its_axes_mean() -> None:
    spoken = Spectrogram(8000, 8000)
    assert spoken.axes.startswith("time from left to right, 1 s; 40 bands of frequency")
    assert spoken.axes.endswith("from 0 Hz at the top to 4000 Hz below")
    seconds = torch.arange(8000) / 8000
    tones = torch.stack([torch.sin(2 * torch.pi * hertz * seconds) for hertz in (200, 3800)])[:, None]
    low, high = spoken.levels(tones).mean(2).argmax(1).tolist()
    assert (low < 5, high > 36) == (True, True)
    beeps = tones[:1].clone()
    beeps[..., 1000:] = 0
    columns = spoken.levels(beeps)[0].amax(0)
    assert int(columns.argmax()) < spoken.frames // 4
