from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import InputError
from striate.interpret import ablate
from striate.train.checkpoint import read_tensors


class Skipping(nn.Module):
    """A residual sum around the layer, an in-place activation behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.dense = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        y = self.inner(x)
        y = F.relu_(y)
        y += x
        return self.dense(F.adaptive_avg_pool2d(y, 3).flatten(1))


def by_hand(model: nn.Module, x: Tensor, layer: str, channel: int, value: float) -> Tensor:
    def silence(_module: nn.Module, _args: object, out: Tensor) -> Tensor:
        out = out.clone()
        out[:, channel] = value
        return out

    with torch.no_grad(), model.get_submodule(layer).register_forward_hook(silence):
        return model.eval()(x)


@pytest.mark.parametrize("layer", ["stem", "inner", "norm", "dense"])
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_scores_are_those_of_a_loop(layer: str, fill: str) -> None:
    torch.manual_seed(0)
    model, x, targets = Skipping().eval(), torch.randn(11, 1, 9, 9), torch.randint(0, 5, (11,))
    seen: list[Tensor] = []
    with torch.no_grad(), model.get_submodule(layer).register_forward_hook(lambda *a: seen.append(a[2].clone())):
        base = model(x)
    means = seen[0].movedim(1, 0).flatten(1).mean(1).tolist()

    def loss(output: Tensor, to: Tensor) -> Tensor:
        return -F.cross_entropy(output, to, reduction="none")

    found = ablate(model, x, layer, targets, score=loss, fill=fill, batch=4)
    assert found.whole == ""
    assert found.base == pytest.approx(float(loss(base, targets).mean()), abs=1e-5)
    for channel in found.channels:
        want = by_hand(model, x, layer, channel, means[channel] if fill == "mean" else 0.0)
        torch.testing.assert_close(found.items[channel], loss(want, targets), atol=1e-5, rtol=1e-4)
    right = ablate(model, x, layer, targets, fill=fill, channels=[2])
    want = by_hand(model, x, layer, 2, means[2] if fill == "mean" else 0.0)
    assert float(right.scores[0]) == pytest.approx(float((want.argmax(1) == targets).float().mean()))


def test_what_lies_before_the_layer_runs_once_a_batch() -> None:
    class Counting(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.done: list[tuple[int, ...]] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.convolution.default and type(out) is Tensor:
                self.done.append(tuple(args[1].shape))
            return out

    stem, behind = nn.Conv1d(1, 8, 3), nn.Conv1d(6, 2, 3)
    model = nn.Sequential(stem, nn.ReLU(), nn.Conv1d(8, 6, 3), behind, nn.Flatten())
    with Counting() as counting:
        ablate(model, torch.randn(8, 1, 10), "2", target=0)
    assert counting.done.count((2, 6, 3)) == 6 + 2  # each channel, the scores with all, and their means
    assert counting.done.count((8, 1, 3)) == 2  # the means, and all the rest


def test_networks_that_choose_are_run_whole() -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y.sum(2) if y.sum() > -1e9 else y.amax(2)

    torch.manual_seed(0)
    model, x = Choosing(), torch.randn(4, 1, 8)
    found = ablate(model, x, "conv", target=1)
    assert "cannot be captured" in found.whole
    assert found.loss[[0, 2]].tolist() == [0, 0]
    assert float(found.scores[1]) == 0


def test_tokens_pictures_and_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 2))
    found = ablate(model, torch.randint(0, 9, (5, 6)), "3", target=0)
    assert found.title().startswith("6 channels of 3 silenced (zero), 5 items: score ")
    found.plot().savefig(io.BytesIO())
    assert found.table().row_count == 6
    found.save(tmp_path / "a.safetensors")
    tensors, facts = read_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["items"], found.items)
    assert facts["base"] == found.base
    assert found.json()["loss"] == found.loss.tolist()


def test_the_network_is_left_as_it_was() -> None:
    model = Skipping().train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ablate(model, torch.randn(3, 1, 9, 9), "inner", target=0)
    assert model.training
    assert model.inner.training
    assert not model.norm.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_wrong_requests_are_errors() -> None:
    model, x = Skipping(), torch.randn(3, 1, 9, 9)
    with pytest.raises(InputError, match=r"no such layer: got 'iner'\. Did you mean inner"):
        ablate(model, x, "iner")
    with pytest.raises(InputError, match="unknown fill: expected zero or mean, got noise"):
        ablate(model, x, "inner", fill="noise")
    with pytest.raises(InputError, match="batch size is not positive: expected at least 1, got 0"):
        ablate(model, x, "inner", batch=0)
    with pytest.raises(InputError, match="each item has a target: expected 3, got 2"):
        ablate(model, x, "inner", [0, 1])
    with pytest.raises(InputError, match="the layer has no such channel: expected 0 to 3, got 4"):
        ablate(model, x, "inner", channels=[4])
    with pytest.raises(InputError, match=r"a score is one number an item: expected \(3,\), got \(3, 5\)"):
        ablate(model, x, "inner", score=lambda output, _: output)
    with pytest.raises(InputError, match="this layer has no channels: 0: expected floats"):
        ablate(nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (1, -1))), x, "0")
    unused = nn.Sequential(nn.Flatten(), nn.Linear(81, 2))
    unused.spare = nn.Linear(2, 2)
    unused.forward = lambda x: unused[1](unused[0](x))  # type: ignore[method-assign]
    with pytest.raises(InputError, match="the layer was not called: spare"):
        ablate(unused, x, "spare")
