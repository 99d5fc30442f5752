from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.errors import InputError
from striate.interpret import fit_gabors, gabor
from striate.train.checkpoint import read_tensors


def apart(one: float, other: float, period: float) -> float:
    return abs((one - other + period / 2) % period - period / 2)


@settings(max_examples=8)
@given(
    orientation=st.floats(4, 176),
    frequency=st.floats(0.12, 0.3),
    phase=st.floats(-180, 180),
    sigma=st.tuples(st.floats(1.6, 2.4), st.floats(1.6, 3)),
    color=st.sampled_from([(1.0,), (1.0, 0.2, -0.6)]),
)
def test_a_planted_gabor_function_is_found(
    orientation: float, frequency: float, phase: float, sigma: tuple[float, float], color: tuple[float, ...]
) -> None:
    plain = gabor((11, 11), orientation=orientation, frequency=frequency, phase=phase, sigma=sigma)
    kernel = torch.tensor(color)[:, None, None] * plain
    noise = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0)) * 0.02
    (found,) = fit_gabors((kernel + noise)[None]).rows
    assert found.verdict == "oriented"
    assert found.r2 > 0.95
    assert abs(found.orientation - orientation) < 3
    assert abs(found.frequency - frequency) < 0.02
    # The larger part of a color is positive, so the planted sign comes back.
    assert apart(found.phase, phase, 360) < 15
    assert np.allclose(found.sigma, sigma, rtol=0.2)


def test_the_equation() -> None:
    made = gabor((5, 7), orientation=30, frequency=0.2, phase=40, sigma=(1.5, 2.5), center=(0.5, -1))
    wave = math.radians(30 + 90)  # the wave runs at right angles to its bars; rows count downwards
    for row in range(5):
        for column in range(7):
            y, x = row - 2 - 0.5, column - 3 + 1
            along = x * math.cos(wave) - y * math.sin(wave)
            across = x * math.sin(wave) + y * math.cos(wave)
            value = math.exp(-(along**2) / 2 / 1.5**2 - across**2 / 2 / 2.5**2)
            value *= math.cos(2 * math.pi * 0.2 * along + math.radians(40))
            assert float(made[row, column]) == pytest.approx(value, abs=1e-6)


def test_bars_lie_where_the_orientation_says() -> None:
    across = gabor((9, 9), orientation=0, frequency=0.2, sigma=(2, 2))
    up = gabor((9, 9), orientation=45, frequency=0.2, sigma=(2, 9))
    assert torch.allclose(across, across.flip(1))
    assert float(across[4].mean()) > 0.4 > float(across[:, 4].mean())  # a horizontal bar
    assert float(up.flip(0).diagonal().min()) > 0.3  # from the bottom left to the top right


def test_noise_is_no_gabor() -> None:
    generator = torch.Generator().manual_seed(1)
    for shape in ((10, 1, 5, 5), (4, 3, 7, 7), (3, 1, 11, 11)):
        found = fit_gabors(torch.randn(shape, generator=generator))
        assert [row.verdict for row in found.rows] == ["no Gabor"] * len(found.rows)
        assert sum(found.histogram()) == 0


def test_blobs_have_no_orientation_and_elongated_ones_have() -> None:
    round_, long = (gabor((9, 9), orientation=30, frequency=0.0, sigma=sigma) for sigma in ((2, 2), (1, 3)))
    found = fit_gabors(torch.stack([round_, long])[:, None]).rows
    assert [row.verdict for row in found] == ["blob", "oriented"]
    assert found[0].r2 > 0.999
    assert apart(found[1].orientation, 30, 180) < 1


def test_the_share_of_variance_by_definition() -> None:
    weights = torch.randn(3, 2, 7, 7, generator=torch.Generator().manual_seed(2))
    found = fit_gabors(weights)
    for kernel, made, row in zip(weights, found.fitted, found.rows, strict=True):
        rest = ((kernel - made) ** 2).sum()
        total = ((kernel - kernel.mean((1, 2), keepdim=True)) ** 2).sum()
        assert row.r2 == pytest.approx(float(1 - rest / total), abs=1e-5)
        assert row.adjusted == pytest.approx(1 - (1 - row.r2) * 48 / 40)


def test_filters_of_signals() -> None:
    made = gabor((32,), frequency=0.11, phase=90, sigma=(5,))
    (row,) = fit_gabors(made[None, None]).rows
    assert (row.verdict, round(row.frequency, 3), round(row.phase)) == ("oriented", 0.11, 90)
    figure = fit_gabors(made[None, None]).plot()
    figure.savefig(io.BytesIO())


def test_histogram_pictures_and_files(tmp_path: Path) -> None:
    kernels = [gabor((9, 9), orientation=o, frequency=0.2, sigma=(2, 2)) for o in (0, 44, 46, 88, 178)]
    kernels += [torch.zeros(9, 9)]
    found = fit_gabors(torch.stack(kernels)[:, None])
    assert found.title() == "5 of 6 kernels are oriented, 0 blobs, 1 no Gabor"
    assert found.histogram(4) == (2, 2, 1, 0)  # around 0, 45, 90 and 135 degrees
    found.plot().savefig(io.BytesIO())
    assert found.table().row_count == 6
    found.save(tmp_path / "g.safetensors")
    tensors, facts = read_tensors(tmp_path / "g.safetensors")
    assert torch.equal(tensors["fitted"], found.fitted)
    assert facts["kernels"][1]["verdict"] == "oriented"


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 1, 7, 7, 7), (4, 2, 7), (0, 1, 7, 7)])
def test_kernels_that_no_gabor_function_fits_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="no Gabor function fits kernels of this size: expected 2 axes of at least 5"):
        fit_gabors(torch.randn(shape))
