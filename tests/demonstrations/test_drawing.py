"""What the scenes are drawn with."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from striate.demonstrations import drawing


@pytest.mark.parametrize("word", ["−1020", "0", "w11·x", "WWWW"])
def test_a_word_stays_inside_its_cell_in_its_middle(word: str) -> None:
    axes = Figure().add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 3), ylim=(3, 0))
    drawing.cells(axes, [["", ""], ["", word]], (1, 1), 0.5)
    (shape,) = [artist for artist in axes.get_children() if isinstance(artist, PathPatch)]
    box = shape.get_path().get_extents()
    assert 1.5 < box.x0 < box.x1 < 2
    assert 1.5 < box.y0 < box.y1 < 2
    assert (box.x0 + box.x1) / 2 == pytest.approx(1.75)
    assert (box.y0 + box.y1) / 2 == pytest.approx(1.75, abs=0.05)


def test_a_grid_without_words_has_no_shape() -> None:
    axes = Figure().add_axes((0, 0, 1, 1))
    drawing.cells(axes, [["", ""]], (0, 0))
    assert not [artist for artist in axes.get_children() if isinstance(artist, PathPatch)]
