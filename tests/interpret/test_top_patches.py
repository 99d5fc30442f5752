from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import InputError
from striate.interpret import TopPatches, top_patches
from striate.interpret.attribution.rules import Rectified
from striate.interpret.features.best import Best
from striate.interpret.scoring import output_of
from striate.train.checkpoint import read_tensors


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.norm(self.conv(x)) + x)


def images(side: int = 37) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        Residual(6),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()
    return net, torch.randn(23, 3, side, side)


def brute(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    with torch.no_grad():
        return output_of(model, x, layer)


def whole_reconstruction(model: nn.Module, x: Tensor, layer: str, unit: tuple[int, ...]) -> Tensor:
    """Of one item (1, ...), by the whole input."""
    x = x.clone().requires_grad_()
    with Rectified(guided=False):
        found = output_of(model, x, layer)
    (back,) = torch.autograd.grad(found[(0, *unit)], x, found[(0, *unit)].detach())
    return back[0]


@pytest.mark.parametrize("layer", ["0", "2", "3", "3.norm", "5"])
@pytest.mark.parametrize("once", [True, False])
def test_the_best_are_those_of_a_sort_and_crops_say_what_whole_images_do(layer: str, once: bool) -> None:
    model, x = images()
    found = top_patches(model, x.split(7), layer, k=5, once=once)
    assert (found.seen, found.complete, found.whole) == (23, True, "")
    out = brute(model, x, layer)
    flat = out.flatten(2)
    for channel in found.channels:
        values = flat[:, channel].amax(1) if once else flat[:, channel].flatten()
        order = values.sort(descending=True, stable=True).indices[:5]
        torch.testing.assert_close(found.values[channel], values[order], rtol=1e-4, atol=1e-5)
        for rank in range(5):
            item, place = int(found.items[channel, rank]), tuple(found.places[channel, rank].tolist())
            assert float(out[(item, channel, *place)]) == pytest.approx(float(values[order[rank]]), abs=1e-5)
    for channel, rank in itertools.product((0, 3, 5), (0, 4)):
        item, place = int(found.items[channel, rank]), tuple(found.places[channel, rank].tolist())
        (top, bottom), (left, right) = found.windows[channel, rank].tolist()
        whole = whole_reconstruction(model, x[item : item + 1], layer, (channel, *place))
        pad = 40
        around = F.pad(whole, [pad] * 4)[:, top + pad : bottom + 1 + pad, left + pad : right + 1 + pad]
        there = F.pad(x[item], [pad] * 4, value=float("nan"))
        there = there[:, top + pad : bottom + 1 + pad, left + pad : right + 1 + pad]
        assert torch.equal(found.patches[channel, rank].nan_to_num(9), there.nan_to_num(9))
        torch.testing.assert_close(
            found.reconstructions[channel, rank].nan_to_num(0), around, rtol=1e-4, atol=1e-5 * float(whole.abs().max())
        )
        assert float(whole.abs().sum()) == pytest.approx(float(around.abs().sum()), rel=1e-4)  # nothing lies outside


def test_a_hand_made_network_is_undone_by_its_matrix_and_switches() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 2, bias=False), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(2, 1, 2, bias=False))
    a, b = torch.tensor([[[1.0, -1.0]], [[-2.0, 1.0]]]), torch.tensor([[[1.0, -3.0], [2.0, 1.0]]])
    model[0].weight.data, model[3].weight.data = a, b
    x = torch.tensor([[[1.0, 3, 2, 5, 1]]])
    # Forward: differences (1-3, 3-2, 2-5, 5-1) and -2 left + right (1, -4, 1, -9), rectified, the greatest of pairs.
    rectified = torch.tensor([[0.0, 1, 0, 4], [1.0, 0, 1, 0]])
    switches = [[1, 3], [0, 2]]
    unit = rectified[0, 1] - 3 * rectified[0, 3] + 2 * rectified[1, 0] + rectified[1, 2]
    assert unit == 1 - 12 + 2 + 1
    model[3].weight.data = -b  # so that it is excited
    found = top_patches(model, x, "3", k=1)
    assert float(found.values[0, 0]) == 8
    # Back: transposed weights, unpooled to the switches, negative ones dropped, transposed again.
    pooled = -8 * b[0]
    unpooled = torch.zeros(2, 4)
    for channel, places in enumerate(switches):
        for number, place in enumerate(places):
            unpooled[channel, place] = pooled[channel, number]
    unpooled = unpooled.clamp(min=0)
    matrix = torch.zeros(2, 4, 5)  # of the first convolution
    for channel, place in itertools.product(range(2), range(4)):
        matrix[channel, place, place : place + 2] = a[channel, 0]
    want = torch.einsum("cp,cpi->i", unpooled, matrix)
    assert torch.equal(found.reconstructions[0, 0, 0], want)
    assert want.tolist() == [0, 0, 0, 24, -24]
    plain = top_patches(model, x, "3", k=1, rule="gradient")
    assert not torch.equal(plain.reconstructions[0, 0, 0], want)  # the rules differ


