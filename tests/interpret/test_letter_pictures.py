"""Logos and words: what their notes say, and positions without a value."""

from __future__ import annotations

import math

import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from torch import nn

from striate.interpret import gradient, mutagenesis, occlusion
from striate.interpret.letter_pictures import Meaning, draw_letters
from striate.interpret.sheet import RULE

HEAT = torch.tensor([1.0, math.nan, -2.0, 0.5])
MEANS = Meaning("good", "bad", "never covered", "More.")


def written(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.axes[0].texts)


def test_a_logo_has_a_note_of_its_own_and_no_letter_where_nothing_is_known() -> None:
    figure = draw_letters(HEAT, "ACGT", "title", MEANS, "drop")
    assert "Upright: good; hanging: bad; no letter: never covered. More. Colors tell the bases apart." in written(
        figure
    )
    letters = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
    assert len(letters) == 3
    assert "from -2 to +1" in written(figure)
    assert "no letter" not in written(draw_letters(HEAT.nan_to_num(), "ACGT", "title", MEANS, "drop"))


def test_words_are_gray_where_nothing_is_known() -> None:
    figure = draw_letters(HEAT, ["a", "b", "c", "d"], "title", MEANS, "drop")
    assert "Red: good; blue: bad; gray: never covered. More." in written(figure)
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert [patch.get_facecolor() == to_rgba(RULE) for patch in boxes] == [False, True, False, False]


def test_every_method_of_a_sequence_says_how_to_read_its_logo() -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    x = torch.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]].T[None]
    covered = occlusion(net, x, patch=3, stride=4, target=0).lettered("ACGTACGTAC")
    note = "Upright: covering lowers the output; hanging: it raises it; no letter: never covered."
    assert note in written(covered.plot())
    slopes = gradient(net, x, target=0).lettered("ACGTACGTAC")
    assert "Upright: the output depends on it. Colors" in written(slopes.plot())
    assert "Upright: changes of the letter lower the output; hanging" in written(mutagenesis(net, "ACGTACGTAC").logo())
    for figure in (covered.plot(), slopes.plot()):
        assert "Red" not in written(figure)


def test_padding_at_an_end_is_one_box_with_its_greatest_score() -> None:
    heat = torch.tensor([math.nan, 0.0, 0.5, 0.1, -0.2, 1.0, 0.1, -0.7, math.nan])
    figure = draw_letters(heat, ["·", "·", "a", "·", "·", "b", "·", "·", "·"], "title", MEANS, "drop")
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    words = [text.get_text() for text in figure.axes[0].texts if text.get_text()[0] in "ab·"]
    assert words == ["· 2 times", "a", "·", "·", "b", "· 3 times"]
    assert "· is padding, its greatest score." in written(figure)
    assert boxes[0].get_facecolor() != to_rgba(RULE)  # one of the two is known
    red, _, blue, _ = boxes[5].get_facecolor()
    assert blue > red
    alone = draw_letters(heat[:3], ["a", "b", "·"], "title", MEANS, "drop")
    assert "·" in [text.get_text() for text in alone.axes[0].texts]


def test_a_logo_without_scores_says_so() -> None:
    assert "All scores are 0." in written(draw_letters(torch.zeros(4), "ACGT", "title", MEANS, "drop"))
    assert "All scores are 0." in written(draw_letters(torch.tensor([0, math.nan]), "AC", "title", MEANS, "drop"))
    for heat in (HEAT, torch.full((4,), math.nan)):
        assert "All scores are 0." not in written(draw_letters(heat, "ACGT", "title", MEANS, "drop"))
