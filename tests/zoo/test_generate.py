"""WaveNet makes up levels: as the whole network run again for each sample would."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import zoo
from striate.errors import InputError
from striate.zoo import wavenet
from striate.zoo.wavenet import generate, mu_law_decode, mu_law_encode

SMALL = {"stacks": 2, "layers": 4, "residual": 6, "skip": 5, "num_classes": 16}


def small(**options: int) -> nn.Module:
    torch.manual_seed(0)
    net = zoo.build("wavenet", **{"in_channels": 16, **SMALL, **options}).double().eval()
    for path, parameter in net.named_parameters():  # so that levels are not all alike
        parameter.data *= 4 if path.endswith("weight") else 0
    return net


def read_by(net: nn.Module, levels: Tensor) -> Tensor:
    if net.first.in_channels == 1:
        return mu_law_decode(levels, 16).double()[:, None]
    return F.one_hot(levels, 16).transpose(1, 2).double()


@torch.no_grad()
def naively(net: nn.Module, prompt: Tensor, steps: int, noise: Tensor | None, *conditions: Tensor) -> Tensor:
    """The full network on all levels so far, for each new one."""
    levels = prompt
    for t in range(steps):
        parts = [c if c.dim() == 2 else c[:, :, : levels.shape[1]] for c in conditions]
        names = ["speaker", "features"][: len(parts)]
        logits = net(read_by(net, levels), **dict(zip(names, parts, strict=True)))[:, :, -1]
        new = (logits if noise is None else logits / 0.7 + noise[t]).argmax(1, keepdim=True)
        levels = torch.cat([levels, new], 1)
    return levels[:, prompt.shape[1] :]


@pytest.mark.parametrize("channels", [16, 1])
@pytest.mark.parametrize("seed", [None, 3])
def test_generation_is_naive_regeneration(channels: int, seed: int | None) -> None:
    net = small(in_channels=channels)
    prompt = torch.randint(0, 16, (3, 7))
    generator, noise, options = None, None, {"temperature": 0.0}
    if seed is not None:
        drawn = torch.empty(256, 3, 16, dtype=torch.float64)
        noise = -drawn.exponential_(generator=torch.Generator().manual_seed(seed)).log()
        generator, options = torch.Generator().manual_seed(seed), {"temperature": 0.7}
    made = generate(net, 40, prompt=prompt, generator=generator, **options)
    assert torch.equal(made, naively(net, prompt, 40, noise))
    assert len(made.unique()) > 3


def test_conditioned_generation_is_naive_regeneration() -> None:
    net = small(global_channels=2, local_channels=3)
    prompt = torch.randint(0, 16, (2, 4))
    speaker = torch.randn(2, 2, dtype=torch.float64)
    features = torch.randn(2, 3, 4 + 29, dtype=torch.float64)
    made = generate(net, 30, prompt=prompt, speaker=speaker, features=features, temperature=0)
    assert torch.equal(made, naively(net, prompt, 30, None, speaker, features))
    other = generate(net, 30, prompt=prompt, speaker=speaker + 2, features=features, temperature=0)
    assert not torch.equal(made, other)


def test_levels_are_drawn_from_the_softmax_of_the_full_network() -> None:
    """Teacher-forced: given the levels, the full network's probabilities are those with which they were drawn."""
    net = small(stacks=1, layers=2)
    made = generate(net, 2, streams=4000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        silence = read_by(net, torch.full((1, 1), 8))
        first = net(silence)[0, :, -1].softmax(0)
        top = int(first.argmax())
        second = net(read_by(net, torch.tensor([[8, top]])))[0, :, -1].softmax(0)
    counts = torch.bincount(made[:, 0], minlength=16) / 4000
    assert (counts - first).abs().max() < 0.03
    after = made[made[:, 0] == top, 1]
    assert (torch.bincount(after, minlength=16) / len(after) - second).abs().max() < 4 / len(after) ** 0.5


def test_a_longer_generation_begins_with_the_shorter_and_starts_from_silence() -> None:
    net = small()
    runs = [generate(net, n, streams=2, generator=torch.Generator().manual_seed(1)) for n in (20, 300)]
    assert torch.equal(runs[0], runs[1][:, :20])
    silent = generate(net, 20, prompt=torch.full((2, 1), 8), generator=torch.Generator().manual_seed(1), progress=True)
    assert torch.equal(silent, runs[0])


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "steps": ({"steps": 0}, "generates one sample or more, from one or more: got 0 from 1"),
    "temperature": ({"temperature": -1.0}, "a temperature is 0 or more: got -1.0"),
    "levels": (
        {"prompt": torch.full((1, 3), 16)},
        "prompt has levels of the network: expected 0 to 15, got 16 to 16",
    ),
    "items": (
        {"prompt": torch.zeros(2, 3).long(), "speaker": torch.zeros(3, 2)},
        r"one item a stream: expected 2, got \[2, 3\]",
    ),
    "features": (
        {"features": torch.zeros(1, 3, 9), "steps": 4},
        "features are given for each sample that is read: expected 4, got 9",
    ),
    "condition": ({"speaker": torch.zeros(1, 2)}, "condition does not fit: speaker: expected none, got some"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input(name: str) -> None:
    options, message = ERRORS[name]
    with pytest.raises(InputError, match=message):
        generate(small(), **{"steps": 4, **options})


def test_noise_in_half_precision_is_drawn_in_single_precision() -> None:
    """In float16 an exponential number that is rounded to 0 makes a level certain, however unlikely it is."""
    net = small().half()
    torch.nn.init.zeros_(net.post2.weight)  # the logits are the bias
    with torch.no_grad():
        net.post2.bias.copy_(torch.linspace(-3, 3, 16))
    made = generate(net, 300, streams=2, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    noise = torch.cat([-torch.empty(256, 2, 16).exponential_(generator=generator).log() for _ in range(2)])[:300]
    assert torch.equal(made, (net.post2.bias.detach().float() + noise).argmax(2).t())


def test_other_networks_do_not_generate() -> None:
    with pytest.raises(
        InputError,
        match=r"^only a WaveNet generates levels: got TCN. Stream other networks with striate.locality.stream.$",
    ):
        generate(zoo.build("tcn"), 3)
    with pytest.raises(InputError, match="goes on from its own levels: expected in_channels 16, or 1, got 3"):
        generate(small(in_channels=3), 3)


@pytest.mark.parametrize("levels", [2, 16, 256, 1000])
def test_mu_law_there_and_back(levels: int) -> None:
    codes = torch.arange(levels)
    amplitudes = mu_law_decode(codes, levels)
    assert torch.equal(mu_law_encode(amplitudes, levels), codes)
    assert amplitudes[0] == -amplitudes[-1]
    assert amplitudes[-1] == pytest.approx(1)
    mu = levels - 1
    by_definition = [(1 + mu) ** abs(2 * k / mu - 1) - 1 for k in range(levels)]
    torch.testing.assert_close(amplitudes.abs(), torch.tensor(by_definition) / mu, rtol=1e-4, atol=1e-6)


def test_random_numbers_are_drawn_by_the_chunk() -> None:
    assert wavenet.DRAWN == 256  # the noise above is made as generate makes it
