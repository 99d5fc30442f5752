"""Small networks learn tones, shapes of series and the next sample of a tone: from files to scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import striate
from striate.data.sound import read_sound, write_sound
from striate.runs import conclude, load, open_session, predict, record
from striate.train import evaluate, fit


def tones(root: Path, count: int = 24) -> Path:
    """Two classes: pure tones that rise and that fall, at any pitch, loudness and length."""
    random = np.random.default_rng(0)
    for name, direction in (("falling", -1), ("rising", 1)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            seconds, pitch = random.uniform(0.15, 0.25), random.uniform(500, 1000)
            time = torch.arange(round(4000 * seconds)) / 4000
            phase = 2 * torch.pi * (pitch * time + direction * 300 / 2 * time**2 / seconds)
            write_sound(root / name / f"{i}.wav", random.uniform(0.1, 0.9) * torch.sin(phase), 4000)
    return root


def train(recipe: striate.Recipe) -> Any:
    """The session after its training, and the scores."""
    session = open_session(recipe)
    for _ in fit(session.model, session.task, session.data, session.recipe):
        pass
    kept, targets = evaluate(
        session.model, session.task, session.data.tested, session.data.preprocess, torch.device("cpu")
    )
    return session, session.task.score(kept, targets)


OPTIONS: dict[str, Any] = {"validation": 0.0, "device": "cpu", "optimizer": "adamw", "learning_rate": 0.01}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("resnet20:width=0.25", "spectrogram:seconds=0.25,bands=20,hop=0.01"),
        ("ts_fcn:width=0.25", "spectrogram:seconds=0.25,bands=20,hop=0.01,form=channels"),
        ("m5:width=0.1", "waveform:seconds=0.25"),
    ],
)
def test_tones_that_rise_and_fall(tmp_path: Path, model: str, inputs: str) -> None:
    recipe = striate.Recipe(
        model=model, data=f"wav:{tones(tmp_path)}", inputs=inputs, epochs=25, batch_size=12, test=0.4, **OPTIONS
    )  # fmt: skip
    _, scores = train(recipe)
    assert scores.n >= 18
    assert scores.accuracy >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ts_fcn:width=0.25", "ts_resnet:width=0.25"])
def test_sines_and_squares(tmp_path: Path, model: str) -> None:
    """With the recipe of the archive: no validation part, plateaus and the best weights by the training loss."""
    random, folder = np.random.default_rng(0), tmp_path / "Waves"
    folder.mkdir()
    for part, count in (("TRAIN", 20), ("TEST", 60)):
        rows = []
        for i in range(count):
            wave = np.sin(2 * np.pi * (np.arange(50) / random.uniform(10, 20) + random.uniform()))
            wave = np.sign(wave) if i % 2 else wave
            rows.append("\t".join(map(str, [i % 2, *(wave + 0.1 * random.normal(size=50)).round(4)])))
        (folder / f"Waves_{part}.tsv").write_text("\n".join(rows))
    recipe = striate.Recipe(
        model=model, data=f"ucr:{folder}", epochs=30, batch_size=10, schedule="plateau", step_epochs=5,
        step_factor=0.5, patience=31, **OPTIONS,
    )  # fmt: skip
    session, scores = train(recipe)
    assert (len(session.data.train), scores.n) == (20, 60)
    assert scores.accuracy >= 0.95


@pytest.mark.slow
def test_a_wavenet_learns_a_tone_and_goes_on_with_it(tmp_path: Path) -> None:
    """Noise of 1 % on a tone: its levels are foreseen better than from the sample before, and the tone goes on."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "sound" / name).mkdir(parents=True)
        for i in range(16):
            time = torch.arange(400) / 2000
            tone = 0.5 * torch.sin(2 * torch.pi * (100 * time + random.uniform()))
            write_sound(
                tmp_path / "sound" / name / f"{i}.wav", tone + 0.01 * torch.from_numpy(random.normal(size=400)), 2000
            )
    recipe = striate.Recipe(
        model="wavenet:stacks=1,layers=5,residual=16,skip=16", data=f"wav:{tmp_path / 'sound'}", test=0.3,
        task="generate:levels=32,seconds=0.2,temperature=0", inputs="waveform", augment=("excerpt:300",), epochs=100,
        batch_size=8, **OPTIONS,
    )  # fmt: skip
    session = open_session(recipe)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(session.recipe.yaml())
    for _ in record(fit(session.model, session.task, session.data, session.recipe), folder):
        pass
    scores = conclude(session, folder).scores
    assert scores.uniform == 5
    assert scores.bits_per_sample < 0.85 * scores.previous < scores.unigram
    model, card = load(folder)
    (result,) = predict(model, card, [tmp_path / "sound" / "a" / "3.wav"])
    path, _ = result.save(tmp_path / "made", "a", None)
    sound, rate = read_sound(path)
    assert rate == 2000
    assert len(sound) == 800
    spectrum = torch.fft.rfft(sound[400:]).abs()
    assert abs(int(spectrum[1:].argmax()) + 1 - 20) <= 1  # 100 Hz in 0.2 s: 20 periods