def test_signals_volumes_and_units_without_a_place() -> None:
    torch.manual_seed(0)
    signal = nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 3, 3), nn.ReLU())
    x = torch.randn(9, 2, 60)
    found = top_patches(signal, x, "4", k=2)
    assert found.whole == ""
    assert found.patches.shape == (3, 2, 2, 10)
    item, (place,) = int(found.items[1, 0]), found.places[1, 0].tolist()
    first, last = found.windows[1, 0, 0].tolist()
    assert (first, last) == (2 * place - 2, 2 * place + 7)
    whole = whole_reconstruction(signal, x[item : item + 1], "4", (1, place))
    around = F.pad(whole, (9, 9))[:, first + 9 : last + 10]
    torch.testing.assert_close(found.reconstructions[1, 0].nan_to_num(0), around)
    volume = top_patches(nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU()), torch.randn(4, 1, 9, 8, 7), "1", k=2)
    assert volume.patches.shape == (2, 2, 1, 3, 3, 3)
    model, pictures = images(16)
    classes = top_patches(model, pictures, "8", k=3)
    assert classes.patches.shape == (4, 3, 3, 16, 16)
    assert classes.places.shape == (4, 3, 0)
    order = brute(model, pictures, "").sort(dim=0, descending=True).indices[:3].T
    assert torch.equal(classes.items, order)
    for each in (found, volume, classes):
        each.plot().savefig(io.BytesIO())


def test_dna_is_read_as_letters_and_motifs() -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(4, 2, 4, padding=3)
    nn.init.zeros_(conv.bias)
    conv.weight.data[0] = -1 + 2 * F.one_hot(torch.tensor([2, 0, 3, 0]), 4).T.float()  # GATA
    x = F.one_hot(torch.randint(0, 4, (40, 30)), 4).movedim(2, 1).float()
    found = top_patches(nn.Sequential(conv, nn.ReLU()), x, "1", k=9)
    assert found.texts(0)[0] == "GATA"
    motif = found.motifs()[0]
    assert (motif.consensus, motif.sites) == ("GATA", 9)
    edge = torch.zeros(1, 4, 6)
    edge[0, 2, 0] = edge[0, 0, 1:] = 1
    letters = top_patches(conv, edge, "", k=1)
    first = int(letters.windows[0, 0, 0, 0])
    assert letters.texts(0) == ("".join("·" if at < 0 else "GAAAAA"[at] for at in range(first, first + 4)),)
    found.plot().savefig(io.BytesIO())
    assert found.table().columns[-1].header == "patch"
    with pytest.raises(
        InputError, match=r"motifs are those of DNA: expected input \(n, 4, t\), got patches \(3, 3, 3\)"
    ):
        top_patches(*images(9), "0").motifs()
    with pytest.raises(InputError, match="these patches are no text"):
        top_patches(*images(9), "0").texts(0)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv = nn.Embedding(6, 3), nn.Conv1d(3, 4, 3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.relu(self.conv(self.embedding(tokens).movedim(1, 2))).amax(2)


def test_tokens_are_read_as_words() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 6, (30, 8))
    words = ("a", "bad", "film", "it", "was", "so")
    found = top_patches(Words(), tokens, "conv", k=4, words=words)
    assert found.reconstructions is None
    assert found.rule is None
    item, first = int(found.items[2, 0]), int(found.windows[2, 0, 0, 0])
    want = ["·" if not 0 <= at < 8 else words[int(tokens[item, at])] for at in range(first, first + 3)]
    assert found.texts(2)[0] == " ".join(want)
    found.plot().savefig(io.BytesIO())


