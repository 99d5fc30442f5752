"""Seconds of whole networks, in turn, and of their layers one by one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx
from torch.fx import GraphModule, Node

from striate.acceleration.graph import layer

Run = Callable[[], object]
RUNS = 30  # at most, of each side


def now() -> float:
    """Seconds, when all that was asked of an accelerator is done."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def in_turn(runs: Sequence[Run], budget: float) -> list[float]:
    """Least seconds of each, run in turn (A B A B …), warmed, three times at least, while the budget lasts.

    The least: what else the machine does only adds.
    """
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + budget
    while len(times[0]) < 3 or (time.perf_counter() < end and len(times[0]) < RUNS):
        for run, seconds in zip(runs, times, strict=True):
            began = now()
            run()
            seconds.append(now() - began)
    return [min(seconds) for seconds in times]


class Clock(fx.Interpreter):
    """Runs a graph and adds up the seconds of each layer."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.seconds: dict[str, float] = defaultdict(float)

    def run_node(self, n: Node) -> object:
        """One operation, timed."""
        began = now()
        found = super().run_node(n)
        if n.op == "call_function":
            self.seconds[layer(n)] += now() - began
        return found


def of_layers(module: GraphModule, tensors: Sequence[Tensor], runs: int = 3) -> dict[str, float]:
    """Least seconds of each layer, in the order in which they run."""
    found: list[dict[str, float]] = []
    for _ in range(runs + 1):
        clock = Clock(module)
        clock.run(*tensors)
        found.append(dict(clock.seconds))
    return {name: min(seconds[name] for seconds in found[1:]) for name in found[0]}
