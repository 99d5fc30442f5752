from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from striate.data import Pictures
from striate.data.series import Series
from striate.data.signals import Spectrogram, Waveform
from striate.errors import InputError
from striate.interpret import color_of, maximize
from striate.interpret.features.canvas import (
    alpha_norm,
    blurred,
    canvas,
    limits_of,
    noise,
    total_variation,
)
from striate.interpret.features.maximize import moved
from striate.train import read_tensors


def linear(weights: torch.Tensor) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights[0].numel(), len(weights), bias=False))
    model[1].weight.data.copy_(weights.flatten(1))
    return model


def network(rank: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
    return nn.Sequential(conv(2, 4, 3, padding=1), nn.BatchNorm1d(4) if rank == 1 else nn.Identity(), nn.ReLU())


STILL = {"jitter": 0, "scale": 0.0, "rotate": 0.0}


@pytest.mark.parametrize("paint", ["pixels", "fourier"])
@pytest.mark.parametrize("shape", [(2, 7), (1, 3, 4, 3)])
def test_of_a_linear_model_the_direction_of_its_weights(paint: str, shape: tuple[int, ...]) -> None:
    weights = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    found = maximize(linear(weights), shape, target=1, paint=paint, norm=3.0, starts=2, steps=220, rate=0.1, **STILL)
    expected = 3 * weights[1] / weights[1].norm()  # Cauchy and Schwarz
    torch.testing.assert_close(found.x, expected.expand(2, *shape), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, torch.full((2,), 3 * float(weights[1].norm())), rtol=1e-4, atol=0)


def test_within_limits_a_linear_model_is_greatest_in_a_corner() -> None:
    weights = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0])
    options = {"limits": (low, high), "rate": 0.2, "steps": 100, **STILL}
    found = maximize(linear(weights), (2, 3, 3), target=0, paint="pixels", **options)
    expected = torch.where(weights > 0, high[:, None, None], low[:, None, None])
    assert torch.equal(found.x, expected.expand(4, -1, -1, -1))


def test_an_l2_penalty_has_the_closed_form_of_a_ridge() -> None:
    weights = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = maximize(linear(weights), (1, 4, 4), target=0, paint="pixels", l2=16.0, starts=1, **STILL)
    # w·x - 16 mean(x²) = w·x - x²/1 with 16 values: x = w / 2
    torch.testing.assert_close(found.x, weights / 2, atol=1e-3, rtol=0)


def test_letters_are_distributions_and_find_the_best_word() -> None:
    weights = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(2))
    found = maximize(linear(weights), (4, 6), target=0, paint="letters", rate=0.3, steps=100, **STILL)
    torch.testing.assert_close(found.x.sum(1), torch.ones(4, 6))
    assert torch.equal(found.x.argmax(1), weights.argmax(1).expand(4, 6))
    assert found.plot().axes


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_channels_units_and_layers_of_any_rank(rank: int) -> None:
    model, shape = network(rank), (2, *(8, 8, 8)[:rank])
    for options in ({"target": 1}, {"target": 1, "unit": (3,) * rank}, {"target": lambda y: y.square()}):
        found = maximize(model, shape, layer="0", steps=8, starts=2, **options)
        assert found.x.shape == (2, *shape)
        assert found.curve.shape == (9, 2)
        assert (found.scores > found.curve[0]).all()
        assert found.plot().axes


def test_a_unit_sees_its_window_alone() -> None:
    found = maximize(network(), (2, 9, 9), target=0, layer="0", unit=(4, 4), paint="pixels", starts=1, **STILL)
    start = noise((2, 9, 9), 1, found.x, None, 0, 0.1)
    outside = torch.ones(9, 9, dtype=torch.bool)
    outside[3:6, 3:6] = False
    assert torch.equal(found.x[:, :, outside], start[:, :, outside])
    assert not torch.equal(found.x, start)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    def run(seed: int) -> torch.Tensor:
        return maximize(network(), (2, 8, 8), target=0, steps=4, starts=2, seed=seed).x

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_the_best_of_the_data_stands_beside() -> None:
    model, items = linear(torch.ones(1, 1, 2, 2)), torch.arange(24.0).view(6, 1, 2, 2)
    found = maximize(model, (1, 2, 2), target=0, steps=2, data=[items[:3], (items[3:], torch.zeros(3))])
    assert found.best_score == 20 + 21 + 22 + 23
    assert torch.equal(found.best, items[5:])
    assert "data's best" in [cell for column in found.table().columns for cell in column.cells]
    assert found.plot().axes


def test_diversity_drives_the_starts_apart() -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 6, 5)

    def alike(weight: float) -> float:
        found = maximize(model, (3, 9, 9), target=lambda y: y.square(), norm=1.0, diversity=weight, steps=64, **STILL)
        maps = model(found.x).detach().flatten(2)
        gram = F.normalize((maps @ maps.mT).flatten(1), dim=1)
        return float((gram @ gram.T).triu(1).sum() / 6)

    assert alike(50.0) < alike(0.0) - 0.05


