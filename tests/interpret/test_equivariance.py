from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate.errors import InputError
from striate.interpret import consistency, equivariance
from striate.interpret.features.motion import Motion, Place, between, places, shifted
from striate.layers import BlurPool, MaxBlurPool
from striate.train import read_tensors


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def circular(rank: int, stride: int = 1) -> nn.Module:
    torch.manual_seed(0)
    form = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
    return form(2, 3, 3, stride=stride, padding=1, padding_mode="circular").double()


def items(rank: int, side: int = 8, n: int = 3) -> torch.Tensor:
    return torch.rand(n, 2, *[side] * rank, generator=generator(), dtype=torch.float64)


STILL: dict[str, object] = {"angles": [], "scales": []}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_circular_convolution_moves_exactly_with_its_input(rank: int) -> None:
    found = equivariance(circular(rank), items(rank), shifts=[-3, 1, 5], border="circular", **STILL)
    assert found.equivariance.max() < 1e-12
    assert found.invariance.min() > 0.1
    assert found.strides == ((1.0,) * rank,)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_with_a_stride_of_two_even_shifts_are_exact_and_odd_ones_alias(rank: int) -> None:
    found = equivariance(circular(rank, 2), items(rank), shifts=[-4, 2, 6, -1, 1, 3], border="circular", **STILL)
    assert found.equivariance[:3].max() < 1e-12
    assert found.equivariance[3:].min() > 0.05
    assert found.strides == ((2.0,) * rank,)


def test_inside_zero_padding_does_not_count() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 5, padding=2), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)).double()
    for border in ("edge", "zeros", "reflect", "circular"):
        found = equivariance(model, items(2, 16), shifts=[(0, 3), (-2, 1)], border=border, **STILL)
        assert found.layers == ("0", "1", "")
        assert found.interior.max() < 1e-12
        assert found.equivariance[:, -1].min() > 1e-3


def test_errors_by_definition() -> None:
    model, x = circular(1, 2), items(1)
    found = equivariance(model, x, shifts=[1], border="circular", **STILL)
    with torch.no_grad():
        still, turned = model(x), model(x.roll(1, 2))
    goal = (still + still.roll(1, 2)) / 2  # half a position

    def mean(one: torch.Tensor, other: torch.Tensor) -> float:
        return float(((one - other).flatten(1).norm(dim=1) / other.flatten(1).norm(dim=1)).mean())

    assert float(found.equivariance[0, 0]) == pytest.approx(mean(turned, goal), rel=1e-5)
    assert float(found.invariance[0, 0]) == pytest.approx(mean(turned, still), rel=1e-5)


def test_upsampled_maps_move_further() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Upsample(scale_factor=2, mode="nearest")).double()
    found = equivariance(model, items(1), shifts=[1, 2], border="circular", **STILL)
    assert found.strides == ((1.0,), (0.5,))
    assert found.equivariance.max() < 1e-12


def test_global_averages_stay() -> None:
    model = nn.Sequential(circular(2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = equivariance(model, items(2), shifts=[3], border="circular", **STILL)
    assert found.layers == ("0", "1", "")
    assert found.equivariance[:, -1].isnan().all()
    assert found.interior[:, -1].isnan().all()
    assert found.invariance[0, -1] < 1e-12
    assert found.unchanged.tolist() == [1.0]


def test_symmetric_kernels_turn_with_their_input_by_right_angles() -> None:
    conv = nn.Conv2d(2, 1, 3, bias=False).double()
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 5.0, 2.0], [1.0, 2.0, 1.0]])
    conv.weight.data.copy_(kernel.expand(1, 2, 3, 3))
    found = equivariance(conv, items(2), shifts=[], angles=[0, 90, 180, 270], scales=[1.0])
    assert found.equivariance.max() < 1e-9
    conv.weight.data[:, :, 0] = 0
    assert equivariance(conv, items(2), shifts=[], angles=[90], scales=[]).equivariance.min() > 0.05


def test_a_map_turns_about_the_center_of_the_input_not_its_own() -> None:
    # The map lies off center: 1x1 windows from row 3, column 1 on.
    model = nn.Sequential(nn.ZeroPad2d((-1, -2, -3, 0)), nn.Conv2d(2, 1, 1)).double()
    found = equivariance(model, items(2, 9), shifts=[], angles=[90], scales=[], layers=["1"])
    assert found.equivariance[0, 0] < 1e-9


