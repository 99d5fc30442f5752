"""What the benchmarks of `striate.locality` share: rows run in turn, alone if wanted, and merged into one file."""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import measure
from striate.locality.patch.engine import PatchEngine

ROUNDS = 3  # after one that warms
ERROR = 1e-5  # of the greatest output

Row = Callable[[bool], dict[str, Any]]


def run(name: str, rows: Mapping[str, Row], versions: Sequence[str]) -> None:
    """The command line: all rows, or those of --only, merged into results/NAME.json; --quick: tiny, nothing written."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--only", nargs="+", choices=list(rows), default=list(rows), metavar="ROW", help=", ".join(rows)
    )
    parser.add_argument("--quick", action="store_true", help="tiny networks, one round, no file: does it run?")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(measure.THREADS)
    for row in chosen.only:
        found = rows[row](chosen.quick)
        faster = {side: round(ratio["median"], 2) for side, ratio in found["times_faster"].items()}
        print(f"{row}: {faster} times faster, of the ceiling {found.get('share_of_ceiling')}", flush=True)
        if not chosen.quick:  # After each row: a later one may fail.
            path = measure.RESULTS / f"{name}.json"
            before = json.loads(path.read_text())["rows"] if path.exists() else {}
            merged = before | {row: found}
            measure.write(name, {"rows": {row: merged[row] for row in rows if row in merged}}, versions)


def in_turn(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, A B A B …, after a first round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            found = side()
            if number:
                seconds[name].append(found)
    return seconds


def compared(seconds: Mapping[str, Sequence[float]], ceilings: Mapping[str, float | None]) -> dict[str, Any]:
    """Spreads, how many times the others are slower than "striate", and what part of the ceilings by MACs the tight
    loop's ratio is."""
    faster = {name: measure.ratios(values, seconds["striate"]) for name, values in seconds.items() if name != "striate"}
    found = {"seconds": {name: measure.spread(values) for name, values in seconds.items()}, "times_faster": faster}
    share = {name: round(faster["tight loop"]["median"] / value, 3) for name, value in ceilings.items() if value}
    return {**found, "ceiling_by_macs": dict(ceilings), "share_of_ceiling": share}


def timed(work: Callable[[], object]) -> float:
    """Seconds of one run."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def best_batch(batches: Sequence[int], seconds: Callable[[int], float]) -> int:
    """The batch with the least seconds per change, of three tries in turn."""
    tries = [[seconds(batch) for batch in batches] for _ in range(3)]
    least = [min(times) for times in zip(*tries, strict=True)]
    return batches[least.index(min(least))]


def error(found: Tensor, expected: Tensor, scale: Tensor) -> float:
    """Greatest difference over the greatest magnitude of `scale`, which must be small."""
    worst = float((found - expected).abs().max() / scale.abs().max())
    assert worst <= ERROR, worst
    return worst


def plan_of(model: nn.Module, x: Tensor) -> Any:
    """What the engine did with each layer, where it tells."""
    plan = getattr(PatchEngine(model, x), "plan", None)
    return plan().json() if plan else None


def with_signal(model: nn.Module) -> nn.Module:
    """Weights that neither fade nor blow up what runs through: an error must be seen at the output."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model.eval()
