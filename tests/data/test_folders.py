"""Folders of pictures and the file that keeps them decoded: layouts, interruptions, corrupt files, full disks."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import Data, cache, load_data, open_items
from striate.errors import InputError, StorageError

MakeFolder = Callable[..., Path]


def load(root: Path, **options: object) -> Data:
    return load_data(f"folder:{root}", **({"image_size": 8} | options))  # type: ignore[arg-type]


def every(data: Data) -> dict[str, torch.Tensor]:
    """Pixels by name, over all parts."""
    sets = [items for items in (data.train, data.validation, data.test) if items is not None]
    return {name: items.inputs[i] for items in sets for i, name in enumerate(items.names)}


def test_each_item_is_its_file_read_by_the_preprocessing(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path, ("cat", "dog", "cow: a, b"))
    (tmp_path / "cat" / "deep" / "er").mkdir(parents=True)
    shutil.copy(tmp_path / "cat" / "000.png", tmp_path / "cat" / "deep" / "er" / "UPPER.PNG")
    for name in ("notes.txt", ".hidden.png", "._000.png"):
        (tmp_path / "cat" / name).write_text("not a picture")
    (tmp_path / ".git").mkdir()
    data = load(tmp_path)
    assert data.class_names == ("cat", "cow: a, b", "dog")
    assert data.shape == (3, 8, 8)
    assert len(every(data)) == 31
    for name, pixels in every(data).items():
        assert torch.equal(pixels, data.preprocess.read(name))
    for items in (data.train, data.test):
        assert items is not None
        found = [Path(name).relative_to(tmp_path).parts[0] for name in items.names]
        assert [data.class_names[label] for label in items.targets] == found
    one = data.preprocess.normalize(data.train.inputs[3:4])[0]
    assert torch.equal(data.preprocess(data.train.names[3]), one)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("P", 3)])
def test_channels_are_those_of_the_files(tmp_path: Path, make_folder: MakeFolder, mode: str, channels: int) -> None:
    assert load(make_folder(tmp_path, mode=mode)).shape == (channels, 8, 8)
    assert load(tmp_path, channels=3).shape == (3, 8, 8)


@pytest.mark.parametrize("validation", ["val", "validation", None])
def test_given_splits_are_kept(tmp_path: Path, make_folder: MakeFolder, validation: str | None) -> None:
    make_folder(tmp_path / "train", count=20)
    make_folder(tmp_path / "test", ("dog",), count=3)
    if validation:
        make_folder(tmp_path / validation, count=4)
    data = load(tmp_path)
    assert data.test is not None
    assert data.validation is not None
    assert {Path(name).parent.parent.name for name in data.test.names} == {"test"}
    assert data.test.targets.tolist() == [1, 1, 1]
    assert {Path(name).parent.parent.name for name in data.validation.names} == {validation or "train"}
    assert (len(data.train), len(data.validation)) == ((40, 8) if validation else (36, 4))


def test_a_class_may_be_called_train(tmp_path: Path, make_folder: MakeFolder) -> None:
    assert load(make_folder(tmp_path, ("car", "plane", "train"))).class_names == ("car", "plane", "train")


def layout(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / file)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ((), "a folder without class folders: .* Put the images of each class in a sub-folder"),
        (("1.png",), "a folder without class folders"),
        (("train/1.png", "test/1.png"), "a folder without class folders: .*/train|/test"),
        (("cat/1.png",), r"only one class: .*: expected at least two, got \('cat',\)"),
        (("train/a/1.png", "train/b/1.png", "test/c/1.png"), r"classes without training images: .*test: .*got \['c'\]"),
        (("train/a/1.png", "test/a/1.png", "a/1.png"), "split folders and others side by side: .* got a, test, train"),
        (("train/a/1.png", "val/a/1.png", "validation/a/1.png"), "split folders and others side by side"),
        (("a/1.png", "b/1.png", "x.png", "y.png"), r"images without a label: .*got 2: x.png, y.png. Move them into"),
        (("test/a/1.png", "test/b/1.png"), "no training part: .*: expected a folder train"),
    ],
)
def test_layouts_that_cannot_be_used(tmp_path: Path, files: tuple[str, ...], text: str) -> None:
    layout(tmp_path, *files)
    with pytest.raises(InputError, match=text):
        load(tmp_path)


def test_a_class_folder_without_images(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"a class folder without images: .*empty"):
        load(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"images of classes lie in a folder: .*a.zip"):
        load(tmp_path / "a.zip")


def test_a_folder_needs_a_size(tmp_path: Path, make_folder: MakeFolder) -> None:
    with pytest.raises(InputError, match=r"has no size of its own: .*Give an image size, 64 say"):
        load(make_folder(tmp_path), image_size=None)


def test_evaluating_a_folder_with_some_of_the_classes(tmp_path: Path, make_folder: MakeFolder) -> None:
    data = load(make_folder(tmp_path / "a", ("ant", "bee", "cat")))
    make_folder(tmp_path / "b", ("cat", "bee"), count=2)
    items, skipped = open_items(f"folder:{tmp_path / 'b'}", data.preprocess, data.meaning)
    assert skipped == ()
    assert items.targets.tolist() == [1, 1, 2, 2]
    assert items.class_names == data.class_names
    assert torch.equal(items.inputs[3], data.preprocess.read(tmp_path / "b" / "cat" / "001.png"))
    make_folder(tmp_path / "c" / "test", ("ant",), count=3)
    assert len(open_items(f"folder:{tmp_path / 'c'}", data.preprocess, data.meaning)[0]) == 3
    make_folder(tmp_path / "d", ("bee", "wasp"))
    with pytest.raises(
        InputError, match=r"classes that the model does not know: .*: expected some of ant, bee, cat, got wasp"
    ):
        open_items(f"folder:{tmp_path / 'd'}", data.preprocess, data.meaning)


def test_the_second_time_nothing_is_decoded(tmp_path: Path, make_folder: MakeFolder, own_cache: Path) -> None:
    make_folder(tmp_path)
    told: list[tuple[int, int, str]] = []
    first = load(tmp_path, progress=lambda *now: told.append(now))
    assert told == [(i + 1, 20, "decoding images") for i in range(20)]
    again = load(tmp_path, progress=lambda *now: told.append(now))
    assert len(told) == 20
    assert all(torch.equal(every(first)[name], every(again)[name]) for name in every(first))
    assert {file.suffix for file in own_cache.iterdir()} <= {".pixels", ".corrupt", ".lock"}


@pytest.mark.parametrize("change", ["pixels", "size", "channels", "file", "time"])
def test_a_change_is_decoded_anew(tmp_path: Path, make_folder: MakeFolder, own_cache: Path, change: str) -> None:
    make_folder(tmp_path)
    load(tmp_path)
    if change == "pixels":
        Image.new("RGB", (12, 10), "red").save(tmp_path / "cat" / "000.png")
    if change == "time":  # other pixels may have the same number of bytes
        os.utime(tmp_path / "cat" / "000.png", (1, 1))
    if change == "file":
        (tmp_path / "cat" / "000.png").unlink()
    data = load(tmp_path, image_size=9 if change == "size" else 8, channels=1 if change == "channels" else None)
    assert all(torch.equal(pixels, data.preprocess.read(name)) for name, pixels in every(data).items())
    assert len(list(own_cache.glob("*.pixels"))) == 2


def test_an_explicit_cache_folder(tmp_path: Path, make_folder: MakeFolder, own_cache: Path) -> None:
    load(make_folder(tmp_path / "a"), cache=tmp_path / "b" / "c")
    assert len(list((tmp_path / "b" / "c").glob("*.pixels"))) == 1
    assert not list(own_cache.iterdir())


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRIATE_CACHE")
    assert cache.cache_folder() == Path.home() / ".cache" / "striate"


class StoppedError(Exception):
    pass


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, make_folder: MakeFolder, own_cache: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "cat" / "002.png").write_bytes(b"broken")

    def stop(done: int, *_: object) -> None:
        if done == 7:
            raise StoppedError

    with pytest.raises(StoppedError):
        load(tmp_path, skip_corrupt=True, progress=stop)
    part = next(own_cache.glob("*.part"))
    assert part.stat().st_size == 7 * 3 * 64
    with part.open("ab") as file:
        file.write(b"half a row")
    told: list[int] = []
    data = load(tmp_path, skip_corrupt=True, progress=lambda done, *_: told.append(done))
    assert told == list(range(8, 21))
    assert data.skipped == (str(tmp_path / "cat" / "002.png"),)
    assert len(every(data)) == 19
    assert all(torch.equal(pixels, data.preprocess.read(name)) for name, pixels in every(data).items())


@pytest.mark.parametrize("how", ["garbage", "truncated", "empty"])
def test_corrupt_files_are_named_or_left_out(tmp_path: Path, make_folder: MakeFolder, how: str) -> None:
    make_folder(tmp_path)
    file = tmp_path / "dog" / "004.png"
    raw = file.read_bytes()
    file.write_bytes({"garbage": b"garbage", "truncated": raw[: len(raw) // 2], "empty": b""}[how])
    text = r"cannot decode an image: .*dog/004.png: got .*leave out corrupt images with --skip-corrupt"
    with pytest.raises(InputError, match=text):
        load(tmp_path)
    data = load(tmp_path, skip_corrupt=True)
    assert data.skipped == (str(file),)
    assert str(file) not in every(data)
    assert all(torch.equal(pixels, data.preprocess.read(name)) for name, pixels in every(data).items())
    with pytest.raises(InputError, match=text):  # also when the complete file is there
        load(tmp_path)
    items, skipped = open_items(f"folder:{tmp_path}", data.preprocess, data.meaning, skip_corrupt=True)
    assert (len(items), skipped) == (19, (str(file),))


def test_names_that_are_no_text(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path)
    file, folder = os.fsdecode(b"\xe9.png"), os.fsdecode(b"d\xe9j\xe0")
    try:
        shutil.copy(tmp_path / "cat" / "000.png", tmp_path / "cat" / file)
    except OSError:
        pytest.skip("this file system has only names that are text")
    assert str(tmp_path / "cat") + "/\\xe9.png" in every(load(tmp_path))
    (tmp_path / "cat").rename(tmp_path / folder)
    with pytest.raises(InputError, match=r"the name of a class folder is no UTF-8: .*/d\\xe9j\\xe0\. Rename it"):
        load(tmp_path)


def test_nothing_but_corrupt_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"no items are left for train: .*: expected at least one readable item"):
        load(tmp_path, skip_corrupt=True, test=0, validation=0)
    with pytest.raises(InputError, match=r"too small to split off test: expected 2 or more items, got 0 of class a"):
        load(tmp_path, skip_corrupt=True)


def test_a_part_of_nothing_but_corrupt_files_is_named(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path / "train")
    layout(tmp_path, "test/cat/1.png")
    (tmp_path / "test" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=f"no items are left for test: folder:{tmp_path}: expected"):
        load(tmp_path, skip_corrupt=True)


@pytest.mark.parametrize(("number", "text"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "Permission denied")])
def test_a_full_disk(
    tmp_path: Path, make_folder: MakeFolder, own_cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    make_folder(tmp_path)

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache, "_sync", full)
    with pytest.raises(StorageError, match=f"cannot write the image cache: {own_cache}: .*{text}.*set STRIATE_CACHE"):
        load(tmp_path)
    monkeypatch.undo()


def test_writing_to_the_tensor_does_not_reach_the_file(tmp_path: Path, make_folder: MakeFolder) -> None:
    data = load(make_folder(tmp_path), validation=0, test=0)
    data.train.inputs.zero_()
    again = load(tmp_path, validation=0, test=0)
    assert again.train.inputs.any()


def test_large_parts_stay_mapped(
    tmp_path: Path, make_folder: MakeFolder, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = load(make_folder(tmp_path))
    monkeypatch.setattr(cache, "RESIDENT_BYTES", 100)
    before = set(own_cache.iterdir())
    large = load(tmp_path)
    assert all(torch.equal(every(large)[name], every(resident)[name]) for name in every(resident))
    maps = Path("/proc/self/maps")
    if maps.exists():
        address = large.train.inputs.data_ptr()
        owners = [line for line in maps.read_text().splitlines() if str(own_cache) in line]
        spans = [[int(edge, 16) for edge in line.split()[0].split("-")] for line in owners]
        assert any(low <= address < high for low, high in spans)
    assert set(own_cache.iterdir()) == before  # the copy has no name and ends with the process


def test_two_processes_share_the_work(tmp_path: Path, make_folder: MakeFolder) -> None:
    from concurrent.futures import ThreadPoolExecutor

    make_folder(tmp_path)
    told: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(load, tmp_path, progress=lambda done, *_: told.append(done)) for _ in range(2)]
        first, second = (run.result() for run in runs)
    assert told == list(range(1, 21))
    assert np.array_equal(first.train.inputs, second.train.inputs)
