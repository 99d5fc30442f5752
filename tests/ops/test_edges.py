from __future__ import annotations

import math
import re

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.problems import some

from striate.errors import InputError
from striate.ops import correlate, grey_values, sobel, sobel_kernels

close = torch.testing.assert_close


@some
@given(st.integers(3, 8), st.integers(3, 8), st.integers(0, 99))
def test_columns_and_rows_are_the_whole_kernel_and_scipys(h: int, w: int, seed: int) -> None:
    image = torch.randn(h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = sobel(image)
    for values, kernel, axis in zip((found.x, found.y), sobel_kernels(), (1, 0), strict=True):
        close(values, correlate(image[None, None], kernel.double()[None, None])[0, 0])
        scipys = scipy.ndimage.sobel(image.numpy(), axis)[1:-1, 1:-1]
        close(values, torch.from_numpy(np.ascontiguousarray(scipys)))
    close(found.magnitude, (found.x**2 + found.y**2).sqrt())


def test_borders_are_scipys() -> None:
    image = torch.randn(5, 6, dtype=torch.float64)
    found = sobel(image, padding="same", padding_mode="replicate")
    close(found.x, torch.from_numpy(scipy.ndimage.sobel(image.numpy(), 1, mode="nearest")))


def test_a_slope_is_told_eightfold_and_by_direction() -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(4.0), indexing="ij")
    found = sobel(3 * columns + 4 * rows)
    assert found.x.tolist() == [[24.0] * 2] * 3
    assert found.y.tolist() == [[32.0] * 2] * 3
    assert found.magnitude.tolist() == [[40.0] * 2] * 3
    close(found.direction, torch.full((3, 2), math.atan2(4, 3)))
    assert found.edges(40).all()
    assert not found.edges(40.01).any()


def test_any_axes_before_rows_and_columns_and_whole_numbers() -> None:
    images = torch.randint(0, 256, (2, 3, 6, 5), dtype=torch.uint8)
    found = sobel(images)
    assert found.x.shape == (2, 3, 4, 3)
    close(found.y[1, 2], sobel(images[1, 2]).y)
    assert found.x.dtype == torch.float32
    assert sobel(torch.zeros(0, 6, 5)).x.shape == (0, 4, 3)


def test_a_map_of_one_value_is_black() -> None:
    assert grey_values(torch.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]
    assert grey_values(torch.tensor([3, 5, 4])).tolist() == [0, 255, 128]


def test_bad_input() -> None:
    with pytest.raises(InputError, match="the kernel does not fit: axis 0: expected 2 values or fewer"):
        sobel(torch.zeros(2, 5))
    for values in (torch.tensor([1.0, math.nan]), torch.zeros(0)):
        with pytest.raises(
            InputError, match=re.escape(f"no picture: values: expected finite numbers, got shape ({len(values)},")
        ):
            grey_values(values)
