"""Predictions in a folder: all of them, those that are left, and what must not be mixed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import striate
from striate.errors import InputError, StorageError
from striate.runs import answer_files, predict
from striate.runs.answers import LINES, TABLE


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
