from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo
from striate.zoo.dilated import BASIC, LARGE, ContextModule


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_context_module_sees_what_the_papers_table_1_says() -> None:
    with torch.device("meta"):
        layers = describe(ContextModule(21), torch.rand(1, 21, 64, 64)).layers
    fields = [layer.receptive_field for layer in layers if layer.kind == "convolution"]
    assert fields == [(side, side) for side in (3, 5, 9, 17, 33, 65, 67, 67)]
    assert {layer.shape[-2:] for layer in layers} == {(64, 64)}


def test_parameters_of_the_context_modules_by_table_1() -> None:
    with torch.device("meta"):
        for multiples in (BASIC, LARGE):
            widths = [21 * multiple for multiple in multiples]
            layers = sum((9 * a + 1) * b for a, b in zip((21, *widths), widths, strict=False))
            assert count(ContextModule(21, multiples)) == layers + (widths[-1] + 1) * 21
    # Section 3: "approximately 64C^2 parameters" for the basic form, the front end's C layers aside.
    assert 64 * 21**2 <= count(ContextModule(21)) <= 65 * 21**2


def test_the_basic_context_module_starts_as_the_identity() -> None:
    x = torch.rand(2, 5, 9, 12)
    assert torch.equal(ContextModule(5)(x), x)


def test_the_large_context_module_starts_close_to_the_identity_with_copies_told_apart() -> None:
    torch.manual_seed(0)
    module, x = ContextModule(3, LARGE).double(), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    off = (module(x) - x).abs().max().item()
    first = module.layers[0].weight
    assert 0 < off < 0.5
    assert first[0, 0, 1, 1] == first[1, 0, 1, 1] == 0.5  # C / c
    assert first[0, 1, 1, 1] != first[1, 1, 1, 1]
    with torch.no_grad():
        for layer in module.layers:
            if isinstance(layer, nn.Conv2d):
                layer.weight[layer.weight != 3 / layer.out_channels] = 0  # the noise
    torch.testing.assert_close(module(x), x)


def test_sizes_of_the_front_end() -> None:
    with torch.device("meta"):
        layers = describe(zoo.build("dilated_context").eval(), torch.rand(1, 3, 900, 900)).layers
    assert [layer.shape[-1] for layer in layers if layer.kind == "pooling"] == [448, 222, 108]
    sizes = [layer.shape[-1] for layer in layers if layer.kind == "convolution"]
    assert sizes[7:] == [106, 104, 102, 98, 94, 90, 66, 66, 66, *[66] * 8]


def test_the_front_end_is_vgg16_with_other_scores() -> None:
    with torch.device("meta"):
        assert count(zoo.build("dilated_context", context="none")) == 138_357_544 - 4_097_000 + 4097 * 21


def test_dilation_gives_the_scores_between_those_of_further_halvings() -> None:
    """Dilation in place of pooling: every fourth score is the one with five halvings."""
    torch.manual_seed(0)
    net = zoo.build("dilated_context", context="none", width=0.02).eval()
    x = torch.rand(1, 3, 412, 412)
    y = x
    for number, stage in enumerate(net.stages):
        for layer in stage:
            y = nn.functional.conv2d(y, layer.weight, layer.bias) if hasattr(layer, "weight") else y.relu()
        # Where pool4 and pool5 were, every other position is taken.
        y = nn.functional.max_pool2d(y, 2) if number < 3 else y[:, :, ::2, ::2]
    y = nn.functional.conv2d(y, net.fc6.weight, net.fc6.bias).relu()
    want = net.score(nn.functional.conv2d(y, net.fc7.weight, net.fc7.bias).relu())
    torch.testing.assert_close(net(x)[:, :, ::4, ::4], want)


def test_mirroring_gives_a_score_for_each_eight_pixels() -> None:
    net = zoo.build("dilated_context", width=0.01, mirror=True, context="large").eval()
    assert net(torch.rand(1, 3, 192, 200)).shape == (1, 21, 24, 25)
    with pytest.raises(RuntimeError, match=r"[Pp]adding size"):
        net(torch.rand(1, 3, 186, 200))
