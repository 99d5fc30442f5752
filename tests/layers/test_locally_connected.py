from __future__ import annotations

import pytest
import torch
from torch import nn

import striate
from striate import ops
from striate.errors import InputError
from striate.geometry.count import convolution
from striate.layers import LocallyConnected


def count(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def test_the_lectures_counts() -> None:
    assert count(LocallyConnected(1, 1, (28, 28), 5)) == 25 * 24 * 24 + 24 * 24 == 14_976
    assert count(LocallyConnected(3, 5, (28, 28), 5)) == 25 * 3 * 5 * 24 * 24 + 24 * 24 * 5 == 218_880
    assert LocallyConnected(1, 1, (28, 28), 5, stride=2).output_size == (12, 12)
    assert count(LocallyConnected(3, 5, (28, 28), 5)) == convolution((28, 28), 3, 5, 5, shared=False).parameters


def test_described_it_has_its_fields_and_counts() -> None:
    report = striate.describe(LocallyConnected(3, 5, (28, 28), 5, stride=2), (3, 28, 28))
    [layer] = [layer for layer in report.layers if layer.kind == "convolution"]
    assert (layer.operation, layer.receptive_field, layer.stride) == ("local2d", (5, 5), (2, 2))
    assert report.macs == 75 * 5 * 12 * 12
    assert (report.parameters, layer.counts.bias) == (76 * 5 * 12 * 12, 5 * 12 * 12)


def test_kernels_that_the_network_computes_are_read_where_they_are_used() -> None:
    class Filtering(nn.Module):
        """Each place's two weights and bias are its own maps of the input."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kernels = x[0, 1:3, 3:].T.reshape(-1, 1, 1, 2)
            return ops.correlate_locally(x[:, :1, :-2], kernels, x[0, 3:, 3:])

    [layer] = [layer for layer in striate.describe(Filtering(), (4, 9)).layers if layer.operation == "local1d"]
    x = torch.rand(1, 4, 9, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(Filtering()(x)[0, 0, 2], x)
    seen = gradient[0].abs().sum(0).nonzero().flatten()
    assert seen.tolist() == [2, 3, 5]  # two values, and the weights and bias three places on
    assert layer.receptive_field == (4,)


CONVOLUTIONS = [
    (lambda: nn.Conv1d(4, 6, 3, 2, 1, groups=2), 9),
    (lambda: nn.Conv2d(2, 3, 3, (2, 1), 1, dilation=2, padding_mode="reflect"), (9, 8)),
    (lambda: nn.Conv2d(2, 3, 3, padding="same", bias=False), 7),
    (lambda: nn.Conv3d(2, 4, (2, 3, 1), 1, groups=2), (4, 5, 3)),
]


@pytest.mark.parametrize(("build", "size"), CONVOLUTIONS)
def test_a_convolution_unshared_computes_the_same_and_then_goes_apart(build: object, size: object) -> None:
    torch.manual_seed(0)
    conv = build().double().eval()
    layer = LocallyConnected.from_convolution(conv, size)
    x = torch.randn(3, conv.in_channels, *layer.input_size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), conv(x))
    assert not layer.training
    before = layer(x).detach()
    with torch.no_grad():
        layer.weight[(0,) * len(layer.input_size)] += 1
    changed = (layer(x) - before).abs().sum((0, 1)) > 1e-9
    assert changed.sum() == 1
    assert changed[(0,) * len(layer.input_size)]


def test_a_sum_over_places_of_its_gradient_is_that_of_the_shared_kernel() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1).double()
    layer = LocallyConnected.from_convolution(conv, (6, 5))
    x = torch.randn(2, 2, 6, 5, dtype=torch.float64)
    layer(x).square().sum().backward()
    conv(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad.sum((0, 1)), conv.weight.grad)
    torch.testing.assert_close(layer.bias.grad.sum((1, 2)), conv.bias.grad)


def test_it_starts_as_torchs_convolutions() -> None:
    torch.manual_seed(0)
    layer = LocallyConnected(4, 8, (20, 20), 5)
    for parameter in layer.parameters():
        assert 0.095 < parameter.abs().max() <= 0.1  # 1 / sqrt(4 * 25)
    text = "4, 8, input_size=(20, 20), kernel_size=(5, 5), stride=(1, 1), output_size=(16, 16)"
    assert repr(layer) == f"LocallyConnected({text})"


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((4, 6, (8, 8), 3), {"groups": 4}, "groups split the channels evenly: expected a divisor of 4 and 6, got 4"),
        ((0, 6, (8, 8), 3), {}, "cannot use this number of channels"),
        ((4, 6, (8, 8), 9), {}, "the kernel does not fit"),
        ((4, 6, (), 3), {}, "a map has 1, 2 or 3 spatial axes: expected a size for each, got"),
        ((4, 6, (8, 8, 8, 8), 3), {}, "a map has 1, 2 or 3 spatial axes"),
        ((4, 6, (0, 8), 3), {}, "cannot use this input size"),
        ((4, 6, (8, 8), (3, 3, 3)), {}, "cannot use this kernel size"),
        ((4, 6, 8, 3), {"stride": 0}, "cannot use this stride"),
        ((4, 6, 8, 3), {"padding": "both"}, "unknown padding: got 'both'"),
        ((4, 6, 8, 3), {"padding_mode": "mirror"}, "unknown padding mode: got 'mirror'"),
        ((4, 6, 8, 3), {"padding": 9, "padding_mode": "reflect"}, "reflect padding needs more values"),
    ],
)
def test_wrong_options_fail_at_construction(arguments: tuple, options: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        LocallyConnected(*arguments, **options)


def test_another_size_or_another_layer_is_refused() -> None:
    layer = LocallyConnected(3, 5, (28, 28), 5)
    text = r"weights for inputs of one size: expected \(3, 28, 28\), got \(3, 32, 28\). Resize or crop"
    with pytest.raises(InputError, match=text):
        layer(torch.zeros(1, 3, 32, 28))
    with pytest.raises(InputError, match="only a convolution can be unshared: .* got Linear"):
        LocallyConnected.from_convolution(nn.Linear(3, 3), 5)
