from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate import InputError, build
from striate.layers.by_rank import AVG_POOL, BATCH_NORM, CONV, MAX_POOL
from striate.locality import scan, shift_and_stitch
from striate.locality.scan.crops import Crops
from striate.zoo import to_convolutional

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def one_by_one(model: nn.Module, image: Tensor, patch: tuple[int, ...], stride: int = 1) -> Tensor:
    """The definition: every crop cut out and run."""
    rank, crops = len(patch), image
    for axis, size in enumerate(patch):
        crops = crops.unfold(2 + axis, size, stride)
    positions = crops.shape[2 : 2 + rank]
    crops = crops.movedim(1, 1 + rank).flatten(0, rank)
    with torch.no_grad():
        output = copy.deepcopy(model).eval()(crops)
    return output.unflatten(0, (len(image), *positions)).flatten(1 + rank).movedim(-1, 1)


def difference(model: nn.Module, image: Tensor, stride: int = 1, **options: Any) -> float:
    """Greatest difference between a scan and the definition, in units of the output's scale."""
    scanner = scan(model, stride=stride, **options)
    found, right = scanner(image), one_by_one(model, image, scanner.patch, stride)
    found = found.flatten(1, -image.dim() + 1)
    assert found.shape == right.shape
    return float((found - right).abs().max() / right.abs().max().clamp(min=1e-30))


