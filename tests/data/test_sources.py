"""Data sources: files written here byte by byte, splits counted by class, and every error's text."""

from __future__ import annotations

import io
import pickle
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from striate.data import SOURCES, Meaning, load_data, open_items
from striate.data.splits import split
from striate.errors import InputError

WriteIdx = Callable[..., None]
MakeFolder = Callable[..., Path]
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_digits_are_sklearns_with_levels_spread_to_255() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", validation=0, test=0)
    assert (data.validation, data.test, data.shape) == (None, None, (1, 8, 8))
    assert torch.equal(
        data.train.inputs[:, 0] * 16, (torch.tensor(load_digits().images) * 255 / 16).round().byte() * 16
    )
    assert data.train.inputs.max() == 255
    assert data.train.targets.tolist() == load_digits().target.tolist()
    assert data.train.names[17] == "digits 17"


@pytest.mark.parametrize("name", ["mnist", "fashion"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_are_read_back(tmp_path: Path, write_idx: WriteIdx, name: str, mark: str, zipped: bool) -> None:
    write_idx(tmp_path / "a, b: c", mark=mark, zipped=zipped)
    data = load_data(f"{name}:{tmp_path}/a, b: c", validation=0.25)
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (count, 1, 5, 4), dtype=np.uint8) for count in (40, 20))
    where = [int(item.split()[-1]) for item in data.train.names]
    assert data.test is not None
    assert data.validation is not None
    assert (len(data.train), len(data.validation), data.shape) == (30, 10, (1, 5, 4))
    assert torch.equal(data.train.inputs, torch.tensor(train[where]))
    assert data.train.targets.tolist() == [i % 10 for i in where]
    assert torch.equal(data.test.inputs, torch.tensor(test))
    assert data.test.names[17] == f"{name} test 17"
    assert data.class_names[9] == ("Ankle boot" if name == "fashion" else "9")


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        (
            "train-images",
            lambda raw: b"\0\0\x08\x01" + raw[4:],
            r"wrong idx magic: .*: expected 2051 \(images\), got 2049",
        ),
        ("train-labels", lambda raw: b"\0\0\x08\x03" + raw[4:], r"expected 2049 \(labels\), got 2051"),
        ("t10k-images", lambda _: b"\0", "wrong idx magic: .*got 1 bytes"),
        ("train-images", lambda raw: raw[:-1], "truncated or damaged idx file: .*: expected 816 bytes .*, got 815"),
        ("train-images", lambda raw: raw[:9], "truncated or damaged idx file"),
        ("train-images", lambda raw: raw + b"\0", "truncated or damaged idx file"),
        ("train-images", lambda _: struct.pack(">iiii", 2051, 0, 5, 4), "truncated or damaged idx file"),
        ("train-labels", lambda raw: raw[:7] + b"\x27" + raw[8:-1], "differ in number: .*: got 40 images, 39 labels"),
        ("train-labels", lambda raw: raw[:-1] + b"\x0a", "idx labels: .*: expected 0 to 9, got 10"),
        ("train-labels", lambda _: b"\x1f\x8bno", "cannot unzip an idx file: .*train-labels"),
    ],
)
def test_damaged_idx_files(
    tmp_path: Path, write_idx: WriteIdx, name: str, change: Callable[[bytes], bytes], text: str
) -> None:
    write_idx(tmp_path)
    damage(next(tmp_path.glob(f"{name}*")), change)
    with pytest.raises(InputError, match=text):
        load_data(f"mnist:{tmp_path}")


def test_a_truncated_gzip(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path, zipped=True)
    damage(tmp_path / "train-images-idx3-ubyte.gz", lambda raw: raw[:100])
    with pytest.raises(InputError, match=r"cannot unzip an idx file: .*end-of-stream"):
        load_data(f"mnist:{tmp_path}")


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no idx file: .*: expected train-images-idx3-ubyte.gz or "):
        load_data(f"mnist:{tmp_path}")


