"""Pruning: torch's own masks, zeros that last through every optimizer, and smaller networks that answer the same."""

from __future__ import annotations

import copy
import json
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import striate
from striate.errors import InputError
from striate.geometry.trace import trace
from striate.train import fit
from striate.train.filter_pruning import prune_filters, remove_filters
from striate.train.pruning import make_permanent, prune_weights, zeros


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_masks_are_those_of_torch(share: float) -> None:
    ours, theirs = small(), small()
    prune_weights(ours, share)
    prune.global_unstructured([(theirs[0], "weight"), (theirs[3], "weight")], prune.L1Unstructured, amount=share)
    for layer in (0, 3):
        assert torch.equal(ours[layer].weight, theirs[layer].weight)
    ours, theirs = small(), small()
    prune_weights(ours, share, "layer")
    for layer in (0, 3):
        prune.l1_unstructured(theirs[layer], "weight", amount=share)
        assert torch.equal(ours[layer].weight, theirs[layer].weight)


def recipe(**options: object) -> striate.Recipe:
    return striate.Recipe(**{"data": "digits", "epochs": 0.2, "model": "keras_mnist:width=0.25", "image_size": 12,
                             "device": "cpu"} | options)  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_zeros_last_through_training(optimizer: str) -> None:
    session = striate.open_session(recipe(optimizer=optimizer, ema=0.9, weight_decay=0.1))
    prune_weights(session.model, 0.8)
    before = {name: tensor.clone() for name, tensor in session.model.state_dict().items()}
    for _ in fit(session.model, session.task, session.data, session.recipe):
        assert zeros(session.model)[""] == pytest.approx(0.8, abs=1e-3)
    make_permanent(session.model)
    state = session.model.state_dict()
    assert set(state) == set(striate.build("keras_mnist", width=0.25, input_size=(12, 12)).state_dict())
    for name, kept in before.items():
        if name.endswith("weight.0.kept"):
            weight = state[name.replace("parametrizations.", "").removesuffix(".0.kept")]
            first = before[name.replace("0.kept", "original")]
            assert (weight[~kept] == 0).all()
            assert (weight[kept] != first[kept]).float().mean() > 0.9  # the others were trained on


def test_a_pruned_training_resumes_as_it_was(tmp_path: Path) -> None:
    ends = []
    for stop in (None, 3):
        session = striate.open_session(recipe())
        prune_weights(session.model, 0.5, "layer")
        for step in fit(session.model, session.task, session.data, session.recipe):
            if step.number == stop:
                step.save(tmp_path / "checkpoint")
                break
        if stop:
            session = striate.open_session(recipe())
            prune_weights(session.model, 0.1)  # the masks of the checkpoint replace these
            for _ in fit(session.model, session.task, session.data, session.recipe, resume=tmp_path / "checkpoint"):
                pass
        make_permanent(session.model)
        ends.append(session.model.state_dict())
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name


def test_shares_grow_from_call_to_call() -> None:
    model, once = small(), small()
    for share in (0.3, 0.6, 0.6):
        prune_weights(model, share)
    prune_weights(once, 0.6)
    assert torch.equal(model[3].weight, once[3].weight)
    output = model(torch.ones(1, 1, 8, 8))
    make_permanent(model)
    assert torch.equal(model(torch.ones(1, 1, 8, 8)), output)
    assert zeros(model)[""] == pytest.approx(0.6, abs=1e-3)


def test_weights_that_cannot_be_pruned() -> None:
    with pytest.raises(InputError, match="share of weights to prune: expected at least 0, below 1, got 1.0"):
        prune_weights(small(), 1.0)
    with pytest.raises(InputError, match="nothing to prune: ReLU: expected convolutions or dense layers"):
        prune_weights(nn.ReLU(), 0.5)
    with pytest.raises(InputError, match="the network has no masks. Prune it first"):
        make_permanent(small())


