"""Settings that make training faster and change no result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import striate
from striate.train.process import lay_out, settle_process


def test_denormals_are_flushed() -> None:
    settle_process.cache_clear()
    torch.set_flush_denormal(False)
    tiny = torch.tensor([1e-40])
    assert (tiny * 1).item() > 0
    settle_process()
    assert (tiny * 1).item() == 0


@pytest.mark.parametrize(
    ("name", "expected"), [("mnist_fast", True), ("keras_fcn", True), ("lenet5:variant=modern", False)]
)
def test_wide_networks_are_laid_out_channels_last(name: str, expected: bool) -> None:
    model = striate.build(name)
    before = model(torch.ones(2, 1, *((32, 32) if "lenet5" in name else (28, 28))))
    lay_out(model)
    convolution = [m for m in model.modules() if isinstance(m, nn.Conv2d)][1]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last) == expected
    after = model(torch.ones(2, 1, *((32, 32) if "lenet5" in name else (28, 28))))
    torch.testing.assert_close(before, after)


def test_a_network_without_convolutions_stays_as_it_is() -> None:
    lay_out(nn.Linear(2, 2))
