"""Randomness as a pure function of where training stands, so that resuming needs no generator state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(*keys: int) -> int:
    """One seed from a seed and any number of keys (below 2**32); different keys give unrelated seeds.

    >>> len({derive(0), derive(0, 0), derive(0, 1), derive(1, 0), derive(2**32)})
    5
    """
    state = np.random.SeedSequence(keys[0], spawn_key=keys[1:]).generate_state(1, np.uint64)
    return int(state[0] >> 1)


@contextmanager
def seeded(*keys: int, device: torch.device | None = None) -> Iterator[None]:
    """Run the body with torch's global generators seeded from `keys`, then put them back as they were.

    Covers the CPU generator and, on a CUDA `device`, that device's. (torch.manual_seed visits every kind of
    accelerator and takes 0.1 ms, too much for every update.)
    """
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [generator.get_state() for generator in generators]
    seed = derive(*keys)
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