# The norm after a convolution, by the names that the network's author gave.
NORM: dict[str, Callable[[str], str]] = {
    "mnist_fast": lambda path: {"conv1": "norm1", "conv2": "norm2"}.get(path, ""),
    "resnet20": lambda path: path.replace("conv", "bn"),
}
CASES = {
    "keras_mnist": ((1, 28, 28), {}),
    "mnist_fast": ((1, 28, 28), {}),
    "resnet20": ((3, 16, 16), {}),
    "vgg11": ((3, 32, 32), {"input_size": (32, 32), "width": 0.1, "num_classes": 5}),
    "googlenet": ((3, 48, 48), {"num_classes": 5}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_smaller_network_is_the_larger_one_with_silent_filters(name: str) -> None:
    """A filter whose weights, bias and norm are zero adds nothing behind a ReLU: taking it out changes no output."""
    shape, options = CASES[name]
    torch.manual_seed(0)
    model = striate.build(name, **options).eval()
    for parameter in model.parameters():  # biases and norms that matter
        parameter.data += 0.1 * torch.randn_like(parameter)
    pruned = prune_filters(model, shape, 0.5)
    silent = copy.deepcopy(model)
    for path, kept in pruned.kept.items():
        gone = [i for i in range(len(silent.get_submodule(path).weight)) if i not in kept]
        assert gone, path
        for layer in filter(None, (path, NORM[name](path) if name in NORM else "")):
            for tensor in silent.get_submodule(layer).parameters():
                tensor.data[gone] = 0
    x = torch.randn(2, *shape)
    torch.testing.assert_close(pruned.model(x), silent(x), rtol=1e-4, atol=1e-4)
    assert count(pruned.model) < 0.8 * count(model)
    again = remove_filters(model, shape, pruned.kept)
    again.load_state_dict(pruned.model.state_dict())
    assert torch.equal(again(x), pruned.model(x))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_filters_of_least_norm_go() -> None:
    model = small()
    norms = model[0].weight.detach().abs().sum((1, 2, 3))
    kept = prune_filters(model, (1, 8, 8), 0.25).kept["0"]
    assert set(range(4)) - set(kept) == {int(norms.argmin())}


def test_each_share_of_its_own_and_at_least_one_filter() -> None:
    model = striate.build("vgg11", **CASES["vgg11"][1])
    paths = list(prune_filters(model, (3, 32, 32), 0.0).kept)
    pruned = prune_filters(model, (3, 32, 32), {paths[0]: 0.99, paths[2]: 0.5})
    assert list(pruned.kept) == [paths[0], paths[2]]
    assert len(pruned.kept[paths[0]]) == 1


def test_filters_that_are_added_to_others_stay() -> None:
    model = striate.build("resnet20")
    pruned = prune_filters(model, (3, 32, 32), 0.5)
    assert all(path.endswith("conv1") for path in pruned.kept)
    assert set(pruned.whole) == {p for p, m in model.named_modules() if isinstance(m, nn.Conv2d)} - set(pruned.kept)
    assert "added to others" in pruned.whole["layer1.0.conv2"]


def test_depthwise_and_dense_connections() -> None:
    """MobileNet's depthwise filters go with what they read; DenseNet's channels are read by many layers."""
    for name, options in (("mobilenet_v1", {"width": 0.25}), ("densenet121", {"growth": 4})):
        model = striate.build(name, num_classes=3, **options)
        pruned = prune_filters(model, (3, 64, 64), 0.4)
        assert not pruned.whole
        assert count(pruned.model) < 0.6 * count(model)
        assert trace(pruned.model, (3, 64, 64)).values[-1].shape == (1, 3)


def test_a_pruned_network_is_trained_on() -> None:
    plain = recipe(model="keras_mnist", epochs=2, optimizer="adamw", learning_rate=0.003, dropout=0.0, augment=())
    session = striate.open_session(plain)
    model = prune_filters(session.model, session.data.shape, 0.5).model
    losses = [step.loss for step in fit(model, session.task, session.data, plain)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


class Stubborn(nn.Module):
    """Counts on four channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.dense = nn.Conv2d(1, 4, 1), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.convolution(x).mean((2, 3)).view(-1, 4))


def test_filters_that_cannot_be_pruned() -> None:
    with pytest.raises(InputError, match="share of filters to prune: expected at least 0, below 1, got 1"):
        prune_filters(small(), (1, 8, 8), 1)
    with pytest.raises(InputError, match="no filter of this network can go: Conv2d: got .*the network returns it"):
        prune_filters(nn.Conv2d(1, 2, 3), (1, 8, 8), 0.5)
    with pytest.raises(InputError, match="no filter of this network can go: .*it has no convolution"):
        prune_filters(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2), 0.5)
    with pytest.raises(InputError, match=r"not a convolution whose filters can go: expected 0, got 3 \(no conv"):
        prune_filters(small(), (1, 8, 8), {"3": 0.5})
    with pytest.raises(InputError, match="not a convolution whose filters can go: .*layer1.0.conv2 .it is added"):
        remove_filters(striate.build("resnet20"), (3, 16, 16), {"layer1.0.conv2": [0]})
    for filters in ([], [4], [1, 0], [0, 0]):
        with pytest.raises(InputError, match="filters to keep: 0: expected some of 0 to 3, rising"):
            remove_filters(small(), (1, 8, 8), {"0": filters})
    with pytest.raises(InputError, match="the smaller network does not run: Stubborn: .*counts on the number"):
        prune_filters(Stubborn(), (1, 8, 8), 0.5)


@pytest.mark.slow
def test_the_recipe_of_pruning_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "pruning.py"
    options = ["--model", "mnist_fast:width=32", "--image-size", "28", "--epochs", "3", "--shares", "0.5"]
    monkeypatch.setattr(sys, "argv", ["pruning.py", "digits", *options, "--out", str(tmp_path)])
    with warnings.catch_warnings():
        runpy.run_path(str(recipe), run_name="__main__")
    found = json.loads((tmp_path / "pruning.json").read_text())
    assert found["accuracy"] > 0.95
    assert all(points[0]["after"] > 0.95 for points in found["points"].values())
    assert (tmp_path / "pruning.png").stat().st_size > 5_000
