"""A classifier at many scales against the same classifier on each crop alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from striate import zoo
from striate.errors import InputError
from striate.interpret import Sighting, many_scales
from striate.interpret.scales import Level, ScaleMap
from striate.ops import resize
from striate.recipe import Recipe
from striate.runs import open_session
from striate.train import fit

RECIPES = Path(__file__).parents[2] / "recipes"


def classifier(rank: int = 2) -> nn.Module:
    """Crops of 10 positions along each axis to three classes, with a stride of 2."""
    torch.manual_seed(rank)
    conv, pool = ((nn.Conv1d, nn.MaxPool1d), (nn.Conv2d, nn.MaxPool2d))[rank - 1]
    return nn.Sequential(conv(1, 4, 3), nn.ReLU(), pool(2), nn.Flatten(), nn.Linear(4 * 4**rank, 3))


@pytest.mark.parametrize("scale", [1.0, 0.6, 1.5])
def test_scores_are_those_of_the_classifier_on_each_crop(scale: float) -> None:
    net, image = classifier(), torch.rand(1, 1, 23, 31)
    found = many_scales(net, image, patch=(10, 10), scales=[scale])
    (level,) = found.levels
    picture = resize(image, level.sides)
    assert found.stride == (2, 2)
    for i in range(level.scores.shape[1]):
        for j in range(level.scores.shape[2]):
            crop = picture[:, :, 2 * i : 2 * i + 10, 2 * j : 2 * j + 10]
            torch.testing.assert_close(level.scores[:, i, j], net(crop).softmax(1)[0])


def test_a_padded_network_sees_each_crop_alone_too() -> None:
    net = zoo.build("cifar_fast", num_classes=3, width=0.125).eval()
    image = torch.rand(1, 3, 24, 27)
    found = many_scales(net, image, patch=(17, 17), stride=5, scales=[1])
    for i, j in ((0, 0), (1, 2)):
        crop = image[:, :, 5 * i : 5 * i + 17, 5 * j : 5 * j + 17]
        torch.testing.assert_close(found.levels[0].scores[:, i, j], net(crop).softmax(1)[0])


def test_signals_have_one_axis() -> None:
    net, signal = classifier(1), torch.rand(1, 1, 40)
    found = many_scales(net, signal, patch=(10,), scales=[1, 0.5])
    assert [tuple(level.scores.shape) for level in found.levels] == [(3, 16), (3, 6)]
    torch.testing.assert_close(found.levels[0].scores[:, 3], net(signal[:, :, 6:16]).softmax(1)[0])
    with pytest.raises(InputError, match="only images can be drawn: expected 2 axes of space, got 1"):
        found.plot([])


def bright_square() -> nn.Module:
    """Class 1 where a crop of 8x8 holds a bright square of 4x4 in its middle, and nothing else; else class 0."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    inside = F.pad(torch.ones(4, 4), (2,) * 4).flatten()
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([torch.zeros(64), 4 * inside - 4 * (1 - inside)]))
        net[1].bias.copy_(torch.tensor([0.0, -40.0]))
    return net


@pytest.mark.parametrize(("side", "scale"), [(4, 1.0), (8, 0.5), (16, 0.25)])
def test_what_is_found_has_the_class_the_place_and_the_size_of_what_is_there(side: int, scale: float) -> None:
    image = torch.zeros(1, 1, 64, 96)
    image[:, :, 16 : 16 + side, 32 : 32 + side] = 1
    found = many_scales(bright_square(), image, patch=(8, 8), scales=[1, 0.5, 0.25], stride=1)
    seen = found.find(0.9, ignore=[0])
    assert [(s.place, s.size, s.scale) for s in seen] == [((16 - side / 2, 32 - side / 2), (2 * side,) * 2, scale)]
    assert seen[0].json()["target"] == 1
    assert found.json()["levels"][1]["scores"] == found.levels[1].scores.tolist()


def test_the_vote_is_the_mean_over_scales_of_the_greatest_over_places() -> None:
    found = many_scales(classifier(), torch.rand(1, 1, 23, 31), patch=(10, 10))
    assert [level.scale for level in found.levels] == pytest.approx([1, 2**-0.5, 0.5])
    by_hand = [max(float(s) for s in level.scores[1].flatten()) for level in found.levels]
    assert float(found.vote()[1]) == pytest.approx(sum(by_hand) / 3)


