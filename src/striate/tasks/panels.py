"""Pictures written as PNG, alone or side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from striate.errors import StorageError
from striate.shapes import Float, Tensor

GAP = 4  # white pixels between two pictures


def write_png(path: Path, picture: Float[Tensor, "c h w"]) -> Path:
    """Write a grey (c = 1) or RGB picture in 0..1; StorageError where the disk does not let it."""
    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}. Free some space.") from error
    return path


def beside(pictures: Sequence[Float[Tensor, "_ h w"]]) -> Float[Tensor, "3 h w2"]:
    """Pictures of one size (grey ones as RGB) in a row, with a white gap between them."""
    wide = [F.pad(picture.expand(3, -1, -1), (0, GAP), value=1.0) for picture in pictures]
    return torch.cat(wide, 2)[:, :, :-GAP]
