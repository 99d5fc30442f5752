from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo


def one_hot(bases: str) -> torch.Tensor:
    return nn.functional.one_hot(torch.tensor(["ACGT".index(base) for base in bases]), 4).T.float()[None]


@pytest.mark.parametrize(("pooling", "hidden"), [("max", 32), ("max", 0), ("max_avg", 7)])
def test_deepbind_scans_pools_and_weighs(pooling: str, hidden: int) -> None:
    """The paper's four stages, base by base, motifs overhanging both ends."""
    torch.manual_seed(0)
    net = zoo.build("deepbind", pooling=pooling, hidden=hidden, motif_length=5, motifs=3).eval()
    x = one_hot("GATTACAGG")
    padded = torch.cat([torch.full((4, 4), 0.25), x[0], torch.full((4, 4), 0.25)], 1)
    scan = torch.stack([(net.motifs.weight * padded[:, i : i + 5]).sum((1, 2)) for i in range(9 + 4)])
    found = (scan + net.motifs.bias).relu()
    z = found.max(0).values
    if pooling == "max_avg":
        z = torch.cat([z, found.mean(0)])
    if hidden:
        z = (net.classifier[0].weight @ z + net.classifier[0].bias).relu()
    torch.testing.assert_close(net(x)[0], net.classifier[-1].weight @ z + net.classifier[-1].bias)


def test_deepbind_finds_a_planted_motif_wherever_it_is() -> None:
    net = zoo.build("deepbind", hidden=0, motif_length=6, motifs=1).eval()
    with torch.no_grad():
        net.motifs.weight.copy_(one_hot("TGACTC") * 2 - 1)
        net.motifs.bias.fill_(-5)
        net.classifier[-1].weight.fill_(1)
        net.classifier[-1].bias.zero_()
    scores = [net(one_hot(text)).item() for text in ("TGACTCAAAAAAAA", "AAAATGACTCAAAA", "AAAATGACGCAAAA")]
    assert scores == [1, 1, 0]


def test_both_strands_share_the_weights_and_have_one_score() -> None:
    torch.manual_seed(0)
    one = zoo.build("deepbind", hidden=5, motif_length=6).eval()
    both = zoo.build("deepbind", hidden=5, motif_length=6, strands="both").eval()
    both.net.load_state_dict(one.state_dict())
    texts = ["GATTACAGGTTC", "CCCCATGNNACG".replace("N", "A"), "ACGTACGTACGT"]
    turned = [text[::-1].translate(str.maketrans("ACGT", "TGCA")) for text in texts]
    x, y = (torch.cat([one_hot(text) for text in some]) for some in (texts, turned))
    torch.testing.assert_close(both(x), both(y))
    torch.testing.assert_close(both(x), torch.maximum(one(x), one(y)))
    assert (one(x) - one(y)).abs().max() > 1e-3


def shapes(net: nn.Module, x: torch.Tensor, kinds: tuple[type, ...]) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    for layer in net.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda _m, _i, y: seen.append(tuple(y.shape[1:])))
    net(x)
    return seen


def test_deepsea_layer_by_layer() -> None:
    with torch.device("meta"):
        net = zoo.build("deepsea").eval()
        seen = shapes(net, torch.empty(1, 4, 1000), (nn.Conv1d, nn.MaxPool1d, nn.Linear))
    assert seen == [(320, 993), (320, 248), (480, 241), (480, 60), (960, 53), (925,), (919,)]
    counts = [sum(p.numel() for p in layer.parameters()) for layer in net if list(layer.parameters())]
    assert counts == [10_560, 1_229_280, 3_687_360, (50_880 + 1) * 925, (925 + 1) * 919]
    assert [layer.p for layer in net if isinstance(layer, nn.Dropout)] == [0.2, 0.2, 0.5]


def test_basset_layer_by_layer() -> None:
    with torch.device("meta"):
        net = zoo.build("basset").eval()
        seen = shapes(net, torch.empty(1, 4, 600), (nn.Conv1d, nn.MaxPool1d, nn.Linear))
    pools = [(300, 194), (200, 46), (200, 10)]
    assert [shape for shape in seen if shape in pools] == pools
    assert seen[-3:] == [(1000,), (1000,), (164,)]
    assert net[0].weight.shape == (300, 4, 19)
    assert net[13].in_features == 2000
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in net) == 5


@pytest.mark.parametrize(("layers", "field"), [(9, 2 * 1034 + 1), (3, 25 + 2 * 14)])
def test_bpnets_maps_see_1034_bases_on_each_side(layers: int, field: int) -> None:
    torch.manual_seed(0)
    net = zoo.build("bpnet", layers=layers, width=0.05)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()  # so that no ReLU and no sum of opposites hides a base
    maps: list[torch.Tensor] = []
    net.profile.register_forward_pre_hook(lambda _m, i: maps.append(i[0]))
    x = torch.rand(1, 4, 2201, requires_grad=True)
    net(x)
    maps[0][0, :, 1100].sum().backward()
    seen = x.grad[0].any(0).nonzero().flatten()
    assert (seen.min(), seen.max()) == (1100 - field // 2, 1100 + field // 2)
    assert len(seen) == field  # no gaps


def test_describe_finds_bpnets_field_with_its_head() -> None:
    with torch.device("meta"):
        report = describe(zoo.build("bpnet").eval(), torch.empty(1, 4, 1000))
    fields = {layer.path: layer.receptive_field for layer in report.layers}
    assert fields["profile"] == (2 * 1034 + 25,)


def test_bpnet_is_a_sum_of_dilated_convolutions() -> None:
    torch.manual_seed(0)
    net = zoo.build("bpnet", layers=3, num_classes=2, width=0.1).double()
    assert [conv.dilation for conv in net.dilated] == [(2,), (4,), (8,)]
    x = torch.randn(2, 4, 40, dtype=torch.float64)
    body = net.first(x).relu()
    for conv in net.dilated:
        d = conv.dilation[0]
        padded = nn.functional.pad(body, (d, d))
        taps = [torch.einsum("nct,mc->nmt", padded[:, :, k * d :][:, :, :40], conv.weight[:, :, k]) for k in range(3)]
        body = body + (sum(taps) + conv.bias[:, None]).relu()
    profile, count = net(x)
    torch.testing.assert_close(count, body.mean(2) @ net.count.weight.T + net.count.bias)
    # A transposed convolution of stride 1 is a convolution with the flipped kernel.
    flipped = net.profile.weight.flip(2).transpose(0, 1)
    torch.testing.assert_close(profile, nn.functional.conv1d(body, flipped, net.profile.bias, padding=12))
