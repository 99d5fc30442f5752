"""Sets of items to batches: each is a pure function of (seed, epoch, number), however it is made."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from striate.data.items import Input, Items
from striate.errors import InputError
from striate.shapes import Int64, Tensor

# Inputs, targets and a generator to inputs and targets: an augmentation (of units), or the example that a task makes.
Change = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Network inputs, their targets and their positions in the set, all on one device."""

    inputs: Tensor
    targets: Tensor
    index: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.index)


class Batches:
    """The batches of a set, epoch after epoch.

    With a `seed` each epoch has its own order and `augment` (see `build_augmentation`) its own draws; without
    one the items come in order, unchanged. `example` (of a task) makes network inputs and targets of what is then
    standardized; without a seed its draws are the same in every epoch. Batch k of epoch e depends on (seed, e, k)
    and on nothing else: not on where the epoch was started, not on `workers`, and no global random state is read or
    changed. So a run resumes exactly with `epoch(e, start=k)`.

    A set of at most `resident_bytes` is moved to `device` once; a larger one (a memory-mapped file) is read
    by `workers` processes (None: one per processor but one, at most 4; 0: by this one). Both give the same
    batches bit for bit.

    >>> pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    >>> from striate.data import Meaning, Pictures
    >>> items = Items(pixels, torch.arange(5) % 2, Meaning("class", ("even", "odd")), "abcde")
    >>> batches = Batches(items, Pictures((1, 1, 1), mean=(0.0,), std=(1.0,)), batch_size=2)
    >>> [batch.index.tolist() for batch in batches.epoch(0)]
    [[0, 1], [2, 3], [4]]
    >>> [batch.index.tolist() for batch in batches.epoch(0, start=2)]
    [[4]]
    """

    def __init__(
        self,
        items: Items,
        preprocess: Input,
        *,
        batch_size: int,
        device: str | torch.device = "cpu",
        seed: int | None = None,
        augment: Change | None = None,
        example: Change | None = None,
        drop_last: bool = False,
        workers: int | None = None,
        resident_bytes: int = 1 << 30,
    ) -> None:
        if batch_size < 1:
            raise InputError("batch size is not positive", expected="at least 1", got=batch_size)
        if drop_last and batch_size > len(items):
            found = f"batches of {batch_size}, {len(items)} items"
            raise InputError("no full batch", expected="at most one batch of all items", got=found)
        made = tuple(preprocess.normalize(items.inputs[:1]).shape[1:])
        if made != preprocess.shape:
            raise InputError("items do not fit the preprocessing", expected=preprocess.shape, got=made)
        if augment is not None and seed is None:
            raise InputError("augmentation without a seed", expected="seed=<a whole number>", got="seed=None")
        if seed is not None and seed < 0:
            raise InputError("seed is negative", expected="at least 0", got=seed)
        if workers is not None and workers < 0:
            raise InputError("number of workers is negative", expected="at least 0", got=workers)
        self.items, self.preprocess, self.augment, self.example = items, preprocess, augment, example
        self.batch_size, self.drop_last, self.seed = batch_size, drop_last, seed
        self.device = torch.device(device)
        self.resident = items.inputs.nbytes <= resident_bytes
        self.workers = _workers() if workers is None else workers
        self._inputs = items.inputs.to(self.device) if self.resident else items.inputs
        self._targets = items.targets.to(self.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        full, rest = divmod(len(self.items), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` (from 0), from batch `start` on."""
        if number < 0 or not 0 <= start <= len(self):
            expected = f"an epoch of at least 0, a start in 0 to {len(self)}"
            raise InputError("no such batch", expected=expected, got=f"epoch {number}, start {start}")
        return self._epoch(number, start)

    def _epoch(self, number: int, start: int) -> Iterator[Batch]:
        order = self._order(number)
        here = order.to(self.device)
        parts = [slice(k * self.batch_size, (k + 1) * self.batch_size) for k in range(start, len(self))]
        raw = self._resident(here, parts) if self.resident else self._streamed(order, parts)
        for k, part, stored in zip(range(start, len(self)), parts, raw, strict=True):
            index = here[part]
            yield Batch(*self._finish(stored, self._targets.index_select(0, index), number, k), index)

    def _order(self, epoch: int) -> Int64[Tensor, " n"]:
        if self.seed is None:
            return torch.arange(len(self.items))
        return torch.randperm(len(self.items), generator=seeded(self.seed, 0, epoch))

    def _resident(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        return (self._inputs.index_select(0, order[part]) for part in parts)

    def _streamed(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        loader = DataLoader(
            Rows(self._inputs),
            sampler=[order[part] for part in parts],
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=_fork() if self.workers else None,
            generator=torch.Generator(),  # else the loader draws from the global one
        )
        return (rows.to(self.device, non_blocking=True) for rows in loader)

    def _finish(self, stored: Tensor, targets: Tensor, epoch: int, k: int) -> tuple[Tensor, Tensor]:
        if self.augment is None or self.seed is None:
            inputs = self.preprocess.normalize(stored)
        else:
            units = self.preprocess.units(stored)
            inputs, targets = self.augment(units, targets, seeded(self.seed, 1, epoch, k))
            inputs = self.preprocess.standardize(inputs.contiguous())
        if self.example is None:
            return inputs, targets
        draws = seeded(0, 2, 0, k) if self.seed is None else seeded(self.seed, 2, epoch, k)
        return self.example(inputs, targets, draws)


class Rows(Dataset[Tensor]):
    """What a worker process does: gather the rows of one batch."""

    def __init__(self, stored: Tensor) -> None:
        self.stored = stored

    def __getitem__(self, index: Int64[Tensor, " n"]) -> Tensor:
        return self.stored.index_select(0, index)


def seeded(seed: int, *key: int) -> torch.Generator:
    """A CPU generator seeded by a hash of (seed, key): sums would give (1, 2) and (2, 1) the same draws."""
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _fork() -> str | None:
    # A forked worker shares the mapped file; a spawned one would be sent a copy of all of it.
    return "fork" if sys.platform == "linux" else None


def _workers() -> int:
    return min(4, max(1, (os.cpu_count() or 1) - 1)) if _fork() else 0
