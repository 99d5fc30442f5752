"""Sound files, resampling and lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data.sound import Packed, centered, read_sound, resample, write_sound
from striate.errors import InputError


def tone(hertz: float, rate: int, seconds: float = 0.5) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize(("ending", "error"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.1)])
def test_files_there_and_back(tmp_path: Path, ending: str, error: float) -> None:
    sound = tone(440, 8000)
    if ending == "ogg":
        soundfile.write(tmp_path / "a.ogg", sound.numpy(), 8000)
    else:
        write_sound(tmp_path / f"a.{ending}", sound, 8000)
    samples, rate = read_sound(tmp_path / f"a.{ending}")
    assert rate == 8000
    assert (samples[: len(sound)] - sound).abs().max() < error


def test_samples_are_those_of_the_standard_library(tmp_path: Path) -> None:
    import wave

    numbers = np.random.default_rng(0).integers(-32768, 32768, 1000, dtype=np.int16)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(11025)
        file.writeframes(numbers.tobytes())
    samples, rate = read_sound(tmp_path / "a.wav")
    assert rate == 11025
    np.testing.assert_array_equal(samples.numpy() * 32768, numbers)


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([tone(300, 8000), tone(700, 8000)], 1)
    soundfile.write(tmp_path / "a.wav", both, 8000, subtype="FLOAT")
    torch.testing.assert_close(read_sound(tmp_path / "a.wav")[0], torch.from_numpy(both.mean(1)))


def test_files_inside_archives_are_read_from_memory(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(440, 8000), 8000)
    packed = Packed("inside/a.wav", path.read_bytes())
    assert torch.equal(read_sound(packed)[0], read_sound(path)[0])
    with pytest.raises(InputError, match=r"cannot read the sound: inside/b.wav: got Format not recogni"):
        read_sound(Packed("inside/b.wav", b"no sound at all"))


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(InputError, match=rf"cannot read the sound: {tmp_path}/a.wav: got Format .*Convert it."):
        read_sound(tmp_path / "a.wav")
    with pytest.raises(InputError, match="cannot read the sound: .*/b.wav: got no such file. Check the path"):
        read_sound(tmp_path / "b.wav")
    soundfile.write(tmp_path / "c.wav", np.zeros(0), 8000)
    with pytest.raises(InputError, match="a recording without samples: .*/c.wav$"):
        read_sound(tmp_path / "c.wav")
    soundfile.write(tmp_path / "d.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(InputError, match="no finite numbers: .*/d.wav. Save it as 16 bits"):
        read_sound(tmp_path / "d.wav")


def test_loud_samples_are_clipped_when_written(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", torch.tensor([-3.0, 0.0, 3.0]), 8000)
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav")[0], [-1, 0, 1], atol=1e-4)


@pytest.mark.parametrize(("rate", "to"), [(44100, 8000), (16000, 8000), (8000, 22050)])
def test_a_resampled_tone_is_the_tone(rate: int, to: int) -> None:
    made, wanted = resample(tone(440, rate), rate, to), tone(440, to)
    assert len(made) == -(-rate // 2 * to // rate)
    inside = slice(to // 50, -to // 50)
    assert (made[: len(wanted)] - wanted)[inside].abs().max() < 2e-3


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    assert tone(5000, 16000).square().mean() > 0.1
    assert resample(tone(5000, 16000), 16000, 8000)[200:-200].abs().max() < 0.01  # taking every second would alias it
    sound = tone(100, 8000)
    assert resample(sound, 8000, 8000) is sound


@given(st.integers(1, 30), st.integers(1, 30))
def test_centered_keeps_the_middle(length: int, wanted: int) -> None:
    samples = torch.arange(1.0, length + 1)
    made = centered(samples, wanted)
    assert len(made) == wanted
    kept = made[made != 0]
    assert len(kept) == min(length, wanted)
    assert torch.equal(kept, torch.arange(float(kept[0]), float(kept[-1]) + 1))
    before, after = (made[0] == 0).sum() if wanted > length else 0, 0
    first = int((made != 0).nonzero()[0])
    after = wanted - first - len(kept)
    assert abs(first - after) <= 1
    lost = (kept[0] - 1, length - kept[-1])
    assert abs(lost[0] - lost[1]) <= 1
    del before


@pytest.mark.parametrize(("ending", "head"), [("wav", 44), ("aiff", 54), ("au", 24)])
def test_a_recording_that_was_cut_short_is_named(tmp_path: Path, ending: str, head: int) -> None:
    whole = write_sound(tmp_path / f"a.{ending}", tone(440, 8000), 8000).read_bytes()
    assert len(whole) == head + 8000
    with pytest.raises(InputError, match=r"cut short: b: expected 8,00\d bytes, got 1,9\d\d bytes. Copy it again.$"):
        read_sound(Packed("b", whole[:2000]))
    assert torch.equal(
        read_sound(Packed("b", whole[:-1]))[0], read_sound(tmp_path / f"a.{ending}")[0][:-1]
    )  # a pad byte


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_does_not_know_its_length(tmp_path: Path, length: int) -> None:
    whole = bytearray(write_sound(tmp_path / "a.wav", tone(440, 8000), 8000).read_bytes())
    whole[40:44] = length.to_bytes(4, "little")
    assert torch.equal(read_sound(Packed("b", bytes(whole)))[0], read_sound(tmp_path / "a.wav")[0])
