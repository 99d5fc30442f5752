"""Checks of maps against closed forms, scipy and scikit-learn; and each of them caught failing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from scipy.stats import spearmanr
from sklearn.metrics import auc
from torch import Tensor, nn

from striate.errors import InputError
from striate.interpret import (
    box_regions,
    center_prior,
    compare_methods,
    deletion,
    energy_inside,
    grad_cam,
    gradient_times_input,
    input_edges,
    insertion,
    label_randomization,
    lean,
    model_randomization,
    pointing_game,
)
from striate.interpret.trust.fills import blurred
from striate.interpret.trust.pictures import draw_curves, draw_randomization
from striate.interpret.trust.randomization import randomized, similarity


def linear(positions: int, channels: int = 1) -> nn.Sequential:
    """S = w · x, two outputs."""
    torch.manual_seed(positions)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * positions, 2, bias=False)).double()


def small() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()


def scenes(n: int = 4, side: int = 16) -> Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))


@settings(max_examples=30)
@given(st.integers(2, 12), st.integers(1, 3), st.integers(1, 15), st.floats(-1, 1))
def test_curves_of_a_linear_network_are_sums(positions: int, channels: int, steps: int, fill: float) -> None:
    model = linear(positions, channels)
    x, heat = torch.rand(2, channels, positions, dtype=torch.float64), torch.rand(2, positions)
    weights = model[1].weight.detach()[1].reshape(channels, positions)
    found = deletion(model, x, heat, target=1, steps=steps, fill=fill, scale="output")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lean, "rows_of", lambda _graph: 3)
        patch.setattr(lean, "ROWS", 3)
        other = insertion(model, x, heat, target=1, steps=steps, fill=fill, scale="output")
    for item in range(2):
        shares = (weights * (x[item] - fill)).sum(0)[heat[item].argsort(descending=True)]
        whole, blank = (weights * x[item]).sum(), (weights * fill).sum()
        for place, fraction in enumerate(found.fractions.tolist()):
            gone = shares[: round(fraction * positions)].sum()
            assert float(found.scores[item, place]) == pytest.approx(float(whole - gone), abs=1e-9)
            assert float(other.scores[item, place]) == pytest.approx(float(blank + gone), abs=1e-9)
        assert float(found.auc[item]) == pytest.approx(auc(found.fractions, found.scores[item]))
    assert found.fractions[0] == 0
    assert found.fractions[-1] == 1


def test_the_right_order_is_the_best_one() -> None:
    model, x = linear(10), torch.ones(1, 1, 10, dtype=torch.float64)
    shares = gradient_times_input(model, x, target=0)
    areas = {
        kind: float(kind(model, x, shares, target=0, fill=0.0, scale="output").auc) for kind in (deletion, insertion)
    }
    for _ in range(20):
        heat = torch.rand(1, 10)
        assert float(deletion(model, x, heat, target=0, fill=0.0, scale="output").auc) >= areas[deletion] - 1e-9
        assert float(insertion(model, x, heat, target=0, fill=0.0, scale="output").auc) <= areas[insertion] + 1e-9


def test_scores_are_probabilities_of_the_class_of_the_whole_input() -> None:
    model, x = small(), scenes()
    found = deletion(model, x, grad_cam, steps=4)
    with torch.no_grad():
        torch.testing.assert_close(found.scores[:, 0], model(x).softmax(1).amax(1).double())
        torch.testing.assert_close(
            found.scores[:, -1], model(torch.zeros_like(x)).softmax(1)[range(4), model(x).argmax(1)].double()
        )
    by_function = deletion(model, x, grad_cam, steps=4, target=lambda output: output[:, 2])
    torch.testing.assert_close(by_function.scores[:, 0], model(x)[:, 2].double().detach())
    assert by_function.parameters["scale"] == "probability"


def test_fills() -> None:
    model, x = linear(8, 2), torch.rand(3, 2, 8, dtype=torch.float64)
    heat = torch.rand(3, 8)

    def last(fill: Any) -> Tensor:
        return deletion(model, x, heat, target=0, fill=fill, scale="output", steps=2).scores[:, -1]

    with torch.no_grad():
        torch.testing.assert_close(
            last([1.0, 2.0]), model(torch.tensor([1.0, 2]).double()[:, None].expand(3, 2, 8))[:, 0]
        )
        torch.testing.assert_close(last("mean"), model(x.mean(2, keepdim=True).expand(3, 2, 8))[:, 0])
        torch.testing.assert_close(last(x.flip(2)), model(x.flip(2))[:, 0])
        torch.testing.assert_close(last(x[0]), model(x[:1])[:, 0].expand(3))
        torch.testing.assert_close(last("blur"), model(blurred(x))[:, 0])


@pytest.mark.parametrize("space", [(12,), (9, 16), (4, 6, 8), (1, 5)])
def test_blurring_keeps_what_is_the_same_everywhere_and_turns_with_the_input(space: tuple[int, ...]) -> None:
    x = torch.rand(2, 3, *space, dtype=torch.float64)
    torch.testing.assert_close(blurred(torch.full_like(x, 0.3)), torch.full_like(x, 0.3))
    torch.testing.assert_close(blurred(x).flip(2), blurred(x.flip(2)))
    assert float(blurred(x).var()) < float(x.var()) / 2


@settings(max_examples=40)
@given(st.integers(3, 30), st.integers(0, 99))
def test_rank_correlation_is_scipys(size: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(-4, 5, (1, size), generator=draw).float() for _ in range(2))
    ranked, unsigned, structure = similarity(a, b)
    if min(a.unique().numel(), b.unique().numel()) > 1:
        assert float(ranked) == pytest.approx(spearmanr(a[0], b[0]).statistic, abs=1e-6)
    if min(a.abs().unique().numel(), b.abs().unique().numel()) > 1:
        assert float(unsigned) == pytest.approx(spearmanr(a[0].abs(), b[0].abs()).statistic, abs=1e-6)
    assert structure.isnan().all() == (size < 11)


def test_similarity_at_its_ends() -> None:
    one, flat = torch.rand(2, 12, 12), torch.zeros(2, 12, 12)
    assert [part.tolist() for part in similarity(one, 3 * one + 1)] == [[1, 1]] * 2 + [pytest.approx([1, 1])]
    assert similarity(one, -one)[0].tolist() == pytest.approx([-1, -1])
    assert similarity(one, flat)[0].tolist() == [0, 0]
    assert similarity(flat, flat)[0].tolist() == [1, 1]
    holed = one.clone()
    holed[:, :3] = torch.nan
    assert similarity(one, holed)[0].tolist() == [1, 1]


def test_a_method_that_ignores_the_network_is_caught_and_others_are_not() -> None:
    model, x = small(), scenes()
    blind = model_randomization(model, x, input_edges)
    assert blind.insensitive
    assert blind.layers == ("8", "4", "1", "0")
    assert (blind.magnitude == 1).all()
    linear_model, line = linear(64), torch.ones(4, 1, 64, dtype=torch.float64)
    sees = model_randomization(linear_model, line, gradient_times_input, target=0)
    assert not sees.insensitive
    assert sees.layers == ("1",)
    assert float(sees.spearman.abs().max()) < 0.5
    assert blind.table().caption == "Hardly changes with the network."
    assert sees.table().caption == "Depends on the network."


def test_cascading_keeps_what_was_drawn_and_independent_does_not() -> None:
    model, x = small(), scenes(2)
    before = copy.deepcopy(model.state_dict())
    drawn: dict[str, list[list[str]]] = {"cascading": [], "independent": []}

    def watching(mode: str) -> Any:
        def method(network: nn.Module, x: Tensor, target: Any) -> Tensor:
            state = network.state_dict()
            changed = {name.split(".")[0] for name in before if not torch.equal(before[name], state[name])}
            drawn[mode].append(sorted(changed, reverse=True))
            torch.rand(3)
            return x[:, 0] * target

        return method

    for mode in ("cascading", "independent"):
        model_randomization(model, x[:1], watching(mode), mode=mode, layers=["8", "4", "0"])
    assert drawn["cascading"] == [[], ["8"], ["8", "4"], ["8", "4", "0"]]
    assert drawn["independent"] == [[], ["8"], ["4"], ["0"]]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    state = torch.get_rng_state()
    one, two, other = (randomized(model, x, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    assert not any(torch.equal(one[name], before[name]) for name in before if name.endswith("0.weight"))


def test_a_layer_that_cannot_draw_for_itself_draws_like_its_weights() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.one = nn.Parameter(5 + torch.arange(400.0) / 400), nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1) * self.scale[: x[0].numel()] * self.one)[:, :2]

    found = randomized(Scaled(), torch.rand(1, 1, 20))
    assert isinstance(found, Scaled)
    assert float(found.scale.detach().mean()) == pytest.approx(5.5, abs=0.1)
    assert float(found.scale.detach().std()) == pytest.approx(0.29, abs=0.05)
    assert float(found.one.detach()) != 1


def test_labels() -> None:
    model, other, x = small(), randomized(small(), scenes()), scenes()
    assert label_randomization(model, model, x, grad_cam).insensitive
    found = label_randomization(model, other, x, gradient_times_input, target=0)
    assert (found.mode, found.layers, found.spearman.shape) == ("labels", ("labels",), (1, 4))
    own, theirs = (gradient_times_input(network, x, target=0).heatmap() for network in (model, other))
    expected = spearmanr(own[2].flatten(), theirs[2].flatten()).statistic
    assert float(found.spearman[0, 2]) == pytest.approx(expected, abs=1e-5)


def test_pointing_and_energy_by_hand() -> None:
    heat = torch.zeros(3, 5, 6)
    heat[0, 1, 2], heat[0, 4, 5] = 3, 1
    heat[1, 4, 0], heat[1, 0, 0] = 2, -7
    heat[2] = torch.nan
    regions = box_regions(torch.tensor([[1.0, 0, 4, 2], [1, 0, 4, 2], [0, 0, 6, 5]]), (5, 6))
    assert regions[0].nonzero().tolist() == [[r, c] for r in (0, 1) for c in (1, 2, 3)]
    assert pointing_game(heat, regions).tolist() == [True, False, False]
    assert pointing_game(heat, regions, tolerance=2).tolist() == [True, False, False]
    assert pointing_game(heat, regions, tolerance=3).tolist() == [True, True, False]
    energy = energy_inside(heat, regions)
    assert energy[:2].tolist() == [0.75, 0]
    assert energy[2].isnan()
    flat = energy_inside(torch.ones(3, 5, 6), regions)
    torch.testing.assert_close(flat, regions.float().mean((1, 2)))
    line = torch.tensor([[0.0, 1, 2, 0]])
    assert pointing_game(line, torch.tensor([[True, False, False, False]]), tolerance=2).tolist() == [True]


@pytest.mark.parametrize("space", [(9,), (8, 12), (4, 6, 6)])
def test_maps_that_know_no_network(space: tuple[int, ...]) -> None:
    x = torch.rand(2, 3, *space)
    prior = center_prior(nn.Identity(), x)
    assert prior.shape == (2, *space)
    torch.testing.assert_close(prior, prior.flip(1))
    middle = tuple(side // 2 for side in space)
    assert float(prior[(0, *middle)]) >= 0.75
    ramp = torch.arange(space[-1]).float().expand(1, 1, *space)
    torch.testing.assert_close(input_edges(nn.Identity(), ramp), torch.ones(1, *space))
    assert not input_edges(nn.Identity(), torch.ones(1, 1, 1)).any()


def test_methods_side_by_side(tmp_path: Path) -> None:
    model, x = small(), scenes()
    regions = torch.zeros(4, 16, 16, dtype=torch.bool)
    regions[:, 3:9, 4:12] = True
    methods: dict[str, Any] = {"Grad-CAM": grad_cam, "gradient × input": gradient_times_input}
    found = compare_methods(model, x, methods, regions=regions, shuffled=randomized(model, x, 7), steps=5)
    assert found.methods == ("Grad-CAM", "gradient × input", "center prior", "edges")
    heat = torch.stack([grad_cam(model, x[i : i + 1]).heatmap() for i in range(4)])
    torch.testing.assert_close(found.heats[0], heat)
    torch.testing.assert_close(found.scores["energy inside"][0], energy_inside(heat, regions).double())
    expected = deletion(model, x, grad_cam, steps=5, fill="blur").auc
    torch.testing.assert_close(found.scores["deletion"][0], expected)
    assert (found.scores["weights random"][2:] == 1).all()
    mean, error = found.mean("insertion")
    values = found.scores["insertion"].numpy()
    np.testing.assert_allclose(mean, values.mean(1))
    np.testing.assert_allclose(error, values.std(1, ddof=1) / 2)
    with Console(width=200).capture() as taken:
        Console(width=200).print(found.table())
    assert "Comparison(Grad-CAM" in repr(found)
    assert taken is not None
    assert json.loads(json.dumps(found.json()))["better"]["deletion"] == "low"
    found.save(tmp_path / "all.safetensors")
    assert load_file(tmp_path / "all.safetensors")["heats"].shape == (4, 4, 16, 16)
    for figure in (found.plot(), found.gallery(2)):
        figure.canvas.draw()
    without = compare_methods(model, x[:2], {"Grad-CAM": grad_cam}, steps=2)
    assert list(without.scores) == ["deletion", "insertion", "weights random"]


def test_signals_have_galleries_too() -> None:
    model, x = linear(12), torch.rand(2, 1, 12, dtype=torch.float64)
    found = compare_methods(model, x, {"gradient × input": gradient_times_input}, steps=3, target=1)
    found.gallery().canvas.draw()


def test_what_is_kept(tmp_path: Path) -> None:
    model, x = small(), scenes()
    curve, check = deletion(model, x, grad_cam, name="mine"), model_randomization(model, x, grad_cam)
    assert repr(curve).startswith("Curves(mine, deletion, 4 items, area ")
    assert repr(check) == "Randomization(grad_cam, cascading randomization, 4 items)"
    assert json.loads(json.dumps(curve.json()))["fractions"][-1] == 1
    assert json.loads(json.dumps(check.json()))["layers"] == ["8", "4", "1", "0"]
    curve.save(tmp_path / "curve.safetensors")
    check.save(tmp_path / "check.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "curve.safetensors")["scores"], curve.scores)
    torch.testing.assert_close(load_file(tmp_path / "check.safetensors")["ssim"], check.ssim)
    assert curve.table().row_count == 11
    both = (draw_curves([curve, insertion(model, x, grad_cam)]), draw_randomization([check, check]))
    for figure in (curve.plot(), check.plot(), *both):
        figure.canvas.draw()


def test_bad_input() -> None:
    model, x, heat = small(), scenes(), torch.rand(4, 16, 16)
    with pytest.raises(
        InputError, match=r"this is no heat map of the input: the map: expected \(4, 16, 16\), got \(4, 8"
    ):
        deletion(model, x, heat[:, :8])
    with pytest.raises(
        InputError, match=r"no heat map of the input: wrong: expected \(1, 16, 16\), got NoneType. Explain"
    ):
        deletion(model, x, wrong)
    with pytest.raises(InputError, match="unknown scale: expected probability or output, got logit"):
        deletion(model, x, heat, scale="logit")
    with pytest.raises(InputError, match="a curve needs steps: expected 1 or more, got 0"):
        deletion(model, x, heat, steps=0)
    with pytest.raises(InputError, match='unknown fill: expected a number, one for each channel, "mean", "blur"'):
        deletion(model, x, heat, fill="gray")
    with pytest.raises(InputError, match=r"the fill does not fit the input: expected one number, 1 \(one for each"):
        deletion(model, x, heat, fill=torch.zeros(3))
    with pytest.raises(InputError, match="the fill does not fit the input: .* got array"):
        deletion(model, x, heat, fill=np.array(["gray"]))
    with pytest.raises(
        InputError, match=r"checks of maps change the input: expected floats, got torch.int64. Pass one-hot"
    ):
        deletion(nn.Embedding(3, 2), torch.zeros(1, 4, dtype=torch.int64), heat)
    with pytest.raises(InputError, match="unknown mode: expected cascading or independent, got both"):
        model_randomization(model, x, grad_cam, mode="both")
    for check in (model_randomization, lambda *given: label_randomization(model, *given)):
        with pytest.raises(InputError, match="a finished map does not change with the network: got Grad-CAM"):
            check(model, x, grad_cam(model, x))
    with pytest.raises(InputError, match="no layer of this path has weights: got '9'. "):
        model_randomization(model, x, grad_cam, layers=["9"])
    with pytest.raises(InputError, match="nothing to make random: expected one layer or more, got none"):
        model_randomization(model, x, grad_cam, layers=[])
    with pytest.raises(InputError, match="nothing to make random: Flatten: expected weights, got none that runs"):
        model_randomization(nn.Flatten(), x, input_edges)
    with pytest.raises(InputError, match=r"boxes lie in images: expected \(height, width\), got \(4,\)"):
        box_regions(torch.zeros(1, 4), (4,))
    with pytest.raises(InputError, match=r"the regions do not fit the maps: expected \(4, 16, 16\), got \(4, 16\)"):
        energy_inside(heat, torch.ones(4, 16, dtype=torch.bool))
    with pytest.raises(InputError, match="wrong tolerance: expected 0 or more positions, got -1"):
        pointing_game(heat, heat > 0, tolerance=-1)
    with pytest.raises(InputError, match="nothing to compare: expected one method or more, got none"):
        compare_methods(model, x, {})
    with pytest.raises(InputError, match="this is the name of a baseline: got edges. Choose another one"):
        compare_methods(model, x, {"edges": grad_cam})


def wrong(_model: nn.Module, _x: Tensor, target: Any) -> None:
    """A method that returns nothing."""
    assert target is not None
