"""Where the network's picture lies in the whole one, against Pillow's own fitting."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from striate.data import Framing, Meaning, Pictures

SIDES = st.integers(4, 40)


@given(SIDES, SIDES, SIDES, SIDES)
def test_out_is_the_inverse_of_into_and_the_middle_stays(h: int, w: int, height: int, width: int) -> None:
    framing = Framing((h, w), (height, width))
    places = torch.rand(9, 2, dtype=torch.float64) * 50 - 5
    torch.testing.assert_close(framing.out(framing.into(places)), places)
    center = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    torch.testing.assert_close(framing.into(center), torch.tensor([w / 2, h / 2], dtype=torch.float64))


@given(st.integers(1, 6), st.integers(8, 20), st.integers(8, 20))
def test_a_ramp_is_where_pillow_puts_it(times: int, h: int, w: int) -> None:
    """Coordinates written into a picture and fitted by Pillow say where each pixel came from."""
    height, width = h * times + 7, w * times
    framing = Framing((h, w), (height, width))
    ramp = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None] + 0.5, (height, width))
    fitted = np.asarray(ImageOps.fit(Image.fromarray(ramp.copy()), (w, h), Image.Resampling.BOX))
    rows = torch.tensor([[w / 2, i + 0.5] for i in range(h)])
    np.testing.assert_allclose(framing.out(rows)[:, 1].numpy(), fitted[:, w // 2], atol=0.51)


def test_points_and_boxes_go_in_and_come_out_again() -> None:
    pictures = Pictures((1, 8, 8), (0.0,), (1.0,))
    points = torch.tensor([[[10.0, 6.0], [14.0, 3.5]]])
    framing = Framing((8, 8), (16, 24))
    placed = pictures.place(points, Meaning("points", ("a", "b")), (16, 24))
    torch.testing.assert_close(framing.out(placed + 0.5) - 0.5, points)
    box = Meaning("box", ("a",))
    labels = torch.tensor([[10.0, 6.0, 4.0, 4.0, 1.0, 1.0], [0.0, 0.0, 4.0, 4.0, 1.0, 1.0], [2.0, 0.0, 4.0, 4.0, 1, 1]])
    found = pictures.place(labels, box, (16, 24))
    assert found[0].tolist() == [3.0, 3.0, 2.0, 2.0, 1.0, 1.0]
    assert found[1].tolist() == [0.0] * 6  # cut off with the left border
    assert found[2].tolist() == [0.0, 0.0, 2.0, 1.0, 1.0, 1.0]  # half of it is left


def test_classes_of_the_whole_picture() -> None:
    """Two halves of a 2x4 picture in one of 4x16: in the middle 8 columns, twice as large, void beside them."""
    scores = torch.tensor([[1.0, 1, 0, 0]] * 2)
    framing = Framing((2, 4), (4, 16))
    mask = framing.classes(torch.stack([scores, 1 - scores]), 255)
    assert mask.shape == (4, 16)
    assert mask[0].tolist() == [255] * 4 + [0] * 4 + [1] * 4 + [255] * 4
    inner = framing.classes(torch.stack([scores, 1 - scores])[:, :, 1:3], 255)  # only the middle is known
    assert inner[3].tolist() == [255] * 6 + [0] * 2 + [1] * 2 + [255] * 6


def test_strips_make_no_difference(monkeypatch) -> None:
    scores = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0))
    framing = Framing((9, 7), (50, 31))
    whole = framing.classes(scores, 255)
    monkeypatch.setattr("striate.data.framing.STRIP", 200)
    assert torch.equal(framing.classes(scores, 255), whole)
