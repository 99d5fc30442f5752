from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.interpret import invert
from striate.train import read_tensors


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_invertible_layer_gives_the_input_back(rank: int) -> None:
    layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank](3, 3, 1)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator()))[0]
    layer.weight.data.copy_(turn.reshape(layer.weight.shape))
    x = torch.randn(2, 3, *(4, 5, 3)[:rank], generator=generator())
    found = invert(nn.Sequential(layer, nn.LeakyReLU(0.5)), x, ["0", ""], tv=0, steps=150, rate=0.1)
    assert found.found.shape == (2, *x.shape)
    assert (found.distances < 0.01).all()
    assert (found.errors < 0.01).all()
    assert found.plot().axes


class Viewed(nn.Module):
    """A network that takes a view, which channels innermost forbid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.dense = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(48, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x)).relu()
        return self.dense(y.view(len(y), -1))


def test_a_network_that_views_its_maps() -> None:
    torch.manual_seed(0)
    found = invert(Viewed().eval(), torch.rand(2, 2, 6, 6), steps=3)
    assert found.layers == ("conv", "norm", "")
    assert bool(found.errors.isfinite().all())


def test_of_many_layers_eight_are_taken_and_counted() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv1d(2, 2, 1) for _ in range(11)]
    found = invert(nn.Sequential(*layers), torch.rand(1, 2, 5), steps=1)
    assert (len(found.layers), found.count) == (8, 11)
    assert found.title() == "inversion, 1 item at 8 of 11 layers"
    assert invert(nn.Sequential(*layers), torch.rand(1, 2, 5), "3", steps=1).title() == "inversion, 1 item at 1 layer"


def test_what_a_layer_loses_is_not_given_back() -> None:
    x = torch.randn(1, 1, 8, 8, generator=generator())
    found = invert(nn.AvgPool2d(2), x, "", tv=0, steps=150, rate=0.1)
    assert (found.errors < 0.01).all()
    assert (found.distances > 0.3).all()
    means = nn.functional.avg_pool2d(found.found[0], 2)
    torch.testing.assert_close(means, nn.functional.avg_pool2d(x, 2), atol=0.02, rtol=0)


def test_of_all_that_is_right_variation_takes_the_smoothest() -> None:
    x = torch.randn(1, 1, 8, 8, generator=generator())
    rough, smooth = (
        invert(nn.AvgPool2d(4), x, "", tv=tv, spread=1.0, steps=100, rate=0.1).found[0] for tv in (0.0, 0.05)
    )
    assert smooth.diff(dim=-1).square().mean() < 0.2 * rough.diff(dim=-1).square().mean()


def test_results_stay_in_their_limits_and_are_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten())
    found = invert(model, torch.rand(2, 1, 8, 8), limits=(0, 1), steps=5)
    assert found.layers == ("0", "1", "")
    assert ((found.found >= 0) & (found.found <= 1)).all()
    assert found.curve.shape == (3, 5)
    assert (found.curve[:, -1] < found.curve[:, 0]).all()
    found.save(tmp_path / "found.safetensors")
    tensors, facts = read_tensors(tmp_path / "found.safetensors")
    assert torch.equal(tensors["found"], found.found)
    assert facts["layers"] == ["0", "1", ""]
    assert len(found.table().rows) == 3
    assert found.json()["errors"] == found.errors.tolist()


def test_what_cannot_be_inverted() -> None:
    x = torch.rand(1, 1, 4, 4)
    with pytest.raises(InputError, match="cannot invert: expected positive numbers, tv, norm and spread of at least 0"):
        invert(nn.ReLU(), x, "", rate=0)
    with pytest.raises(InputError, match="a layer says nothing of the input: output: expected numbers other than zero"):
        invert(nn.ReLU(), -x, "")
    with pytest.raises(InputError, match=r"no such layer: got '1'"):
        invert(nn.Sequential(nn.ReLU()), x, "1")
