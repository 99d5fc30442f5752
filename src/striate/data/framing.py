"""Which part of a picture a network sees, and where what it says of it lies in the whole picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from striate.shapes import Float, Tensor, UInt8

STRIP = 1 << 24  # scores that are interpolated at once


@dataclass(frozen=True)
class Framing:
    """The middle of a picture of `outer` height and width, resized to `inner`: as large as its proportions allow.

    Places are measured from the corner of each picture, so pixel i covers i to i + 1:  inner = outer * scale - corner.

    >>> framing = Framing(inner=(2, 2), outer=(4, 8))
    >>> framing.scale, framing.corner, framing.out(torch.tensor([[0.0, 0.0], [2.0, 2.0]])).tolist()
    (0.5, (1.0, 0.0), [[2.0, 0.0], [6.0, 4.0]])
    """

    inner: tuple[int, int]
    outer: tuple[int, int]

    @property
    def scale(self) -> float:
        """Pixels of the inner picture a pixel of the outer one."""
        return max(new / old for new, old in zip(self.inner, self.outer, strict=True))

    @property
    def corner(self) -> tuple[float, float]:
        """What is cut off at the left and at the top, in pixels of the inner picture."""
        top, left = ((old * self.scale - new) / 2 for new, old in zip(self.inner, self.outer, strict=True))
        return left, top

    def into(self, xy: Float[Tensor, "*any 2"]) -> Float[Tensor, "*any 2"]:
        """Places (x, y) in the outer picture as they lie in the inner one."""
        return xy * self.scale - xy.new_tensor(self.corner)

    def out(self, xy: Float[Tensor, "*any 2"]) -> Float[Tensor, "*any 2"]:
        """Places (x, y) in the inner picture as they lie in the outer one: the inverse of `into`."""
        return (xy + xy.new_tensor(self.corner)) / self.scale

    def sampled(self, maps: Float[Tensor, "k h w"], rows: slice = slice(None)) -> Float[Tensor, "k h2 w2"]:
        """Maps of the inner picture, or of its middle, read bilinearly at the pixels of the outer one; NaN outside."""
        height, width = self.outer
        lines, columns = torch.arange(height)[rows], torch.arange(width)
        y, x = torch.meshgrid(lines + 0.5, columns + 0.5, indexing="ij")
        size = torch.tensor([maps.shape[2], maps.shape[1]])
        border = (torch.tensor(self.inner[::-1]) - size) // 2  # of an inner picture whose middle alone is known
        places = self.into(torch.stack([x, y], -1)) - border
        inside = ((places >= 0) & (places <= size)).all(-1)
        grid = (2 * places / size - 1).to(maps)
        read = F.grid_sample(maps[None], grid[None], "bilinear", "border", align_corners=False)[0]
        return read.masked_fill(~inside.to(maps.device), torch.nan)

    def classes(self, scores: Float[Tensor, "k h w"], void: int) -> UInt8[Tensor, "h2 w2"]:
        """The class with the greatest score at each pixel of the outer picture, interpolated; `void` outside."""
        height, width = self.outer
        step = max(1, STRIP // (len(scores) * width))
        strips = []
        for first in range(0, height, step):
            read = self.sampled(scores, slice(first, first + step))
            strips.append(read.argmax(0).to(torch.uint8).masked_fill(read[0].isnan(), void))
        return torch.cat(strips)
