from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo

# The lectures' appendix: parameters of each layer of the ungrouped network.
PARAMETERS = {
    "alexnet": [34_944, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000],
    "alexnet_grouped": [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000],
    "alexnet_owt": [23_296, 307_392, 663_936, 884_992, 590_080, 37_752_832, 16_781_312, 4_097_000],
    "zfnet": [14_208, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000],
}


def built(name: str) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name).eval()


def layers(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_each_layer(name: str) -> None:
    assert [sum(p.numel() for p in layer.parameters()) for layer in layers(built(name))] == PARAMETERS[name]
    assert sum(PARAMETERS[name]) == zoo.ARCHITECTURES[name].parameters


def test_convolutions_hold_six_percent_of_alexnet() -> None:
    assert sum(PARAMETERS["alexnet"][:5]) / sum(PARAMETERS["alexnet"]) == pytest.approx(0.0601, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "sides", "field"),
    [
        ("alexnet", [55, 27, 27, 13, 13, 13, 13, 6], 195),
        ("alexnet_grouped", [55, 27, 27, 13, 13, 13, 13, 6], 195),
        ("alexnet_owt", [55, 27, 27, 13, 13, 13, 13, 6], 195),
        ("zfnet", [110, 55, 26, 13, 13, 13, 13, 6], 171),
    ],
)
def test_maps_and_receptive_field(name: str, sides: list[int], field: int) -> None:
    entry = zoo.ARCHITECTURES[name]
    net, got = built(name), []
    for layer in net.features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _m, _i, y: got.append(y.shape[-1]))
    x = torch.rand(1, *entry.input, device="meta")
    net(x)
    assert got == sides
    last = [layer for layer in describe(net, x).layers if layer.path.startswith("features")][-1]
    assert last.receptive_field == (field, field)


def test_response_normalization_is_the_papers_formula() -> None:
    """Section 3.3: a / (k + alpha * sum of squares over n adjacent maps)^beta with k=2, n=5, alpha=1e-4, beta=0.75."""
    norm = next(m for m in built("alexnet").features if isinstance(m, nn.LocalResponseNorm))
    a = torch.randn(2, 9, 4, 4, dtype=torch.float64) * 100
    squares = F.pad(a**2, (0, 0, 0, 0, 2, 2))
    total = sum(squares[:, i : i + 9] for i in range(5))
    torch.testing.assert_close(norm(a), a / (2 + 1e-4 * total) ** 0.75)


@pytest.mark.parametrize(("name", "order"), [("alexnet", ["norm", "pool"]), ("zfnet", ["pool", "norm"])])
def test_order_of_normalization_and_pooling(name: str, order: list[str]) -> None:
    kinds = {nn.LocalResponseNorm: "norm", nn.MaxPool2d: "pool"}
    got = [kinds[type(m)] for m in built(name).features if type(m) in kinds]
    assert got == [*order, *order, "pool"]


def test_the_grouped_network_is_the_ungrouped_one_without_the_weights_between_the_gpus() -> None:
    torch.manual_seed(0)
    small = {"input_size": (67, 67), "width": 1 / 24}
    grouped, whole = (zoo.build(name, **small).eval() for name in ("alexnet_grouped", "alexnet"))
    for ours, other in zip(layers(grouped), layers(whole), strict=True):
        other.load_state_dict(ours.state_dict()) if ours.weight.shape == other.weight.shape else split(ours, other)
    x = torch.rand(2, 3, 67, 67)
    torch.testing.assert_close(grouped(x), whole(x))


def split(grouped: nn.Conv2d, whole: nn.Conv2d) -> None:
    k, c = (n // 2 for n in whole.weight.shape[:2])
    with torch.no_grad():
        whole.bias.copy_(grouped.bias)
        whole.weight.zero_()
        whole.weight[:k, :c], whole.weight[k:, c:] = grouped.weight[:k], grouped.weight[k:]


@pytest.mark.parametrize(("name", "ones"), [("alexnet", {1, 3, 4, 5, 6}), ("zfnet", set())])
def test_initial_weights_and_biases(name: str, ones: set[int]) -> None:
    torch.manual_seed(0)
    for i, layer in enumerate(layers(zoo.build(name, input_size=(67, 67), width=0.25))):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert layer.bias.eq(i in ones).all()


def test_width_and_input_size_and_dropout() -> None:
    with torch.device("meta"):
        net = zoo.build("alexnet", width=0.5, input_size=(227, 259), dropout=0.25)
    assert [layer.weight.shape[0] for layer in layers(net)] == [48, 128, 192, 192, 128, 2048, 2048, 1000]
    assert net.classifier[0].in_features == 128 * 6 * 7
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.25}
    assert math.prod(net(torch.rand(1, 3, 227, 259, device="meta")).shape) == 1000


def test_parameter_names_of_the_one_tower_network_are_torchvisions() -> None:
    numbers = [*(f"features.{i}" for i in (0, 3, 6, 8, 10)), *(f"classifier.{i}" for i in (1, 4, 6))]
    expected = [f"{number}.{part}" for number in numbers for part in ("weight", "bias")]
    assert list(built("alexnet_owt").state_dict()) == expected
