"""The whitening of the fast CIFAR-10 network; its shapes are counted with all others."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from striate import zoo
from striate.zoo.cifar_fast import whitening


def correlated(n: int = 64) -> torch.Tensor:
    """Smooth colored noise."""
    torch.manual_seed(0)
    return F.avg_pool2d(torch.randn(n, 3, 16, 16), 3, 1) @ torch.eye(14) + 0.3 * torch.randn(n, 1, 1, 1)


def test_responses_are_uncorrelated_and_of_one_size() -> None:
    images = correlated()
    responses = F.conv2d(images, whitening(images, 2, floor=0.0)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(responses @ responses.T / responses.shape[1], torch.eye(12), atol=1e-3, rtol=0)


def test_filters_are_those_of_numpys_principal_axes() -> None:
    images = correlated(8)
    patches = np.lib.stride_tricks.sliding_window_view(images.double().numpy(), (2, 2), axis=(2, 3))
    rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    _, values, axes = np.linalg.svd(rows, full_matrices=False)
    expected = (axes / np.sqrt(values**2 / len(rows) + 5e-4)[:, None])[::-1]  # eigh has the least first
    ours = whitening(images.double(), 2).flatten(1).numpy()
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), rtol=1e-5, atol=1e-7)


def test_prepare_computes_the_first_layer_which_is_not_trained() -> None:
    net, images = zoo.build("cifar_fast", width=0.125), correlated(8)
    net.prepare(images)
    weight = net.whiten.weight
    assert torch.equal(weight[:12], -weight[12:])
    torch.testing.assert_close(weight[:12], whitening(images, 2))
    assert not weight.requires_grad


def test_convolutions_start_as_the_identity_on_their_first_channels() -> None:
    conv = zoo.build("cifar_fast", width=0.5).groups[1].conv1
    x = torch.rand(1, 32, 5, 5)
    torch.testing.assert_close(conv(x)[:, :32], x)
