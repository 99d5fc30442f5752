"""A classifier of crops, at every position of an image in one pass, with the same weights.

    scan(model)(image)[..., i, j]  =  model(image[..., i : i + h, j : j + w])

The network's forward runs as it is written, on a tensor that stands for all crops and holds the maps that they share
(crops.py); fully connected layers become convolutions, and strides split the map into fragments.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from striate.errors import InputError
from striate.geometry.failure import DiedError, place
from striate.geometry.fields import fields
from striate.geometry.graph import Graph
from striate.geometry.running import watched
from striate.geometry.shapes import like
from striate.geometry.size import CONVOLUTIONS, advised, native
from striate.geometry.state import State, preserved, unwrapped
from striate.geometry.trace import trace
from striate.locality.scan.crops import Crops, Lattice, Sizes, by, cut
from striate.locality.scan.frames import Framed
from striate.locality.scan.memory import Memory
from striate.shapes import Float

BORDERS = (None, "crops", "image")
# What one pass may hold where nothing else is said; less memory is fresh each time than with more.
BUDGET = 1 << 28
WRONG = 1e-2  # of the scores' scale: no rounding, not even in half precision or TF32


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
    crop wherever its border counts. Each fragment of a map is padded for itself, from the first to the last cell that
    some crop of the image has.

    The network runs in eval mode without gradients and is left as it was; its weights are shared. Images are taken in
    tiles of crops such that one pass holds at most `budget_bytes`, weights and output aside; by default 256 MiB, or
    what the smallest tile takes. With `borders="image"` one pass takes all, whatever that holds.

    Raises InputError for a network that pads where `borders` is not given, naming the layer; for one that does not tell
    its crop, or does not take it; for a batch norm without statistics; and where the budget is too small. Two crops of
    the first image are run alone: a network that says something else of them, as it mixes the items of a batch or draws
    numbers, is refused (not with `borders="image"`).

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
            self._tiles: dict[tuple[Sizes, torch.dtype], Sizes] = {}
            self._agreed = borders == "image"  # with the network run on a crop alone
            if first is not None:
                self._prepare(first.in_channels, certain=False)

    def forward(self, image: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *positions"]:
        """What the network says of each crop."""
        positions = self._positions(image)
        with quiet(self.network):
            if not self.fragments:
                self._prepare(image.shape[1], certain=True)
            if not len(image):
                return self._none(image, positions)
            size = self._tile_size(image, positions)
            scores: Tensor | None = None
            for start in itertools.product(*map(range, (0,) * len(size), (image.shape[0], *positions), size)):
                part = self._part(image, start, size, positions)
                if scores is None:
                    self._compare(image, part)
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
        with quiet(self.network):
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
        last = full if self.borders == "crops" else fragments
        lattice = Lattice(items.shape[0], full, last, self.borders, tuple(counts))
        lattice.framed = Framed.of
        with _naming(self.network) as lattice.layer:
            ones = (1,) * len(full)
            crops = Crops(maps, lattice, self.patch, ones, self.stride)
            output = torch.func.functional_call(self.network, weights or {}, (crops,), tie_weights=False)
        self.apart = list(dict.fromkeys(lattice.apart))
        return cut(_scores(output, lattice), [slice(count) for count in counts])

    def _none(self, image: Tensor, positions: Sizes) -> Tensor:
        """The scores of no images: what they look like is told by one crop."""
        ones = (1,) * len(positions)
        crop = image.new_zeros(1, image.shape[1], *self.patch)
        one = self._part(crop, (0,) * (1 + len(ones)), (1, *ones), ones)
        return one.new_empty(0, *one.shape[1 : -len(ones)], *positions)

    def _compare(self, image: Tensor, part: Tensor) -> None:
        """Compares the first and the last crop of the first tile with runs of the network on these alone; what a batch
        has in common, its maximum say, is the same for both only where all crops between have it."""
        if self._agreed:
            return
        counts = part.shape[-len(self.patch) :]
        scale = part.nan_to_num(0, 0, 0).abs().max() if part.is_floating_point() else 0
        for item, at in ((0, (0,) * len(counts)), (part.shape[0] - 1, tuple(count - 1 for count in counts))):
            axes = zip(at, self.stride, self.patch, strict=True)
            crop = cut(image[item : item + 1], [slice(p * s, p * s + h) for p, s, h in axes])
            right = self.network(crop.clone()).flatten()  # it may write into its input
            found = cut(part[item], [slice(p, p + 1) for p in at]).flatten()
            if not _near(found, right, float(scale)):
                raise InputError(
                    "the network says something else of a crop than of a batch with that crop",
                    got=f"{found[:3].tolist()} of the batch, {right[:3].tolist()} of the crop at {at}",
                    fix="Each item has to be computed for itself, with no number drawn; if it is, report this network.",
                )
        self._agreed = part.shape[0] * math.prod(counts) > 1

    def _tile_size(self, image: Tensor, positions: Sizes) -> tuple[int, ...]:
        """Items and positions of one pass within the budget."""
        key = tuple(image.shape), image.dtype
        if key not in self._tiles:
            self._tiles[key] = self._within(image, (image.shape[0], *positions))
        return self._tiles[key]

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
        weights = {**state.parameters, **state.buffers}
        memory = Memory(weights.values())
        with torch.no_grad(), memory:
            part = self._part(like(image), (0,) * len(size), size, size[1:], weights)
        return memory.peak - part.numel() * part.element_size()


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


def _near(found: Tensor, right: Tensor, scale: float) -> bool:
    """Whether scores differ by no more than rounding may, NaN where the other is; rounding can change any integer."""
    if found.shape != right.shape or not right.is_floating_point():
        return found.shape == right.shape
    wrong = max(WRONG, 16 * torch.finfo(right.dtype).eps)
    return torch.allclose(found, right, rtol=0, atol=wrong * scale, equal_nan=True)


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
def quiet(model: nn.Module) -> Iterator[None]:
    """In eval mode, without gradients; the network is left as it was."""
    with torch.inference_mode(False), torch.no_grad(), preserved(model):
        model.eval()
        yield


@contextlib.contextmanager
def _naming(model: nn.Module) -> Iterator[Callable[[], str]]:
    """A function that says which layer is running, for people."""
    with watched(model) as running:
        yield lambda: place(*running())


__all__ = ["Scan", "scan"]