class Random(nn.Module):
    """Layers drawn at random; one that does not fit is left out. Ends in one of four heads."""

    def __init__(self, rank: int, plan: list[Any], head: int, patch: tuple[int, ...], pad: int = 0) -> None:
        super().__init__()
        self.pad = pad
        self.rank, self.plan, self.head = rank, plan, head
        self.layers = nn.ModuleList(self.made(name, o) for name, o in plan)
        self.linear = nn.LazyLinear(3) if head != 2 else nn.Identity()
        self.fit(torch.rand(2, 2, *patch))

    def fit(self, x: Tensor) -> None:
        """Keeps the steps that this crop can take; maps of two strides are not joined."""
        values, fitting, strides = [x], [], [(1,) * self.rank]
        for number, (name, o) in enumerate(self.plan):
            one, two = strides[-1 - o[0] % len(values)], strides[-1 - o[1] % len(values)]
            layer = self.layers[number]
            try:
                value = self.step(name, o, layer, values)
            except RuntimeError as error:
                assert "size" in str(error) or "small" in str(error)  # noqa: PT017
                continue
            if not value.numel() or not value.isfinite().all():  # a window of nothing but padding
                continue
            if name in ("add", "cat") and any(
                a != b and n > 1 for a, b, n in zip(one, two, value.shape[2:], strict=True)
            ):
                continue
            own = (1 + o[3] % 2,) * self.rank if name == "slice" else getattr(layer, "stride", (1,) * self.rank)
            own = own if isinstance(own, tuple) else (own,) * self.rank
            values.append(value)
            strides.append(tuple(a * b for a, b in zip(one, own, strict=True)))
            fitting.append(number)
        self.plan = [self.plan[number] for number in fitting]
        self.layers = nn.ModuleList(self.layers[number] for number in fitting)
        self(x)

    def made(self, name: str, o: tuple[int, ...]) -> nn.Module:
        kernel = tuple(1 + (o[0] + axis) % 3 for axis in range(self.rank))
        stride = tuple(1 + (o[1] + axis) % 3 for axis in range(self.rank))
        if name == "conv":
            return CONV[self.rank](
                4 if o[4] == 3 else 2, 4, kernel, stride, self.pad * (o[4] % 3), 1 + o[2] % 2, 1 + o[3] % 2
            )
        if name == "max":
            return MAX_POOL[self.rank](kernel, stride, self.pad * (min(kernel) // 2), 1 + o[2] % 2)
        if name == "avg":
            return AVG_POOL[self.rank](kernel, stride, self.pad * (min(kernel) // 2), count_include_pad=o[4] > 0)
        if name == "norm":
            norm = BATCH_NORM[self.rank](2)
            nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
            return norm
        return {"relu": nn.ReLU(inplace=True), "tanh": nn.Tanh(), "softmax": nn.Softmax(1)}.get(name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for (name, o), layer in zip(self.plan, self.layers, strict=True):
            made.append(self.step(name, o, layer, made))
        x = made[-1]
        if self.head == 0:
            return self.linear(x.flatten(1)).softmax(1)
        if self.head == 1:
            return self.linear(x.mean(tuple(range(2, x.dim()))))
        return x if self.head == 2 else self.linear(x.amax(tuple(range(2, x.dim())), keepdim=True).view(x.shape[0], -1))

    def step(self, name: str, o: tuple[int, ...], layer: nn.Module, made: list[Tensor]) -> Tensor:
        x, other = made[-1 - o[0] % len(made)], made[-1 - o[1] % len(made)]
        space = [
            slice((a - min(a, b)) // 2, (a - min(a, b)) // 2 + min(a, b))
            for a, b in zip(x.shape[2:], other.shape[2:], strict=True)
        ]
        if name == "conv":
            x = torch.cat([x, x * 2], 1) if layer.in_channels == 4 else x
            x = layer(x)
            return x[:, :2] - x[:, 2:]
        if name == "add":
            return x[(..., *space)] + 0.5 * other[(..., *[slice(s.stop - s.start) for s in space])]
        if name == "cat":
            both = torch.cat([x[(..., *space)], other[(..., *[slice(s.stop - s.start) for s in space])]], 1)
            return both.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)[:, :2] + both.chunk(2, 1)[1]
        if name == "slice":
            return x[(..., *[slice(o[2] % 2, None, 1 + o[3] % 2)] * self.rank)]
        if name == "relu":
            return layer(x.clone()) if o[0] else layer(x * 1)
        return layer(x)


steps = st.tuples(
    st.sampled_from(
        ["conv", "conv", "conv", "max", "max", "avg", "relu", "tanh", "softmax", "norm", "add", "cat", "slice"]
    ),
    st.tuples(*[st.integers(0, 3)] * 5),
)
networks = st.tuples(st.integers(1, 3), st.lists(steps, min_size=1, max_size=6), st.integers(0, 3))


@settings(deadline=None, max_examples=40)
@given(networks, st.tuples(*[st.integers(3, 11)] * 3), st.tuples(*[st.integers(0, 6)] * 3), st.integers(1, 4))
def test_every_crop_gets_what_the_network_says_of_it(network, patch, more, stride) -> None:
    rank, plan, head = network
    patch = tuple(side - 2 * (rank == 3) if side > 4 else side for side in patch[:rank])
    model = Random(rank, plan, head, patch).eval()
    for dtype, tolerance in TOLERANCE.items():
        torch.manual_seed(0)
        image = torch.randn(2, 2, *(side + m for side, m in zip(patch, more, strict=False)), dtype=dtype)
        assert difference(model.to(dtype), image, stride, patch=patch) < tolerance


@settings(deadline=None, max_examples=40)
@given(networks, st.tuples(*[st.integers(5, 15)] * 3), st.tuples(*[st.integers(0, 5)] * 3), st.integers(1, 3))
def test_every_crop_keeps_its_own_border(network, patch, more, stride) -> None:
    rank, plan, head = network
    patch = tuple(6 if rank == 3 else side for side in patch[:rank])
    model = Random(rank, plan, head, patch, pad=1).eval().double()
    x = image(*(side + m for side, m in zip(patch, more, strict=False)), channels=2, items=2)
    assert difference(model, x, stride, patch=patch, borders="crops") < 1e-10


def classifier(*layers: nn.Module, features: int, classes: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, classes)).double()


def small() -> nn.Sequential:
    """Crops of 8x8, stride 2."""
    return classifier(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), features=18)


def padded() -> nn.Sequential:
    """Crops of 8x8, each padded."""
    layers = (nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1))
    return classifier(*layers, features=32)


def image(*sides: int, channels: int = 1, items: int = 1) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(items, channels, *sides, dtype=torch.float64)


def test_a_wrong_scan_is_seen() -> None:
    model, x = small(), image(12, 12)
    scanner = scan(model)
    right = one_by_one(model, x, scanner.patch)
    assert (scanner(x) - right).abs().max() < 1e-10
    assert (scanner(x.roll(1, 2)) - right).abs().max() > 1e-3


class Norms(nn.Module):
    """What classifiers have besides convolutions: local response norm, channel shuffle, gates, positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.LocalResponseNorm(3)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        x = x.view(x.size(0), 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        x = F.adaptive_max_pool2d(F.adaptive_avg_pool2d(F.prelu(x, torch.tensor(0.2).to(x)), (3, 3)), 1)
        return self.fc(x.view(-1, 8))


class Attention(nn.Module):
    """A gate that has seen the whole crop (squeeze and excitation), and a norm over all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.norm = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.norm(x * self.gate(F.adaptive_avg_pool2d(x, 1)).sigmoid())
        return self.fc(x.amax((2, 3)))


@pytest.mark.parametrize(
    ("net", "patch", "shape", "fragments"),
    [
        (lambda: build("lenet5"), (32, 32), (1, 35, 37), (4, 4)),
        (lambda: build("lenet5:modern"), (32, 32), (1, 35, 37), (4, 4)),
        (lambda: build("keras_mnist"), None, (1, 30, 33), (4, 4)),
        (lambda: build("nielsen_mnist"), (28, 28), (1, 31, 29), (2, 2)),
        (lambda: build("mnih_road", width=0.1), None, (3, 66, 68), (4, 4)),
        (lambda: build("mnist_fast"), None, (1, 29, 30), (4, 4)),
        (Norms, (11, 11), (3, 13, 14), (3, 3)),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(3, 2)), (9, 9), (1, 14, 17), (2, 2)),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), (4, 5), (1, 9, 8), (1, 1)),
    ],
)  # fmt: skip
def test_classifiers_of_crops(net, patch, shape, fragments) -> None:
    torch.manual_seed(0)
    model = net().eval().double()
    assert difference(model, image(*shape[1:], channels=shape[0]), patch=patch) < 1e-10
    scanner = scan(model, patch=patch)
    scanner(image(*shape[1:], channels=shape[0]))
    assert (scanner.fragments, scanner.apart) == (fragments, [])


