"""A segmented picture: its mask with a palette, and the colors laid over the picture with a legend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from striate.data.framing import Framing
from striate.data.images import as_picture, to_channels
from striate.data.items import VOID
from striate.shapes import Float, Tensor

Color = tuple[int, int, int]
LEAST = 256  # pixels of the shorter side of an overlay: smaller pictures are enlarged
COVER = 0.5  # of the picture that the colors take
ROW = 18  # pixels of a line of the legend


@dataclass(frozen=True, eq=False)
class MaskPicture:
    """The class of each pixel of one image (uint8, *space; 255: void) with the classes' names and colors.

    `scores` are what the classes were chosen by, where a mask of another size may be wanted.
    """

    mask: npt.NDArray[np.uint8]
    class_names: tuple[str, ...]
    palette: tuple[Color, ...]
    scores: Float[Tensor, "k *space"] | None = None

    def within(self, framing: Framing) -> MaskPicture:
        """The mask at the size of the whole picture: scores interpolated, then the greatest; void where none are."""
        mask = self.mask
        if self.scores is not None:
            mask = framing.classes(self.scores.float(), VOID).cpu().numpy()
        return MaskPicture(mask, self.class_names, self.palette)

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has; void ones do not count."""
        counts = np.bincount(self.mask.ravel(), minlength=256)[: len(self.class_names)]
        return dict(zip(self.class_names, (counts / max(1, counts.sum())).tolist(), strict=True))

    def row(self) -> dict[str, float]:
        """The classes' shares, as a line of a table."""
        return self.shares

    def json(self) -> dict[str, Any]:
        """Size, and the classes' shares."""
        return {"size": list(self.mask.shape), "shares": self.shares}

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """Write STEM.mask.png (indices with a palette) and STEM.overlay.png; of signals and volumes STEM.mask.npy.

        `given` is the picture, c *space in 0..1. What the network leaves out at its borders is void (255).
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
    size = max(1, shown.height // 512)  # large pictures are looked at from afar
    font, row = ImageFont.load_default(12 * size), ROW * size
    counts = np.bincount(mask.ravel(), minlength=256)
    there = [index for index in range(len(class_names)) if counts[index]]
    lines = [f"{class_names[index]}  {counts[index] / max(1, mask.size - counts[VOID]):.1%}" for index in there]
    wide = 40 * size + max((int(font.getlength(line)) for line in lines), default=0)
    sheet = Image.new("RGB", (shown.width + wide, max(shown.height, row * len(lines) + 8)), "white")
    sheet.paste(shown)
    draw = ImageDraw.Draw(sheet)
    for number, (index, line) in enumerate(zip(there, lines, strict=True)):
        left, top = shown.width + 8, 4 + row * number
        square = (left, top + 2 * size, left + 14 * size, top + 14 * size)
        draw.rectangle(square, fill=palette[index], outline="black")
        draw.text((left + 21 * size, top + size), line, "black", font)
    return sheet