def test_the_network_is_left_as_found_and_its_gradients_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    maximize(model, (1, 6, 6), target=0, steps=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_blur_smooths_and_tv_does() -> None:
    model = linear(torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    plain, blur, flat = (
        total_variation(maximize(model, (1, 8, 8), target=0, paint="pixels", norm=n, steps=40, **STILL, **options).x)
        for n, options in ((None, {}), (None, {"blur": 2}), (None, {"tv": 30.0}))
    )
    assert (blur < plain / 2).all()
    assert (flat < plain / 2).all()


def test_what_was_found_is_saved(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    found = maximize(network(), (2, 8, 8), target=2, steps=3, progress=lambda *done: told.append(done))
    found.save(tmp_path / "found.safetensors")
    tensors, facts = read_tensors(tmp_path / "found.safetensors")
    assert torch.equal(tensors["x"], found.x)
    assert facts["parameters"]["target"] == 2
    assert found.json()["scores"] == found.scores.tolist()
    assert told[-1] == (3, 3, "maximize")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": None}, "nothing to maximize: expected a target: a class, a channel or a function, got None"),
        ({"target": 9}, "no such target: expected 0 to 3"),
        ({"target": 0, "layer": "7"}, "no such layer"),
        ({"target": 0, "unit": (9, 0)}, "no such unit: expected a position in a map \\(8, 8\\), got \\(9, 0\\)"),
        ({"target": 0, "paint": "oil"}, "unknown canvas: expected fourier or pixels or letters, got 'oil'"),
        ({"target": 0, "norm": -1.0}, "a norm does not go with this"),
        ({"target": 0, "norm": 1.0, "limits": (0, 1)}, "a norm does not go with this"),
        ({"target": 0, "limits": (1, 0)}, "no range of values: .* low below high"),
        ({"target": 0, "limits": (0, [1, 2, 3])}, "no range of values: .* each a number or 2 of them"),
        ({"target": 0, "limits": 3}, "no range of values"),
        ({"target": 0, "steps": 0}, "cannot maximize: expected starts and steps of at least 1"),
        ({"target": 0, "tv": -1.0}, "cannot maximize: expected tv, l2, .* of at least 0"),
        ({"target": 0, "blur": 3}, "only pixels are blurred: expected paint='pixels', got fourier"),
    ],
)
def test_what_cannot_be_maximized(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        maximize(network(), (2, 8, 8), **options)


def test_a_shape_that_is_none_and_a_start_that_is_not_finite() -> None:
    with pytest.raises(InputError, match=r"no shape of an input: expected \(c, \*space\), .* got \(2, 0\)"):
        maximize(network(), (2, 0), target=0)
    with pytest.raises(InputError, match="the input has a value that is no number"):
        maximize(network(), torch.full((1, 2, 8, 8), math.nan), target=0)


def test_limits_of_a_card_are_those_of_pixels() -> None:
    preprocess = Pictures((3, 4, 4), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
    low, high = limits_of(preprocess, torch.zeros(1, 3, 4, 4))
    torch.testing.assert_close(low.flatten(), torch.tensor([-2.5, -1.6, -0.6]))
    torch.testing.assert_close(high.flatten(), torch.tensor([2.5, 2.4, 1.4]))
    found = maximize(nn.Conv2d(3, 1, 3), (3, 4, 4), target=0, limits=preprocess, steps=20, spread=1.0)
    assert ((found.x >= low) & (found.x <= high)).all()


def test_sound_swings_around_zero_and_spectrograms_have_no_limits() -> None:
    ends = limits_of(Waveform(8000, 16, scale=0.5), torch.zeros(1, 1, 16))
    assert [end.item() for end in ends] == [-2, 2]
    spoken = Spectrogram(8000, 8000, mean=(0.0,) * 40, std=(1.0,) * 40)
    assert limits_of(spoken, torch.zeros(1, *spoken.shape)) is None
    assert limits_of(Series(1, 24), torch.zeros(1, 1, 24)) is None


@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 99))
@settings(max_examples=20)
def test_a_canvas_shows_what_it_starts_with(rank: int, channels: int, limited: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sides = torch.randint(2, 6, (rank,), generator=generator).tolist()
    start = torch.rand(2, channels, *sides, generator=generator) * 0.9 + 0.05
    bounds = limits_of((0, 1), start) if limited else None
    mix = torch.eye(channels) + 0.3 * torch.rand(channels, channels, generator=generator)
    for kind in ("pixels", "fourier"):
        color = mix if kind == "fourier" else None
        shown = canvas(kind, start, limits=bounds, color=color).paint()
        torch.testing.assert_close(shown, start, atol=1e-4, rtol=1e-4)


def test_total_variation_and_alpha_norm_by_hand() -> None:
    x = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]])
    # squared differences to the one below and the one to the right: (4 + 1), 9, 4, 0
    torch.testing.assert_close(total_variation(x), torch.tensor([18 / 4]))
    torch.testing.assert_close(total_variation(x, 1.0), torch.tensor([(5**0.5 + 3 + 2) / 4]), atol=1e-5, rtol=0)
    torch.testing.assert_close(alpha_norm(x, 3), torch.tensor([(1 + 8 + 64) / 4]))
    assert torch.equal(blurred(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 5, 5))


def test_color_of_is_a_root_of_the_covariance() -> None:
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, 1] += x[:, 0]
    root = color_of(x)
    covariance = torch.cov(x.transpose(0, 1).flatten(1))
    ratio = (root @ root.T) / covariance
    torch.testing.assert_close(ratio, ratio[0, 0].expand(3, 3), atol=1e-3, rtol=1e-3)


def test_jitter_moves_by_whole_positions() -> None:
    x = torch.arange(25.0).view(1, 1, 5, 5)
    generator = torch.Generator().manual_seed(0)
    seen = {float(moved(x, generator, 1, 0.0, 0.0)[0, 0, 2, 2].round(decimals=3)) for _ in range(60)}
    assert seen == {6.0, 7.0, 8.0, 11.0, 12.0, 13.0, 16.0, 17.0, 18.0}
