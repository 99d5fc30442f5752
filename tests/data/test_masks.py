"""Readers of images with masks, on files written here pixel by pixel, and on the real sets where they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from striate.data import Reading, load_data, open_items
from striate.data.masks import (
    Legend,
    Pairs,
    default_palette,
    guessed_legend,
    natural,
    pair_up,
    read_legend,
    read_mask,
    read_pairs,
)
from striate.data.sources.segmentation import CAMVID, mask_legend, mask_pairs
from striate.errors import InputError, listed
from striate.shapes import Tensor

TWO = Legend(("a", "b"), default_palette(2), {0: 0, 1: 1, 255: 255}, {})
COLORS = Legend(("a", "b"), ((9, 8, 7), (1, 2, 3)), {}, {(9, 8, 7): 0, (1, 2, 3): 1, (0, 0, 0): 255})


def save(path: Path, pixels: list[object] | np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(pixels, np.uint8))
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


def read(
    pairs: list[tuple[Path, Path]], size: tuple[int, int] | None = None, channels: int | None = None
) -> tuple[Tensor, Tensor]:
    images, masks, left_out = read_pairs(Pairs.of(pairs, TWO), size, channels, Reading(""))
    assert not left_out
    return images, masks


def test_numbers_in_every_kind_of_file(tmp_path: Path) -> None:
    pixels = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    grey = save(tmp_path / "grey.png", pixels)
    palette = Image.fromarray(pixels)
    palette.putpalette([10, 20, 30] * 256)
    palette.save(tmp_path / "palette.png")
    save(tmp_path / "rgb.png", np.stack([pixels] * 3, -1))
    save(tmp_path / "alpha.png", np.dstack([pixels] * 3 + [np.full_like(pixels, 255)]))
    Image.fromarray(pixels.astype(np.uint16)).save(tmp_path / "deep.png")
    tifffile.imwrite(tmp_path / "one.tif", pixels)
    for file in (
        grey,
        *(tmp_path / f"{name}" for name in ("palette.png", "rgb.png", "alpha.png", "deep.png", "one.tif")),
    ):
        assert np.array_equal(read_mask(file, TWO), pixels), file
    Image.fromarray(pixels == 1).save(tmp_path / "bits.png")
    assert np.array_equal(read_mask(tmp_path / "bits.png", TWO), pixels == 1)


def test_colors_and_void(tmp_path: Path) -> None:
    file = save(tmp_path / "c.png", [[[9, 8, 7], [1, 2, 3]], [[0, 0, 0], [9, 8, 7]]])
    assert read_mask(file, COLORS).tolist() == [[0, 1], [255, 0]]
    indices = Image.fromarray(np.array([[1, 0]], np.uint8))
    indices.putpalette([9, 8, 7, 1, 2, 3] * 128)
    indices.save(tmp_path / "p.png")
    assert read_mask(tmp_path / "p.png", COLORS).tolist() == [[1, 0]]
    eleven = save(tmp_path / "v.png", [[0, 10], [11, 11]])
    assert read_mask(eleven, CAMVID).tolist() == [[0, 10], [255, 255]]


def test_an_unknown_value_may_be_great(tmp_path: Path) -> None:
    stored = np.zeros((2, 3), np.int32)
    stored[1, 2] = 2_000_000_000
    Image.fromarray(stored).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="got 2000000000 in 1 pixels"):
        read_mask(tmp_path / "a.tif", CAMVID)


def test_unknown_values_name_the_value_the_pixels_and_the_file(tmp_path: Path) -> None:
    file = save(tmp_path / "m.png", [[0, 7, 7], [9, 1, 1]])
    message = (
        f"^unknown label value: {re.escape(str(file))}: expected 0, 1, 255, got 7 in 2 pixels, 9 in 1 pixels. Correct"
    )
    with pytest.raises(InputError, match=message):
        read_mask(file, TWO)
    with pytest.raises(InputError, match="got 77 in 2 pixels. Correct the mask; masks of other classes are read by"):
        read_mask(save(tmp_path / "s.png", [[77, 77, 3]]), CAMVID)
    many = save(tmp_path / "n.png", [list(range(2, 10))])
    with pytest.raises(InputError, match="6 in 1 pixels and 3 more"):
        read_mask(many, TWO)
    color = save(tmp_path / "c.png", [[[9, 8, 6], [1, 2, 3]]])
    with pytest.raises(InputError, match=r"^unknown label color.*\(9, 8, 7\), got \(9, 8, 6\) in 1 pixels"):
        read_mask(color, COLORS)


def test_masks_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="^cannot read the mask: .*broken.png: got cannot identify image file"):
        read_mask(tmp_path / "broken.png", TWO)
    cut = save(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 2, (50, 50)))
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(InputError, match="^cannot read the mask: .*cut.png"):
        read_mask(cut, TWO)
    colors = save(tmp_path / "colors.png", [[[9, 8, 7], [1, 2, 3]]])
    with pytest.raises(
        InputError, match="^a mask of colors, whose classes are not known: .*Write a line `name red green"
    ):
        read_mask(colors, TWO)
    tifffile.imwrite(tmp_path / "f.tif", np.array([[0.5, 1]], np.float32))
    with pytest.raises(InputError, match="^a mask of fractions: .*f.tif: expected whole numbers, got float32"):
        read_mask(tmp_path / "f.tif", TWO)
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((4, 8, 9), np.uint8), photometric="minisblack")
    with pytest.raises(
        InputError, match="^a mask of several pictures: .*stack.tif: got 4. Save each picture in a file"
    ):
        read_mask(tmp_path / "stack.tif", TWO)
    with pytest.raises(InputError, match="^cannot decode an image: .*broken.png"):
        read([(tmp_path / "broken.png", save(tmp_path / "good.png", [[0]]))])


def test_an_image_and_its_mask_of_another_size(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "i.png", np.zeros((4, 6))), save(tmp_path / "m.png", np.zeros((4, 5)))
    message = "^an image and its mask differ in size: .*m.png: expected 4x6, as the image, got 4x5. Give both"
    with pytest.raises(InputError, match=message):
        read([(image, mask)])
    assert read([(image, image)])[1].shape == (1, 4, 6)


def test_pictures_of_several_sizes_lie_in_the_middle_of_the_largest(tmp_path: Path) -> None:
    big, small = np.full((6, 8, 3), 50), np.full((2, 4), 9)
    pairs = [
        (save(tmp_path / "a.png", big), save(tmp_path / "am.png", np.ones((6, 8)))),
        (save(tmp_path / "b.png", small), save(tmp_path / "bm.png", np.zeros((2, 4)))),
    ]
    images, masks = read(pairs)
    assert images.shape == (2, 3, 6, 8)
    assert (images[0] == 50).all()
    assert (masks[0] == 1).all()
    assert (images[1, :, 2:4, 2:6] == 9).all()
    assert (masks[1, 2:4, 2:6] == 0).all()
    assert (masks[1] == 255).sum() == 48 - 8
    assert images[1].sum() == 9 * 8 * 3
    grey, _ = read(pairs[1:])
    assert grey.shape == (1, 1, 2, 4)


def test_pictures_and_masks_are_resized_and_cut_alike(tmp_path: Path) -> None:
    """As if each had first been laid into the middle of the largest size, here in NumPy, and then been fitted."""
    random = np.random.default_rng(0)
    pairs, whole, classes = [], [], []
    for number, (height, width) in enumerate([(31, 60), (48, 40), (48, 60)]):
        picture, mask = random.integers(0, 256, (height, width, 3)), random.integers(0, 2, (height, width))
        pairs.append((save(tmp_path / f"{number}.png", picture), save(tmp_path / f"{number}m.png", mask)))
        around = (
            ((48 - height) // 2, 48 - height - (48 - height) // 2),
            ((60 - width) // 2, 60 - width - (60 - width) // 2),
        )
        whole.append(np.pad(picture, (*around, (0, 0))).astype(np.uint8))
        classes.append(np.pad(mask, around, constant_values=255).astype(np.uint8))
    for chosen, size, channels in ((slice(3), (20, 20), 3), (slice(3), (15, 40), 1), (slice(2, 3), (24, 30), 3)):
        images, masks = read(pairs[chosen], size, channels)
        for image, mask, pixels, codes in zip(images, masks, whole[chosen], classes[chosen], strict=True):
            colors = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
            fitted = np.asarray(ImageOps.fit(colors, size[::-1], Image.Resampling.BILINEAR)).reshape(*size, channels)
            assert np.array_equal(image.permute(1, 2, 0), fitted)
            nearest = ImageOps.fit(Image.fromarray(codes), size[::-1], Image.Resampling.NEAREST)
            assert np.array_equal(mask, np.asarray(nearest))


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_a_picture_that_lies_on_its_side_is_turned_to_its_mask(tmp_path: Path, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((40, 60), np.uint8)
    stored[:, :20] = 200
    packed = {"compression": "tiff_lzw"} if ending == "tif" else {}  # Pillow does not turn TIFFs that are not
    Image.fromarray(stored).save(tmp_path / f"a.{ending}", exif=exif, **packed)
    upright = np.zeros((60, 40), np.uint8)
    upright[:20] = 1
    images, masks = read([(tmp_path / f"a.{ending}", save(tmp_path / "m.png", upright))])
    assert torch.equal(images[:, 0] > 100, masks == 1)


def test_broken_files_are_left_out_on_demand_with_their_other_one(folders: Callable[..., Path]) -> None:
    root = folders(stems=("1", "2", "3", "4", "5"))
    for broken in (root / "masks" / "2.png", root / "images" / "4.jpg"):
        broken.write_bytes(broken.read_bytes()[:-20])
    fix = r"or leave both out with --skip-corrupt \(skip_corrupt=True\)"
    with pytest.raises(InputError, match=rf"^cannot read the mask: .*2.png: got .*truncated.*{fix}"):
        load_data(f"masks:{root}")
    data = load_data(f"masks:{root}", skip_corrupt=True, test=0, validation=0)
    assert [Path(name).stem for name in data.train.names] == ["1", "3", "5"]
    mask = f"{root / 'masks'}/2.png, and with it {root / 'images'}/2.jpg"
    assert data.skipped == (mask, f"{root / 'images'}/4.jpg, and with it {root / 'masks'}/4.png")
    items, skipped = open_items(f"masks:{root}", data.preprocess, data.meaning, skip_corrupt=True)
    assert (len(items), skipped) == (3, data.skipped)
    (root / "masks" / "2.png").unlink()
    (root / "images" / "2.jpg").unlink()
    with pytest.raises(InputError, match="^cannot decode an image: .*4.jpg: .*--skip-corrupt"):
        load_data(f"masks:{root}")
    save(root / "masks" / "3.png", np.full((4, 5), 7))
    (root / "classes.txt").write_text("sky\nroad")
    with pytest.raises(InputError, match="^unknown label value: .*masks/3.png"):
        load_data(f"masks:{root}", skip_corrupt=True)


def test_classes_are_matched_by_name_where_masks_number_them_otherwise(folders: Callable[..., Path]) -> None:
    root = folders(stems=("1", "2"))
    save(root / "masks" / "2.png", [[0, 0, 1, 255, 255]] * 4)
    (root / "classes.txt").write_text("sky 0\nroad 1\n")
    data = load_data(f"masks:{root}", test=0, validation=0)
    (root / "classes.txt").write_text("road 1\nsky 0\n")
    items, _ = open_items(f"masks:{root}", data.preprocess, data.meaning)
    assert torch.equal(items.targets, data.train.targets)
    assert items.targets[1, 0].tolist() == [0, 0, 1, 255, 255]


def test_what_the_image_size_cuts_off_is_told(folders: Callable[..., Path]) -> None:
    spec = f"masks:{folders(stems=('1', '2', '3', '4', '5'))}"
    (note,) = load_data(spec, image_size=8).notes
    assert note.startswith("image size 8x8 keeps the middle 80% of pictures of 4x5: nothing else")
    assert note.endswith("--image-size 8x10, say")
    assert load_data(spec, image_size="8x10").notes == load_data(spec).notes == ()
    (note,) = load_data("roads", image_size=48).notes
    assert note.startswith("image size 48x48 keeps the middle 75% of pictures of 96x128")


def test_classes_txt(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("# roads\nroad\nold house 7\n\ntree 1 2 3\nvoid 9\nVoid, 0, 0, 0\n")
    legend = read_legend(file)
    assert legend.names == ("road", "old house", "tree")
    assert legend.values == {0: 0, 7: 1, 9: 255, 255: 255}
    assert legend.colors == {(1, 2, 3): 2, (0, 0, 0): 255}
    assert legend.palette == (*default_palette(2), (1, 2, 3))
    file.write_text("membrane 0\ncell 255\n")
    assert read_legend(file).values == {0: 0, 255: 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\na\n", "^two classes have one name: .*classes.txt, line 2: got a"),
        ("a 1\nb\n", "^two classes have one value: .*line 2: got 1"),
        ("a 1 2 3\nb 1 2 3\n", r"^two classes have one value: .*line 2: got \(1, 2, 3\)"),
        ("a 300\n", "^a class: .*line 1: expected name, name value or name red green blue, each 0 to 255, got a 300"),
        ("\n# nothing\n", "^no classes: .*expected a class a line. Write the names"),
    ],
)
def test_classes_txt_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_legend(tmp_path / "classes.txt")


def test_without_classes_txt_the_values_tell(tmp_path: Path) -> None:
    two = save(tmp_path / "two.png", [[0, 255]])
    assert guessed_legend([two]).values == {0: 0, 255: 1}
    many = save(tmp_path / "many.png", [[0, 3, 255]])
    legend = guessed_legend([two, many])
    assert (legend.names, legend.values) == (("0", "1", "2", "3"), {0: 0, 1: 1, 2: 2, 3: 3, 255: 255})
    picture = Image.fromarray(np.array([[0, 1]], np.uint8))
    picture.putpalette([10, 20, 30, 200, 0, 0])
    picture.save(tmp_path / "p.png")
    assert guessed_legend([tmp_path / "p.png"]).palette == ((10, 20, 30), (200, 0, 0))


def test_values_that_number_no_classes_are_refused(tmp_path: Path) -> None:
    odd = save(tmp_path / "odd.png", [[0, 128]])
    plain = save(tmp_path / "plain.png", [[0, 255]])
    message = r"masks are not numbers of classes: .*got 0, 255, 128 in 1 pixels of odd.png. Correct .*classes.txt"
    with pytest.raises(InputError, match=message):
        guessed_legend([plain, odd, save(tmp_path / "later.png", [[128, 128]])])
    disk = np.zeros((32, 32))
    disk[8:20, 8:20] = 255
    blurred = save(tmp_path / "blurred.jpg", disk)
    with pytest.raises(InputError, match=r"a mask in a lossy format: .*blurred.jpg: got \d+ different values. Save"):
        guessed_legend([blurred])
    assert guessed_legend([save(tmp_path / "plain.jpg", np.full((8, 8), 255))]).names == ("0", "255")


def test_the_default_palette_is_that_of_pascal_voc() -> None:
    """Colors published with the devkit: aeroplane, bicycle, bird, boat, bottle ... and the 20th, tv monitor."""
    assert default_palette(20)[:4] == ((128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128))
    assert default_palette(20)[19] == (0, 64, 128)
    assert len(set(default_palette(255))) == 255


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., Path]:
    def make(
        root: str = "", images: str = "images", masks: str = "masks", stems: tuple[str, ...] = ("10", "9")
    ) -> Path:
        for stem in stems:
            save(tmp_path / root / images / f"{stem}.jpg", np.zeros((4, 5, 3)))
            save(tmp_path / root / masks / f"{stem}.png", np.ones((4, 5)))
        return tmp_path

    return make


def test_pairs_by_name_in_the_order_of_their_numbers(folders: Callable[..., Path]) -> None:
    root = folders()
    (root / "images" / ".hidden.jpg").write_bytes(b"")
    (root / "images" / "notes.txt").write_text("no picture")
    (root / "images" / "10.jpg").rename(root / "images" / "10.webp")
    pairs = mask_pairs(root)
    assert [(i.name, m.name) for i, m in pairs["train"]] == [("9.jpg", "9.png"), ("10.webp", "10.png")]
    assert mask_legend(root, pairs).names == ("0", "1")
    (root / "classes.txt").write_text("sky\nroad\n")
    assert mask_legend(root, pairs).names == ("sky", "road")


def test_folders_of_splits_and_other_names(folders: Callable[..., Path]) -> None:
    folders("train", "image", "label")
    root = folders("val", "images", "masks", ("3",))
    assert {split: len(pairs) for split, pairs in mask_pairs(root).items()} == {"train": 2, "validation": 1}


def test_a_folder_without_its_other_one_is_told(folders: Callable[..., Path]) -> None:
    root = folders("train")
    (root / "test" / "images").mkdir(parents=True)
    missing = re.escape(f"{root / 'test' / 'images'}: expected {root / 'test' / 'masks'} beside it. Add it, or move")
    with pytest.raises(InputError, match=f"^a folder of images without masks: {missing}"):
        mask_pairs(root)
    (root / "test" / "images").rename(root / "test" / "label")
    with pytest.raises(InputError, match="^a folder of masks without images: .*test/label: expected .*test/images b"):
        mask_pairs(root)
    (root / "test" / "label").rename(root / "train" / "label")
    with pytest.raises(InputError, match="^two folders of one kind: .*train: got masks and label. Keep one"):
        mask_pairs(root)
    (root / "train" / "label").rename(root / "test" / "elsewhere")
    save(root / "test" / "7.png", np.zeros((4, 5)))
    with pytest.raises(InputError, match="^a part without images and masks: .*test: expected .*test/images and .*Add"):
        mask_pairs(root)
    folders("val")
    folders("validation")
    with pytest.raises(InputError, match="^two folders of one part: .*got val and validation. Keep one"):
        mask_pairs(root)
    (root / "val").rename(root / "elsewhere")
    folders()
    with pytest.raises(
        InputError, match="^images and masks beside the folders of parts: .*got train, validation. Move"
    ):
        mask_pairs(root)


def test_files_without_their_other_one_are_counted_and_named(folders: Callable[..., Path]) -> None:
    root = folders()
    extra = save(root / "images" / "alone.jpg", np.zeros((4, 5, 3)))
    with pytest.raises(
        InputError, match="^images without a mask: .*expected files of the same names in masks, got 1 of 3"
    ):
        mask_pairs(root)
    with pytest.raises(InputError, match=r"alone.jpg. Add what is missing, or move these out"):
        mask_pairs(root)
    extra.unlink()
    save(root / "masks" / "left.png", np.zeros((4, 5)))
    with pytest.raises(InputError, match="^masks without an image: .*got 1 of 3: left.png"):
        mask_pairs(root)


def test_two_files_of_one_name_and_empty_folders_are_told(folders: Callable[..., Path], tmp_path: Path) -> None:
    root = folders()
    save(root / "images" / "9.png", np.zeros((4, 5)))
    with pytest.raises(InputError, match="^two pictures have one name: .*images: got 9. Keep one of each"):
        mask_pairs(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="^no pictures: .*empty: expected files that Pillow reads"):
        pair_up(tmp_path / "empty", root / "masks")
    (root / "images" / "9.png").unlink()
    for ending in ("svg", "heic"):
        (root / "images" / f"3.{ending}").touch()
    message = "^pictures in formats that Pillow does not read: .*images: got 2: 3.heic, 3.svg. Save them as PNG"
    with pytest.raises(InputError, match=message):
        mask_pairs(root)
    with pytest.raises(InputError, match="^no images with masks: .*expected folders images and masks, or train/images"):
        mask_pairs(tmp_path / "empty")


def test_names() -> None:
    assert sorted(["s10", "s9", "s9b"], key=natural) == ["s9", "s9b", "s10"]
    assert listed(list("abc"), 2) == "a, b and 1 more"
