"""Sets of pictures to batches: each is a pure function of (seed, epoch, number), however it is made."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from striate.data.images import ImageSet, Preprocess
from striate.errors import InputError
from striate.shapes import Float, Int64, Tensor, UInt8

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """Normalized pictures, their labels and their positions in the set, all on one device."""

    images: Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"] | Float[Tensor, "n k"]
    index: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.images)


class Batches:
    """The batches of a set, epoch after epoch.

    With a `seed` each epoch has its own order and `augment` (see `build_augmentation`) its own draws; without
    one the items come in order, unchanged. Batch k of epoch e depends on (seed, e, k) and on nothing else:
    not on where the epoch was started, not on `workers`, and no global random state is read or changed. So a
    run resumes exactly with `epoch(e, start=k)`.

    A set of at most `resident_bytes` is moved to `device` once; a larger one (a memory-mapped file) is read
    by `workers` processes (None: one per processor but one, at most 4; 0: by this one). Both give the same
    batches bit for bit.

    >>> pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    >>> items = ImageSet(pixels, torch.arange(5) % 2, ("even", "odd"), "abcde")
    >>> batches = Batches(items, Preprocess((1, 1, 1), mean=(0.0,), std=(1.0,)), batch_size=2)
    >>> [batch.index.tolist() for batch in batches.epoch(0)]
    [[0, 1], [2, 3], [4]]
    >>> [batch.index.tolist() for batch in batches.epoch(0, start=2)]
    [[4]]
    """

    def __init__(
        self,
        items: ImageSet,
        preprocess: Preprocess,
        *,
        batch_size: int,
        device: str | torch.device = "cpu",
        seed: int | None = None,
        augment: Augment | None = None,
        drop_last: bool = False,
        workers: int | None = None,
        resident_bytes: int = 1 << 30,
    ) -> None:
        if batch_size < 1:
            raise InputError("batch size is not positive", expected="at least 1", got=batch_size)
        if drop_last and batch_size > len(items):
            found = f"batches of {batch_size}, {len(items)} images"
            raise InputError("no full batch", expected="at most one batch of all images", got=found)
        shape = tuple(items.images.shape[1:])
        if shape != preprocess.shape:
            raise InputError("images do not fit the preprocessing", expected=preprocess.shape, got=shape)
        if augment is not None and seed is None:
            raise InputError("augmentation without a seed", expected="seed=<a whole number>", got="seed=None")
        if seed is not None and seed < 0:
            raise InputError("seed is negative", expected="at least 0", got=seed)
        if workers is not None and workers < 0:
            raise InputError("number of workers is negative", expected="at least 0", got=workers)
        self.items, self.preprocess, self.augment = items, preprocess, augment
        self.batch_size, self.drop_last, self.seed = batch_size, drop_last, seed
        self.device = torch.device(device)
        self.resident = items.images.nbytes <= resident_bytes
        self.workers = _workers() if workers is None else workers
        self._images = items.images.to(self.device) if self.resident else items.images
        self._labels = items.labels.to(self.device)

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
        for k, part, images in zip(range(start, len(self)), parts, raw, strict=True):
            index = here[part]
            yield Batch(self._finish(images, number, k), self._labels.index_select(0, index), index)

    def _order(self, epoch: int) -> Int64[Tensor, " n"]:
        if self.seed is None:
            return torch.arange(len(self.items))
        return torch.randperm(len(self.items), generator=seeded(self.seed, 0, epoch))

    def _resident(self, order: Tensor, parts: Sequence[slice]) -> Iterator[UInt8[Tensor, "n c h w"]]:
        return (self._images.index_select(0, order[part]) for part in parts)

    def _streamed(self, order: Tensor, parts: Sequence[slice]) -> Iterator[UInt8[Tensor, "n c h w"]]:
        loader = DataLoader(
            Rows(self._images),
            sampler=[order[part] for part in parts],
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=_fork() if self.workers else None,
            generator=torch.Generator(),  # else the loader draws from the global one
        )
        return (images.to(self.device, non_blocking=True) for images in loader)

    def _finish(self, images: UInt8[Tensor, "n c h w"], epoch: int, k: int) -> Float[Tensor, "n c h w"]:
        if self.augment is None or self.seed is None:
            return self.preprocess.normalize(images)
        changed = self.augment(images.float().div_(255), seeded(self.seed, 1, epoch, k))
        return self.preprocess.standardize(changed.contiguous())


class Rows(Dataset[Tensor]):
    """What a worker process does: gather the rows of one batch."""

    def __init__(self, images: UInt8[Tensor, "n c h w"]) -> None:
        self.images = images

    def __getitem__(self, index: Int64[Tensor, " n"]) -> UInt8[Tensor, "n c h w"]:
        return self.images.index_select(0, index)


def seeded(seed: int, *key: int) -> torch.Generator:
    """A CPU generator seeded by a hash of (seed, key): sums would give (1, 2) and (2, 1) the same draws."""
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _fork() -> str | None:
    # A forked worker shares the mapped file; a spawned one would be sent a copy of all of it.
    return "fork" if sys.platform == "linux" else None


def _workers() -> int:
    return min(4, max(1, (os.cpu_count() or 1) - 1)) if _fork() else 0
