"""Step by step is the full run: random networks, the zoo, borders, states, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate import zoo
from striate.errors import InputError
from striate.locality import Stream, stream
from striate.locality.stream import signals

C = 4
CAUSAL = ["conv", "conv", "chomp", "grouped", "norm", "relu", "gate", "add", "add", "cat", "max", "shift", "tokens"]
CAUSAL += ["linear", "scale", "inplace", "prelu", "gelu", "half", "constant", "softmax"]
LOOKING = ["same", "same", "transposed", "average", "highest", "valid", "crop", "crop_both", "pad", "unchomped"]
numbers = st.integers(0, 3)


def plans(names: list[str]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.tuples(st.sampled_from(names), numbers, numbers, numbers), min_size=1, max_size=8)


class Random(nn.Module):
    """Applies the steps to what was made so far; one that does not fit the lengths is left out."""

    def __init__(self, plan: list[Any], seed: int = 0) -> None:
        super().__init__()
        self.plan, self.numbers = plan, nn.Parameter(torch.zeros(1))  # there may be no others
        torch.manual_seed(seed)
        self.parts = nn.ModuleList(self.part(*step) for step in plan)

    def part(self, name: str, a: int, b: int, _c: int) -> nn.Module:
        kernel, dilation = 1 + (a + b) % 5, 1 + b
        if name in ("conv", "chomp", "same", "valid", "unchomped", "grouped"):
            groups = {0: 2, 1: C}.get(a % 3, 1) if name == "grouped" else 1
            padding = {"chomp": (kernel - 1) * dilation, "unchomped": kernel - 1, "same": kernel // 2}.get(name, 0)
            return nn.Conv1d(C, C, kernel, dilation=dilation, padding=padding, groups=groups, bias=b != 1)
        if name == "transposed":
            return nn.ConvTranspose1d(C, C, kernel, padding=min(a, kernel - 1))
        if name == "norm":
            norm = nn.BatchNorm1d(C, affine=a != 1)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            return norm
        parts = {
            "gate": lambda: nn.Conv1d(C, 2 * C, 1),
            "cat": lambda: nn.Conv1d(2 * C, C, 1),
            "linear": lambda: nn.Linear(C, C, bias=a != 1),
            "tokens": lambda: nn.LayerNorm(C),
            "prelu": lambda: nn.PReLU(C, init=0.3),
            "max": lambda: nn.MaxPool1d(1 + a, 1, dilation=dilation),
            "highest": lambda: nn.MaxPool1d(2 + a, 1, padding=1),
            "average": lambda: nn.AvgPool1d(2 + a, 1, padding=1),
        }
        return parts.get(name, nn.Identity)()

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for (name, a, b, c), part in zip(self.plan, self.parts, strict=True):
            one, two = made[-1], made[-1 - c % len(made)]
            out = self.apply_step(name, a, b, part, one, two)
            if out is not None and out.shape[2] > 0:
                made.append(out)
        return made[-1]

    def apply_step(self, name: str, a: int, b: int, part: Any, x: Tensor, y: Tensor) -> Tensor | None:
        if name in ("conv", "grouped", "max"):
            dilation = getattr(part, "dilation", 1)
            kernel = part.kernel_size
            reach = ((kernel if isinstance(kernel, int) else kernel[0]) - 1) * (
                dilation if isinstance(dilation, int) else dilation[0]
            )
            return part(F.pad(x, (reach, 0), value=0.5 if a == 3 else 0.0))
        if name == "chomp":
            return part(x)[:, :, : -part.padding[0] or None]
        if name in ("add", "cat"):
            if x.shape != y.shape:
                return None
            return x + y if name == "add" else part(torch.cat([y, x], 1))
        if name == "gate":
            filtered, gate = part(x).chunk(2, 1)
            return filtered.tanh() * gate.sigmoid()
        if name == "crop_both":
            return x[:, :, a : -b or None]
        if name == "crop":
            return x[:, :, a:] if b % 2 else x[:, :, : -a or None]
        functions: dict[str, Callable[[], Tensor]] = {
            "relu": x.relu,
            "gelu": lambda: F.gelu(x),
            "inplace": lambda: F.leaky_relu(x * 2, 0.1, inplace=True),
            "shift": lambda: F.pad(x, (1 + a, 0))[:, :, : -1 - a],
            "tokens": lambda: part(x.transpose(1, 2)).transpose(1, 2),
            "linear": lambda: part(x.transpose(1, 2)).transpose(1, 2),
            "scale": lambda: 1 - x * torch.linspace(0.5, 2, C, dtype=x.dtype)[:, None],
            "half": lambda: torch.cat([x[:, C // 2 :], x[:, : C // 2] + 1], 1),
            "constant": lambda: x - 0.25 + torch.linspace(0, 1, C, dtype=x.dtype)[None, :, None],
            "softmax": lambda: x.softmax(1),
            "pad": lambda: F.pad(x, (a, b), value=0.5 * (a % 2)),
        }
        return functions[name]() if name in functions else part(x)


@torch.no_grad()
def by_steps(running: Stream, x: Tensor) -> Tensor:
    """All steps, and what comes after the end."""
    return torch.cat([running.run(x), running.flush()], 2)


@torch.no_grad()
def error(net: nn.Module, running: Stream, x: Tensor) -> float:
    """Largest difference between the steps and the full run, relative to the scale of that."""
    full, steps = net(x), by_steps(running, x)
    assert full.shape == steps.shape
    return float((full - steps).abs().max() / full.abs().max().clamp_min(1e-3)) if full.numel() else 0.0


@settings(max_examples=100, deadline=None)
@given(plans(CAUSAL), st.integers(1, 3), st.integers(1, 40))
def test_a_causal_network_step_by_step_is_the_full_run(plan: list[Any], streams: int, length: int) -> None:
    net = Random(plan).double().eval()
    running = stream(net, C, streams=streams)
    assert running.delay == 0
    assert error(net, running, torch.randn(streams, C, length, dtype=torch.float64)) < 1e-10


@settings(max_examples=120, deadline=None)
@given(plans([*CAUSAL, *LOOKING, *LOOKING]), st.integers(1, 2), st.integers(0, 30))
def test_a_network_that_looks_ahead_is_late_by_its_delay_and_flushes_the_rest(
    plan: list[Any], streams: int, more: int
) -> None:
    net = Random(plan).double().eval()
    running = stream(net, C, streams=streams, look_ahead=True)
    length = 1 + more + sum(16 for name, *_ in plan if name in LOOKING)
    x = torch.randn(streams, C, length, dtype=torch.float64)
    for _ in range(2):  # from the start again
        assert error(net, running, x) < 1e-10
        running.reset()
    given = [running.step(x[:, :, t]) is not None for t in range(length)]
    assert given == [t >= running.delay for t in range(length)]


@settings(max_examples=40, deadline=None)
@given(plans(CAUSAL))
def test_in_single_precision(plan: list[Any]) -> None:
    net = Random(plan).eval()
    assert error(net, stream(net, C, streams=2), torch.randn(2, C, 30)) < 1e-5


ZOO = {
    "wavenet": ({"stacks": 2, "layers": 4, "residual": 6, "skip": 5, "in_channels": 3}, "", 0),
    "tcn": ({"hidden": 6, "levels": 3, "kernel": 3, "in_channels": 3, "each_step": True}, "", 0),
    "bpnet": ({"width": 0.1, "layers": 4, "in_channels": 3}, "profile", 12 + 30 + 12),
    "ts_fcn": ({"width": 0.1, "in_channels": 3}, "features", None),
    "ts_resnet": ({"width": 0.1, "in_channels": 3}, "blocks", None),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo(name: str) -> None:
    options, layer, delay = ZOO[name]
    torch.manual_seed(0)
    net = zoo.build(name, **options).double().train()
    running = stream(net, 3, streams=2, look_ahead=delay != 0, layer=layer)
    assert all(module.training for module in net.modules())  # left as it was
    net.eval()
    assert delay is None or running.delay == delay
    whole = net.get_submodule(layer)
    kept: list[Tensor] = []
    with whole.register_forward_hook(lambda _m, _a, out: kept.append(out)), torch.no_grad():
        x = torch.randn(2, 3, 90, dtype=torch.float64)
        net(x)
    torch.testing.assert_close(by_steps(running, x), kept[0], rtol=1e-10, atol=1e-10)


def test_conditions_are_further_signals_or_the_same_for_all_steps() -> None:
    torch.manual_seed(0)
    net = zoo.build("wavenet", **ZOO["wavenet"][0], global_channels=2, local_channels=3).double().eval()
    x, f = (torch.randn(2, 3, 40, dtype=torch.float64) for _ in range(2))
    speaker = torch.randn(2, 2, dtype=torch.float64)
    running = stream(net, {"x": 3, "features": 3}, streams=2, conditions={"speaker": speaker})
    with torch.no_grad():
        torch.testing.assert_close(running.run(x, features=f), net(x, speaker, f), rtol=1e-10, atol=1e-10)
    with pytest.raises(InputError, match="one tensor for each signal: expected features, got none besides the first"):
        running.step(x[:, :, 0])


def small(name: str = "wavenet") -> nn.Module:
    torch.manual_seed(0)
    return zoo.build(name, **ZOO[name][0]).double().eval()


def test_streams_are_independent_and_keep_their_state_between_calls() -> None:
    net = small()
    x = torch.randn(3, 3, 50, dtype=torch.float64)
    together = stream(net, 3, streams=3)
    whole = by_steps(together, x)
    for item in range(3):
        alone = stream(net, 3)
        parts = [alone.run(piece) for piece in x[item : item + 1].split([7, 1, 30, 12], 2)]
        torch.testing.assert_close(torch.cat(parts, 2)[0], whole[item], rtol=1e-10, atol=1e-12)


def test_a_result_is_not_overwritten_and_takes_no_part_in_gradients() -> None:
    running = stream(small(), 3)
    x = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)
    first = running.step(x[:, :, 0])
    kept = first.clone()
    running.step(x[:, :, 1])
    assert torch.equal(first, kept)
    assert not first.requires_grad
    assert not first.is_inference()


def test_a_slice_of_all_items_is_none() -> None:
    net, x = Apply(lambda x: x.narrow(0, 0, len(x)).relu()).double(), torch.randn(2, 3, 9, dtype=torch.float64)
    assert error(net, stream(net, streams=2), x) < 1e-10


def test_made_and_run_in_inference_mode() -> None:
    net, x = small(), torch.randn(1, 3, 20, dtype=torch.float64)
    with torch.inference_mode():
        assert error(net, stream(net, 3), x) < 1e-10


def test_what_a_stream_costs_does_not_grow_with_the_field() -> None:
    calls = [len(stream(small_wavenet(layers), 3).program.calls) for layers in (4, 5, 6)]
    assert calls[1] - calls[0] == calls[2] - calls[1]  # dilations 1 to 8, 16, 32: one layer more each


def small_wavenet(layers: int) -> nn.Module:
    return zoo.build("wavenet", in_channels=3, stacks=1, layers=layers, residual=6, skip=5)


def test_a_wrong_delay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: were each lag off by one, the comparison above would say so."""
    net, x = small(), torch.randn(1, 3, 30, dtype=torch.float64)
    assert error(net, stream(net, 3), x) < 1e-10
    right = signals.Node.lag
    monkeypatch.setattr(signals.Node, "lag", lambda node, read: right(node, read) + bool(right(node, read)))
    assert error(net, stream(net, 3), x) > 1e-3


