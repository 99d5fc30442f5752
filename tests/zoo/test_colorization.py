from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.errors import InputError
from striate.zoo.colorization import annealed_mean


def test_sizes_and_channels_of_the_blocks() -> None:
    with torch.device("meta"):
        layers = describe(zoo.build("colorization").eval(), torch.rand(1, 1, 256, 256)).layers
    last = {layer.path.split(".")[0]: layer.shape[-3:] for layer in layers}
    halves = [(64, 128, 128), (128, 64, 64), (256, 32, 32)]
    assert list(last.values()) == [*halves, *[(512, 32, 32)] * 4, (313, 64, 64)]


def test_parameters_of_each_block() -> None:
    with torch.device("meta"):
        net = zoo.build("colorization")
    got = [sum(p.numel() for p in block.parameters()) for block in net.children()]
    want, given = [], 1
    for channels, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3), (512, 3), (512, 3)):
        want.append((9 * given + 1) * channels + (depth - 1) * (9 * channels + 1) * channels + 2 * channels)
        given = channels
    want.append((16 * 512 + 1) * 256 + 2 * (9 * 256 + 1) * 256 + 257 * 313)
    assert got == want


def test_conv5_and_conv6_are_dilated_and_the_last_of_the_first_three_blocks_strided() -> None:
    with torch.device("meta"):
        net = zoo.build("colorization")
    convolutions = [[m for m in block if isinstance(m, nn.Conv2d)] for block in net.children()]
    assert [block[0].dilation[0] for block in convolutions] == [1, 1, 1, 1, 2, 2, 1, 1]
    assert [[m.stride[0] for m in block] for block in convolutions[:4]] == [[1, 2], [1, 2], [1, 1, 2], [1, 1, 1]]


def test_the_annealed_mean_lies_between_the_mean_and_the_likeliest_color() -> None:
    torch.manual_seed(0)
    logits, bins = torch.randn(2, 7, 3, 4), torch.randn(7, 2) * 50
    mean = torch.einsum("nkhw,kc->nchw", logits.softmax(1), bins)
    torch.testing.assert_close(annealed_mean(logits, bins, temperature=1, enlarge=1), mean)
    likeliest = bins[logits.argmax(1)].movedim(-1, 1)
    torch.testing.assert_close(annealed_mean(logits, bins, temperature=1e-4, enlarge=1), likeliest)
    colors = annealed_mean(logits, bins, enlarge=1)
    power = logits.softmax(1) ** (1 / 0.38)  # equation 5 of the paper
    torch.testing.assert_close(colors, torch.einsum("nkhw,kc->nchw", power / power.sum(1, keepdim=True), bins))
    assert annealed_mean(logits, bins).shape == (2, 2, 12, 16)
    torch.testing.assert_close(annealed_mean(logits, bins), F.interpolate(colors, scale_factor=4, mode="bilinear"))


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="cannot anneal: temperature: expected a positive number, got 0"):
        annealed_mean(torch.zeros(1, 2, 1, 1), torch.zeros(2, 2), temperature=0)