def test_a_map_of_unequal_strides_turns_as_the_input_does() -> None:
    rows, columns = torch.meshgrid(torch.arange(25.0), torch.arange(25.0), indexing="ij")
    x = (rows + 2 * columns).double()[None, None]  # interpolated exactly
    model = nn.Conv2d(1, 1, 1, stride=(2, 1)).double()
    found = equivariance(model, x, shifts=[], angles=[30], scales=[1.5])
    assert found.strides == ((2.0, 1.0),)
    assert found.interior.max() < 1e-9


def test_smooth_pictures_scale_and_turn_with_a_pointwise_layer() -> None:
    grid = torch.linspace(-1, 1, 33, dtype=torch.float64)
    x = torch.exp(-4 * (grid[:, None] ** 2 + grid**2))[None, None].expand(1, 2, -1, -1)
    torch.manual_seed(0)
    found = equivariance(nn.Conv2d(2, 2, 1, bias=False).double(), x, shifts=[], angles=[30], scales=[0.8, 1.25])
    assert found.equivariance.max() < 1e-9  # a linear map of each position
    assert found.invariance[0].max() < 0.02  # round
    assert found.invariance[1:].min() > 0.1


@given(st.integers(1, 3), st.integers(0, 99), st.sampled_from(["edge", "zeros", "reflect", "circular"]))
@settings(max_examples=20)
def test_shifts_by_their_definition(rank: int, seed: int, border: str) -> None:
    sides = torch.randint(3, 6, (rank,), generator=generator(seed)).tolist()
    by = torch.randint(-2, 3, (rank,), generator=generator(seed + 1)).tolist()
    x = torch.rand(1, 1, *sides, generator=generator(seed))
    y = shifted(x, by, border)
    assert y.shape == x.shape
    for place in torch.cartesian_prod(*(torch.arange(side) for side in sides)).reshape(-1, rank).tolist():
        source = [i - step for i, step in zip(place, by, strict=True)]
        inside = all(0 <= i < side for i, side in zip(source, sides, strict=True))
        if border == "circular":
            source = [i % side for i, side in zip(source, sides, strict=True)]
        elif border == "edge":
            source = [min(max(i, 0), side - 1) for i, side in zip(source, sides, strict=True)]
        elif border == "reflect":
            source = [(side - 1) - abs((side - 1) - abs(i)) for i, side in zip(source, sides, strict=True)]
        expected = 0.0 if border == "zeros" and not inside else float(x[(0, 0, *source)])
        assert float(y[(0, 0, *place)]) == expected


def test_between_two_positions_is_the_mean() -> None:
    x = torch.tensor([[[0.0, 4.0, 8.0, 0.0]]])
    assert between(x, [Fraction(1, 4)], "zeros").tolist() == [[[0.0, 3.0, 7.0, 2.0]]]
    assert between(x, [Fraction(-1)], "zeros").tolist() == [[[4.0, 8.0, 0.0, 0.0]]]


