"""Pictures as network input: the one way, for training data and for later predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from striate.data.cache import decode
from striate.data.framing import Framing
from striate.data.inputs import input_kind
from striate.data.items import LEAST_VISIBLE, Input, Meaning, Reading, take
from striate.errors import InputError
from striate.ops.boxes import area, boxes, edges
from striate.recipe import read_sides
from striate.shapes import Float, Int64, Tensor, UInt8

Made = TypeVar("Made")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that change height and width
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})


def moments(
    images: UInt8[Tensor, "n c *space"], where: npt.NDArray[np.int64] | None = None
) -> tuple[Float[Tensor, " c"], Float[Tensor, "c c"]]:
    """Mean and covariance of the channels over all pixels of the images at `where` (population), in units of 0..1.

    >>> mean, covariance = moments(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    >>> mean.item(), covariance.item()
    (0.5, 0.25)
    """
    channels, pixels = images.shape[1], 0
    total = torch.zeros(channels, dtype=torch.float64)
    products = torch.zeros(channels, channels, dtype=torch.float64)
    rows = max(1, (4 << 20) // images[0].numel())
    chosen = torch.arange(len(images)) if where is None else torch.from_numpy(where)
    for first in range(0, len(chosen), rows):
        columns = take(images, chosen[first : first + rows]).transpose(0, 1).flatten(1).double()
        total += columns.sum(1).cpu()
        products += (columns @ columns.T).cpu()
        pixels += columns.shape[1]
    mean = total / pixels
    covariance = products / pixels - mean.outer(mean)
    return mean / 255, covariance / 255**2


@input_kind("pictures", reads=("pictures",))
@dataclass(frozen=True)
class Pictures(Input):
    """Pictures of one size: 8-bit pixels, standardized with the mean and the deviation of the training ones.

    Turn it upright (EXIF), put transparency on white, bring 16 bits to 8, make it grey or RGB as `shape`
    says, resize the shorter side with antialiasing and cut out the center, scale to 0..1, (x - mean) / std.
    Grey files of 32 bits do not say how bright white is: values up to 255 are taken for 8 bits, else for 16.

    `shape` is (c, h, w) with c 1 or 3; `mean` and `std` have one value per channel, in units of 0..1.

    >>> to_input = Pictures((1, 2, 2), mean=(0.5,), std=(0.25,))
    >>> to_input(np.array([[0, 255], [255, 0]], dtype=np.uint8))
    tensor([[[-2.,  2.],
             [ 2., -2.]]])
    """

    family: ClassVar[str] = "pictures"
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        channels, *size = self.shape
        if channels not in (1, 3):
            raise InputError("channels of a picture", expected="1 (grey) or 3 (RGB)", got=channels)
        if min(size) < 1:
            raise InputError("image size is not positive", expected="at least 1", got=min(size))
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels or not all(math.isfinite(value) for value in values):
                expected = f"{channels} finite numbers, one per channel"
                raise InputError(f"{name} of a preprocessing", expected=expected, got=values)
        if min(self.std) <= 0:
            raise InputError("std of a preprocessing", expected="positive numbers", got=self.std)

    @classmethod
    def fit(
        cls,
        raw: UInt8[Tensor, "n _ _ _"] | tuple[Path, ...],
        reading: Reading,
        image_size: int | str | tuple[int, int] | None = None,
        channels: int | None = None,
    ) -> tuple[UInt8[Tensor, "n c h w"], Pictures, list[int]]:
        """All pictures at one size, this preprocessing with the moments of the training ones, and the broken ones.

        `image_size` (side, or height and width, in pixels) and `channels` (1 grey, 3 RGB) are by default the pictures'
        own; files of any size need the size.
        """
        shape = _shape(reading.where, raw, image_size, channels)
        plain = cls(shape, mean=(0.0,) * shape[0], std=(1.0,) * shape[0])
        images, corrupt = plain.store(raw, reading)
        return images, plain.measured(images, reading.train(corrupt)), corrupt

    def store(
        self, raw: UInt8[Tensor, "n _ _ _"] | tuple[Path, ...], reading: Reading
    ) -> tuple[UInt8[Tensor, "n c h w"], list[int]]:
        """All pictures through `read`, and the positions of the broken ones (black, to be left out)."""
        return decode(raw, self, skip_corrupt=reading.skip_corrupt, cache=reading.cache, progress=reading.progress)

    def measured(self, images: UInt8[Tensor, "n c h w"], where: npt.NDArray[np.int64]) -> Pictures:
        """The same with the mean and the standard deviation of the images at `where` (population, all pixels, 0..1)."""
        mean, covariance = moments(images, where)
        std = covariance.diagonal().sqrt()
        # A channel that never changes says nothing; any positive number will do to divide it by.
        std = torch.where(std > 1e-6, std, 1.0)
        return replace(self, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def unscaled(self) -> Pictures:
        """The same, but inputs stay in 0..1."""
        return replace(self, mean=(0.0,) * self.channels, std=(1.0,) * self.channels)

    def place(self, targets: Tensor, meaning: Meaning, size: tuple[int, int]) -> Tensor:
        """Targets of pictures of `size` (h, w) as they lie in the resized and cut ones; others are passed through.

        A mask takes its nearest neighbor; boxes and points move, a box is cut to the picture, and where less than a
        quarter of it is left, the object is gone; a point that leaves the picture is missing (NaN).
        """
        if size == self.shape[1:] or meaning.kind not in ("mask", "box", "points"):
            return targets
        if meaning.kind == "mask":
            modes = (Image.fromarray(mask.numpy()) for mask in targets)
            fitted = [ImageOps.fit(mask, self.shape[:0:-1], Image.Resampling.NEAREST) for mask in modes]
            return torch.from_numpy(np.stack([np.array(mask) for mask in fitted]))
        framing = Framing(self.shape[1:], size)
        if meaning.kind == "points":  # pixel centers are whole numbers
            moved = framing.into(targets + 0.5)
            inside = ((moved >= 0) & (moved <= moved.new_tensor(self.shape[:0:-1]))).all(-1, keepdim=True)
            return torch.where(inside, moved - 0.5, torch.nan)
        corners = framing.into(edges(targets[:, :4]).view(-1, 2, 2)).flatten(1)
        limit = corners.new_tensor([self.shape[2], self.shape[1]]).repeat(2)
        seen = torch.minimum(corners.clamp(min=0), limit)
        there = (targets[:, 4:5] > 0) & (area(seen) >= LEAST_VISIBLE * area(corners))[:, None]
        return torch.where(there, torch.cat([boxes(seen), targets[:, 4:]], 1), 0)

    def whole(self, item: Any) -> Float[Tensor, "c h w"]:
        """The picture upright at its own size, RGB or grey as it is, in 0..1."""
        picture = self.opened(item)
        pixels = np.array(to_channels(picture, 1 if picture.mode in GREY_MODES else 3))
        return torch.from_numpy(pixels.reshape(picture.height, picture.width, -1)).permute(2, 0, 1) / 255

    def framed(self, item: Any, framing: Framing) -> UInt8[Tensor, "c h w"]:
        """The picture as `read` gives it, but framed so; what is padded to it is its mirror image."""
        height, width = framing.inner
        if framing.fit == "cut":
            return replace(self, shape=(self.channels, height, width)).read(item)
        picture = to_channels(self.opened(item), self.channels)
        if framing.fit == "stretch" and framing.inner != framing.outer:
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.array(picture).reshape(picture.height, picture.width, self.channels)
        return padded(torch.from_numpy(pixels.transpose(2, 0, 1).copy()), framing.inner)

    def reads(self, file: Path) -> bool:
        """Pictures."""
        return is_picture(file)

    def read(self, image: Any) -> UInt8[Tensor, "c h w"]:
        """The part before normalizing. A missing or broken picture raises InputError with its path."""
        return self._read(image, self._fit)

    def opened(self, image: Any) -> Image.Image:
        """The picture that `read` takes, upright."""
        return self._read(image, lambda picture: ImageOps.exif_transpose(picture).copy())

    def _read(self, image: Any, made: Callable[[Image.Image], Made]) -> Made:
        if isinstance(image, str | Path):
            try:
                with Image.open(image) as picture:
                    return made(picture)
            except (FileNotFoundError, IsADirectoryError):
                raise InputError("no such image", where=image, fix="Check the path.") from None
            except Exception as error:  # broken files make Pillow's plugins raise almost anything
                reason = f"{type(error).__name__}: {error}".partition("\n")[0]
                raise InputError("cannot decode an image", where=image, got=reason) from error
        return made(as_picture(image))

    def _fit(self, picture: Image.Image) -> UInt8[Tensor, "c h w"]:
        channels, height, width = self.shape
        upright = ImageOps.exif_transpose(picture)
        colors = to_channels(upright, channels)
        fitted = ImageOps.fit(colors, (width, height), Image.Resampling.BILINEAR)
        pixels = np.array(fitted).reshape(height, width, channels)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    def units(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """8-bit pictures as numbers in 0..1."""
        return images.float().div_(255)

    def normalize(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(x / 255 - mean) / std of 8-bit pictures."""
        return self._scaled(images, 255.0)

    def standardize(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """(x - mean) / std of pictures in 0..1, as augmentations make them."""
        return self._scaled(images, 1.0)

    def _scaled(self, images: Tensor, unit: float) -> Tensor:
        factor, offset = _scale(self, unit, images.device)
        # Multiply and add in place: 3.5 times as fast on CPU as torch.addcmul, whose broadcast is slow.
        scaled = images * factor if images.is_floating_point() else images.float().mul_(factor)
        return scaled.add_(offset)

    def json(self) -> dict[str, Any]:
        """A dictionary of plain lists, for a checkpoint."""
        return {"kind": "pictures", "shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Pictures:
        """The inverse of `json`; a missing or malformed entry raises InputError."""
        try:
            channels, height, width = (int(axis) for axis in stored["shape"])
            mean, std = (tuple(float(value) for value in stored[key]) for key in ("mean", "std"))
        except (KeyError, TypeError, ValueError) as error:
            expected = "shape (3 whole numbers), mean and std (numbers)"
            raise InputError("stored preprocessing", expected=expected, got=dict(stored)) from error
        return Pictures((channels, height, width), mean, std)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must also work under autograd later
def _scale(preprocess: Pictures, unit: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """The factor and the offset per channel that normalize pictures in 0..unit, on `device`."""
    mean = torch.tensor(preprocess.mean, dtype=torch.float64).view(-1, 1, 1)
    std = torch.tensor(preprocess.std, dtype=torch.float64).view(-1, 1, 1)
    return (1 / (unit * std)).float().to(device), (-mean / std).float().to(device)


def padded(pixels: UInt8[Tensor, "c *space"], size: tuple[int, ...]) -> UInt8[Tensor, "c *space2"]:
    """The pixels in the middle of a greater picture (or volume), which mirrors go on with in all directions."""
    more = [new - old for new, old in zip(size, pixels.shape[1:], strict=True)]
    around = [(0, 0), *((by // 2, by - by // 2) for by in more)]
    return torch.from_numpy(np.pad(pixels.numpy(), around, mode="symmetric").copy()) if any(more) else pixels


def is_picture(file: Path) -> bool:
    """Whether a file's ending is one that Pillow reads."""
    return Image.registered_extensions().get(file.suffix.lower()) in Image.OPEN


def as_picture(image: Any) -> Image.Image:
    """A PIL image from a PIL image, an array (h w or h w c) or a tensor (h w or c h w).

    Arrays are uint8, uint16 (grey only) or floats in 0..1; anything else raises InputError.
    """
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise InputError("image without pixels", expected="at least 1x1", got="{}x{}".format(*image.size))
        return image
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.permute(1, 2, 0) if image.ndim == 3 else image).numpy()
    if not isinstance(image, np.ndarray):
        raise InputError("image", expected="a path, PIL image, array or tensor", got=type(image).__name__)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.dtype.kind == "f" and image.size:
        if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            found = f"{image.min()} to {image.max()}"
            raise InputError("pixels of a float image", expected="0 to 1", got=found, fix="Scale them.")
        image = (image * 255).round().astype(np.uint8)
    axes = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4) and image.dtype == np.uint8)
    if image.dtype not in (np.uint8, np.uint16) or not axes or image.size == 0:
        expected = "uint8 (h w, h w 3 or h w 4; tensors with channels first), uint16 (h w) or floats in 0..1"
        raise InputError("image array", expected=expected, got=f"{image.dtype} of shape {image.shape}")
    return Image.fromarray(image)


def to_channels(picture: Image.Image, channels: int) -> Image.Image:
    """The picture in mode L or RGB: deep grey scaled to 8 bits, transparency laid over white."""
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            found = f"{values.min()} to {values.max()}"
            raise InputError("pixels of a deep grey image", expected="0 to 65535 (16 bits)", got=found)
        eight = picture.mode == "I" and values.max() <= 255  # 16 bits would make it all black
        picture = Image.fromarray((values if eight else (values + 128) // 257).astype(np.uint8))
    elif picture.mode == "F":
        raise InputError("image of float pixels", expected="8 or 16 bits", got="mode F", fix="Convert it.")
    elif picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("L" if channels == 1 else "RGB")


def _shape(
    where: str, raw: Any, size: int | str | tuple[int, int] | None, channels: int | None
) -> tuple[int, int, int]:
    if isinstance(raw, Tensor):
        own_channels, *own_size = raw.shape[1:]
    else:
        if size is None:
            fix = "Give an image size, 64 say."
            raise InputError("a folder of pictures has no size of its own", where=where, fix=fix)
        own_channels, own_size = 0, []
    height, width = own_size if size is None else read_sides(size)
    if channels is None:
        channels = own_channels or (1 if all_grey(raw) else 3)
    return channels, height, width


def all_grey(paths: Sequence[Path]) -> bool:
    """Whether every picture that can be read is grey."""
    for path in paths:
        try:
            with Image.open(path) as picture:
                if picture.mode not in GREY_MODES:
                    return False
        except Exception:  # decoding says what is wrong with it
            continue
    return True


def find_pictures(root: Path, deep: bool = True) -> list[Path]:
    """Every file under `root` (or, not `deep`, just in it) that Pillow reads, in order; hidden ones are left out."""
    inside = root.rglob("*") if deep else root.glob("*")
    files = sorted(file for file in inside if is_picture(file) and file.is_file())
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts)]


def sizes_of(files: Sequence[Path]) -> Int64[Tensor, "n 2"]:
    """Height and width of each picture, upright; zeros for one that cannot be read."""
    sizes = torch.zeros(len(files), 2, dtype=torch.int64)
    for number, file in enumerate(files):
        try:
            with Image.open(file) as picture:
                size = (picture.height, picture.width)
                # What stands before the pixels: a PNG's own method decodes them all to look behind. Pillow turns TIFFs.
                sideways = picture.format != "TIFF" and Image.Image.getexif(picture).get(0x0112) in SIDEWAYS
        except Exception:  # decoding it says what is wrong
            continue
        sizes[number] = torch.tensor(size[::-1] if sideways else size)
    return sizes