def test_a_network_that_returns_a_map_for_each_crop() -> None:
    model = nn.Conv2d(1, 2, 3).double()
    x = image(9, 8)
    scores = scan(model, patch=(5, 5))(x)
    assert scores.shape == (1, 2, 3, 3, 5, 4)
    torch.testing.assert_close(scores[..., 3, 2], model(x[..., 3:8, 2:7]))


@pytest.mark.parametrize("stride", [2, 4, 3, (2, 4), (6, 1)])
def test_fewer_positions_cost_less_and_are_the_same(stride) -> None:
    torch.manual_seed(0)
    model, x = build("keras_mnist").eval(), torch.rand(2, 1, 47, 40)
    dense, coarse = scan(model)(x), scan(model, stride=stride)(x)
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    torch.testing.assert_close(coarse, dense[..., ::rows, ::columns])


def test_at_the_strides_of_the_network_it_is_the_network_made_convolutional() -> None:
    """The lectures' sliding window in one pass (N32)."""
    torch.manual_seed(0)
    model, x = build("keras_mnist").eval(), torch.rand(1, 1, 60, 100)
    converted = to_convolutional(model)(x)
    torch.testing.assert_close(scan(model, stride=4)(x), converted)
    torch.testing.assert_close(scan(model)(x)[..., ::4, ::4], converted)


def test_a_hundred_weights_for_an_image_of_any_size() -> None:
    """A fully connected unit on 10x10 pixels has 100 weights; slid over a larger image it has the same 100 (N32)."""
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(100, 1, bias=False)), torch.rand(1, 1, 30, 40)
    scanner = scan(model, patch=(10, 10))
    assert sum(p.numel() for p in scanner.parameters()) == 100
    torch.testing.assert_close(scanner(x), F.conv2d(x, model[1].weight.view(1, 1, 10, 10)))


@pytest.mark.parametrize("converted", [lambda m: to_convolutional(m), lambda m: scan(m, stride=4)])
def test_shift_and_stitch_is_the_scan(converted) -> None:
    torch.manual_seed(0)
    model, x = build("keras_mnist").eval(), torch.rand(2, 1, 31, 28)
    with torch.no_grad():
        torch.testing.assert_close(shift_and_stitch(converted(model), x), scan(model)(x))


def test_stitching_in_1d_and_3d() -> None:
    for rank, sides in ((1, (17,)), (3, (9, 8, 10))):
        layers = CONV[rank](1, 2, 2, 2), MAX_POOL[rank](2, 2, dilation=1), CONV[rank](2, 3, 1)
        model = nn.Sequential(*layers).double()
        with torch.no_grad():
            found = shift_and_stitch(model, image(*sides))
        torch.testing.assert_close(found, scan(model, patch=(4,) * rank)(image(*sides)))