def test_one_thing_is_found_once() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.7]])
    found = ScaleMap(torch.zeros(1, 1, 16), (4,), (2,), (Level(1.0, (16,), scores),))
    assert [seen.place for seen in found.find(0.5)] == [(0.0,), (6.0,)]
    assert [seen.place for seen in found.find(0.5, overlap=0.5)] == [(0.0,), (2.0,), (6.0,)]
    assert [seen.place for seen in found.find(0.5, overlap=1, most=1)] == [(0.0,)]


def test_overlap_is_a_part_of_the_smaller_crop() -> None:
    large = Sighting(0, 1, (0.0, 0.0), (8.0, 8.0), 1.0)
    small = Sighting(0, 1, (6.0, 2.0), (4.0, 2.0), 1.0)
    assert large.overlap(small) == small.overlap(large) == 0.5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_resize_is_that_of_pillow(h: int, w: int, new_h: int, new_w: int) -> None:
    x = torch.rand(2, 1, h, w)
    for image, resized in zip(x, resize(x, (new_h, new_w)), strict=True):
        expected = Image.fromarray(image[0].numpy()).resize((new_w, new_h), Image.Resampling.BILINEAR)
        torch.testing.assert_close(resized[0], torch.from_numpy(np.array(expected)), atol=2e-5, rtol=0)


def test_resize_of_a_volume_is_that_of_its_axes() -> None:
    x = torch.rand(1, 1, 4, 6, 5, dtype=torch.float64)
    planes = F.interpolate(x[0], (3, 7), mode="bilinear", antialias=True)[None]
    torch.testing.assert_close(resize(x, (4, 3, 7)), planes)


def test_the_picture_has_a_map_for_each_scale_and_a_box_for_each_sighting() -> None:
    found = many_scales(classifier(), torch.rand(1, 1, 23, 31), patch=(10, 10))
    seen = found.find(0.4)
    (axes,) = found.plot(seen, names=("a", "b", "c")).axes
    assert len(axes.images) == 1 + len(found.levels)
    assert len(axes.patches) == len(seen) == found.table(seen, ("a", "b", "c")).row_count > 0


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([1, 0.3], "the image is smaller than a crop at this scale: image 23x31, crop 10x10: got 0.3. Leave the scale"),
        ([0], "a scale is a positive number.*got 0"),
        ([], "no scale to look at: expected one or more, got none"),
    ],
)
def test_scales_that_do_not_fit_are_refused(scales: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        many_scales(classifier(), torch.rand(1, 1, 23, 31), patch=(10, 10), scales=scales)


def test_an_image_smaller_than_a_crop_is_refused() -> None:
    with pytest.raises(InputError, match=r"smaller than a crop at this scale.*image 9x31"):
        many_scales(classifier(), torch.rand(1, 1, 9, 31), patch=(10, 10))


def test_several_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot look at several scales: image: expected one image.*got \(2, 1, 23"):
        many_scales(classifier(), torch.rand(2, 1, 23, 31), patch=(10, 10))


@pytest.mark.parametrize("size", [(3,), (3, 0)])
def test_sizes_that_do_not_fit_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="cannot resize: size: expected 2 sides of 1 or more"):
        resize(torch.rand(1, 1, 4, 4), size)


@pytest.mark.slow
def test_digits_of_several_sizes_are_found_by_a_classifier_of_single_ones(shared_data: Path) -> None:
    """Each with its class, at its place, at the scale that brings it to 28 pixels.

    The network was never shown what is no digit: it may take parts of the large ones for others, as its training was
    rounded.
    """
    recipe = replace(Recipe.read(RECIPES / "mnist.yaml"), data=f"mnist:{shared_data / 'mnist'}", device="cpu")
    session = open_session(recipe)
    for _ in fit(session.model, session.task, session.data, recipe):
        pass
    items, image = session.data.test, torch.zeros(1, 1, 160, 240)
    places = [(28, 10, 12), (40, 60, 20), (80, 20, 140), (28, 120, 30)]
    expected = []
    for number, (side, top, left) in zip((0, 1, 3, 4), places, strict=True):
        digit = session.data.preprocess.units(items.inputs[number : number + 1])
        image[0, :, top : top + side, left : left + side] = resize(digit, (side, side))[0]
        expected.append((int(items.targets[number]), side, top, left))
    found = many_scales(session.model.eval(), session.data.preprocess.standardize(image), stride=2).find(0.9)
    assert len(found) <= 2 * len(expected)
    for target, side, top, left in expected:
        near = [s for s in found if max(abs(s.place[0] - top), abs(s.place[1] - left)) < 0.2 * side]
        assert [s.target for s in near if 0.7 < s.size[0] / side < 1.45] == [target]
