"""What a user of `accelerate` sees: the same outputs for any input, the report, and each error."""

from __future__ import annotations

import copy
import inspect
import io
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from tests.geometry.networks import Random, networks  # type: ignore[import-not-found]
from torch import Tensor, nn

import striate
from striate import InputError, accelerate, acceleration
from striate.acceleration import REWRITES, Accelerated
from striate.acceleration import plan as planning
from striate.acceleration.fastest import arguments as arguments_of
from striate.acceleration.fastest import checked


@pytest.fixture(autouse=True)
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed second takes half as long: tests do not depend on the machine."""
    timed(monkeypatch, [2.0, 1.0])


def timed(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """Let the first and the second of two runs take these seconds."""

    def in_turn(runs: Sequence[Callable[[], object]], _: float) -> list[float]:
        for run in runs:
            run()
        return seconds

    monkeypatch.setattr("striate.acceleration.fastest.in_turn", in_turn)


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


def close(found: Tensor, wanted: Tensor) -> bool:
    found, wanted = found.detach(), wanted.detach()
    return float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


X = torch.rand(2, 3, 12, 12)


def test_outputs_are_equal_for_other_batches_sizes_and_layouts() -> None:
    model = small()
    fast = accelerate(model, X)
    for shape in ((2, 3, 12, 12), (5, 3, 12, 12), (1, 3, 12, 12), (2, 3, 17, 9)):
        x = torch.rand(shape)
        assert close(fast(x), model(x))
        assert close(fast(x.to(memory_format=torch.channels_last)), model(x))
        assert close(fast(x.mT.contiguous().mT), model(x))
    assert len(fast._plans) == 4


def test_only_the_latest_shapes_are_kept() -> None:
    fast = accelerate(small(), X)
    for size in range(8, 20):
        fast(torch.rand(1, 3, size, size))
    assert len(fast._plans) == 8


def test_the_report_says_what_was_done() -> None:
    report = accelerate(small(), X).report
    done = {row.layer: row.done for row in report.rows if row.done}
    assert done == {"0": ("pack",), "1": ("fold norms",), "4": ("pack",), "7": ("pack",)}
    assert report.gain == 2
    assert 0 < report.difference <= 1e-5
    kept = {step.rewrite: step.layers for step in report.steps if step.kept}
    assert kept.items() >= {"fold norms": 1, "pack": 3}.items()
    text = report.table()
    assert str(report) == text
    assert text.startswith("2.00× faster: 2000 -> 1000 ms a call on 2×3×12×12, ")
    assert "1      fold norms" in text
    assert text in report._repr_html_()
    assert json.loads(report.json())["rows"][0]["done"] == ["pack"]


def test_the_model_is_left_as_it_was() -> None:
    model = small()
    called: list[int] = []
    hook = model[0].register_forward_hook(lambda *_: called.append(1))
    weights = {name: (value.clone(), value._version) for name, value in model.state_dict().items()}
    fast = accelerate(model, X)
    assert {name: (value, value._version) for name, value in model.state_dict().items()}.keys() == weights.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name][0])
        assert value._version == weights[name][1]
    assert not any(module.training for module in model.modules())
    assert list(model[0]._forward_hooks) == [hook.id]
    assert all(parameter.requires_grad for parameter in model.parameters())
    wanted = model(X).detach()
    with torch.no_grad():
        model[0].weight.zero_()
    assert close(fast(X), wanted)  # the weights as they were
    assert not fast(X).requires_grad


def test_other_weights_since_then_are_seen_at_a_new_shape() -> None:
    model = small()
    fast = accelerate(model, X)
    with torch.no_grad():
        model[0].weight.zero_()
    with pytest.raises(InputError, match="its weights have changed since: Sequential. Accelerate it again"):
        fast(torch.rand(1, 3, 14, 14))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), "saved"], ids=["deepcopy", "pickle", "save"]
)
def test_it_can_be_copied_and_saved(copied: Any) -> None:
    model = small()
    fast = accelerate(model, X)
    if copied == "saved":
        file = io.BytesIO()
        torch.save(fast, file)
        file.seek(0)
        again = torch.load(file, weights_only=False)
    else:
        again = copied(fast)
    assert close(again(X), model(X))
    assert again.report == fast.report
    assert fast.state_dict().keys() == model.state_dict().keys()


class Several(nn.Module):
    """Several inputs by position and name, several outputs that nest, one of them no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)

    def forward(self, x: Tensor, y: Tensor | None = None, *, scale: float = 1.0) -> dict[str, Any]:
        z = self.conv(x) * scale
        return {"z": z, "pair": (z if y is None else z + self.conv(y), x), "name": "conv", "none": None}


