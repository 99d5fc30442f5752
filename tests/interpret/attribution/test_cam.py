"""Class activation maps by their formulas, written out with plain autograd and loops."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from striate import zoo
from striate.errors import InputError
from striate.interpret import CamMap, cam, grad_cam, grad_cam_pp, layer_cam, lean, score_cam

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLING = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
GLOBAL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
BY_GRADIENT = [grad_cam, grad_cam_pp, layer_cam]
ALL = [cam, *BY_GRADIENT, score_cam]
SIDE = {1: 16, 2: 12, 3: 8}


def network(rank: int = 2, classes: int = 3) -> nn.Sequential:
    """Convolutions, a global average, a dense layer: "4" is the last layer of maps, 5 of them."""
    torch.manual_seed(rank)
    layers = [CONVOLUTION[rank](2, 4, 3, padding=1), nn.Tanh(), POOLING[rank](2)]
    layers += [CONVOLUTION[rank](4, 5, 3, padding=1), nn.ReLU(inplace=True), GLOBAL[rank](1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(5, classes)).double().eval()


def images(rank: int = 2, n: int = 3) -> Tensor:
    return torch.rand(n, 2, *[SIDE[rank]] * rank, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))


@contextlib.contextmanager
def rows(size: int) -> Iterator[None]:
    """So many items at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lean, "rows_of", lambda _graph: size)
        yield


