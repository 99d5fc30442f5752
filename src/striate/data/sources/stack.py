"""A labeled stack of slices as one volume, and the blocks that a network is trained on."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image

from striate.data.items import VOID, Listing, Meaning
from striate.data.sources.registry import source
from striate.errors import InputError
from striate.shapes import Int64, Tensor, UInt8

Bytes = npt.NDArray[np.uint8]
BLOCK, STEP = (16, 64, 64), (2, 64, 64)
TESTED = 10  # slices at the end of the stack
PALETTE = ((0, 0, 0), (255, 255, 255))


@source("isbi_volume", size=BLOCK, kind="volumes", inputs="volumes", task="segment")
def isbi_volume(path: Path) -> Listing:
    """The ISBI 2012 stack of electron micrographs as a volume: blocks of 16x64x64, membranes and cells; PATH: files.

    Training blocks come from all but the last 10 slices, 2 slices apart in depth. Test blocks cover the last 16, of
    which the first 6 are context alone: their masks are void. See `read_stack` for the files.
    """
    slices, labels = (torch.from_numpy(part) for part in read_stack(path))
    masks = (labels > 0).to(torch.uint8)  # 0 membrane, 1 cell
    split = len(slices) - TESTED
    if split < BLOCK[0]:
        expected = f"at least {BLOCK[0] + TESTED} slices"
        raise InputError("a stack is too small to hold out slices", where=path, expected=expected, got=len(slices))
    tested = masks.clone()
    tested[:split] = VOID
    where = {"train": corners((split, *slices.shape[1:]), BLOCK, STEP)}
    last = corners((BLOCK[0], *slices.shape[1:]), BLOCK, STEP)
    where["test"] = last + torch.tensor([len(slices) - BLOCK[0], 0, 0])
    blocks = [cut(slices, firsts, BLOCK)[:, None] for firsts in where.values()]
    targets = [cut(masks, where["train"], BLOCK), cut(tested, where["test"], BLOCK)]
    names = [f"isbi_volume {part} {tuple(first)}" for part, firsts in where.items() for first in firsts.tolist()]
    count = len(where["train"])
    splits = {"train": np.arange(count), "test": np.arange(count, len(names))}
    meaning = Meaning("mask", ("membrane", "cell"), palette=PALETTE)
    return Listing(torch.cat(blocks), torch.cat(targets), meaning, names, splits)


def read_stack(path: Path) -> tuple[Bytes, Bytes]:
    """Slices (d h w) and labels (d h w, 0 and 255) of the ISBI 2012 stack of electron micrographs.

    `path` is the challenge's folder (train-volume.tif and train-labels.tif), a folder with train/image and train/label
    (or image and label) of numbered pictures, as many repositories have it, or a tar of that. Labels may also be 0 and
    1. Missing or unequal slices, and other labels, raise InputError with the name.
    """
    volume, labels = path / "train-volume.tif", path / "train-labels.tif"
    if path.is_dir() and volume.is_file() and labels.is_file():
        images, truth = tifffile.imread(volume), tifffile.imread(labels)
        if images.shape != truth.shape or images.ndim != 3:
            got = f"{images.shape} and {truth.shape}"
            raise InputError("slices and labels differ", where=path, expected="one shape", got=got)
        names = [f"{labels}, slice {i}" for i in range(len(truth))]
    else:
        members = _of_tar(path) if path.is_file() else _of_folder(path)
        images, truth = _slices(path, members["image"]), _slices(path, members["label"])
        names = [f"{path}, label {number}" for number in sorted(members["label"])]
        if sorted(members["image"]) != sorted(members["label"]):
            odd = sorted(set(members["image"]) ^ set(members["label"]))
            raise InputError("slices without labels, or labels without slices", where=path, got=odd)
        if images.shape != truth.shape:
            got = f"{images.shape} and {truth.shape}"
            raise InputError("slices and labels differ", where=path, expected="one shape", got=got)
    for name, found in zip(names, map(np.unique, truth), strict=True):
        strange = sorted(set(found.tolist()) - {0, 1, 255})
        if strange or {1, 255} <= set(found.tolist()):
            got = ", ".join(map(str, strange or [1, 255]))
            raise InputError("unknown label values", where=name, expected="0 and 255 (or 0 and 1)", got=got)
    return images, np.where(truth > 0, 255, 0).astype(np.uint8)


def _of_folder(path: Path) -> dict[str, dict[int, bytes]]:
    root = path / "train" if (path / "train").is_dir() else path
    found = {
        kind: {int(f.stem): f for f in (root / kind).glob("*.*") if f.stem.isdigit()} for kind in ("image", "label")
    }
    return _filled(path, {kind: {n: f.read_bytes() for n, f in files.items()} for kind, files in found.items()})


def _of_tar(path: Path) -> dict[str, dict[int, bytes]]:
    found: dict[str, dict[int, bytes]] = {"image": {}, "label": {}}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if (
                    member.isfile()
                    and name.stem.isdigit()
                    and name.parts[-3:-1] in (("train", "image"), ("train", "label"))
                ):
                    stream = archive.extractfile(member)
                    found[name.parts[-2]][int(name.stem)] = stream.read() if stream else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        fix = "Download it again, or pass the folder."
        raise InputError("cannot read a tar file", where=path, got=str(error).partition(":")[0], fix=fix) from error
    return _filled(path, found)


def _filled(path: Path, found: dict[str, dict[int, bytes]]) -> dict[str, dict[int, bytes]]:
    if not found["image"] or not found["label"]:
        expected = "train-volume.tif and train-labels.tif, or numbered pictures in train/image and train/label"
        raise InputError("no stack of slices", where=path, expected=expected)
    return found


def _slices(path: Path, files: dict[int, bytes]) -> Bytes:
    slices = []
    for number in sorted(files):
        try:
            with Image.open(io.BytesIO(files[number])) as picture:
                slices.append(np.asarray(picture.convert("L")))
        except Exception as error:  # broken files make decoders raise almost anything
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise InputError("cannot decode a slice", where=f"{path}, slice {number}", got=reason) from error
    if len({part.shape for part in slices}) > 1:
        shapes = " and ".join(sorted({"x".join(map(str, part.shape)) for part in slices}))
        raise InputError("slices of different sizes", where=path, expected="one size", got=shapes)
    return np.stack(slices)


def corners(shape: tuple[int, ...], block: tuple[int, ...], step: tuple[int, ...]) -> Int64[Tensor, "n axes"]:
    """The first corners of the blocks that cover a volume, `step` apart; the last along each axis ends at its end.

    A block that is larger than the volume raises InputError.

    >>> corners((4, 5), (4, 3), (1, 2)).tolist()
    [[0, 0], [0, 2]]
    """
    if any(b > s for b, s in zip(block, shape, strict=True)):
        raise InputError("a block is larger than the volume", expected=f"at most {shape}", got=block)
    axes = []
    for size, wide, stride in zip(shape, block, step, strict=True):
        starts = list(range(0, size - wide, stride))
        axes.append(torch.tensor([*starts, size - wide]))
    return torch.cartesian_prod(*axes).view(-1, len(axes))


def cut(
    volume: UInt8[Tensor, "d h w"], firsts: Int64[Tensor, "n 3"], block: tuple[int, int, int]
) -> UInt8[Tensor, "n d2 h2 w2"]:
    """The blocks with these first corners."""
    d, h, w = block
    return torch.stack([volume[z : z + d, y : y + h, x : x + w] for z, y, x in firsts.tolist()])
