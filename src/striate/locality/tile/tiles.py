"""A network run on an input of any size, crop by crop within a budget of memory, equal to one run on the whole."""

from __future__ import annotations

import contextlib
import ctypes
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.graph import Graph
from striate.geometry.state import preserved, unwrapped
from striate.geometry.trace import trace
from striate.geometry.words import size as by_bytes
from striate.locality.tile.footprint import Footprint
from striate.locality.tile.halo import Line, flaw, lines, refuse, told
from striate.locality.tile.ledger import Ledger, Result, digest
from striate.locality.tile.source import Source, open_source
from striate.shapes import Float, Num, Tensor

Span = tuple[int, int, int]
# What an allocator takes more than it is asked for at first; and how many times that it may grow to, when blocks that
# came and went leave holes: where the budget is less, free memory is given back after each crop.
SLACK, HOLES = 1.5, 4
# Blocks above this size come and go whole, which leaves none.
LARGE, WHOLE = 32 << 20, 1.15
# Beside the tensors, what planning and the kernels' code take, as far as that is less than a third of the tensors.
ROOM = 12 << 20


def tile(
    model: nn.Module,
    x: Any,
    *,
    budget_bytes: int,
    out: Any = None,
    axes: str | None = None,
    prepare: Callable[[Tensor], Tensor] | None = None,
    channels_last: bool = True,
    progress: bool = False,
) -> Float[Tensor, "n k *space"]:
    """The network's dense output on an input of any size, computed crop by crop: what `model(x)` would give (where
    that is bfloat16, as float32).

    Each crop is larger than its part of the output by exactly what the windows of the network demand (the halo), begins
    where strides and poolings fall as in the whole, and meets padding only where the whole does. That a part equals the
    whole is proved from the windows, value by value, before any of it is computed (only the least crop has run then,
    on zeros, to see what it takes).

        output  0 … 9 10 … 19 20 … 29       a network that sees 2 to either side
        crops   0 ……… 11
                    8 ………………… 21
                               18 ……… 29

    `x`: Num[n, c, *space] as a tensor or array (of numpy, or what reads like it), or the path of a .npy file or TIFF,
    which is read as it is needed: of a compressed TIFF the tiles or strips that a crop touches (one strip: all of it).
    `axes` names its axes by a letter each, n items, c channels, any other space ("yxc"); by default n, c, space, or
    what the TIFF says. Numbers become those of the network; `prepare` maps each crop Float[1, c, *space] point by
    point, say `lambda x: x / 255`.

    `budget_bytes`: the most memory that the call takes beside the network and an `x` in memory: crop, activations,
    scratch, and the result unless it has `out` (or is more than half of the budget, and so goes to a temporary file).
    The crops are those that cost least within it; libraries that load their own code are not counted.

    `out`: None; a tensor or array to fill; or the path of a .npy file. That can go on after a kill: the same call
    continues (`out` + ".json" says how far it is) or, of a finished result, returns at once.
    `channels_last` stores images and volumes with the channels innermost, which takes less time and memory; a network
    whose forward does not accept that runs with False. `progress` draws a bar.

    The network runs in eval mode on its own device, and is left as it was. Source of the idea: Ronneberger, Fischer,
    Brox 2015, figure 2 (overlap-tile), there for networks without padding.

    Raises InputError where the network is not local, naming the layer (global pooling, attention, norms over space,
    position codes, resizing to a fixed size); where the least crop takes more than the budget, saying how much; where
    `out` has a result of something else; and for inputs that cannot be read.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    >>> x = torch.rand(1, 1, 64, 64)
    >>> torch.allclose(tile(net, x, budget_bytes=60_000), net(x), atol=1e-6)
    True
    """
    if budget_bytes < 1:
        raise InputError("a budget is a number of bytes", expected="1 or more", got=budget_bytes)
    reader = Reader(unwrapped(model), open_source(x, axes), prepare, channels_last)
    source, model = reader.source, reader.model
    with preserved(model):
        model.eval()
        item = (reader.channels, *source.shape[2:])
        whole = trace(model, item)
        cut = lines(model, whole)
        cost = _cost(reader, cut)
        shape = (source.shape[0], cost.channels, *(line.outputs for line in cut))
        total = math.prod(shape) * cost.dtype.itemsize
        least = cost.bytes(cost.sizes)
        held = total if out is None and total <= min(budget_bytes // 2, budget_bytes - least) else 0
        grid = _grid(cut, cost, budget_bytes - held)
        tight = cost.bytes(grid.crop) * HOLES > budget_bytes - held
        if (index := flaw(trace(model, (item[0], *grid.crop)), whole, cut)) is not None:
            refuse(whole, index, "reads around a border of its input")
        made_of = _made_of(reader, whole, grid.crop) if isinstance(out, str | Path) else {}
        with _result(out, shape, cost.dtype, bool(held), made_of) as result:
            cells = list(product(range(source.shape[0]), *grid.spans))
            for number, *cell in _shown(cells, result.done, progress):
                part = _run(reader, number, cell, grid.crop, cut)
                result.write((slice(number, number + 1), slice(None), *(slice(a, b + 1) for _, a, b in cell)), part)
                if tight:
                    _trim()
            return result.tensor


@dataclass(frozen=True)
class Reader:
    """Crops of an input as a network takes them."""

    model: nn.Module
    source: Source
    prepare: Callable[[Tensor], Tensor] | None
    channels_last: bool

    @cached_property
    def channels(self) -> int:
        """How many channels the network gets."""
        return self.prepared(self.sample).shape[1]

    @cached_property
    def sample(self) -> Num[Tensor, "1 c *space"]:
        """A few positions from the middle of the input."""
        sizes = [min(side, 8) for side in self.source.shape[2:]]
        middle = [(side - some) // 2 for side, some in zip(self.source.shape[2:], sizes, strict=True)]
        return self.source.read(0, middle, sizes)

    @cached_property
    def kind(self) -> tuple[torch.device, torch.dtype]:
        """The network's device and type of numbers; those of the input where it has no tensors."""
        state = (*self.model.parameters(), *self.model.buffers(), self.sample, torch.empty(0))
        first = next(tensor for tensor in state if tensor.is_floating_point())
        return first.device, first.dtype

    def empty(self, sizes: Sequence[int]) -> Float[Tensor, "1 c *space"]:
        """A crop of this size, to be filled."""
        last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(len(sizes)) if self.channels_last else None
        device, dtype = self.kind
        layout = last or torch.contiguous_format
        return torch.empty((1, self.channels, *sizes), dtype=dtype, device=device, memory_format=layout)

    def read(self, item: int, starts: Sequence[int], sizes: Sequence[int]) -> Float[Tensor, "1 c *space"]:
        """A crop."""
        return self.empty(sizes).copy_(self.prepared(self.source.read(item, starts, sizes)))

    def prepared(self, part: Num[Tensor, "1 c *space"]) -> Tensor:
        """A crop as it is stored, by what the caller does to it."""
        if self.prepare is None:
            return part
        made = self.prepare(part.to(self.kind[1]))
        if not isinstance(made, torch.Tensor) or (made.shape[0], *made.shape[2:]) != (1, *part.shape[2:]):
            got = tuple(made.shape) if isinstance(made, torch.Tensor) else type(made).__name__
            raise InputError(
                "`prepare` maps a crop point by point", expected=f"shape (1, channels, {_by(part.shape[2:])})", got=got
            )
        return made


@dataclass(frozen=True)
class Cost:
    """What a forward on a crop of `sizes` held, from which that of others is reckoned position by position; `fixed`
    is what reading takes for crops of any size.
    """

    sizes: tuple[int, ...]
    peak: int
    largest: int
    channels: int
    dtype: torch.dtype
    fixed: int

    def bytes(self, sizes: Sequence[int]) -> int:
        """The most memory at a time."""
        times = math.prod(sizes) / math.prod(self.sizes)
        tensors = self.peak * times * (WHOLE if self.largest * times > LARGE else SLACK)
        return int(tensors + min(tensors / 3, ROOM)) + self.fixed


@dataclass(frozen=True)
class Grid:
    """The size of the crops, and on each axis where they begin and the outputs that are taken from them."""

    crop: tuple[int, ...]
    spans: tuple[tuple[Span, ...], ...]


def _cost(reader: Reader, cut: Sequence[Line]) -> Cost:
    """That of the least crop, which is read, and run once on zeros."""
    sizes = tuple(line.sizes()[-1] for line in cut)
    with torch.inference_mode(False), torch.no_grad():
        part = reader.source.read(0, [0] * len(sizes), sizes)
        with Footprint() as reading:
            crop = reader.empty(sizes).copy_(reader.prepared(part))
        crop.zero_()
        with Footprint() as seen:
            made = reader.model(crop)
    if not isinstance(made, torch.Tensor) or not made.is_floating_point():
        raise InputError(
            "a network that runs in tiles returns one tensor of floating-point numbers",
            got=made.dtype if isinstance(made, torch.Tensor) else type(made).__name__,
            fix="Wrap it in a module whose forward does.",
        )
    # The crop as it was stored, in the machine's numbers, prepared, and twice more for what leaves holes between crops;
    # the outputs as they were made and as they are written.
    peak = seen.peak + 2 * part.nbytes + reading.peak + 2 * crop.nbytes + made.nbytes
    dtype = torch.float32 if made.dtype == torch.bfloat16 else made.dtype  # numpy has none
    return Cost(sizes, peak, seen.largest, made.shape[1], dtype, reader.source.decoded)


def _grid(cut: Sequence[Line], cost: Cost, budget: int) -> Grid:
    """The crops that fit in the budget and are the least in all: the least work on halos."""
    counts = [{size: line.count(size) for size in line.sizes()} for line in cut]
    fitting = [sizes for sizes in product(*counts) if cost.bytes(sizes) <= budget]
    if not fitting:
        least = cost.bytes(cost.sizes)
        raise InputError(
            "the budget is too small for the least crop that makes an output",
            where=f"{_by(cost.sizes)} of {_by([line.size for line in cut])} positions",
            expected=f"budget_bytes={least} ({by_bytes(least)}) or more",
            got=budget,
        )

    def work(sizes: Sequence[int]) -> int:
        return math.prod(sizes) * math.prod(count[size] for count, size in zip(counts, sizes, strict=True))

    crop = min(fitting, key=work)
    cells = ([line.cell(size, n) for n in range(line.count(size))] for line, size in zip(cut, crop, strict=True))
    return Grid(crop, tuple(map(tuple, cells)))


def _run(reader: Reader, item: int, cell: Sequence[Span], crop: Sequence[int], cut: Sequence[Line]) -> Tensor:
    """The part of the output that belongs to a cell."""
    with torch.inference_mode():
        made = reader.model(reader.read(item, [start for start, _, _ in cell], crop))
        for axis, (line, (start, first, last)) in enumerate(zip(cut, cell, strict=True), 2):
            made = made.narrow(axis, first - line.placed(start), last - first + 1)
        return made.cpu()  # type: ignore[no-any-return]


def _made_of(reader: Reader, whole: Graph, crop: tuple[int, ...]) -> dict[str, Any]:
    """What a result is made of."""
    model = reader.model
    return {
        "network": digest([*model.named_parameters(), *model.named_buffers()], told(whole), str(reader.kind[1])),
        "input": reader.source.identity(),
        "prepare": digest([("sample", reader.prepared(reader.sample))]),
        "crop": crop,
    }


def _trim() -> None:
    """Have the C library give back what is free, where it can; the next crop pays for new pages."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def _result(
    out: Any, shape: tuple[int, ...], dtype: torch.dtype, held: bool, told: dict[str, Any]
) -> Iterator[Result | Ledger]:
    """Where the parts of the output go."""
    name = str(torch.empty(0, dtype=dtype).numpy().dtype)
    if held:
        yield Result(torch.empty(shape, dtype=dtype))
    elif out is None:
        with tempfile.TemporaryDirectory() as folder:
            yield from _ledger(Path(folder) / "result.npy", shape, name, {})
    elif isinstance(out, str | Path):
        yield from _ledger(Path(out), shape, name, told)
    else:
        target = torch.from_numpy(out) if isinstance(out, np.ndarray) else out
        if not isinstance(target, torch.Tensor) or tuple(target.shape) != shape or not target.is_floating_point():
            raise InputError(
                "`out` cannot hold the result",
                expected=f"a path, or a tensor or array of shape {shape} of floating-point numbers",
                got=f"shape {tuple(out.shape)} of {out.dtype}" if hasattr(out, "shape") else type(out).__name__,
            )
        yield Result(target)


def _ledger(path: Path, shape: tuple[int, ...], dtype: str, told: dict[str, Any]) -> Iterator[Ledger]:
    ledger = Ledger(path, shape, dtype, told)
    try:
        yield ledger
    finally:
        ledger.close()


def _shown(cells: list[Any], done: int, progress: bool) -> Iterator[Any]:
    """The cells that are left, with a bar where one is wanted."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("tiles", total=len(cells), completed=done)
        for cell in cells[done:]:
            yield cell
            bar.advance(task)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