class Python2Pickler(pickle._Pickler):  # type: ignore[misc]
    """Writes text as Python 2 did: numpy's names of that time, bytes as BINSTRING."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes

    def save_global(self, thing: object, _: str | None = None) -> None:
        module = {"ndarray": "numpy", "dtype": "numpy"}.get(thing.__name__, "numpy.core.multiarray")  # type: ignore[attr-defined]
        self.write(pickle.GLOBAL + f"{module}\n{thing.__name__}\n".encode())  # type: ignore[attr-defined]
        self.memoize(thing)

    dispatch[type] = save_global
    dispatch[type(len)] = save_global


def cifar_batches() -> dict[str, tuple[np.ndarray, list[int]]]:
    random = np.random.default_rng(1)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    return {name: (random.integers(0, 256, (4, 3072), dtype=np.uint8), [i, 3, 4, 9]) for i, name in enumerate(names)}


def write_cifar(folder: Path, kind: str) -> None:
    folder.mkdir()
    for name, (pixels, labels) in cifar_batches().items():
        if kind == "binary":
            records = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, pixels, strict=True))
            (folder / f"{name}.bin").write_bytes(records)
        elif kind == "python":
            stream = io.BytesIO()
            Python2Pickler(stream, 2).dump({b"data": pixels, b"labels": labels, b"batch_label": b"x"})
            (folder / name).write_bytes(stream.getvalue())
        else:
            (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": labels}, protocol=5 - 1))


def test_the_python_2_pickle_of_the_test_is_one() -> None:
    stream = io.BytesIO()
    Python2Pickler(stream, 2).dump({b"data": np.arange(3, dtype=np.uint8)})
    assert b"numpy.core.multiarray\n_reconstruct" in stream.getvalue()
    assert pickle.loads(stream.getvalue(), encoding="bytes")[b"data"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["binary", "python", "python3"])
@pytest.mark.parametrize("place", ["folder", "parent", "tar", "tar.gz"])
def test_every_form_of_cifar10_gives_the_same_tensors(tmp_path: Path, kind: str, place: str) -> None:
    folder = tmp_path / ("cifar-10-batches-bin" if kind == "binary" else "cifar-10-batches-py")
    write_cifar(folder, kind)
    path = {"folder": folder, "parent": tmp_path}.get(place, tmp_path / f"cifar.{place}")
    if place.startswith("tar"):
        with tarfile.open(path, "w:gz" if place == "tar.gz" else "w") as archive:
            archive.add(folder, folder.name)
    data = load_data(f"cifar10:{path}", validation=0)
    *train, test = cifar_batches().values()
    assert data.test is not None
    assert data.class_names == tuple(CIFAR)
    assert torch.equal(data.train.inputs.flatten(1), torch.tensor(np.concatenate([pixels for pixels, _ in train])))
    assert data.train.targets.tolist() == [label for _, labels in train for label in labels]
    assert torch.equal(data.test.inputs.flatten(1), torch.tensor(test[0]))
    assert data.test.names[3] == "cifar10 test 3"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemError('the file ran code')",))


@pytest.mark.parametrize(
    ("name", "raw", "text"),
    [
        ("data_batch_2", pickle.dumps({b"data": Evil()}), "UnpicklingError: builtins.exec is not allowed"),
        ("data_batch_2", b"garbage", "CIFAR-10 python batch: .*data_batch_2: expected a pickled dictionary"),
        ("data_batch_2", pickle.dumps({b"data": [[1, 2]], b"labels": [1]}), r"ValueError: data of shape \(1, 2\)"),
        ("data_batch_2", pickle.dumps([]), "CIFAR-10 python batch"),
    ],
)
def test_pickles_that_are_refused(tmp_path: Path, name: str, raw: bytes, text: str) -> None:
    write_cifar(tmp_path / "c", "python3")
    (tmp_path / "c" / name).write_bytes(raw)
    with pytest.raises(InputError, match=text):
        load_data(f"cifar10:{tmp_path}/c")


def test_damaged_binary_batches(tmp_path: Path) -> None:
    write_cifar(tmp_path / "c", "binary")
    damage(tmp_path / "c" / "data_batch_1.bin", lambda raw: b"\x0a" + raw[1:])
    with pytest.raises(InputError, match=r"CIFAR-10 labels: .*: expected 0 to 9, got 10"):
        load_data(f"cifar10:{tmp_path}/c")
    damage(tmp_path / "c" / "data_batch_1.bin", lambda raw: raw[:-1])
    with pytest.raises(InputError, match=r"truncated CIFAR-10 batch: .*: expected records of 3073 bytes, got 12291"):
        load_data(f"cifar10:{tmp_path}/c")
    (tmp_path / "c" / "data_batch_1.bin").unlink()
    with pytest.raises(InputError, match=r"no CIFAR-10 batch: .*: expected data_batch_1 or data_batch_1.bin"):
        load_data(f"cifar10:{tmp_path}/c")


def test_a_file_that_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "cifar.tar.gz").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"cannot read a tar file: .*cifar.tar.gz"):
        load_data(f"cifar10:{tmp_path}/cifar.tar.gz")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("mnst:x", "unknown data source: got 'mnst'. Did you mean mnist?"),
        ("digits:here", "a data source that takes no path: digits:here. Write just digits."),
        ("mnist", "a data source without its path: mnist. Write mnist:PATH."),
        ("folder:", "a data source without its path: folder:. Write folder:PATH."),
        ("folder:/no/such:place,here", "no such file or folder: /no/such:place,here"),
    ],
)
def test_specs_that_cannot_be_read(spec: str, text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        load_data(spec, image_size=8)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"validation": 1.0}, "validation is not a fraction: expected at least 0, less than 1, got 1.0"),
        ({"test": -0.1}, "test is not a fraction"),
        ({"seed": -1}, "seed is negative: expected at least 0, got -1"),
        (
            {"image_size": 0},
            "image size is out of range: expected a side of at least 1, or height and width, as 180x240",
        ),
        ({"image_size": (4, -1)}, r"image size is out of range: .*got \(4, -1\)"),
        ({"inputs": "pictures:image_size=4x"}, "image size is out of range: .*got 4x"),
        ({"channels": 2}, "channels of a picture"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        load_data("digits", **options)  # type: ignore[arg-type]


def test_every_source_says_how_it_is_written() -> None:
    assert [entry.spec for entry in SOURCES.values()][:3] == ["digits", "mnist:PATH", "fashion:PATH"]
    assert {name for name, entry in SOURCES.items() if not entry.has_path} == {"digits", "steering", "roads"}
    assert all(len(entry.summary) > 20 for entry in SOURCES.values())


def test_pixels_are_resized_and_colored_by_the_preprocessing() -> None:
    data = load_data("digits", image_size=(12, 10), channels=3, test=0.5)
    own = load_data("digits", test=0.5)
    assert data.shape == (3, 12, 10)
    assert data.train.names == own.train.names
    assert torch.equal(data.train.inputs[5], data.preprocess.read(own.train.inputs[5]))
    big = Image.fromarray(own.train.inputs[5, 0].numpy()).convert("RGB")
    # A center of 8 x 6.67 pixels: the middle row and column of the result do not see its border.
    square = big.resize((12, 12), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(square)[:, 1:11].transpose(2, 0, 1) - data.train.inputs[5].numpy().astype(int)).max() <= 1


def test_mean_and_deviation_are_those_of_the_training_part() -> None:
    data = load_data("digits")
    pixels = data.train.inputs.numpy() / 255
    assert data.preprocess.mean == pytest.approx((pixels.mean(),))
    assert data.preprocess.std == pytest.approx((pixels.std(),))


def test_a_channel_that_never_changes_is_only_shifted(tmp_path: Path) -> None:
    for name, level in (("a", 10), ("b", 10)):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("L", (4, 4), level).save(tmp_path / name / f"{i}.png")
    assert load_data(f"folder:{tmp_path}", image_size=4, validation=0).preprocess.std == (1.0,)


@given(
    counts=st.lists(st.integers(4, 60), min_size=2, max_size=6),
    test=st.floats(0.01, 0.6),
    validation=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63),
)
def test_drawn_parts_are_disjoint_complete_stratified_and_seeded(
    counts: list[int], test: float, validation: float, seed: int
) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    names = [f"c{i}" for i in range(len(counts))]
    everything = {"train": np.arange(len(labels))}
    parts = split(labels, everything, names, validation, test, seed)
    again = split(labels, everything, names, validation, test, seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    left = np.array(counts)
    for name, fraction in (("test", test), ("validation", validation)):
        found = np.bincount(labels[parts[name]], minlength=len(counts))
        assert all(np.minimum(found, left - found) >= np.where(left > 1, 1, 0))
        assert all(found <= np.maximum(fraction * left + 0.5, 1))
        assert all(found >= np.minimum(fraction * left - 0.5, left - 1))
        left -= found
    assert np.array_equal(np.bincount(labels[parts["train"]], minlength=len(counts)), left)


@pytest.mark.parametrize(("rare", "test", "in_test"), [(20, 0.2, (24, 4)), (2, 0.2, (24, 1)), (2, 0.9, (108, 1))])
def test_rare_classes_are_on_both_sides(rare: int, test: float, in_test: tuple[int, int]) -> None:
    labels = np.repeat([0, 1], [120, rare])
    parts = split(labels, {"train": np.arange(len(labels))}, "ab", 0.1, test, 0)
    assert tuple(np.bincount(labels[parts["test"]])) == in_test
    assert set(labels[parts["train"]]) == {0, 1}


def test_the_draw_of_a_class_does_not_depend_on_the_others() -> None:
    first, second = (
        split(labels, {"train": np.arange(len(labels))}, "ab", 0.0, 0.3, 5)["test"]
        for labels in (np.repeat([0, 1], [50, 9]), np.repeat([0, 1], [50, 30]))
    )
    assert np.array_equal(first[first < 50], second[second < 50])


def test_a_fraction_that_leaves_nothing_is_named() -> None:
    labels = np.repeat([0, 1], 5)
    text = (
        r"^no items are left to split off validation 0.1: expected a class with 2 or more training items, "
        r"got 1 of each\. Add items, hold less than 0.9 out for test, or set validation to 0\.$"
    )
    with pytest.raises(InputError, match=text):
        split(labels, {"train": np.arange(10)}, "ab", 0.1, 0.9, 0)
    assert len(split(labels, {"train": np.arange(10)}, "ab", 0.0, 0.9, 0)["train"]) == 2
    with pytest.raises(InputError, match=r"Add items, or set validation to 0"):
        split(labels, {"train": np.array([0, 5]), "test": np.arange(1, 5)}, "ab", 0.1, 0.9, 0)


def test_another_seed_gives_another_split_and_the_same_one_the_same() -> None:
    first, second, third = (load_data("digits", seed=seed) for seed in (0, 0, 1))
    assert first.train.names == second.train.names != third.train.names
    assert first.preprocess == second.preprocess


def test_a_class_too_small_to_split(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path)
    for file in list((tmp_path / "dog").iterdir())[1:]:
        file.unlink()
    with pytest.raises(
        InputError, match=r"a class is too small to split off test: expected 2 or more items, got 1 of class dog"
    ):
        load_data(f"folder:{tmp_path}", image_size=8)
    data = load_data(f"folder:{tmp_path}", image_size=8, test=0)  # it stays in training
    assert data.validation is not None
    assert (data.train.targets.tolist().count(1), data.validation.targets.tolist()) == (1, [0])
    assert len(load_data(f"folder:{tmp_path}", image_size=8, test=0, validation=0).train) == 11


def test_evaluation_items_are_the_official_test_split_or_everything(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path)
    data = load_data(f"mnist:{tmp_path}")
    items, _ = open_items(f"mnist:{tmp_path}", data.preprocess, data.meaning)
    assert data.test is not None
    assert torch.equal(items.inputs, data.test.inputs)
    digits, _ = open_items("digits", data.preprocess, Meaning("class", data.class_names[::-1]))
    assert (len(digits), tuple(digits.inputs.shape[1:])) == (1797, (1, 5, 4))
    assert digits.targets[:3].tolist() == [9, 8, 7]


def test_evaluation_items_with_unknown_classes() -> None:
    data = load_data("digits")
    with pytest.raises(
        InputError, match=r"classes that the model does not know: digits: expected some of 0, 1, got 2, 3"
    ):
        open_items("digits", data.preprocess, Meaning("class", ("0", "1")))
