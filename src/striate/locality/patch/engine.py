"""Outputs of a network for many local changes of one input, each layer computed only where a change reaches."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.geometry.fields import spatial
from striate.geometry.running import watched
from striate.geometry.state import preserved, unwrapped
from striate.locality.patch.local import Base, Local, dense, flat, holding, mapped, others
from striate.locality.patch.place import Corners, Place
from striate.locality.patch.plan import Plan, planned
from striate.locality.patch.run import WHOLE, Memory, NotLocalError, Run
from striate.shapes import Int64, Num, Tensor

# The greatest tensor of a chunk of changes: what stays in a processor's cache, but no fewer changes than make
# convolutions efficient, unless these take too much memory.
CHUNK_BYTES, LEAST, MOST_BYTES, MOST = 8 << 20, 32, 1 << 30, 4096
FEW = 8  # changes that are tried first
HOT = 50  # times the mean magnitude of an input: a change that covers more leaves rounding errors of that size


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
        if not isinstance(model, nn.Module):
            raise InputError("this is no network", expected="a torch.nn.Module", got=type(model).__name__)
        model = unwrapped(model)
        if x.dim() < 2 or len(x) != 1:
            expected = "a tensor (1, c, *space), or tokens (1, t)"
            raise InputError("changes are those of one input", expected=expected, got=tuple(x.shape))
        paths = dict(model.named_modules(remove_duplicate=False))
        if layer not in paths:
            fix = did_you_mean(layer, (path for path in paths if path))
            raise InputError("the network has no such layer", got=repr(layer), fix=fix)
        _check_modes(model)
        self.model, self.x, self.layer = model, x.detach().clone(), layer
        self.whole = ""  # why the network cannot be run on windows
        self._memory = Memory()
        self._input = Base(self.x)
        self._axes = spatial(tuple(x.shape))
        self._space = tuple(x.shape[axis] for axis in self._axes)
        self._calls = 0  # of the layer, in one run
        self._compared = False
        with torch.no_grad(), preserved(model):
            self.base = self._output(self.x.clone())

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
        # A few in the middle, which no border cuts, tell how much memory a change takes, and that all is right.
        if len(rest) and (window not in self._memory.most or not self._compared):
            off = np.abs(2 * corners + np.asarray(window) - np.asarray(space)).max(1)
            rest = np.argsort(off, kind="stable")
            yield self._checked(corners, np.sort(rest[:FEW]), values)
            rest = np.sort(rest[FEW:])
        size = self._memory.most.get(window, 1)
        most = max(1, min(MOST, max(LEAST, CHUNK_BYTES // size), MOST_BYTES // size))
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
        """The first outputs, of which one is compared with a run of the whole network: that of the greatest change."""
        part = _part(values, which)
        found = self._outputs(corners[which], part)
        if not self.whole and not self._compared:
            sizes = [values.shape[axis] for axis in self._axes]
            there = torch.cat([self.x[self._window(0, corner, sizes)][None] for corner in corners[which].tolist()])
            far = (part.double() - there.double()).abs().nan_to_num().flatten(1).amax(1)
            most = int(far.argmax())
            one = corners[which[most : most + 1]], part[most : most + 1] if len(part) > 1 else part
            again, right = self._outputs(*one), self._densely(*one)  # by now with batch norms folded
            apart = max(_apart(found[most : most + 1], right, self.base), _apart(again, right, self.base))
            if not self.whole and apart > _rounding(right.dtype):
                self.whole = f"on windows the output would be {apart:.1g} of its scale off (please report this network)"
                found = self._densely(corners[which], part)
        self._compared = True
        self._memory.most.setdefault(tuple(values.shape[axis] for axis in self._axes), 1)
        return torch.from_numpy(which), found

    def _outputs(self, corners: Corners, values: Tensor) -> Tensor:
        """The outputs of a chunk of changes."""
        while not self.whole:
            try:
                return self._locally(corners, values)
            except NotLocalError as error:
                if error.number == WHOLE or error.number in self._memory.dense:
                    self.whole = error.why or "an operation cannot be done on windows"
                self._memory.dense.add(error.number)
            except InputError:
                raise
            except Exception as error:  # the forward does with tensors what only real ones can
                self.whole = f"{type(error).__name__}: {error}".partition("\n")[0]
        return self._densely(corners, values)

    def _locally(self, corners: Corners, values: Tensor) -> Tensor:
        n, axes = len(corners), self._axes
        run = Run(n, tuple(values.shape[axis] for axis in axes), self._memory)
        full = values.expand(n, *values.shape[1:]).permute(0, *axes, *others(values.dim(), axes))
        full = full.clone(memory_format=torch.contiguous_format)
        changed = holding(run, self._input, axes, Place(corners, full.shape[1 : 1 + len(axes)]), full=full)
        if changed.place is not None and changed.place.covers(changed.space):
            changed.become(dense(run, changed.whole()))
        if self.x.is_floating_point() and changed.place is not None:
            run.hot = bool(self._input.at(axes, changed.place).abs().max() > HOT * self.x.abs().mean())
        with torch.no_grad(), preserved(self.model), contextlib.ExitStack() as watching:
            if not self._memory.known:  # the plan names layers
                running = watching.enter_context(watched(self.model))
                run.path = lambda: running()[0]
            found = self._output(changed)
        if not isinstance(found, Local):  # does not depend on the input
            return found.expand(n, *found.shape[1:])
        if found.is_absent:
            raise NotLocalError(found.origin)
        self._memory.readers.setdefault(found.number, set()).add(-1)
        self._memory.learn()
        return found.whole()

    def _densely(self, corners: Corners, values: Tensor) -> Tensor:
        """By brute force, one by one: some networks mix the items of a batch."""
        made = []
        sizes = [values.shape[axis] for axis in self._axes]
        for i, corner in enumerate(corners.tolist()):
            changed = self.x.clone()
            changed[self._window(0, corner, sizes)] = values[i if len(values) > 1 else 0]
            with torch.no_grad(), preserved(self.model):
                made.append(self._output(changed))
        return torch.cat(made)

    def _window(self, item: int, corner: Sequence[int], sizes: Sequence[int]) -> tuple[int | slice, ...]:
        """The index of a window of one item."""
        where = [slice(a, a + size) for a, size in zip(corner, sizes, strict=True)]
        return item, *[slice(None)] * (self.x.dim() - 1 - len(where)), *where

    def _output(self, x: Tensor) -> Tensor:
        """The first tensor that the layer returns, at its last call, after which the network need not go on."""
        seen: list[Any] = []

        def keep(_module: nn.Module, _args: Any, out: Any) -> None:
            seen.append(_kept(out) if self.layer else out)
            if self.layer and len(seen) == self._calls:
                raise ReachedError

        hook = self.model.get_submodule(self.layer).register_forward_hook(keep)
        try:
            self.model(x)
        except ReachedError:
            pass
        finally:
            hook.remove()
        self._calls = max(self._calls, len(seen))
        found = [t for t in flat(seen[-1:]) if isinstance(t, torch.Tensor)]
        if not found:
            where = self.layer or type(self.model).__name__
            got = type(seen[-1]).__name__ if seen else "it was not called"
            raise InputError("the layer returns no tensor", where=where, got=got)
        return found[0]


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


class ReachedError(Exception):
    """The layer has been called for the last time."""


def _kept(out: Any) -> Any:
    """A layer's output as it is now: what follows may write into it."""

    def copy(thing: Any) -> Any:
        if not isinstance(thing, Local):
            return thing.clone() if isinstance(thing, torch.Tensor) else thing
        made = Local(thing.shape, thing, thing.run)
        made.become(thing)
        if made.place is None and made.full is not None:
            made.full = made.full.clone()
        return made

    return mapped(copy, out)


