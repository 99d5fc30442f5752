"""Outputs of a network for many local changes of one input, each layer computed only where a change reaches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from striate.errors import InputError, did_you_mean
from striate.geometry.fields import spatial
from striate.geometry.state import preserved, unwrapped
from striate.locality.patch.local import Base, Local, dense, flat, holding, others
from striate.locality.patch.place import Corners, Place
from striate.locality.patch.plan import Plan, planned
from striate.locality.patch.run import Memory, NotLocalError, Run
from striate.shapes import Int64, Num, Tensor

# The greatest tensor of a chunk of changes: what stays in a processor's cache, but no fewer changes than make
# convolutions efficient, unless these take too much memory.
CHUNK_BYTES, LEAST, MOST_BYTES, MOST = 8 << 20, 32, 1 << 30, 4096
FEW = 8  # changes that are tried first
WRONG = 1e-3  # of the output's scale: no rounding


class PatchEngine:
    """A network at one input `x` (1, c, *space), ready for any number of local changes of it.

    `layer` is the path of the module whose output is wanted (that of its last call), "" for the network's own; of
    several tensors it is the first. `base` is that output for x itself, (1, …).

    The forward runs as it is written, on tensors that claim the shape of a batch of changed inputs and hold, for
    each, only the window in which it differs. Each operation is done on windows, in the cheapest form ("difference",
    "values", "low rank", "running sum", …; see `plan`); from a layer on of which a change reaches everything, or for
    which there is no rule, all is computed densely. Outputs equal those of changed inputs run one by one to rounding
    (1e-5 of the greatest in float32); one is compared at the start, and a network that cannot be run on windows is
    run on whole inputs (`plan().whole` says why). Batch norms are folded into the convolutions before them.

    Raises InputError for an x that is no single item, for an unknown layer, and for layers in training mode that
    would mix the changes of a batch, or draw numbers.

    Source: incremental inference as in Nakandala et al. 2019 (Krypton) and Nair et al. 2022 (fastISM), here for any
    module, and with differences.
    """

    base: Tensor

    def __init__(self, model: nn.Module, x: Num[Tensor, "_ *sides"], *, layer: str = "") -> None:
        model = unwrapped(model)
        if x.dim() < 2 or len(x) != 1:
            expected = "a tensor (1, c, *space), or tokens (1, t)"
            raise InputError("changes are those of one input", expected=expected, got=tuple(x.shape))
        paths = dict(model.named_modules(remove_duplicate=False))
        if layer not in paths:
            fix = did_you_mean(layer, (path for path in paths if path))
            raise InputError("the network has no such layer", got=repr(layer), fix=fix)
        _check_modes(model)
        self.model, self.x, self.layer = model, x.detach(), layer
        self.whole = ""  # why the network cannot be run on windows
        self._memory = Memory()
        self._input = Base(self.x)
        self._axes = spatial(tuple(x.shape))
        self._space = tuple(x.shape[axis] for axis in self._axes)
        self._stack: list[str] = [""]
        with torch.no_grad(), preserved(model):
            self.base = self._output(self.x)

    def on(self, x: Num[Tensor, "_ *sides"]) -> PatchEngine:
        """The same network at another input of this shape: what was learned of the network is kept."""
        if x.shape != self.x.shape:
            raise InputError("another input has the same shape", expected=tuple(self.x.shape), got=tuple(x.shape))
        other = PatchEngine(self.model, x, layer=self.layer)
        other._memory = self._memory.elsewhere()
        other.whole = self.whole
        return other

    def evaluate(
        self, starts: Int64[Tensor, "p r"], values: Num[Tensor, "_ *window"]
    ) -> Iterator[tuple[Int64[Tensor, "m"], Tensor]]:
        """Chunk by chunk, which changes these are (m,) and their outputs (m, …); in an order that suits the work.

        Change i sets x[..., starts[i] : starts[i] + window] to values[i]; `values` of length 1 serve all.

        Raises InputError for windows that do not lie within x, and values that do not fit it.
        """
        space, window = self._space, tuple(values.shape[axis] for axis in self._axes)
        corners = _corners(starts, values, self.x, self._axes)
        rest = np.arange(len(corners))
        if not self._memory.most and len(rest):  # a few in the middle, which no border cuts, tell what a change takes
            off = np.abs(2 * corners + np.asarray(window) - np.asarray(space)).max(1)
            rest = np.argsort(off, kind="stable")
            yield self._checked(corners, np.sort(rest[:FEW]), values)
            rest = np.sort(rest[FEW:])
        most = min(MOST, max(LEAST, CHUNK_BYTES // max(self._memory.most, 1)))
        most = max(1, min(most, MOST_BYTES // max(self._memory.most, 1)))
        for chunk in grouped(corners[rest], window, space, most) if len(rest) else ():
            which = rest[chunk]
            yield torch.from_numpy(which), self._outputs(corners[which], _part(values, which))

    def __call__(self, starts: Int64[Tensor, "p r"], values: Num[Tensor, "_ *window"]) -> Tensor:
        """All outputs (p, …) of changes as `evaluate` takes them."""
        made = self.base.new_empty((len(starts), *self.base.shape[1:]))
        for which, outputs in self.evaluate(starts, values):
            made[which.to(made.device)] = outputs
        return made

    def plan(self) -> Plan:
        """What was done with each operation, per change, for all changes so far; for one in the middle before any."""
        if not self._memory.steps and not self.whole:
            middle = [size // 2 for size in self._space]
            self(torch.tensor([middle]), self.x[self._window(0, middle, [1] * len(middle))][None])
        return planned(self._memory.steps.values(), self.whole)

    def _checked(self, corners: Corners, which: np.ndarray, values: Tensor) -> tuple[Tensor, Tensor]:
        """The first outputs, of which one is compared with a run of the whole network."""
        part = _part(values, which)
        try:
            found = self._outputs(corners[which], part)
        except InputError:
            raise
        except Exception as error:  # the forward does with tensors what only real ones can
            self.whole = f"{type(error).__name__}: {error}".partition("\n")[0]
            found = self._densely(corners[which], part)
        if not self.whole:
            # Once more, by now with batch norms folded.
            again, right = (way(corners[which[:1]], part[:1]) for way in (self._outputs, self._densely))
            if not (_near(found[:1], right, self.base) and _near(again, right, self.base)):
                self.whole = "on windows the output is another (please report this network)"
                found = self._densely(corners[which], part)
        self._memory.most = max(self._memory.most, 1)
        return torch.from_numpy(which), found

    def _outputs(self, corners: Corners, values: Tensor) -> Tensor:
        """The outputs of a chunk of changes."""
        while not self.whole:
            try:
                return self._locally(corners, values)
            except NotLocalError as error:
                if error.number < 0:
                    self.whole = "it writes through a view, or does not execute the same operations each time"
                else:
                    self._memory.dense.add(error.number)
        return self._densely(corners, values)

    def _locally(self, corners: Corners, values: Tensor) -> Tensor:
        n, axes = len(corners), self._axes
        run = Run(n, self._memory, lambda: self._stack[-1])
        full = values.expand(n, *values.shape[1:]).permute(0, *axes, *others(values.dim(), axes)).contiguous()
        changed = holding(run, self._input, axes, Place(corners, full.shape[1 : 1 + len(axes)]), full=full)
        if changed.place is not None and changed.place.covers(changed.space):
            changed.become(dense(run, changed.whole()))
        with torch.no_grad(), preserved(self.model), self._watching():
            found = self._output(changed)
        if not isinstance(found, Local):  # does not depend on the input
            return found.expand(n, *found.shape[1:])
        if found.is_absent:
            raise NotLocalError(found.origin)
        self._memory.readers.setdefault(found.number, set()).add(-1)
        self._memory.learn()
        return found.whole()

    def _densely(self, corners: Corners, values: Tensor) -> Tensor:
        """By brute force, a few at a time."""
        made = []
        for first in range(0, len(corners), FEW):
            several = corners[first : first + FEW]
            xs = self.x.repeat(len(several), *[1] * (self.x.dim() - 1))
            for i, corner in enumerate(several.tolist()):
                sizes = [values.shape[axis] for axis in self._axes]
                xs[self._window(i, corner, sizes)] = values[first + i if len(values) > 1 else 0]
            with torch.no_grad(), preserved(self.model):
                made.append(self._output(xs))
        return torch.cat(made)

    def _window(self, item: int, corner: Sequence[int], sizes: Sequence[int]) -> tuple[int | slice, ...]:
        """The index of a window of one item."""
        where = [slice(a, a + size) for a, size in zip(corner, sizes, strict=True)]
        return item, *[slice(None)] * (self.x.dim() - 1 - len(where)), *where

    def _output(self, x: Tensor) -> Tensor:
        """The first tensor that the layer returns."""
        seen: list[Any] = []
        module = self.model.get_submodule(self.layer)
        hook = module.register_forward_hook(lambda _module, _args, out: seen.append(out))
        try:
            self.model(x)
        finally:
            hook.remove()
        found = [t for t in flat(seen[-1:]) if isinstance(t, torch.Tensor)]
        if not found:
            where = self.layer or type(self.model).__name__
            raise InputError("the layer returns no tensor", where=where, got=type(seen[-1]).__name__ if seen else None)
        return found[0]

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Know the module that is running, during the first pass: the plan names it."""
        if self._memory.known:
            yield
            return
        paths = {id(module): path for path, module in self.model.named_modules()}

        def enter(module: nn.Module, _args: Any) -> None:
            self._stack.append(paths.get(id(module), self._stack[-1]))

        def leave(_module: nn.Module, _args: Any, _out: Any) -> None:
            self._stack.pop()

        hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._stack[:] = [""]


