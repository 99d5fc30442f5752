"""The task of WaveNet: next samples, bits, baselines, and sound that goes on."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from striate import zoo
from striate.data import Data, Items, Meaning, Waveform
from striate.data.sound import read_sound
from striate.errors import InputError
from striate.tasks import Continuation, Generate, intervals, read_task, task_of
from striate.tasks.generate import IGNORED, baselines, sounding
from striate.zoo.wavenet import generate, mu_law_decode, mu_law_encode

TASK = Generate(rate=1000, levels=16, seconds=0.02)


def waveforms(count: int = 3, length: int = 12) -> torch.Tensor:
    samples = 0.9 * torch.randn(count, 1, length, generator=torch.Generator().manual_seed(0)).tanh()
    samples[1, 0, :4] = 0
    samples[2, 0, 9:] = 0
    return samples


def network(channels: int = 16) -> nn.Module:
    torch.manual_seed(0)
    return zoo.build(
        "wavenet", num_classes=16, in_channels=channels, stacks=1, layers=3, residual=4, skip=4
    ).eval()  # fmt: skip


def data() -> Data:
    """Two recordings to train on, two to test."""
    stored = (waveforms(4, 50) * 32767).round().short()
    meaning = Meaning("class", ("a", "b"))
    parts = [Items(stored[k : k + 2], torch.tensor([0, 1]), meaning, ("x", "y")) for k in (0, 2)]
    return Data(parts[0], None, parts[1], Waveform(1000, 50))


def test_what_fills_a_recording_up_is_not_scored() -> None:
    samples = torch.tensor([[0.0, 0.0, 0.3, 0.0, -0.2, 0.0], [0.0] * 6, [0.1] * 6])
    inside = [[False, False, True, True, True, False], [False] * 6, [True] * 6]
    assert sounding(samples).tolist() == inside
    targets = TASK.targets(samples[:, None])
    assert ((targets == IGNORED) == ~torch.tensor(inside)).all()


def test_the_network_reads_one_step_before_its_target() -> None:
    samples = waveforms()
    inputs, targets = TASK.example(samples, torch.zeros(3), torch.Generator())
    assert inputs.shape == (3, 16, 11)
    assert (inputs.sum(1) == 1).all()
    levels = mu_law_encode(samples[:, 0], 16)
    assert torch.equal(inputs.argmax(1), levels[:, :-1])
    known = targets != IGNORED
    assert torch.equal(targets[known], levels[:, 1:][known])
    assert known.sum(1).tolist() == [11, 8, 8]
    amplitudes, _ = Generate(rate=1000, levels=16, one_hot=False).example(samples, targets, torch.Generator())
    torch.testing.assert_close(amplitudes[:, 0], mu_law_decode(levels[:, :-1], 16))


def test_loss_and_bits_by_definition() -> None:
    _, targets = TASK.example(waveforms(), torch.zeros(3), torch.Generator())
    output = torch.randn(3, 16, 11, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    probabilities = np.exp(output.numpy())
    probabilities /= probabilities.sum(1, keepdims=True)
    nats = [
        -math.log(probabilities[n, targets[n, t], t]) for n in range(3) for t in range(11) if targets[n, t] != IGNORED
    ]
    assert TASK.loss(output, targets).item() == pytest.approx(sum(nats) / len(nats))
    kept = torch.cat([TASK.keep(output[:1], targets[:1]), TASK.keep(output[1:], targets[1:])])  # two batches
    scores = TASK.score(kept, targets)
    assert scores.bits_per_sample == pytest.approx(sum(nats) / len(nats) / math.log(2), rel=1e-5)
    assert (scores.n, scores.samples, scores.uniform) == (3, len(nats), 4.0)
    assert TASK.metrics(kept, targets)["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert next(iter(list(scores.summary())[1:])) == "bits_per_sample"
    assert scores.json()["samples"] == len(nats)
    assert scores.table().row_count == 4
    assert set(intervals(TASK, kept, targets, resamples=10)) == {"bits_per_sample", "loss"}  # no counts, no constants


def test_a_network_that_knows_nothing_needs_all_bits() -> None:
    _, targets = TASK.example(waveforms(), torch.zeros(3), torch.Generator())
    assert TASK.loss(torch.zeros(3, 16, 11), targets).item() == pytest.approx(math.log(16))
    nothing = torch.full((3, 11), IGNORED)
    assert TASK.loss(torch.zeros(3, 16, 11), nothing) == 0


def test_baselines_by_counting() -> None:
    random = np.random.default_rng(0)
    train, tested = (random.integers(0, 4, (3, 40)) for _ in range(2))
    train[0, :7] = tested[1, -9:] = IGNORED
    unigram, previous = baselines(torch.from_numpy(train), torch.from_numpy(tested), 4)

    def pairs(rows: np.ndarray) -> list[tuple[int, int]]:
        found = [(int(a), int(b)) for row in rows for a, b in pairwise(row) if b != IGNORED]
        return [(2 if a == IGNORED else a, b) for a, b in found]

    counts = np.full(4, 0.5)
    after = np.zeros((4, 4))
    for a, b in pairs(train):
        counts[b] += 1
        after[a, b] += 1
    share = counts / counts.sum()
    rows = (after + 4 / 16 * share) / (after.sum(1, keepdims=True) + 4 / 16)
    np.testing.assert_allclose(rows.sum(1), 1)
    bits = [(-math.log2(share[b]), -math.log2(rows[a, b])) for a, b in pairs(tested)]
    assert (unigram, previous) == pytest.approx(tuple(np.mean(bits, 0)))


def test_the_previous_sample_says_everything_of_a_cycle() -> None:
    cycle = (torch.arange(4000) % 8)[None]
    unigram, previous = baselines(cycle, cycle, 8)
    assert unigram == pytest.approx(3, abs=0.01)
    assert previous == pytest.approx(0, abs=0.01)


def test_the_task_of_waveforms() -> None:
    task = task_of("generate:levels=16,seconds=0.01", data())
    assert isinstance(task, Generate)
    assert (task.rate, task.outputs, task.in_channels(1), task.scaled) == (1000, 16, 16, False)
    train, tested = (task.targets(part.inputs / 32767) for part in (data().train, data().test))
    assert (task.unigram, task.previous) == pytest.approx(baselines(train, tested, 16))
    assert read_task(task.json()) == task
    assert task_of("generate:one_hot=false", data()).in_channels(1) == 1
    assert task.encode(["a", "b"]).shape == (2, 0)


def test_a_recording_goes_on_from_its_end(tmp_path: Path) -> None:
    net, samples = network(), waveforms()
    inputs, _ = TASK.example(samples, torch.zeros(3, 0), None)
    assert inputs.shape == (3, 16, 12)
    results = TASK.answer(net, inputs)
    levels = mu_law_encode(samples[2, 0, :9], 16)
    made = generate(net, 20, prompt=levels[None], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(results[2].made, mu_law_decode(made[0], 16))
    torch.testing.assert_close(results[2].given, mu_law_decode(levels, 16))
    assert len(results[1].given) == 8
    path, picture = results[2].save(tmp_path / "new", "spoken", "given.wav")
    assert path == tmp_path / "new" / "spoken.wav"
    assert picture.read_bytes()[1:4] == b"PNG"
    heard, rate = read_sound(path)
    assert rate == 1000
    torch.testing.assert_close(heard, torch.cat([results[2].given, results[2].made]), atol=1e-4, rtol=0)
    row = results[2].row()
    assert (row["given_seconds"], row["made_seconds"]) == (0.009, 0.02)
    assert results[2].json() == {**row, "rate": 1000}


def test_silence_goes_on_from_silence() -> None:
    for one_hot in (True, False):
        task = Generate(rate=1000, levels=16, seconds=0.01, one_hot=one_hot)
        inputs, _ = task.example(torch.zeros(1, 1, 12), torch.zeros(1, 0), None)
        (result,) = task.answer(network(16 if one_hot else 1), inputs)
        assert len(result.given) == 0
        assert len(result.made) == 10


def test_decoded_outputs_are_the_next_sample() -> None:
    output = torch.zeros(1, 16, 5)
    output[0, 3, -1] = 1
    (result,) = TASK.decode(output)
    assert isinstance(result, Continuation)
    torch.testing.assert_close(result.made, mu_law_decode(torch.tensor([3]), 16))


def test_bad_input() -> None:
    with pytest.raises(InputError, match="cannot generate sound: expected 2 levels .* got 1 levels, temperature 1.0"):
        Generate(rate=1000, levels=1)
    other = data()
    pixels = Items(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), other.meaning, ("x", "y"))
    from striate.data import Pictures

    pictures = Data(pixels, None, None, Pictures((1, 4, 4), (0.0,), (1.0,)))
    with pytest.raises(InputError, match="by sample: expected inputs waveform, got pictures. Read the recordings"):
        task_of("generate", pictures)
    with pytest.raises(InputError, match=r"do not fit the samples: expected shape \(3, 16, 11\): .* got \(3, 16\)"):
        TASK.check(torch.zeros(3, 16), torch.zeros(3, 11, dtype=torch.int64))
    with pytest.raises(InputError, match="cannot score an empty set: expected at least one sample"):
        TASK.score(torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.int64))
