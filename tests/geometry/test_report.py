"""Reports against published tables, torch's own counter, and what autograd keeps."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from striate import build
from striate.geometry import Report, describe, diff

# Simonyan and Zisserman 2014, table 1: widths, M a pooling, negative a 1x1 convolution.
VGG = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "C": [64, 64, "M", 128, 128, "M", 256, 256, -256, "M", 512, 512, -512, "M", 512, 512, -512, "M"],
    "D": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    "E": [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M"],
}
TOTALS = {"A": 132_863_336, "B": 133_047_848, "C": 133_638_952, "D": 138_357_544, "E": 143_667_240}


def vgg(name: str) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG[name]:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
        else:
            kernel = 3 if width > 0 else 1
            layers += [nn.Conv2d(channels, abs(width), kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
            channels = abs(width)
    layers.append(nn.Flatten())
    for features, width in ((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000)):
        layers.append(nn.Linear(features, width))
    return nn.Sequential(*layers)


def sized_up(name: str) -> Report:
    with torch.device("meta"):
        return describe(vgg(name), (3, 224, 224))


@pytest.mark.parametrize("name", VGG)
def test_totals_of_the_vgg_networks(name: str) -> None:
    assert sized_up(name).parameters == TOTALS[name]


def test_the_lectures_table_of_vgg16() -> None:
    """Lectures, N24: values kept and weights without biases, for the layers that they list."""
    report = sized_up("D")
    rows = [row for row in report.layers if row.kind in ("convolution", "pooling", "linear")]
    assert [row.activation_bytes // 4 for row in rows] == [
        *(3_211_264, 3_211_264, 802_816, 1_605_632, 1_605_632, 401_408, 802_816, 802_816, 802_816, 200_704),
        *(401_408, 401_408, 401_408, 100_352, 100_352, 100_352, 100_352, 25_088, 4096, 4096, 1000),
    ]
    weighted = [row for row in rows if row.parameters]
    assert [row.parameters - row.shape[0] for row in weighted] == [
        *(1728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, 2_359_296, 2_359_296),
        *(2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000),
    ]
    assert round(report.parameter_share.linear, 4) == 0.8936
    assert report.activation_share.convolution > 0.99
    assert report.least_input == (3, 224, 224)


def test_the_published_receptive_field_of_vgg16() -> None:
    """Araujo, Norris and Sim 2019, Computing receptive fields of convolutional neural networks: 212, stride 32."""
    pool = [row for row in sized_up("D").layers if row.operation == "max_pool2d"][-1]
    assert (pool.receptive_field, pool.stride, pool.offset) == ((212, 212), (32, 32), (15.5, 15.5))
    assert pool.padding == ((90, 90), (90, 90))


class Bottleneck(nn.Module):
    """As the table's networks have it: the stride is in the 3x3 convolution of a block's last unit."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.short = nn.MaxPool2d(1, stride) if channels == width else nn.Conv2d(channels, width, 1, stride)
        self.one, self.two = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, 8, 3, stride, 1)
        self.three = nn.Conv2d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.short(x) + self.three(torch.relu(self.two(torch.relu(self.one(x))))))


@pytest.mark.parametrize(("units", "field"), [((3, 4, 6, 3), 483), ((3, 4, 23, 3), 1027), ((3, 8, 36, 3), 1507)])
def test_the_published_receptive_fields_of_resnets(units: tuple[int, ...], field: int) -> None:
    """The same table: ResNet v1 with 50, 101 and 152 layers."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    channels = 16
    for block, count in enumerate(units):
        width = 16 << block
        for unit in range(count):
            layers.append(Bottleneck(channels, width, 2 if unit == count - 1 and block < 3 else 1))
            channels = width
    report = describe(nn.Sequential(*layers), (3, 224, 224))
    assert report.layers[-1].receptive_field == (field, field)
    assert report.layers[-1].stride == (32, 32)


def test_alexnet() -> None:
    """Lectures, N27: 62,378,344 parameters without groups, 6.007 % of them in convolutions."""
    channels, layers = 3, []
    for width, kernel, stride, padding, pooled in (
        (96, 11, 4, 0, True), (256, 5, 1, 2, True), (384, 3, 1, 1, False), (384, 3, 1, 1, False), (256, 3, 1, 1, True)
    ):  # fmt: skip
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2)] * pooled
        channels = width
    layers += [nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    report = describe(nn.Sequential(*layers), (3, 227, 227))
    assert report.parameters == 62_378_344
    assert round(100 * report.parameter_share.convolution, 3) == 6.007


class Mixed(nn.Module):
    """Every kind of product: grouped, transposed, functional, linear on tokens, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(4, 8, 3, 2, 1, groups=2), nn.ConvTranspose2d(8, 4, 4, 2, 1, groups=4)
        self.kernel = nn.Parameter(torch.ones(6, 4, 3, 3))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(self.up(self.conv(x)), self.kernel, stride=4).flatten(2).transpose(1, 2)
        x = self.head(x + self.attention(x, x, x)[0])
        return torch.einsum("ntc,nsc->nts", x, x)


