from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import zoo
from striate.zoo.squeezenet import Fire

# Table 1 of the paper: parameters before pruning; the total is given there as 1,248,424.
FIRE = [11_920, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184]


def built(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options).eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_each_module_are_those_of_table_one() -> None:
    net = built("squeezenet1_0")
    assert count(net.features[0]) == 14_208
    assert [count(m) for m in net.features if isinstance(m, Fire)] == FIRE
    assert count(net.classifier) == 513_000
    assert 14_208 + sum(FIRE) + 513_000 == 1_248_424


@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("squeezenet1_0", 227, [111, 55, 27, 13]),  # the maps of table 1
        ("squeezenet1_0", 224, [109, 54, 27, 13]),
        ("squeezenet1_1", 224, [111, 55, 27, 13]),
    ],
)
def test_maps(name: str, size: int, sides: list[int]) -> None:
    net, got = built(name), []
    for layer in net.features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _m, _i, y: got.append(y.shape[-1]))
    net(torch.rand(1, 3, size, size, device="meta"))
    assert got == sides


def test_version_1_1_has_the_same_fire_modules_and_less_than_half_of_the_work() -> None:
    old, new = (zoo.ARCHITECTURES[name] for name in ("squeezenet1_0", "squeezenet1_1"))
    assert 2 * new.macs < old.macs
    sizes = [[m.squeeze.out_channels for m in built(e.name).features if isinstance(m, Fire)] for e in (old, new)]
    assert sizes[0] == sizes[1] == [16, 16, 32, 32, 48, 48, 64, 64]


def test_a_fire_module_is_both_expansions_side_by_side() -> None:
    torch.manual_seed(0)
    fire, x = Fire(6, 2, 8), torch.randn(1, 6, 5, 5)
    squeezed = torch.einsum("kc,nchw->nkhw", fire.squeeze.weight[..., 0, 0], x) + fire.squeeze.bias[:, None, None]
    got = fire(x)
    assert got.shape == (1, 16, 5, 5)
    small, large = fire.expand1x1(squeezed.relu()).relu(), fire.expand3x3(squeezed.relu()).relu()
    torch.testing.assert_close(got, torch.cat((small, large), 1))


def test_width_and_dropout_and_classes() -> None:
    net = built("squeezenet1_0", width=0.5, dropout=0.1, num_classes=7)
    assert net.features[3].squeeze.out_channels == 8
    assert net.features[12].expand3x3.out_channels == 128
    assert net.classifier[0].p == 0.1
    assert net.classifier[1].out_channels == 7


def test_names_are_torchvisions() -> None:
    fires = {"squeezenet1_0": (3, 4, 5, 7, 8, 9, 10, 12), "squeezenet1_1": (3, 4, 6, 7, 9, 10, 11, 12)}
    for name, numbers in fires.items():
        parts = [f"features.{i}.{part}" for i in numbers for part in ("squeeze", "expand1x1", "expand3x3")]
        keys = {key.rpartition(".")[0] for key in built(name).state_dict()}
        assert keys == {"features.0", "classifier.1", *parts}


def test_initial_weights() -> None:
    torch.manual_seed(0)
    net = zoo.build("squeezenet1_0")
    assert net.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.01)
    weight = net.features[12].expand3x3.weight
    limit = (6 / (64 * 9)) ** 0.5
    assert 0.99 * limit < weight.abs().max() <= limit
    assert not net.features[0].bias.any()
