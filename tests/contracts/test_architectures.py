"""What holds for every network of the zoo; a new one is tested by being registered."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from striate import describe, zoo
from striate.errors import InputError

pytestmark = pytest.mark.parametrize("name", zoo.names())


def sized(name: str, h: int, w: int) -> dict[str, Any]:
    """The option that tells a network of its image size, if it wants to know."""
    return {"input_size": (h, w)} if zoo.ARCHITECTURES[name].takes_input_size else {}


def count_macs(net: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    return counter.get_total_flops() // 2


def test_parameters_and_macs_are_those_declared(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    with torch.device("meta"):
        net = zoo.build(name).eval()
        x = torch.empty(1, *entry.input)
    assert all(parameter.is_meta for parameter in net.parameters())
    assert sum(parameter.numel() for parameter in net.parameters()) == entry.parameters
    report = describe(net, entry.input)
    assert (report.parameters, report.macs) == (entry.parameters, entry.macs)
    assert count_macs(net, x) == entry.macs
    assert count_macs(net, torch.cat([x, x])) == 2 * entry.macs != entry.macs


def test_facts_are_stated(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    assert len(entry.paper) > 10
    assert entry.summary.endswith(".")
    assert "\n" not in entry.summary
    assert len(entry.input) == 3
    assert 1 <= entry.least <= min(entry.input[1:])


@pytest.mark.parametrize(("num_classes", "in_channels"), [(2, 1), (3, 3), (10, 2), (101, 1)])
def test_any_number_of_classes_and_channels(name: str, num_classes: int, in_channels: int) -> None:
    _, h, w = zoo.ARCHITECTURES[name].input
    for device in ("meta", "cpu"):
        with torch.device(device):
            net = zoo.build(name, num_classes=num_classes, in_channels=in_channels)
            assert net(torch.zeros(2, in_channels, h, w)).shape == (2, num_classes)


def test_every_size_from_the_least_on(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    channels, *_ = entry.input
    for h, w in ((entry.least,) * 2, (entry.least, entry.least + 1), (entry.least + 5, entry.least), (50, 41)):
        net = zoo.build(name, **sized(name, h, w))
        assert net(torch.rand(2, channels, h, w)).shape == (2, 10)
        assert net.train()(torch.rand(1, channels, h, w)).isfinite().all()


def test_a_smaller_size_is_refused(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    side = entry.least - 1
    if entry.takes_input_size:
        with pytest.raises(InputError, match=f"smaller than network {name} .* got {entry.least}x{side}"):
            zoo.build(name, input_size=(entry.least, side))
    else:
        with pytest.raises(RuntimeError, match=r"[Ss]ize"):
            zoo.build(name)(torch.zeros(1, entry.input[0], entry.least, side))


def test_every_option_is_accepted_with_its_default(name: str) -> None:
    torch.manual_seed(0)
    plain = zoo.build(name).state_dict()
    for option, default in zoo.ARCHITECTURES[name].options.items():
        torch.manual_seed(0)
        given = zoo.build(name, **{option: default}).state_dict()
        assert all(torch.equal(given[key], plain[key]) for key in plain | given)


def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^network {name} has no option: got 'num_class'. Did you mean num_classes"):
        zoo.build(name, num_class=3)


def test_weights_are_drawn_from_the_global_generator_and_saved_whole(name: str) -> None:
    channels, h, w = zoo.ARCHITECTURES[name].input
    torch.manual_seed(0)
    first, second, x = zoo.build(name).eval(), zoo.build(name).eval(), torch.rand(2, channels, h, w)
    assert not torch.equal(first(x), second(x))
    torch.manual_seed(0)
    again = zoo.build(name).eval()
    assert torch.equal(first(x), again(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


def test_outputs_are_finite_and_every_parameter_learns(name: str) -> None:
    channels, h, w = zoo.ARCHITECTURES[name].input
    torch.manual_seed(0)
    net = zoo.build(name).train()
    output = net(torch.rand(8, channels, h, w))
    loss = nn.functional.cross_entropy(output, torch.arange(8) % 10)
    assert math.isfinite(loss.item())
    loss.backward()
    for path, parameter in net.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


def test_items_of_a_batch_do_not_mix(name: str) -> None:
    channels, h, w = zoo.ARCHITECTURES[name].input
    torch.manual_seed(0)
    net, x = zoo.build(name).eval(), torch.rand(3, channels, h, w)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))
