from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.geometry.report import Layer
from striate.layers import Branches, ConvUnit
from striate.zoo.inception_resnet import ScaledBranches

# Szegedy et al. 2014, table 1: maps, thousands of parameters (1024 each, no biases), millions of operations.
TABLE_1 = {
    "conv2 conv3": ((192, 56, 56), 112, 360),
    "inception3a": ((256, 28, 28), 159, 128),
    "inception3b": ((480, 28, 28), 380, 304),
    "inception4a": ((512, 14, 14), 364, 73),
    "inception4b": ((512, 14, 14), 437, 88),
    "inception4c": ((512, 14, 14), 463, 100),
    "inception4d": ((528, 14, 14), 580, 119),
    "inception4e": ((832, 14, 14), 840, 170),
    "inception5a": ((832, 7, 7), 1072, 54),
    "inception5b": ((1024, 7, 7), 1388, 71),
    "fc": ((1000,), 1000, 1),
}
# The widths in these rows of the table give other numbers than those printed beside them.
MISPRINTED = {"inception4c": (497.5, 100), "inception5a": (1018, 51)}


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options)


def rows_of(name: str, **options: object) -> tuple[nn.Module, tuple[Layer, ...]]:
    net = on_meta(name, **options)
    return net, describe(net, zoo.ARCHITECTURES[name].input).layers


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def ends(rows: tuple[Layer, ...], depth: int = 1) -> dict[str, tuple[int, ...]]:
    return {".".join(row.path.split(".")[:depth]): row.shape for row in rows}


def test_googlenets_maps_parameters_and_operations_are_those_of_its_table() -> None:
    net, rows = rows_of("googlenet")
    for names, (shape, thousands, millions) in TABLE_1.items():
        modules = names.split()
        mine = [row for row in rows if row.path.partition(".")[0] in modules]
        weights = sum(p.numel() for name in modules for p in net.get_submodule(name).parameters() if p.ndim > 1)
        thousands, millions = MISPRINTED.get(names, (thousands, millions))
        assert mine[-1].shape == shape
        assert abs(weights / 1024 / thousands - 1) < 0.02, names
        assert abs(sum(row.macs for row in mine) / 1e6 - millions) < 1, names


def test_googlenet_normalizes_responses_after_the_first_pooling_and_before_the_second() -> None:
    paths = [row.path for row in rows_of("googlenet")[1] if row.path in ("conv1.conv", "conv3.conv", "pool", "norm")]
    assert list(dict.fromkeys(paths[: paths.index("conv3.conv")])) == ["conv1.conv", "pool", "norm"]
    assert list(dict.fromkeys(paths[paths.index("conv3.conv") :])) == ["conv3.conv", "norm", "pool"]


@pytest.mark.parametrize(
    ("name", "size", "options", "parameters"),
    [
        ("googlenet", 97, {"aux": True}, 13_378_280),
        ("googlenet", 97, {"aux": True, "batch_norm": True}, 13_004_888),
        ("inception_v3", 299, {"aux": True}, 27_161_264),
    ],
)
def test_auxiliary_heads_are_there_in_training_alone(
    name: str, size: int, options: dict[str, bool], parameters: int
) -> None:
    net = on_meta(name, num_classes=1000, **options)
    assert count(net) == parameters
    x = torch.zeros(2, 3, size, size, device="meta")
    outputs = net.train()(x)
    assert [tuple(output.shape) for output in outputs] == [(2, 1000)] * (3 if name == "googlenet" else 2)
    assert net.eval()(x).shape == (2, 1000)
    assert on_meta(name).train()(x).shape == (2, 1000)


@pytest.mark.parametrize(("name", "least"), [("googlenet", 79), ("inception_v3", 299)])
def test_auxiliary_heads_need_larger_images(name: str, least: int) -> None:
    net = on_meta(name, aux=True).train()
    assert net(torch.zeros(2, 3, least, least, device="meta"))[1].shape == (2, 1000)
    with pytest.raises(RuntimeError, match=r"[Ss]ize|small"):
        net(torch.zeros(2, 3, least - 1, least, device="meta"))