def test_stitching_refuses_what_gives_no_map_or_pads() -> None:
    with pytest.raises(
        InputError, match="^the output of the network is no map: got 1x8x8 to 2. Pass scan.model, stride"
    ):
        shift_and_stitch(small(), image(8, 8))
    with pytest.raises(InputError, match="only a network whose windows lie within the image can be stitched"):
        shift_and_stitch(nn.Conv2d(1, 1, 3, padding=1).double(), image(8, 8))
    behind = nn.Sequential(nn.ConstantPad2d((0, 1, 0, 1), 0.0), nn.Conv2d(1, 1, 3)).double()
    with pytest.raises(InputError, match="only a network whose windows lie within the image can be stitched"):
        shift_and_stitch(behind, image(8, 8))
    with pytest.raises(InputError, match="^an image that is shifted has its border elsewhere: .*Pass scan"):
        shift_and_stitch(scan(padded(), borders="image"), image(9, 9))


def test_stitching_leaves_the_network_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.BatchNorm2d(2), nn.Dropout()).double().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = shift_and_stitch(model, image(9, 8))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not found.requires_grad
    torch.testing.assert_close(found, scan(model, patch=(3, 3))(image(9, 8)))


@pytest.mark.parametrize("budget", [None, 1 << 17, 40_000, 12_000])
def test_tiles_of_any_budget_are_the_same(budget) -> None:
    torch.manual_seed(0)
    model, x = build("keras_mnist", width=0.25).eval(), torch.rand(3, 1, 45, 61)
    scanner = scan(model, budget_bytes=budget and 16 * budget)
    torch.testing.assert_close(scanner(x), scan(model)(x))


def test_the_budget_is_kept() -> None:
    model, x = small(), image(100, 90)
    whole = scan(model)
    needed = whole._peak(x, (1, 93, 83))
    most = 0

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal most
            if any(issubclass(kind, Crops) for kind in types):
                return NotImplemented
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                most = max(most, out.untyped_storage().nbytes())
            return out

    budgeted = scan(model, budget_bytes=needed // 2)
    right = whole(x)
    with Largest():
        found = budgeted(x)
    torch.testing.assert_close(found, right)
    assert right.numel() * 8 < needed // 2
    assert most <= needed // 2 < whole._peak(x, (1, 93, 42))


def test_weights_take_nothing_of_the_budget() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 500, bias=False))
    x, weights = torch.rand(1, 1, 10, 10), 4 * 100 * 500
    scanner = scan(model, patch=(10, 10), budget_bytes=weights // 10)
    assert scanner(x).shape == (1, 500, 1, 1)
    assert 0 < scanner._peak(x, (1, 1, 1)) < weights / 10


def test_tiles_are_those_of_the_dtype() -> None:
    model, x = small().float(), torch.rand(1, 1, 40, 40)
    scanner = scan(model, budget_bytes=40_000)
    scanner(x)
    scanner.double()(x.double())
    assert scanner._tiles[x.shape, torch.float32] != scanner._tiles[x.shape, torch.float64]


def test_what_no_border_touches_is_shared() -> None:
    layers = (nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1))
    model = classifier(*layers, features=2 * 8 * 8)
    scanner, x = scan(model, patch=(16, 16), borders="crops"), image(20, 21)
    torch.testing.assert_close(scanner(x), one_by_one(model, x, (16, 16)))
    assert scanner.apart == []
    small = scan(padded(), borders="crops")  # 4x4 cells, of which two at each end are touched
    small(x)
    assert small.apart == ["layer 3 (Conv2d)"]


@pytest.mark.parametrize(
    ("net", "patch", "layers"),
    [
        (padded, (8, 8), ["layer 3 (Conv2d)"]),
        (lambda: Attention().double(), (8, 8), ["the network itself (Attention)"]),
        (lambda: nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(1, 1, 3)), (5, 5), ["layer 0 (ReplicationPad2d)"]),
        (lambda: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)).double(), (5, 5), ["layer 0 (MaxPool2d)"]),
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 2), nn.AdaptiveAvgPool2d(3)), (8, 8), ["layer 1 (AdaptiveAvgPool2d)"]),
        (lambda: nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(1, 1, 2, 2)), (5, 5), ["layer 1 (ConvTranspose2d)"]),
    ],
)  # fmt: skip
def test_layers_that_crops_cannot_share(net, patch, layers) -> None:
    torch.manual_seed(0)
    model, x = net().double().eval(), image(10, 11)
    with pytest.raises(InputError, match='at .*: got .*Pass borders="crops"'):
        scan(model, patch=patch)(x)
    assert difference(model, x, patch=patch, borders="crops") < 1e-10
    scanner = scan(model, patch=patch, borders="crops")
    scanner(x)
    assert scanner.apart == layers