def grouped(starts: Corners, window: Sequence[int], space: Sequence[int], most: int) -> list[np.ndarray]:
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


def _near(found: Tensor, right: Tensor, base: Tensor) -> bool:
    """Whether two outputs differ by no more than rounding may; NaN counts as any number."""
    if not right.numel() or not right.is_floating_point():
        return torch.equal(found, right)
    scale = max(float(right.abs().nan_to_num().max()), float(base.abs().nan_to_num().max()))
    return float((found - right).abs().nan_to_num().max()) <= WRONG * scale


def _part(values: Tensor, which: np.ndarray) -> Tensor:
    return values if len(values) == 1 else values[torch.from_numpy(which).to(values.device)]


def _corners(starts: Tensor, values: Tensor, x: Tensor, axes: Sequence[int]) -> Corners:
    """The starts as an array, checked."""
    space, window = ([t.shape[axis] for axis in axes] for t in (x, values if values.dim() == x.dim() else x))
    fits = values.dim() == x.dim() and all(values.shape[a] == x.shape[a] for a in range(1, x.dim()) if a not in axes)
    if not fits or len(values) not in (1, len(starts)) or values.dtype != x.dtype:
        expected = f"{x.dtype} ({len(starts)} or 1, {'c, ' * (len(axes) < x.dim() - 1)}*window) as x {tuple(x.shape)}"
        raise InputError(
            "the new values do not fit the input", expected=expected, got=f"{values.dtype} {tuple(values.shape)}"
        )
    if starts.shape != (len(starts), len(space)):
        raise InputError("a change starts at one index an axis", expected=len(space), got=tuple(starts.shape))
    corners: Corners = starts.cpu().numpy()
    beyond = (corners < 0) | (corners + np.asarray(window) > np.asarray(space))
    if beyond.any() or 0 in window:
        where = corners[beyond.any(1)][:1].tolist()
        got = f"windows of {'x'.join(map(str, window))}" + (f", one at {where[0]}" if where else "")
        raise InputError("a change lies within the input", expected=f"within {tuple(space)}", got=got)
    return corners


TRAINED = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def _check_modes(model: nn.Module) -> None:
    for path, module in model.named_modules():
        unset = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        if isinstance(module, TRAINED) and (module.training or unset):
            raise InputError(
                "this layer has no statistics of its own" if unset else "this layer is in training mode",
                where=f"{path or 'the network itself'} ({type(module).__name__})",
                fix="Each change would depend on the others of its batch; give the layer running statistics."
                if unset
                else "Changes would mix, or be drawn; call model.eval() first.",
            )
