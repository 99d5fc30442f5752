"""Pictures of which nothing is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from striate.data.images import find_pictures
from striate.data.items import Listing, Meaning
from striate.data.sources.folders import printable
from striate.data.sources.registry import source
from striate.errors import InputError


@source("photos", task="restore", augment=("flip",))
def photos(path: Path) -> Listing:
    """Pictures without labels: every file under PATH that Pillow reads, however deep.

    Hidden and other files do not count. For tasks that make their own targets (restore, colorize). Pictures of any size
    are brought to the image size, and `augment: [cut:0.25]` draws random windows of them. InputError for a folder
    without pictures.
    """
    if not path.is_dir():
        raise InputError("a photos source is not a folder", where=path, fix="Pass the folder of the pictures.")
    files = find_pictures(path)
    if not files:
        raise InputError("a folder without pictures", where=path, fix="Pass the folder that holds them, at any depth.")
    names = tuple(printable(file) for file in files)
    none = torch.empty(len(files), 0)
    return Listing(tuple(files), none, Meaning("none"), names, {"train": np.arange(len(files))})
