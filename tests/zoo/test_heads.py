"""Networks whose output is no class: steering, points, a box, text; and those of video and audio."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo
from striate.errors import InputError
from striate.zoo.landmarks import POINTS, POINTS_68, SPECIALISTS, Specialists, specialists
from striate.zoo.localizer import label_vector


def shapes(net: nn.Module, x: torch.Tensor, *kinds: type) -> list[tuple[int, ...]]:
    """Of what each layer of these kinds gives."""
    seen: list[tuple[int, ...]] = []
    layers = [layer for layer in net.modules() if isinstance(layer, kinds)]
    hooks = [layer.register_forward_hook(lambda _m, _i, y: seen.append(tuple(y.shape[1:]))) for layer in layers]
    net(x)
    for hook in hooks:
        hook.remove()
    return seen


def test_pilotnet_has_the_maps_of_figure_4_and_the_papers_27_million_connections() -> None:
    with torch.device("meta"):
        net = zoo.build("pilotnet").eval()
        seen = shapes(net, torch.empty(1, 3, 66, 200), nn.Conv2d, nn.Linear)
    maps = [(24, 31, 98), (36, 14, 47), (48, 5, 22), (64, 3, 20), (64, 1, 18)]
    assert seen == [*maps, (100,), (50,), (10,), (1,)]
    entry = zoo.ARCHITECTURES["pilotnet"]
    assert (round(entry.macs, -6), round(entry.parameters, -4)) == (27_000_000, 250_000)


def test_pilotnet_normalizes_to_minus_one_to_one() -> None:
    net = zoo.build("pilotnet", input_size=(61, 61))
    seen: list[torch.Tensor] = []
    net.features.register_forward_pre_hook(lambda _m, i: seen.append(i[0]))
    net(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 61, 61))
    assert seen[0][0, :, 0, 0].tolist() == [-1, 0, 1]


def test_c3d_has_the_maps_of_figure_3() -> None:
    with torch.device("meta"):
        net = zoo.build("c3d").eval()
        seen = shapes(net, torch.empty(1, 3, 16, 112, 112), nn.MaxPool3d)
        assert net.fc6.in_features == 8192
        report = describe(net, torch.empty(1, 3, 16, 112, 112))
    assert seen == [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7), (512, 1, 4, 4)]
    convolutions = [layer for layer in net.features if isinstance(layer, nn.Conv3d)]
    assert [conv.out_channels for conv in convolutions] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert {conv.kernel_size for conv in convolutions} == {(3, 3, 3)}
    fields = {layer.path: layer.receptive_field for layer in report.layers}
    # conv5b: each 3-kernel adds twice the stride so far, each pooling its window less one times it.
    side = 1 + 2 * 1 + 1 + 2 * 2 + 2 + 2 * 2 * 4 + 4 + 2 * 2 * 8 + 8 + 2 * 2 * 16
    frames = 1 + 2 * 1 + 2 * 1 + 1 + 2 * 2 * 2 + 2 + 2 * 2 * 4 + 4 + 2 * 2 * 8
    assert fields["features.conv5b"] == (frames, side, side)


@pytest.mark.parametrize("size", [(16, 17, 33), (24, 40, 16)])
def test_c3d_rounds_its_last_pooling_up(size: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        net = zoo.build("c3d", width=0.1, input_size=size).eval()
        assert net(torch.empty(2, 3, *size)).shape == (2, 487)


def test_facial_points_layer_by_layer() -> None:
    with torch.device("meta"):
        net = zoo.build("facial_points").eval()
        seen = shapes(net, torch.empty(1, 1, 96, 96), nn.Conv2d, nn.Linear)
    assert seen == [(32, 94, 94), (64, 46, 46), (128, 22, 22), (1000,), (1000,), (30,)]
    assert net.hidden4.in_features == 128 * 11 * 11
    assert [layer.p for layer in net.dropouts] == [0.1, 0.2, 0.3, 0.5]
    with torch.device("meta"):
        earlier = zoo.build("facial_points", hidden=500, dropout=0)
    assert sum(p.numel() for p in earlier.parameters()) == 8_051_502
    assert not any(layer.p for layer in earlier.dropouts)


def test_specialists_start_as_the_baseline_and_go_their_own_way() -> None:
    torch.manual_seed(0)
    baseline = zoo.build("facial_points", width=0.1, hidden=20, input_size=(16, 16)).eval()
    made = specialists(baseline)
    # The tutorial's six, by their numbers of outputs; together they predict every point once.
    assert [net.output.out_features for net in made.values()] == [4, 2, 6, 2, 8, 8]
    assert sorted(point for points in SPECIALISTS.values() for point in points) == sorted(POINTS)
    x = torch.rand(3, 1, 16, 16)
    every = {point: baseline(x)[:, 2 * i : 2 * i + 2] for i, point in enumerate(POINTS)}
    for name, net in made.items():
        torch.testing.assert_close(net(x), torch.cat([every[point] for point in SPECIALISTS[name]], 1))
    made["nose"](x).sum().backward()
    assert made["nose"].output.weight.grad is not None
    assert baseline.conv1.weight.grad is None
    with torch.no_grad():
        made["nose"].conv1.weight.zero_()
    assert baseline.conv1.weight.any()


@pytest.mark.parametrize(("points", "count"), [(POINTS, 6), (POINTS_68, 5)])
def test_specialists_together_answer_as_the_baseline_they_start_from(points: tuple[str, ...], count: int) -> None:
    torch.manual_seed(0)
    baseline = zoo.build("facial_points", num_classes=2 * len(points), width=0.1, hidden=20, input_size=(16, 16)).eval()
    made = specialists(baseline, points)
    assert len(made) == count
    x = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(Specialists(made, points).eval()(x), baseline(x))


def test_specialists_of_groups_of_ones_own() -> None:
    torch.manual_seed(0)
    baseline = zoo.build("facial_points", num_classes=6, width=0.1, hidden=20, input_size=(16, 16)).eval()
    points, groups = ("a", "b", "c"), {"ends": ("c", "a"), "middle": ("b",)}
    made = specialists(baseline, points, groups)
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(made["ends"](x), baseline(x)[:, [4, 5, 0, 1]])
    torch.testing.assert_close(Specialists(made, points, groups).eval()(x), baseline(x))
    with pytest.raises(InputError, match="networks and groups differ: expected ends, middle, got ends"):
        Specialists({"ends": made["ends"]}, points, groups)
    with pytest.raises(InputError, match="points without one specialist: expected each point in one group, got b"):
        Specialists({"ends": made["ends"]}, points, {"ends": ("c", "a")})
    with pytest.raises(InputError, match=r"groups of points: expected names among a \.\.\. c, got d"):
        specialists(baseline, points, {"ends": ("d",)})
    with pytest.raises(InputError, match=r"groups of points: expected names among a \.\.\. c, got none"):
        specialists(baseline, points)


def test_specialists_of_another_network_are_refused() -> None:
    net = zoo.build("facial_points", num_classes=4, input_size=(16, 16))
    with pytest.raises(InputError, match="specialists of this network: expected 30 outputs, got 4. Start from"):
        specialists(net)


def test_localizer_gives_class_box_and_presence_in_the_lectures_order() -> None:
    torch.manual_seed(0)
    net = zoo.build("localizer", width=0.1).eval()
    x = torch.rand(2, 3, 64, 64)
    classes, box, presence = net(x)
    assert (classes.shape, box.shape, presence.shape) == ((2, 3), (2, 4), (2, 1))
    vector = label_vector(classes, box, presence)  # [b_x, b_y, b_h, b_w, c_o, c_cat, c_car, c_frog]
    torch.testing.assert_close(vector[:, :5], net.place(net.trunk(x)))
    torch.testing.assert_close(vector[:, 5:], net.classes(net.trunk(x)))


def test_batch_norm_follows_each_convolution_of_the_localizer() -> None:
    trunk = list(zoo.build("localizer", width=0.1, batch_norm=True).trunk)
    plain = list(zoo.build("localizer", width=0.1).trunk)
    assert [type(layer) for layer in trunk if not isinstance(layer, nn.BatchNorm2d)] == [type(layer) for layer in plain]
    pairs = [(layer, trunk[i + 1]) for i, layer in enumerate(trunk) if isinstance(layer, nn.Conv2d)]
    assert len(pairs) == 3
    assert all(isinstance(norm, nn.BatchNorm2d) and layer.bias is None for layer, norm in pairs)


def test_localizer_knows_where() -> None:
    """A thing that moves must change the box, so the trunk may not average over positions."""
    torch.manual_seed(0)
    net = zoo.build("localizer", width=0.25).eval()
    images = torch.zeros(2, 3, 64, 64)
    images[0, :, 8:16, 8:16] = 1
    images[1, :, 40:48, 40:48] = 1  # moved by a multiple of the stride of 8
    boxes = net(images)[1]
    assert not torch.allclose(boxes[0], boxes[1], atol=1e-4)


def test_crnn_has_the_maps_and_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        net = zoo.build("crnn").eval()
        x = torch.empty(1, 1, 32, 100)
        pools = shapes(net.features, x, nn.MaxPool2d)
        assert net.features(x).shape == (1, 512, 1, 24)
        counts = {path: sum(p.numel() for p in part.parameters()) for path, part in net.named_children()}
    assert pools == [(64, 16, 50), (128, 8, 25), (256, 4, 25), (512, 2, 25)]
    gates = 4 * 256
    assert counts == {
        "features": 640 + 73_856 + 295_168 + 590_080 + 1_180_160 + 2_359_808 + 1_049_088 + 2 * 2 * 512,
        "lstm1": 2 * gates * (512 + 256 + 2),
        "between": 512 * 256 + 256,
        "lstm2": 2 * gates * (256 + 256 + 2),
        "transcription": 37 * (512 + 1),
    }
    assert round(sum(counts.values()) / 1e6, 1) == 8.3


def test_crnn_reads_columns_in_both_directions_and_fits_ctc() -> None:
    torch.manual_seed(0)
    net = zoo.build("crnn", width=0.1).eval()
    x = torch.rand(2, 1, 32, 100)
    logits = net(x)
    assert logits.shape == (2, 37, 24)
    theirs = [nn.LSTM(a.weight_ih_l0.shape[1], a.hidden, bidirectional=True) for a in (net.lstm1, net.lstm2)]
    for own, other in zip((net.lstm1, net.lstm2), theirs, strict=True):
        other.load_state_dict(own.state_dict())
    columns = torch.stack([net.features(x)[:, :, 0, t] for t in range(24)])
    steps = theirs[1](net.between(theirs[0](columns)[0]))[0]
    torch.testing.assert_close(logits.permute(2, 0, 1), net.transcription(steps))
    target = torch.randint(1, 37, (2, 5))
    loss = nn.functional.ctc_loss(
        logits.permute(2, 0, 1).log_softmax(2), target, torch.tensor([24, 24]), torch.tensor([5, 5])
    )
    assert loss.isfinite()


@pytest.mark.parametrize("size", [(31, 100), (32, 20)])
def test_crnn_refuses_what_is_no_line(size: tuple[int, int]) -> None:
    net = zoo.build("crnn", width=0.1)
    message = f"network crnn cannot take an image of this size: expected at least 32x32, got {size[0]}x{size[1]}. Scale"
    with pytest.raises(InputError, match=message):
        net(torch.rand(1, 1, *size))


@pytest.mark.parametrize("recurrent", [False, True])
def test_audio_emotion_takes_the_loudest_match_of_each_half_second(recurrent: bool) -> None:
    torch.manual_seed(0)
    net = zoo.build("audio_emotion", in_channels=3, filters=6, hidden=4, recurrent=recurrent).eval()
    x = torch.randn(1, 3, 120)
    padded = nn.functional.pad(x[0], (3, 4))
    matches = torch.stack([(net.conv.weight * padded[:, t : t + 8]).sum((1, 2)) for t in range(120)])
    matches = (matches + net.conv.bias).relu()
    patches = torch.stack([matches[:50].amax(0), matches[50:100].amax(0), matches[100:].amax(0)])
    heard = net.lstm(patches[None])[0, -1] if recurrent else patches.mean(0)
    torch.testing.assert_close(net(x)[0], net.dense.weight @ heard + net.dense.bias)
    assert net(x).shape == (1, 7)
