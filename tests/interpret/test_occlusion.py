"""Occlusion against the definition: cover, run the whole network, read the output; place by place."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from typing import Any

import jaxtyping
import matplotlib.image
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from striate import zoo
from striate.errors import InputError, StorageError
from striate.interpret import OcclusionMap, occlusion
from striate.interpret import sweep as sweeping

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLING = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def network(rank: int, channels: int = 2, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(rank)
    layers = (CONVOLUTION[rank](channels, 4, 3, padding=1), nn.Tanh(), POOLING[rank](1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4, classes)).double().eval()


def brute(model: nn.Module, x: Tensor, patch: tuple[int, ...], stride: tuple[int, ...], cover: Tensor) -> Tensor:
    """Outputs (*places, classes), one run a place; `cover` is of x's shape."""
    sides = x.shape[2:]
    places = [range((side - size) // step + 1) for side, size, step in zip(sides, patch, stride, strict=True)]
    rows = []
    for place in itertools.product(*places):
        covered = x.clone()
        for position in itertools.product(*map(range, patch)):
            at = tuple(p * s + i for p, s, i in zip(place, stride, position, strict=True))
            covered[(slice(None), slice(None), *at)] = cover[(slice(None), slice(None), *at)]
        with torch.no_grad():
            rows.append(model(covered)[0])
    return torch.stack(rows).reshape(*map(len, places), -1)


def agree(found: OcclusionMap, outputs: Tensor) -> None:
    """The check of the tests below: scores have the classes first."""
    torch.testing.assert_close(found.scores, outputs.movedim(-1, 0), rtol=1e-9, atol=1e-9)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    rank = draw(st.integers(1, 3))
    sides = tuple(draw(st.integers(1, 9 - 2 * rank)) for _ in range(rank))
    patch = tuple(draw(st.integers(1, side)) for side in sides)
    stride = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    torch.manual_seed(draw(st.integers(0, 9)))
    return torch.rand(1, 2, *sides, dtype=torch.float64), patch, stride


@settings(max_examples=40, deadline=None)
@given(cases(), st.sampled_from(["number", "channels", "mean", "tensor", "batch"]))
def test_every_place_is_covered_and_run(case: tuple[Tensor, tuple[int, ...], tuple[int, ...]], kind: str) -> None:
    x, patch, stride = case
    blurred, ones = torch.rand_like(x), [1] * (x.dim() - 2)
    fill, cover = {
        "number": (0.5, torch.full_like(x, 0.5)),
        "channels": ([0.25, 2], torch.tensor([0.25, 2]).reshape(1, 2, *ones).expand_as(x)),
        "mean": ("mean", torch.stack([x[0, c].mean().expand(x.shape[2:]) for c in range(2)])[None]),
        "tensor": (blurred[0], blurred),
        "batch": (blurred, blurred),
    }[kind]
    model = network(x.dim() - 2)
    found = occlusion(model, x, patch=patch, stride=stride, target=None, fill=fill)
    agree(found, brute(model, x, patch, stride, cover))
    assert torch.equal(found.base, model(x)[0].detach())
    assert [list(axis) for axis in found.axes.values()] == [
        [step * i for i in range(n)] for step, n in zip(stride, found.scores.shape[1:], strict=True)
    ]


def test_a_wrong_place_does_not_pass() -> None:
    x, model = torch.rand(1, 2, 6, dtype=torch.float64), network(1)
    found = occlusion(model, x, patch=2, stride=1)
    right = brute(model, x, (2,), (1,), torch.zeros_like(x))
    agree(found, right)
    with pytest.raises(AssertionError):
        agree(found, right.roll(1, 0))


@settings(max_examples=30, deadline=None)
@given(cases())
def test_the_heat_map_is_the_mean_drop_over_the_patches_that_cover(
    case: tuple[Tensor, tuple[int, ...], tuple[int, ...]],
) -> None:
    x, patch, stride = case
    found = occlusion(network(x.dim() - 2), x, patch=patch, stride=stride, target=1)
    heat = found.heatmap()
    assert heat.shape == x.shape[2:]
    for position in itertools.product(*map(range, x.shape[2:])):
        drops = []
        for place in itertools.product(*map(range, found.scores.shape)):
            first = [p * s for p, s in zip(place, stride, strict=True)]
            if all(f <= at < f + size for f, at, size in zip(first, position, patch, strict=True)):
                drops.append(float(found.base - found.scores[place]))
        if drops:
            assert float(heat[position]) == pytest.approx(sum(drops) / len(drops), abs=1e-12)
        else:
            assert heat[position].isnan()


def test_the_places_of_the_usual_case() -> None:
    torch.manual_seed(0)
    tiny = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3 * 196, 2)).eval()
    found = occlusion(tiny, torch.rand(1, 3, 224, 224), patch=16, stride=8, target=1)
    assert found.scores.shape == (27, 27)
    assert found.heatmap().isfinite().all()
    far = occlusion(tiny, torch.rand(1, 3, 224, 224), patch=(100, 224), stride=100, target=1)
    assert far.scores.shape == (2, 1)
    assert far.heatmap()[200:].isnan().all()
    assert far.heatmap()[:200].isfinite().all()