def test_zeros_around_the_image_only() -> None:
    """What a network with padding but without strides says of the whole image; away from a crop's border the same."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 1, 3, padding=1)).double()
    x = image(11, 12)
    scores = scan(model, patch=(7, 7), borders="image")(x)
    assert scores.shape == (1, 1, 7, 7, 5, 6)
    whole = model(x)
    for row, column in ((0, 0), (3, 4), (4, 5)):
        torch.testing.assert_close(scores[..., row, column], whole[..., row : row + 7, column : column + 7])
    crop = model(x[..., 2:9, 1:8])
    torch.testing.assert_close(scores[..., 2:5, 2:5, 2, 1], crop[..., 2:5, 2:5])
    assert not torch.allclose(scores[..., 2, 1], crop)


@pytest.mark.parametrize("sides", [(15, 13), (14, 16), (16, 15), (8, 10), (9, 8)])
def test_with_strides_zeros_around_the_image_are_those_of_the_dilated_network(sides) -> None:
    """Whether or not positions are a multiple of the stride."""
    model, x = padded(), image(*sides)
    conv, last, linear = model[0], model[3], model[5]
    maps = F.max_pool2d(F.relu(conv(x)), 2, 1)
    maps = F.conv2d(maps, last.weight, last.bias, dilation=2, padding=2)
    right = F.conv2d(maps, linear.weight.view(2, 2, 4, 4), linear.bias, dilation=2)
    torch.testing.assert_close(scan(model, patch=(8, 8), borders="image")(x), right)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("sides", [(13, 12), (12, 15), (9, 10)])
def test_pooling_and_padding_beyond_the_end_of_images(sides, counts) -> None:
    pools = nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=counts)
    model = classifier(nn.Conv2d(1, 1, 1), *pools, nn.ConstantPad2d(1, 5.0), features=49)
    x, ones = image(*sides) - 9, torch.ones(1, 1, 3, 3, dtype=torch.float64)  # zeros would be the greatest
    maps = F.max_pool2d(model[0](x), 3, 1, 1)
    share = F.conv2d(torch.ones_like(maps), ones, dilation=2, padding=2)
    maps = F.conv2d(maps, ones, dilation=2, padding=2) / (9 if counts else share)
    right = F.conv2d(F.pad(maps, [2] * 4, value=5.0), model[5].weight.view(2, 1, 7, 7), model[5].bias, dilation=2)
    torch.testing.assert_close(scan(model, patch=(9, 9), borders="image")(x), right)


class Mixing(nn.Module):
    """Says of each crop what depends on the others of its batch."""

    def __init__(self, mix: Any) -> None:
        super().__init__()
        self.mix, self.linear = mix, nn.Linear(16, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.linear(x.flatten(1)))


@pytest.mark.parametrize("borders", [None, "crops"])
@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x.softmax(0),
        lambda x: x / x.max(),
        lambda x: x - x.mean(0),
        lambda x: F.dropout(x, 0.5),
        lambda x: x / (len(x) == 1),
        lambda x: x * (float("nan") if len(x) == 1 else 1),
    ],
)  # fmt: skip
def test_a_network_that_mixes_crops_is_noticed(mix, borders) -> None:
    torch.manual_seed(0)
    scanner = scan(Mixing(mix), patch=(4, 4), borders=borders)
    with pytest.raises(InputError, match="^the network says something else of a crop than of a batch.*Each item has"):
        scanner(image(9, 9, items=2))


def test_crops_without_a_number_are_no_mistake() -> None:
    x = image(9, 9)
    x[..., 0, 0], x[..., 8, 8] = torch.nan, torch.inf
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 2)).double()
    kept = x.clone()
    assert scan(model, patch=(4, 4))(x).isnan().sum() == 2
    assert torch.equal(x.nan_to_num(), kept.nan_to_num())


def test_no_images_have_no_scores() -> None:
    assert scan(small())(image(11, 12, items=0)).shape == (0, 2, 4, 5)
    assert shift_and_stitch(scan(small(), stride=2), image(11, 12, items=0)).shape == (0, 2, 4, 5)


class Tries(nn.Module):
    """Goes on after a layer that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = nn.Unflatten(1, (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        with contextlib.suppress(RuntimeError):
            self.fails(x)
        return F.avg_pool2d(x, 3, padding=1)


def test_the_layer_that_an_error_names_is_the_one_that_runs() -> None:
    with pytest.raises(InputError, match=r"a crop has zeros at its own border.*at the network itself \(Tries\)"):
        scan(Tries(), patch=(5, 5))(image(7, 7))


def test_the_network_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(18, 2)).train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.rand(1, 1, 9, 9)
    seed = torch.random.get_rng_state()
    kept = x.clone()
    scanner = scan(model)
    scores = scanner(x)
    assert [m.training for m in model] == [True, False, True, True, True]
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(seed, torch.random.get_rng_state())
    assert torch.equal(x, kept)
    assert not scores.requires_grad
    with torch.no_grad():
        model[4].bias.add_(1)
    torch.testing.assert_close(scanner(x), scores + 1)
    with pytest.raises(InputError):
        scanner(torch.rand(1, 1, 4, 4))
    with pytest.raises(RuntimeError, match="dtype|type"):
        scanner(x.double())
    assert [m.training for m in model] == [True, False, True, True, True]


def test_within_inference_mode() -> None:
    model = small()
    with torch.inference_mode():
        x = image(10, 10)
        found = scan(model)(x)
    torch.testing.assert_close(found, scan(model)(image(10, 10)))


class TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Written(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2)
        x[..., 1:] += 1
        return x


class OwnNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, training=True)


