from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from striate.errors import InputError
from striate.tasks import psnr, ssim


def pairs(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(shape, generator=generator)
    return (truth + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1), truth


@pytest.mark.parametrize("shape", [(3, 3, 24, 17), (2, 1, 11, 40), (2, 1, 14, 15, 16)])
def test_both_are_those_of_torchmetrics(shape: tuple[int, ...]) -> None:
    estimate, truth = pairs(*shape)
    for i in range(shape[0]):
        one = slice(i, i + 1)
        want = peak_signal_noise_ratio(estimate[one], truth[one], data_range=1.0)
        assert psnr(estimate, truth)[i].item() == pytest.approx(want.item(), abs=1e-4)
        # Its map, without the border where its windows reach over the mirrored edge (Wang et al. leave that out).
        whole = (estimate[one].double(), truth[one].double())
        _, full = structural_similarity_index_measure(*whole, data_range=1.0, return_full_image=True)
        inside = full[(..., *(slice(5, -5),) * (len(shape) - 2))]
        assert ssim(estimate, truth)[i].item() == pytest.approx(inside.mean().item(), abs=1e-6)


def test_the_check_sees_other_measures() -> None:
    estimate, truth = pairs(1, 1, 32, 32)
    want = structural_similarity_index_measure(estimate, truth, data_range=1.0, sigma=2.5)
    assert abs(ssim(estimate, truth).item() - float(want)) > 1e-3


def test_nothing_differs() -> None:
    _, truth = pairs(2, 3, 12, 12)
    assert psnr(truth, truth).tolist() == [math.inf, math.inf]
    torch.testing.assert_close(ssim(truth, truth), torch.ones(2, dtype=torch.float64))
    flat = torch.full((1, 1, 12, 12), 0.3)
    torch.testing.assert_close(ssim(flat, flat), torch.ones(1, dtype=torch.float64))


def test_noise_of_25_levels_is_20_decibels() -> None:
    _, truth = pairs(1, 3, 200, 200)
    noisy = truth + 25 / 255 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    assert psnr(noisy, truth).item() == pytest.approx(20 * math.log10(255 / 25), abs=0.05)


def test_small_pictures_are_told() -> None:
    with pytest.raises(InputError, match=r"too small for structural similarity: expected sides of 11 or more, got"):
        ssim(torch.zeros(1, 1, 10, 20), torch.zeros(1, 1, 10, 20))