class Dense(nn.Module):
    """A map of the input's size (and something else)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores(x), x.mean()


def test_targets() -> None:
    x = torch.rand(1, 2, 5, 5, dtype=torch.float64)
    model = network(2)

    def at(target: Any) -> Tensor:
        return occlusion(model, x, patch=2, stride=2, target=target).scores

    everything = at(None)
    assert everything.shape == (3, 2, 2)
    assert torch.equal(at(1), everything[1])
    assert torch.equal(at(-1), everything[2])
    assert torch.equal(at(np.int64(2)), everything[2])
    assert torch.equal(at(model(x).argmax()), everything[model(x).argmax()])
    assert torch.equal(at([2, 0]), everything[[2, 0]])
    assert torch.equal(at(torch.tensor([1])), everything[1:2])
    torch.testing.assert_close(at(lambda output: output.softmax(1)[:, 0]), everything.softmax(0)[0])


def test_dense_outputs_tuples_and_layers() -> None:
    x, model = torch.rand(1, 1, 6, 6), Dense().eval()
    everything = occlusion(model, x, patch=3, stride=3)
    assert everything.scores.shape == (3, 6, 6, 2, 2)
    assert everything.heatmap().shape == (3, 6, 6, 6, 6)
    one = occlusion(model, x, patch=3, stride=3, target=2)
    torch.testing.assert_close(one.scores, everything.scores[2])
    mean = occlusion(model, x, patch=3, stride=3, target=lambda output: output[:, 1].mean((1, 2)))
    torch.testing.assert_close(mean.scores, everything.scores[1].mean((0, 1)))
    layer = occlusion(nn.Sequential(model.scores, nn.Flatten()), x, patch=3, stride=3, layer="0")
    torch.testing.assert_close(layer.scores, everything.scores)


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [("lenet5", {}, 32), ("unet", {"width": 0.0625}, 188), ("resnet18", {"width": 0.125}, 64)],
)
def test_networks_of_the_zoo(name: str, options: dict[str, Any], side: int) -> None:
    torch.manual_seed(0)
    model = zoo.build(name, in_channels=1, **options).double().eval()
    x = torch.rand(1, 1, side, side, dtype=torch.float64)
    patch, stride = (side // 2, 9), (side // 3,) * 2
    found = occlusion(model, x, patch=patch, stride=stride, target=lambda output: output.flatten(1).mean(1), fill=0.3)
    outputs = brute(nn.Sequential(model, Mean()), x, patch, stride, torch.full_like(x, 0.3))
    torch.testing.assert_close(found.scores, outputs[..., 0], rtol=1e-9, atol=1e-9)


class Mean(nn.Module):
    """Of all outputs."""

    def forward(self, output: Tensor) -> Tensor:
        return output.flatten(1).mean(1, keepdim=True)


def test_values_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, model = torch.rand(1, 2, 6, 7, dtype=torch.float64), network(2)
    blurred = torch.rand_like(x)
    whole = occlusion(model, x, patch=3, stride=1, fill=blurred)
    monkeypatch.setitem(occlusion.__globals__, "BLOCK_BYTES", 1)
    torch.testing.assert_close(occlusion(model, x, patch=3, stride=1, fill=blurred).scores, whole.scores)


def test_the_network_is_as_before_also_after_an_interrupt() -> None:
    model, x = network(2), torch.rand(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    seen: list[int] = []

    def interrupted(output: Tensor) -> Tensor:
        seen.append(len(output))
        if len(seen) > 1:
            raise KeyboardInterrupt
        return output[:, 0]

    with pytest.raises(KeyboardInterrupt):
        occlusion(model, x, patch=2, stride=1, target=interrupted, progress=True)
    found = occlusion(model, x, patch=4, stride=4, target=0)
    assert not found.scores.requires_grad
    assert x.grad is None
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int, str]] = []
    x = torch.rand(1, 2, 9, 9, dtype=torch.float64)
    occlusion(network(2), x, patch=2, stride=1, progress=lambda *report: told.append(report))
    assert told[-1] == (64, 64, "occlusion")
    assert len(set(told)) == len(told)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    occlusion(network(2), x, patch=2, stride=1, progress=True)
    assert not capsys.readouterr().out  # bars are drawn beside the output


def found_in(rank: int, **options: Any) -> OcclusionMap:
    x = torch.rand(1, 2, *(9, 8, 7)[:rank], dtype=torch.float64)
    return occlusion(network(rank), x, **{"patch": 3, "stride": 4, "target": 1, **options})


def test_json_table_and_file(tmp_path: Any) -> None:
    found = found_in(2, fill=torch.zeros(2, 9, 8, dtype=torch.float64))
    facts = json.loads(json.dumps(found.json()))
    assert facts["scores"] == found.scores.tolist()
    assert facts["axes"] == {"row": [0, 4], "column": [0, 4]}
    expected = {"patch": [3, 3], "stride": [4, 4], "target": 1, "layer": "", "fill": "a tensor (2, 9, 8)"}
    assert facts["parameters"] == expected
    assert facts["plan"]["rows"][0]["form"] == "difference"
    assert found_in(2, target=lambda output: output[:, 0]).parameters["target"].endswith("<lambda>")
    assert repr(found) == "OcclusionMap(occlusion, 2 rows × 2 columns, base ())"
    table = found.table(rows=1)
    greatest = divmod(int(found.change.abs().argmax()), 2)
    assert [column.header for column in table.columns] == ["row", "column", "score", "change"]
    assert [next(iter(column.cells)) for column in table.columns][:2] == [str(4 * i) for i in greatest]
    assert found_in(2, target=None).table(3).columns[0].header == "output"
    path = tmp_path / "map.safetensors"
    found.save(path)
    assert torch.equal(load_file(path)["scores"], found.scores)
    with pytest.raises(StorageError, match="cannot write"):
        found.save(tmp_path / "map.safetensors" / "inside")


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pictures(rank: int) -> None:
    found = found_in(rank, target=None)
    picture = io.BytesIO()
    figure = found.plot(1)
    figure.savefig(picture, format="png")
    picture.seek(0)
    assert matplotlib.image.imread(picture, format="png")[..., :3].std() > 0.02
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words[0] == f"{found.title()}: output 1 = {float(found.base[1]):.4g}"
    limit = found.heatmap()[1].nan_to_num().abs()
    limit = limit[int(limit.amax((1, 2)).argmax())] if rank == 3 else limit
    assert f"{float(limit.max()):+.3g}" in words
    assert found.output() == (int(found.base.argmax()),)
    assert found._repr_html_().startswith("<img alt=")


def test_a_picture_without_effect_and_with_what_is_not_finite() -> None:
    x = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    occlusion(network(2), x, patch=2, stride=2, target=0).plot().savefig(io.BytesIO())
    found = found_in(2, target=lambda output: output[:, :2] / torch.tensor([1.0, 0.0]))
    for output in (0, 1, None):
        found.plot(output).savefig(io.BytesIO())
    assert found.table().row_count == 8
    assert all(math.isinf(value) for row in found.json()["scores"][1] for value in row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 10}, r"the patch is larger than the input: expected at most (9, 8), got (10, 10)"),
        ({"patch": (3, 9)}, r"the patch is larger than the input: expected at most (9, 8), got (3, 9)"),
        ({"patch": 0}, "wrong patch: expected a whole number from 1, or 2 of them, got 0"),
        ({"patch": (2, 2, 2)}, "wrong patch: expected a whole number from 1, or 2 of them, got (2, 2, 2)"),
        ({"stride": 0}, "wrong stride: expected a whole number from 1, or 2 of them, got 0"),
        ({"fill": "blur"}, 'unknown fill: expected a number, one for each channel, a tensor or "mean", got blur'),
        ({"fill": [1, 2, 3]}, "the fill does not fit the input: expected one number, 2 (one for each channel) or "),
        ({"target": 3}, "no such target: expected 0 to 2 (output (1, 3)), got 3"),
        ({"target": [0, -4]}, "no such target: expected 0 to 2 (output (1, 3)), got [0, -4]"),
        ({"target": []}, "no such target: expected 0 to 2"),
        ({"target": torch.tensor(0.5)}, "no such target: expected 0 to 2"),
        ({"target": lambda output: output.sum()}, "does not keep the first axis: expected a tensor with 1 on its "),
        ({"target": len}, "does not keep the first axis: expected a tensor .* got int"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    pattern = message if ".*" in message else message.replace("(", r"\(").replace(")", r"\)").replace("[", r"\[")
    with pytest.raises(InputError, match=pattern):
        found_in(2, **options)


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (torch.rand(2, 2, 5), r"torch.float32 \(2, 2, 5\)"),
        (torch.rand(1, 2), r"torch.float32 \(1, 2\)"),
        (torch.rand(1, 2, 1, 1, 1, 1), r"torch.float32 \(1, 2, 1, 1, 1, 1\)"),
        (torch.zeros(1, 2, 5, dtype=torch.int64), r"torch.int64 \(1, 2, 5\)"),
    ],
)
def test_inputs_that_cannot_be_occluded(x: Tensor, got: str) -> None:
    with pytest.raises(InputError, match=rf"cannot occlude this input: expected one item \(1, c, .* got {got}"):
        occlusion(network(1), x, patch=1, stride=1)


def test_too_many_outputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "MOST_BYTES", 8)
    with pytest.raises(InputError, match=r"too many to keep: expected at most 8 bytes, got 3 × 2 × 2 scores. Choose"):
        found_in(2, target=None)


def test_a_number_for_all_has_no_target() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sum(1)

    x = torch.rand(1, 1, 8)
    found = occlusion(Sum(), x, patch=4, stride=4)
    torch.testing.assert_close(found.scores, torch.stack([x[..., 4:].sum(), x[..., :4].sum()]))
    with pytest.raises(InputError, match=r"no such target: expected None or a function: the output is one number"):
        occlusion(Sum(), x, patch=4, stride=4, target=0)


def test_an_output_that_is_not_there() -> None:
    found = found_in(2, target=None)
    for output in (3, (0, 0), -4):
        with pytest.raises(InputError, match=r"no such output: expected an index into axes \(3,\)"):
            found.plot(output)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are not checked, as outside of the tests: what users then read is an error of striate."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("whole", [np.int64(3), torch.tensor(3), np.array(3), np.array([3, 3]), torch.tensor([3, 3])])
def test_sizes_of_any_whole_type(whole: Any) -> None:
    found = found_in(2, patch=whole, stride=whole)
    assert found.parameters["patch"] == found.parameters["stride"] == (3, 3)
    json.dumps(found.json())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["patch", "stride"])
@pytest.mark.parametrize("value", [2.0, True, torch.tensor(True), np.True_, "33", (3, 2.0), torch.tensor(2.0)])
def test_sizes_that_are_no_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"wrong {name}: expected a whole number from 1, or 2 of them, got "):
        found_in(2, **{name: value})


@pytest.mark.parametrize(
    ("fill", "written"),
    [
        (np.float32(0.5), 0.5),
        (np.array([0.5, 2]), [0.5, 2.0]),
        (torch.tensor([0.5, 2]), [0.5, 2.0]),
        (np.zeros((2, 9, 8)), "a tensor (2, 9, 8)"),
        (0.1, 0.1),
        ("mean", "mean"),
    ],
)
def test_fills_are_written_as_plain_types(fill: Any, written: Any, tmp_path: Any) -> None:
    found = found_in(2, fill=fill)
    assert json.loads(json.dumps(found.json()))["parameters"]["fill"] == written
    found.save(tmp_path / "map.safetensors")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("fill", [None, [[1.0], [1.0, 2.0]], {}])
def test_fills_that_are_no_numbers(fill: Any) -> None:
    message = f"the fill does not fit the input: expected one number, 2 (one for each channel) or (2, 9, 8), got {fill}"
    with pytest.raises(InputError, match=re.escape(message)):
        found_in(2, fill=fill)


@pytest.mark.usefixtures("unchecked")
def test_an_array_is_no_input() -> None:
    with pytest.raises(InputError, match=r"cannot occlude this input: .* got ndarray. Make it a tensor: torch.as_t"):
        occlusion(network(1), np.zeros((1, 2, 5)), patch=1, stride=1)


class Decision(nn.Module):
    """Which channels are bright; a number asked for cannot be had on windows."""

    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.asks = asks

    def forward(self, x: Tensor) -> Tensor:
        means = x.flatten(2).mean(2)
        return means > (0.5 if not self.asks or x.sum().item() >= 0 else 0.0)


@pytest.mark.parametrize("asks", [False, True])
def test_decisions_become_floats(asks: bool) -> None:
    x = torch.tensor([[[1.0, 1, 0, 1], [0, 0, 0, 0]]])
    found = occlusion(Decision(asks), x, patch=2, stride=2)
    assert found.base.tolist() == [1.0, 0.0]
    assert found.change.tolist() == [[-1.0, -1.0], [0.0, 0.0]]
    assert found.heatmap().tolist() == [[1.0] * 4, [0.0] * 4]


def test_a_network_that_was_run_whole_says_so() -> None:
    found = occlusion(Decision(True), torch.rand(1, 2, 4), patch=2, stride=2)
    assert found.plan is not None
    assert found.plan.whole
    assert found.json()["plan"]["whole"] == found.plan.whole
    assert found.table().caption == f"Run on whole inputs: {found.plan.whole}."
    local = found_in(1)
    assert local.plan is not None
    assert not local.plan.whole
    assert local.table().caption is None


def test_words_are_covered_by_a_token() -> None:
    net = zoo.build("text_cnn", num_classes=3, in_channels=20).eval()
    x = torch.randint(1, 20, (1, 12), generator=torch.Generator().manual_seed(0))
    for patch, fill in ((1, 0), (3, 7)):
        found = occlusion(net, x, patch=patch, stride=1, fill=fill, target=1)
        assert not found.plan.whole
        for place in range(13 - patch):
            covered = x.clone()
            covered[0, place : place + patch] = fill
            with torch.no_grad():
                torch.testing.assert_close(found.scores[place], net(covered)[0, 1], rtol=1e-5, atol=1e-5)
    assert found.heatmap().shape == (12,)
    assert occlusion(net, x).parameters["patch"] == (1,)
    with pytest.raises(InputError, match="the fill does not fit the input: expected a token, from 0, got 0.5"):
        occlusion(net, x, fill=0.5)


def test_a_patch_is_an_eighth_of_each_side_by_itself() -> None:
    found = occlusion(network(2), torch.randn(1, 2, 16, 40, dtype=torch.double))
    assert found.parameters["patch"] == (2, 5)
    assert found.parameters["stride"] == (1, 2)
