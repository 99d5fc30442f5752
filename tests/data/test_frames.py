"""One clip written in every format reads as the same frames; broken and unequal ones say what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from striate.data.frames import middle, numbered, read_frames
from striate.errors import InputError

CLIP = np.random.default_rng(0).integers(0, 256, (12, 5, 7), dtype=np.uint8)


def pixels(item: object) -> np.ndarray:
    return np.stack([np.asarray(frame.convert("L")) for frame in read_frames(item)])


def save_frames(folder: Path, clip: np.ndarray = CLIP, name: str = "take2_frame_{}.png") -> Path:
    folder.mkdir()
    for number, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / name.format(number))
    return folder


def test_every_format_gives_the_same_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(frame) for frame in CLIP]
    pages[0].save(tmp_path / "clip.gif", save_all=True, append_images=pages[1:], duration=40)
    pages[0].save(tmp_path / "clip.png", save_all=True, append_images=pages[1:])
    tifffile.imwrite(tmp_path / "clip.tif", CLIP)
    np.save(tmp_path / "clip.npy", CLIP)
    np.savez(tmp_path / "clip.npz", anything=CLIP)
    save_frames(tmp_path / "folder")
    (tmp_path / "folder" / "notes 3.txt").write_text("no picture")
    files = [tmp_path / f"clip.{suffix}" for suffix in ("gif", "png", "tif", "npy", "npz")]
    for item in [*files, str(tmp_path / "folder"), CLIP, torch.from_numpy(CLIP), torch.from_numpy(CLIP)[None], pages]:
        assert np.array_equal(pixels(item), CLIP), item


def test_colors_and_deep_pixels_are_kept(tmp_path: Path) -> None:
    colors = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "colors.tif", colors, photometric="rgb")
    for item in (tmp_path / "colors.tif", colors, torch.from_numpy(colors).permute(3, 0, 1, 2)):
        assert np.array_equal(np.stack([np.asarray(frame) for frame in read_frames(item)]), colors)
    tifffile.imwrite(tmp_path / "deep.tif", CLIP.astype(np.uint16) * 257)
    assert [frame.mode for frame in read_frames(tmp_path / "deep.tif")] == ["I;16"] * 12


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [file.name for file in numbered(save_frames(tmp_path / "a"))]
    assert names == [f"take2_frame_{number}.png" for number in range(12)]


def test_the_middle_is_taken() -> None:
    frames = read_frames(CLIP)
    assert np.array_equal(np.stack([np.asarray(f) for f in middle(frames, 6)]), CLIP[3:9])
    with pytest.raises(InputError, match="too short: a.gif: expected 16 frames, got 12. Give a longer one"):
        middle(frames, 16, "a.gif")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such clip or volume: .*nothing.gif. Check the path"):
        read_frames(tmp_path / "nothing.gif")
    (tmp_path / "broken.gif").write_bytes(b"GIF89a broken")
    with pytest.raises(InputError, match="cannot read a clip or volume: .*broken.gif: got UnidentifiedImageError"):
        read_frames(tmp_path / "broken.gif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without frames: .*empty: expected pictures with numbers"):
        read_frames(tmp_path / "empty")
    folder = save_frames(tmp_path / "frames")
    (folder / "13.png").write_bytes(b"no png")
    with pytest.raises(InputError, match="cannot decode a frame: .*13.png"):
        read_frames(folder)
    Image.fromarray(CLIP[0, :3]).save(folder / "13.png")
    with pytest.raises(InputError, match="frames of different sizes: .*frames: expected one size, got 7x5 and 7x3"):
        read_frames(folder)
    Image.fromarray(CLIP[0]).save(folder / "last.png")
    with pytest.raises(InputError, match="a frame without a number: .*last.png. Number the frames"):
        read_frames(folder)
    twice = save_frames(tmp_path / "twice")
    Image.fromarray(CLIP[0]).save(twice / "other 004.png")
    with pytest.raises(InputError, match="two frames with one number: .*004.png|two frames with one number: .*_4.png"):
        read_frames(twice)
    np.savez(tmp_path / "two.npz", a=CLIP, b=CLIP)
    with pytest.raises(InputError, match="which array is the clip.: .*two.npz: expected one array, got a, b"):
        read_frames(tmp_path / "two.npz")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "wide.npy", np.zeros((2, 3, 3), np.int32))
    with pytest.raises(InputError, match=f"^{tmp_path}/wide.npy: image array: expected uint8"):
        read_frames(tmp_path / "wide.npy")
    with pytest.raises(InputError, match="cannot read a clip or volume: .*objects.npy: got ValueError"):
        read_frames(tmp_path / "objects.npy")
    with pytest.raises(InputError, match="axes of a clip or volume: ndarray: expected frames rows .* got shape .5, 7."):
        read_frames(CLIP[0])
    with pytest.raises(InputError, match="a clip or volume: expected a path, an array, .* got int"):
        read_frames(3)
    with pytest.raises(InputError, match="without frames: a list: expected at least one"):
        read_frames([])
