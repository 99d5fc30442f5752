"""A classifier of crops, at every position of an image in one pass, with the same weights.

    scan(model)(image)[..., i, j]  =  model(image[..., i : i + h, j : j + w])

The network's forward runs as it is written, on a tensor that stands for all crops and holds the maps that they share
(crops.py); fully connected layers become convolutions, and strides split the map into fragments.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from striate.errors import InputError
from striate.geometry.failure import DiedError, place
from striate.geometry.fields import fields
from striate.geometry.graph import Graph
from striate.geometry.shapes import like
from striate.geometry.size import CONVOLUTIONS, advised, native
from striate.geometry.state import State, preserved, unwrapped
from striate.geometry.trace import trace
from striate.locality.scan.crops import Crops, Lattice, Sizes, by, cut
from striate.locality.scan.frames import Framed
from striate.shapes import Float

BORDERS = (None, "crops", "image")
# What one pass may hold where nothing else is said; less memory is fresh each time than with more.
BUDGET = 1 << 28


def scan(
    model: nn.Module,
    *,
    patch: Sequence[int] | None = None,
    stride: int | Sequence[int] = 1,
    borders: str | None = None,
    budget_bytes: int | None = None,
) -> Scan:
    """The module that maps images (n, c, *space) to what `model` says of each of their crops, exactly.

    `patch` is the size of a crop, (h, w) say; without it the least one is taken that the network accepts, where its
    fully connected layers tell. The output has one value for each position of a crop: (n, k, *(space - patch + 1)) for
    a classifier that returns (n, k). With `stride` s it has those at each s-th position only, at less cost: the
    network's own stride gives the sliding window of a network made convolutional.

    A padded network gives each crop zeros at its own border, where its neighbors have pixels. `borders="crops"` keeps
    that, exactly: what no border touches is shared, the rest is computed for each crop; and from a layer on that leaves
    nothing to share (a norm over the crop, a gate, the last small maps) the network goes on crop by crop (`apart`).
    `borders="image"` has zeros around the image only: as fast as without padding, and not what the network says of a
    crop wherever its border counts.

    The network runs in eval mode without gradients and is left as it was; its weights are shared. Images are taken in
    tiles of crops such that one pass holds at most `budget_bytes` (by default 256 MiB), weights and output aside.

    Raises InputError for a network that pads where `borders` is not given, naming the layer; for one that does not tell
    its crop, or does not take it; for a batch norm without statistics; and where the budget is too small.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 13 * 13, 10))
    >>> scan(net)(torch.rand(1, 1, 60, 100)).shape
    torch.Size([1, 10, 33, 73])
    """
    return Scan(model, patch, stride, borders, budget_bytes)


class Scan(nn.Module):
    """See `scan`. `patch` is the crop's size, `fragments` what the network's strides come to, an axis each.

    After a pass `apart` has the layers from which crops were computed one by one.
    """

    def __init__(
        self,
        model: nn.Module,
        patch: Sequence[int] | None,
        stride: int | Sequence[int],
        borders: str | None,
        budget_bytes: int | None,
    ) -> None:
        super().__init__()
        self.network = unwrapped(model)
        with torch.inference_mode(False):
            self.borders, self.budget_bytes = _checked(self.network, borders, budget_bytes), budget_bytes
            first = next((m for m in self.network.modules() if isinstance(m, CONVOLUTIONS)), None)
            self.patch = _patch(self.network, patch)
            self.stride = _strides(stride, len(self.patch))
            self.apart: list[str] = []
            self.fragments: Sizes = ()
            self._reached: list[list[int]] = []
            self._tiles: dict[Sizes, tuple[int, ...]] = {}
            if first is not None:
                self._prepare(first.in_channels, certain=False)

    def forward(self, image: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *positions"]:
        """What the network says of each crop."""
        positions = self._positions(image)
        with _quiet(self.network):
            if not self.fragments:
                self._prepare(image.shape[1], certain=True)
            size = self._tile_size(image, positions)
            scores: Tensor | None = None
            for start in itertools.product(*map(range, (0,) * len(size), (image.shape[0], *positions), size)):
                part = self._part(image, start, size, positions)
                if scores is None:
                    scores = part.new_empty(image.shape[0], *part.shape[1 : -len(positions)], *positions)
                items, *cells = (slice(first, first + count) for first, count in zip(start, size, strict=True))
                cut(scores[items], cells).copy_(part)
        assert scores is not None
        return scores

    def extra_repr(self) -> str:
        return f"patch={self.patch}, stride={self.stride}, borders={self.borders!r}"

    def _prepare(self, channels: int, certain: bool) -> None:
        """What the strides come to, and a first pass without numbers: what cannot be shared is told at once, or with
        the first image, where the channels of an input are not those of the first convolution."""
        shape = (channels, *self.patch)
        try:
            graph = trace(self.network, shape)
        except DiedError as error:
            if not certain and error.features is None:
                return
            raise advised(self.network, shape, error) from error
        reached = _reached(graph, len(self.patch))
        self._reached = [
            sorted({t // math.gcd(s, t) for t in strides}) for strides, s in zip(reached, self.stride, strict=True)
        ]
        self.fragments = tuple(math.lcm(*numbers) for numbers in self._reached)
        dtype = next((p.dtype for p in self.network.parameters()), torch.get_default_dtype())
        with _quiet(self.network):
            self._peak(torch.empty((1, *shape), dtype=dtype, device="meta"), (1, *self.fragments))

    def _positions(self, image: Tensor) -> Sizes:
        rank = len(self.patch)
        if image.dim() != rank + 2:
            expected = f"{rank + 2} axes: batch, channels and {rank} of space"
            raise InputError("this is no image for the scanner", expected=expected, got=f"shape {tuple(image.shape)}")
        if any(side < size for side, size in zip(image.shape[2:], self.patch, strict=True)):
            raise InputError(
                "the image is smaller than the crop",
                expected=f"at least {by(self.patch)}",
                got=by(image.shape[2:]),
                fix="Pad the image, or pass another patch.",
            )
        sides = zip(image.shape[2:], self.patch, self.stride, strict=True)
        return tuple((side - size) // step + 1 for side, size, step in sides)

    def _part(
        self, image: Tensor, start: Sizes, size: Sizes, positions: Sizes, weights: dict[str, Tensor] | None = None
    ) -> Tensor:
        """The scores of one tile: items and positions from `start` on. `weights` stand for the network's own."""
        counts = [min(count, p - first) for first, count, p in zip(start[1:], size[1:], positions, strict=True)]
        fragments = tuple(map(_fragments, counts, self._reached))
        full = tuple(-(-count // d) * d for count, d in zip(counts, fragments, strict=True))
        firsts = [first * step for first, step in zip(start[1:], self.stride, strict=True)]
        lengths = [step * (p - 1) + h for step, p, h in zip(self.stride, full, self.patch, strict=True)]
        items = image[start[0] : start[0] + size[0]]
        cells = [slice(a, a + length) for a, length in zip(firsts, lengths, strict=True)]
        maps = _laid_out(cut(items, cells), lengths)
        lattice = Lattice(items.shape[0], full, full if self.borders == "crops" else fragments, self.borders)
        lattice.framed = Framed.of
        with _naming(self.network) as lattice.layer:
            ones = (1,) * len(full)
            crops = Crops(maps, lattice, self.patch, ones, self.stride)
            output = torch.func.functional_call(self.network, weights or {}, (crops,), tie_weights=False)
        self.apart = list(dict.fromkeys(lattice.apart))
        return cut(_scores(output, lattice), [slice(count) for count in counts])

    def _tile_size(self, image: Tensor, positions: Sizes) -> tuple[int, ...]:
        """Items and positions of one pass within the budget."""
        if tuple(image.shape) not in self._tiles:
            self._tiles[tuple(image.shape)] = self._within(image, (image.shape[0], *positions))
        return self._tiles[tuple(image.shape)]

    def _within(self, image: Tensor, size: tuple[int, ...]) -> tuple[int, ...]:
        """Halves items, then the longest axis, until a pass holds no more than the budget."""
        least = (1, *self.fragments)
        if self.borders == "image":
            return size
        budget = BUDGET if self.budget_bytes is None else self.budget_bytes
        while (peak := self._peak(image, size)) > budget:
            halves = [-(-count // (2 * d)) * d for count, d in zip(size, least, strict=True)]
            shorter = [axis for axis, count in enumerate(size) if halves[axis] < count]
            if not shorter:
                if self.budget_bytes is None:
                    return size
                expected = f"at least {peak:,} bytes for {by(self.fragments)} crops"
                raise InputError("the budget is too small for the smallest tile", expected=expected, got=f"{budget:,}")
            axis = max(shorter, key=lambda axis: (axis == 0, size[axis]))
            size = (*size[:axis], halves[axis], *size[axis + 1 :])
        return size

    def _peak(self, image: Tensor, size: tuple[int, ...]) -> int:
        """Most bytes that a pass over so many items and positions holds at a time."""
        state = State(self.network)
        memory = Memory()
        with torch.no_grad(), memory:
            part = self._part(like(image), (0,) * len(size), size, size[1:], {**state.parameters, **state.buffers})
        return memory.peak - part.numel() * part.element_size()


class Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operations on meta tensors and counts the bytes of what they make, as long as someone holds it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped by torch.compile's machinery, whose import takes longer than a scan."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[int, int] = {}  # storage -> tensors that show it
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, Crops | Framed) for kind in types):
            return NotImplemented
        args, kwargs = tree_map_only(Tensor, _meta, (args, kwargs or {}))
        out = func(*args, **kwargs)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return out

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.held:
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
        self.held[key] = self.held.get(key, 0) + 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self.held[key] -= 1
        if not self.held[key]:
            del self.held[key]
            self.bytes -= size


def _meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else like(tensor)


def _checked(model: nn.Module, borders: str | None, budget_bytes: int | None) -> str | None:
    """The choice of borders, where network and options can be had together."""
    if borders not in BORDERS:
        raise InputError("there is no such choice of borders", expected='None, "crops" or "image"', got=repr(borders))
    if borders == "image" and budget_bytes is not None:
        fix = 'Leave budget_bytes out, or take borders="crops".'
        raise InputError('tiles would have borders of their own with borders="image"', got="a budget", fix=fix)
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            fix = "Give it running statistics (track_running_stats=True)."
            raise InputError("a batch norm without statistics mixes crops", where=f"at {place(path, module)}", fix=fix)
    return borders


def _patch(model: nn.Module, patch: Sequence[int] | None) -> Sizes:
    if patch is not None:
        if not patch or any(side < 1 for side in patch):
            raise InputError("a patch has sides of 1 or more", got=tuple(patch))
        return tuple(patch)
    try:
        return tuple(native(model)[1:])
    except InputError as error:
        fix = "Pass its size: patch=(64, 64), say."
        raise InputError("the network does not tell the size of its crops", got=str(error), fix=fix) from error


def _strides(stride: int | Sequence[int], rank: int) -> Sizes:
    strides = (stride,) * rank if isinstance(stride, int) else tuple(stride)
    if len(strides) != rank or min(strides) < 1:
        raise InputError(
            "a stride is a number of 1 or more, for all axes or for each", expected=f"{rank} axes", got=stride
        )
    return strides


def _reached(graph: Graph, rank: int) -> list[set[int]]:
    """The strides that maps have, an axis each."""
    found: list[set[int]] = [{1} for _ in range(rank)]
    for value, field in zip(graph.values, fields(graph, next(iter(graph.inputs.values()))), strict=True):
        if field is None or len(value.shape) < rank + 2:
            continue
        for axis, terms in enumerate(field.axes):
            driven = len(value.shape) - rank + axis
            own = [window.stride for driver, window in terms if driver == driven and value.shape[driven] > 1]
            found[axis] |= {abs(stride) for stride in own if isinstance(stride, int) and stride}
    return found


def _fragments(count: int, reached: Sequence[int]) -> int:
    """Into how many fragments so many positions go in the end: no more than there are positions, if that comes out."""
    enough = (f for f in reached if f >= count and not any(f % less for less in reached if less < f))
    return next(enough, math.lcm(*reached))


def _laid_out(cells: Tensor, lengths: Sequence[int]) -> Tensor:
    """A copy, zeros behind the image's end, channels last where convolutions are fast with that."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(cells.dim(), torch.contiguous_format)
    shape = (*cells.shape[:2], *lengths)
    maps = torch.zeros(shape, dtype=cells.dtype, device=cells.device).to(memory_format=last)
    cut(maps, [slice(side) for side in cells.shape[2:]]).copy_(cells)
    return maps


def _scores(output: Any, lattice: Lattice) -> Tensor:
    """The output of all crops as a map."""
    if isinstance(output, Crops | Framed):
        output = output.apart()
    if not isinstance(output, Tensor) or output.dim() < 1 or output.shape[0] != lattice.crops:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        fix = "Wrap the network in a module that returns one tensor, an item for each of its batch."
        raise InputError("the network does not give each crop its output", expected="one tensor", got=got, fix=fix)
    scores = lattice.placed(output)
    space = scores.shape[2 : -lattice.rank]
    if len(space) == lattice.rank and math.prod(space) == 1:
        return scores.flatten(1, -lattice.rank - 1)
    return scores


@contextlib.contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    """In eval mode, without gradients; the network is left as it was."""
    with torch.inference_mode(False), torch.no_grad(), preserved(model):
        model.eval()
        yield


@contextlib.contextmanager
def _naming(model: nn.Module) -> Iterator[Any]:
    """A function that says which layer is running."""
    names = {id(module): place(path, module) for path, module in reversed(list(model.named_modules()))}
    running = [place("", model)]

    def enter(module: nn.Module, _: Any) -> None:
        running.append(names.get(id(module), running[-1]))

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        running.pop()

    hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave)
    try:
        yield lambda: running[-1]
    finally:
        for hook in hooks:
            hook.remove()


__all__ = ["Scan", "scan"]
