"""What holds for every network of the zoo; a new one is tested by being registered."""

from __future__ import annotations

import io
import itertools
import math
import operator
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from striate import describe, zoo
from striate.errors import InputError
from striate.locality import PatchEngine

pytestmark = pytest.mark.parametrize("name", zoo.names())

# Networks of more parameters run on the CPU with these options, if they have them: it is their form that is tested.
LARGE = 3_000_000
SMALL = {"width": 0.25, "growth": 8, "modules_a": 1, "modules_b": 1, "modules_c": 1}


def rank(name: str) -> int:
    return max(1, len(zoo.ARCHITECTURES[name].input) - 1)


def least(name: str) -> tuple[int, ...]:
    """The smallest input that the network says it takes."""
    entry = zoo.ARCHITECTURES[name]
    return (-(-entry.least // entry.multiple) * entry.multiple,) * rank(name)


def made(name: str, size: tuple[int, ...], **options: Any) -> nn.Module:
    """The network, told of its input's size if it wants to know; a large one with fewer channels or modules."""
    entry = zoo.ARCHITECTURES[name]
    if entry.takes_input_size:
        options["input_size"] = size
    if entry.parameters > LARGE:
        options |= {option: value for option, value in SMALL.items() if option in entry.options}
    return zoo.build(name, **options)


def example(name: str, size: tuple[int, ...], items: int = 2, in_channels: int | None = None) -> torch.Tensor:
    """A batch of random inputs."""
    entry = zoo.ARCHITECTURES[name]
    if in_channels is None:
        in_channels = entry.options["in_channels"]
    if entry.tokens:
        return torch.randint(in_channels, (items, *size))
    return torch.rand(items, in_channels, *size)


def first(output: Any) -> torch.Tensor:
    """The output, or the main one of several."""
    return output if isinstance(output, torch.Tensor) else next(iter(output))


def state(net: nn.Module) -> list[tuple[object, ...]]:
    """What describing a network must leave as it was."""
    modules = [(path, module.training, len(module._forward_hooks)) for path, module in net.named_modules()]
    return modules + [(path, t._version, t.requires_grad) for path, t in net.state_dict(keep_vars=True).items()]


def test_parameters_macs_and_shape_are_those_declared(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    with torch.device("meta"):
        net = zoo.build(name).eval()
        x = example(name, entry.input if entry.tokens else entry.input[1:], 1)
    assert all(parameter.is_meta for parameter in net.parameters())
    assert sum(parameter.numel() for parameter in net.parameters()) == entry.parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        output = net(x)
    assert counter.get_total_flops() // 2 == entry.macs
    assert tuple(first(output).shape[1:]) == (entry.output or (entry.options["num_classes"],))
    before = state(net)
    report = describe(net, x)
    assert (report.parameters, report.macs) == (entry.parameters, entry.macs)
    assert state(net) == before


def test_facts_are_stated(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    assert len(entry.paper) > 10
    assert 1950 < entry.year < 2100
    assert entry.summary.endswith(".")
    assert "\n" not in entry.summary
    assert len(entry.input) in ((1,) if entry.tokens else (2, 3, 4))
    assert 1 <= entry.least <= min(entry.input if entry.tokens else entry.input[1:])
    assert all(zoo.ARCHITECTURES[alias] is entry for alias in entry.aliases)


@pytest.mark.parametrize(("num_classes", "in_channels"), [(1, 1), (7, 5)])
def test_any_number_of_classes_and_channels(name: str, num_classes: int, in_channels: int) -> None:
    size = least(name)
    with torch.device("meta"):
        plain = made(name, size).eval()(example(name, size))
        net = made(name, size, num_classes=num_classes, in_channels=in_channels).eval()
        output = net(example(name, size, in_channels=in_channels))
    assert first(output).shape[1] == num_classes
    assert first(output).shape[2:] == first(plain).shape[2:]


def test_every_size_from_the_least_on(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    size = least(name)
    more = tuple(side + (3 + 4 * axis) * entry.multiple for axis, side in enumerate(size))
    net = made(name, size)
    for sides in (size, (size[0] + entry.multiple, *size[1:]), more):
        if entry.takes_input_size:
            net = made(name, sides)
        assert first(net(example(name, sides))).isfinite().all()


def test_a_smaller_size_is_refused(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    if entry.least == 1:
        return
    size = (*least(name)[1:], entry.least - 1)
    if entry.takes_input_size:
        with pytest.raises(InputError, match=f"network {name} cannot take .* got {'x'.join(map(str, size))}"):
            zoo.build(name, input_size=size)
    else:
        with pytest.raises((RuntimeError, InputError), match=r"[Ss]ize|small"):
            made(name, size)(example(name, size))


def test_every_option_is_accepted_with_its_default(name: str) -> None:
    with torch.device("meta"):
        plain = zoo.build(name).state_dict()
        for option, default in zoo.ARCHITECTURES[name].options.items():
            given = zoo.build(name, **{option: default}).state_dict()
            assert [(key, value.shape) for key, value in given.items()] == [(k, v.shape) for k, v in plain.items()]


def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^network {name} has no option: got 'num_class'. Did you mean num_classes"):
        zoo.build(name, num_class=3)


def test_its_maps_are_those_that_it_announces(name: str) -> None:
    entry, size = zoo.ARCHITECTURES[name], least(name)
    with torch.device("meta"):
        net, x = made(name, size).eval(), example(name, size)
        if entry.tokens or not any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in net.modules()):
            return
        backbone = zoo.features_only(net, x)
        maps = backbone(x)
    assert [kept.shape[1] for kept in maps] == [feature.channels for feature in backbone.features]
    strides = [feature.stride for feature in backbone.features]
    assert all(a != b and all(map(operator.le, a, b)) for a, b in itertools.pairwise(strides))


def test_outputs_do_not_mix_items_and_weights_are_random_and_saved_whole(name: str) -> None:
    size = least(name)
    torch.manual_seed(0)
    net, x = made(name, size).eval(), example(name, size, 3)
    other = made(name, size).eval()
    with torch.no_grad():
        output = first(net(x))
        torch.testing.assert_close(output[1:2], first(net(x[1:2])), rtol=1e-4, atol=1e-5)
        assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
        other.load_state_dict(safetensors.torch.load(safetensors.torch.save(net.state_dict())))
        assert torch.equal(output, first(other(x)))


def test_outputs_are_finite_and_every_parameter_learns(name: str) -> None:
    size = least(name)
    torch.manual_seed(0)
    net = made(name, size).train()
    outputs = net(example(name, size, 4))
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    loss = sum((output * torch.randn_like(output)).sum() for output in outputs)
    assert math.isfinite(loss.item())
    loss.backward()
    for path, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@pytest.mark.slow
def test_it_compiles_to_one_graph_and_exports(name: str) -> None:
    size = least(name)
    torch.manual_seed(0)
    net, x = made(name, size).eval(), example(name, size)
    torch._dynamo.reset()
    with torch.no_grad():
        output = first(net(x))
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        torch.testing.assert_close(first(compiled(x)), output)
        saved = io.BytesIO()
        torch.export.save(torch.export.export(net, (x,)), saved)
        saved.seek(0)
        torch.testing.assert_close(first(torch.export.load(saved).module()(x)), output)


@torch.no_grad()
def test_local_changes_equal_brute_force(name: str) -> None:
    """Occlusion runs on windows, from the layer on that a change reaches all of densely, and leaves the network."""
    torch.manual_seed(0)
    entry, size = zoo.ARCHITECTURES[name], least(name)
    net = made(name, size).eval().double()
    before = state(net)
    x = example(name, size, 1)
    x = x if entry.tokens else x.double()
    window = [min(2, side) for side in size]
    starts = torch.tensor([[0] * len(size), [side - w for side, w in zip(size, window, strict=True)]] * 5)
    engine = PatchEngine(net, x)
    changed = x.repeat(2, *[1] * (x.dim() - 1))
    for item, corner in zip(changed, starts[:2].tolist(), strict=True):
        item[(..., *(slice(a, a + w) for a, w in zip(corner, window, strict=True)))] = 0
    right = torch.cat([first(net(item[None])) for item in changed])
    value = torch.zeros(1, *x.shape[1 : x.dim() - len(size)], *window, dtype=x.dtype)
    assert (engine(starts, value) - right.repeat(5, *[1] * (right.dim() - 1))).abs().max() <= 1e-10 * right.abs().max()
    assert engine.whole == ""
    assert state(net) == before