def test_turns_are_those_of_rot90() -> None:
    x = torch.rand(1, 2, 6, 6, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(Motion("rotation", 90.0).image(x, "edge"), x.rot90(1, (2, 3)))
    volume = torch.rand(1, 1, 3, 5, 5, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(Motion("rotation", 90.0).image(volume, "edge"), volume.rot90(1, (3, 4)))


def test_a_place_knows_what_its_outputs_read() -> None:
    place = Place((Fraction(2),), (Fraction(-1),), (Fraction(1),))
    valid = torch.tensor([1, 1, 1, 1, 0, 1, 1, 1]).bool()
    # Outputs read -1…1, 1…3, 3…5, 5…7.
    assert place.clear(valid, [4]).tolist() == [False, True, False, True]
    model = nn.Sequential(nn.Conv1d(1, 1, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(4, 2))
    found = places(model, torch.rand(1, 1, 8), ["0", "1", ""])
    assert found == {"0": place, "1": None, "": None}


def test_blur_pooling_aliases_less() -> None:
    def error(pool: nn.Module) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(circular(2), nn.ReLU(), pool)
        found = equivariance(model, items(2, 16), shifts=[1], border="circular", **STILL)
        return float(found.equivariance[0, -1])

    assert error(MaxBlurPool(2, padding_mode="circular")) < 0.6 * error(nn.MaxPool2d(2))


def test_consistency_by_hand(tmp_path: Path) -> None:
    pixels = nn.Sequential(nn.Flatten())  # the answer is the brightest place
    still = consistency(pixels, [torch.eye(9)[:, None]], most=0)
    assert (still.share, still.accuracy, still.items) == (1.0, None, 9)
    ends = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False))  # left of the middle, or right
    ends[1].weight.data.copy_(torch.stack([torch.arange(9) < 4.5, torch.arange(9) > 4.5]).float())
    x = torch.eye(9)[:, None]
    targets = (torch.arange(9) > 4).long()
    found = consistency(ends, [(x[:5], targets[:5]), (x[5:], targets[5:])], most=1, pairs=200, border="zeros")
    # 4 and 5 cross the middle and 8 the edge (zeros are left), in one of three shifts: two differ with 2·1/3·2/3.
    assert found.share == pytest.approx(1 - 3 / 9 * 4 / 9, abs=0.02)
    assert found.accuracy == pytest.approx(1 - 3 / 9 / 3, abs=0.02)
    assert found.interval[0] < found.share < found.interval[1]
    assert len(found.table().rows) == 2
    assert found.json()["pairs"] == 200
    assert found.plot({"still": still}).axes
    found.save(tmp_path / "found.json")
    assert '"most": 1' in (tmp_path / "found.json").read_text()


def test_blur_pooling_alone_is_more_consistent() -> None:
    def share(pool: nn.Module) -> float:
        head = nn.Sequential(pool, nn.Flatten(), nn.Linear(8, 4, bias=False))
        torch.manual_seed(1)
        head[2].weight.data.normal_()
        x = torch.rand(300, 1, 16, generator=generator())
        return consistency(head, [x], most=3, pairs=20, border="circular").share

    assert share(BlurPool(5, 2, "circular")) > share(nn.MaxPool1d(1, 2))


def test_the_report_is_drawn_tabled_and_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    told: list[tuple[int, int, str]] = []
    found = equivariance(model.train(), items(2).float(), progress=lambda *done: told.append(done))
    assert model.training
    assert told[-1][0] == told[-1][1] == 3 * len(found.motions)
    assert {motion.kind for motion in found.motions} == {"shift", "rotation", "scale"}
    assert found.plot().axes
    assert [*found.table().columns[1].cells] == ["1x1", "2x2", ""]
    assert "Answers that stay: shift" in str(found.table().caption)
    found.save(tmp_path / "found.safetensors")
    tensors, facts = read_tensors(tmp_path / "found.safetensors")
    assert torch.equal(tensors["invariance"], found.invariance)
    assert len(facts["motions"]) == len(found.motions)
    stored = found.json()
    assert stored["equivariance"][0][-1] is None
    assert stored["motions"][0] == {"kind": "shift", "amount": (-2, -2)}
    signal = equivariance(nn.Conv1d(2, 3, 3), items(1).float())
    assert signal.unchanged is None
    assert signal.plot().axes
    assert not math.isnan(float(signal.invariance.sum()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"border": "mirror"}, "unknown border: expected edge, zeros, reflect, circular, got 'mirror'"),
        ({"shifts": [(1, 2)]}, r"a shift has a number for each axis: expected 1 of them, got \[\(1, 2\)\]"),
        ({"angles": [10]}, "a signal cannot be turned: expected 2 or 3 spatial axes, got 1. Leave angles out."),
        ({"scales": [0]}, r"scales are positive: got \[0\]"),
        ({"layers": ["x"]}, "no such layer: got 'x'"),
        ({"shifts": [9], "border": "reflect"}, "too far to reflect: expected a shift below 8, got 9. Use border"),
    ],
)
def test_what_cannot_be_compared(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        equivariance(nn.Conv1d(2, 2, 3), items(1).float(), **options)


def test_what_has_no_answers() -> None:
    with pytest.raises(InputError, match=r"no answers to compare: expected outputs \(n, k\) of k classes, got \(2, 1"):
        consistency(nn.ReLU(), [torch.rand(2, 1, 4)], most=1)
    with pytest.raises(InputError, match="no items to look at"):
        consistency(nn.ReLU(), [], most=1)
    with pytest.raises(InputError, match=r"no shifts to compare: expected most of 0 or more, .* got \(-1, 5\)"):
        consistency(nn.ReLU(), [torch.rand(2, 1, 4)], most=-1)
    with pytest.raises(InputError, match="cannot move this input: expected 1 to 3 spatial axes"):
        equivariance(nn.Flatten(), torch.rand(1, 1, 2, 2, 2, 2))
    with pytest.raises(InputError, match="unknown border"):
        shifted(torch.rand(1, 1, 4), [1], "torus")
