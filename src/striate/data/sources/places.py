"""Pictures whose targets are places or quantities: digits among clutter, points on faces, roads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from striate.data.faces import SIDE, Faces, mirror_of, read_kaggle, read_landmarks
from striate.data.items import Listing, Meaning
from striate.data.scenes import scenes
from striate.data.sources.parts import digits_in_parts, in_parts
from striate.data.sources.registry import source
from striate.data.steering import HEIGHT, WIDTH, drives

SCENES = {"train": 8_000, "test": 1_000}
DRIVES = {"train": 3_000, "test": 500}


@source("clutter", size=(64, 64), task="localize")
def clutter(path: Path) -> Listing:
    """Composed scenes of 64x64 grey pixels: one MNIST digit or none among fragments and noise; PATH as for mnist.

    8,000 scenes of training digits, 1,000 of test digits; see `striate.data.scenes`. They are made anew each time, the
    same each time.
    """
    parts = {}
    for seed, ((part, count), (pictures, labels)) in enumerate(zip(SCENES.items(), digits_in_parts(path), strict=True)):
        parts[part] = scenes(pictures.numpy(), labels.numpy(), count, seed=seed)
    return in_parts("scene", parts, Meaning("box", tuple("0123456789")))


@source("faces", size=(SIDE, SIDE), task="keypoints")
def faces(path: Path) -> Listing:
    """Faces of 96x96 grey pixels with their points; PATH is a folder (or tar) of pictures and one CSV of points.

    The table is that of PyTorch's data-loading tutorial: image_name,part_0_x,part_0_y,... Each face is cut out around
    its points; see `striate.data.faces`.
    """
    return _points(read_landmarks(path))


@source("kaggle_faces", size=(SIDE, SIDE), task="keypoints")
def kaggle_faces(path: Path) -> Listing:
    """Kaggle's facial keypoints; PATH is its CSV: columns NAME_x, NAME_y and Image, empty fields are missing points."""
    return _points(read_kaggle(path))


@source("steering", has_path=False, size=(HEIGHT, WIDTH), task="regress:unit=inverse_radius")
def steering() -> Listing:
    """3,500 synthetic views of roads, 66x200 RGB, and the inverse turning radius to steer (1/m, positive: right).

    Drawn by a formula, none of it a photograph; see `striate.data.steering`. A mirrored picture would need the
    opposite command, which no augmentation gives: leave flip out.
    """
    parts = {part: drives(count, seed) for seed, (part, count) in enumerate(DRIVES.items())}
    return in_parts("drive", parts, Meaning("values", ("inverse_radius",)))


def _points(found: Faces) -> Listing:
    meaning = Meaning("points", found.point_names, mirror_of(found.point_names))
    return Listing(found.pictures, found.points, meaning, found.names, {"train": np.arange(len(found.names))})
