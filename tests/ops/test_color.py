"""Color spaces beside their definitions in numpy, published values of the primaries, and published ΔE2000 pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate import ops
from striate.errors import InputError

# Red, green, blue in CIELAB under D65, as colorimetric calculators print them (L, a, b).
PRIMARIES = ((53.24, 80.09, 67.20), (87.73, -86.18, 83.18), (32.30, 79.19, -107.86))
# The matrix and white of scikit-image, more digits of the same primaries.
SKIMAGE = ([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]],
           (0.95047, 1.0, 1.08883))  # fmt: skip
IEC = ([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], (0.9505, 1.0, 1.0890))
# Sharma, Wu, Dalal 2005, table 1: pairs of Lab colors and their distance. The hard cases among the 34.
SHARMA = (
    (50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425),
    (50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615),
    (50.0, 2.8361, -74.0200, 50.0, 0.0, -82.7485, 3.4412),
    (50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669),
    (50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0009, 7.1792),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0010, 7.1792),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0011, 7.2195),
    (50.0, 2.49, -0.001, 50.0, -2.49, 0.0012, 7.2195),
    (50.0, -0.001, 2.49, 50.0, 0.0009, -2.49, 4.8045),
    (50.0, -0.001, 2.49, 50.0, 0.0010, -2.49, 4.8045),
    (50.0, -0.001, 2.49, 50.0, 0.0011, -2.49, 4.7461),
    (50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065),
    (50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492),
    (50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977),
    (50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.9030),
    (50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
)


def by_definition(rgb: np.ndarray, matrix: list[list[float]], white: tuple[float, ...]) -> np.ndarray:
    """CIELAB of one color, number by number."""
    linear = [((v + 0.055) / 1.055) ** 2.4 if v > 0.04045 else v / 12.92 for v in rgb]
    x, y, z = (sum(m * v for m, v in zip(row, linear, strict=True)) / w for row, w in zip(matrix, white, strict=True))
    fx, fy, fz = (t ** (1 / 3) if t > (6 / 29) ** 3 else t * (29 / 6) ** 2 / 3 + 4 / 29 for t in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def test_lab_is_its_definition() -> None:
    colors = np.random.default_rng(0).random((50, 3)) ** 2
    got = ops.srgb_to_lab(torch.from_numpy(colors)).numpy()
    np.testing.assert_allclose(got, [by_definition(c, *IEC) for c in colors], atol=1e-9)
    # The digits that scikit-image has more of change nothing that one could see.
    np.testing.assert_allclose(got, [by_definition(c, *SKIMAGE) for c in colors], atol=0.05)


def test_the_primaries_have_their_published_lab() -> None:
    got = ops.srgb_to_lab(torch.eye(3, dtype=torch.float64))
    np.testing.assert_allclose(got.numpy(), PRIMARIES, atol=0.03)


@given(st.floats(0, 1))
def test_greys_have_no_color(value: float) -> None:
    lab = ops.srgb_to_lab(torch.full((1, 3), value, dtype=torch.float64))
    assert lab[:, 1:].abs().max() < 1e-9
    assert 0 <= lab[0, 0] <= 100 + 1e-9


def test_there_and_back_in_any_rank_and_channel_order() -> None:
    for shape in ((5, 3), (2, 3, 7), (2, 3, 4, 5), (1, 3, 2, 3, 4)):
        rgb = torch.rand(shape, dtype=torch.float64)
        torch.testing.assert_close(ops.lab_to_srgb(ops.srgb_to_lab(rgb)), rgb, atol=1e-12, rtol=0)
        torch.testing.assert_close(ops.xyz_to_srgb(ops.srgb_to_xyz(rgb)), rgb, atol=1e-12, rtol=0)
        torch.testing.assert_close(ops.yuv_to_rgb(ops.rgb_to_yuv(rgb)), rgb, atol=1e-12, rtol=0)
        flat = ops.srgb_to_lab(rgb.movedim(1, -1).reshape(-1, 3))
        torch.testing.assert_close(ops.srgb_to_lab(rgb).movedim(1, -1).reshape(-1, 3), flat)


def test_every_8_bit_color_survives_float32() -> None:
    rgb = torch.cartesian_prod(*[torch.arange(0, 256, 15)] * 3).float() / 255
    back = (ops.lab_to_srgb(ops.srgb_to_lab(rgb)) * 255).round()
    assert torch.equal(back, (rgb * 255).round())


def test_gradients_are_those_of_finite_differences() -> None:
    dark_and_bright = torch.tensor([[0.02, 0.5, 0.9], [0.0, 0.001, 1.0]], dtype=torch.float64, requires_grad=True)
    for function in (ops.srgb_to_lab, ops.rgb_to_yuv):
        assert torch.autograd.gradcheck(function, dark_and_bright)
    lab = torch.tensor([[50.0, 20.0, -30.0], [2.0, 1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.lab_to_srgb, lab)


def test_yuv_is_its_definition() -> None:
    rgb = torch.rand(20, 3, dtype=torch.float64)
    red, green, blue = rgb.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    scale_u, scale_v = 0.436 / (1 - 0.114), 0.615 / (1 - 0.299)
    want = torch.stack((luma, scale_u * (blue - luma), scale_v * (red - luma)), 1)
    torch.testing.assert_close(ops.rgb_to_yuv(rgb), want)


def test_delta_e_is_the_distance() -> None:
    first, second = torch.randn(2, 4, 3, 5)
    want = [math.dist(a, b) for a, b in zip(first.movedim(1, -1).reshape(-1, 3).tolist(),
                                            second.movedim(1, -1).reshape(-1, 3).tolist(), strict=True)]  # fmt: skip
    torch.testing.assert_close(ops.delta_e(first, second).flatten(), torch.tensor(want))


def test_delta_e_2000_has_the_published_values() -> None:
    table = torch.tensor(SHARMA, dtype=torch.float64)
    there = ops.delta_e_2000(table[:, :3], table[:, 3:6])
    back = ops.delta_e_2000(table[:, 3:6], table[:, :3])
    np.testing.assert_allclose(there.numpy(), table[:, 6].numpy(), atol=5e-5)
    np.testing.assert_allclose(back.numpy(), there.numpy(), atol=1e-9)


# The lowest and the highest b of the authors' table for a = -90, -80 ... 100; none between them is left out.
COLUMNS = (
    *((50, 90), (20, 90), (0, 90), (-20, 90), (-30, 100), (-40, 100), (-50, 100), (-50, 100), (-60, 100), (-70, 100)),
    *(
        (-80, 90),
        (-80, 90),
        (-90, 90),
        (-100, 90),
        (-100, 80),
        (-110, 80),
        (-110, 80),
        (-110, 70),
        (-110, 70),
        (-90, 0),
    ),
)


def test_the_bins_are_those_of_zhang_isola_and_efros() -> None:
    columns = zip(range(-90, 101, 10), COLUMNS, strict=True)
    theirs = [[a, b] for a, (low, high) in columns for b in range(low, high + 1, 10)]
    assert len(theirs) == 313
    assert ops.ab_bins().tolist() == theirs


def test_every_color_lies_among_them() -> None:
    bins = {tuple(row) for row in ops.ab_bins().int().tolist()}
    rgb = torch.cartesian_prod(*[torch.linspace(0, 1, 18)] * 3)
    low = (ops.srgb_to_lab(rgb)[:, 1:] / 10).floor().int() * 10
    for a, b in {tuple(row) for row in low.tolist()}:
        assert {(a, b), (a + 10, b), (a, b + 10), (a + 10, b + 10)} <= bins
    rounded = {tuple(row) for row in ((ops.srgb_to_lab(rgb)[:, 1:] / 10).round().int() * 10).tolist()}
    assert len(rounded) < 313
    assert rounded <= bins


def test_a_changed_copy_changes_no_bin() -> None:
    ops.ab_bins().zero_()
    assert ops.ab_bins()[0].tolist() == [-90, 50]


def test_what_are_no_colors_is_told() -> None:
    with pytest.raises(InputError, match=r"no sRGB colors: expected floats with axes \(n, 3, \*space\), got uint8 of"):
        ops.srgb_to_lab(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(InputError, match="no Lab colors: expected floats with axes"):
        ops.lab_to_srgb(torch.zeros(1, 1, 2, 2))
    with pytest.raises(InputError, match="no grid of colors: step: expected 1 or more, got 0"):
        ops.ab_bins(0)
