"""WaveNet and TCN: what was not heard yet changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo
from striate.errors import InputError

SMALL = {
    "wavenet": {"stacks": 2, "layers": 4, "residual": 6, "skip": 5},
    "tcn": {"hidden": 6, "levels": 3, "kernel": 3, "each_step": True},
}
FIELDS = {"wavenet": 2 + 2 * 15, "tcn": 1 + 2 * 2 * 7}


def small(name: str, **options: int) -> nn.Module:
    torch.manual_seed(0)
    return zoo.build(name, in_channels=3, num_classes=4, **SMALL[name], **options).double().eval()


@pytest.mark.parametrize("name", ["wavenet", "tcn"])
def test_a_step_sees_exactly_its_receptive_field_of_the_past(name: str) -> None:
    net = small(name)
    for path, parameter in net.named_parameters():
        if name == "tcn":  # larger and positive, so that no ReLU hides a step
            parameter.data = parameter.data.abs() + 0.1 * ("original" in path)
    x = torch.rand(1, 3, 60, dtype=torch.float64)
    before, last = net(x), 59
    for changed in range(60):
        other = x.clone()
        other[0, :, changed] += 1
        moved = (net(other) != before).any(1)[0].nonzero().flatten().tolist()
        assert moved[0] == changed  # nothing earlier
        assert moved[-1] == min(last, changed + FIELDS[name] - 1)


@pytest.mark.parametrize(("name", "field"), [("wavenet", 3 * 1023 + 2), ("tcn", 1 + 2 * 6 * 255)])
def test_receptive_field_by_formula_and_by_geometry(name: str, field: int) -> None:
    options = {"each_step": True} if name == "tcn" else {}
    with torch.device("meta"):
        net = zoo.build(name, **options).eval()
        report = describe(net, torch.empty(1, net.first.in_channels if name == "wavenet" else 1, 5000))
    assert report.layers[-1].receptive_field == (field,)
    if name == "wavenet":
        assert net.receptive_field == field


def test_wavenet_is_the_papers_equation() -> None:
    """z = tanh(W_f * x) · σ(W_g * x) step by step; skips are summed, then ReLU, 1x1, ReLU, 1x1."""
    net = small("wavenet")
    x = torch.randn(1, 3, 20, dtype=torch.float64)
    maps = step_by_step(net.first, x[0], 1)
    total = torch.zeros(5, 20, dtype=torch.float64)
    for layer, dilation in zip(net.layers, [1, 2, 4, 8, 1, 2, 4, 8], strict=True):
        both = step_by_step(layer.conv, maps, dilation)
        z = both[:6].tanh() * both[6:].sigmoid()
        total = total + layer.skip.weight[:, :, 0] @ z + layer.skip.bias[:, None]
        if layer.residual is not None:
            maps = maps + layer.residual.weight[:, :, 0] @ z + layer.residual.bias[:, None]
    out = net.post1.weight[:, :, 0] @ total.relu() + net.post1.bias[:, None]
    out = net.post2.weight[:, :, 0] @ out.relu() + net.post2.bias[:, None]
    torch.testing.assert_close(net(x)[0], out)


def step_by_step(conv: nn.Conv1d, x: torch.Tensor, dilation: int) -> torch.Tensor:
    """A causal convolution over two samples: now and `dilation` steps ago, silence before the start."""
    silence = torch.zeros_like(x[:, 0])
    results = []
    for t in range(x.shape[1]):
        past = x[:, t - dilation] if t >= dilation else silence
        results.append(conv.weight[:, :, 1] @ x[:, t] + conv.weight[:, :, 0] @ past + conv.bias)
    return torch.stack(results, 1)


def test_a_speaker_conditions_all_steps_and_features_their_own_and_later_ones() -> None:
    net = small("wavenet", global_channels=2, local_channels=3)
    x = torch.randn(1, 3, 40, dtype=torch.float64)
    speaker, features = torch.randn(1, 2, dtype=torch.float64), torch.randn(1, 3, 40, dtype=torch.float64)
    before = net(x, speaker, features)
    assert (net(x, speaker + 1, features) != before).all()
    other = features.clone()
    other[0, :, 25] += 1
    changed = (net(x, speaker, other) != before).any(1)[0]
    assert not changed[:25].any()
    assert changed[25]


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"global_channels": 2}, {}, "condition does not fit: speaker: expected 2 channels, got none. Build with"),
        ({"local_channels": 7}, {}, "condition does not fit: features: expected 7 channels, got none"),
        ({}, {"features": torch.rand(1, 1, 4)}, "condition does not fit: features: expected none, got some"),
    ],
)
def test_missing_and_unasked_conditions_are_errors(
    options: dict[str, int], given: dict[str, torch.Tensor], message: str
) -> None:
    net = zoo.build("wavenet", in_channels=3, **SMALL["wavenet"], **options)
    with pytest.raises(InputError, match=message):
        net(torch.rand(1, 3, 4), **given)


def test_tcn_is_weight_normed_residual_and_starts_near_zero() -> None:
    net = zoo.build("tcn")
    assert [block.conv1.dilation[0] for block in net.blocks] == [1, 2, 4, 8, 16, 32, 64, 128]
    for block in net.blocks:
        conv = block.conv2
        g, v = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
        torch.testing.assert_close(conv.weight, g * v / v.flatten(1).norm(dim=1)[:, None, None])
        assert conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert isinstance(net.blocks[0].shortcut, nn.Conv1d)
    assert all(isinstance(block.shortcut, nn.Identity) for block in net.blocks[1:])


def test_tcn_is_its_last_step_and_a_block_is_figure_1b() -> None:
    net = small("tcn")
    x = torch.randn(2, 3, 30, dtype=torch.float64)
    y = x
    for block, d in zip(net.blocks, (1, 2, 4), strict=True):
        h = y
        for conv in (block.conv1, block.conv2):
            padded = torch.cat([h.new_zeros(2, h.shape[1], 2 * d), h], 2)
            taps = [
                torch.einsum("nct,mc->nmt", padded[:, :, k * d :][:, :, :30], conv.weight[:, :, k]) for k in (0, 1, 2)
            ]
            h = (sum(taps) + conv.bias[:, None]).relu()
        y = (h + block.shortcut(y)).relu()
    every = torch.einsum("nct,kc->nkt", y, net.dense.weight) + net.dense.bias[:, None]
    torch.testing.assert_close(net(x), every)
    net.each_step = False
    torch.testing.assert_close(net(x), every[:, :, -1])