def _apart(found: Tensor, right: Tensor, base: Tensor) -> float:
    """Greatest difference over the greatest magnitude; infinite where only one is a number."""
    if not right.numel():
        return 0.0
    if not right.is_floating_point():
        return 0.0 if torch.equal(found, right) else math.inf
    same = (found == right) | (found.isnan() & right.isnan())
    scale = max(float(t.abs().nan_to_num(posinf=0.0).max()) for t in (right, base))
    worst = (found - right).abs().nan_to_num(nan=math.inf).masked_fill(same, 0).max()
    return float(worst) / max(scale, 1e-300)


def _rounding(dtype: torch.dtype) -> float:
    """What differences between two orders of adding may grow to."""
    known = {torch.float64: 1e-8, torch.float32: 1e-4}
    return known.get(dtype, 20 * torch.finfo(dtype).eps if dtype.is_floating_point else 0.0)


def _part(values: Tensor, which: np.ndarray) -> Tensor:
    return values if len(values) == 1 else values[torch.from_numpy(which).to(values.device)]


def _corners(starts: Any, values: Tensor, x: Tensor, axes: Sequence[int]) -> Corners:
    """The starts as an array, checked."""
    starts = torch.as_tensor(starts)
    if starts.dtype != torch.int64:
        raise InputError("starts are whole numbers", expected="torch.int64", got=starts.dtype)
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


def _draws(module: nn.Module) -> bool:
    """Whether a layer draws numbers, or takes the statistics of a batch, while it trains."""
    always = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)
    sometimes = (nn.RNNBase, nn.MultiheadAttention)
    return isinstance(module, always) or (isinstance(module, sometimes) and module.dropout > 0)


def _check_modes(model: nn.Module) -> None:
    for path, module in model.named_modules():
        unset = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        if unset or (module.training and _draws(module)):
            raise InputError(
                "this layer has no statistics of its own" if unset else "this layer is in training mode",
                where=f"{path or 'the network itself'} ({type(module).__name__})",
                fix="Each change would depend on the others of its batch; give the layer running statistics."
                if unset
                else "Changes would mix, or be drawn; call model.eval() first.",
            )