def test_macs_are_those_of_torch() -> None:
    net = Mixed().to("meta").eval()
    x = torch.empty(1, 4, 16, 16, device="meta")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(True):
        net(x)
    report = describe(net, (4, 16, 16))
    assert report.macs == counter.get_total_flops() // 2 > 0
    assert report.parameters == sum(p.numel() for p in net.parameters())
    assert sum(row.parameters for row in report.layers) == report.parameters


def test_the_memory_of_training_is_what_autograd_keeps() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3), nn.Sigmoid())
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.rand(2, 2, 8, 8)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(x)
    memory = describe(net, (2, 8, 8)).memory
    assert memory.training_kept == sum(kept.values()) // 2
    values = 2 * 8 * 8 + 2 * 4 * 6 * 6 + 4 * 3 * 3 + 3 + 3
    assert memory.inference == 4 * values
    assert memory.inference_peak == 4 * (2 * 4 * 6 * 6)  # the convolution's output and what ReLU makes of it


def test_table_json_page_and_difference() -> None:
    a = describe(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 8, 8))
    b = describe(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Upsample(scale_factor=2)), (1, 8, 8))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(a.table(), b.table(everything=True))
    text = console.export_text()
    assert "conv2d" in text
    assert "interpolate_nearest" in text
    plain = json.loads(json.dumps(b.json()))
    assert plain["layers"][-1]["stride"] == [0.5, 0.5]
    assert plain["least_input"] == [1, 3, 3]
    assert "<svg" in a.html()
    assert a.html() == a._repr_html_()
    difference = diff(a, b)
    assert [(x is None, y and y.operation) for x, y in difference.rows] == [(True, "interpolate_nearest")]
    assert json.dumps(difference.json())
    assert difference.table().row_count > 1
    assert diff(a, a).rows == diff(a, a).totals == ()


def test_the_names_in_a_page_are_escaped() -> None:
    net = nn.Sequential()
    net.add_module("<script>", nn.ReLU())
    assert "<script>" not in describe(net, (1, 8, 8)).html()


def test_a_network_that_cannot_be_trained_is_described_all_the_same() -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if not self.training or x.sum() > 0 else x

    report = describe(Picky(), (3, 8, 8))
    assert report.memory.training is None
    assert "depends on the numbers" in report.training_problem
    assert "unknown" in report.summary()["activations, training"]


def test_what_torch_makes_of_one_module_is_one_row_for_people() -> None:
    net = nn.Sequential(nn.Conv1d(3, 4, 3), nn.LocalResponseNorm(3), nn.ReLU())
    report = describe(net, (3, 9))
    assert len(report.layers) > 3
    conv, norm, relu = report.rows
    assert norm.operation == f"LocalResponseNorm ({len(report.layers) - 2} operations)"
    assert (conv, relu) == (report.layers[0], report.layers[-1])
    assert norm.activation_bytes == sum(layer.activation_bytes for layer in report.layers[1:-1])
    assert sum(sum(dataclasses.astuple(row.counts)) for row in report.rows) == sum(dataclasses.astuple(report.counts))
    steps = describe(nn.Sequential(nn.LSTM(4, 5, batch_first=True)), torch.rand(1, 10, 4))
    assert [row.operation.partition(" ")[0] for row in steps.rows] == ["LSTM"]
    assert steps.rows[0].parameters == steps.parameters


def test_parameters_of_pooling_are_elsewhere() -> None:
    share = describe(build("lenet5"), (1, 32, 32)).parameter_share
    assert round(share.convolution * 60_000) == 156 + 1516 + 48_120
    assert round(share.linear * 60_000) == 84 * 121
    assert round(share.other * 60_000) == 12 + 32
