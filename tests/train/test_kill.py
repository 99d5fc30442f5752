"""A training that is killed at random moments ends as one that was left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from striate.runs import read_metrics

KILLS = 20


def test_killed_twenty_times_the_weights_are_bit_identical(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, script, calm, killed, str(KILLS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed") == KILLS
    assert (calm / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    assert without_times(calm) == without_times(killed)


def without_times(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_metrics(folder)]