def test_nested_outputs_and_several_inputs() -> None:
    model, x = Several().eval(), torch.rand(1, 2, 9)
    for example in ((x, x), {"x": x, "y": x}, {"x": x, "scale": 3.0}):
        fast = accelerate(model, example)
        args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
        found, wanted = fast(*args, **kwargs), model(*args, **kwargs)
        assert found.keys() == wanted.keys()
        assert (found["name"], found["none"]) == ("conv", None)
        assert close(found["z"], wanted["z"])
        assert close(found["pair"][0], wanted["pair"][0])
        assert torch.equal(found["pair"][1], x)
    assert close(fast(x, scale=5.0)["z"], model(x, scale=5.0)["z"])


def test_outputs_can_be_viewed_as_before() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1)).eval()
    fast = accelerate(model, torch.rand(2, 3, 20))
    assert fast(torch.rand(2, 3, 20)).view(-1).shape == (2 * 2 * 18,)


def test_shared_layers_and_weights() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    tied = nn.Conv2d(3, 3, 3, padding=1)
    tied.weight = conv.weight
    model = nn.Sequential(conv, nn.ReLU(), conv, nn.BatchNorm2d(3), conv, tied).eval()
    assert close(accelerate(model, X)(X), model(X))


def test_double_precision_and_no_items() -> None:
    model = small().double()
    assert close(accelerate(model, X.double())(X.double()), model(X.double()))
    assert accelerate(small(), X)(torch.rand(0, 3, 12, 12)).shape == (0, 5)


def test_autocast_has_no_effect() -> None:
    model = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = accelerate(model, X)
        assert close(fast(X), small()(X).float()) is False  # the network itself is in bfloat16 here
        found = [fast(X), fast(X[:1])]
    assert close(found[0], model(X))
    assert close(found[1], model(X[:1]))
    assert close(fast(X[:1]), model(X[:1]))


def test_within_inference_mode() -> None:
    model = small()
    with torch.inference_mode():
        fast = accelerate(model, torch.rand(2, 3, 12, 12))
        assert close(fast(X), model(X))
        assert close(fast(torch.rand_like(X[:1]).copy_(X[:1])), model(X[:1]))
    assert close(fast(X), model(X))


@settings(deadline=None, max_examples=25)
@given(networks)
def test_random_networks(network: Any) -> None:
    rank, sizes, plan = network
    model = Random(rank, plan).float().eval()
    x = torch.rand(2, 2, *sizes[:rank])
    with torch.no_grad():
        call = planning.Call(*torch.utils._pytree.tree_flatten(((x,), {})))
        plain, wanted = planning.captured(model, call)
        found = planning.rewritten(plain, list(REWRITES), call, wanted, 1e-5)
        assert [step for step in found.steps if step.reason not in ("", "nothing to do")] == []
        assert planning.difference([found([x])], [model(x)]) <= 1e-5


