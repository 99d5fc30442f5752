"""Clips and volumes as network input: pictures that follow each other in time or depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageOps

from striate.data.cache import decode
from striate.data.frames import ARRAYS, STACKS, middle, read_frames
from striate.data.framing import Framing
from striate.data.images import Pictures, is_picture, padded
from striate.data.inputs import input_kind
from striate.data.items import Input, Meaning, Reading
from striate.errors import InputError
from striate.recipe import read_sides
from striate.shapes import Float, Tensor, UInt8


@input_kind("volumes", reads=("volumes",))
@dataclass(frozen=True)
class Volumes(Input):
    """A clip or a volume, each of whose frames is made a picture of one size; the frames in the middle are taken.

    What `read` takes is said by `read_frames`: a folder of numbered frames, a multi-page TIFF, an animated picture, an
    array. Of more frames than `shape` has the middle ones are taken, as pictures are cut in the middle; fewer are an
    error. `shape` is (c, d, h, w) with c 1 or 3; `mean` and `std` have one value per channel, in units of 0..1.

    >>> import numpy as np
    >>> to_input = Volumes((1, 2, 1, 1), mean=(0.5,), std=(0.25,))
    >>> to_input(np.array([0, 255, 0, 255], dtype=np.uint8).reshape(4, 1, 1)).flatten()
    tensor([ 2., -2.])
    """

    family: ClassVar[str] = "volumes"
    shape: tuple[int, int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.shape[1] < 1:
            raise InputError("number of frames is not positive", expected="at least 1", got=self.shape[1])
        assert self.frame  # its own checks

    @property
    def frame(self) -> Pictures:
        """How one frame becomes input."""
        channels, _, height, width = self.shape
        return Pictures((channels, height, width), self.mean, self.std)

    @classmethod
    def fit(
        cls,
        raw: UInt8[Tensor, "n c d h w"] | tuple[Path, ...],
        reading: Reading,
        frames: int | None = None,
        image_size: int | str | tuple[int, int] | None = None,
        channels: int | None = None,
    ) -> tuple[UInt8[Tensor, "n c d2 h2 w2"], Volumes, list[int]]:
        """All volumes at one size, this preprocessing with the moments of the training ones, and the broken ones.

        `frames`, `image_size` (of a frame: side, or height and width, in pixels) and `channels` (1 grey, 3 RGB) are by
        default the volumes' own; files need the first two, and are grey by default.
        """
        own = raw.shape[1:] if isinstance(raw, Tensor) else (1, None, None, None)
        size = own[2:] if image_size is None else read_sides(image_size)
        shape = (channels or own[0], frames or own[1], *size)
        if None in shape:
            fix = "Give both: --inputs volumes:frames=16 --image-size 112, say."
            raise InputError("clips in files have no length and size of their own", where=reading.where, fix=fix)
        plain = cls(shape, mean=(0.0,) * shape[0], std=(1.0,) * shape[0])
        stored, corrupt = plain.store(raw, reading)
        pictures = plain.frame.measured(stored.flatten(2, 3), reading.train(corrupt))
        return stored, cls(shape, pictures.mean, pictures.std), corrupt

    def store(
        self, raw: UInt8[Tensor, "n c d h w"] | tuple[Path, ...], reading: Reading
    ) -> tuple[UInt8[Tensor, "n c d2 h2 w2"], list[int]]:
        """All volumes through `read`, and the positions of the broken ones (black, to be left out)."""
        return decode(raw, self, skip_corrupt=reading.skip_corrupt, cache=reading.cache, progress=reading.progress)

    def unscaled(self) -> Volumes:
        """The same, but inputs stay in 0..1."""
        return Volumes(self.shape, (0.0,) * self.channels, (1.0,) * self.channels)

    def place(self, targets: Tensor, meaning: Meaning, size: tuple[int, ...]) -> Tensor:
        """Masks of volumes of `size` (d, h, w) as they lie in the resized and cut ones; others are passed through."""
        if meaning.kind != "mask" or size == self.shape[1:]:
            return targets
        cut = torch.stack([torch.stack(list(middle(list(mask), self.shape[1]))) for mask in targets])
        frames = self.frame.place(cut.flatten(0, 1), meaning, (size[1], size[2]))
        return frames.view(len(targets), *self.shape[1:])

    def opened(self, item: Any) -> list[Image.Image]:
        """All frames, upright; see `read_frames`."""
        return [ImageOps.exif_transpose(frame) for frame in read_frames(item)]

    def whole(self, item: Any) -> Float[Tensor, "c d h w"]:
        """All frames at their own size in 0..1, RGB if one of them is."""
        frames = [self.frame.whole(frame) for frame in self.opened(item)]
        channels = max(len(frame) for frame in frames)
        return torch.stack([frame.expand(channels, -1, -1) for frame in frames], 1)

    def framed(self, item: Any, framing: Framing) -> UInt8[Tensor, "c d h w"]:
        """All frames at their own size, in the middle of a mirrored volume of the size of a padded framing."""
        frame = Framing(framing.outer[1:], framing.outer[1:], "pad")
        frames = [self.frame.framed(one, frame) for one in self.opened(item)]
        return padded(torch.stack(frames, 1), framing.inner)

    def reads(self, file: Path) -> bool:
        """Stacks, arrays, animated pictures; a folder is a clip of frames."""
        return file.is_dir() or file.suffix.lower() in (*ARRAYS, *STACKS) or is_picture(file)

    def read(self, item: Any) -> UInt8[Tensor, "c d h w"]:
        """The part before normalizing; see `read_frames`. What cannot be read raises InputError with its path."""
        where = item if isinstance(item, str | Path) else None
        frames = middle(read_frames(item), self.shape[1], where)
        return torch.stack([self.frame.read(frame) for frame in frames], 1)

    def units(self, stored: UInt8[Tensor, "n c d h w"]) -> Float[Tensor, "n c d h w"]:
        """8-bit volumes as numbers in 0..1."""
        return stored.float().div_(255)

    def normalize(self, stored: UInt8[Tensor, "n c d h w"]) -> Float[Tensor, "n c d h w"]:
        """(x / 255 - mean) / std of 8-bit volumes."""
        return self.frame.normalize(stored.flatten(2, 3)).view(stored.shape)

    def standardize(self, units: Float[Tensor, "n c d h w"]) -> Float[Tensor, "n c d h w"]:
        """(x - mean) / std of volumes in 0..1."""
        return self.frame.standardize(units.flatten(2, 3)).view(units.shape)

    def json(self) -> dict[str, Any]:
        """A dictionary of plain lists, for a checkpoint."""
        return {"kind": "volumes", "shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Volumes:
        """The inverse of `json`; a missing or malformed entry raises InputError."""
        try:
            channels, frames, height, width = (int(axis) for axis in stored["shape"])
            mean, std = (tuple(float(value) for value in stored[key]) for key in ("mean", "std"))
        except (KeyError, TypeError, ValueError) as error:
            expected = "shape (4 whole numbers), mean and std (numbers)"
            raise InputError("stored preprocessing", expected=expected, got=dict(stored)) from error
        return Volumes((channels, frames, height, width), mean, std)
