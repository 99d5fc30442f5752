from __future__ import annotations

import numpy as np
import pytest
import torch

from striate.interpret import sheet


def test_text_is_shortened_at_the_chosen_end() -> None:
    assert sheet.legible("short", 2, 8) == "short"
    assert sheet.legible("abcdefghijklmnopqrstuvwxyz", 0.7, 8) == "abcdefghi…"
    assert sheet.legible("abcdefghijklmnopqrstuvwxyz", 0.7, 8, keep_end=True) == "…rstuvwxyz"


def test_letters_that_the_font_lacks_and_line_breaks_are_replaced() -> None:
    assert sheet.legible("日本\nKyōto", 2, 8) == "□□ Kyōto"


@pytest.mark.parametrize(("shown", "total", "title"), [(1, 1, "1 layer"), (4, 4, "4 layers"), (1, 9, "1 of 9 layers")])
def test_counts_in_words(shown: int, total: int, title: str) -> None:
    assert sheet.some(shown, total, "layer") == title


def test_tiles_keep_square_pixels_in_the_middle_of_their_box() -> None:
    _, axes = sheet.blank(4, 3, "title", "note")
    sheet.tile(axes, np.zeros((10, 20)), (1, 1, 2, 2))
    sheet.tile(axes, np.zeros((10, 20)), (1, 1, 2, 2), fit=False)
    assert [tuple(image.get_extent()) for image in axes.images] == [(1, 3, 2.5, 1.5), (1, 3, 3, 1)]


def test_few_pixels_stay_sharp_and_many_are_averaged() -> None:
    _, axes = sheet.blank(4, 3, "title", "note")
    sheet.tile(axes, np.zeros((8, 8)), (0, 0, 1, 1))
    sheet.tile(axes, np.zeros((500, 500)), (0, 0, 1, 1))
    assert [image.get_interpolation() for image in axes.images] == ["nearest", "antialiased"]


def test_photo_is_three_channels_of_bytes() -> None:
    color = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    assert np.array_equal(sheet.photo(color), color.permute(1, 2, 0).numpy())
    gray = sheet.photo(torch.tensor([[[10]], [[20]]], dtype=torch.uint8))
    assert gray.shape == (1, 1, 3)
    assert (gray == 15).all()


def test_stretch_spans_zero_to_one_and_a_constant_filter_is_gray() -> None:
    weights = torch.stack([torch.arange(12.0).view(3, 2, 2), torch.full((3, 2, 2), 7.0)])
    colors = sheet.stretch(weights)
    assert colors.shape == (2, 2, 2, 3)
    torch.testing.assert_close(colors[0].permute(2, 0, 1), weights[0] / 11)
    assert (colors[1] == 0.5).all()


def test_planes_of_signals_images_and_volumes() -> None:
    assert sheet.planes(torch.rand(2, 9)).shape == (2, 1, 9)
    assert sheet.planes(torch.rand(2, 3, 4)).shape == (2, 3, 4)
    volume = torch.rand(2, 5, 3, 4)
    assert torch.equal(sheet.planes(volume), volume[:, 2])
