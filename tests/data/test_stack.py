"""The ISBI stack in the formats that people have, and blocks that cover a volume."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from striate.data.sources.stack import corners, cut, read_stack
from striate.errors import InputError

RANDOM = np.random.default_rng(0)
SLICES = RANDOM.integers(0, 256, (11, 6, 5), dtype=np.uint8)
LABELS = RANDOM.choice(np.array([0, 255], np.uint8), (11, 6, 5))


def pictures(folder: Path) -> Path:
    for kind, slices in (("image", SLICES), ("label", LABELS)):
        (folder / "train" / kind).mkdir(parents=True)
        for number, part in enumerate(slices):
            Image.fromarray(part).save(folder / "train" / kind / f"{number}.png")
    return folder


def test_folder_tar_and_volume_are_the_same_stack(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "membrane")
    with tarfile.open(tmp_path / "membrane.tar.gz", "w:gz") as archive:
        archive.add(folder, "membrane")
    challenge = tmp_path / "challenge"
    challenge.mkdir()
    tifffile.imwrite(challenge / "train-volume.tif", SLICES)
    tifffile.imwrite(challenge / "train-labels.tif", LABELS // 255)
    for path in (folder, folder / "train", tmp_path / "membrane.tar.gz", challenge):
        slices, labels = read_stack(path)
        assert np.array_equal(slices, SLICES), path
        assert np.array_equal(labels, LABELS), path


def test_the_real_stack(shared_data: Path) -> None:
    slices, labels = read_stack(shared_data / "isbi-membrane" / "membrane.tar.gz")
    assert slices.shape == labels.shape == (30, 512, 512)
    assert set(np.unique(labels)) == {0, 255}
    # Successive slices of one stack are alike, others are not: they are in order.
    flat = slices.reshape(30, -1) - slices.reshape(30, -1).mean(1, keepdims=True)
    alike = np.corrcoef(flat)
    assert np.diag(alike, 1).min() > np.diag(alike, 8).max()


def test_what_is_no_stack(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no stack of slices: .*: expected train-volume.tif and train-labels.tif, or"):
        read_stack(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match="cannot read a tar file: .*a.tar: got .* pass the folder"):
        read_stack(tmp_path / "a.tar")
    folder = pictures(tmp_path / "membrane")
    label = folder / "train" / "label" / "3.png"
    strange = LABELS[3].copy()
    strange[0, :2] = 7, 128
    Image.fromarray(strange).save(label)
    with pytest.raises(InputError, match="unknown label values: .*membrane, label 3: expected 0 and 255 .* got 7, 128"):
        read_stack(folder)
    Image.fromarray(LABELS[3][:4]).save(label)
    with pytest.raises(InputError, match="slices of different sizes: .*: expected one size, got 4x5 and 6x5"):
        read_stack(folder)
    label.write_bytes(b"no png")
    with pytest.raises(InputError, match="cannot decode a slice: .*membrane, slice 3"):
        read_stack(folder)
    label.unlink()
    with pytest.raises(InputError, match=r"slices without labels, or labels without slices: .*: got \[3\]"):
        read_stack(folder)
    for file in (folder / "train" / "label").iterdir():
        Image.fromarray(LABELS[0].T.copy()).save(file)
    Image.fromarray(LABELS[0].T.copy()).save(label)
    with pytest.raises(InputError, match=r"slices and labels differ: .*: expected one shape, got \(11, 6, 5\) and"):
        read_stack(folder)
    tifffile.imwrite(tmp_path / "train-volume.tif", SLICES)
    tifffile.imwrite(tmp_path / "train-labels.tif", LABELS[:5])
    with pytest.raises(InputError, match=r"slices and labels differ: .*: expected one shape, got \(11, 6, 5\) and"):
        read_stack(tmp_path)


@given(st.data())
def test_blocks_cover_the_volume(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 7)) for _ in range(3))
    block = tuple(data.draw(st.integers(1, size)) for size in shape)
    step = tuple(data.draw(st.integers(1, size)) for size in block)
    volume = torch.arange(np.prod(shape)).view(shape).to(torch.uint8)
    firsts = corners(shape, block, step)
    assert len(firsts.unique(dim=0)) == len(firsts)
    blocks = cut(volume, firsts, block)
    assert blocks.shape == (len(firsts), *block)
    assert set(blocks.flatten().tolist()) == set(volume.flatten().tolist())


def test_a_block_larger_than_the_volume() -> None:
    with pytest.raises(InputError, match=r"a block is larger than the volume: expected at most \(4, 4\), got \(4, 5\)"):
        corners((4, 4), (4, 5), (1, 1))
