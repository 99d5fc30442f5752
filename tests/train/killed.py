"""Run by test_kill.py in a process of its own: trains in forked children, which it kills at random moments.

Forking after the slow imports, and before torch starts its threads, makes a training start in milliseconds.

    python killed.py CALM KILLED KILLS      two folders: a training left alone, and one killed so many times
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import lightning_fabric  # noqa: F401
import sklearn.datasets
import sklearn.model_selection  # noqa: F401
import torch

from striate.recipe import Recipe
from striate.runs import CHECKPOINT, conclude, open_session, record
from striate.train import fit

RECIPE = Recipe(
    model="keras_mnist:width=0.25", image_size=12, epochs=8, batch_size=100, optimizer="adamw", ema=0.95, device="cpu"
)


def train(folder: Path) -> None:
    """What `striate train --resume` does, with a checkpoint after every step."""
    torch.set_num_threads(1)
    session = open_session(RECIPE)
    checkpoint = folder / CHECKPOINT
    resume = checkpoint if checkpoint.is_file() else None
    steps = fit(session.model, session.task, session.data, RECIPE, resume=resume)
    for _ in record(steps, folder, checkpoint_seconds=0):
        pass
    conclude(session, folder)


def survives(folder: Path, seconds: float) -> bool:
    """Train in a child that is killed after `seconds`; whether it came to its end before."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(folder)
            code = 0
        finally:
            os._exit(code)
    killer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
    killer.start()
    _, status = os.waitpid(child, 0)
    killer.cancel()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("the training failed")
    return os.WIFEXITED(status)


def main(calm: Path, killed: Path, kills: int) -> None:
    began = time.monotonic()
    assert survives(calm, 600)
    whole = time.monotonic() - began
    moments = random.Random(0)
    while kills:
        if survives(killed, moments.uniform(0.05, 0.6) * whole):
            for name in ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl"):
                (killed / name).unlink()
        else:
            kills -= 1
            print("killed", flush=True)
    assert survives(killed, 600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
