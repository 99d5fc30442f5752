"""What the tracer records, and what it says of networks and inputs that it cannot take."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from striate import geometry
from striate.errors import InputError
from striate.geometry import describe, trace


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right.mean((2, 3), keepdim=True)


class Plain(nn.Module):
    """A module of one function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def windowed(x: Tensor) -> Tensor:
    return torch.stft(x, 8, window=torch.hann_window(8), return_complex=True)


def quantized(x: Tensor) -> Any:
    weight = torch.quantize_per_tensor(torch.ones(4, 4), 1.0, 0, torch.qint8)
    return torch.ops.quantized.linear_dynamic(x, torch.ops.quantized.linear_prepack(weight, None))


def test_several_inputs() -> None:
    report = describe(Two(), ((3, 8, 8), torch.zeros(2, 3, 4, 4)))
    assert report.inputs == {"left": (1, 3, 8, 8), "right": (1, 3, 4, 4)}
    assert report.graph.receptive_field("", (0, 0, 5, 5), input="left") != []
    [box] = report.graph.receptive_field("", (0, 0, 5, 5), input="right")
    assert [len(i) for i in box] == [1, 1, 4, 4]
    assert describe(Two(), {"right": (3, 4, 4), "left": (3, 8, 8)}).layers[-1].shape == (3, 8, 8)


def test_a_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    net[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    describe(net, (1, 8, 8))
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 2, 6, 6)


def test_shared_and_frozen_and_unused_parameters() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    layer.bias.requires_grad_(False)
    net = nn.Sequential(layer, layer)
    net.register_parameter("spare", nn.Parameter(torch.zeros(5)))
    report = describe(net, (2, 8, 8))
    assert [(row.parameters, row.shared, row.frozen) for row in report.layers] == [(38, 0, 2), (0, 38, 0)]
    assert (report.parameters, report.frozen, report.unused) == (43, 2, ("spare",))


