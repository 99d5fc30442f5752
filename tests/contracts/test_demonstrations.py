"""What holds for every demonstration: its data, its numbers, and pictures that can be saved and read."""

from __future__ import annotations

import inspect
import json
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from striate.demonstrations import DEMONSTRATIONS, Demonstration, Scene, show
from striate.errors import InputError
from striate.registry import Between

each = pytest.mark.parametrize("entry", DEMONSTRATIONS.values(), ids=lambda entry: entry.name)


def cut_off(figure: Figure) -> list[str]:
    """Words that do not lie inside the figure."""
    figure.set_dpi(60)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # matplotlib keeps labels of ticks that lie outside of the axis, and does not draw them.
    ticks = {label for axis in figure.findobj(Axis) for label in axis.get_ticklabels(which="both")}
    found = []
    for text in figure.findobj(Text):
        if text.get_text().strip() and text not in ticks:
            box = text.get_window_extent(canvas.get_renderer())
            if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
                found.append(text.get_text())
    return found


def few_steps(scene: Scene) -> Scene:
    """The same with two steps at most: drawing takes time."""
    return replace(scene, steps=min(scene.steps, 2), still=(-1,))


def spread(entry: Demonstration) -> list[Scene]:
    """With the least and the greatest value of each option, or with each value; those that fit together."""
    found = []
    for key, allowed in entry.allowed.items():
        whole = isinstance(allowed, Between) and allowed.whole
        ends = (allowed.low, allowed.high) if isinstance(allowed, Between) else allowed
        for value in map(int, ends) if whole else ends:
            try:
                found.append(entry.function(**{key: value}))
            except InputError as error:
                assert "the kernel does not fit" in str(error)  # noqa: PT017
    return found


@each
def test_every_option_says_which_values_it_takes(entry: Demonstration) -> None:
    assert set(entry.allowed) == set(inspect.signature(entry.function).parameters) == set(entry.defaults)
    for key, default in entry.defaults.items():
        assert default in entry.allowed[key]
        with pytest.raises(InputError, match=f"^cannot use this value: {entry.name}:{key}: expected .*, got 'x'$"):
            entry.function(**{key: "x"})


@each
def test_data_numbers_and_facts_are_plain_and_finite(entry: Demonstration) -> None:
    check_facts(entry, [show(spec) for spec in entry.examples])


def check_facts(entry: Demonstration, scenes: list[Scene]) -> None:
    """Of scenes, some of which move if the demonstration says so."""
    for scene in scenes:
        assert scene.name == entry.name
        assert set(scene.options) == set(entry.allowed)
        assert scene.numbers
        assert all(torch.isfinite(values.double()).all() for values in scene.data.values())
        assert set(json.loads(json.dumps(scene.json(), allow_nan=False))["data"]) == set(scene.data)
        assert len(scene.table().rows) == len(scene.numbers)
        assert all(-scene.steps <= step < scene.steps for step in scene.still)
    assert entry.moves == (max(scene.steps for scene in scenes) > 1)
    assert ("gif" in entry.formats) == entry.moves
    assert json.loads(json.dumps(entry.json()))["name"] == entry.name


@each
def test_the_examples_are_of_the_demonstration(entry: Demonstration) -> None:
    assert entry.examples[0] == entry.name
    assert all(spec.partition(":")[0] == entry.name for spec in entry.examples)


@each
def test_it_saves_pictures_that_can_be_read(entry: Demonstration, tmp_path: Path) -> None:
    scene = few_steps(show(entry.name))
    for kind in ("gif", "png", "svg"):
        scene.save(tmp_path / f"a.{kind}", dpi=20, seconds=0.1)
    with Image.open(tmp_path / "a.gif") as moving, Image.open(tmp_path / "a.png") as still:
        frames = []
        for number in range(moving.n_frames):
            moving.seek(number)
            frames.append(np.asarray(moving.convert("RGB")))
        assert len(frames) == scene.steps
        assert len({frame.shape for frame in frames}) == 1
        assert all((one != other).any() for one, other in pairwise(frames))
        assert all(frame.std() > 5 for frame in frames)
        assert still.size == moving.size
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_a_word_that_is_cut_off_is_found() -> None:
    scene = show("pooling")
    assert cut_off(replace(scene, title="wide").figure()) == []
    figure = scene.figure()
    figure.axes[0].text(9.0, 1, "beyond the edge")
    assert cut_off(figure) == ["beyond the edge"]


@pytest.mark.slow
@each
def test_whatever_the_options_facts_are_plain_and_no_word_is_cut_off(entry: Demonstration) -> None:
    scenes = [*map(show, entry.examples), *spread(entry)]
    check_facts(entry, scenes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scene in scenes:
            assert cut_off(scene.sheet()) == [], scene.options
            assert cut_off(scene.figure(scene.steps // 2)) == [], scene.options