def test_the_heads_of_googlenet_stand_after_4d_and_4a() -> None:
    net, seen = on_meta("googlenet", aux=True).train(), {}
    for name in ("inception4a", "inception4d", "aux1", "aux2"):
        net.get_submodule(name).register_forward_hook(lambda _m, i, o, name=name: seen.update({name: (i[0], o)}))
    _, late, early = net(torch.zeros(2, 3, 224, 224, device="meta"))
    assert seen["aux1"][0] is seen["inception4a"][1]
    assert seen["aux2"][0] is seen["inception4d"][1]
    assert (late is seen["aux2"][1], early is seen["aux1"][1]) == (True, True)


def test_a_head_of_googlenet_pools_as_the_paper_says_at_its_size() -> None:
    torch.manual_seed(0)
    head = zoo.build("googlenet", aux=True, num_classes=3).eval().aux1
    x = torch.randn(1, 512, 14, 14)
    y = F.relu(F.conv2d(F.avg_pool2d(x, 5, 3), head.conv.conv.weight, head.conv.conv.bias))
    assert y.shape == (1, 128, 4, 4)
    torch.testing.assert_close(head(x), head.fc2(F.relu(head.fc1(y.flatten(1)))))


def test_googlenet_with_batch_norm_has_torchvisions_parameters() -> None:
    assert count(on_meta("googlenet", batch_norm=True)) == 6_624_904
    assert on_meta("googlenet", batch_norm=True).inception3a.branch3[1].conv.kernel_size == (3, 3)
    assert on_meta("googlenet").inception3a.branch3[1].conv.kernel_size == (5, 5)


def test_maps_of_v2_are_those_of_its_table() -> None:
    net, rows = rows_of("inception_v2")
    shapes = ends(rows)
    assert [shapes[f"conv{i}"] for i in (1, 2, 3)] == [(64, 112, 112), (64, 56, 56), (192, 56, 56)]
    assert [shapes[f"inception3{m}"] for m in "abc"] == [(256, 28, 28), (320, 28, 28), (576, 14, 14)]
    assert [shapes[f"inception4{m}"] for m in "abcde"] == [(576, 14, 14)] * 4 + [(1024, 7, 7)]
    assert [shapes[f"inception5{m}"] for m in "ab"] == [(1024, 7, 7)] * 2
    assert isinstance(net.inception5b.branch4[0], nn.MaxPool2d)
    assert isinstance(net.inception5a.branch4[0], nn.AvgPool2d)


def test_the_separable_convolution_of_v2_saves_parameters() -> None:
    full, separable = 3 * 64 * 49, 3 * 8 * 49 + 24 * 64
    assert count(on_meta("inception_v2", separable=False)) - count(on_meta("inception_v2")) == full - separable


@pytest.mark.parametrize("side", [33, 50, 63])
def test_branches_of_v2_meet_at_any_size(side: int) -> None:
    net = on_meta("inception_v2").eval()
    assert net(torch.zeros(1, 3, side, side + 6, device="meta")).shape == (1, 1000)


def test_maps_of_v3() -> None:
    shapes = ends(rows_of("inception_v3")[1])
    stem = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"]
    sides = [(32, 149), (32, 147), (64, 147), (64, 73), (80, 73), (192, 71), (192, 35)]
    assert [shapes[name] for name in stem] == [(c, side, side) for c, side in sides]
    assert [shapes[f"Mixed_5{m}"] for m in "bcd"] == [(256, 35, 35), (288, 35, 35), (288, 35, 35)]
    assert [shapes[f"Mixed_6{m}"] for m in "abcde"] == [(768, 17, 17)] * 5
    assert [shapes[f"Mixed_7{m}"] for m in "abc"] == [(1280, 8, 8), (2048, 8, 8), (2048, 8, 8)]


