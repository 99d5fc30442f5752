"""A road as a camera in a car sees it, drawn by a formula, and how a driver would turn the wheel there.

Nothing here is a photograph. The ground is a plane; at z meters ahead the road's center lies

    x(z) = offset + heading z + curvature z^2 / 2        meters to the right of the car

and a pixel at (u, v) from the horizon's middle shows the ground at z = f h / v, x = u z / f (f: focal length in pixels,
h: height of the camera in meters). The command is the inverse turning radius 1/r, in 1/m and positive to the right, of
the circle through the road's center at L meters, along which the car would come back to it (pure pursuit):

    1/r = 2 x(L) / (L^2 + x(L)^2)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from striate.shapes import Float, Tensor, UInt8

HEIGHT, WIDTH = 66, 200  # PilotNet's input
FOCAL, CAMERA, HORIZON = 130.0, 1.3, 18.0  # pixels; meters over the ground; row
LOOK_AHEAD = 14.0  # meters
LANE = 3.6  # meters, half of it to either side of the center
LINE, DASH = 0.15, 6.0  # meters: half the width of a line, a dash with the gap behind it
CURVATURE, OFFSET, HEADING = 0.02, 0.8, 0.06  # largest, 1/m, m, radians
BATCH = 200


@dataclass(frozen=True)
class Roads:
    """Where `n` cars are on their roads: each field one number a picture, in 1/m, meters and radians."""

    curvature: Float[Tensor, " n"]
    offset: Float[Tensor, " n"]
    heading: Float[Tensor, " n"]

    def center(self, z: Float[Tensor, "..."]) -> Float[Tensor, "n ..."]:
        """x(z) in meters to the right of the car."""
        ones = (1,) * z.ndim
        curvature, offset, heading = (value.view(-1, *ones) for value in (self.curvature, self.offset, self.heading))
        return offset + heading * z + curvature * z**2 / 2

    def command(self, ahead: float = LOOK_AHEAD) -> Float[Tensor, " n"]:
        """The inverse turning radius that leads to the center `ahead` meters ahead.

        >>> Roads(torch.tensor([0.0]), torch.tensor([0.7]), torch.tensor([0.0])).command(14.0)
        tensor([0.0071])
        """
        x = self.center(torch.tensor(ahead, device=self.offset.device))
        return 2 * x / (ahead**2 + x**2)


def draw_roads(count: int, generator: torch.Generator) -> Roads:
    """Random roads: each number uniform between minus and plus its largest."""
    drawn = torch.rand(3, count, generator=generator) * 2 - 1
    return Roads(*(drawn * torch.tensor([CURVATURE, OFFSET, HEADING])[:, None]))


def render(roads: Roads, generator: torch.Generator) -> UInt8[Tensor, "n 3 h w"]:
    """The cameras' pictures, 66x200 RGB: road, lines (three in four have them), verge, sky, grain, shade and glare."""
    count = len(roads.offset)
    v, u = torch.meshgrid(torch.arange(HEIGHT) + 0.5 - HORIZON, torch.arange(WIDTH) + 0.5 - WIDTH / 2, indexing="ij")
    ground = v > 0.5
    z = torch.where(ground, FOCAL * CAMERA / v.clamp(min=0.5), 1e3)
    across = u * z / FOCAL - roads.center(z)  # meters from the road's center, n h w

    def some(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    grain = F.interpolate(some(-1, 1, 1, 22, 50), (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    asphalt = some(0.25, 0.5, 1, 1, 1) + some(-0.03, 0.03, 3, 1, 1) + 0.03 * grain
    verge = torch.stack([some(0.15, 0.55), some(0.3, 0.55), some(0.1, 0.3)], 1)[:, :, None, None] + 0.1 * grain
    sky = torch.stack([some(0.45, 0.8), some(0.55, 0.85), some(0.7, 1.0)], 1)[:, :, None, None] + 0.04 * grain
    pictures = torch.where((across.abs() < LANE / 2 + some(0.2, 0.9, 1, 1))[:, None], asphalt, verge)
    phase = some(0, DASH, 1, 1)
    dashed = ((z + phase) % DASH < DASH / 2) | (some(0, 1, 1, 1) < 0.4)
    wide = torch.maximum(torch.tensor(LINE), 0.4 * z / FOCAL)  # at least most of a pixel
    lines = ((across - LANE / 2).abs() < wide) | (((across + LANE / 2).abs() < wide) & dashed)
    lines &= (z < 60) & (some(0, 1, 1, 1) < 0.75)
    paint = some(0.7, 1.0, 1, 1, 1) * torch.tensor([1.0, 1.0, 0.9]).view(1, 3, 1, 1)
    pictures = torch.where(lines[:, None], paint.expand_as(pictures), pictures)
    pictures = torch.where(ground, pictures, sky)
    # One shadow over the road, from z to z + its length; and the light of the hour.
    near, long = some(4, 25, 1, 1), some(1, 6, 1, 1)
    shaded = ground & (z > near) & (z < near + long) & (some(0, 1, 1, 1) < 0.5)
    pictures = torch.where(shaded[:, None], pictures * some(0.4, 0.8, 1, 1, 1), pictures)
    pictures = pictures * some(0.6, 1.25, 1, 1, 1) + torch.randn(pictures.shape, generator=generator) * 0.02
    return (pictures.clamp(0, 1) * 255).round().byte()


def drives(count: int, seed: int = 0) -> tuple[UInt8[Tensor, "n 3 h w"], Float[Tensor, "n 1"]]:
    """`count` pictures of roads and the command for each; the same seed gives the same."""
    generator = torch.Generator().manual_seed(seed)
    pictures, commands = [], []
    for first in range(0, count, BATCH):
        roads = draw_roads(min(BATCH, count - first), generator)
        pictures.append(render(roads, generator))
        commands.append(roads.command())
    return torch.cat(pictures), torch.cat(commands)[:, None]
