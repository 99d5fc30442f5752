from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.errors import InputError
from striate.interpret import feature_maps, first_filters


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


def test_first_filters_are_a_copy_of_the_first_convolution() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(3, 8, 5), nn.Conv2d(8, 2, 3))
    filters = first_filters(model)
    assert torch.equal(filters, model[1].weight)
    assert not filters.requires_grad
    filters.zero_()
    assert model[1].weight.abs().sum() > 0


@pytest.mark.parametrize("convolution", [nn.Conv1d(4, 6, 7), nn.Conv3d(1, 2, 3), nn.Conv2d(6, 4, 3, groups=2)])
def test_first_filters_of_any_rank_and_grouped(convolution: nn.Module) -> None:
    assert torch.equal(first_filters(convolution), convolution.weight)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.ConvTranspose2d(3, 4, 3)])
def test_no_convolution_is_an_error(model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"no first filters to show.*without a convolution"):
        first_filters(model)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_weights_are_an_error() -> None:
    with pytest.raises(InputError, match=r"no weights yet: 0\. Run the model once"):
        first_filters(nn.Sequential(nn.LazyConv2d(4, 3)))


def test_feature_maps_equal_a_forward_written_by_hand() -> None:
    model, image = network(), torch.rand(3, 8, 8)
    maps = feature_maps(model, image)
    norm = model[1]
    convolved = F.conv2d(image[None], model[0].weight, model[0].bias, padding=1)
    normed = F.batch_norm(convolved, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    expected = {"0": convolved, "1": normed, "2": normed.relu(), "4": F.max_pool2d(normed.relu(), 2)}
    assert list(maps) == list(expected)  # dropout, flatten and linear make no map of their own
    for path, want in expected.items():
        torch.testing.assert_close(maps[path], want[0])
        assert not maps[path].requires_grad


def test_an_in_place_activation_does_not_change_the_map_before_it() -> None:
    maps = feature_maps(network(), torch.rand(3, 8, 8))
    assert maps["1"].min() < 0 == maps["2"].min()


def test_a_module_called_again_is_numbered() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.step(self.step(x))

    model, image = Twice(), torch.rand(2, 6, 6)
    maps = feature_maps(model, image)
    assert list(maps) == ["step", "step#2"]
    torch.testing.assert_close(maps["step#2"], model.step(maps["step"][None])[0])


def test_volumes_and_signals_and_a_bare_layer() -> None:
    assert feature_maps(nn.Conv1d(2, 3, 3), torch.rand(2, 9))["Conv1d"].shape == (3, 7)
    assert feature_maps(nn.Conv3d(1, 3, 3), torch.rand(1, 5, 5, 5))["Conv3d"].shape == (3, 3, 3, 3)


def test_maps_of_one_value_are_left_out() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert list(feature_maps(model, torch.rand(1, 5, 5))) == ["0"]


def test_nothing_matched_is_an_error() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InputError, match=r"no feature maps to show: Sequential.*output of 4 axes"):
        feature_maps(model, torch.rand(1, 2, 2))


def test_an_image_without_space_is_an_error() -> None:
    with pytest.raises(InputError, match=r"cannot show feature maps: image: expected axes .* got \(4,\)"):
        feature_maps(network(), torch.rand(4))


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
        with pytest.raises(RuntimeError, match="broken layer"):
            feature_maps(model, torch.rand(3, 8, 8, generator=torch.Generator()))
    else:
        feature_maps(model, torch.rand(3, 8, 8, generator=torch.Generator()))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.is_grad_enabled()