def test_batches_of_many_kinds_and_bounded_memory() -> None:
    model, x = images(16)
    labelled = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.arange(23)), batch_size=6)
    told: list[tuple[int, int, str]] = []
    one = top_patches(model, labelled, "5", k=3, progress=lambda *facts: told.append(facts))
    two = top_patches(model, x, "5", k=3)
    assert torch.equal(one.items, two.items)
    assert told[3][:2] == (23, 23)
    assert told[-1][:2] == (24, 24)  # reconstructions
    best = Best(model, "5", x, 3, None, once=True)
    room = best.crops.shape
    for part in x.split(5):
        best.add(part, best.until(part))
    assert best.crops.shape == room == (24, 3, *best.crops.shape[2:])


def test_equal_activations_keep_the_first_and_few_items_are_all() -> None:
    net = nn.Conv1d(1, 1, 1, bias=False)
    net.weight.data.fill_(1.0)
    x = torch.tensor([1.0, 2, 2, 1, 2])[:, None, None].expand(5, 1, 4)
    assert top_patches(net, x.split(2), "", k=3).items.tolist() == [[1, 2, 4]]
    few = top_patches(net, x, "", k=9)
    assert few.items.tolist() == [[1, 2, 4, 0, 3]]
    assert few.places.flatten().tolist() == [0] * 5


def test_ctrl_c_keeps_what_was_found() -> None:
    model, x = images(16)

    def interrupted() -> Iterator[Tensor]:
        yield x[:10]
        raise KeyboardInterrupt

    found = top_patches(model, interrupted(), "5", k=2)
    want = top_patches(model, x[:10], "5", k=2)
    assert (found.seen, found.complete) == (10, False)
    assert "10 items (stopped early)" in found.title()
    assert torch.equal(found.items, want.items)
    torch.testing.assert_close(found.reconstructions, want.reconstructions, equal_nan=True)

    def at_once() -> Iterator[Tensor]:
        raise KeyboardInterrupt
        yield x

    with pytest.raises(KeyboardInterrupt):
        top_patches(model, at_once(), "5")


def test_an_interruption_amid_an_update_is_made_good() -> None:
    model, x = images(16)
    best = Best(model, "5", x, 3, None, once=True)
    best.add(x[:10], best.until(x[:10]))
    real = best.sight.cropped
    calls = iter([KeyboardInterrupt])

    class Broken:
        def __getattr__(self, name: str) -> object:
            return getattr(sight, name)

        def cropped(self, *args: Tensor) -> Tensor:
            made = real(*args)
            for error in calls:
                raise error
            return made

    sight, best.sight = best.sight, Broken()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        best.add(x[10:], best.until(x[10:]))
    best.finish()
    assert best.seen == 23
    assert torch.equal(best.items, top_patches(model, x, "5", k=3).items)
    crops, _, places = best.flat()
    assert torch.equal(crops, sight.cropped(x, best.items.flatten(), places))


def test_dead_channels_are_told_and_have_nothing_that_excites_them() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU())
    net[0].weight.data[1], net[0].bias.data[1] = 0.0, -1.0
    found = top_patches(net, torch.randn(8, 1, 12), "1", k=2)
    assert found.dead == (1,)
    assert found.reconstructions[1].nan_to_num().abs().sum() == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_long_pass_is_accelerated(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = images()
    want = top_patches(model, x, "5", k=3)
    monkeypatch.setattr("striate.interpret.features.patches.PATIENCE", 0.0)
    found = top_patches(model, x.split(10), "5", k=3)
    torch.testing.assert_close(found.values, want.values)
    assert torch.equal(found.items, want.items)


def test_layers_that_see_everything_use_whole_items() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2), nn.ReLU())
    x = torch.randn(5, 1, 12, 12)
    found = top_patches(net, x, "2", k=2)
    assert "reads the whole of its input at once" in found.whole
    item, place = int(found.items[0, 0]), tuple(found.places[0, 0].tolist())
    torch.testing.assert_close(
        found.reconstructions[0, 0], whole_reconstruction(net, x[item : item + 1], "2", (0, *place))
    )