def test_a_network_whose_input_is_made_before_the_first_convolution() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(torch.cat([x, x * x], 1))

    assert difference(Doubled().double(), image(8, 8), patch=(3, 3)) < 1e-10


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (lambda: scan(small())(image(7, 9)), r"^the image is smaller than the crop: expected at least 8x8, got 7x9."),
        (lambda: scan(small())(image(9)), r"^this is no image for the scanner: expected 4 axes.*got shape \(1, 1, 9\)"),
        (lambda: scan(small(), patch=(9, 20)), r"at layer 4 \(Linear\): got 54 there: expected 18 features"),
        (lambda: scan(small(), patch=(2, 2))(image(9, 9)), "cannot take this input, it is too small: at layer 0"),
        (lambda: scan(small(), patch=()), r"^a patch has sides of 1 or more: got \(\)"),
        (lambda: scan(small(), patch=(8, 0)), r"^a patch has sides of 1 or more: got \(8, 0\)"),
        (lambda: scan(small(), stride=0), "^a stride is a number of 1 or more, for all axes or for each: .*got 0"),
        (lambda: scan(small(), stride=(1, 2, 3)), r"^a stride is .*: expected 2 axes, got \(1, 2, 3\)"),
        (lambda: scan(nn.Conv2d(1, 1, 3)), r"^the network does not tell the size of its crops: .* Pass its size"),
        (lambda: scan(small(), borders="none"), "^there is no such choice of borders: expected None, .* got 'none'"),
        (lambda: scan(padded(), borders="image", budget_bytes=9), '^tiles would have borders .*borders="crops"'),
        (lambda: scan(small(), budget_bytes=9)(image(9, 9)), "^the budget is too small for the smallest tile: .*got 9"),
        (lambda: scan(padded()), "^a crop has zeros at its own border.*at layer 0 .*got padding 1x1.*borders=.image"),
        (
            lambda: scan(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2, ceil_mode=True)), patch=(5, 5)),
            r"^a window that the crop's end cuts off .ceil_mode. .* at layer 1 \(MaxPool2d\): got a map of 3x3",
        ),
        (
            lambda: scan(nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), patch=(5, 5)),
            r"^a batch norm without statistics mixes crops: at layer 0 \(BatchNorm2d\). Give it running statistics",
        ),
        (lambda: scan(OwnNorm(), patch=(3, 3))(image(4, 4)), "^a norm that takes the statistics of its batch"),
        (lambda: scan(Written(), patch=(4, 4))(image(5, 5)), "^crops that share their cells cannot be written into"),
        (lambda: scan(TwoOutputs(), patch=(3, 3))(image(4, 4)), "^the network does not give each crop its output"),
        (lambda: scan(Attention(), patch=(8, 8)), "^this operation has no form that crops share: at .*Attention"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(work, text) -> None:
    with pytest.raises(InputError, match=text):
        work()