def test_a_wrong_rewrite_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(module: torch.fx.GraphModule) -> list[str]:
        for node in list(module.graph.nodes):
            if node.target is torch.ops.aten.relu.default:
                node.target = torch.ops.aten.sigmoid.default
        return ["2"]

    def broken(_: torch.fx.GraphModule) -> list[str]:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(planning, "REWRITES", {**REWRITES, "fold norms": wrong, "signals as rows": broken})
    model = small()
    fast = accelerate(model, X)
    reasons = {step.rewrite: step.reason for step in fast.report.steps}
    assert reasons["fold norms"].startswith("outputs differ by ")
    assert reasons["signals as rows"] == "failed: RuntimeError: no such layer"
    assert "fold norms" not in fast.rewrites
    assert close(fast(X), model(X))


def test_a_tolerance_that_is_too_small_leaves_rewrites_out() -> None:
    fast = accelerate(small(), X, tolerance=0)
    assert all(step.kept or step.reason.startswith(("outputs differ by ", "nothing")) for step in fast.report.steps)
    assert fast.report.difference == 0


def test_what_does_not_pay_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, [1.0, 1.5])
    model = small()
    fast = accelerate(model, X)
    assert fast.report.gain == 1
    assert fast.rewrites == ()
    assert not any(row.done for row in fast.report.rows)
    assert torch.equal(fast(X), model(X))
    assert torch.equal(fast(X[:1]), model(X[:1]))
    assert "1.00× faster" in fast.report.table()


def test_a_network_that_gains_nothing_says_why_and_stays_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, [1.0, 1.5])
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    fast = accelerate(model, X, rewrites=["fold norms"])
    assert [(step.rewrite, step.kept, step.reason) for step in fast.report.steps[1:]] == [
        ("fold norms", False, "not faster with all")
    ]
    wanted = model(X).detach()
    model.train()
    assert torch.equal(fast(X), wanted)
    assert model.training
    assert not model[1].num_batches_tracked


def test_it_prints_its_report() -> None:
    fast = accelerate(small(), X)
    assert str(fast) == f"Accelerated Sequential: {fast.report.table()}"


def test_a_shape_for_which_a_rewrite_is_wrong_runs_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: torch.fx.GraphModule) -> list[str]:
        raise RuntimeError("not of this shape")

    model = small()
    fast = accelerate(model, X)
    monkeypatch.setattr(planning, "REWRITES", dict.fromkeys(REWRITES, broken))
    with pytest.warns(UserWarning, match="for this input .* left out: fold norms: failed: RuntimeError: not"):
        found = fast(X[:1])
    assert torch.equal(found, model(X[:1]))


def test_memory_is_kept_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("striate.acceleration.fastest.keep_pages", lambda: bool(asked.append(1)) or True)
    steps = accelerate(small(), X, keep_memory=False).report.steps
    assert (steps[0].rewrite, steps[0].kept, asked) == ("keep memory", False, [])
    assert accelerate(small(), X).report.steps[0].kept
    assert asked == [1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as the C library of Linux does it")
def test_memory_that_was_freed_is_taken_again() -> None:
    import resource

    if not acceleration.pages.keep_pages():
        pytest.skip("no glibc")
    faults = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(16 << 20)  # 64 MB: more than glibc keeps by itself
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults[1:]) < 16


