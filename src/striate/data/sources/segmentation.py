"""Pictures with a class for each pixel: ISBI's membranes, CamVid, folders of images and masks, rendered road scenes."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image

from striate.data.images import find_pictures
from striate.data.items import VOID, Listing, Meaning
from striate.data.masks import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    SPLIT_FOLDERS,
    Legend,
    Pair,
    Pairs,
    guessed_legend,
    natural,
    pair_up,
    pairs_of_list,
    read_legend,
    read_mask,
)
from striate.data.roads import CAMVID_CLASSES, CAMVID_PALETTE, road_scene
from striate.data.sources.folders import printable
from striate.data.sources.registry import source
from striate.data.splits import consecutive
from striate.errors import InputError, listed
from striate.shapes import Int64, Tensor

MEMBRANES = Legend(("membrane", "cell"), ((0, 0, 0), (230, 230, 230)), {0: 0, 255: 1}, {}, "Correct the mask.")
OTHER_CLASSES = "Correct the mask; masks of other classes are read by masks:PATH, from folders images and masks."
CAMVID = Legend(CAMVID_CLASSES, CAMVID_PALETTE, {**{i: i for i in range(11)}, 11: VOID}, {}, OTHER_CLASSES)
KINDS = ("image", "label")
SLAB = 6  # neighboring slices of ISBI's stack that cross-validation keeps together
SCENES = {"train": 240, "validation": 40, "test": 80}
Stack = npt.NDArray[np.uint8]


@source("isbi", size=(512, 512), task="segment", augment=("flip:vertical=true",))
def isbi(path: Path) -> Listing:
    """ISBI 2012: 30 labeled slices of nerve tissue, 512x512 grey, membrane or cell; PATH is the tar or its folder.

    Neighboring slices look alike, so groups are slabs of six: with folds=5 each slab is the test part once. Slices
    without labels are not used. Source: I. Arganda-Carreras et al. (2015), Frontiers in Neuroanatomy 9:142.
    """
    images, masks = (torch.from_numpy(stack) for stack in read_isbi(path))
    number = torch.arange(len(images))
    names = tuple(f"isbi slice {i}" for i in range(len(images)))
    meaning = Meaning("mask", MEMBRANES.names, palette=MEMBRANES.palette)
    return Listing(images[:, None], masks, meaning, names, {"train": number.numpy()}, number // SLAB)


@source("camvid", size=(360, 480), task="segment", augment=("flip",))
def camvid(path: Path) -> Listing:
    """CamVid as in the SegNet tutorial: 367 + 101 + 233 street views of 360x480, 11 classes; PATH holds its folders.

    11 in the mask files is void. Groups are the drives (0001TP, Seq05VD ...), whose frames follow each other by a
    second or less; the tutorial's parts divide two of them: half of 0001TP is tested, the validation frames lie between
    training frames of 0016E5. Source: G. Brostow, J. Fauqueur, R. Cipolla, "Semantic object classes in video" (2009);
    V. Badrinarayanan, A. Kendall, R. Cipolla, "SegNet" (2017).
    """
    listing = _listing(camvid_pairs(path), CAMVID)
    return replace(listing, groups=drives(listing.names))


@source("masks", task="segment", augment=("flip",))
def masks(path: Path) -> Listing:
    """Your own pictures and masks of the same names: folders images and masks under PATH, or under PATH/train ...

    A mask holds the number of the class of each pixel, 255 where it has none, or its color; PATH/classes.txt names the
    classes, a line each, as name, name value, or name red green blue.
    """
    pairs = mask_pairs(path)
    return _listing(pairs, mask_legend(path, pairs))


@source("roads", has_path=False, size=(96, 128), task="segment", augment=("flip",))
def roads() -> Listing:
    """360 rendered road scenes of 96x128, synthetic: CamVid's 11 classes; nothing to download."""
    count = sum(SCENES.values())
    images, masks = torch.empty(count, 3, 96, 128, dtype=torch.uint8), torch.empty(count, 96, 128, dtype=torch.uint8)
    for number in range(count):
        picture, mask = road_scene(number)
        images[number], masks[number] = torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(mask)
    meaning = Meaning("mask", CAMVID.names, palette=CAMVID.palette)
    names = tuple(f"roads {i}" for i in range(count))
    return Listing(images, masks, meaning, names, consecutive(SCENES))


