"""Predicted seconds of each algorithm: a few features of the problem times coefficients measured on this machine."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import tempfile
import warnings
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path

import torch

from striate.errors import InputError
from striate.ops.algorithms import forms
from striate.ops.algorithms.fft import pointwise, tile_size, work
from striate.ops.algorithms.im2col import BAND
from striate.ops.algorithms.setting import Problem, adjoint_problem
from striate.shapes import Tensor

FORMAT = 1
MARGIN = 1.5  # another algorithm must promise to be so many times faster than torch's own
CANDIDATES = ("direct", "channels_last", "im2col", "banded", "fft", "winograd")
CALL = 4e-5  # seconds of a call through one of our operators with its gradient
SMALLEST = 1 << 20  # multiply-adds below which another algorithm's steps cost more than they save, whatever is fitted
COLUMNS = 1 << 23  # numbers that im2col may write out when it is chosen
Coefficients = dict[str, list[float]]


def fastest(passage: str, problem: Problem, dtype: torch.dtype, device: str) -> str:
    """The algorithm of least predicted seconds; "direct" unless it is beaten by MARGIN, and for all but float32/64."""
    return _fastest(passage, problem, dtype, device)


@lru_cache(maxsize=4096)
def _fastest(passage: str, problem: Problem, dtype: torch.dtype, device: str) -> str:
    if dtype not in (torch.float32, torch.float64) or not problem.items or not problem.fields:
        return "direct"
    seconds = predictions(passage, problem, dtype, device)
    if "direct" not in seconds:
        return "direct"
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] * MARGIN < seconds["direct"] else "direct"


def pays(chosen: dict[str, str], problem: Problem, dtype: torch.dtype, device: str) -> bool:
    """Whether several passes, each by its chosen algorithm, are faster than torch's own by MARGIN, calls included."""
    ours = theirs = 0.0
    for passage, name in chosen.items():
        seconds = predictions(passage, problem, dtype, device)
        ours += seconds.get(name, 0.0) + CALL
        theirs += seconds.get("direct", 0.0)
    return ours * MARGIN < theirs


def predictions(passage: str, problem: Problem, dtype: torch.dtype, device: str) -> dict[str, float]:
    """Predicted seconds of every algorithm that is defined for the problem and was calibrated."""
    coefficients = table(device)
    seconds = {}
    for name in CANDIDATES:
        if forms.undefined(name, passage, problem, dtype) or unpromising(name, passage, problem):
            continue
        if left_out(name, problem, dtype):
            continue
        family, features = describe(name, passage, problem)
        own = coefficients.get(family) or coefficients.get(family.replace("wide ", ""))
        if own:
            seconds[name] = sum(c * f for c, f in zip(own, features, strict=True))
    return seconds


def unpromising(name: str, passage: str, problem: Problem) -> str:
    """Why an algorithm is neither timed nor predicted: hopeless there, or hungry for memory; empty if neither."""
    if passage == "input_gradient" and name != "direct":
        problem = adjoint_problem(problem)
    if name == "im2col" and problem.taps > 1 and columns(problem) > COLUMNS:
        return f"would write out {columns(problem):,} numbers, more than {COLUMNS:,}"
    if name == "channels_last" and len(problem.space) == 3 and not problem.kind.endswith(("depthwise", "few")):
        return "is slower in 3-D where channels meet"
    if name == "channels_last" and passage == "kernel_gradient" and "wide" in problem.kind:
        return "is slow for the gradient of a wide window"
    if name == "winograd" and problem.kind != "dense":
        return "pays, if at all, where many channels meet"
    if name == "fft" and problem.taps == 1:
        return "has nothing to gain at a window of one place"
    return ""


def left_out(name: str, problem: Problem, dtype: torch.dtype) -> str:
    """Why an algorithm is left out of the choice though it may be timed; empty if it is not."""
    if name != "direct" and problem.macs < SMALLEST:
        return f"does not pay below {SMALLEST:,} multiply-adds"
    if name == "channels_last" and dtype == torch.float64:
        return "is slower in float64, for which oneDNN has nothing"
    return ""


def columns(problem: Problem) -> int:
    """Numbers that im2col writes out."""
    return problem.items * problem.channels * problem.taps * math.prod(problem.output)


