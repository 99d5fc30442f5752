"""Which part of a picture a network sees, and where what it says of it lies in the whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from striate.shapes import Float, Num, Tensor, UInt8

STRIP = 1 << 24  # scores that are interpolated at once


@dataclass(frozen=True)
class Framing:
    """How a picture (or a volume) of the sizes `outer` becomes what the network is given, of the sizes `inner`.

    cut      the middle, as large as its proportions allow, is resized
    stretch  the whole is resized, along each axis for itself
    pad      the whole at its own pixels lies in the middle of more

    Places are measured from the corner of each picture, so pixel i covers i to i + 1:  inner = outer * scale - corner.

    >>> framing = Framing(inner=(2, 2), outer=(4, 8))
    >>> framing.scales, framing.corners, framing.out(torch.tensor([[0.0, 0.0], [2.0, 2.0]])).tolist()
    ((0.5, 0.5), (0.0, 1.0), [[2.0, 0.0], [6.0, 4.0]])
    """

    inner: tuple[int, ...]
    outer: tuple[int, ...]
    fit: Literal["cut", "stretch", "pad"] = "cut"

    @property
    def scales(self) -> tuple[float, ...]:
        """Pixels of the inner picture a pixel of the outer one, along each axis."""
        if self.fit == "pad":
            return (1.0,) * len(self.outer)
        each = tuple(new / old for new, old in zip(self.inner, self.outer, strict=True))
        return each if self.fit == "stretch" else (max(each),) * len(each)

    @property
    def corners(self) -> tuple[float, ...]:
        """What is cut off at the start of each axis, in pixels of the inner picture; below 0 for what is added."""
        if self.fit == "pad":
            return tuple(-((new - old) // 2) for new, old in zip(self.inner, self.outer, strict=True))
        axes = zip(self.inner, self.outer, self.scales, strict=True)
        return tuple((old * scale - new) / 2 for new, old, scale in axes)

    def into(self, xy: Float[Tensor, "*any 2"]) -> Float[Tensor, "*any 2"]:
        """Places (x, y) in the outer picture as they lie in the inner one."""
        return xy * xy.new_tensor(self.scales[::-1]) - xy.new_tensor(self.corners[::-1])

    def out(self, xy: Float[Tensor, "*any 2"]) -> Float[Tensor, "*any 2"]:
        """Places (x, y) in the inner picture as they lie in the outer one: the inverse of `into`."""
        return (xy + xy.new_tensor(self.corners[::-1])) / xy.new_tensor(self.scales[::-1])

    def sampled(self, maps: Float[Tensor, "k *space"], rows: slice = slice(None)) -> Float[Tensor, "k *space2"]:
        """Maps of the inner picture, or of its middle, read bilinearly at the pixels of the outer one; NaN outside.

        Of a padded picture the pixels are those of the maps, and volumes may be read, too.
        """
        if self.fit == "pad":
            return self._cropped(maps, torch.nan)[:, rows]
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

    def classes(self, scores: Float[Tensor, "k *space"], void: int) -> UInt8[Tensor, "*space2"]:
        """The class with the greatest score at each pixel of the outer picture, interpolated; `void` outside."""
        if self.fit == "pad":
            return self._cropped(scores.argmax(0, keepdim=True).to(torch.uint8), void)[0]
        height, width = self.outer
        step = max(1, STRIP // (len(scores) * width))
        strips = []
        for first in range(0, height, step):
            read = self.sampled(scores, slice(first, first + step))
            strips.append(read.argmax(0).to(torch.uint8).masked_fill(read[0].isnan(), void))
        return torch.cat(strips)

    def _cropped(self, maps: Num[Tensor, "k *space"], outside: float) -> Num[Tensor, "k *space2"]:
        """Maps of a padded picture, or of its middle, without what was added; `outside` where nothing is known."""
        found = maps.new_full((len(maps), *self.outer), outside)
        here, there = [slice(None)], [slice(None)]
        for new, old, size in zip(self.inner, self.outer, maps.shape[1:], strict=True):
            first = (new - size) // 2 - (new - old) // 2
            here.append(slice(max(0, first), min(old, first + size)))
            there.append(slice(max(0, -first), min(size, old - first)))
        found[tuple(here)] = maps[tuple(there)]
        return found
