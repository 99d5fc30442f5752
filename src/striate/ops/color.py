"""Color spaces: sRGB, CIE XYZ, CIELAB and YUV, all with the colors on axis 1, differentiable and of any rank.

    sRGB -- undo the display's curve --> linear -- 3x3 --> XYZ -- cube roots, relative to white --> L, a, b

sRGB lies in 0..1, XYZ has Y = 1 for white, L lies in 0..100. Nothing is clipped: what lies outside 0..1 after a change
of space is a color that a display cannot show.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from striate.errors import InputError
from striate.shapes import Float, Num, Tensor

Given = Num[Tensor, "n c *space"]  # c is 3, which `_check` says in words
Colors = Float[Tensor, "n 3 *space"]

# IEC 61966-2-1: linear sRGB to XYZ. Its rows add up to the white D65, so that greys have a = b = 0.
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
# CIE 15: below (6/29)³ of white the cube root is a straight line.
BEND = 6 / 29
# Luma of BT.601, and the differences of blue and red from it, scaled to ±0.436 and ±0.615.
U, V = 0.436 / 0.886, 0.615 / 0.701
TO_YUV = ((0.299, 0.587, 0.114), (-0.299 * U, -0.587 * U, 0.886 * U), (0.701 * V, -0.587 * V, -0.114 * V))


def srgb_to_xyz(rgb: Given) -> Colors:
    """CIE XYZ of sRGB colors in 0..1; white is (0.9505, 1, 1.089). Source: IEC 61966-2-1.

    >>> srgb_to_xyz(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[0.4124, 0.2126, 0.0193]])
    """
    _check("sRGB", rgb)
    bent = ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return mix(TO_XYZ, torch.where(rgb > 0.04045, bent, rgb / 12.92))


def xyz_to_srgb(xyz: Given) -> Colors:
    """The inverse of `srgb_to_xyz`; values outside 0..1 are colors that no display of sRGB shows."""
    _check("XYZ", xyz)
    linear = mix(inverse(TO_XYZ), xyz)
    bent = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bent, 12.92 * linear)


def xyz_to_lab(xyz: Given) -> Colors:
    """CIELAB of CIE XYZ, for the white D65.

        L = 116 f(Y) - 16,  a = 500 (f(X) - f(Y)),  b = 200 (f(Y) - f(Z))      each relative to white
        f(t) = ∛t above (6/29)³, below it the tangent t / (3 (6/29)²) + 4/29

    Source: CIE 15:2004, section 8.2.1.
    """
    _check("XYZ", xyz)
    t = xyz / _white(xyz)
    root = t.clamp(min=BEND**3) ** (1 / 3)
    x, y, z = torch.where(t > BEND**3, root, t / (3 * BEND**2) + 4 / 29).unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def lab_to_xyz(lab: Given) -> Colors:
    """The inverse of `xyz_to_lab`."""
    _check("Lab", lab)
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    f = torch.stack((y + a / 500, y, y - b / 200), 1)
    return torch.where(f > BEND, f**3, 3 * BEND**2 * (f - 4 / 29)) * _white(lab)


def srgb_to_lab(rgb: Given) -> Colors:
    """CIELAB (D65) of sRGB colors in 0..1.

    >>> srgb_to_lab(torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]])).round(decimals=1) + 0.0
    tensor([[53.2000, 80.1000, 67.2000],
            [53.4000,  0.0000,  0.0000]])
    """
    return xyz_to_lab(srgb_to_xyz(rgb))


def lab_to_srgb(lab: Given) -> Colors:
    """sRGB of CIELAB colors (D65). Clamp it to 0..1 to show it."""
    return xyz_to_srgb(lab_to_xyz(lab))


def rgb_to_yuv(rgb: Given) -> Colors:
    """Luma and the scaled differences of blue and red from it: Y in 0..1, U in ±0.436, V in ±0.615.

        Y = 0.299 R + 0.587 G + 0.114 B,  U = 0.492 (B - Y),  V = 0.877 (R - Y)

    Source: ITU-R BT.601 (luma) and BT.470 (U, V).

    >>> rgb_to_yuv(torch.tensor([[1.0, 1.0, 1.0]])).round(decimals=3).abs()
    tensor([[1., 0., 0.]])
    """
    _check("RGB", rgb)
    return mix(TO_YUV, rgb)


def yuv_to_rgb(yuv: Given) -> Colors:
    """The inverse of `rgb_to_yuv`."""
    _check("YUV", yuv)
    return mix(inverse(TO_YUV), yuv)


def delta_e(first: Given, second: Given) -> Float[Tensor, "n *space"]:
    """The distance of CIELAB colors, ΔE*ab = √(ΔL² + Δa² + Δb²): about 2.3 are just noticeable (CIE 1976).

    >>> delta_e(torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([[50.0, 3.0, 4.0]]))
    tensor([5.])
    """
    _check("Lab", first)
    apart: Tensor = torch.linalg.vector_norm(first - second, dim=1)
    return apart


def delta_e_2000(first: Given, second: Given) -> Float[Tensor, "n *space"]:
    """The distance CIEDE2000 of CIELAB colors: lightness, chroma and hue weighed as people see them.

    Source: G. Sharma, W. Wu, E. Dalal, "The CIEDE2000 color-difference formula" (2005), equations 2 to 22, with
    kL = kC = kH = 1.
    """
    _check("Lab", first)
    (l1, a1, b1), (l2, a2, b2) = first.unbind(1), second.unbind(1)
    mean7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7
    stretch = 1 + 0.5 * (1 - (mean7 / (mean7 + 25.0**7)).sqrt())
    a1, a2 = stretch * a1, stretch * a2
    chroma1, chroma2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    hue1, hue2 = (torch.atan2(b, a) % (2 * math.pi) for a, b in ((a1, b1), (a2, b2)))
    grey = chroma1 * chroma2 == 0
    turn = torch.where(grey, 0.0, (hue2 - hue1 + math.pi) % (2 * math.pi) - math.pi)
    # As the paper has it, a half turn counts forwards.
    turn = torch.where((turn == -math.pi) & (hue2 > hue1), math.pi, turn)
    far = (hue1 - hue2).abs() > math.pi
    total = hue1 + hue2
    middle = torch.where(far, total + torch.where(total < 2 * math.pi, 2, -2) * math.pi, total) / 2
    hue = torch.where(grey, total, middle)
    light, chroma = (l1 + l2) / 2, (chroma1 + chroma2) / 2
    d_light, d_chroma = l2 - l1, chroma2 - chroma1
    d_hue = 2 * (chroma1 * chroma2).sqrt() * (turn / 2).sin()
    return _weighed(light, chroma, hue, d_light, d_chroma, d_hue)


def _weighed(
    light: Tensor, chroma: Tensor, hue: Tensor, d_light: Tensor, d_chroma: Tensor, d_hue: Tensor
) -> Float[Tensor, "n *space"]:
    """CIEDE2000 of mean lightness, chroma and hue (radians) and their differences (equations 15 to 22)."""
    degrees = torch.rad2deg(hue)
    t = (
        1
        - 0.17 * (hue - math.radians(30)).cos()
        + 0.24 * (2 * hue).cos()
        + 0.32 * (3 * hue + math.radians(6)).cos()
        - 0.20 * (4 * hue - math.radians(63)).cos()
    )
    per_light = 1 + 0.015 * (light - 50) ** 2 / (20 + (light - 50) ** 2).sqrt()
    per_chroma, per_hue = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    blue = torch.deg2rad(60 * (-(((degrees - 275) / 25) ** 2)).exp())  # twice the rotation of equation 16
    rotation = -2 * (chroma**7 / (chroma**7 + 25.0**7)).sqrt() * blue.sin()
    light, chroma, hue = d_light / per_light, d_chroma / per_chroma, d_hue / per_hue
    return (light**2 + chroma**2 + hue**2 + rotation * chroma * hue).clamp(min=0).sqrt()


def ab_bins(step: int = 10) -> Float[Tensor, "k 2"]:
    """The colors (a, b) on a grid of `step` that stand for all of sRGB, by a, then b: 313 of them for the step of 10.

    Kept are the corners of every square of the grid that meets the convex hull of the gamut's shadow in the plane of
    ab: every color lies between four of them. For the step of 10 these are, all 313 and in their order, the bins of
    R. Zhang, P. Isola, A. Efros, "Colorful image colorization" (2016), section 2.2, who do not say how theirs were
    chosen. (Colors rounded to the grid reach 262 of them.) Raises InputError for a step that is not positive.

    >>> ab_bins().shape, ab_bins()[0].tolist()
    (torch.Size([313, 2]), [-90.0, 50.0])
    """
    if step < 1:
        raise InputError("no grid of colors", where="step", expected="1 or more", got=step)
    return _bins(step).clone()


@lru_cache(maxsize=8)
def _bins(step: int) -> Float[Tensor, "k 2"]:
    # The hull's corners lie on the twelve edges of the cube of colors.
    edge = torch.linspace(0, 1, 256, dtype=torch.float64)
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    cube = [torch.cat((c.expand(256, 2), edge[:, None]), 1).roll(axis, 1) for axis in range(3) for c in corners]
    shadow = srgb_to_lab(torch.cat(cube))[:, 1:]
    side = torch.arange(-130 // step, 130 // step + 1, dtype=torch.float64) * step
    grid = torch.cartesian_prod(side, side)
    # A square that a line keeps apart from the hull does not meet it; among so many directions one is that line's.
    angle = torch.arange(0, 1440, dtype=torch.float64) * (math.pi / 720)
    lines = torch.stack((angle.cos(), angle.sin()))
    reach = (shadow @ lines).max(0).values + step * lines.abs().sum(0)
    return grid[(grid @ lines <= reach).all(1)].float()


def mix(matrix: tuple[tuple[float, ...], ...], colors: Given) -> Colors:
    """Each color times the matrix."""
    mixed: Tensor = torch.tensordot(colors.new_tensor(matrix), colors, dims=([1], [1]))
    return mixed.movedim(0, 1)


@lru_cache(maxsize=4)
def inverse(matrix: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """The inverse of a 3x3 matrix."""
    rows: list[list[float]] = torch.tensor(matrix, dtype=torch.float64).inverse().tolist()
    return tuple(map(tuple, rows))


def _white(like: Tensor) -> Tensor:
    return like.new_tensor([sum(row) for row in TO_XYZ]).view(3, *(1,) * (like.ndim - 2))


def _check(space: str, colors: Tensor) -> None:
    if colors.ndim < 2 or colors.shape[1] != 3 or not colors.is_floating_point():
        found = f"{str(colors.dtype).removeprefix('torch.')} of shape {tuple(colors.shape)}"
        raise InputError(
            f"no {space} colors", expected="floats with axes (n, 3, *space)", got=found,
            fix="Divide 8-bit pixels by 255; give one color as (1, 3).",
        )  # fmt: skip
