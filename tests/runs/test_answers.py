"""Predictions in a folder: all of them, those that are left, and what must not be mixed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import striate
from striate.data import Framing, Meaning, Pictures
from striate.errors import InputError, StorageError
from striate.ops.color import srgb_to_lab
from striate.runs import Card, answer_files, predict
from striate.runs.answers import LINES, TABLE
from striate.tasks import Colored, FindKeypoints, Localize


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("a.png", "b.png", "b/a.png", "c.png")]
    (tmp_path / "b").mkdir()
    for k, file in enumerate(made):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (12, 12), dtype=np.uint8)).save(file)
    return made


def test_an_interrupted_run_goes_on(run_folder: Path, files: list[Path], tmp_path: Path) -> None:
    model, card = striate.load(run_folder)
    whole = answer_files(model, card, files, tmp_path / "whole", top_k=2)
    parts = tmp_path / "parts"
    answer_files(model, card, files[:2], parts, top_k=2)
    with (parts / LINES).open("a") as lines:
        lines.write('{"file": "half')  # killed while it wrote
    seen = []
    found = answer_files(model, card, files, parts, top_k=2, progress=lambda *told: seen.append(told))
    assert found == whole
    assert seen == [(1, 2, "predicting"), (2, 2, "predicting")]
    assert (parts / TABLE).read_bytes() == (tmp_path / "whole" / TABLE).read_bytes()
    with (parts / TABLE).open() as table:
        rows = list(csv.DictReader(table))
    expected = predict(model, card, files, top_k=2)
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert [row["class"] for row in rows] == [prediction.classes[0] for prediction in expected]
    assert [json.loads(line)["classes"] for line in (parts / LINES).read_text().splitlines()] == [
        list(prediction.classes) for prediction in expected
    ]


def test_what_must_not_be_mixed(run_folder: Path, files: list[Path], tmp_path: Path) -> None:
    model, card = striate.load(run_folder)
    answer_files(model, card, files[:1], tmp_path / "out", top_k=2)
    with pytest.raises(InputError, match="predictions of another model or with other options: .*Choose another --out"):
        answer_files(model, card, files, tmp_path / "out", top_k=3)
    with pytest.raises(InputError, match=r"a file is given twice: got .*a\.png"):
        answer_files(model, card, [files[0], files[0]], tmp_path / "twice")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file.*Choose another --out"):
        answer_files(model, card, files, tmp_path / "file")
    with pytest.raises(InputError, match="no such image: .*nowhere"):
        answer_files(model, card, [*files, tmp_path / "nowhere.png"], tmp_path / "out2", batch_size=1)
    assert len((tmp_path / "out2" / LINES).read_text().splitlines()) == len(files)  # nothing is lost


def test_interrupted_anywhere_the_bytes_are_the_same(run_folder: Path, tmp_path: Path) -> None:
    """Within a batch, too, whose last digits depend on what is computed together."""
    model, card = striate.load(run_folder)
    files = [tmp_path / f"{k}.png" for k in range(11)]
    for k, file in enumerate(files):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (12, 12), dtype=np.uint8)).save(file)
    whole = tmp_path / "whole"
    answer_files(model, card, files, whole, batch_size=7)
    for stop in (1, 5, 8):
        parts = tmp_path / f"stopped at {stop}"

        def interrupt(number: int, *_: object, stop: int = stop) -> None:
            if number == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            answer_files(model, card, files, parts, batch_size=7, progress=interrupt)
        assert len((parts / LINES).read_text().splitlines()) == stop
        answer_files(model, card, files, parts, batch_size=7)
        assert {f.name: f.read_bytes() for f in parts.iterdir()} == {f.name: f.read_bytes() for f in whole.iterdir()}


def test_the_table_has_all_that_the_folder_has(run_folder: Path, files: list[Path], tmp_path: Path) -> None:
    model, card = striate.load(run_folder)
    answer_files(model, card, files[:3], tmp_path / "out")
    assert [line["file"] for line in answer_files(model, card, files[3:], tmp_path / "out")] == [str(files[3])]
    with (tmp_path / "out" / TABLE).open() as table:
        assert [row["file"] for row in csv.DictReader(table)] == [str(file) for file in files]


class Says(nn.Module):
    """A network that answers the same to everything."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.values.expand(len(x), -1)


def test_places_are_told_in_the_pixels_of_the_picture(tmp_path: Path) -> None:
    """A 24x16 picture (turned upright: 16 wide) of which an 8x8 network sees the middle 16x16, halved."""
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    file = tmp_path / "a.jpg"
    Image.new("RGB", (24, 16)).save(file, exif=exif)
    pictures = Pictures((1, 8, 8), (0.5,), (0.25,))
    points = FindKeypoints(("corner", "middle"), (8, 8))
    card = Card("none", {}, Meaning("points", points.point_names), pictures, points.json())
    model = Says(-1.0, -1.0, 0.0, 0.0)
    (line,) = answer_files(model, card, [file], tmp_path / "points")
    assert line["points"] == {"corner": [0.5, 4.5], "middle": [8.5, 12.5]}  # whole numbers are centers of pixels
    with Image.open(tmp_path / "points" / "a.png") as drawn:
        assert drawn.width * 24 == drawn.height * 16
    (inside,) = predict(model, card, [np.zeros((8, 8), np.uint8)])
    assert inside.points == ((0.0, 0.0), (4.0, 4.0))
    box = Localize(("cat",), (8, 8), convention="upper_left")
    card = Card("none", {}, Meaning("box", ("cat",)), pictures, box.json())
    (line,) = answer_files(Says(0.25, 0.5, 0.5, 0.5, 9.0, 0.0), card, [file], tmp_path / "box")
    assert line["box"] == [4.0, 12.0, 12.0, 20.0]


def test_colors_are_laid_over_the_fine_lightness(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    fine = Image.fromarray(random.integers(0, 256, (40, 60), dtype=np.uint8)).convert("RGB")
    framing = Framing((20, 20), (40, 60))
    lab = torch.cat([torch.full((1, 20, 20), 50.0), torch.full((1, 20, 20), 20.0), torch.zeros(1, 20, 20)])
    whole = torch.from_numpy(np.array(fine)).permute(2, 0, 1) / 255
    colored, _ = Colored(lab).within(framing).save(tmp_path, "a", whole)
    found = torch.from_numpy(np.array(Image.open(colored))).permute(2, 0, 1)[None] / 255
    seen = srgb_to_lab(found)[0]
    assert seen.shape == (3, 40, 60)
    assert seen[1:, :, :10].abs().max() < 1  # the network did not look there
    given = srgb_to_lab(whole[None])[0, 0]
    middle = (given > 40) & (given < 80)
    middle[:, :10] = middle[:, 50:] = False
    assert (seen[0] - given)[middle].abs().max() < 2  # every pixel keeps its own lightness
    assert (seen[1][middle] - 20).abs().mean() < 2
