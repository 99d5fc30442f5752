from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from striate import InputError, build
from striate.port import load
from striate.port.weights import SPELLINGS


def filled(name: str, seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, **options)


def test_equal_names_are_loaded_as_they_are(tmp_path: Path) -> None:
    theirs, ours = filled("mnist_fast"), filled("mnist_fast", 1)
    state = theirs.state_dict()
    report = load(ours, state)
    assert report.spelling == "as they are"
    assert {move.source: move.shape for move in report.moves} == {k: tuple(v.shape) for k, v in state.items()}
    assert report.reset == ()
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), state.values(), strict=True))
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    again = filled("mnist_fast", 2)
    assert {*load(again, tmp_path / "w.safetensors").moves} == {*report.moves}  # a file sorts them
    assert torch.equal(again.stem.weight, theirs.stem.weight)
    assert report.json()["moves"][0] == {
        "from": "stem.weight",
        "to": "stem.weight",
        "shape": [16, 1, 6, 6],
        "reshaped": False,
    }
    assert report.table().row_count == len(state)


def test_prefix_of_data_parallel_and_missing_counters() -> None:
    theirs, ours = filled("mnist_fast"), filled("mnist_fast", 1)
    state = {f"module.{k}": v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    with torch.no_grad():
        ours.norm1.num_batches_tracked.fill_(7)
    report = load(ours, state)
    assert report.reset == ("norm1.num_batches_tracked", "norm2.num_batches_tracked")
    assert ours.norm1.num_batches_tracked == 0
    assert torch.equal(ours.conv2.weight, theirs.conv2.weight)


@pytest.mark.parametrize(
    ("spelling", "theirs", "ours"),
    [
        ("of timm's VGG", "pre_logits.fc1.weight", "classifier.0.weight"),
        ("of timm's VGG", "head.fc.bias", "classifier.6.bias"),
        ("of torchvision's first DenseNets", "features.norm0.weight", "features.norm0.weight"),
        (
            "of torchvision's first DenseNets",
            "features.denseblock1.denselayer2.norm.1.weight",
            "features.denseblock1.denselayer2.norm1.weight",
        ),
        ("of timm's MobileNet v2", "blocks.0.0.conv_pw.weight", "features.1.conv.1.weight"),
        ("of timm's MobileNet v2", "blocks.3.2.bn3.bias", "features.9.conv.3.bias"),
        ("of timm's MobileNet v2", "bn2.bias", "features.18.1.bias"),
        ("of timm's MobileNet v1", "blocks.4.1.conv_pw.weight", "features.13.1.0.weight"),
        ("with linear for fc", "linear.bias", "fc.bias"),
    ],
)
def test_spellings(spelling: str, theirs: str, ours: str) -> None:
    assert SPELLINGS[spelling](theirs) == ours


def changed(change: dict[str, object], drop: str = "") -> dict[str, object]:
    state = filled("mnist_fast").state_dict()
    return {k: v for k, v in {**state, **change}.items() if k != drop}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (lambda: changed({}, "conv1.weight"), "^the state dict is not of this network: MNISTFast: got conv1.weight m"),
        (lambda: changed({"conv3.weight": torch.ones(1)}), "got conv3.weight left over. Did you mean conv"),
        (lambda: changed({"AuxLogits.fc": torch.ones(1)}), "left over. Auxiliary heads: build with aux=True"),
        (lambda: filled("lenet5").state_dict(), r"got .* and \d+ more missing; .* and \d+ more left over"),
        (
            lambda: changed({"dense.bias": torch.ones(3)}),
            "^a tensor has another shape: dense.bias, for dense.bias: expected (10,), got (3,). Build the network with",
        ),
        (
            lambda: changed({"dense.bias": torch.ones(10).half()}),
            "^a tensor has another dtype: dense.bias, for dense.bias: expected torch.float32, got torch.float16. Con",
        ),
        (lambda: changed({"epoch": 3}), "^a state dict maps names to tensors: got 'epoch': int. Pass its entry"),
        (lambda: 5, "^a state dict maps names to tensors: got int"),
        (lambda: {7: torch.ones(1)}, "^a state dict maps names to tensors: got 7: Tensor"),
        (lambda: "nothing.pth", "^there is no such file of weights: got nothing.pth"),
        (lambda: __file__, "^this is no safetensors file: got .*test_weights.py. Read other files yourself"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_loaded(state, text: str) -> None:
    ours = filled("mnist_fast", 1)
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    with pytest.raises(InputError, match=re.sub(r"\((\d*,?)\)", r"\\(\1\\)", text)):
        inspect.unwrap(load)(ours, state())  # the tests' type checks would come first
    assert all(torch.equal(v, before[k]) for k, v in ours.state_dict().items())


def test_a_network_without_memory_is_refused_and_data_parallel_ones_are_loaded() -> None:
    state = filled("mnist_fast").state_dict()
    with torch.device("meta"):
        empty = build("mnist_fast")
    with pytest.raises(InputError, match="^a tensor has no memory .device meta.: got conv1.weight|got stem.weight"):
        load(empty, state)
    parallel = nn.DataParallel(filled("mnist_fast", 1))
    load(parallel, {f"module.{name}": tensor for name, tensor in state.items()})
    assert torch.equal(parallel.module.stem.weight, state["stem.weight"])


def test_names_that_fit_twice_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    swap = {"conv1.bias": "dense.bias", "dense.bias": "conv1.bias"}
    monkeypatch.setitem(SPELLINGS, "swapped", lambda name: swap.get(name, name))
    net = nn.Sequential()
    net.conv1, net.dense = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(
        InputError, match="^the names fit the network in several ways: Sequential: got as they are and sw"
    ):
        load(net, net.state_dict())
