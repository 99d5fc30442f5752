from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import InputError
from striate.interpret import feature_maps
from striate.train.checkpoint import read_tensors


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 5),
    )


def test_feature_maps_equal_a_forward_written_by_hand() -> None:
    model, image = network(), torch.rand(1, 3, 8, 8)
    maps = feature_maps(model, image)
    norm = model[1]
    convolved = F.conv2d(image, model[0].weight, model[0].bias, padding=1)
    normed = F.batch_norm(convolved, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    expected = {"0": convolved, "1": normed, "2": normed.relu(), "4": F.max_pool2d(normed.relu(), 2)}
    assert list(maps) == list(expected)  # dropout, flatten and linear make no map of their own
    for path, want in expected.items():
        torch.testing.assert_close(maps[path], want[0])
        assert not maps[path].requires_grad


def test_an_in_place_activation_does_not_change_the_map_before_it() -> None:
    maps = feature_maps(network(), torch.rand(1, 3, 8, 8))
    assert maps["1"].min() < 0 == maps["2"].min()


def test_a_module_called_again_is_numbered() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.step(self.step(x))

    model, image = Twice(), torch.rand(1, 2, 6, 6)
    maps = feature_maps(model, image)
    assert list(maps) == ["step", "step#2"]
    torch.testing.assert_close(maps["step#2"], model.step(maps["step"][None])[0])


def test_volumes_and_signals_and_a_bare_layer() -> None:
    assert feature_maps(nn.Conv1d(2, 3, 3), torch.rand(1, 2, 9))["Conv1d"].shape == (3, 7)
    assert feature_maps(nn.Conv3d(1, 3, 3), torch.rand(1, 1, 5, 5, 5))["Conv3d"].shape == (3, 3, 3, 3)


def test_maps_of_one_value_are_left_out() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert list(feature_maps(model, torch.rand(1, 1, 5, 5))) == ["0"]


def test_nothing_matched_is_an_error() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InputError, match=r"no feature maps to show: Sequential.*output of 4 axes"):
        feature_maps(model, torch.rand(1, 1, 2, 2))


def test_several_images_are_an_error() -> None:
    with pytest.raises(
        InputError, match=r"cannot show feature maps: x: expected one input, axes .* got \(2, 3, 8, 8\)"
    ):
        feature_maps(network(), torch.rand(2, 3, 8, 8))


class Refuses(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.rand_like(x)
        raise RuntimeError("broken layer")


@pytest.mark.parametrize("broken", [False, True])
def test_the_model_is_left_as_found(broken: bool) -> None:
    model = network()
    if broken:
        model.append(Refuses())
    model.train()
    model[1].eval()  # frozen on purpose
    modes = [module.training for module in model.modules()]
    statistics = model[1].running_mean.clone()
    random = torch.get_rng_state()
    if broken:
        with pytest.raises(InputError, match=r"fails on this input: .* \(RuntimeError: broken layer\)"):
            feature_maps(model, torch.rand(1, 3, 8, 8, generator=torch.Generator()))
    else:
        feature_maps(model, torch.rand(1, 3, 8, 8, generator=torch.Generator()))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.is_grad_enabled()


class Block(nn.Module):
    """Two activations and a sum by functions."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.a, self.b, self.inplace = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), inplace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.a(x), inplace=self.inplace)
        return F.relu(self.b(y) + x, inplace=self.inplace)


@pytest.mark.parametrize("inplace", [False, True])
def test_what_functions_make_is_seen_too(inplace: bool) -> None:
    torch.manual_seed(0)
    block, x = Block(inplace), torch.rand(1, 2, 6, 6)
    found = feature_maps(nn.Sequential(block), x)
    assert list(found) == ["0.a", "0.relu", "0.b", "0.add", "0.relu#2"]
    with torch.no_grad():
        a = block.a(x)
        b = block.b(a.relu())
    for layer, want in zip(found, (a, a.relu(), b, b + x, (b + x).relu()), strict=True):
        torch.testing.assert_close(found[layer], want[0])


def test_boxes_are_where_changes_reach_the_unit() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.AvgPool2d(2), Block(False)).double()
    x = torch.rand(1, 1, 20, 20, dtype=torch.float64)
    found = feature_maps(net, x)
    each = x + torch.eye(400, dtype=torch.float64).reshape(400, 1, 20, 20)  # every pixel by itself
    with torch.no_grad():
        conv = net[0](each)
        pooled = net[1](conv)
        inner = net[2].a(pooled)  # a ReLU would hide changes
    for layer, maps in {"0": conv, "1": pooled, "2.a": inner}.items():
        seen = found.seen(layer, (1, 2, 3))
        assert seen is not None
        assert seen.hull is not None
        reached = ((maps[:, :, 2, 3] - found[layer][:, 2, 3]).abs() > 1e-9).any(1).reshape(20, 20)
        rows, columns = reached.any(1).nonzero().flatten().tolist(), reached.any(0).nonzero().flatten().tolist()
        assert seen.hull == ((rows[0], rows[-1]), (columns[0], columns[-1]))


def test_numbers_and_files_of_feature_maps(tmp_path: Path) -> None:
    found = feature_maps(network(), torch.rand(1, 3, 8, 8))
    assert found.table().row_count == len(found) == 4
    layer = found.json()["layers"]["4"]
    unit = found.strongest("4")
    assert layer["strongest"] == list(unit)
    assert layer["sees"] == [[2 * place - 1, 2 * place + 2] for place in unit[1:]]
    found.save(tmp_path / "m.safetensors")
    tensors, facts = read_tensors(tmp_path / "m.safetensors")
    assert torch.equal(tensors["maps/0"], found["0"])
    assert facts == found.json()
    with pytest.raises(InputError, match=r"no map of this layer: got '5'\. Known: 0, 1, 2, 4"):
        found["5"]
    with pytest.raises(InputError, match="the layer has no such channel: expected 0 to 3, got 4"):
        found.strongest("0", 4)


def test_a_network_that_cannot_be_traced_has_maps_without_boxes() -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) if x.sum() > 0 else x

    found = feature_maps(Choosing(), torch.rand(1, 1, 5, 5))
    assert list(found) == ["conv"]
    assert found.seen("conv", (0, 1, 1)) is None
    assert found.table().row_count == 1
