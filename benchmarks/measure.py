"""What every benchmark shares: the machine's peaks, spreads, and where results go and come from."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import striate

RESULTS = Path(__file__).parent / "results"
THREADS = 2


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and greatest, and the values."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": [round(v, 4) for v in values],
    }


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """Spread of slow/fast, pair by pair as they were run in turn."""
    return spread([s / f for s, f in zip(slow, fast, strict=True)])


def peaks() -> dict[str, float]:
    """GFLOP/s of a large float32 matrix product and of a 3x3 convolution, the best of ten."""
    a = torch.rand(2048, 2048)
    x, w = torch.rand(16, 64, 56, 56), torch.rand(64, 64, 3, 3)
    return {
        "matmul": 2 * 2048**3 / best(lambda: a @ a) / 1e9,
        "convolution": 2 * 16 * 64 * 54 * 54 * 64 * 9 / best(lambda: F.conv2d(x, w)) / 1e9,
    }


def best(work: Callable[[], object], runs: int = 10) -> float:
    """Least seconds of several runs."""
    times = []
    for _ in range(runs + 2):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[2:])


def write(name: str, result: dict[str, Any], versions: Sequence[str] = ()) -> Path:
    """Write results/NAME.json with machine, versions and commit."""
    from importlib.metadata import version

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    place = {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "striate": striate.__version__,
        "torch": torch.__version__,
        **{package: version(package) for package in versions},
        "python": platform.python_version(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "peak_gflops": {name: round(value) for name, value in peaks().items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"where": place, **result}, indent=1) + "\n")
    print(path)
    return path


def processor() -> str:
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def read(name: str) -> dict[str, Any]:
    """A result, or nothing where it was not measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def span(values: dict[str, Any], form: str = "{:.1f}") -> str:
    """Median and range."""
    return f"{form.format(values['median'])} ({form.format(values['min'])} to {form.format(values['max'])})"


def foot(found: dict[str, Any]) -> str:
    """What a table's last line says of the machine."""
    where = found.get("where", {})
    return f"{where.get('threads')} threads of {where.get('processor')}, torch {where.get('torch')}."
