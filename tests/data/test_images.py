"""Pictures as tensors, against Pillow's own result for every kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from striate.data import Items, Meaning, Pictures
from striate.data.images import moments
from striate.errors import InputError

RGB = Pictures((3, 8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
GREY = Pictures((1, 8, 8), (0.0,), (1.0,))


def noise(mode: str, size: tuple[int, int] = (8, 8)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    opaque = Image.fromarray(pixels).convert("RGB")
    return (Image.fromarray(pixels) if "A" in mode else opaque).convert(mode)


def as_tensor(picture: Image.Image) -> torch.Tensor:
    pixels = np.asarray(picture)
    return torch.tensor(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


KINDS = [("png", "1 L RGB P"), ("tiff", "1 L RGB P CMYK YCbCr"), ("jpg", "L RGB CMYK YCbCr")]


@pytest.mark.parametrize(("suffix", "mode"), [(end, mode) for end, modes in KINDS for mode in modes.split()])
def test_opaque_files_are_what_pillow_makes_of_them(tmp_path: Path, suffix: str, mode: str) -> None:
    noise(mode).save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as picture:
        assert torch.equal(RGB.read(tmp_path / f"a.{suffix}"), as_tensor(picture.convert("RGB")))
        assert torch.equal(GREY.read(str(tmp_path / f"a.{suffix}")), as_tensor(picture.convert("L")))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    noise(mode).save(tmp_path / "a.png")
    pixels = np.asarray(noise(mode)).astype(float)
    alpha = pixels[..., -1:] / 255
    over_white = pixels[..., :-1] * alpha + 255 * (1 - alpha)
    found = RGB.read(tmp_path / "a.png").permute(1, 2, 0).numpy()
    assert np.abs(found - over_white).max() <= 1  # the rounding of 8-bit compositing


def test_a_transparent_palette_color_becomes_white(tmp_path: Path) -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([200, 10, 10, 10, 200, 10])
    picture.paste(1, (0, 0, 4, 8))
    picture.save(tmp_path / "a.png", transparency=0)
    found = RGB.read(tmp_path / "a.png")
    assert found[:, 0, 0].tolist() == [10, 200, 10]
    assert found[:, 0, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 4
    Image.fromarray(levels * 257).save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as picture:
        assert picture.mode == "I;16"
    assert torch.equal(GREY.read(tmp_path / f"a.{suffix}")[0], torch.tensor(levels.astype(np.uint8)))
    assert torch.equal(GREY.read(levels * 257), GREY.read(tmp_path / f"a.{suffix}"))


def test_every_sixteen_bit_level_goes_to_the_nearest_eight_bit_level() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = Pictures((1, 256, 256), (0.0,), (1.0,)).read(levels)[0].numpy()
    assert np.array_equal(found, np.rint(levels / 65535 * 255))


def test_grey_of_32_bits_is_taken_for_8_or_16_bits_by_its_values(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.int32).reshape(8, 8) * 4
    for name, values in (("eight", levels), ("sixteen", levels * 257)):
        Image.fromarray(values).save(tmp_path / f"{name}.tiff")
        with Image.open(tmp_path / f"{name}.tiff") as picture:
            assert picture.mode == "I"
        assert np.array_equal(GREY.read(tmp_path / f"{name}.tiff")[0], levels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotated_files_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.asarray(noise("RGB"))
    # The eight orientations of the Exif standard: what undoes each.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(RGB.read(tmp_path / "a.png"), as_tensor(noise("RGB")))


@pytest.mark.parametrize("size", [(40, 16), (16, 40), (6, 4), (8, 8)])
def test_the_shorter_side_is_resized_then_the_center_cut_out(size: tuple[int, int]) -> None:
    picture = noise("RGB", size)
    width, height = (8 * side // min(size) for side in size)
    left, top = (width - 8) // 2, (height - 8) // 2
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    assert torch.equal(RGB.read(picture), as_tensor(resized.crop((left, top, left + 8, top + 8))))


def test_the_call_reads_then_normalizes_and_batches_are_equal_to_single_pictures() -> None:
    to_input = Pictures((3, 9, 7), (0.4, 0.5, 0.6), (0.2, 0.3, 0.7))
    batch = torch.randint(0, 256, (13, 3, 9, 7), dtype=torch.uint8)
    single = torch.stack([to_input(picture) for picture in batch])
    assert torch.equal(single, to_input.normalize(batch))
    by_hand = (batch / 255 - torch.tensor(to_input.mean).view(3, 1, 1)) / torch.tensor(to_input.std).view(3, 1, 1)
    torch.testing.assert_close(single, by_hand)
    torch.testing.assert_close(to_input.standardize(batch / 255), by_hand)


def test_standardize_leaves_its_input_alone_and_has_a_gradient() -> None:
    with torch.inference_mode():  # the cached factors must not become inference tensors
        fresh = Pictures((1, 2, 2), (0.25,), (0.125,))
        fresh.standardize(torch.ones(1, 1, 2, 2))
    images = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    fresh.standardize(images).sum().backward()
    assert images.grad is not None
    assert images.detach().eq(0.5).all()
    assert images.grad.eq(8).all()


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
def test_arrays_tensors_and_pictures_are_read_alike(height: int, width: int, channels: int) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    to_input = Pictures((channels, 6, 5), (0.0,) * channels, (1.0,) * channels)
    from_array = to_input.read(pixels)
    assert from_array.shape == (channels, 6, 5)
    assert torch.equal(from_array, to_input.read(Image.fromarray(pixels)))
    assert torch.equal(from_array, to_input.read(torch.tensor(pixels).permute(2, 0, 1)))
    assert torch.equal(from_array, to_input.read(torch.tensor(pixels).permute(2, 0, 1) / 255))
    assert torch.equal(from_array, to_input.read(ImageOps.exif_transpose(Image.fromarray(pixels))))


def test_json_round_trip() -> None:
    to_input = Pictures((3, 4, 5), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Pictures.from_json(to_input.json()) == to_input


@pytest.mark.parametrize(
    ("stored", "text"),
    [({}, "stored preprocessing"), ({"shape": [1, 2], "mean": [0], "std": [1]}, "stored preprocessing")],
)
def test_a_damaged_stored_preprocessing(stored: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Pictures.from_json(stored)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (((2, 4, 4), (0.0,) * 2, (1.0,) * 2), r"channels of a picture: expected 1 \(grey\) or 3 \(RGB\), got 2"),
        (((1, 0, 4), (0.0,), (1.0,)), "image size is not positive: expected at least 1, got 0"),
        (((3, 4, 4), (0.0,), (1.0,) * 3), "mean of a preprocessing: expected 3 finite numbers"),
        (((1, 4, 4), (0.0,), (float("nan"),)), "std of a preprocessing: expected 1 finite numbers"),
        (((1, 4, 4), (0.0,), (0.0,)), "std of a preprocessing: expected positive numbers"),
    ],
)
def test_impossible_preprocessings(arguments: tuple[object, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Pictures(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (7, "expected a path, PIL image, array or tensor, got int"),
        (np.zeros((2, 2), np.int32), "image array: expected .* got int32 of shape"),
        (np.zeros((2, 2, 2), np.uint8), r"got uint8 of shape \(2, 2, 2\)"),
        (np.zeros((0, 2), np.uint8), r"got uint8 of shape \(0, 2\)"),
        (np.zeros((0, 3), np.float32), r"got float32 of shape \(0, 3\)"),
        (torch.zeros(3, 0, 4), r"got float32 of shape \(0, 4, 3\)"),
        (Image.new("L", (0, 3)), "image without pixels: expected at least 1x1, got 0x3"),
        (np.full((2, 2), 1.5), "pixels of a float image: expected 0 to 1, got 1.5 to 1.5"),
        (Image.new("F", (2, 2)), "image of float pixels"),
        (Image.fromarray(np.full((2, 2), 70000, np.int32)), "expected 0 to 65535"),
        ("nowhere.png", "no such image: nowhere.png"),
    ],
)
def test_pictures_that_cannot_be_used(image: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        GREY.read(image)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    noise("RGB", (64, 64)).save(tmp_path / "a.jpg")
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=r"cannot decode an image: .*a.jpg: got OSError: .*truncated"):
        RGB.read(tmp_path / "a.jpg")


def small(**changes: object) -> Items:
    parts: dict[str, object] = {
        "inputs": torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1),
        "targets": torch.tensor([0, 1, 0, 1]),
        "meaning": Meaning("class", ("even", "odd")),
        "names": tuple("abcd"),
    }
    return Items(**(parts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"targets": torch.tensor([0, 1])}, "expected one target per input, got 4 inputs, 2 targets, 4 names"),
        ({"names": ("a",)}, "inputs and targets differ in number"),
        ({"targets": torch.tensor([0, 1, 0, 2])}, "targets outside the classes: expected 0 to 1, got 2"),
        ({"targets": torch.zeros(4, 3)}, r"targets of kind class: expected int64 with axes n .*got float32 of shape"),
        (
            {"targets": torch.zeros(4, 3), "meaning": Meaning("labels", ("even", "odd"))},
            r"targets of kind labels: expected float32 with axes n k for 2 names, got float32 of shape \(4, 3\)",
        ),
        (
            {"inputs": torch.zeros(0, 1, 1, 1, dtype=torch.uint8), "targets": torch.zeros(0).long(), "names": ()},
            "a set has no items",
        ),
    ],
)
def test_sets_that_cannot_be(changes: dict[str, object], text: str) -> None:
    # Past the checks of annotated calls that the test suite adds, to what a user of the package sees.
    bare = object.__new__(Items)
    for name, value in (vars(small()) | changes).items():
        object.__setattr__(bare, name, value)
    with pytest.raises(InputError, match=text):
        bare.__post_init__()


def test_subsets() -> None:
    items = small()
    neighbors, mixed = items.subset([1, 2]), items.subset(torch.tensor([3, 0]))
    assert neighbors.inputs.data_ptr() == items.inputs[1:].data_ptr()
    assert neighbors.targets.tolist() == [1, 0]
    assert mixed.inputs.flatten().tolist() == [3, 0]
    assert mixed.names == ("d", "a")
    for index in ([4], [-1], []):
        with pytest.raises(InputError, match=r"subset of a set: expected positions 0 to 3"):
            items.subset(index)


def test_multi_label_rows_are_kept() -> None:
    rows = torch.tensor([[0.0, 1], [1, 1], [0, 0], [1, 0]])
    assert torch.equal(
        small(targets=rows, meaning=Meaning("labels", ("even", "odd"))).subset([2, 1]).targets, rows[[2, 1]]
    )


def test_moments_against_numpy() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8)
    colors = images.numpy().transpose(1, 0, 2, 3).reshape(3, -1) / 255
    mean, covariance = moments(images)
    np.testing.assert_allclose(mean, colors.mean(1))
    np.testing.assert_allclose(covariance, np.cov(colors, bias=True), atol=1e-12)