def test_a_layer_called_twice_means_its_last_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Conv1d(1, 1, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.step(self.step(x))

    torch.manual_seed(0)
    net, x = Twice(), torch.randn(6, 1, 20)
    found = top_patches(net, x, "step", k=1)
    torch.testing.assert_close(found.values[0, 0], net(x).max().detach())
    assert found.patches.shape[-1] == 5


def test_files_and_numbers(tmp_path: Path) -> None:
    model, x = images(16)
    found = top_patches(model, x, "5", k=3, channels=[6, 1])
    assert torch.equal(found.values, top_patches(model, x, "5", k=3).values[[6, 1]])
    assert found.title() == "top 3 patches of 2 channels of 5, 23 items"
    found.save(tmp_path / "t.safetensors")
    tensors, facts = read_tensors(tmp_path / "t.safetensors")
    assert torch.equal(tensors["reconstructions"].nan_to_num(), found.reconstructions.nan_to_num())
    assert facts["channels"] == [6, 1]
    assert found.json()["items"] == found.items.tolist()
    found.plot([1], of=2).savefig(io.BytesIO())
    top_patches(model, x, "5", k=2, rule=None).plot().savefig(io.BytesIO())
    with pytest.raises(InputError, match="no such channel: expected one of those looked at: 6, 1, got 2"):
        found.plot([2])
    with pytest.raises(InputError, match="no patches to draw"):
        found.plot([])


def test_the_network_is_left_as_it_was() -> None:
    model, x = images(16)
    model.train()
    model[3].norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    top_patches(model, x, "5", k=2)
    assert model.training
    assert not model[3].norm.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_wrong_requests_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = images(16)
    with pytest.raises(InputError, match="places to keep of each channel: expected at least 1, got 0"):
        top_patches(model, x, "5", k=0)
    with pytest.raises(InputError, match="unknown rule: expected deconvnet, guided, gradient or None, got lrp"):
        top_patches(model, x, "5", rule="lrp")
    with pytest.raises(InputError, match=r"no such layer: got '3\.nrm'\. Did you mean 3\.norm"):
        top_patches(model, x, "3.nrm")
    with pytest.raises(InputError, match="the layer has no such channel: expected 0 to 7, got 8"):
        top_patches(model, x, "5", channels=[8])
    with pytest.raises(InputError, match="the layer has no such channel: expected 0 to 7, got none"):
        top_patches(model, x, "5", channels=[])
    with pytest.raises(InputError, match="no items to look at: expected batches of inputs, got none"):
        top_patches(model, [], "5")
    with pytest.raises(
        InputError, match=r"items of one data set have one shape: expected \(3, 16, 16\), .* \(3, 8, 8\)"
    ):
        top_patches(model, [x, x[:, :, :8, :8]], "5")
    with pytest.raises(InputError, match=r"a value that is no number: x\[0, 0, 0, 0\]: got nan"):
        top_patches(model, x.index_fill(3, torch.tensor(0), float("nan")), "5")
    with pytest.raises(InputError, match="this layer has no channels: 0: expected floats"):
        top_patches(nn.Sequential(nn.Flatten(0)), x, "0")
    monkeypatch.setattr("striate.interpret.features.best.MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"too large to keep: expected at most 1,000 bytes.*channels=range\(64\)"):
        top_patches(model, x, "5")


def test_results_are_shown_in_notebooks() -> None:
    found: TopPatches = top_patches(*images(9), "0", k=1)
    assert found._repr_html_().startswith('<img alt="top 1 patches of 6 channels of 0, 23 items" src="data:image/png')
