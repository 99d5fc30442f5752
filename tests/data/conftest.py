from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("STRIATE_CACHE", str(folder))
    return folder


@pytest.fixture
def shared() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"{SHARED / name} is not here")
        return SHARED / name

    return find


@pytest.fixture
def write_idx() -> Callable[..., None]:
    """idx files from the published description, written byte by byte with struct."""

    def write(folder: Path, train: int = 40, test: int = 20, mark: str = "-", zipped: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        random = np.random.default_rng(0)
        for stem, count in (("train", train), ("t10k", test)):
            pixels = random.integers(0, 256, (count, 5, 4), dtype=np.uint8)
            images = struct.pack(">iiii", 2051, count, 5, 4) + pixels.tobytes()
            labels = struct.pack(">ii", 2049, count) + bytes(i % 10 for i in range(count))
            for what, raw in ((f"images{mark}idx3-ubyte", images), (f"labels{mark}idx1-ubyte", labels)):
                name = folder / f"{stem}-{what}{'.gz' * zipped}"
                name.write_bytes(gzip.compress(raw) if zipped else raw)

    return write


@pytest.fixture
def make_folder() -> Callable[..., Path]:
    """A folder source: `count` PNG pictures of 12x10 per class, each of its own color."""

    def make(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10, mode: str = "RGB") -> Path:
        random = np.random.default_rng(0)
        for name in classes:
            (root / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (12, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(root / name / f"{i:03d}.png")
        return root

    return make
