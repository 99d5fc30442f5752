"""The recipes, narrow and short, on data that are generated or come with scikit-learn, each to a stated threshold.

Those whose data another file generates stand there: places, sound, series, texts, clips, colors and noise
(tests/train, tests/tasks, tests/data, tests/runs); scripts of their own in test_scripts.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.recipes.made import Run, blocks, gratings, membranes, peaks, plain, shorter, street_views

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Small:
    """A recipe through its script: the measure that it has to reach, which a trivial answer has at `trivial`."""

    name: str
    script: str
    data: Callable[[Path], str]
    measure: str
    least: float
    trivial: float
    changes: dict[str, Any] = field(default_factory=dict)


ROWS = [
    Small("keras_mnist", "claim", plain, "accuracy", 0.9, 0.1,
          {"model": "keras_mnist:width=0.25", "image_size": 28, "epochs": 3.0, "batch_size": 32}),
    Small("keras_fcn", "claim", plain, "accuracy", 0.8, 0.1,
          {"model": "keras_fcn:width=0.25", "image_size": 28, "epochs": 10.0, "batch_size": 32}),
    Small("cifar10", "claim", gratings, "accuracy", 0.8, 0.1,
          {"model": "cifar_fast:width=0.25", "epochs": 4.0, "batch_size": 50, "augment": ("crop:2",),
           "tta": ("shift",)}),
    Small("deepsea", "claim", peaks, "auroc", 0.8, 0.5, {"model": "deepsea:width=0.1,dropout=0.1", "epochs": 12.0,
          "batch_size": 20, "learning_rate": 0.003}),
    Small("deepsea", "claim", peaks, "auroc", 0.8, 0.5, {"model": "basset:width=0.1,dropout=0.1", "epochs": 16.0,
          "batch_size": 20, "learning_rate": 0.005, "inputs": "bases:length=200"}),
    Small("isbi", "segmentation", membranes, "mean_iou", 0.6, 0.4,
          {"model": "unet:width=0.0625,batch_norm=true", "image_size": 128, "epochs": 15.0,
           "augment": ("flip:vertical=true", "cut:0.5")}),
    Small("isbi_volume", "claim", blocks, "mean_iou", 0.7, 0.4, {"model": "vnet:width=0.125", "epochs": 4.0}),
    # All road, the commonest class.
    Small("roads_fcn8s", "segmentation", street_views, "mean_iou", 0.1, 0.042,
          {"model": "fcn8s:width=0.03", "epochs": 3.0, "batch_size": 4}),
    Small("roads_dilated", "segmentation", street_views, "mean_iou", 0.1, 0.042,
          {"model": "dilated_context:width=0.03,mirror=true", "epochs": 1.0, "batch_size": 4}),
    Small("camvid", "segmentation", street_views, "mean_iou", 0.1, 0.042,
          {"model": "segnet:width=0.125", "image_size": 48, "epochs": 6.0, "batch_size": 4,
           "validation": 0.0, "augment": ("flip",)}),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.changes['model'].partition(':')[0]}")
def test_a_small_training_reaches(row: Small, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = shorter(row.name, tmp_path, data=row.data(tmp_path / "data"), **row.changes)
    options = {"claim": ["--seeds", 1], "segmentation": ["--out", tmp_path]}[row.script]
    run(row.script, path, *options, *(["--folds", 0] if row.name == "isbi" else []))
    (found,) = json.loads(path.with_suffix(".json").read_text())["runs"]
    scores = found["scores"] if "scores" in found else next(iter(found["parts"].values()))
    assert scores[row.measure] > row.least > row.trivial
    assert "# Claim: " in path.read_text()
    assert row.script == "claim" or (tmp_path / f"{row.name}.png").stat().st_size > 5_000