def describe(name: str, passage: str, problem: Problem) -> tuple[str, tuple[float, ...]]:
    """The family whose coefficients apply, and the features: calls, multiply-adds and numbers moved, or work of
    transforms and of products."""
    rank = f"{len(problem.space)}d"
    if passage == "input_gradient" and name != "direct":
        problem, passage = adjoint_problem(problem), "forward"
    if name == "fft":
        kind = "pointwise" if pointwise(problem) else "dense"
        size = tile_size(problem)
        return f"fft {passage} {rank} {kind}", (1.0, *work(problem, size))
    if name == "im2col":
        kind = "pointwise" if problem.taps == 1 else "grouped" if problem.setting.groups > 1 else "dense"
        return f"im2col {kind}", (1.0, problem.macs, problem.moved + (columns(problem) if problem.taps > 1 else 0))
    if name == "banded":
        share = (BAND + problem.taps - 1) / problem.taps
        pieces = problem.items * problem.channels * math.prod(problem.output) * (BAND + problem.taps - 1) / BAND
        return "banded", (1.0, problem.macs * share, problem.moved + pieces)
    if name == "winograd":
        grow = (6 / 4) ** len(problem.space)
        products = problem.macs / problem.taps * grow
        return f"winograd {rank}", (1.0, products, problem.moved * grow)
    return f"{name} {passage} {rank} {problem.kind}", (1.0, problem.macs, problem.moved)


def fit(features: Tensor, seconds: Tensor) -> list[float]:
    """Coefficients, none negative, of least relative error: the best of the least-squares fits to some of the features.

    features: (measurements, features), seconds: (measurements,), both float64.
    """
    rows = features / seconds[:, None]
    best, least = [0.0] * rows.shape[1], math.inf
    others = [index for index in range(rows.shape[1]) if index != 1]
    for count in range(rows.shape[1]):
        for rest in combinations(others, count):
            chosen = [1, *rest]  # never without the arithmetic, or larger problems would come for nothing
            part = rows[:, chosen]
            solution = torch.linalg.lstsq(part, torch.ones(len(rows), 1, dtype=rows.dtype), driver="gelsd").solution
            error = float(((part @ solution) - 1).square().sum())
            if bool((solution >= 0).all()) and error < least:
                best, least = [0.0] * rows.shape[1], error
                for index, value in zip(chosen, solution[:, 0].tolist(), strict=True):
                    best[index] = value
    return best


@cache
def table(device: str) -> Coefficients:
    """Coefficients of this machine if it was calibrated, else those shipped (for the processor; other devices have
    none, and there "direct" is chosen).

    A damaged file is left out with a warning that says how to replace it.
    """
    path = stored(device)
    if path.is_file():
        try:
            return _read(path.read_text())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(
                f"{path}: not a calibration of convolutions ({error}); the shipped one is used. "
                "Run striate.ops.calibrate() again, or delete the file.",
                stacklevel=2,
            )
    return _read(Path(__file__).with_name("cost.json").read_text()) if device == "cpu" else {}


def stored(device: str) -> Path:
    """Where the calibration of this machine lies: under $STRIATE_CACHE, else ~/.cache/striate."""
    folder = Path(os.environ.get("STRIATE_CACHE") or "~/.cache/striate").expanduser()
    machine = f"{_processor()} {os.cpu_count()}" if device == "cpu" else device
    if device == "cuda" and torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    return folder / f"convolution {re.sub(r'[^A-Za-z0-9.]+', '-', machine)} torch-{torch.__version__}.json"


def store(coefficients: Coefficients, path: Path) -> None:
    """Write a calibration in one step: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        rows = ",\n".join(f'  "{name}": {json.dumps(values)}' for name, values in sorted(coefficients.items()))
        file.write(f'{{\n "format": {FORMAT},\n "seconds": {{\n{rows}\n }}\n}}\n')
    Path(file.name).replace(path)


def reset() -> None:
    """Read the calibration again at the next choice."""
    from striate.ops.algorithms import operators

    table.cache_clear()
    _fastest.cache_clear()
    operators._plans.clear()


def calibrate(device: str = "cpu") -> Path:
    """Measure the algorithms on this machine (under 20 s), store the coefficients, and use them from now on.

    Returns the file. Whatever else runs meanwhile is measured, too; the number of threads is that of now.
    Raises InputError for a device that is not here.
    """
    from striate.ops.algorithms.calibration import measure

    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError("cannot calibrate", where="device", expected="'cpu', or 'cuda' where there is one", got=device)
    path = stored(device)
    store(measure(device), path)
    reset()
    return path


def _read(text: str) -> Coefficients:
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}, not {FORMAT}")
    coefficients = {str(name): [float(value) for value in row] for name, row in content["seconds"].items()}
    if not all(len(row) in (3, 4) and all(math.isfinite(v) and v >= 0 for v in row) for row in coefficients.values()):
        raise ValueError("coefficients must be three or four finite numbers, none negative")
    return coefficients


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