@pytest.mark.parametrize(
    ("model", "input", "message"),
    [
        (Two(), (3, 8, 8), r"Two takes other inputs: expected 2 \(left, right\), got 1 .* Pass a tuple of shapes"),
        (nn.ReLU(), "3x8x8", "this is no input of a network: expected the shape of one item, .* got str '3x8x8'"),
        (nn.ReLU(), (3, 0), "this is no input of a network"),
        (nn.ReLU(), (3, None, 8), r"this is no input of a network: .*got tuple \(3, None, 8\)"),
        (nn.ReLU(), (10**10, 10**10), "an input as large as this cannot be counted: got 10000000000x10000000000"),
        (Two(), ((3, 8, 8), ((3,), (3,))), "several in one. A network with other inputs .* inside a module that makes"),
        (nn.ReLU(), {"inptu": (3, 8)}, r"ReLU takes other inputs: expected 1 \(input\), got 1 \(inptu\).*mean input"),
        (nn.ReLU(), torch.tensor(1.0), "an example has a batch axis: got a tensor without axes"),
        (nn.ReLU(), torch.zeros(0, 3), r"an example has at least one item: got a tensor of shape \(0, 3\)"),
        (nn.Conv2d(3, 4, 3), (1, 3, 8, 8), r"A shape is that of one item: leave the batch axis out, \(3, 8, 8\)"),
        (nn.Conv2d(3, 4, 3), torch.zeros(3, 8, 8), r"An example has its batch axis: pass example\[None\]"),
        (nn.Embedding(9, 4), (7,), "It takes whole numbers; pass an example: torch.zeros"),
        (nn.LazyConv2d(3, 3), (3, 8, 8), "a lazy layer has no weights yet: .*Run the network once"),
        (
            Plain(lambda x: torch.ones(len(x))),
            (3, 8),
            "no output of the network depends on its input: expected .*dataclass",
        ),
        (Plain(lambda x: {x}), (3, 8), "no output of the network depends on its input: expected tensors, in tuples"),
        (
            Plain(lambda x: x.sum() if x.sum() > 0 else x),
            (3, 8),
            r"numbers in a tensor.*test_trace.py:\d+",
        ),
        (Plain(lambda x: x[x > 0]), (3, 8), "depends on the numbers in a tensor"),
        (
            Plain(lambda x: x[:, [True, False, True]]),
            (3, 8),
            "numbers in a tensor.* A mask that never changes may be a",
        ),
        (Plain(lambda x: x.tolist()), (3, 8), "depends on the numbers in a tensor"),
        (Plain(lambda x: x if x.detach().cpu().numpy().max() else -x), (3,), r"numbers in a tensor.*test_trace.py:\d+"),
        (Plain(lambda x: x if torch.rand(1) < 0.5 else -x), (3,), r"numbers in a tensor.*test_trace.py:\d+: .*rand"),
        (Plain(lambda x: x if torch.empty(2).uniform_()[0] < 0.5 else -x), (3,), "depends on the numbers in a tensor"),
        (Plain(lambda x: x if torch.zeros(()).add_(x.sum()) > 0 else -x), (3,), "depends on the numbers in a tensor"),
        (
            Plain(lambda x: x.foo()),
            (3,),
            r"the forward of the network fails: .*test_trace.py:\d+: .* got AttributeError",
        ),
        (Plain(windowed), (32,), r"a tensor that the forward makes meets the input.* on the device of the input"),
        (Plain(quantized), (3, 4), "torch cannot tell the shape .* got quantized::linear_dynamic"),
        (
            Plain(torch.linalg.qr),
            (3, 8, 8),
            "no rule says how .* got aten::linalg_qr. Add one: .*rule",
        ),
        (
            nn.Conv2d(3, 4, 3),
            (1, 8, 8),
            r"itself \(Conv2d\): got 1x8x8 there: expected 3 channels, got 1",
        ),
        (nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(3, 4, 5)), (3, 9, 9), r"too small: at layer 1 .*works is 3x20x20"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (3, 3, 3), "expected 48 features, got 27. The least .* 3x4x4"),
        (nn.Sequential(nn.Flatten(), nn.Linear(96, 2)), (3, 4, 6), "The least larger size that works is 3x4x8"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:torch.quantize")
def test_bad_input_is_told_in_one_line(model: Any, input: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe(model, input)


def test_what_is_no_network() -> None:
    unchecked: Any = inspect.unwrap(trace)  # the tests' own type checks would speak first
    with pytest.raises(InputError, match="this is no network: expected a torch.nn.Module, got str 'vgg16'. Build it"):
        unchecked("vgg16", (3, 8, 8))
    with pytest.raises(InputError, match="this is no network.*got int 3. Pass a torch.nn.Module"):
        unchecked(3, (3, 8, 8))


def test_kernels_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="nothing is left of the 2 positions of axis 0"):
        trace(nn.ConvTranspose1d(1, 1, 2, padding=2), (1, 2))
    with pytest.raises(InputError, match="a kernel of 3 is larger than the 1 positions of axis 0"):
        trace(nn.Conv1d(1, 1, 3), (1, 1))
    with pytest.raises(InputError, match="nothing is left of 1 positions"):
        trace(nn.Upsample(scale_factor=0.5, mode="linear"), (1, 1))
    with pytest.raises(InputError, match="a kernel of 1 axes on an input of 2"):
        trace(Plain(lambda x: torch.convolution(x, torch.ones(1, 1, 3), None, [1], [0], [1], False, [0], 1)), (1, 4, 4))


def test_a_layer_or_unit_that_is_not_there() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 8, 8))
    with pytest.raises(InputError, match="no layer of this path was executed: got 'conv'"):
        graph.find("conv")
    with pytest.raises(InputError, match="the network has no such input: got 'y'"):
        graph.receptive_field("0", input="y")
    with pytest.raises(InputError, match=r"one index an axis: expected 4 for shape \(1, 1, 6, 6\), got \(0, 0\)"):
        graph.receptive_field("0", (0, 0))
    with pytest.raises(InputError, match="there is no such unit: axis 2 of shape .* got 6"):
        graph.receptive_field("0", (0, 0, 6, 0))
    assert geometry.hull(graph.receptive_field("0", (0, 0, -1, 0))) == ((0, 0), (0, 0), (5, 7), (0, 2))


