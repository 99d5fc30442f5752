"""An augmentation for tasks whose answer is a picture: small windows of large pictures."""

from __future__ import annotations

import torch

from striate.data.augment import Pictures, augmentation, whole
from striate.errors import InputError
from striate.registry import Between
from striate.shapes import Float, Tensor


@augmentation("patch:16", size=Between(1, 4096, whole=True))
def patch(images: Pictures, generator: torch.Generator, size: int = 64) -> Float[Tensor, "n c size size"]:
    """Cut out a random square of `size` pixels: for training on parts of pictures that are tested whole.

    For networks that take any size and tasks whose targets are made of the picture (restore, colorize): masks, boxes
    and points stay where they were.
    """
    height, width = images.shape[2:]
    if size > min(height, width):
        expected = f"at most {min(height, width)}, the pictures' smaller side"
        raise InputError("augmentation option", where="patch:size", expected=expected, got=size)
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # n c top left h w, nothing copied
    each = torch.arange(len(images), device=images.device)
    top, left = (whole(images, generator, side - size + 1) for side in (height, width))
    return windows[each, :, top, left]
