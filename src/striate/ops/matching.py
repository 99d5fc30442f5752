"""Where in an image a template is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from striate.errors import InputError, did_you_mean
from striate.ops.convolve import correlate
from striate.ops.separable import correlate_separable
from striate.shapes import Float, Num, Tensor

METHODS = ("normalized", "correlation", "squared")
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@dataclass(frozen=True, eq=False)
class Match:
    """A score for each place of the template, and the best place: the index of the template's first value in the image.

    The best score is the greatest, of method "squared" the least.
    """

    map: Float[Tensor, "*places"]
    position: tuple[int, ...]
    score: float
    method: str

    def peaks(self, number: int, apart: int) -> tuple[tuple[tuple[int, ...], float], ...]:
        """The `number` best places (fewer where there are no more) with their scores, the best first.

        A place counts that is the best of all those less than `apart` away from it on each axis. Raises InputError
        for numbers below 1.

        >>> match_template(torch.tensor([1.0, 0, 0, 2, 0]), torch.ones(1), "correlation").peaks(2, apart=2)
        (((3,), 2.0), ((0,), 1.0))
        """
        if number < 1 or apart < 1:
            raise InputError("cannot find peaks", expected="number and apart of 1 or more", got=(number, apart))
        good = -self.map if self.method == "squared" else self.map
        pool = _MAX_POOL[good.ndim](good[None, None], 2 * apart - 1, stride=1, padding=apart - 1)
        found = torch.nonzero(good == pool[0, 0])
        order = good[tuple(found.T)].argsort(descending=True, stable=True)
        chosen: list[list[int]] = []
        for place in found[order].tolist():  # of equals next to each other the first
            if all(max(abs(a - b) for a, b in zip(place, other, strict=True)) >= apart for other in chosen):
                chosen.append(place)
            if len(chosen) == number:
                break
        return tuple((tuple(place), self.map[tuple(place)].item()) for place in chosen)


def match_template(
    image: Num[Tensor, "*image"], template: Num[Tensor, "*template"], method: str = "normalized"
) -> Match:
    """Slide a template over an image, score each place, and find the best.

        "normalized"    Σ (I - mean I) (T - mean T) / √(Σ (I - mean I)² Σ (T - mean T)²), means over the window; -1 to 1
        "correlation"   Σ I T, the plain cross-correlation: bright places win, whatever they look like
        "squared"       Σ (I - T)², 0 where they are equal

    Both are (t,) or (h, w), or have channels, over which is summed: (c, h, w) or (c, d, h, w). Contrast and brightness
    of the window do not change the normalized score; where the window is flat it is 0. In double precision. Raises
    InputError where the template is larger, has other channels, or is flat (for "normalized"),
    and for values that are not finite.
    Source: Lewis 1995, Fast normalized cross-correlation.

    >>> image = torch.tensor([[0.0, 0, 0, 9], [0, 1, 2, 9], [0, 3, 1, 9]])
    >>> match = match_template(image, torch.tensor([[1.0, 2], [3, 1]]))
    >>> match.position, round(match.score, 6)
    ((1, 1), 1.0)
    """
    if method not in METHODS:
        raise InputError("unknown method", got=repr(method), fix=did_you_mean(method, METHODS))
    i, t = (x.double()[None] if x.ndim <= 2 else x.double() for x in (image, template))
    if (
        i.ndim != t.ndim
        or not 2 <= i.ndim <= 4
        or len(i) != len(t)
        or any(a < b for a, b in zip(i.shape, t.shape, strict=True))
    ):
        expected = f"the channels of the image, and no longer on any axis than {tuple(image.shape)}"
        raise InputError("cannot match", where="template", expected=expected, got=tuple(template.shape))
    if not (torch.isfinite(i).all() and torch.isfinite(t).all()):
        raise InputError("cannot match", expected="finite values", got="NaN or infinity")
    scores = {"normalized": _normalized, "correlation": _correlation, "squared": _squared}[method](i, t)
    best = (scores.argmin() if method == "squared" else scores.argmax()).item()
    position = tuple(int(index) for index in torch.unravel_index(torch.tensor(best), scores.shape))
    return Match(scores, position, scores[position].item(), method)


def _correlation(image: Tensor, template: Tensor) -> Tensor:
    # In double precision torch's own form of a large window takes memory for all patches.
    algorithm = "fft" if template.numel() > 64 else "auto"
    return correlate(image[None], template[None], algorithm=algorithm)[0, 0]


def _sums(image: Tensor, window: torch.Size) -> Tensor:
    """Σ over each window and all channels."""
    ones = [image.new_ones(size) for size in window]
    return correlate_separable(image.sum(0)[None, None], ones)[0, 0]


def _squared(image: Tensor, template: Tensor) -> Tensor:
    squares = _sums(image.square(), template.shape[1:]) + template.square().sum()
    return (squares - 2 * _correlation(image, template)).clamp(min=0)


def _normalized(image: Tensor, template: Tensor) -> Tensor:
    image, shape = image - image.mean(), template - template.mean()  # the sums below stay small
    energy = shape.square().sum()
    if not energy > 0:
        fix = 'Use method="squared".'
        raise InputError("cannot match", where="template", expected="values that differ", got="a flat one", fix=fix)
    squares = _sums(image.square(), shape.shape[1:])
    spread = squares - _sums(image, shape.shape[1:]).square() / math.prod(shape.shape)
    flat = spread <= 1e-12 * squares.max()  # nothing but rounding
    scores = _correlation(image, shape) / (spread.clamp(min=0) * energy).sqrt()
    return torch.where(flat, 0.0, scores.clamp(-1, 1))
