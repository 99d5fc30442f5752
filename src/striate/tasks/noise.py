"""Kinds of noise that pictures in 0..1 get, each drawn from the generator's device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from striate.shapes import Float, Tensor

Pictures = Float[Tensor, "n c *space"]


def gaussian(clean: Pictures, sigma: float, generator: torch.Generator) -> Pictures:
    """x + N(0, (sigma / 255)²) for each value, in 8-bit units; not clipped."""
    drawn = torch.randn(clean.shape, generator=generator, device=generator.device)
    return clean + drawn.to(clean) * (sigma / 255)


def salt_pepper(clean: Pictures, share: float, generator: torch.Generator) -> Pictures:
    """A `share` of the pixels becomes black or white, half of them each, in all channels at once."""
    one = (len(clean), 1, *clean.shape[2:])
    drawn = torch.rand(one, generator=generator, device=generator.device).to(clean)
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn > 1 - share / 2, 1.0, clean))


def poisson(clean: Pictures, photons: float, generator: torch.Generator) -> Pictures:
    """Photon counts, `photons` on average where x = 1, divided by that: P(photons · x) / photons."""
    expected = clean.clamp(min=0).to(generator.device) * photons
    return torch.poisson(expected, generator=generator).to(clean) / photons


# By name, with the option that says how much.
NOISES: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], str]] = {
    "gaussian": (gaussian, "sigma"),
    "salt_pepper": (salt_pepper, "share"),
    "poisson": (poisson, "photons"),
}
