"""Augmentations: nothing at zero strength, one draw per picture, and exact known cases."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data import AUGMENTATIONS, build_augmentation
from striate.data.augment import color_axes, color_matrix, crop, cutout, flip, grey, pca_color, shift, turned, warp
from striate.errors import InputError

NAMES = ["flip", "crop", "shift", "scale", "rotate", "elastic", "cut", "color", "grey", "pca_color", "cutout"]
NOTHING = {
    "flip": "p=0",
    "crop": "pad=0",
    "shift": "fraction=0",
    "scale": "amount=0",
    "rotate": "degrees=0",
    "elastic": "deviation=0",
    "cut": "fraction=1",
    "color": "brightness=0,contrast=0,saturation=0,hue=0",
    "grey": "brightness=0,contrast=0,gamma=0",
    "pca_color": "sigma=0",
    "cutout": "size=0",
}


def pixels(count: int = 16, height: int = 10, width: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apply(spec: str, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    augment = build_augmentation([spec], pixels())
    assert augment is not None
    return augment(images, torch.zeros(len(images), dtype=torch.int64), generator(seed))[0]


def test_the_registry_holds_these() -> None:
    of_pictures = [name for name, entry in AUGMENTATIONS.items() if "pictures" in entry.takes]
    assert of_pictures == NAMES == list(NOTHING)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_changes_at_zero_strength(name: str) -> None:
    images = pixels() / 255
    torch.testing.assert_close(apply(f"{name}:{NOTHING[name]}", images), images, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(count=st.integers(1, 5), height=st.integers(6, 14), width=st.integers(6, 14), seed=st.integers(0, 9))
def test_shape_range_and_seed(name: str, count: int, height: int, width: int, seed: int) -> None:
    images = pixels(count, height, width) / 255
    kept = images.clone()
    changed = apply(AUGMENTATIONS[name].example, images, seed)
    size = [max(1, round(0.5 * side)) for side in (height, width)] if name == "cut" else [height, width]
    assert changed.shape == (count, 3, *size)
    assert changed.dtype == images.dtype
    assert torch.equal(images, kept)
    assert changed.min() >= -1e-5
    assert changed.max() <= 1 + 1e-5
    assert torch.equal(changed, apply(AUGMENTATIONS[name].example, images, seed))


@pytest.mark.parametrize("name", NAMES)
def test_each_picture_has_its_own_draw(name: str) -> None:
    same = (pixels(1) / 255).expand(64, -1, -1, -1).clone()
    spec = "cutout:3" if name == "cutout" else AUGMENTATIONS[name].example  # 16 would cover nearly everything
    changed = apply(spec, same)
    kinds = len(torch.unique(changed.flatten(1), dim=0))
    assert kinds == 2 if name == "flip" else kinds > 25
    assert not torch.equal(changed, apply(spec, same, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_draws_do_not_touch_the_global_random_state(name: str) -> None:
    before = torch.get_rng_state()
    apply(AUGMENTATIONS[name].example, pixels() / 255)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_allowed_values_that_hold_its_default(name: str) -> None:
    entry = AUGMENTATIONS[name]
    parameters = list(inspect.signature(entry.function).parameters.values())[2 + (entry.fit is not None) :]
    assert [parameter.name for parameter in parameters] == list(entry.allowed)
    assert all(parameter.default in entry.allowed[parameter.name] for parameter in parameters)
    assert entry.summary.endswith(".")


def test_flip() -> None:
    images = pixels() / 255
    assert torch.equal(flip(images, generator(), p=1).pictures(images), torch.flip(images, [3]))
    assert torch.equal(flip(images, generator(), p=1, vertical=True).pictures(images), torch.flip(images, [2, 3]))
    once = flip(images, generator()).pictures(images)
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(once, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(once, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 0 < sum(mirrored) < len(images)
    four = (pixels(1) / 255).expand(64, -1, -1, -1)
    assert len(torch.unique(flip(four, generator(), vertical=True).pictures(four).flatten(1), dim=0)) == 4


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("edge", "edge"), ("zeros", "constant")])
def test_crop_gives_windows_of_the_padded_picture(mode: str, numpy_mode: str) -> None:
    images = pixels(40, 5, 7) / 255
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (2, 2), (2, 2)], mode=numpy_mode)  # type: ignore[call-overload]
    cut = crop(images, generator(), pad=2, mode=mode).pictures(images)
    corners = set()
    for old, new in zip(padded, cut.numpy(), strict=True):
        found = {
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(old[:, top : top + 5, left : left + 7], new)
        }
        assert found
        corners |= found
    assert len(corners) > 15


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_rotating_by_right_angles_is_rot90(quarter: int) -> None:
    images = pixels() / 255
    found = warp(images, turned(torch.full((16,), 90.0 * quarter)), "zeros")
    torch.testing.assert_close(found, torch.rot90(images, quarter, (2, 3)), atol=1e-5, rtol=0)


def test_a_half_turn_of_a_rectangle_flips_both_axes() -> None:
    images = pixels(2, 6, 11) / 255
    found = warp(images, turned(torch.full((2,), 180.0)), "edge")
    torch.testing.assert_close(found, images.flip(2, 3), atol=1e-5, rtol=0)


def test_a_quarter_turn_of_a_rectangle_keeps_its_pixels_square() -> None:
    images = torch.zeros(1, 1, 5, 9)
    images[0, 0, 2, 3:6] = 1  # a lying bar of three pixels about the center
    found = warp(images, turned(torch.tensor([90.0])), "zeros")
    expected = torch.zeros(1, 1, 5, 9)
    expected[0, 0, 1:4, 4] = 1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 3), (-1, 2)])
def test_a_whole_shift_is_slicing(right: int, down: int) -> None:
    images = pixels(2, 8, 11) / 255
    matrix = torch.tensor([[1.0, 0, -right], [0, 1, -down]]).expand(2, 2, 3)
    padded = torch.nn.functional.pad(images, (3, 3, 3, 3))
    expected = padded[:, :, 3 - down : 11 - down, 3 - right : 14 - right]
    torch.testing.assert_close(warp(images, matrix, "zeros"), expected, atol=1e-5, rtol=0)


def test_shifts_reach_the_fraction_and_no_further() -> None:
    images = torch.zeros(400, 1, 21, 41)
    images[:, :, 10, 20] = 1
    moved = shift(images, generator(), fraction=0.2, mode="zeros").pictures(images)[:, 0]
    weight = moved.sum((1, 2))
    rows = (moved.sum(2) @ torch.arange(21.0)) / weight - 10
    columns = (moved.sum(1) @ torch.arange(41.0)) / weight - 20
    assert 0.9 * 4.2 < rows.abs().max() <= 4.2 + 1e-3
    assert 0.9 * 8.2 < columns.abs().max() <= 8.2 + 1e-3


def test_scaling_by_two_doubles_each_pixel() -> None:
    images = torch.zeros(1, 1, 8, 8)
    images[:, :, 3:5, 3:5] = 1
    found = warp(images, torch.tensor([[[0.5, 0, 0], [0, 0.5, 0]]]), "zeros")
    assert found.sum() == pytest.approx(16, abs=1e-4)
    assert found[0, 0, 3:5, 3:5].min() == pytest.approx(1)


def test_color_matrices() -> None:
    one, zero = torch.ones(1), torch.zeros(1)
    torch.testing.assert_close(color_matrix(one, one, zero)[0], torch.eye(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(color_matrix(2 * one, one, zero)[0], 2 * torch.eye(3), atol=1e-6, rtol=0)
    luma = torch.tensor([0.299, 0.587, 0.114]).expand(3, 3)
    torch.testing.assert_close(color_matrix(one, zero, zero)[0], luma, atol=1e-6, rtol=0)
    turn = color_matrix(one, one, torch.tensor([2 * torch.pi / 5]))[0]
    torch.testing.assert_close(torch.linalg.matrix_power(turn, 5), torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(luma @ turn, luma, atol=1e-6, rtol=0)  # brightness is kept


def test_color_contrast_keeps_the_mean_brightness() -> None:
    images = 0.4 + 0.2 * pixels() / 255
    changed = apply("color:brightness=0,contrast=0.5,saturation=0,hue=0", images)
    luma = torch.tensor([0.299, 0.587, 0.114])
    before, after = (torch.einsum("nchw,c->nhw", x, luma) for x in (images, changed))
    torch.testing.assert_close(before.mean((1, 2)), after.mean((1, 2)))
    ratio = after.std((1, 2)) / before.std((1, 2))
    assert 0.5 <= ratio.min() < 0.8 < 1.2 < ratio.max() <= 1.5


def test_grey_levels_keep_their_order() -> None:
    images = torch.linspace(0.2, 0.8, 64).view(1, 1, 8, 8).expand(50, -1, -1, -1)
    changed = grey(images, generator(), brightness=0.1, contrast=0.3, gamma=0.5).flatten(1)
    assert (changed.diff(dim=1) >= 0).all()
    added = grey(images, generator(), brightness=0.1, contrast=0, gamma=0) - images
    assert added.flatten(1).std(1).max() < 1e-6
    assert added.abs().max() <= 0.1 + 1e-6


def test_pca_color_axes_and_the_covariance_of_its_draws_against_numpy() -> None:
    images = torch.randn(50, 3, 8, 8, generator=generator()) * torch.tensor([60.0, 20, 9]).view(3, 1, 1) + 128
    images = torch.einsum("ij,njhw->nihw", torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]), images)
    training = images.clamp(0, 255).byte()
    covariance = np.cov(training.numpy().transpose(1, 0, 2, 3).reshape(3, -1) / 255, bias=True)
    axes = color_axes(training)
    np.testing.assert_allclose(axes @ axes.T, covariance @ covariance, rtol=1e-4)
    grey_pictures = torch.full((40000, 3, 1, 1), 0.5)
    added = (pca_color(grey_pictures, generator(), axes, sigma=1.0) - 0.5).flatten(1).numpy()
    expected = covariance @ covariance
    np.testing.assert_allclose(np.cov(added.T), expected, atol=0.03 * expected.max())
    assert np.abs(added.mean(0)).max() < 0.02 * added.std()


def test_pca_color_adds_one_color_to_the_whole_picture() -> None:
    images = torch.full((8, 3, 4, 4), 0.5)
    added = pca_color(images, generator(), torch.eye(3)) - images
    assert added.flatten(2).std(2).max() < 1e-6
    assert added[:, :, 0, 0].std() > 0.05


def test_cutout_covers_a_square_with_the_mean_color() -> None:
    images = pixels(60, 12, 9) / 255
    changed = cutout(images, generator(), size=4)
    covered = (changed != images).any(1)
    mean = images.mean((2, 3))
    sides = set()
    for i in range(60):
        rows, columns = covered[i].any(1).nonzero().flatten(), covered[i].any(0).nonzero().flatten()
        window = changed[i][:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert torch.equal(window, mean[i].view(3, 1, 1).expand_as(window))
        assert covered[i].sum() == len(rows) * len(columns)
        sides.add((len(rows), len(columns)))
    assert max(sides) == (4, 4)
    assert len(sides) > 3  # some squares reach over the border


def test_specs_are_applied_in_order() -> None:
    images = pixels() / 255
    both = build_augmentation(["flip:1", "cutout:3"], pixels())
    assert both is not None
    draws = generator()
    expected = cutout(flip(images, draws, p=1).pictures(images), draws, size=3)
    labels = torch.arange(16)
    changed, same = both(images, labels, generator())
    assert torch.equal(changed, expected)
    assert torch.equal(same, labels)
    assert build_augmentation([], pixels()) is None


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("rotat:10", "unknown augmentation: got 'rotat'. Did you mean rotate?"),
        ("rotate:degree=10", "augmentation rotate has no option: got 'degree'. Did you mean degrees?"),
        ("rotate:axes=1", "augmentation rotate has no option: got 'axes'"),
        ("pca_color:axes=1", "augmentation pca_color has no option: got 'axes'"),
        ("rotate:200", r"augmentation option: rotate:degrees: expected a number in 0..180, got 200"),
        ("rotate:-1", "rotate:degrees: expected a number in 0..180, got -1"),
        ("rotate:far", "rotate:degrees: expected a number in 0..180, got far"),
        ("crop:pad=1.5", "crop:pad: expected a whole number in 0..512, got 1.5"),
        ("crop:pad=True", "crop:pad: expected a whole number in 0..512, got True"),
        ("crop:mode=mirror", "crop:mode: expected reflect or edge or zeros, got mirror"),
        ("flip:vertical=maybe", "flip:vertical: expected False or True, got maybe"),
        ("crop:pad=10", "crop:pad: expected pad below 10 to reflect, got 10. Pad less, or with mode=edge"),
    ],
)
def test_specs_that_cannot_be_used_fail_at_construction(spec: str, text: str) -> None:
    with pytest.raises(InputError, match=text.replace("?", r"\?")):
        build_augmentation([spec], pixels())


@pytest.mark.parametrize("name", ["color", "pca_color"])
def test_colors_need_rgb(name: str) -> None:
    with pytest.raises(
        InputError, match=f"augmentation of colors: {name}: expected RGB images, got 1 channel. Use grey"
    ):
        build_augmentation([name], pixels()[:, :1])


@pytest.mark.parametrize("name", [name for name in NAMES if "color" not in name])
def test_the_others_take_grey_pictures(name: str) -> None:
    augment = build_augmentation([AUGMENTATIONS[name].example], pixels()[:, :1])
    assert augment is not None
    assert augment(pixels()[:, :1] / 255, torch.arange(16), generator())[0].shape[:2] == (16, 1)
