"""A segmented picture: its mask with a palette, and the colors laid over the picture with a legend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from striate.data.images import as_picture, to_channels

Color = tuple[int, int, int]
LEAST = 256  # pixels of the shorter side of an overlay: smaller pictures are enlarged
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

    def save(self, folder: Path, stem: str, given: Any = None) -> list[Path]:
        """Write STEM.mask.png (indices with a palette) and, where a picture was given, STEM.overlay.png.

        `given` is the picture as it was read: a path, an array, a tensor. The mask gets its size, or, where the network
        scores the middle of its input only, the mask's own. Masks of signals and volumes become STEM.mask.npy.
        """
        if self.mask.ndim != 2:
            path = folder / f"{stem}.mask.npy"
            np.save(path, self.mask)
            return [path]
        paths = [folder / f"{stem}.mask.png"]
        indexed(self.mask, self.palette).save(paths[0])
        if given is not None:
            paths.append(folder / f"{stem}.overlay.png")
            overlay(given, self.mask, self.class_names, self.palette).save(paths[1])
        return paths


def indexed(mask: npt.NDArray[np.uint8], palette: tuple[Color, ...]) -> Image.Image:
    """The mask as a palette picture: its values are the classes, void (255) is black."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    picture = Image.fromarray(mask)  # grey levels, which a palette turns into indices
    picture.putpalette(colors.ravel().tolist())
    return picture


def overlay(
    given: Any,
    mask: npt.NDArray[np.uint8],
    class_names: tuple[str, ...],
    palette: tuple[Color, ...],
    share: float = 0.55,
) -> Image.Image:
    """The picture with `share` of each class's color over it, outlines, and a legend of the classes that are there."""
    picture = Image.open(given) if isinstance(given, str | Path) else as_picture(given)
    size = (mask.shape[1], mask.shape[0])
    picture = to_channels(picture, 3).resize(size, Image.Resampling.BILINEAR)
    colors = np.zeros((256, 3))
    colors[: len(palette)] = palette
    mixed = (1 - share) * np.asarray(picture) + share * colors[mask]
    edge = np.zeros(mask.shape, bool)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    mixed[edge] = colors[mask][edge]
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
