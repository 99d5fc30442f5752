"""A segmented picture: its mask with a palette, and the colors laid over the picture with a legend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from striate.data.images import as_picture, to_channels
from striate.data.items import VOID

Color = tuple[int, int, int]
LEAST = 256  # pixels of the shorter side of an overlay: smaller pictures are enlarged
COVER = 0.5  # of the picture that the colors take
ROW = 18  # pixels of a line of the legend


@dataclass(frozen=True, eq=False)
class MaskPicture:
    """The class of each pixel of one image (uint8, *space) with the classes' names and colors."""

    mask: npt.NDArray[np.uint8]
    class_names: tuple[str, ...]
    palette: tuple[Color, ...]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.class_names))
        return dict(zip(self.class_names, (counts / max(1, self.mask.size)).tolist(), strict=True))

    def row(self) -> dict[str, float]:
        """The classes' shares, as a line of a table."""
        return self.shares

    def json(self) -> dict[str, Any]:
        """Size, and the classes' shares."""
        return {"size": list(self.mask.shape), "shares": self.shares}

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """Write STEM.mask.png (indices with a palette) and STEM.overlay.png; of signals and volumes STEM.mask.npy.

        `given` is what the network was given, c *space in 0..1. What it leaves out at the borders is void (255).
        """
        folder.mkdir(parents=True, exist_ok=True)
        mask = self.placed(tuple(given.shape[1:]))
        if mask.ndim != 2:
            path = folder / f"{stem}.mask.npy"
            np.save(path, mask)
            return [path]
        paths = [folder / f"{stem}.mask.png", folder / f"{stem}.overlay.png"]
        indexed(mask, self.palette).save(paths[0])
        overlay(as_picture(given), mask, self.class_names, self.palette).save(paths[1])
        return paths

    def placed(self, space: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """The mask in the middle of a greater one of that size, void around it."""
        around = [
            ((side - own) // 2, side - own - (side - own) // 2)
            for side, own in zip(space, self.mask.shape, strict=True)
        ]
        return np.pad(self.mask, around, constant_values=VOID)


def indexed(mask: npt.NDArray[np.uint8], palette: tuple[Color, ...]) -> Image.Image:
    """The mask as a palette picture: its values are the classes, void (255) is black."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    picture = Image.fromarray(mask)  # grey levels, which a palette turns into indices
    picture.putpalette(colors.ravel().tolist())
    return picture


def overlay(
    picture: Image.Image, mask: npt.NDArray[np.uint8], class_names: tuple[str, ...], palette: tuple[Color, ...]
) -> Image.Image:
    """The picture with each class's color over it, outlines, and a legend of the classes that are there.

    Void pixels show the picture alone. Picture and mask have one size.
    """
    colors = np.zeros((256, 3))
    colors[: len(palette)] = palette
    pixels = np.asarray(to_channels(picture, 3)).astype(float)
    edge = np.zeros(mask.shape, bool)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    share = np.where(edge, 1.0, COVER)
    share[mask == VOID] = 0
    mixed = pixels + share[..., None] * (colors[mask] - pixels)
    size = picture.size
    factor = max(1, -(-LEAST // min(size)))
    shown = Image.fromarray(mixed.astype(np.uint8)).resize(
        (size[0] * factor, size[1] * factor), Image.Resampling.NEAREST
    )
    return _with_legend(shown, mask, class_names, palette)


def _with_legend(
    shown: Image.Image, mask: npt.NDArray[np.uint8], class_names: tuple[str, ...], palette: tuple[Color, ...]
) -> Image.Image:
    font = ImageFont.load_default(12)
    counts = np.bincount(mask.ravel(), minlength=256)
    there = [index for index in range(len(class_names)) if counts[index]]
    lines = [f"{class_names[index]}  {counts[index] / mask.size:.1%}" for index in there]
    wide = 40 + max((int(font.getlength(line)) for line in lines), default=0)
    sheet = Image.new("RGB", (shown.width + wide, max(shown.height, ROW * len(lines) + 8)), "white")
    sheet.paste(shown)
    draw = ImageDraw.Draw(sheet)
    for number, (index, line) in enumerate(zip(there, lines, strict=True)):
        left, top = shown.width + 8, 4 + ROW * number
        draw.rectangle((left, top + 2, left + 14, top + 14), fill=palette[index], outline="black")
        draw.text((left + 21, top + 1), line, "black", font)
    return sheet
