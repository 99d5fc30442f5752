"""The optimizers of a recipe."""

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.recipe import Recipe
from striate.train import Muon, build_optimizers
from striate.train.optimizers import optimizer_tensors, restore_optimizers, set_rates


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6 * 36, 3))


def train(model: nn.Module, optimizers: list[torch.optim.Optimizer], steps: int = 4) -> None:
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        model(torch.rand(5, 2, 8, 8, generator=generator)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon", "adadelta"])
def test_only_weights_decay(name: str) -> None:
    model = network()
    decayed = {
        id(p) for o in build_optimizers(model, Recipe(optimizer=name, weight_decay=0.3)) for g in o.param_groups
        if g["weight_decay"] for p in g["params"]
    }  # fmt: skip
    count = sum(len(g["params"]) for o in build_optimizers(model, Recipe(optimizer=name)) for g in o.param_groups)
    assert count == len(list(model.parameters()))
    assert len(decayed) == 2
    for path, parameter in model.named_parameters():
        assert not (id(parameter) in decayed and parameter.ndim < 2), path


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_is_torchs_on_the_flattened_weights(channels_last: bool) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 3, 3, 3))
    flat = nn.Parameter(weight.detach().flatten(1).clone())
    if channels_last:
        weight.data = weight.data.to(memory_format=torch.channels_last)
    ours = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.01)
    theirs = torch.optim.Muon([flat], lr=0.1, momentum=0.9, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for k in range(3):
        gradient = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(k))
        weight.grad, flat.grad = gradient.clone(), gradient.flatten(1)
        ours.step()
        theirs.step()
    # Columns are in another order, and torch orthogonalizes in bfloat16.
    torch.testing.assert_close(weight.detach().flatten(1), flat.detach(), atol=2e-3 if channels_last else 0, rtol=0)


def test_muon_says_when_the_weights_moved() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0)
    weight.data = weight.data.clone()
    with pytest.raises(InputError, match="weights moved to other memory"):
        optimizer.step()


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to train: expected parameters with requires_grad=True"):
        build_optimizers(network().requires_grad_(False), Recipe())


def test_frozen_parameters_are_left_out() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    train(model, build_optimizers(model, Recipe(optimizer="sgd")))
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon", "adadelta"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_state_survives_a_round_trip(name: str, channels_last: bool) -> None:
    kind = torch.channels_last if channels_last else torch.contiguous_format
    one, other = network().to(memory_format=kind), network().to(memory_format=kind)
    recipe = Recipe(optimizer=name, learning_rate=0.001)
    first, second = build_optimizers(one, recipe), build_optimizers(other, recipe)
    train(one, first)
    other.load_state_dict(one.state_dict())
    restore_optimizers(second, {k: v.contiguous().clone() for k, v in optimizer_tensors(first).items()})
    train(one, first)
    train(other, second)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_rates_reach_every_group() -> None:
    optimizers = build_optimizers(network(), Recipe(optimizer="muon"))
    set_rates(optimizers, 0.25, 0.6)
    for group in (g for o in optimizers for g in o.param_groups):
        assert group["lr"] == 0.25
        assert group.get("momentum", group.get("betas", [0])[0]) == 0.6


def test_adadelta_is_zeilers_rule() -> None:
    """Algorithm 1 of the paper, by hand; the momentum of a schedule is not its business."""
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    model = nn.Module()
    model.weight = weight
    optimizers = build_optimizers(model, Recipe(optimizer="adadelta", beta2=0.95, weight_decay=0))
    set_rates(optimizers, 1.0, 0.5)
    x, squares, updates = weight.detach().clone(), torch.zeros(1, 2), torch.zeros(1, 2)
    for k in range(1, 4):
        gradient = torch.tensor([[0.5 * k, -1.0]])
        weight.grad = gradient.clone()
        optimizers[0].step()
        squares = 0.95 * squares + 0.05 * gradient**2
        step = -((updates + 1e-6).sqrt() / (squares + 1e-6).sqrt()) * gradient
        updates = 0.95 * updates + 0.05 * step**2
        x += step
        torch.testing.assert_close(weight.detach(), x)
