"""The chart of accuracy against arithmetic draws the numbers given, and its labels are legible."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from matplotlib.figure import Figure
from tests.geometry.figures import drawn, overlap, words
from torch import nn

from striate.errors import InputError
from striate.geometry import Measured, describe, draw_complexity
from striate.geometry.pictures import DPI


def measured(name: str, width: int, accuracy: float = 50.0, source: str = "") -> Measured:
    with torch.device("meta"):
        return Measured(name, describe(nn.Conv2d(3, width, 3), (3, 16, 16)), accuracy, source)


def discs(figure: Figure) -> list[tuple[float, float, float, float]]:
    """x, y, area and radius (pixels) of the large discs of the chart."""
    found = figure.axes[0].collections[::2]
    return [(*c.get_offsets()[0].tolist(), c.get_sizes()[0], c.get_sizes()[0] ** 0.5 / 144 * DPI) for c in found]


def test_the_chart_draws_the_numbers_given() -> None:
    entries = [measured("small", 4, 20), measured("large", 64, 80, "a paper"), measured("middle", 16, 55, "a paper")]
    figure = draw_complexity(entries)
    drawn(figure)
    places = {(round(y), area): x for x, y, area, _ in discs(figure)}
    assert {y for y, _ in places} == {20, 80, 55}
    for (y, area), x in places.items():
        entry = next(entry for entry in entries if entry.accuracy == y)
        assert x == pytest.approx(entry.report.macs / 1e3)
        share = entry.report.parameters / entries[1].report.parameters
        assert area == pytest.approx(share * max(area for _, area in places))
    assert {"small", "large", "middle"} <= set(words(figure))
    assert "large, middle: a paper" in words(figure)
    assert figure.axes[0].get_xlabel() == "multiply-adds of one input (k-MACs)"


@pytest.mark.parametrize(("factor", "scale"), [(19, "linear"), (20, "log")])
def test_operations_are_logarithmic_where_they_span_a_factor_of_20(factor: int, scale: str) -> None:
    figure = draw_complexity([measured("a", 3), measured("b", 3 * factor)])
    drawn(figure)
    assert figure.axes[0].get_xscale() == scale
    assert ("logarithmic" in figure.axes[0].get_xlabel()) == (scale == "log")


def boxes_of_labels(figure: Figure, names: Sequence[str]) -> list[tuple[float, ...]]:
    drawn(figure)
    return [tuple(t.get_window_extent().extents) for t in figure.axes[0].texts if t.get_text() in names]


@pytest.mark.parametrize("same", [1, 6, 15])
def test_labels_do_not_overlap(same: int) -> None:
    entries = [measured(f"network {i}", 8 + (i % same) ** 2, 40 + i % same / 3) for i in range(15)]
    extents = boxes_of_labels(draw_complexity(entries), [entry.name for entry in entries])
    assert len(extents) == 15
    assert not any(overlap(a, b) for a, b in itertools.combinations(extents, 2))


def test_labels_stay_off_discs_and_within_the_figure_where_there_is_room() -> None:
    entries = [measured(f"network {i}", 4 * (i + 1), 10 + 12 * i) for i in range(7)]
    figure = draw_complexity(entries)
    extents = boxes_of_labels(figure, [entry.name for entry in entries])
    for x, y, _, radius in discs(figure):
        across, up = figure.axes[0].transData.transform((x, y))
        for left, bottom, right, top in extents:
            gap = math.hypot(across - min(max(across, left), right), up - min(max(up, bottom), top))
            assert gap >= radius - 1
    assert all(figure.bbox.x0 <= e[0] and e[2] <= figure.bbox.x1 for e in extents)


def test_a_label_that_is_not_beside_its_disc_has_a_line_to_it() -> None:
    entries = [measured(f"network {i}", 8) for i in range(15)]
    figure = draw_complexity(entries)
    extents = boxes_of_labels(figure, [entry.name for entry in entries])
    (x, y, _, radius), *_ = discs(figure)
    across, up = figure.axes[0].transData.transform((x, y))
    gaps = [math.hypot(across - min(max(across, e[0]), e[2]), up - min(max(up, e[1]), e[3])) - radius for e in extents]
    lines = [text for text in figure.axes[0].texts if not text.get_text()]
    assert len(lines) == sum(gap > 0.15 * DPI for gap in gaps) > 3


def test_names_of_networks_are_not_math() -> None:
    drawn(
        draw_complexity([measured("$x_{$ 日本", 8, 0, "$\\frac{ 日本 " * 30), ("plain", measured("", 8).report, 100)])
    )


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([], r"no networks to compare: expected tuples \(name, report, accuracy\), got none"),
        ([("a", 101.0)], "accuracy is given in percent: a: expected 0 to 100, got 101"),
        ([("a", -0.5)], "accuracy is given in percent: a: expected 0 to 100, got -0.5"),
        ([("a", math.nan)], "accuracy is given in percent: a: expected 0 to 100, got nan"),
    ],
)
def test_what_cannot_be_charted_is_an_error(entries: list[tuple[str, float]], text: str) -> None:
    with pytest.raises(InputError, match=text):
        draw_complexity([measured(name, 4, accuracy) for name, accuracy in entries])


def test_a_network_without_products_cannot_be_charted() -> None:
    report = describe(nn.ReLU(), (1, 4, 4))
    with pytest.raises(InputError, match="a network without multiply-adds has no place in the chart: got r"):
        draw_complexity([("r", report, 1.0)])
