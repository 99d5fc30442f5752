"""Outputs of a network for many local changes of one input, each layer computed only where a change reaches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from striate.errors import InputError
from striate.locality.local import Base, Local, flat, holding
from striate.locality.place import Place
from striate.locality.run import AliasedError, Memory, Run

# A chunk's greatest tensor: it should stay in the processor's cache, and below what is mapped anew at each allocation.
CHUNK_BYTES = 16 << 20
FEW = 8


class PatchEngine:
    """see later"""

    def __init__(self, model: nn.Module, x: torch.Tensor, *, layer: str = "") -> None:
        self.model, self.x, self.layer = model, x, layer
        self.memory = Memory()
        self.dense_because = ""
        self._input = Base(x)
        self._axes = tuple(range(2, x.dim()))
        self._stack: list[str] = [""]
        with torch.no_grad():
            self.base = self._output(model, x)

    def evaluate(self, starts: torch.Tensor, values: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Chunk by chunk which changes they are, int64 (m,), and their outputs (m, …)."""
        corners = starts.cpu().numpy()
        window, space = values.shape[2:], self.x.shape[2:]
        rest = np.arange(len(corners))
        chunks: list[np.ndarray] = []
        if not self.memory.most:  # the first few tell how much memory one takes
            chunks, rest = [rest[:FEW]], rest[FEW:]
        while True:
            for chunk in chunks:
                index = torch.from_numpy(chunk)
                part = values if len(values) == 1 else values[index.to(values.device)]
                yield index, self._chunk(corners[chunk], part)
            if not len(rest):
                return
            most = max(2, min(4096, CHUNK_BYTES // self.memory.most))
            chunks, rest = [rest[c] for c in grouped(corners[rest], window, space, most)], rest[:0]

    def __call__(self, starts: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """All outputs (p, …)."""
        parts = list(self.evaluate(starts, values))
        out = torch.cat([o for _, o in parts])
        return torch.empty_like(out).index_copy_(0, torch.cat([i for i, _ in parts]).to(out.device), out)

    def _chunk(self, corners: np.ndarray, values: torch.Tensor) -> torch.Tensor:
        n = len(corners)
        while True:
            run = Run(n, self.memory, lambda: self._stack[-1])
            place = Place(corners, values.shape[2:])
            rows = values.expand(n, *values.shape[1:]).permute(0, *self._axes, 1).contiguous()
            local = holding(run, self._input, self._axes, place, full=rows)
            try:
                with torch.no_grad(), self._watching():
                    out = self._output(self.model, local)
            except AliasedError as error:
                self.memory.dense.add(error.number)
                continue
            if isinstance(out, Local):
                self.memory.readers.setdefault(out.number, set()).add(-1)
            self.memory.learn()
            return out.whole() if isinstance(out, Local) else out.expand(n, *out.shape[1:])

    def _output(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if not self.layer:
            return next(t for t in flat((model(x),)) if isinstance(t, torch.Tensor))
        seen: list[Any] = []
        hook = model.get_submodule(self.layer).register_forward_hook(lambda _m, _a, out: seen.append(out))
        try:
            model(x)
        finally:
            hook.remove()
        return next(t for t in flat((seen[-1],)) if isinstance(t, torch.Tensor))

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        paths = {id(m): p for p, m in self.model.named_modules()}

        def enter(module: nn.Module, _: Any) -> None:
            self._stack.append(paths.get(id(module), self._stack[-1]))

        def leave(_module: nn.Module, _args: Any, _out: Any) -> None:
            self._stack.pop()

        hooks = [
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave, always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._stack[:] = [""]


def grouped(starts: np.ndarray, window: Sequence[int], space: Sequence[int], most: int) -> list[np.ndarray]:
    """Changes in chunks of at most `most` that reach alike: equally far from the border, which cuts windows off."""
    axes = range(starts.shape[1])
    if len(axes) == 1:
        order = np.argsort(starts[:, 0], kind="stable")
        return np.array_split(order, range(most, len(order), most))
    side = max(1, int(most ** (1 / len(axes))))
    blocks = []
    for axis in axes:
        places, place = np.unique(starts[:, axis], return_inverse=True)
        far = np.minimum(places, space[axis] - window[axis] - places)
        rank = np.argsort(np.argsort(far, kind="stable"))
        blocks.append(rank[place] // side)
    order = np.lexsort(blocks[::-1])
    cells = np.stack(blocks, 1)[order]
    ends = [*(np.flatnonzero((cells[1:] != cells[:-1]).any(1)) + 1).tolist(), len(order)]
    chunks, begin, last = [], 0, 0
    for end in ends:
        if end - begin > most and last > begin:
            chunks.append(order[begin:last])
            begin = last
        while end - begin > most:
            chunks.append(order[begin : begin + most])
            begin += most
        last = end
    return [*chunks, order[begin:]]


__all__ = ["InputError", "PatchEngine"]