def test_padding_at_a_layer_is_not_padding_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: rings that begin with what the layers make of silence, instead of zeros, give other first steps."""
    net = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.Sigmoid(), nn.Conv1d(2, 1, 3, padding=1)).double()
    x = torch.randn(1, 1, 9, dtype=torch.float64)
    assert error(net, stream(net, look_ahead=True), x) < 1e-10
    monkeypatch.setattr(signals.Node, "fill", property(lambda _: None, lambda *_: None), raising=False)
    assert error(net, stream(net, look_ahead=True), x) > 1e-3


# What is refused


class Apply(nn.Module):
    """A function as a network, after a causal convolution."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv1d(3, 4, 1), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x))


def written_through(x: Tensor) -> Tensor:
    half = x[:, :2]
    half.relu_()
    return x


def looked_at(x: Tensor) -> Tensor:
    return x * 2 if x.mean() > 0 else x


class Middle(nn.Module):
    """A channel of the steps that are left by a border of 10, from one that the length tells."""

    def forward(self, x: Tensor) -> Tensor:
        start = x.shape[2] % 7
        return x[:, :, start : start + x.shape[2] - 10]


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "ahead": (
        nn.Sequential(nn.Conv1d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv1d(4, 4, 3, padding=1)),
        r"not causal: layer 0 \(Conv1d\), aten::convolution looks 2 ahead: expected .*, got outputs that wait for 3 "
        "more. Pass look_ahead=True: step t returns output t - 3",
    ),
    "stride": (
        nn.Sequential(nn.Conv1d(3, 4, 2, stride=2)),
        r"layer 0 \(Conv1d\), aten::convolution does not keep one step for each step. Without strides",
    ),
    "pool": (nn.Sequential(nn.Conv1d(3, 4, 1), nn.MaxPool1d(2)), r"layer 1 \(MaxPool1d\), .*one step for each step"),
    "global": (
        nn.Sequential(nn.Conv1d(3, 4, 1), nn.AdaptiveAvgPool1d(1)),
        r"layer 1 \(AdaptiveAvgPool1d\), aten::\w+ has no axis of time left: it reads all steps at once",
    ),
    "last": (
        Apply(lambda x: x[:, :, -1]),
        r"aten::select has no axis of time left.* stream\(model, layer=…\), or build",
    ),
    "items": (Apply(lambda x: x.mean(0)), "aten::mean mixes the items of a batch. Let each item"),
    "merged": (
        Apply(lambda x: x.transpose(1, 2).reshape(len(x), 4, -1)),
        "view mixes time with channels. Transpose, instead of a view",
    ),
    "group norm": (Apply(nn.GroupNorm(2, 4)), "aten::native_group_norm has no rule along time. Leave"),
    "statistics": (
        Apply(nn.InstanceNorm1d(4)),
        r"layer function \(InstanceNorm1d\), aten::view does not keep one step for each step",
    ),
    "no statistics": (
        Apply(nn.BatchNorm1d(4, track_running_stats=False)),
        "native_batch_norm takes its statistics from all steps. Track running statistics",
    ),
    "softmax over time": (Apply(lambda x: x.softmax(2)), "aten::_softmax reads several steps at once"),
    "reversed": (Apply(lambda x: x.flip(2)), "aten::flip reads several steps at once"),
    "from the end": (Apply(lambda x: x[:, :, -5:]), "aten::slice has no axis of time left: it reads all"),
    "every other": (Apply(lambda x: x[:, :, ::2]), "aten::slice does not keep one step"),
    "some": (Apply(lambda x: x[1:]), "aten::slice does not keep one step for each step"),
    "end": (Apply(lambda x: x[:, :, x.shape[2] // 3 :]), "aten::slice does not keep one step for each step"),
    "2-d": (
        Apply(lambda x: F.conv2d(x[:, None], torch.ones(1, 1, 1, 1))),
        "aten::convolution is no convolution of a signal \\(n, c, t\\)",
    ),
    "pad channels": (Apply(lambda x: F.pad(x, (0, 0, 1, 0))), "aten::constant_pad_nd pads other axes than time"),
    "max over channels": (
        Apply(lambda x: F.max_pool2d(x, (2, 1))),
        "aten::max_pool2d_with_indices pools over two axes",
    ),
    "borders": (
        Apply(nn.AvgPool1d(3, 1, padding=1, count_include_pad=False)),
        "divides by another number at the borders. Let the padding count",
    ),
    "constant": (
        Apply(lambda x: torch.cat([x, torch.ones(len(x), 1, x.shape[2])], 1)),
        "aten::cat joins a signal and a constant",
    ),
    "in time": (Apply(lambda x: torch.cat([x, x], 2)), "aten::cat does not keep one step for each step"),
    "positions": (Apply(lambda x: x * torch.arange(x.shape[2])), "aten::mul has a constant for each step"),
    "view written": (Apply(written_through), "returns one tensor, .* got one that does not depend on the input"),
    "indices": (
        Apply(lambda x: x * F.max_pool1d(x, 1, 1, return_indices=True)[1]),
        r"aten::mul reads what is not known here \(indices, or written in place\). Write",
    ),
    "integers": (Apply(lambda x: (x > 0) * x), "aten::gt returns torch.bool. Stream a network of one dtype"),
    "split time": (
        Apply(lambda x: x.split([10, x.shape[2] - 10], 2)[1]),
        "aten::split_with_sizes has no axis of time left",
    ),
    "one part": (
        Apply(lambda x: x.split(x.shape[2], 2)[0]),
        "aten::split splits another axis than the features. Split the channels only",
    ),
    "split second": (
        Apply(lambda x: x.unflatten(1, (2, 2)).split([1, 1], 2)[0][:, :, 0]),
        "splits the second axis of features. Split the first",
    ),
    "join second": (
        Apply(lambda x: torch.cat([x.unflatten(1, (2, 2))] * 2, 2).flatten(1, 2)),
        "aten::cat joins along another axis than the features",
    ),
    "scaled bias": (
        Apply(lambda x: torch.addmm(torch.ones(4), x.transpose(1, 2).reshape(-1, 4), torch.ones(4, 4), beta=2)),
        "aten::addmm is no linear layer. Write it as a linear layer",
    ),
    "by the length": (
        Apply(lambda x: x / x.shape[2]),
        r"aten::div has a constant that depends on the length \(or the b",
    ),
    "by its root": (Apply(lambda x: x * x.shape[-1] ** -0.5), "aten::mul has a constant that depends on the length"),
    "plus the length": (
        Apply(lambda x: x + x.shape[2]),
        "aten::add has a constant that .*Use one that is always the same",
    ),
    "length in a tensor": (
        Apply(lambda x: x * torch.full((4, 1), float(x.shape[2]))),
        "aten::mul has a constant that depends",
    ),
    "steps added": (
        Apply(lambda x: x + torch.ones(x.shape[2])),
        "aten::add has a constant for each step. Give it as an",
    ),
    "padding by length": (
        Apply(lambda x: F.pad(x, (x.shape[2] % 7, -(x.shape[2] % 7)))),
        "aten::constant_pad_nd has a constant that depends on the length",
    ),
    "channel by length": (
        Apply(lambda x: x.narrow(1, x.shape[2] % 7 // 3, 2)),
        "aten::slice begins at a place that depends on the length. Count from the start",
    ),
    "start by length": (
        nn.Sequential(nn.Conv1d(3, 4, 1), Middle()),
        r"layer 1 \(Middle\), aten::slice begins at a place that depends on the length. Count from the start",
    ),
    "by the batch": (Apply(lambda x: x / len(x)), "aten::div has a constant that depends on the length"),
    "item": (
        Apply(lambda x: x / x.abs().max().item()),
        r"itself \(Apply\), aten::_local_scalar_dense looks at the numbers in a tensor, which here are not",
    ),
    "branch": (Apply(looked_at), r"numbers in a tensor, which .* Replace branches and \.item\(\) by tensor operations"),
    "two": (Apply(lambda x: (x, x.relu())), "returns one tensor, .* got 2 tensors"),
    "none": (Apply(lambda _: torch.ones(3)), "got one that does not depend on the input"),
    "length": (Apply(lambda x: x.relu() if x.shape[2] > 120 else x), "operations depend on the length .* got Apply"),
    "matrix": (
        Apply(lambda x: torch.baddbmm(x, x, x.new_ones(len(x), x.shape[2], x.shape[2]))),
        "aten::new_ones has no rule along time. Leave",
    ),
    "no linear": (Apply(lambda x: torch.einsum("nct,ndt->ncd", x, x)), "aten::bmm has no axis of time left"),
    "size": (
        nn.Sequential(nn.Conv1d(3, 4, 1), nn.Flatten(), nn.Linear(40, 2)),
        r"layer 1 \(Flatten\), .* does not keep one step",
    ),
    "linear": (nn.Sequential(nn.Conv1d(3, 4, 1), nn.Linear(40, 2)), r"layer 1 \(Linear\), .* does not keep one step"),
    "channels": (
        nn.Sequential(nn.Conv1d(5, 4, 1)),
        r"takes no such signals: input \(2, 3, 50021\): got .* Say the channels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_streamed_is_said_with_the_layer(name: str) -> None:
    net, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        stream(net, 3)


def test_numbers_of_constants_may_be_looked_at() -> None:
    """Also of those that a signal has met."""
    scale = torch.full((4, 1), 2.0, dtype=torch.float64)
    net, x = Apply(lambda x: x * scale + scale.max().item()).double(), torch.randn(1, 3, 9, dtype=torch.float64)
    assert error(net, stream(net), x) < 1e-10


def test_a_frozen_network() -> None:
    net = Random([("conv", 2, 0, 0), ("linear", 0, 0, 0), ("gate", 0, 0, 0)]).double().eval().requires_grad_(False)
    assert error(net, stream(net, C), torch.randn(1, C, 20, dtype=torch.float64)) < 1e-10


def test_within_the_handling_of_another_error() -> None:
    net, x = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.ReLU()).double(), torch.randn(1, 3, 9, dtype=torch.float64)
    try:
        stream(net)
    except InputError:
        assert error(net, stream(net, look_ahead=True), x) < 1e-10
        assert stream(net, look_ahead=True, layer="0").delay == 1


def test_a_network_that_is_trained_on_does_not_change_a_stream() -> None:
    torch.manual_seed(0)
    names = ["conv", "grouped", "norm", "prelu", "tokens", "gate", "linear", "conv", "add", "max"]
    net = Random([(name, 2, 0, 1) for name in names]).double().eval()
    net.parts[0] = nn.Conv1d(C, C, 1).double()
    x = torch.randn(2, C, 20, dtype=torch.float64)
    running = stream(net, C, streams=2)
    before = by_steps(running, x)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.mul_(3).add_(1)
        full = net(x)
    running.reset()
    assert torch.equal(by_steps(running, x), before)
    assert (full - before).abs().max() > 1e-3
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_bad_arguments() -> None:
    net = small()
    with pytest.raises(InputError, match="there is at least one stream: got 0"):
        stream(net, 3, streams=0)
    with pytest.raises(InputError, match=r"no Conv1d that tells its channels. Say its channels: stream\(model"):
        stream(nn.Linear(3, 3))
    with pytest.raises(InputError, match="no layer of this path: got 'layers.9'. Did you mean layers."):
        stream(net, 3, layer="layers.9")
    net.spare = nn.Conv1d(1, 1, 1)
    with pytest.raises(InputError, match="the layer was not executed: spare"):
        stream(net, 3, layer="spare")
    with pytest.raises(InputError, match="a condition has one item a stream: speaker: expected 2, got 3"):
        stream(net, 3, streams=2, conditions={"speaker": torch.zeros(3, 2)})


def test_wrong_steps() -> None:
    running = stream(small(), 3, streams=2)
    for shape in ((2, 4), (3, 3), (1, 3)):
        message = rf"shape \(streams, channels\): expected \(2, 3\), got \({shape[0]}, {shape[1]}\)"
        with pytest.raises(InputError, match=message):
            running.step(torch.zeros(shape, dtype=torch.float64))
    running.flush()
    for call in (running.flush, lambda: running.step(torch.zeros(2, 3, dtype=torch.float64))):
        with pytest.raises(InputError, match=r"the stream has ended. Call reset\(\) to begin another"):
            call()
    running.reset()
    assert running.step(torch.zeros(2, 3, dtype=torch.float64)) is not None


class Fails(nn.Module):
    """Draws a random number, and dies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 1)

    def forward(self, _: Tensor) -> Tensor:
        torch.rand(1)
        raise KeyError("gone")


def test_the_network_and_chance_are_left_as_they_were_even_after_an_error() -> None:
    net = Fails().train()
    before = torch.random.get_rng_state()
    with pytest.raises(KeyError, match="gone"):
        stream(net)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert net.training
    assert net.conv.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_first_fill_of_minus_infinity_reaches_no_output() -> None:
    net = nn.Sequential(nn.Conv1d(3, 4, 1), nn.MaxPool1d(3, 1, padding=1), nn.Conv1d(4, 4, 3, padding=1)).double()
    running = stream(net, look_ahead=True)
    assert math.isfinite(by_steps(running, torch.randn(1, 3, 5, dtype=torch.float64)).sum())