def drives(names: Sequence[str]) -> Int64[Tensor, " n"] | None:
    """The number of the drive that each frame is of, by its name; None where not all names tell, or one drive is all.

    >>> drives(["0001TP_006690.png", "Seq05VD_f00000.png", "0001TP_006720.png"]).tolist()
    [0, 1, 0]
    """
    found = [re.fullmatch(r"([^_]+)_f?\d+", Path(name).stem) for name in names]
    drive = [match[1] for match in found if match]
    if len(drive) < len(names) or len(set(drive)) == 1:
        return None
    known = sorted(set(drive))
    return torch.tensor([known.index(one) for one in drive])


def _listing(pairs: Mapping[str, Sequence[Pair]], legend: Legend) -> Listing:
    everything = Pairs.of([pair for part in pairs.values() for pair in part], legend)
    names = tuple(printable(image) for image, _ in everything.files)
    parts = consecutive({split: len(part) for split, part in pairs.items()})
    unread = torch.empty(len(names), 0, 0, dtype=torch.uint8)
    return Listing(everything, unread, Meaning("mask", legend.names, palette=legend.palette), names, parts)


def read_isbi(path: Path) -> tuple[Stack, Stack]:
    """The labeled slices of the ISBI 2012 membranes (d h w), by number, and their masks: 0 membrane, 1 cell.

    `path` is a tar (or its folder) with train/image/N.png and train/label/N.png, or a folder with the challenge's
    train-volume.tif and train-labels.tif. Slices without labels (test) are not read.
    """
    if path.is_dir() and (path / "train-volume.tif").is_file():
        return _isbi_volumes(path / "train-volume.tif", path / "train-labels.tif")
    files = _files_of_tar(path) if path.is_file() else _files_of_folder(path)
    stems = {kind: sorted((Path(n).stem for n in files if Path(n).parent.name == kind), key=natural) for kind in KINDS}
    lost = sorted(set(stems["image"]) ^ set(stems["label"]), key=natural)
    if lost or not stems["image"]:
        expected = "train/image/N.png and train/label/N.png, or train-volume.tif and train-labels.tif"
        got = f"without its other one: {listed(lost)}" if lost else "none of them"
        raise InputError("ISBI membranes", where=path, expected=expected, got=got)
    by_place = {(Path(name).parent.name, Path(name).stem): (name, content) for name, content in files.items()}
    images, masks = [], []
    for stem in stems["image"]:
        name, content = by_place["image", stem]
        images.append(_grey(content, f"{path}: {name}"))
        name, content = by_place["label", stem]
        masks.append(read_mask(io.BytesIO(content), MEMBRANES, f"{path}: {name}"))
    return _same_size(images, masks, stems["image"], path)


def _files_of_tar(path: Path) -> Mapping[str, bytes]:
    try:
        with tarfile.open(path) as archive:
            found = {}
            for member in archive:
                if member.isfile() and _labeled(Path(member.name)):
                    content = archive.extractfile(member)
                    assert content is not None
                    found[member.name] = content.read()
            return found
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError("cannot read the archive", where=path, expected="a tar", got=str(error)) from None


