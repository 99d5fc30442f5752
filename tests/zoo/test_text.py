from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo


def steps(net: nn.Module, x: torch.Tensor) -> list[int]:
    """Steps after each convolution (and pooling), as the parts of `features` give them."""
    seen: list[int] = []
    for layer in net.modules():
        if isinstance(layer, nn.MaxPool1d | nn.Conv1d):
            layer.register_forward_hook(lambda _m, _i, y: seen.append(y.shape[2]))
    net(x)
    return seen


@pytest.mark.parametrize("size", ["small", "large"])
def test_char_cnn_has_the_steps_of_the_official_code(size: str) -> None:
    with torch.device("meta"):
        seen = steps(zoo.build("char_cnn", size=size).eval(), torch.empty(1, 70, 1014))
    assert seen == [1008, 336, 330, 110, 108, 106, 104, 102, 34]
    assert seen[-1] == (1014 - 96) // 27  # section 2.4


@pytest.mark.parametrize(("size", "maps", "units"), [("small", 256, 1024), ("large", 1024, 2048)])
def test_char_cnn_has_the_parameters_of_tables_1_and_2(size: str, maps: int, units: int) -> None:
    with torch.device("meta"):
        net = zoo.build("char_cnn", size=size, num_classes=4)
    convolutions = maps * (70 * 7 + maps * 7 + 4 * maps * 3 + 6)
    dense = (34 * maps + 1) * units + (units + 1) * units + (units + 1) * 4
    assert sum(p.numel() for p in net.features.parameters()) == convolutions
    assert sum(p.numel() for p in net.classifier.parameters()) == dense


@pytest.mark.parametrize(("size", "std"), [("small", 0.05), ("large", 0.02)])
def test_char_cnn_starts_gaussian(size: str, std: float) -> None:
    torch.manual_seed(0)
    net = zoo.build("char_cnn", size=size, width=0.25, input_size=(123,))
    for layer in (net.features[3], net.classifier[0]):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert (layer.weight.abs() > 2.5 * std).any()  # a uniform start has no tails
        assert not layer.bias.any()


def test_one_output_of_char_cnns_features_sees_123_characters() -> None:
    with torch.device("meta"):
        report = describe(zoo.build("char_cnn").features, torch.empty(1, 70, 1014))
    assert report.layers[-1].receptive_field == (123,)
    assert zoo.ARCHITECTURES["char_cnn"].least == 123


def kim(net: nn.Module, sentence: torch.Tensor) -> torch.Tensor:
    """Section 2, word by word: each filter over each window, ReLU, the maximum over time."""
    vectors = [channel.weight[sentence] for channel in net.channels]
    found = []
    for conv in net.convs:
        h = conv.kernel_size[0]
        windows = range(len(sentence) - h + 1)
        results = [
            sum((conv.weight * channel[i : i + h].T).sum((1, 2)) for channel in vectors) + conv.bias for i in windows
        ]
        found.append(torch.stack(results).relu().max(0).values)
    return net.dense.weight @ torch.cat(found) + net.dense.bias


@pytest.mark.parametrize("mode", ["rand", "static", "non-static", "multichannel"])
def test_text_cnn_is_kims_equations(mode: str) -> None:
    torch.manual_seed(0)
    net = zoo.build("text_cnn", in_channels=30, mode=mode, width=0.05, vector=8).eval().double()
    for channel in net.channels:
        nn.init.normal_(channel.weight)  # so that the two channels differ
    x = torch.randint(1, 30, (3, 9))
    torch.testing.assert_close(net(x), torch.stack([kim(net, sentence) for sentence in x]))


@pytest.mark.parametrize(
    ("mode", "learning"),
    [("rand", [True]), ("static", [False]), ("non-static", [True]), ("multichannel", [False, True])],
)
def test_word_vectors_learn_or_stay(mode: str, learning: list[bool]) -> None:
    net = zoo.build("text_cnn", in_channels=30, mode=mode)
    assert [channel.weight.requires_grad for channel in net.channels] == learning
    vectors = torch.randn(30, 300)
    net.load_vectors(vectors)
    for channel in net.channels:
        assert torch.equal(channel.weight[1:], vectors[1:])
        assert not channel.weight[0].any()


def test_the_vector_of_padding_stays_zero() -> None:
    net = zoo.build("text_cnn", in_channels=30)
    net(torch.tensor([[0, 0, 0, 1, 2, 3, 0, 0]])).sum().backward()
    gradient = net.channels[0].weight.grad
    assert gradient[1:4].any()
    assert not gradient[0].any()


def test_classes_weights_are_kept_at_norm_3() -> None:
    net = zoo.build("text_cnn", in_channels=30)
    before = torch.randn(2, 300)
    with torch.no_grad():
        net.dense.weight.copy_(torch.stack([before[0] * 9, before[1] * 0.01]))
    net.constrain()
    assert net.dense.weight[0].norm().item() == pytest.approx(3, rel=1e-5)
    torch.testing.assert_close(net.dense.weight[0] / 3, before[0] / before[0].norm())
    torch.testing.assert_close(net.dense.weight[1], before[1] * 0.01)  # under 3: as it was


def test_keras_text_has_the_steps_and_parameters_of_the_printed_layers() -> None:
    with torch.device("meta"):
        net = zoo.build("keras_text").eval()
        assert steps(net, torch.zeros(1, 400, dtype=torch.int64)) == [398, 197]
    counts = [sum(p.numel() for p in layer.parameters()) for layer in net.children()]
    assert counts == [5000 * 50, 250 * (150 + 1), 250 * (750 + 1), 250 * (98 * 250 + 1), 251, 0]


def test_keras_text_is_the_printed_network() -> None:
    torch.manual_seed(0)
    net = zoo.build("keras_text", in_channels=20, vector=6, filters=8, hidden=5, input_size=(21,)).eval()
    printed = nn.Sequential(
        *(nn.Conv1d(6, 8, 3), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(8, 8, 3), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Flatten(), nn.Linear(8 * 3, 5), nn.ReLU(), nn.Linear(5, 1)),
    )
    for own, other in zip((net.conv1, net.conv2, net.dense1, net.dense2), (0, 3, 7, 9), strict=True):
        printed[other].load_state_dict(own.state_dict())
    x = torch.randint(20, (4, 21))
    torch.testing.assert_close(net(x), printed(net.embedding.weight[x].transpose(1, 2)))
    assert net.embedding.weight.abs().max() <= 0.05
