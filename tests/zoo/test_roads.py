from __future__ import annotations

import torch

from striate import describe, zoo


def test_sizes_and_parameters_of_each_layer() -> None:
    with torch.device("meta"):
        layers = describe(zoo.build("mnih_road").eval(), torch.rand(1, 3, 64, 64)).layers
    rows = [
        (layer.shape[-1], layer.parameters) for layer in layers if layer.kind in ("convolution", "pooling", "linear")
    ]
    assert rows == [
        (13, 16 * 16 * 3 * 64 + 64),
        (12, 0),
        (9, 4 * 4 * 64 * 112 + 112),
        (7, 3 * 3 * 112 * 80 + 80),
        (4096, 7 * 7 * 80 * 4096 + 4096),
        (256, 4096 * 256 + 256),
    ]


def test_the_map_is_the_last_layer_in_rows() -> None:
    torch.manual_seed(0)
    net = zoo.build("mnih_road", width=0.1, patch=8, num_classes=3, input_size=(48, 72), dropout=0.5).eval()
    values = []
    net.fc5.register_forward_hook(lambda _m, _i, y: values.append(y))
    got = net(torch.rand(2, 3, 48, 72))
    assert got.shape == (2, 3, 8, 8)
    assert got[1, 2, 3, 4] == values[0][1, 2 * 64 + 3 * 8 + 4]
