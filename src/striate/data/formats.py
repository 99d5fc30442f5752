"""The two published file formats of small pictures: idx (MNIST) and CIFAR-10 batches, pickled ones safely."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

Bytes = npt.NDArray[np.uint8]
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


def read_idx(path: Path, magic: int) -> Bytes:
    """The array in an idx file, gzipped or not: `magic` 2051 means images (n h w), 2049 labels (n).

    Big-endian: the magic number 2048 + axes, one length per axis, then the bytes. Source: Y. LeCun,
    C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats. A file that is not that
    raises InputError.
    """
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            fix = "Download it again."
            raise InputError("cannot unzip an idx file", where=path, got=str(error), fix=fix) from error
    found = struct.unpack(">i", raw[:4])[0] if len(raw) >= 4 else f"{len(raw)} bytes"
    if found != magic:
        kind = "images" if magic == IMAGES_MAGIC else "labels"
        raise InputError("wrong idx magic", where=path, expected=f"{magic} ({kind})", got=found)
    axes = magic - 2048
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}i", raw[4:start]) if len(raw) >= start else (0,) * axes
    if len(raw) != start + math.prod(shape) or min(shape) < 1:
        expected = f"{start + math.prod(shape)} bytes for the shape {shape}"
        fix = "Download it again."
        raise InputError("truncated or damaged idx file", where=path, expected=expected, got=len(raw), fix=fix)
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_PARTS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


def read_cifar10(path: Path) -> dict[str, tuple[Bytes, Bytes]]:
    """Images (n 3 32 32) and labels (n) of "train" and "test", from the published files.

    `path` is the folder with the batches (python or binary), its parent, or the tar file. Source:
    A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009), and the page of the data
    set. Missing, truncated or foreign files raise InputError.
    """
    files = _tar_members(path) if path.is_file() else _folder_members(path)
    parts = {}
    for split, names in CIFAR10_PARTS.items():
        batches = [_batch(path, files, name) for name in names]
        images, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
        parts[split] = (images.reshape(-1, 3, 32, 32), labels)
    return parts


def _folder_members(path: Path) -> dict[str, bytes]:
    known = {name for names in CIFAR10_PARTS.values() for name in names}
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-10-batches-bin"):
        found = [file for file in folder.glob("*_batch*") if file.name.removesuffix(".bin") in known]
        if found:
            return {file.name: file.read_bytes() for file in found}
    return {}


def _tar_members(path: Path) -> dict[str, bytes]:
    known = {name for names in CIFAR10_PARTS.values() for name in names}
    try:
        with tarfile.open(path) as archive:
            found = {Path(member.name).name: member for member in archive if member.isfile()}
            wanted = {name: found[name] for name in found if name.removesuffix(".bin") in known}
            return {name: stream.read() for name in wanted if (stream := archive.extractfile(wanted[name]))}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        fix = "Download it again, or pass the folder."
        raise InputError("cannot read a tar file", where=path, got=str(error), fix=fix) from error


def _batch(path: Path, files: Mapping[str, bytes], name: str) -> tuple[Bytes, Bytes]:
    where = path / name
    if name in files:
        images, labels = _python_batch(where, files[name])
    elif f"{name}.bin" in files:
        records = np.frombuffer(files[f"{name}.bin"], np.uint8)
        if len(records) == 0 or len(records) % 3073:
            expected = "records of 3073 bytes"
            raise InputError("truncated CIFAR-10 batch", where=where, expected=expected, got=len(records))
        images, labels = records.reshape(-1, 3073)[:, 1:], records.reshape(-1, 3073)[:, 0]
    else:
        fix = "Pass the folder that holds the batches, its parent, or the tar file."
        raise InputError("no CIFAR-10 batch", where=path, expected=f"{name} or {name}.bin", fix=fix)
    if labels.max() > 9:
        raise InputError("CIFAR-10 labels", where=where, expected="0 to 9", got=int(labels.max()))
    return images, labels


def _python_batch(where: Path, raw: bytes) -> tuple[Bytes, Bytes]:
    try:
        stored = ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
        images = np.asarray(stored[b"data"], np.uint8)
        labels = np.asarray(stored[b"labels"], np.uint8)
        if images.ndim != 2 or images.shape[1] != 3072 or labels.shape != images.shape[:1] or labels.size == 0:
            raise ValueError(f"data of shape {images.shape}, labels of shape {labels.shape}")
    except Exception as error:  # a damaged pickle makes the unpickler raise almost anything
        expected = "a pickled dictionary with data (n 3072) and labels (n)"
        reason = f"{type(error).__name__}: {error}"
        raise InputError("CIFAR-10 python batch", where=where, expected=expected, got=reason) from error
    return images, labels


class ArraysOnly(pickle.Unpickler):
    """Reads plain containers and arrays, all that the python batches hold; a file can call nothing else."""

    allowed: Mapping[tuple[str, str], Any] = {
        (f"numpy.{core}.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0] for core in ("core", "_core")
    } | {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")
        return self.allowed[module, name]
