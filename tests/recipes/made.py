"""Short copies of recipes, and small data in the formats of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from striate.data.roads import write_camvid
from striate.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
Run = Callable[..., None]


def shorter(name: str, folder: Path, **changes: Any) -> Path:
    """A copy of a recipe with other settings."""
    path = folder / "recipes" / f"{name}.yaml"
    path.write_text("# small\n" + replace(Recipe.read(RECIPES / f"{name}.yaml"), device="cpu", **changes).yaml())
    return path


def plain(_: Path) -> str:
    """scikit-learn's digits."""
    return "digits"


def street_views(folder: Path) -> str:
    """Road scenes in CamVid's folders."""
    write_camvid(folder / "CamVid", (120, 4, 40), height=48, width=64)
    return f"camvid:{folder / 'CamVid'}"


def membranes(folder: Path, depth: int = 30, side: int = 128) -> str:
    """A stack as ISBI's: cells that drift from slice to slice, dark membranes 5 pixels wide between them, noise."""
    random = np.random.default_rng(0)
    middles, drift = random.uniform(0, side, (40, 2)), random.normal(0, 0.7, (depth, 40, 2)).cumsum(0)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)[None, :, :, None]
    near = np.sort(np.linalg.norm(grid - (middles + drift)[:, None, None], axis=-1), -1)
    cell = near[..., 1] - near[..., 0] > 5
    noisy = np.where(cell, 150, 90) + random.normal(0, 30, cell.shape)
    tifffile.imwrite(folder / "train-volume.tif", noisy.clip(0, 255).astype(np.uint8))
    tifffile.imwrite(folder / "train-labels.tif", np.uint8(255) * cell)
    return f"isbi:{folder}"


def blocks(folder: Path) -> str:
    """The same stack as a volume."""
    return membranes(folder).replace("isbi", "isbi_volume")


def peaks(folder: Path) -> str:
    """Two factors' sequences, each around its motif, as DeepBind's files."""
    random = np.random.default_rng(0)
    for factor, motif in (("GATA", "AGATAAGA"), ("AP", "TGACTCAT")):
        for part, count in (("AC", 400), ("B", 100)):
            rows = ["FoldID\tEventID\tseq\tBound"]
            for k in range(count):
                text = "".join(random.choice(list("ACGT"), 93))
                bound, at = part == "AC" or k % 2, int(random.integers(93))
                planted = motif if bound else "".join(random.permutation(list(motif)))
                rows.append(f"A\t{k}\t{text[:at]}{planted}{text[at:]}\t{int(bound)}")
            (folder / f"{factor}_{part}.seq").write_text("\n".join(rows) + "\n")
    return f"chip:{folder}"


def gratings(folder: Path) -> str:
    """CIFAR-10's binary files with gratings of ten directions in random colors."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        rows = []
        for k in range(300):
            angle = np.pi * (k % 10 + random.uniform(-0.2, 0.2)) / 10
            wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * random.uniform(0.6, 1) + random.uniform(0, 6))
            pixels = 128 + 60 * random.uniform(-1, 1, (3, 1, 1)) * wave + random.normal(0, 20, (3, 32, 32))
            rows.append(bytes([k % 10]) + pixels.clip(0, 255).astype(np.uint8).tobytes())
        (folder / f"{name}.bin").write_bytes(b"".join(rows))
    return f"cifar10:{folder}"