def check_fields(function: Any, shape: tuple[int, ...], *modules: nn.Module) -> None:
    """The exact fields of a function are what changes when an input value changes."""
    net = Plain(lambda x: function(x, *modules))
    torch.manual_seed(0)
    x = torch.rand(1, *shape)
    graph = trace(net, x)
    value = graph.find("")
    reached = torch.stack([(net(x + 9 * one.view_as(x)) != net(x)).flatten() for one in torch.eye(x.numel())])
    for unit, index in enumerate(itertools.product(*map(range, value.shape))):
        seen = torch.zeros_like(x, dtype=torch.bool)
        for box in graph.receptive_field("", index):
            seen[tuple(torch.tensor(list(i)).view(-1, *[1] * (x.dim() - 1 - a)) for a, i in enumerate(box))] = True
        assert torch.equal(seen.flatten(), reached[:, unit]), index


def total(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
    h = torch.zeros(x.shape)
    h += one(x)
    return two(x) + h


def only_total(x: Tensor) -> Tensor:
    h = torch.zeros(x.shape)
    return h.add_(x.roll(1, 2))


def scalar(x: Tensor) -> Tensor:
    mean = torch.tensor(0.0)
    mean.add_(x.mean())
    return x + mean.exp()


def slots(x: Tensor, device: str | None = None) -> Tensor:
    h = torch.zeros(x.shape, device=device or x.device)
    tail = h[:, :, 1:]
    h[:, :, 0] = x[:, :, 1]
    h[:, :, 1:] += x[:, :, :-1]
    return h * 1 + F.pad(tail, (1, 0))


def recurrent(x: Tensor) -> Tensor:
    h = torch.zeros(x.shape[0], 3, x.shape[2])
    for t in range(3):
        h[:, t] = x[:, 0] * (t + 1) + (h[:, t - 1].roll(1, 1) if t else 0)
    return h


def into(x: Tensor, like: Tensor) -> Tensor:
    out = like.new_empty(0 if like.dim() else x.shape)
    torch.add(x, x.roll(1, 2), out=out)
    return out * 2


def through_views(x: Tensor) -> Tensor:
    h = torch.zeros(x.shape)
    h.view(-1).detach().copy_((x * 2).view(-1))
    return h.flip(2)


def chosen(x: Tensor) -> Tensor:
    mask = torch.tensor([True, False, True])
    return x[:, mask] * 3 + x[:, mask.to(x.device).flip(0)]


@pytest.mark.parametrize(
    ("function", "shape", "modules"),
    [
        (total, (1, 5, 5), (nn.Conv2d(1, 1, 5, padding=2), nn.Conv2d(1, 1, 3, padding=1))),
        (only_total, (2, 4), ()),
        (scalar, (1, 4), ()),
        (slots, (2, 4), ()),
        (lambda x: slots(x, "cpu"), (2, 4), ()),
        (recurrent, (1, 4), ()),
        (lambda x: into(x, torch.zeros(())), (1, 4), ()),
        (lambda x: into(x, torch.zeros(1)), (1, 4), ()),
        (through_views, (1, 4), ()),
        (chosen, (3, 4), ()),
        (lambda x: F.scaled_dot_product_attention(*[x.view(-1, 2, 3, 2)] * 3), (6, 2), ()),
        (lambda x: F.scaled_dot_product_attention(x, x, x), (3, 2), ()),
    ],
)
def test_what_is_written_into_tensors_that_the_forward_made(function: Any, shape: Any, modules: Any) -> None:
    check_fields(function, shape, *modules)


def test_a_total_that_starts_on_the_cpu_widens_the_field() -> None:
    one, two = nn.Conv2d(1, 1, 5, padding=2), nn.Conv2d(1, 1, 3, padding=1)
    report = describe(Plain(lambda x: total(x, one, two)), (1, 16, 16))
    assert (report.layers[-1].receptive_field, report.training_problem) == ((5, 5), "")


def test_a_random_choice_of_indices_may_be_any() -> None:
    graph = trace(Plain(lambda x: x[:, torch.randperm(3)]), (3, 2))
    assert geometry.hull(graph.receptive_field("", (0, 0, 1))) == ((0, 0), (0, 2), (1, 1))


def test_attention_is_one_operation_and_causal_attention_sees_the_past() -> None:
    net = Plain(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True))
    report = describe(net, (8, 64, 16))
    assert [row.operation for row in report.layers] == ["attention"]
    assert report.macs == 2 * 8 * 64 * 64 * 16
    assert report.memory.inference_peak == 2 * 4 * 8 * 64 * 16  # the input and the output; no 64 x 64 pairs
    for time in range(0, 64, 9):
        [box] = report.graph.receptive_field("", (0, 3, time, 0))
        assert [list(i) for i in box[1:3]] == [[3], list(range(time + 1))]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_what_training_keeps_of_attention_is_what_torch_keeps(dropout: float) -> None:
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=dropout)
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.rand(2, 10, 8))
    total = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)
    assert describe(net, (10, 8)).memory.training_kept == total // 2


