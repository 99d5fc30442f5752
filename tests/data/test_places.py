"""The sources of places, through load_data: splits, targets, meanings, and what moves with the picture."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from striate.data import SOURCES, load_data
from striate.data.sources import places
from striate.data.steering import HEIGHT, WIDTH
from striate.zoo.landmarks import POINTS

WriteIdx = Callable[..., None]


def test_clutter(tmp_path: Path, write_idx: WriteIdx, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path)
    monkeypatch.setattr(places, "SCENES", {"train": 30, "test": 12})
    data = load_data(f"clutter:{tmp_path}", validation=0.2)
    assert data.validation is not None
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 12)
    assert data.shape == (1, 64, 64)
    assert data.meaning.kind == "box"
    assert data.class_names == tuple("0123456789")
    assert data.test.names[0] == "scene test 0"
    again = load_data(f"clutter:{tmp_path}", validation=0.2)
    assert torch.equal(again.train.inputs, data.train.inputs)
    assert SOURCES["clutter"].task == "localize"


def test_kaggle_faces_keep_missing_points(tmp_path: Path) -> None:
    header = [f"{name}_{axis}" for name in POINTS for axis in "xy"]
    path = tmp_path / "training.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "Image"])
        for i in range(10):
            row = [str(5 + i + k % 3) for k in range(30)]
            row[2 * i : 2 * i + 2] = ["", ""]
            writer.writerow([*row, " ".join(str((i + k) % 256) for k in range(96 * 96))])
    data = load_data(f"kaggle_faces:{path}", validation=0, test=0.2)
    assert data.test is not None
    assert (len(data.train), len(data.test), data.shape) == (8, 2, (1, 96, 96))
    assert data.train.targets.isnan().sum() == 16
    assert data.meaning.names == POINTS
    assert len(data.meaning.mirror) == 15


def test_faces_can_be_cross_validated_and_mirrored(shared_data: Path) -> None:
    parts = [
        load_data(f"faces:{shared_data}/face-landmarks68/faces.tar", validation=0, folds=3, fold=k) for k in range(3)
    ]
    tested = [name for part in parts for name in part.tested.names]
    assert len(tested) == len(set(tested)) == 69
    assert not set(parts[0].train.names) & set(parts[0].tested.names)
    assert parts[0].meaning.mirror[0] == 16
    small = load_data(f"faces:{shared_data}/face-landmarks68/faces.tar", validation=0, image_size=48)
    assert small.shape == (1, 48, 48)
    assert small.train.targets.max() < 48  # points are resized with their pictures


def test_steering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "DRIVES", {"train": 20, "test": 5})
    data = load_data("steering", validation=0)
    assert data.test is not None
    assert (len(data.train), len(data.test), data.shape) == (20, 5, (3, HEIGHT, WIDTH))
    assert data.class_names == ("inverse_radius",)
