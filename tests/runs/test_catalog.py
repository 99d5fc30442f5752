"""Runs side by side, also where some are damaged."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs import RunList, RunSummary, list_runs, read_run


def printed(table: object) -> str:
    console = Console(file=io.StringIO(), width=400)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def damaged(folder: Path, name: str, text: str) -> None:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(Recipe(seed=7).yaml())
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("metrics.jsonl", '{"kind": "epoch"\n', "cannot read the metrics of a run: .*JSONDecodeError"),
        ("metrics.jsonl", '{"step": 1}\n', "cannot read the metrics of a run: .*KeyError"),
        ("metrics.jsonl", '{"kind": "epoch", "seconds": "x"}\n', "cannot read the metrics of a run: .*TypeError"),
        ("recipe.yaml", "a: [", "the recipe is no YAML"),
        ("model.json", "{", "cannot read the card of a model"),
    ],
)
def test_a_damaged_run_does_not_hide_the_others(
    run_folder: Path, tmp_path: Path, name: str, text: str, problem: str
) -> None:
    shutil.copytree(run_folder, tmp_path / "a")
    damaged(tmp_path / "b", name, text)
    with pytest.raises(InputError, match=problem):
        read_run(tmp_path / "b")
    found = list_runs([tmp_path])
    assert [run.state for run in found.runs] == ["trained", "unreadable"]
    whole, broken = json.loads(json.dumps(found.json()))
    assert (whole["problem"], broken["recipe"]) == ("", None)
    assert problem.partition(":")[0] in broken["problem"]
    assert found.differing == ()
    assert "unreadable" in printed(found.table())


@pytest.mark.parametrize(
    ("scores", "validation", "measure", "test", "watched"),
    [
        ({"n": 9, "psnr": 30.5, "ssim": 0.5, "loss": 0.1}, {"loss": 0.2, "psnr": 29.25}, "psnr", "30.5000", "29.2500"),
        ({"n": 9, "angle_error": 0.5, "mae": 1.0}, {"loss": 1.0, "mae": 1.5}, "angle error", "0.5000", "–"),
        ({}, {"loss": 0.25, "mean_iou": 0.75}, "mean IoU", "–", "0.7500"),
        ({}, {"loss": 0.25}, "loss", "–", "0.2500"),
        ({}, {}, "–", "–", "–"),
    ],
)
def test_each_task_has_its_own_measure(
    scores: dict[str, float], validation: dict[str, float], measure: str, test: str, watched: str
) -> None:
    runs = RunList((RunSummary("a", "trained", Recipe(), 1, 2.0, validation, scores),))
    (row,) = [line for line in printed(runs.table()).splitlines() if "trained" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[2:6] == [measure, test, str(scores.get("n", 0)), watched]
    assert runs.json()[0]["measure"] == measure.lower().replace(" ", "_").replace("–", "")


def test_brackets_in_a_path_are_no_markup(tmp_path: Path) -> None:
    for name in ("photo[final]", "[bold]", "[]"):
        damaged(tmp_path / name, "recipe.yaml", Recipe(data=f"folder:[/x]{name}").yaml())
    shown = printed(list_runs([tmp_path]).table())
    for text in ("photo[final]", "[bold]", "folder:[/x][]"):
        assert text in shown
