"""Road scenes, rendered: a street seen from a car, with the class of each pixel. Synthetic, not photographs.

A pinhole camera 1.5 m above the street looks along it; everything is boxes, planes and disks in meters, painted from
far to near on the picture and on the mask alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from striate.data.items import VOID
from striate.data.masks import Color, Mask

# The 11 classes of the SegNet tutorial's CamVid in their order, and its colors; 11 in its files is void.
CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
CAMVID_PALETTE: tuple[Color, ...] = (
    *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0)),
    *((192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)),
)
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
SMOOTH = 2  # the scene is painted at twice the size
CAMERA = 1.5  # meters above the street
FAR = 120.0

Point = tuple[float, float, float]  # meters: to the right, up from the street, ahead
Picture = npt.NDArray[np.uint8]
Paint = Sequence[float] | npt.NDArray[np.float64]  # red, green, blue; what is out of 0..255 is cut off


def road_scene(
    number: int, seed: int = 0, height: int = 96, width: int = 128, void: bool = True
) -> tuple[Picture, Mask]:
    """Picture (h w 3) and mask (h w) of scene `number`: the same for the same numbers.

    Light, tint, camera, street and all that stands in it are drawn. With `void` the pixels on both sides of each
    outline are void (255), as people draw them in CamVid.

    >>> picture, mask = road_scene(0)
    >>> picture.shape, mask.shape, CAMVID_CLASSES[mask[-1, 64]]
    ((96, 128, 3), (96, 128), 'road')
    """
    random = np.random.default_rng((seed, number))
    scene = _Scene(random, height * SMOOTH, width * SMOOTH)
    _paint_ground(scene)
    things = [*_rows(scene), *_traffic(scene), *_people(scene)]
    for _, paint in sorted(things, key=lambda thing: -thing[0]):
        paint()
    mask = np.asarray(scene.mask.resize((width, height), Image.Resampling.NEAREST)).copy()
    if void:
        mask[_outline(mask)] = VOID
    return _photographed(scene, random, height, width), mask


def write_camvid(folder: Path, counts: tuple[int, int, int], seed: int = 0, height: int = 96, width: int = 128) -> None:
    """Write scenes in the folders of the SegNet tutorial: train, trainannot, val, valannot, test and testannot."""
    number = 0
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for name in (split, f"{split}annot"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            picture, mask = road_scene(number, seed, height, width)
            Image.fromarray(picture).save(folder / split / f"scene_{number:05d}.png")
            stored = np.where(mask == VOID, len(CAMVID_CLASSES), mask).astype(np.uint8)
            Image.fromarray(stored).save(folder / f"{split}annot" / f"scene_{number:05d}.png")
            number += 1


@dataclass(eq=False)
class _Scene:
    """A picture and its mask, painted together through one camera."""

    random: np.random.Generator
    height: int
    width: int

    def __post_init__(self) -> None:
        random, size = self.random, (self.width, self.height)
        self.picture, self.mask = Image.new("RGB", size), Image.new("L", size, SKY)
        self._on_picture, self._on_mask = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.mask)
        self.focus = self.width * random.uniform(0.8, 1.1)
        self.horizon = self.height * random.uniform(0.36, 0.5)
        self.center = self.width * random.uniform(0.42, 0.58)
        self.half_road = random.uniform(3.2, 5.0)
        self.pavement = random.uniform(1.5, 3.0)
        self.facade = self.half_road + self.pavement + random.uniform(0.2, 1.5)
        self.offset = random.uniform(-0.6, 0.6) * self.half_road / 2  # of the camera on the road

    def at(self, point: Point) -> tuple[float, float]:
        """Where a point is in the picture."""
        x, y, z = point
        scale = self.focus / max(z, 0.8)
        return self.center + scale * (x - self.offset), self.horizon + scale * (CAMERA - y)

    def paint(self, kind: int, color: Paint, points: Sequence[Point]) -> None:
        """A polygon in space."""
        flat = [self.at(point) for point in points]
        self._on_picture.polygon(flat, fill=_color(color))
        self._on_mask.polygon(flat, fill=kind)

    def disk(self, kind: int, color: Paint, middle: Point, wide: float, high: float | None = None) -> None:
        """A disk, or an ellipse, that faces the camera; sizes are radii in meters."""
        x, y, z = middle
        high = wide if high is None else high
        (left, top), (right, bottom) = self.at((x - wide, y + high, z)), self.at((x + wide, y - high, z))
        self._on_picture.ellipse((left, top, right, bottom), fill=_color(color))
        self._on_mask.ellipse((left, top, right, bottom), fill=kind)

    def upright(self, kind: int, color: Paint, low: Point, wide: float, high: float) -> None:
        """A rectangle that faces the camera, at least a pixel wide, standing on the middle of its lower side."""
        x, y, z = low
        half = max(wide / 2, 0.6 * z / self.focus)
        self.paint(kind, color, [(x - half, y, z), (x + half, y, z), (x + half, y + high, z), (x - half, y + high, z)])

    def shade(self, low: float, high: float, grey: float = 0.5, tint: Color = (0, 0, 0)) -> npt.NDArray[np.float64]:
        """A random color with `tint` added: lightness from low to high; `grey` 1 is grey, 0 is vivid."""
        light = self.random.uniform(low, high)
        return np.asarray(np.clip(light + (1 - grey) * self.random.uniform(-70, 70, 3) + np.array(tint), 0, 255))


Thing = tuple[float, Callable[[], None]]  # its distance, and how it is painted


def _paint_ground(scene: _Scene) -> None:
    random, size = scene.random, (scene.width, scene.height)
    top, bottom = scene.shade(130, 225, 0.6, (0, 5, 20)), scene.shade(190, 250, 0.9)
    rows = np.linspace(0, 1, scene.height)[:, None, None]
    sky = np.broadcast_to(np.clip(top + (bottom - top) * rows * 2, 0, 255), (scene.height, scene.width, 3))
    scene.picture.paste(Image.fromarray(sky.astype(np.uint8)).resize(size))
    near, edge, curb = 0.8, scene.facade + 40, scene.half_road + scene.pavement
    grey = random.uniform(60, 130)

    def strip(kind: int, color: Paint, left: float, right: float, start: float, end: float) -> None:
        scene.paint(kind, color, [(left, 0, start), (right, 0, start), (right, 0, end), (left, 0, end)])

    strip(PAVEMENT, scene.shade(110, 180, 0.85), -edge, edge, near, 4 * FAR)
    strip(ROAD, (grey, grey, grey + random.uniform(-6, 10)), -scene.half_road, scene.half_road, near, 4 * FAR)
    for side in (-1, 1):  # beyond the pavements: grass, which CamVid has among its trees
        strip(TREE, scene.shade(70, 120, 0.8, (-15, 20, -25)), side * curb, side * edge, near, 4 * FAR)
    white = scene.shade(190, 245, 0.95)
    for start in np.arange(random.uniform(1, 4), 80, 6.0):
        strip(ROAD, white, -0.08, 0.08, start, start + random.uniform(2, 3.5))
    if random.random() < 0.7:
        for side in (-1, 1):
            line = side * (scene.half_road - 0.35)
            strip(ROAD, white, line - 0.06, line + 0.06, near, FAR)
    for _ in range(random.integers(0, 4)):  # stains, of the road
        x, z, dark = (
            random.uniform(-0.7, 0.7) * scene.half_road,
            random.uniform(3, 30),
            grey * random.uniform(0.7, 1.15),
        )
        strip(ROAD, (dark, dark, dark), x - 0.6, x + 0.6, z, z + random.uniform(0.5, 5))


def _rows(scene: _Scene) -> list[Thing]:
    """Houses, trees, fences, poles and signs on both sides."""
    random, things = scene.random, list[Thing]()
    for side in (-1, 1):
        z = random.uniform(1, 6)
        while z < FAR:
            depth = random.uniform(6, 20)
            kind = random.choice(4, p=(0.62, 0.2, 0.1, 0.08))
            if kind == 0:
                things.append(_house(scene, side, z, depth, random.uniform(4, 14)))
            elif kind == 1:
                things += [_tree(scene, side, z + i * 4.0) for i in range(int(depth // 4))]
            elif kind == 2:
                things.append(_fence(scene, side, z, depth))
            z += depth
        for z in np.arange(random.uniform(4, 14), 70, random.uniform(9, 20)):
            things.append((_pole if random.random() < 0.6 else _sign)(scene, side, float(z)))
        things += [
            _tree(scene, side, random.uniform(6, 60), scene.half_road + 0.5) for _ in range(random.integers(0, 3))
        ]
    return things


def _house(scene: _Scene, side: int, z: float, depth: float, high: float) -> Thing:
    random = scene.random
    wall, x, window = scene.shade(80, 200, 0.55), side * scene.facade, scene.shade(40, 110, 0.85)
    storeys, columns, front = max(1, int(high // 3)), max(1, int(depth // 2.5)), random.uniform(0.75, 0.95)

    def paint() -> None:
        far = x + side * 25
        scene.paint(BUILDING, wall * front, [(x, 0, z), (far, 0, z), (far, high, z), (x, high, z)])
        scene.paint(BUILDING, wall, [(x, 0, z), (x, 0, z + depth), (x, high, z + depth), (x, high, z)])
        for storey in range(storeys):
            for column in range(columns):
                start, low = z + (column + 0.3) * depth / columns, storey * 3 + 1.0
                end, up = start + 0.45 * depth / columns, low + 1.4
                scene.paint(BUILDING, window, [(x, low, start), (x, low, end), (x, up, end), (x, up, start)])

    return z + depth, paint


def _tree(scene: _Scene, side: int, z: float, beside: float | None = None) -> Thing:
    random = scene.random
    x = side * ((scene.facade if beside is None else beside) + random.uniform(0, 2.5 if beside is None else 0.5))
    high, green = random.uniform(3, 8), scene.shade(50, 110, 0.85, (-15, 25, -25))
    leaves = [(random.normal(0, 0.16, 2) * high, random.uniform(0.12, 0.22) * high) for _ in range(9)]
    lights = random.uniform(0.75, 1.25, 9)

    def paint() -> None:
        scene.upright(TREE, (85, 65, 45), (x, 0, z), 0.35, 0.6 * high)
        for ((across, up), size), light in zip(leaves, lights, strict=True):
            scene.disk(TREE, green * light, (x + across, 0.75 * high + up, z), size)

    return z, paint


def _fence(scene: _Scene, side: int, z: float, depth: float) -> Thing:
    x, high, color = side * scene.facade, scene.random.uniform(1.0, 1.8), scene.shade(70, 190, 0.7)

    def paint() -> None:
        scene.paint(FENCE, color, [(x, 0, z), (x, 0, z + depth), (x, high, z + depth), (x, high, z)])
        for start in np.arange(z, z + depth, 0.8):
            line = [(x, 0, start), (x, 0, start + 0.15), (x, high, start + 0.15), (x, high, start)]
            scene.paint(FENCE, color * 0.7, line)

    return z + depth / 2, paint


def _pole(scene: _Scene, side: int, z: float) -> Thing:
    x, high, color = side * (scene.half_road + 0.4), scene.random.uniform(5, 8), scene.shade(60, 170, 0.9)

    def paint() -> None:
        scene.upright(POLE, color, (x, 0, z), 0.16, high)
        scene.upright(POLE, color, (x - side * 0.7, high - 0.15, z), 1.5, 0.15)

    return z, paint


def _sign(scene: _Scene, side: int, z: float) -> Thing:
    random = scene.random
    x, high = side * (scene.half_road + 0.5), random.uniform(2.2, 3.2)
    color = [(200, 30, 40), (30, 70, 190), (235, 200, 40), (235, 235, 235)][random.integers(4)]
    size, square = random.uniform(0.35, 0.6), random.random() < 0.4

    def paint() -> None:
        scene.upright(POLE, (120, 120, 120), (x, 0, z), 0.1, high)
        if square:
            scene.upright(SIGN, color, (x, high - size, z), 2 * size, 2 * size)
        else:
            scene.disk(SIGN, color, (x, high, z), size)
            scene.disk(SIGN, (240, 240, 240), (x, high, z), 0.55 * size)

    return z - 0.01, paint


def _traffic(scene: _Scene) -> list[Thing]:
    random = scene.random
    parked = [
        (side * (scene.half_road - 0.9), random.uniform(4, 50))
        for side in (-1, 1)
        for _ in range(random.integers(0, 4))
    ]
    driving = [
        (random.choice((-1, 1)) * scene.half_road * 0.4, random.uniform(9, 70)) for _ in range(random.integers(0, 3))
    ]
    return [_car(scene, x, z) for x, z in parked + driving]


def _car(scene: _Scene, x: float, z: float) -> Thing:
    random, wide, long, high = scene.random, 0.85, 4.0, scene.random.uniform(1.35, 1.7)
    color, glass = scene.shade(30, 220, 0.35), scene.shade(30, 80, 0.9)
    side = -1 if x - scene.offset > 0 else 1  # the flank that is seen
    light = random.uniform(0.7, 0.9)

    def paint() -> None:
        flank, back = x + side * wide, [(x - wide, z), (x + wide, z)]
        scene.paint(
            CAR, color * light, [(flank, 0.3, z), (flank, 0.3, z + long), (flank, 0.9, z + long), (flank, 0.9, z)]
        )
        scene.paint(CAR, glass, [(flank, 0.9, z), (flank, 0.9, z + 3), (flank, high, z + 2.4), (flank, high, z + 0.3)])
        for start in (z + 0.8, z + 3.1):
            scene.disk(CAR, (20, 20, 20), (flank, 0.32, start), 0.3)
        for low, up, paint_color in ((0.25, 0.9, color), (0.9, high, color * 0.85)):
            scene.paint(
                CAR, paint_color, [(back[0][0], low, z), (back[1][0], low, z), (back[1][0], up, z), (back[0][0], up, z)]
            )
        scene.upright(CAR, glass, (x, 0.95, z), 1.4, high - 1.05)
        for across in (-0.7, 0.7):
            scene.upright(CAR, (180, 30, 30), (x + across, 0.6, z), 0.2, 0.2)
            scene.upright(CAR, (20, 20, 20), (x + across, 0.0, z), 0.25, 0.3)

    return z, paint


def _people(scene: _Scene) -> list[Thing]:
    random, things = scene.random, list[Thing]()
    for _ in range(random.integers(0, 5)):
        x = random.choice((-1, 1)) * (scene.half_road + random.uniform(0.4, scene.pavement - 0.2))
        things.append(_person(scene, PEDESTRIAN, x, random.uniform(4, 35), 0.0))
    for _ in range(random.integers(0, 3)):
        x, z = random.choice((-1, 1)) * scene.half_road * random.uniform(0.5, 0.8), random.uniform(5, 30)
        things += [_bicycle(scene, x, z), _person(scene, BICYCLIST, x, z - 0.01, 0.45)]
    return things


def _person(scene: _Scene, kind: int, x: float, z: float, low: float) -> Thing:
    high, coat, legs = scene.random.uniform(1.5, 1.9), scene.shade(30, 200, 0.2), scene.shade(20, 110, 0.6)

    def paint() -> None:
        scene.upright(kind, legs, (x - 0.1, low, z), 0.17, 0.5 * high)
        scene.upright(kind, legs * 0.8, (x + 0.1, low, z), 0.17, 0.5 * high)
        scene.disk(kind, coat, (x, low + 0.63 * high, z), 0.27, 0.25 * high)
        scene.disk(kind, (190, 150, 125), (x, low + 0.93 * high, z), 0.13)

    return z, paint


def _bicycle(scene: _Scene, x: float, z: float) -> Thing:
    def paint() -> None:
        scene.disk(BICYCLIST, (25, 25, 25), (x, 0.36, z), 0.14, 0.36)
        scene.upright(BICYCLIST, (90, 30, 30), (x, 0.7, z), 0.5, 0.12)

    return z, paint


def _photographed(scene: _Scene, random: np.random.Generator, height: int, width: int) -> Picture:
    """The picture at its size, with haze, light, tint, noise and a little blur."""
    small = scene.picture.resize((width, height), Image.Resampling.BOX)
    if random.random() < 0.5:
        small = small.filter(ImageFilter.GaussianBlur(random.uniform(0.2, 0.7)))
    pixels = np.asarray(small).astype(np.float64)
    pixels = pixels * random.uniform(0.65, 1.15) * random.uniform(0.92, 1.08, 3) + random.uniform(-10, 20)
    grain = random.normal(0, 1, (height, width, 1)) * random.uniform(2, 7) + random.normal(0, 2, pixels.shape)
    return np.asarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def _outline(mask: Mask) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbor has another class."""
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, 1:] != mask[:, :-1]
    edge[:-1] |= mask[1:] != mask[:-1]
    return edge


def _color(color: Paint) -> Color:
    red, green, blue = (int(min(max(value, 0), 255)) for value in color)
    return red, green, blue
