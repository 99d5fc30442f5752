"""Pictures with what was found in them: boxes with a name, points."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from striate.shapes import Float, Tensor

LEAST_SIDE = 256  # smaller pictures are drawn larger, so that marks can be read
MARK = (255, 64, 32)
OTHER = (64, 220, 96)


def enlarged(picture: Float[Tensor, "c h w"]) -> tuple[Image.Image, float]:
    """An RGB picture of numbers in 0..1 (one channel: grey), at least 256 pixels on its longer side, and its scale."""
    channels, height, width = picture.shape
    pixels = (picture.clamp(0, 1) * 255).round().byte().cpu()
    pixels = pixels[:3] if channels >= 3 else pixels[:1].expand(3, -1, -1)
    scale = max(1, -(-LEAST_SIDE // max(height, width)))
    shown = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return shown.resize((width * scale, height * scale), Image.Resampling.NEAREST), scale


def draw_box(
    picture: Float[Tensor, "c h w"],
    found: Sequence[tuple[Sequence[float], str]],
    color: tuple[int, int, int] = MARK,
) -> Image.Image:
    """The picture with each box (left, top, right, bottom, in its pixels from its corner) and its name."""
    shown, scale = enlarged(picture)
    brush = ImageDraw.Draw(shown)
    size = max(1, max(shown.size) // 512)  # large pictures are looked at from afar
    font = ImageFont.load_default(12 * size)
    for box, name in found:
        left, top, right, bottom = (side * scale for side in box)
        left, right, top, bottom = min(left, right), max(left, right), min(top, bottom), max(top, bottom)
        brush.rectangle((left, top, right, bottom), outline=color, width=2 * size)
        wide, high = font.getlength(name), 15 * size
        place = (max(0, min(left, shown.width - wide)), top - high if top >= high else bottom + 2)
        brush.text(place, name, fill=color, font=font)
    return shown


def draw_points(
    picture: Float[Tensor, "c h w"],
    points: Sequence[tuple[float, float]],
    others: Sequence[tuple[float, float]] = (),
) -> Image.Image:
    """The picture with a dot at each point (x, y), (0, 0) the center of its first pixel; `others` in another color."""
    shown, scale = enlarged(picture)
    brush = ImageDraw.Draw(shown)
    size = max(2.0, max(shown.size) / 128)
    for places, color in ((others, OTHER), (points, MARK)):
        for x, y in places:
            if x == x and y == y:  # not missing
                center_x, center_y = (x + 0.5) * scale, (y + 0.5) * scale
                brush.ellipse((center_x - size, center_y - size, center_x + size, center_y + size), fill=color)
    return shown
