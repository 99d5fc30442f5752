"""CamVid and the ISBI membranes: their files, lists, drives and slices, written here and the real ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from striate.data import load_data
from striate.data.masks import pairs_of_list
from striate.data.sources.segmentation import camvid_pairs, drives, read_isbi
from striate.errors import InputError


def save(path: Path, pixels: list[object] | np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(pixels, np.uint8))
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


def test_camvid_by_list_and_by_name(tmp_path: Path) -> None:
    for split, stems in (("train", "abc"), ("test", "d")):
        for stem in stems:
            save(tmp_path / split / f"{stem}.png", np.zeros((4, 5, 3)))
            save(tmp_path / f"{split}annot" / f"{stem}.png", np.full((4, 5), 11))
    assert {split: len(pairs) for split, pairs in camvid_pairs(tmp_path).items()} == {"train": 3, "test": 1}
    lines = [f"/SegNet/CamVid/train/{stem}.png /SegNet/CamVid/trainannot/{stem}.png" for stem in "ca"]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    assert [image.stem for image, _ in camvid_pairs(tmp_path)["train"]] == ["c", "a"]
    (tmp_path / "train" / "a.png").unlink()
    with pytest.raises(InputError, match="^files of a list are missing: .*train.txt: got 1 of 4: train/a.png. Add the"):
        camvid_pairs(tmp_path)
    (tmp_path / "train.txt").write_text("train/b.png")
    with pytest.raises(InputError, match="^a list of images and masks: .*expected image and mask in turn, got 1 paths"):
        pairs_of_list(tmp_path / "train.txt", tmp_path)
    (tmp_path / "train.txt").unlink()
    (tmp_path / "trainannot" / "a.png").unlink()
    (tmp_path / "testannot").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="^a folder of images without masks: .*/test: expected .*/testannot beside it"):
        camvid_pairs(tmp_path)
    with pytest.raises(InputError, match="^not the SegNet tutorial's folders: .*expected train and trainannot"):
        camvid_pairs(tmp_path / "test")


def test_frames_of_a_camvid_drive_are_one_group(tmp_path: Path) -> None:
    for split, names in (("train", ("0006R0_f00930", "0001TP_006690")), ("test", ("0001TP_008550", "Seq05VD_f00000"))):
        for name in names:
            save(tmp_path / split / f"{name}.png", np.zeros((4, 5, 3)))
            save(tmp_path / f"{split}annot" / f"{name}.png", np.zeros((4, 5)))
    data = load_data(f"camvid:{tmp_path}", validation=0)
    assert data.test is not None
    assert data.train.groups is not None
    assert data.test.groups is not None
    assert (data.train.groups.tolist(), data.test.groups.tolist()) == ([0, 1], [2, 0])
    save(tmp_path / "test" / "x.png", np.zeros((4, 5, 3)))
    save(tmp_path / "testannot" / "x.png", np.zeros((4, 5)))
    assert load_data(f"camvid:{tmp_path}").train.groups is None
    assert drives(["frame_1", "frame_2"]) is None


@pytest.fixture
def membranes(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in (2, 10, 1):
        save(tmp_path / "m" / "train" / "image" / f"{number}.png", random.integers(0, 9, (6, 7)) + number)
        save(tmp_path / "m" / "train" / "label" / f"{number}.png", 255 * random.integers(0, 2, (6, 7)))
        save(tmp_path / "m" / "test" / f"{number}.png", np.zeros((6, 7)))
    return tmp_path


def test_isbi_slices_from_a_folder_a_tar_and_the_challenge_volumes(membranes: Path) -> None:
    images, masks = read_isbi(membranes)
    assert images.shape == masks.shape == (3, 6, 7)
    assert [int(image.min()) for image in images] == [1, 2, 10]  # by number
    assert np.array_equal(np.unique(masks), [0, 1])
    with tarfile.open(membranes / "m.tar.gz", "w:gz") as archive:
        archive.add(membranes / "m", "m")
    for other in read_isbi(membranes / "m.tar.gz"), read_isbi(membranes / "m"):
        assert np.array_equal(other[0], images)
        assert np.array_equal(other[1], masks)
    tifffile.imwrite(membranes / "train-volume.tif", images, photometric="minisblack")
    tifffile.imwrite(membranes / "train-labels.tif", masks * np.uint8(255), photometric="minisblack")
    assert all(np.array_equal(a, b) for a, b in zip(read_isbi(membranes), (images, masks), strict=True))


def test_isbi_files_that_cannot_be_used_are_told(membranes: Path) -> None:
    folder = membranes / "m" / "train"
    save(folder / "label" / "2.png", np.full((6, 7), 128))
    with pytest.raises(InputError, match="^unknown label value: .*label/2.png: expected 0, 255, got 128 in 42 pixels"):
        read_isbi(membranes)
    save(folder / "label" / "2.png", np.zeros((6, 8)))
    with pytest.raises(
        InputError, match=r"^an image and its mask differ in size: .*2: expected \(6, 8\), got \(6, 7\)"
    ):
        read_isbi(membranes)
    save(folder / "image" / "2.png", np.zeros((6, 8)))
    with pytest.raises(InputError, match="^the slices differ in size"):
        read_isbi(membranes)
    (folder / "label" / "2.png").unlink()
    with pytest.raises(InputError, match="^ISBI membranes: .*got without its other one: 2"):
        read_isbi(membranes)
    with pytest.raises(InputError, match="^ISBI membranes: .*expected train/image/N.png .*got none of them"):
        read_isbi(membranes / "m" / "test")
    (folder / "image" / "1.png").write_bytes(b"no")
    (folder / "image" / "2.png").unlink()
    with pytest.raises(InputError, match="^cannot read the image: .*image/1.png"):
        read_isbi(membranes)
    (membranes / "no.tar").write_bytes(b"no")
    with pytest.raises(InputError, match="^cannot read the archive: .*no.tar: expected a tar"):
        read_isbi(membranes / "no.tar")


def test_isbi_volumes_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "train-volume.tif", np.zeros((3, 6, 7), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="^cannot read the volume: .*train-labels.tif"):
        read_isbi(tmp_path)
    tifffile.imwrite(tmp_path / "train-labels.tif", np.zeros((3, 6, 8), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="^ISBI volumes: .*expected 8-bit slices d h w and labels of their size"):
        read_isbi(tmp_path)
    tifffile.imwrite(tmp_path / "train-labels.tif", np.full((3, 6, 7), 3, np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="^unknown label value: .*train-labels.tif: expected 0, 255, got 3"):
        read_isbi(tmp_path)


def test_the_real_membranes(shared_data: Path) -> None:
    images, masks = read_isbi(shared_data / "isbi-membrane" / "membrane.tar.gz")
    assert images.shape == masks.shape == (30, 512, 512)
    with tarfile.open(shared_data / "isbi-membrane" / "membrane.tar.gz") as archive:
        content = archive.extractfile("membrane/train/label/7.png")
        assert content is not None
        stored = np.asarray(Image.open(io.BytesIO(content.read())))
    assert np.array_equal(masks[7], stored == 255)
