from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from striate.data import Listing, load_data
from striate.data.sources import read_source
from striate.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures at several depths and sizes, a hidden one and a text."""
    for number, name in enumerate(("b.png", "deep/down/a.jpg", "deep/c.png", ".hidden/d.png", "e.PNG")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 30), (200, 50 * number, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_pictures_at_any_depth_without_labels(folder: Path) -> None:
    listing = read_source(f"photos:{folder}")
    assert isinstance(listing, Listing)
    assert [Path(name).name for name in listing.names] == ["b.png", "c.png", "a.jpg", "e.PNG"]
    assert listing.meaning.kind == "none"
    assert listing.targets.shape == (4, 0)


def test_they_are_split_and_sized(folder: Path, tmp_path: Path) -> None:
    data = load_data(f"photos:{folder}", image_size=24, test=0.25, validation=0, cache=tmp_path / "cache")
    assert data.shape == (3, 24, 24)
    assert (len(data.train), len(data.tested)) == (3, 1)


def test_what_is_no_folder_of_pictures_is_told(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"a folder without pictures: .*Pass the folder that holds them, at any depth\."
    ):
        read_source(_empty(folder))
    with pytest.raises(InputError, match=r"a photos source is not a folder: .*notes.txt\. Pass the folder of the pict"):
        read_source(f"photos:{folder / 'notes.txt'}")
    with pytest.raises(InputError, match="no such file or folder"):
        read_source(f"photos:{folder / 'nowhere'}")
    with pytest.raises(InputError, match="a folder of pictures has no size of its own"):
        load_data(f"photos:{folder}")


def _empty(folder: Path) -> str:
    (folder / "empty").mkdir()
    return f"photos:{folder / 'empty'}"
