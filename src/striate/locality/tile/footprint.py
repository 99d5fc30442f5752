"""Bytes that a forward holds at a time, seen while it runs: what Python's references keep alive, and scratch."""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# oneDNN pads channels to blocks of so many where tensors are not channels_last.
BLOCK = 16


class Footprint(TorchDispatchMode):
    """The most bytes alive at a time while it is entered, and those of the largest result."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped by torch.compile's machinery, whose import takes longer than a small network."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.largest = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor)
        self._alive = {key: kept for key, kept in self._alive.items() if not _gone(kept[0])}
        scratch = 0
        if func is torch.ops.aten.convolution.default:
            scratch = _scratch(args[0], args[1], out)
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()) + scratch)
        return out

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        if reference.cdata not in self._alive or _gone(self._alive[reference.cdata][0]):
            self._alive[reference.cdata] = reference, storage.nbytes()
            self.largest = max(self.largest, storage.nbytes())


def _gone(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]


def _scratch(x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> int:
    """Bytes that a convolution takes for itself: copies in blocks of channels, or without oneDNN columns."""
    if not x.is_cpu:
        return 0
    if x.dtype != torch.float32:
        small = min(x, out, key=torch.Tensor.numel)
        return small[:, 0].numel() * weight.numel() // min(weight.shape[:2]) * x.itemsize
    if x.dim() > 2 and not out.is_contiguous() and _is_channels_last(out):
        return 0
    return sum(t[:, 0].numel() * -(-t.shape[1] // BLOCK) * BLOCK * t.itemsize for t in (x, out))


def _is_channels_last(tensor: torch.Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.dim() in formats and tensor.is_contiguous(memory_format=formats[tensor.dim()])
