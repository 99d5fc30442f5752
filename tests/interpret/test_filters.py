from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.interpret import filters
from striate.train.checkpoint import read_tensors


def test_first_filters_are_a_copy_of_the_first_convolution() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(3, 8, 5), nn.Conv2d(8, 2, 3))
    found = filters(model)
    assert found.layer == "1"
    assert torch.equal(found.weights, model[1].weight)
    assert not found.weights.requires_grad
    found.weights.zero_()
    assert model[1].weight.abs().sum() > 0


@pytest.mark.parametrize("convolution", [nn.Conv1d(4, 6, 7), nn.Conv3d(1, 2, 3), nn.Conv2d(6, 4, 3, groups=2)])
def test_first_filters_of_any_rank_and_grouped(convolution: nn.Module) -> None:
    assert torch.equal(filters(convolution).weights, convolution.weight)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.ConvTranspose2d(3, 4, 3)])
def test_no_convolution_is_an_error(model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"no first filters to show.*without a convolution"):
        filters(model)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_weights_are_an_error() -> None:
    with pytest.raises(InputError, match=r"no weights yet: 0\. Run the model once"):
        filters(nn.Sequential(nn.LazyConv2d(4, 3)))


def test_filters_of_a_named_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3, groups=2), nn.Linear(2, 2))
    assert torch.equal(filters(model, "0").weights, model[0].weight)
    turned = filters(model, "2").weights
    assert turned.shape == (6, 4, 3, 3)
    assert torch.equal(turned[4, 1], model[2].weight[5, 1])  # group 1: inputs 4 to 7, outputs 3 to 5
    with pytest.raises(InputError, match=r"this layer has no kernels: 1: got ReLU\. Convolutions: 0, 2\."):
        filters(model, "1")
    with pytest.raises(InputError, match=r"no such layer: got '4'"):
        filters(model, "4")


def test_numbers_and_files_of_filters(tmp_path: Path) -> None:
    found = filters(nn.Conv1d(2, 3, 5))
    assert found.title() == "3 kernels of 5×2"
    assert found.table().row_count == 3
    assert found.json()["weights"] == found.weights.tolist()
    found.save(tmp_path / "f.safetensors")
    tensors, facts = read_tensors(tmp_path / "f.safetensors")
    assert torch.equal(tensors["weights"], found.weights)
    assert facts == {"method": "filters", "layer": ""}