def test_maps_of_v4_are_those_of_its_figures() -> None:
    shapes = ends(rows_of("inception_v4")[1], 2)
    expected = [(32, 149), (32, 147), (64, 147), (160, 73), (192, 71), (384, 35)]
    expected += [(384, 35)] * 4 + [(1024, 17)] * 8 + [(1536, 8)] * 4
    assert [shapes[f"features.{i}"] for i in range(22)] == [(c, side, side) for c, side in expected]


def test_v4_can_have_fewer_modules() -> None:
    net = on_meta("inception_v4", modules_a=1, modules_b=2, modules_c=1)
    assert len(net.features) == 6 + 1 + 1 + 2 + 1 + 1
    assert net.eval()(torch.zeros(1, 3, 75, 75, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("name", ["googlenet", "inception_v2", "inception_v3", "inception_v4", "inception_resnet_v2"])
def test_dropout_acts_before_the_dense_layer(name: str) -> None:
    assert on_meta(name, dropout=0.9).dropout.p == 0.9


def test_maps_of_inception_resnet_v2() -> None:
    net, rows = rows_of("inception_resnet_v2")
    shapes = ends(rows)
    modules = ["mixed_5b", "repeat", "mixed_6a", "repeat_1", "mixed_7a", "repeat_2", "block8", "conv2d_7b"]
    sides = [(320, 35), (320, 35), (1088, 17), (1088, 17), (2080, 8), (2080, 8), (2080, 8), (1536, 8)]
    assert [shapes[name] for name in modules] == [(c, side, side) for c, side in sides]
    assert [len(net.repeat), len(net.repeat_1), len(net.repeat_2)] == [10, 20, 9]
    assert {(m.scale, m.rectified) for m in net.modules() if isinstance(m, ScaledBranches)} == {
        *((0.17, True), (0.1, True), (0.2, True), (1.0, False))
    }


@pytest.mark.parametrize("rectified", [True, False])
def test_scaled_branches_by_their_definition(rectified: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 3)
    module = ScaledBranches(4, 8, 0.3, rectified, {"a": Affine(2.0, 0.0)}, {"b": Affine(1.0, 1.0)})
    y = x + 0.3 * module.conv2d(torch.cat((2 * x, x + 1), 1))
    torch.testing.assert_close(module(x), F.relu(y) if rectified else y)


def test_branches_run_in_order_and_may_end_in_two() -> None:
    double, plus = Affine(2.0, 0.0), Affine(1.0, 1.0)
    both = Branches({"first": double, "second": plus}, {"third": plus, "end": (double, plus)}, {"last": nn.Identity()})
    x = torch.arange(4.0).view(1, 1, 2, 2)
    torch.testing.assert_close(both(x), torch.cat((2 * x + 1, 2 * (x + 1), x + 2, x), 1))
    assert [name for name, _ in both.named_modules(remove_duplicate=False)][1:] == [
        *("first", "second", "third", "enda", "endb", "last")
    ]


class Affine(nn.Module):
    def __init__(self, factor: float, added: float) -> None:
        super().__init__()
        self.factor, self.added = factor, added

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x + self.added


def test_a_unit_has_a_bias_or_batch_norm_and_keeps_the_size() -> None:
    assert [name for name, _ in ConvUnit(3, 4, 5, batch_norm=False).named_parameters()] == ["conv.weight", "conv.bias"]
    assert [n for n, _ in ConvUnit(3, 4, 1).named_parameters()] == ["conv.weight", "bn.weight", "bn.bias"]
    assert ConvUnit(3, 4, (1, 7))(torch.zeros(1, 3, 8, 9)).shape == (1, 4, 8, 9)
    assert ConvUnit(3, 4, 3, 2, 0)(torch.zeros(1, 3, 8, 9)).shape == (1, 4, 3, 4)


def test_googlenets_weights_start_as_xaviers_do() -> None:
    torch.manual_seed(0)
    unit = zoo.build("googlenet", num_classes=2).inception5b.branch2[1].conv
    limit = (6 / (9 * (192 + 384))) ** 0.5
    assert 0.999 * limit < unit.weight.abs().max() <= limit
    assert not unit.bias.any()