def maps_and_slopes(model: nn.Sequential, x: Tensor, cut: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """A, dS/dA and S with the graph of the whole network, for layers up to `cut`."""
    values = model[: cut + 1](x)
    score = model[cut + 1 :](values.clone())  # an in-place layer may follow
    score = score[:, target].reshape(len(x), -1).sum(1)
    return values.detach(), torch.autograd.grad(score.sum(), values)[0], score.detach()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_cam_is_the_weighted_sum(rank: int) -> None:
    model, x = network(rank), images(rank)
    found = cam(model, x, target=1)
    maps = model[:5](x)
    expected = sum(model[-1].weight[1, k] * maps[:, k] for k in range(5))
    torch.testing.assert_close(found.scores, expected.detach())
    score = model(x)[:, 1]
    torch.testing.assert_close(found.scores.flatten(1).mean(1) + model[-1].bias[1].detach(), score.detach())
    torch.testing.assert_close(found.base, score.detach())
    assert found.parameters["layer"] == "4"
    assert found.parameters["placed_by"] == "windows"
    assert found.heatmap().shape == (3, *x.shape[2:])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_grad_cam_of_such_a_network_is_cam_but_for_a_factor(rank: int) -> None:
    """Selvaraju et al. 2017, sec. 3.1: dS/dA is the weight over the number of positions."""
    model, x = network(rank), images(rank)
    classes, gradients = cam(model, x, target=2), grad_cam(model, x, target=2, layer="4", signed=True)
    positions = classes.scores[0].numel()
    torch.testing.assert_close(positions * gradients.scores, classes.scores)
    torch.testing.assert_close(positions * grad_cam(model, x, target=2, layer="4").scores, classes.scores.clamp_min(0))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
def test_grad_cam_and_layer_cam_by_hand(rank: int, cut: int) -> None:
    model, x = network(rank), images(rank)
    values, slopes, score = maps_and_slopes(model, x, cut, 1)
    space = tuple(range(2, 2 + rank))
    found = grad_cam(model, x, target=1, layer=str(cut))
    torch.testing.assert_close(found.scores, F.relu((slopes.mean(space, keepdim=True) * values).sum(1)))
    torch.testing.assert_close(found.base, score)
    layered = layer_cam(model, x, target=1, layer=str(cut))
    torch.testing.assert_close(layered.scores, F.relu((F.relu(slopes) * values).sum(1)))


def test_grad_cam_pp_by_the_derivatives_of_the_exponential() -> None:
    """Eq. 10 with the second and third derivatives of Y = exp(S) taken by autograd, at every position."""
    model, x = network(), images(n=1)
    values = model[:5](x).detach().requires_grad_()

    def exponential() -> Tensor:
        return model[5:](values)[0, 1].exp()

    first = torch.autograd.grad(exponential(), values, create_graph=True)[0]
    shares = torch.zeros_like(values)
    for at in torch.cartesian_prod(torch.arange(5), torch.arange(6), torch.arange(6)).tolist():
        k, i, j = at
        second = torch.autograd.grad(first[0, k, i, j], values, create_graph=True)[0]
        third = torch.autograd.grad(second[0, k, i, j], values, retain_graph=True)[0]
        top = float(second[0, k, i, j].detach())
        below = 2 * top + float(values[0, k].detach().sum() * third[0, k, i, j])
        shares[0, k, i, j] = top / below if below else 0
    weights = (shares * F.relu(first)).sum((2, 3))[0].detach()
    expected = F.relu(torch.einsum("k,kij->ij", weights, values[0].detach()))
    scale = float(exponential().detach())
    found = grad_cam_pp(model, x, target=1, layer="4")
    torch.testing.assert_close(found.scores * scale, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_score_cam_by_a_plain_loop(rank: int) -> None:
    model, x = network(rank), images(rank)
    with torch.no_grad():
        maps = model[:4](x)
        expected = []
        for item in range(3):
            gains = []
            for k in range(5):
                one = maps[item, k]
                one = (one - one.min()) / (one.max() - one.min())
                around = F.pad(one, [1, 1] * rank)[None, None]  # fades beyond the outermost middles
                mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
                wide = F.interpolate(around, scale_factor=2, mode=mode, align_corners=False)[0, 0]
                mask = wide[tuple(slice(2, -2) for _ in range(rank))]
                gains.append(model(x[item : item + 1] * mask)[0, 0])
            weights = torch.stack(gains).exp() / torch.stack(gains).exp().sum()
            expected.append(F.relu(sum(weights[k] * maps[item, k] for k in range(5))))
    for size in (2, 16):
        with rows(size):
            found = score_cam(model, x, target=0, layer="3")
        torch.testing.assert_close(found.scores, torch.stack(expected))


def test_a_channel_that_is_the_same_everywhere_is_no_mask() -> None:
    model, x = network(), images(n=1)
    with torch.no_grad():
        model[3].weight[2:] = 0
        model[3].bias[2:] = 1
    seen: list[int] = []
    hook = model[0].register_forward_hook(lambda _m, args, _out: seen.append(len(args[0])))
    found = score_cam(model, x, target=0, layer="3")
    hook.remove()
    assert seen[-1] == 2  # of five channels
    with rows(1):
        alone = score_cam(model, x, target=0, layer="3")
    torch.testing.assert_close(found.scores, alone.scores)
    with torch.no_grad():
        model[3].weight.zero_()
    assert not score_cam(model, x, target=0, layer="3").scores.any()


@pytest.mark.parametrize("method", ALL)
def test_items_do_not_mix(method: Any) -> None:
    model, x = network(), images()
    with rows(2):
        together = method(model, x)
    assert together.scores.shape == (3, 6, 6)
    for item in range(3):
        alone = method(model, x[item : item + 1])
        assert alone.base.shape == ()
        torch.testing.assert_close(alone.scores, together.scores[item])
        torch.testing.assert_close(alone.heatmap(), together.heatmap()[item])


@pytest.mark.parametrize("method", ALL)
def test_targets(method: Any) -> None:
    model, x = network(), images()
    output = model(x).detach()
    torch.testing.assert_close(method(model, x).base, output.amax(1))
    torch.testing.assert_close(method(model, x, target=[2, 0, 1]).base, output[[0, 1, 2], [2, 0, 1]])
    with rows(2):
        mixed = method(model, x, target=torch.tensor([2, 0, 1]))
    for item, target in enumerate((2, 0, 1)):
        torch.testing.assert_close(mixed.scores[item], method(model, x[item : item + 1], target=target).scores)
    with pytest.raises(InputError, match="no such target: expected 0 to 2"):
        method(model, x, target=3)
    with pytest.raises(InputError, match=r"targets are not one for each item: expected one index, or 3 \(one for each"):
        method(model, x, target=[0, 1])


@pytest.mark.parametrize("method", [*BY_GRADIENT, score_cam])
def test_a_function_of_the_outputs(method: Any) -> None:
    model, x = network(), images()
    by_function = method(model, x, target=lambda output: output[:, 1])
    torch.testing.assert_close(by_function.scores, method(model, x, target=1).scores)


def test_segmentation() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(8, 3, 1), nn.Upsample(scale_factor=2)).double().eval()
    x = images()
    found = grad_cam(model, x, target=2)
    assert found.parameters["layer"] == "4"  # 5 and 6 are maps of the classes
    values, slopes, score = maps_and_slopes(model, x, 4, 2)
    torch.testing.assert_close(found.base, score)
    torch.testing.assert_close(found.scores, F.relu((slopes.mean((2, 3), keepdim=True) * values).sum(1)))
    mask = torch.zeros(12, 12, dtype=torch.float64)
    mask[:4] = 1  # Seg-Grad-CAM's set of pixels
    part = grad_cam(model, x, target=lambda y: (y[:, 2] * mask).sum((1, 2)), layer="4")
    held = model[:5](x).detach().requires_grad_()
    slopes = torch.autograd.grad((model[5:](held)[:, 2, :4]).sum(), held)[0]
    torch.testing.assert_close(part.scores, F.relu((slopes.mean((2, 3), keepdim=True) * values).sum(1)))


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet18", "layer4"), ("vgg16", "features.29"), ("unet", "right.3"), ("m5", None)],
)
def test_the_layer_without_one(name: str, layer: str | None) -> None:
    from striate.geometry import trace
    from striate.interpret.attribution.cam import last_layer

    entry = zoo.ARCHITECTURES[name]
    with torch.device("meta"):
        model = zoo.build(name)
    graph = trace(model, entry.input)
    found = last_layer(model, graph, len(entry.input) - 1)
    assert layer in (found, None)
    assert len(graph.find(found).shape) == len(entry.input) + 1


