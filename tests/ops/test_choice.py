"""The cost model: what it says, what it refuses to believe, and that a calibration is stored and read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.errors import InputError
from striate.ops.algorithms import calibrate, calibration, correlation, cost, explain_choice, forms, operators
from striate.ops.algorithms.setting import Problem, Setting


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path))
    cost.reset()
    yield
    monkeypatch.undo()
    cost.reset()


def test_the_shipped_choice_for_what_it_is_meant() -> None:
    assert explain_choice((4, 64, 8192), (64, 64, 512)).chosen == "fft"
    assert explain_choice((1, 128, 16384), (128, 1, 1024), groups=128).chosen == "fft"
    assert explain_choice((8, 256, 512), (256, 1, 31), padding=15, groups=256).chosen == "banded"
    assert explain_choice((2, 128, 56, 56), (128, 1, 31, 31), padding="same", groups=128).chosen == "channels_last"
    assert explain_choice((4, 64, 56, 56), (64, 64, 3, 3), padding=1).chosen == "direct"
    assert explain_choice((1, 8, 8, 8), (8, 8, 3, 3), padding=1, passage="kernel_gradient").chosen == "direct"


def test_an_explanation_is_printed_listed_and_plain() -> None:
    choice = explain_choice(torch.zeros(2, 64, 4096), torch.zeros(64, 64, 128), stride=1, padding="same")
    text = str(choice)
    assert text.startswith("forward: fft (shipped calibration)\n  → fft ")
    assert "banded        needs 1-D, one kernel to each channel (depthwise), stride 1 and dilation 1" in text
    assert "matrix        its matrix would have 2,147,483,648 entries, more than 67,108,864" in text
    small = str(explain_choice((1, 2, 9), (2, 2, 3)))
    assert "matrix        is there to look at and to check by" in small
    assert "im2col        would write out 67,108,864 numbers, more than 8,388,608" in text
    assert json.loads(json.dumps(choice.json()))["chosen"] == "fft"
    assert choice.table().row_count == len(forms.FORWARD)
    assert set(choice.seconds) | set(choice.undefined) == set(forms.FORWARD)
    assert choice.seconds["fft"] * choice.margin < choice.seconds["direct"]


@pytest.mark.parametrize(
    ("x", "kernel", "groups", "passage", "name", "reason"),
    [
        ((1, 8, 9, 9, 9), (8, 8, 3, 3, 3), 1, "forward", "channels_last", "is slower in 3-D where channels meet"),
        ((1, 8, 99), (8, 1, 20), 8, "kernel_gradient", "channels_last", "is slow for the gradient of a wide window"),
        ((1, 8, 9), (8, 1, 3), 8, "forward", "winograd", "pays, if at all, where many channels meet"),
        ((1, 8, 9), (8, 8, 1), 1, "forward", "fft", "has nothing to gain at a window of one place"),
    ],
)
def test_what_is_unpromising_is_told(x, kernel, groups: int, passage: str, name: str, reason: str) -> None:
    assert explain_choice(x, kernel, groups=groups, passage=passage).undefined[name] == reason


def test_faster_by_less_than_the_margin_is_told() -> None:
    from striate.ops.algorithms import Choice

    told = str(Choice("forward", "direct", {"direct": 1e-3, "im2col": 0.9e-3}, {}))
    assert (
        "im2col              0.9 ms  1.11× direct's speed; faster than direct by less than the margin of 1.5×" in told
    )


def test_other_types_and_devices_are_direct() -> None:
    for options in ({"dtype": torch.bfloat16}, {"device": "cuda"}):
        choice = explain_choice((4, 64, 8192), (64, 64, 512), **options)
        assert choice.chosen == "direct"
    assert choice.seconds == {}
    assert choice.undefined["fft"] == "is not calibrated"


def test_an_unknown_pass() -> None:
    text = "unknown pass: got 'backward'. Known: forward, input_gradient, kernel_gradient."
    with pytest.raises(InputError, match=re.escape(text)):
        explain_choice((1, 1, 9), (1, 1, 3), passage="backward")


@pytest.mark.parametrize(
    ("x", "kernel", "groups", "text"),
    [
        ((1, 4, 8), (4, 4, 3), 3, "cannot choose: groups: expected a divisor of 4 channels and of 4 kernels, got 3"),
        ((1, 4, 8), (4, 3, 3), 1, "cannot choose: kernel: expected 4 channels (4 of x in 1 groups), got 3"),
        ((1, 4, 8), (4, 4), 1, "cannot choose: kernel: expected axes (k, c/groups, *window), 3 as x has"),
        ((1, 4, 8), (4, 4, 9), 1, "the kernel does not fit: axis 0: expected 8 values or fewer"),
    ],
)
def test_shapes_that_do_not_go_together(x, kernel, groups: int, text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        explain_choice(x, kernel, groups=groups)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8), st.sampled_from([torch.float32, torch.float64]))
def test_small_problems_stay_with_torch(rank: int, channels: int, fields: int, dtype: torch.dtype) -> None:
    shapes = (1, channels, *[10] * rank), (fields, channels, *[3] * rank)
    for passage in forms.PASSES:
        choice = explain_choice(*shapes, padding="same", passage=passage, dtype=dtype)
        if rank < 3 or channels * fields < 38:
            assert choice.chosen == "direct"
            assert choice.undefined["im2col"].startswith(("does not pay below 1,048,576 mul", "has no form of its own"))


def test_in_float64_no_layout_is_changed() -> None:
    choice = explain_choice((1, 64, 56, 56), (64, 1, 15, 15), groups=64, dtype=torch.float64)
    assert choice.chosen == "fft"
    assert choice.undefined["channels_last"] == "is slower in float64, for which oneDNN has nothing"


def problems() -> st.SearchStrategy[Problem]:
    def build(rank: int, items: int, groups: int, depth: int, each: int, size: int, window: int) -> Problem:
        ends = ((window // 2, window // 2),) * rank
        setting = Setting((1,) * rank, ends, (1,) * rank, groups)
        return Problem(items, (size,) * rank, groups * each, depth, (min(window, size),) * rank, setting)

    whole = st.integers
    return st.builds(
        build, whole(1, 3), whole(0, 64), whole(1, 64), whole(1, 64), whole(1, 8), whole(1, 300), whole(1, 70)
    )


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(forms.PASSES))
def test_a_choice_is_defined_and_has_its_margin(problem: Problem, passage: str) -> None:
    chosen = cost.fastest(passage, problem, torch.float32, "cpu")
    assert forms.undefined(chosen, passage, problem, torch.float32) == ""
    seconds = cost.predictions(passage, problem, torch.float32, "cpu")
    assert all(math.isfinite(value) and value >= 0 for value in seconds.values())
    assert "direct" in seconds
    if chosen != "direct":
        assert seconds[chosen] * cost.MARGIN < seconds["direct"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-12, 1e-3), min_size=3, max_size=3), st.integers(4, 9), st.integers(0, 1000))
def test_a_fit_finds_the_coefficients(coefficients: list[float], rows: int, seed: int) -> None:
    features = torch.rand(rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    features *= torch.tensor([1, 1e6, 1e4], dtype=torch.float64) ** torch.rand(
        rows, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1)
    )
    seconds = features @ torch.tensor(coefficients, dtype=torch.float64)
    found = cost.fit(features, seconds)
    assert all(value >= 0 for value in found)
    again = features @ torch.tensor(found, dtype=torch.float64)
    torch.testing.assert_close(again, seconds, rtol=1e-4, atol=0)


def test_calibrating_stores_and_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {1: calibration.SHAPES[1][:2] + calibration.SHAPES[1][11:13]}
    monkeypatch.setattr(calibration, "SHAPES", few)
    path = calibrate()
    assert path == cost.stored("cpu")
    assert path.is_file()
    assert not list(path.parent.glob("*.part"))
    assert set(cost.table("cpu")) == set(json.loads(path.read_text())["seconds"])
    assert explain_choice((1, 16, 64), (16, 16, 3)).calibration == str(path)


def test_a_device_that_is_not_here() -> None:
    text = "cannot calibrate: device: expected 'cpu', or 'cuda' where there is one, got mps"
    with pytest.raises(InputError, match=re.escape(text)):
        calibrate("mps")


def test_a_stored_calibration_decides() -> None:
    x, kernel = torch.randn(1, 16, 2000), torch.randn(16, 16, 3)
    setting = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,)}
    before = correlation(x, kernel, **setting)
    rows = {**cost.table("cpu"), "im2col dense": [1e-9, 0.0, 0.0]}
    cost.store(rows, cost.stored("cpu"))
    cost.reset()
    assert explain_choice(x, kernel).chosen == "im2col"
    assert operators._plan(x, kernel, Setting((1,), ((0, 0),), (1,), 1), "auto", learning=False) == "im2col"
    torch.testing.assert_close(correlation(x, kernel, **setting), before)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ('{"format": 0, "seconds": {}}', "format 0, not 1"),
        ('{"seconds": {}}', "'format'"),
        ('{"format": 1, "seconds": {"a": [1, 2]}}', "coefficients must be three or four finite numbers, none negative"),
        ('{"format": 1, "seconds": {"a": [1, 2, -3]}}', "none negative"),
        ('{"format": 1, "seconds": {"a": [1, 2, NaN]}}', "none negative"),
        ('{"format": 1, "seconds": {"im2col dense": [1, 2, "x"]}}', "could not convert"),
        ('{"format": 1, "seconds": [1]}', "'list' object"),
    ],
)
def test_a_damaged_file_is_left_out_with_a_warning(text: str, why: str) -> None:
    shipped = cost.table("cpu")
    cost.stored("cpu").write_text(text)
    cost.reset()
    with pytest.warns(UserWarning, match=r"not a calibration of convolutions \(.*" + re.escape(why)):
        assert cost.table("cpu") == shipped
    assert explain_choice((4, 64, 8192), (64, 64, 512)).chosen == "fft"


def test_the_shipped_table_is_whole() -> None:
    """Every family that can be asked for has coefficients, and no other."""
    known = set()
    for problem in calibration.problems():
        for passage in forms.PASSES:
            for name in cost.CANDIDATES:
                reason = forms.undefined(name, passage, problem, torch.float32)
                if not (reason or cost.unpromising(name, passage, problem)):
                    known.add(cost.describe(name, passage, problem)[0])
    assert known >= set(cost.table("cpu"))
    assert {family for family in known if family.startswith("direct")} <= set(cost.table("cpu"))


def test_small_calls_with_gradients_stay_with_torch() -> None:
    """Three calls through our operators cost more than a tiny convolution can gain."""
    x, kernel = torch.randn(1, 96, 28, 28), torch.randn(24, 96, 1, 1)
    setting = Setting((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    assert operators._plan(x, kernel, setting, "auto", learning=True) == "torch"