def _files_of_folder(path: Path) -> Mapping[str, bytes]:
    files = (file for file in path.rglob("*.png") if _labeled(file.relative_to(path)) and file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def _labeled(name: Path) -> bool:
    return name.suffix == ".png" and name.parts[-3:-1] in {("train", kind) for kind in KINDS} and name.name[0] != "."


def _isbi_volumes(volume: Path, labels: Path) -> tuple[Stack, Stack]:
    stacks = []
    for file in (volume, labels):
        try:
            stacks.append(np.atleast_3d(tifffile.imread(file)))
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            raise InputError("cannot read the volume", where=file, got=str(error).partition("\n")[0]) from None
    images, stored = stacks
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape != stored.shape:
        got = f"{images.dtype} {images.shape} and {stored.shape}"
        raise InputError("ISBI volumes", where=volume, expected="8-bit slices d h w and labels of their size", got=got)
    strange = np.setdiff1d(stored, [0, 255])
    if strange.size:
        raise InputError("unknown label value", where=labels, expected="0, 255", got=listed([str(v) for v in strange]))
    return images, (stored == 255).astype(np.uint8)


def _grey(content: bytes, where: str) -> Stack:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError("cannot read the image", where=where, got=str(error).partition("\n")[0]) from None


def _same_size(
    images: Sequence[Stack], masks: Sequence[Stack], names: Sequence[str], path: Path
) -> tuple[Stack, Stack]:
    for name, image, mask in zip(names, images, masks, strict=True):
        for what, other in (("an image and its mask", mask.shape), ("the slices", images[0].shape)):
            if image.shape != other:
                raise InputError(f"{what} differ in size", where=f"{path}: {name}", expected=other, got=image.shape)
    return np.stack(images), np.stack(masks)


def camvid_pairs(path: Path) -> dict[str, list[Pair]]:
    """The pairs of each split of the SegNet tutorial's folders: train, trainannot, val, valannot, test and testannot.

    Where a list `train.txt` lies beside the folders it says which pictures count, and in which order; else files of
    the same name belong together. Raises InputError for one of two such folders without the other.
    """
    found = {}
    for folder, split in _parts(path).items():
        images, masks = path / folder, path / f"{folder}annot"
        _check_both(images if images.is_dir() else None, masks if masks.is_dir() else None, images, masks)
        if (path / f"{folder}.txt").is_file():
            found[split] = pairs_of_list(path / f"{folder}.txt", path)
        elif images.is_dir():
            found[split] = pair_up(images, masks)
    if "train" not in found:
        fix = "Pass the folder that holds them (CamVid in the SegNet tutorial)."
        expected = "train and trainannot, val and valannot, test and testannot"
        raise InputError("not the SegNet tutorial's folders", where=path, expected=expected, fix=fix)
    return found


def mask_pairs(path: Path) -> dict[str, list[Pair]]:
    """The pairs of each split of a folder: images and masks, or those in train, val (or validation) and test.

    The folders may also be called image; and mask, label or labels. Raises InputError for one of the two without the
    other, for two folders of one part, and for pairs both beside the folders of the parts and in them.
    """
    roots = {split: kinds for folder, split in _parts(path).items() if (kinds := _kinds(path / folder))}
    whole = _kinds(path)
    if roots and whole:
        fix = f"Move {whole[0].name} and {whole[1].name} into one of them, or out of the way."
        raise InputError("images and masks beside the folders of parts", where=path, got=listed([*roots]), fix=fix)
    for folder in (path / name for name, split in _parts(path).items() if roots and split not in roots):
        if folder.is_dir() and find_pictures(folder):
            expected = f"{folder / IMAGE_FOLDERS[0]} and {folder / MASK_FOLDERS[0]}"
            fix = "Add them, or move this folder out of the way."
            raise InputError("a part without images and masks", where=folder, expected=expected, fix=fix)
    if whole:
        roots = {"train": whole}
    if not roots:
        expected = "folders images and masks, or train/images and train/masks"
        fix = "Name the two folders so; files of the same name belong together."
        raise InputError("no images with masks", where=path, expected=expected, fix=fix)
    return {split: pair_up(*kinds) for split, kinds in roots.items()}


def _parts(path: Path) -> dict[str, str]:
    """The part that each folder name stands for; InputError where there are two folders for one part."""
    if all((path / name).is_dir() for name in ("val", "validation")):
        fix = "Keep one of the two."
        raise InputError("two folders of one part", where=path, got="val and validation", fix=fix)
    return SPLIT_FOLDERS


def _kinds(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in `root`, None where there are none of either."""
    image, mask = (_only(root, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))
    _check_both(image, mask, root / IMAGE_FOLDERS[0], root / MASK_FOLDERS[0])
    return (image, mask) if image and mask else None


def _only(root: Path, names: Sequence[str]) -> Path | None:
    found = [root / name for name in names if (root / name).is_dir()]
    if len(found) > 1:
        got = " and ".join(folder.name for folder in found)
        raise InputError("two folders of one kind", where=root, got=got, fix="Keep one of them.")
    return found[0] if found else None


def _check_both(image: Path | None, mask: Path | None, images: Path, masks: Path) -> None:
    """InputError where just one of the two folders, of images and of masks, is there; the last two say their names."""
    if (image is None) == (mask is None):
        return
    raise InputError(
        "a folder of images without masks" if image else "a folder of masks without images",
        where=image or mask,
        expected=f"{masks if image else images} beside it",
        fix="Add it, or move this folder out of the way (striate predict answers for pictures without masks).",
    )


def mask_legend(path: Path, pairs: Mapping[str, Sequence[Pair]]) -> Legend:
    """The classes of `classes.txt` beside the folders; without it, what the values in the masks tell."""
    if (path / "classes.txt").is_file():
        return read_legend(path / "classes.txt")
    return guessed_legend([mask for part in pairs.values() for _, mask in part])
