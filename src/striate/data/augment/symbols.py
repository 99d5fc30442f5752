"""Random changes of texts and sequences that keep their label: whole batches at once, each item with its own draws."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from striate.data.augment.registry import augmentation
from striate.data.items import Input
from striate.registry import Between
from striate.shapes import Float, Int64, Tensor

# Numbers of words that stand for nothing, and for any other word (see `striate.data.Words`).
PADDING, UNKNOWN = 0, 1


@augmentation("reverse_complement:0.5", takes=("bases",), p=Between(0, 1))
def reverse_complement(
    units: Float[Tensor, "n 4 t"], generator: torch.Generator, p: float = 0.5
) -> Float[Tensor, "n 4 t"]:
    """Read the other strand with probability p: from the end, A for T, C for G and back."""
    turned = torch.rand(len(units), generator=generator, device=generator.device).to(units.device) < p
    # A C G T from the end is T G C A, so the complement turns the channels round.
    return torch.where(turned[:, None, None], units.flip(1, 2), units)


def unknown_of(_: Tensor, preprocess: Input | None) -> float:
    """What the kind of input writes for an unknown base."""
    return float(getattr(preprocess, "unknown", 0.25))


@augmentation("jitter:3", takes=("bases",), fit=unknown_of, places=Between(0, 10_000, whole=True))
def jitter(
    units: Float[Tensor, "n 4 t"], generator: torch.Generator, unknown: float, places: int = 3
) -> Float[Tensor, "n 4 t"]:
    """Move by up to `places` bases either way; unknown bases come in."""
    length = units.shape[2]
    start = torch.randint(2 * places + 1, (len(units),), generator=generator, device=generator.device)
    padded = F.pad(units, (places, places), value=unknown)
    at = start.to(units.device)[:, None] + torch.arange(length, device=units.device)
    return padded.gather(2, at[:, None].expand(-1, units.shape[1], -1))


@augmentation("drop_words:0.1", takes=("words",), p=Between(0, 1))
def drop_words(units: Int64[Tensor, "n t"], generator: torch.Generator, p: float = 0.1) -> Int64[Tensor, "n t"]:
    """Take each word for the unknown one with probability p; padding stays."""
    dropped = torch.rand(units.shape, generator=generator, device=generator.device).to(units.device) < p
    return torch.where(dropped & (units != PADDING), UNKNOWN, units)
