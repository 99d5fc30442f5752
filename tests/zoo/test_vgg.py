from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo

CONVOLUTIONS = {"vgg11": 8, "vgg11_lrn": 8, "vgg13": 10, "vgg16_c": 13, "vgg16": 13, "vgg19": 16}

# The lectures' table of VGG-16: weights without biases.
VGG16_WEIGHTS = [
    *(1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, 2_359_296, 2_359_296),
    *(2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000),
]


def built(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options).eval()


def layers(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_weights_of_vgg16_are_those_of_the_lectures_table() -> None:
    net = built("vgg16")
    assert [layer.weight.numel() for layer in layers(net)] == VGG16_WEIGHTS
    assert sum(VGG16_WEIGHTS) == 138_344_128
    biases = sum(layer.bias.numel() for layer in layers(net))
    assert sum(VGG16_WEIGHTS) + biases == zoo.ARCHITECTURES["vgg16"].parameters


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_number_of_weight_layers_and_total_in_millions(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    net = built(name)
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == CONVOLUTIONS[name]
    assert sum(isinstance(m, nn.Linear) for m in net.modules()) == 3
    depth = len(layers(net))
    assert {"vgg16_c": 16, "vgg11_lrn": 11}.get(name) == depth or name == f"vgg{depth}"
    assert round(entry.parameters / 1e6) == int(entry.lectures.partition(" ")[0])
    assert all(layer.kernel_size in ((3, 3), (1, 1)) for layer in layers(net)[:-3])


def test_dense_share_of_vgg16_and_vgg19() -> None:
    for name, share in (("vgg16", 0.8936), ("vgg19", 0.8606)):
        net = built(name)
        dense = sum(p.numel() for p in net.classifier.parameters())
        assert dense / zoo.ARCHITECTURES[name].parameters == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_maps_halve_five_times(name: str) -> None:
    sides: list[int] = []
    net = built(name)
    for layer in net.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_hook(lambda _m, _i, y: sides.append(y.shape[-1]))
    net(torch.rand(1, 3, 224, 224, device="meta"))
    assert sides == [112, 56, 28, 14, 7]


def test_receptive_fields_of_vgg16() -> None:
    """Two 3x3 convolutions see 5x5, three 7x7 (section 2.3); the last pooling of VGG-16 sees 212 pixels."""
    x = torch.rand(1, 3, 224, 224, device="meta")
    fields = {layer.path: layer.receptive_field[0] for layer in describe(built("vgg16"), x).layers}
    assert [fields[f"features.{i}"] for i in (0, 2, 4, 28, 30)] == [3, 5, 6, 196, 212]
    assert (fields["features.14"] - fields["features.9"]) // 4 + 1 == 7  # three convolutions at stride 4


def test_the_normalization_of_a_lrn_is_after_the_first_convolution() -> None:
    plain, normed = built("vgg11").features, list(built("vgg11_lrn").features)
    assert isinstance(normed.pop(2), nn.LocalResponseNorm)
    assert [repr(m) for m in normed] == [repr(m) for m in plain]


def test_c_has_one_by_one_convolutions_where_d_has_three_by_three() -> None:
    kernels = [
        [m.kernel_size[0] for m in built(name).features if isinstance(m, nn.Conv2d)] for name in ("vgg16_c", "vgg16")
    ]
    assert [i for i, (c, d) in enumerate(zip(*kernels, strict=True)) if c != d] == [6, 9, 12]
    assert {kernels[0][i] for i in (6, 9, 12)} == {1}
    assert set(kernels[1]) == {3}


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16_c", "vgg16", "vgg19"])
def test_batch_norm_follows_each_convolution_and_keeps_torchvisions_names(name: str) -> None:
    features = list(built(name, batch_norm=True).features)
    convolutions = [i for i, m in enumerate(features) if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == CONVOLUTIONS[name]
    for i in convolutions:
        assert isinstance(features[i + 1], nn.BatchNorm2d)
        assert isinstance(features[i + 2], nn.ReLU)
    plain = [m for m in features if not isinstance(m, nn.BatchNorm2d)]
    assert [repr(m) for m in plain] == [repr(m) for m in built(name).features]


def test_torchvisions_numbers() -> None:
    plain = {key.rpartition(".")[0] for key in built("vgg11").state_dict()}
    assert plain == {f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)} | {f"classifier.{i}" for i in (0, 3, 6)}
    normed = {key.rpartition(".")[0] for key in built("vgg11", batch_norm=True).state_dict()}
    assert {"features.0", "features.1", "features.4", "features.5", "features.25", "features.26"} <= normed


def test_width_dropout_and_input_size() -> None:
    net = built("vgg11", width=0.125, dropout=0.3, input_size=(64, 100))
    assert [layer.weight.shape[0] for layer in layers(net)][-4:] == [64, 512, 512, 1000]
    assert net.classifier[0].in_features == 64 * 2 * 3
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.3}
    assert net(torch.rand(2, 3, 64, 100, device="meta")).shape == (2, 1000)


def test_weights_start_by_glorots_rule() -> None:
    torch.manual_seed(0)
    net = zoo.build("vgg11", width=0.25, input_size=(32, 32))
    for layer in layers(net):
        out, inputs, *kernel = layer.weight.shape
        limit = (6 / ((out + inputs) * torch.Size(kernel).numel())) ** 0.5
        assert 0.98 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()


def test_vgg16_gap_is_vgg16_up_to_conv5_3_and_maps_of_the_classes_average_to_its_scores() -> None:
    torch.manual_seed(0)
    net = zoo.build("vgg16_gap", width=1 / 16, num_classes=5).eval()
    plain = built("vgg16", width=1 / 16).features[:-1]
    assert [repr(m) for m in net.features] == [repr(m) for m in plain]
    x = torch.rand(2, 3, 48, 32)
    with torch.no_grad():
        maps = net.conv(net.features(x)).relu()
        assert maps.shape == (2, 64, 3, 2)
        cam = torch.einsum("kc,nchw->nkhw", net.dense.weight, maps)  # class activation maps
        torch.testing.assert_close(net(x), cam.mean((2, 3)) + net.dense.bias)


def test_vgg16_gap_keeps_fourteen_by_fourteen() -> None:
    """Section 3: mapping resolution 14x14, then 1,024 units of 3x3."""
    net = built("vgg16_gap")
    assert net.features(torch.rand(1, 3, 224, 224, device="meta")).shape == (1, 512, 14, 14)
    assert sum(p.numel() for p in net.conv.parameters()) == 512 * 9 * 1024 + 1024
