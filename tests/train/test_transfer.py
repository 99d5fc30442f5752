"""Starting from other weights, and freezing layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.train import freeze, start_from


def network(classes: int = 4, width: int = 3) -> nn.Module:
    torch.manual_seed(classes)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(36 * width, 8), nn.Linear(8, classes)
    )


def test_all_but_the_last_layer_is_taken_over_for_other_classes() -> None:
    old, new = network(7), network(4)
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    assert start_from(new, old.state_dict(), "a run") == ("4.weight", "4.bias")
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name.startswith("4.") else old.state_dict()[name])


def test_the_last_layer_too_for_the_same_number_of_classes() -> None:
    old, new = network(4), network(4)
    nn.init.ones_(old[4].weight)
    assert start_from(new, old.state_dict(), "a run") == ()
    assert torch.equal(new[4].weight, old[4].weight)


def test_weights_of_another_network_are_refused_and_nothing_is_changed() -> None:
    new = network(4)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    message = (
        r"the weights to start from are of another network: a run: expected .*last one, 4, got "
        r"0.weight 5x1x3x3 there, 3x1x3x3 here; 0.bias 5 there, 3 here; 1.weight 5 there, 3 here and 4 more. Because"
    )
    with pytest.raises(InputError, match=message):
        start_from(new, network(4, width=5).state_dict(), "a run", why="Because.")
    with pytest.raises(InputError, match=r"got extra.weight 1 there, absent here. Choose the network and the inputs"):
        start_from(new, new.state_dict() | {"extra.weight": torch.zeros(1)}, "a run")
    with pytest.raises(InputError, match=r"got 0.bias absent there, 3 here. Choose"):
        start_from(new, {name: t for name, t in new.state_dict().items() if name != "0.bias"}, "a run", anew=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in new.state_dict().items())


@pytest.mark.parametrize("anew", [False, True])
def test_a_last_layer_that_reads_something_else_is_another_network(anew: bool) -> None:
    """A linear classifier of larger images: its weights differ in what they read, not in what they answer."""
    small, large = (nn.Sequential(nn.Flatten(), nn.Linear(side**2, 3)) for side in (4, 5))
    with pytest.raises(InputError, match=r"got 1.weight 3x16 there, 3x25 here. Choose"):
        start_from(large, small.state_dict(), "a run", anew=anew)


def test_a_last_layer_that_is_transposed_has_its_outputs_second() -> None:
    old, new = (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, classes, 2)) for classes in (2, 3))
    assert start_from(new, old.state_dict(), "a run") == ("1.weight", "1.bias")
    assert torch.equal(new[0].weight, old[0].weight)
    wider = nn.ConvTranspose2d(5, 2, 2).state_dict()
    with pytest.raises(InputError, match=r"got weight 5x2x2x2 there, 4x3x2x2 here"):
        start_from(new[1], wider, "a run")


def test_frozen_layers_stay_bit_for_bit_norms_too(small) -> None:
    model = small.model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small.train(model, freeze=("0", "1"))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"5.weight", "5.bias"}


def test_names_are_whole_parts_of_a_path() -> None:
    model = nn.ModuleDict({"conv1": nn.Linear(2, 2), "conv10": nn.Linear(2, 2)})
    freeze(model, ["conv1"])
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_a_layer_that_is_not_there_is_refused() -> None:
    model = nn.ModuleDict({"conv1": nn.Linear(2, 2)})
    with pytest.raises(InputError, match=r"there is no layer to freeze: got 'conv2'. Did you mean conv1"):
        freeze(model, ["conv2"])
