"""Scenes, their files, and the registry that makes them."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from striate.demonstrations import DEMONSTRATIONS, Demonstration, Scene, demonstration, drawing, show, stride
from striate.errors import InputError
from striate.interpret import sheet
from striate.registry import Between


def gray_levels(steps: int = 3) -> Scene:
    """Step by step a lighter square."""

    def draw(axes: Axes, step: int) -> None:
        axes.fill([0, 4, 4, 0], [0, 0, 2, 2], color=str((step + 1) / (steps + 1)))

    return Scene("Levels", "From dark to light.", {"a": torch.arange(3)}, {"n": 3, "x": 1 / 3}, (4.0, 2.0), draw, steps)


def test_steps_are_drawn_when_asked_for_and_all_of_one_size() -> None:
    scene = gray_levels()
    figures = list(scene.figures())
    assert [tuple(figure.get_size_inches()) for figure in figures] == [tuple(scene.figure().get_size_inches())] * 3
    with pytest.raises(InputError, match=re.escape("no such step: Levels: expected 0..2, got 3")):
        scene.figure(3)


def test_a_gif_shows_each_step_in_its_time_and_the_last_one_longer(tmp_path: Path) -> None:
    gray_levels().save(tmp_path / "a.gif", seconds=0.2, dpi=50)
    shades, times = [], []
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.info["loop"] == 0
        for number in range(picture.n_frames):
            picture.seek(number)
            pixels = np.asarray(picture.convert("L"))
            shades.append(int(pixels[-20, pixels.shape[1] // 2]))
            times.append(picture.info["duration"])
    assert times == [200, 200, 600]
    assert shades == pytest.approx([64, 128, 191], abs=4)


def test_a_still_picture_has_the_steps_side_by_side(tmp_path: Path) -> None:
    scene = gray_levels(4)
    one, two = scene.figure().get_size_inches(), replace(scene, still=(0, 1)).sheet().get_size_inches()
    four = replace(scene, still=(0, 1, 2, 3)).sheet().get_size_inches()
    assert two[0] == 2 * one[0]
    assert two[1] == one[1]
    assert (four[0], four[1] - one[1]) == pytest.approx((2 * one[0], scene.size[1]))
    replace(scene, still=(0, -1)).save(tmp_path / "a.PNG", dpi=50)
    pixels = np.asarray(Image.open(tmp_path / "a.PNG").convert("L"))
    width = pixels.shape[1]
    assert [int(pixels[-20, width // 4]), int(pixels[-20, 3 * width // 4])] == pytest.approx([51, 204], abs=2)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("a.jpg", {}, "no such kind of picture: .*a.jpg: expected a file that ends in .gif, .png or .svg, got .jpg$"),
        ("a", {}, "no such kind of picture: .*a: expected .*, got no ending$"),
        ("no/a.png", {}, "cannot write the picture: .*a.png: got no such folder$"),
        ("b.png", {}, "cannot write the picture: .*b.png: got Is a directory$"),
        ("a.gif", {"seconds": 0}, "a step cannot stand so long: expected 0.02 to 60 seconds, got 0$"),
        ("a.png", {"dpi": 5}, "no such resolution: expected 10 to 600 dots per inch, got 5$"),
    ],
)
def test_what_cannot_be_saved_is_said(tmp_path: Path, path: str, options: dict[str, float], message: str) -> None:
    (tmp_path / "b.png").mkdir()
    with pytest.raises(InputError, match=message):
        gray_levels().save(tmp_path / path, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["b.png"]


def test_a_notebook_shows_what_moves_as_it_moves() -> None:
    def shown(scene: Scene) -> Image.Image:
        kind, data = re.fullmatch(
            r'<img alt="Levels" src="data:image/(\w+);base64,(.*)">', scene._repr_html_()
        ).groups()
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert picture.format == kind.upper()
        return picture

    assert shown(gray_levels()).n_frames == 3
    assert shown(gray_levels(1)).format == "PNG"
    assert repr(gray_levels()) == "Scene(Levels, 3 steps)"
    assert repr(gray_levels(1)) == "Scene(Levels, 1 step)"


def test_facts_are_plain() -> None:
    assert gray_levels().json() == {
        "name": "",
        "title": "Levels",
        "options": {},
        "steps": 3,
        "numbers": {"n": 3, "x": 1 / 3},
        "data": {"a": [0, 1, 2]},
    }


def test_a_spec_and_a_call_show_the_same() -> None:
    shown = [show("stride:size=9,step=3"), show("stride", size=9, step=3), show("stride:9", step=3), stride(9, step=3)]
    assert all(scene.options == {"size": 9, "kernel": 3, "step": 3} for scene in shown)
    assert all(torch.equal(scene.data["output"], shown[0].data["output"]) for scene in shown)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("strid", "unknown demonstration: got 'strid'. Did you mean stride"),
        ("stride:stp=1", "demonstration stride has no option: got 'stp'. Did you mean step"),
        ("stride:step=0", "cannot use this value: stride:step: expected a whole number in 1..5, got 0"),
        ("stride:step=true", "cannot use this value: stride:step: expected a whole number in 1..5, got True"),
        ("receptive_field:causal=1", "receptive_field:causal: expected False or True, got 1"),
        ("sobel:kernel=prewitt", "cannot use this value: sobel:kernel: expected sobel_x or sobel_y, got 'prewitt'"),
        (
            "stride:size=2,kernel=3",
            "the kernel does not fit: axis 0: expected 2 values or fewer, the padded input, got 3",
        ),
    ],
)
def test_a_spec_that_cannot_be_shown_is_answered(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        show(spec)


def test_a_new_demonstration_is_one_decorated_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DEMONSTRATIONS, "_entries", dict(DEMONSTRATIONS))

    @demonstration(moves=True, source="Me 2026", count=Between(1, 9, whole=True))
    def levels(count: int = 4) -> Scene:
        """Levels of gray."""
        return gray_levels(count)

    scene = show("levels:5")
    assert (scene.name, scene.steps, scene.options) == ("levels", 5, {"count": 5})
    assert DEMONSTRATIONS["levels"] == Demonstration(
        "levels", levels, True, ("levels",), "Me 2026", {"count": Between(1, 9, whole=True)}
    )
    assert DEMONSTRATIONS["levels"].summary == "Levels of gray."


def test_a_gif_keeps_a_color_of_few_pixels_beside_a_picture_of_many(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)  # grays, as of a photograph

    def draw(axes: Axes, step: int) -> None:
        sheet.tile(axes, np.stack([colors] * 3, -1), (0.2, 0.2, 3, 3), fit=False)
        drawing.window(axes, (3.4, 0.2 + step), 0.3, (0, 0), color=drawing.WRITTEN)

    Scene("Rare", "", {}, {}, (4, 3.5), draw, steps=2).save(tmp_path / "a.gif", dpi=60)
    with Image.open(tmp_path / "a.gif") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(pixels - np.array([0, 158, 115])).max(-1).min() <= 8