def test_maps_averaged_by_functions_and_maps_of_the_classes() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dense = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(F.relu(self.conv(x)).mean((2, 3))).softmax(1)

    model, x = Functional().double().eval(), images()
    found = cam(model, x, target=0)
    maps = F.relu(model.conv(x)).detach()
    torch.testing.assert_close(found.scores, torch.einsum("k,nkij->nij", model.dense.weight[0].detach(), maps))
    torch.testing.assert_close(found.base, model.dense(maps.mean((2, 3)))[:, 0].detach())
    assert found.parameters["layer"] == "the network itself (Functional, relu)"
    classes = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    torch.testing.assert_close(cam(classes, x, target=1).scores, classes[0](x)[:, 1].detach())
    convolved = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AvgPool2d(10), nn.Conv2d(4, 3, 1), nn.Flatten()).double().eval()
    weights = convolved[2].weight[2].flatten().detach()
    found = cam(convolved, x, target=2)
    torch.testing.assert_close(found.scores, torch.einsum("k,nkij->nij", weights, convolved[0](x).detach()))


@pytest.mark.parametrize("method", ALL)
def test_the_network_is_left_as_found(method: Any) -> None:
    model, x = network(), images()
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    method(model, x)
    assert [module.training for module in model[:3]] == [True, False, True]
    assert [parameter.requires_grad for parameter in model[0].parameters()] == [False, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()


def test_what_is_kept(tmp_path: Any) -> None:
    found = grad_cam(network(), images(), target=1)
    assert isinstance(found, CamMap)
    assert found.title() == "Grad-CAM, 6 rows × 6 columns"
    assert list(found.axes) == ["row", "column"]
    written = json.loads(json.dumps(found.json()))
    assert written["parameters"] | {"because": None} == {
        "target": 1,
        "layer": "4",
        "signed": False,
        "placed_by": "windows",
        "because": None,
        "offset": [0.5, 0.5],
        "stride": [2.0, 2.0],
        "window": [8, 8],
    }
    found.save(tmp_path / "map.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "map.safetensors")["scores"], found.scores)
    table = found.table(2)
    assert [column.header for column in table.columns] == ["output", "row", "column", "score"]
    told: list[tuple[int, int, str]] = []
    score_cam(network(), images(), target=1, progress=lambda *said: told.append(said))
    assert told[-1] == (15, 15, "Score-CAM")


def test_a_map_whose_windows_are_not_known_is_stretched_and_says_so() -> None:
    class Normed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3), keepdim=True).expand(x.shape).contiguous()

    model = nn.Sequential(nn.Conv2d(2, 3, 3), Normed(), nn.Conv2d(3, 3, 3), *network()[5:7], nn.Linear(3, 2)).double()
    found = grad_cam(model, images(), layer="2", target=0)
    assert "a global operation" in found.parameters["because"]
    torch.testing.assert_close(found.heatmap(), found.naive())
    with Console(width=200).capture() as _:
        assert found.table().caption == f"Stretched over the input: {found.parameters['because']}."


def test_a_network_that_cannot_be_traced_needs_a_layer() -> None:
    class Data(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.rest = nn.Conv2d(2, 3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:
                x = x * 2
            return self.rest(self.conv(x).mean((2, 3)))

    model, x = Data().double().eval(), images()
    with pytest.raises(InputError, match=r"cannot find the last layer by itself: got \(.*Name the layer: layer="):
        grad_cam(model, x)
    found = grad_cam(model, x, layer="conv", target=0)
    assert found.parameters["because"].startswith("the network cannot be traced")
    assert cam(model, x, target=0).parameters["because"].startswith("the network cannot be traced")


def test_bad_input() -> None:
    model, x = network(), images()
    with pytest.raises(InputError, match=r"the network has no such layer: got '44'. Did you mean 4"):
        grad_cam(model, x, layer="44")
    with pytest.raises(InputError, match=r"the layer has no spatial axes: 7: expected outputs \(n, k, \*grid\), got"):
        grad_cam(model, x, layer="7")
    with pytest.raises(InputError, match="the target does not depend on the layer: 4"):
        grad_cam(model, x, layer="4", target=lambda output: torch.ones(len(output)))
    with pytest.raises(
        InputError, match=r"no layer for a class activation map: Sequential: expected a convolution with"
    ):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(288, 2)).double(), x)
    bad = x.clone()
    bad[1, 0, 3, 4] = torch.nan
    for method in ALL:
        with pytest.raises(InputError, match=re.escape("no number: x[1, 0, 3, 4]")):
            method(model, bad)
    model.spare = nn.Conv2d(2, 2, 1)
    model.forward = lambda x: nn.Sequential(*[model[i] for i in range(8)])(x)
    with pytest.raises(InputError, match="the layer was not called: spare"):
        grad_cam(model, x, layer="spare")


