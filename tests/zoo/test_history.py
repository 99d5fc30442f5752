from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo
from striate.layers import Subsampling2d
from striate.zoo.history import H3_TABLE

# Table 1 of the paper: a row is a map of H2, a column one of H3.
TABLE_1 = """
XXX.XX......
.XXXXX......
......XXX.XX
.......XXXXX
"""


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_lenet1_has_the_papers_parameters_layer_by_layer() -> None:
    net = zoo.build("lenet1")
    counts = [count(m) for m in (net.h1, net.h2, net.h3, net.h4, net.output)]
    assert counts == [4 * 26, 4 * 2, 20 * 25 + 12, 12 * 2, 10 * 193]
    assert sum(counts) == count(net) == 2_578


def test_lenet1_has_the_papers_units_and_connections() -> None:
    """4,635 units (with one that is always on) and 98,442 connections."""
    shapes = shapes_of_lenet1()
    assert shapes == [(4, 24, 24), (4, 12, 12), (12, 8, 8), (12, 4, 4), (10,)]
    units = [torch.Size(shape).numel() for shape in shapes]
    assert 28 * 28 + sum(units) + 1 == 4_635
    inputs = sum(25 * len(maps) + 1 for maps in H3_TABLE)
    assert 26 * units[0] + 5 * units[1] + 64 * inputs + 5 * units[3] + 193 * units[4] == 98_442


def shapes_of_lenet1() -> list[tuple[int, ...]]:
    net, shapes = zoo.build("lenet1"), []
    for layer in (net.h1, net.h2, net.h3, net.h4, net.output):
        layer.register_forward_hook(lambda _m, _i, y: shapes.append(tuple(y.shape[1:])))
    net(torch.rand(1, 1, 28, 28))
    return shapes


def test_h3_sees_what_table_one_says() -> None:
    rows = TABLE_1.split()
    assert [sorted(maps) for maps in H3_TABLE] == [[i for i in range(4) if rows[i][k] == "X"] for k in range(12)]


def test_lenet1_starts_as_mean_pooling_with_small_weights() -> None:
    torch.manual_seed(0)
    net = zoo.build("lenet1", input_size=(20, 30))
    assert all((m.coefficient == 0.25).all() for m in net.modules() if isinstance(m, Subsampling2d))
    for weight, fan_in in ((net.h1.weight, 25), (net.output.weight, 12 * 2 * 4)):
        assert 0.8 * 2.4 / fan_in < weight.abs().max() <= 2.4 / fan_in
    assert net.h3.weight[0].abs().max() <= 2.4 / 25
    assert net.h3.weight[1].abs().max() <= 2.4 / 50


def test_the_tdnn_has_the_papers_connections() -> None:
    """Each cell's inputs and threshold: 13 frames of 8 units, 9 frames of 3, 3 outputs over 9 frames."""
    assert 13 * 8 * (16 * 3 + 1) + 9 * 3 * (8 * 5 + 1) + 3 * (9 + 1) == 6_233
    net = zoo.build("tdnn")
    assert [count(net.hidden1), count(net.hidden2), net.threshold.numel()] == [8 * 49, 3 * 41, 3]
    x = torch.rand(1, 16, 15)
    assert net.hidden1(x).shape == (1, 8, 13)
    assert net.hidden2(net.hidden1(x)).shape == (1, 3, 9)


def test_the_tdnn_is_its_definition() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("tdnn"), torch.rand(16, 15)
    with torch.no_grad():
        net.threshold.copy_(torch.tensor([0.5, 1.0, 2.0]))
    u = torch.stack([(net.hidden1.weight.flatten(1) @ x[:, t : t + 3].flatten() + net.hidden1.bias) for t in range(13)])
    u = u.sigmoid().T
    v = torch.stack([(net.hidden2.weight.flatten(1) @ u[:, t : t + 5].flatten() + net.hidden2.bias) for t in range(9)])
    torch.testing.assert_close(net(x[None])[0], v.sigmoid().sum(0) - net.threshold)


def test_a_later_onset_changes_nothing_in_the_tdnn_where_silence_surrounds_it() -> None:
    torch.manual_seed(0)
    net, sound = zoo.build("tdnn"), torch.rand(1, 16, 5)
    scores = [net(nn.functional.pad(sound, (6 + shift, 10 - shift))) for shift in range(4)]
    for score in scores[1:]:
        torch.testing.assert_close(score, scores[0])
    assert not torch.allclose(net(nn.functional.pad(sound.flip(2), (6, 10))), scores[0])


@pytest.mark.parametrize(("name", "fields"), [("tdnn", [3, 7, 15]), ("lenet1", [5, 6, 14, 16])])
def test_receptive_fields(name: str, fields: list[int]) -> None:
    report = describe(zoo.build(name), torch.rand(1, *zoo.ARCHITECTURES[name].input))
    got = [layer.receptive_field[0] for layer in report.layers if layer.kind in ("convolution", "pooling")]
    assert got == fields