class Remembers(nn.Module):
    """Whatever a forward may leave in its module."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.codes = 0, None
        self.register_buffer("last", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.codes = torch.arange(3, device=x.device)
        self.last = x[0]
        self.new = x * torch.rand(1)
        return self.new + self.codes


def test_what_a_forward_leaves_in_a_module_goes_again() -> None:
    net = Remembers()
    random = torch.get_rng_state()
    describe(net, (3,))
    assert (net.calls, net.codes, net.last.device.type, hasattr(net, "new")) == (0, None, "cpu", False)
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(InputError):
        describe(nn.Sequential(net, nn.Linear(4, 4)), (3,))
    assert net.calls == 0


@pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning")
@pytest.mark.parametrize("wrap", [torch.nn.utils.weight_norm, torch.nn.utils.spectral_norm, prune.identity])
def test_weights_that_hooks_recompute_come_back(wrap: Any) -> None:
    net = wrap(nn.Conv2d(1, 2, 3), **({"name": "weight"} if wrap is prune.identity else {}))
    weight, state = net.weight.clone(), {name: value.clone() for name, value in net.state_dict().items()}
    describe(net, (1, 8, 8))
    assert torch.equal(net.weight, weight)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_shape_stands_for_numbers_as_the_network_has_them(dtype: torch.dtype) -> None:
    report = describe(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).to(dtype), (1, 8, 8))
    assert {row.dtype for row in report.layers} == {str(dtype).removeprefix("torch.")}
    assert report.layers[-1].activation_bytes == 2 * 6 * 6 * dtype.itemsize


def test_numbers_that_do_not_depend_on_the_input_decide() -> None:
    net = Plain(lambda x: x * 2 if net.scale > 0 and net.mask.any() else x)
    net.register_buffer("scale", torch.tensor(1.0))
    net.register_buffer("mask", torch.tensor([False, True]))
    assert [row.operation for row in describe(net, (3,)).layers] == ["mul"]


def test_numpy_integers_are_sides() -> None:
    assert describe(nn.ReLU(), tuple(np.array([3, 8, 8]))).layers[-1].shape == (3, 8, 8)


@dataclass
class Output:
    first: Tensor
    rest: dict[str, Any]


def test_outputs_in_containers() -> None:
    graph = trace(Plain(lambda x: Output(x * 2, {"more": [x + 1]})), (3,))
    assert [graph.nodes[value - 1].operation for value in graph.outputs] == ["mul", "add"]


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")
def test_wrapped_networks_are_unwrapped() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    paths = [row.path for row in describe(plain, (1, 8, 8)).layers]
    compiled = torch.compile(nn.Sequential(torch.compile(plain, backend="eager")), backend="eager")
    for wrapped in (nn.DataParallel(plain), compiled._orig_mod[0], compiled):
        report = describe(wrapped, (1, 8, 8))
        assert [row.path.removeprefix("0._orig_mod.") for row in report.layers] == paths
        assert report.network == "Sequential"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_compiled_programs_are_no_networks() -> None:
    exported = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)).module()
    for program in (torch.jit.script(nn.Flatten()), torch.jit.trace(nn.Flatten(), torch.zeros(1, 2)), exported):
        with pytest.raises(InputError, match="a compiled program cannot be traced: got .*Pass the nn.Module that"):
            trace(program, (2,))


def test_a_module_is_found_by_each_of_its_paths() -> None:
    net = nn.Module()
    net.one = net.two = nn.Sequential(nn.Conv2d(2, 2, 3))
    net.forward = lambda x: net.two(net.one(x))
    graph = trace(net, (2, 9, 9))
    assert graph.find("one.0") == graph.find("two.0") == graph.find("")