def test_what_cam_needs() -> None:
    x = images()
    with pytest.raises(
        InputError, match="CAM explains a class: expected an index, or None, got a function. Use grad_cam"
    ):
        cam(network(), x, target=lambda output: output[:, 0])
    vgg = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(300, 4)).double()
    form = "has not the form of CAM: Sequential: expected maps, their global average, one dense layer, got "
    with pytest.raises(InputError, match=form + r"2 last, which reads \(300,\) that are no averages"):
        cam(vgg, x)
    deep = nn.Sequential(*network(classes=4), nn.Unflatten(1, (1, 4)), nn.AvgPool1d(2), nn.Flatten()).double()
    with pytest.raises(InputError, match=form + r"7 last, whose \(4,\) are not the 2 outputs"):
        cam(deep, x)
    with pytest.raises(InputError, match=form + "no dense layer"):
        cam(nn.Sequential(nn.MaxPool2d(12), nn.Flatten()), x)


class Text(nn.Module):
    """Tokens, embedded, one convolution, the greatest of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv, self.dense = nn.Embedding(5, 4), nn.Conv1d(4, 6, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.conv(self.embed(x).transpose(1, 2)).amax(2))


def test_words_have_maps() -> None:
    torch.manual_seed(0)
    model, x = Text().eval(), torch.randint(5, (2, 9))
    found = grad_cam(model, x, target=1)
    assert found.parameters["layer"] == "conv"
    assert found.scores.shape == (2, 7)
    assert found.heatmap().shape == (2, 9)
    torch.testing.assert_close(found.heatmap()[:, 1:-1], found.scores)  # each unit at the middle of its three words
    for one in (found, found.lettered(["the"] * 9)):
        one.plot().canvas.draw()


def test_masks_need_floats() -> None:
    with pytest.raises(InputError, match=r"masks need an input of floats: x: got torch.int64. Pass one-hot channels"):
        score_cam(Text().eval(), torch.randint(5, (1, 8)), layer="conv")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("signed", [False, True])
def test_pictures(rank: int, signed: bool) -> None:
    figure = grad_cam(network(rank), images(rank), target=0, signed=signed).plot()
    words = [text.get_text() for text in figure.axes[0].texts]
    assert any(word.startswith("Grad-CAM, ") for word in words)
    assert any("at the middle of its window" in word for word in words)
    figure.canvas.draw()


def test_small_slopes_do_not_vanish_in_grad_cam_pp() -> None:
    """Of slopes of 1e-25 the square is 0 in single precision; the share is 1/2, as g goes to 0."""
    model, x = network().float(), images().float()
    with torch.no_grad():
        model[-1].weight *= 1e-25
    values, slopes, _ = maps_and_slopes(model, x, 4, 1)
    weights = slopes.double().clamp_min(0).sum((2, 3), keepdim=True) / 2
    expected = F.relu((weights * values.double()).sum(1))
    assert bool((expected > 0).any())
    torch.testing.assert_close(grad_cam_pp(model, x, target=1, layer="4").scores.double() * 1e25, expected * 1e25)


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid(), nn.LogSigmoid(), nn.Dropout()])
def test_cam_looks_behind_what_follows_the_dense_layer(end: nn.Module) -> None:
    model, x = network(), images()
    torch.testing.assert_close(cam(nn.Sequential(model, end), x, target=1).scores, cam(model, x, target=1).scores)


def test_cam_refuses_what_changes_the_classes_afterwards() -> None:
    """A sum of two heads, say, is no class of the last dense layer, though there are as many outputs."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.one, self.other = nn.Conv2d(2, 5, 3), nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            means = self.conv(x).mean((2, 3))
            return self.one(means) + self.other(means)

    form = "has not the form of CAM: .*: expected maps, their global average, one dense layer, got "
    with pytest.raises(InputError, match=form + "other last, whose outputs are changed afterwards by more than a soft"):
        cam(Two().double(), images())
    with pytest.raises(InputError, match=form + "7 last, whose outputs are changed afterwards"):
        cam(nn.Sequential(*network(), nn.ReLU()), images())
    grouped = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1, groups=2), nn.Flatten())
    with pytest.raises(InputError, match=form + r"2 last, which reads \(4, 1, 1\) that are no averages"):
        cam(grouped.double(), images())