def test_memory_elsewhere_than_in_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not acceleration.pages.keep_pages()


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Branches(),
            "this network cannot be captured: Branches: got .*torch.where for a choice by numbers",
        ),
        (Counts(), "this network changes its own state: calls. Its results depend on the calls before"),
        (Draws(), "this network does not return the same twice: Draws: got a difference of .*draws no random numbers"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_that_cannot_be_captured(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        accelerate(model.eval(), X)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("resnet50", X), {}, r"this is no network: expected a torch.nn.Module, got .*striate.build\(name\)"),
        ((nn.ReLU(), X), {}, r"a network in training mode cannot be accelerated: ReLU. Call model.eval\(\) first"),
        ((nn.Sequential(nn.ReLU().eval(), nn.ReLU()).eval().append(nn.Tanh()), X), {}, "cannot be accelerated: 2"),
        (
            (nn.ReLU().eval(), 3),
            {},
            r"no example input: expected a tensor, or a tuple or dict of them, got",
        ),
        ((nn.ReLU().eval(), X.to("meta")), {}, "an example needs numbers: got a tensor on meta"),
        ((nn.ReLU().eval(), X), {"tolerance": -1.0}, "a tolerance is relative: tolerance: expected 0 to 1, got -1"),
        ((nn.ReLU().eval(), X), {"seconds": -1.0}, "no time to measure in: seconds: expected 0 or more, got -1"),
        (
            (nn.ReLU().eval(), X),
            {"rewrites": ["fold norm"]},
            "unknown rewrite: got 'fold norm'. Did you mean fold",
        ),
    ],
)
def test_wrong_arguments(arguments: Any, options: Any, message: str) -> None:
    checks: Any = inspect.unwrap(checked), inspect.unwrap(arguments_of)  # the tests' own type checks would speak first

    def check_both() -> None:
        checks[0](arguments[0], **{"tolerance": 0.1, "seconds": 1.0, "rewrites": None, **options})
        checks[1](arguments[1])

    with pytest.raises(InputError, match=message):
        check_both()


def test_what_an_accelerated_network_does_not_do() -> None:
    fast = accelerate(small(), X)
    with pytest.raises(InputError, match="an accelerated network gives no gradients: got an input that asks for them"):
        fast(X.clone().requires_grad_())
    with pytest.raises(InputError, match="an accelerated network has no training mode. Train the network"):
        fast.train()
    with pytest.raises(InputError, match="an accelerated network keeps its device and precision. Move or convert"):
        fast.double()
    with pytest.raises(InputError, match="an accelerated network takes no other weights. Load into the network"):
        fast.load_state_dict({})
    with pytest.raises(InputError, match="this network is accelerated already. Pass the one"):
        accelerate(fast, X)
    assert fast.eval() is fast
    with pytest.raises(InputError, match="cannot take this input: at layer 0 .*expected input"):
        fast(torch.rand(1, 4, 12, 12))


def test_the_name_at_the_top() -> None:
    assert striate.accelerate is acceleration.accelerate
    assert isinstance(striate.accelerate(small(), X), Accelerated)


LARGE = ("resnet18", "mobilenet_v2", "densenet121", "wavenet", "googlenet", "inception_v3", "vgg11", "unet", "deepsea")


@pytest.mark.parametrize(
    "name", ["lenet5", "basset", "deepbind", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_networks_of_the_zoo(name: str) -> None:
    entry = striate.zoo.ARCHITECTURES[name]
    model = striate.build(name).eval()
    shape = (entry.input[0], *(min(size, max(64, entry.least)) for size in entry.input[1:]))
    torch.manual_seed(0)
    x = torch.randn(2, *(entry.input if name in ("lenet5", "basset", "deepsea", "vgg11") else shape))
    fast = accelerate(model, x)
    assert [s for s in fast.report.steps[1:] if s.reason.startswith(("failed", "outputs"))] == []
    with torch.no_grad():
        one, two = (torch.utils._pytree.tree_leaves(net(x[:1])) for net in (fast, model))
    assert planning.difference(one, two) <= 1e-5


def test_an_example_that_does_not_fit_names_the_layer_and_its_own_error() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(16, 2)).eval()
    message = r"cannot take this input: at layer 2 \(Linear\): got 1x3x9x9: mat1 and mat2 shapes .*\. Pass an input as"
    with pytest.raises(InputError, match=message):
        accelerate(net, torch.rand(1, 3, 9, 9))
    fast = accelerate(net, torch.rand(1, 3, 6, 6), seconds=0)
    with pytest.raises(InputError, match=r"cannot take this input: at layer 0 \(Conv2d\): got 1x3x4x4"):
        fast(torch.rand(1, 3, 4, 4))
