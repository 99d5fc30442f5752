"""What the layers of a network make of many items, as one vector an item: the ground under embeddings and probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from striate.data import Batch
from striate.errors import InputError
from striate.interpret.scoring import checked, examined, feeding, find_layer, first_tensor, never_called
from striate.shapes import Float, Int64, Tensor, UInt8

# Batches of `striate.data`, pairs (inputs, targets), or inputs, in any iterable; or all inputs or one pair at once.
Set = Iterable[Batch | tuple[Tensor, Tensor] | Tensor] | tuple[Tensor, Tensor] | Tensor
# These hand on what they got, or lay it out anew.
_SAME = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Flatten, nn.Unflatten)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOLS: dict[int, Callable[[Tensor, list[int]], Tensor]] = {
    1: lambda y, sides: F.adaptive_avg_pool1d(y, sides[0]),
    2: lambda y, sides: F.adaptive_avg_pool2d(y, (sides[0], sides[1])),
    3: lambda y, sides: F.adaptive_avg_pool3d(y, (sides[0], sides[1], sides[2])),
}
INPUT, HEAD = "(input)", "(input of the last layer)"
MOST_LAYERS, MOST_BYTES = 24, 1 << 31
BATCH = 100  # items that run at a time where all are given at once
THUMBNAIL = 32  # pixels of its longer side, at most


@dataclass(frozen=True, eq=False)
class Representations:
    """Vectors (n, d) by layer, in the order of execution, the targets, and small pictures of the inputs.

    `targets` are the items' classes, None where the set has none; `thumbnails` (n, c, h, w), None for signals.
    `found` is how many layers there are, of which `vectors` may have some.
    """

    vectors: dict[str, Float[Tensor, "n _"]]
    targets: Int64[Tensor, " n"] | None
    thumbnails: UInt8[Tensor, "n c h w"] | None
    found: int


def run_layers(model: nn.Module, x: Tensor, paths: Sequence[str]) -> dict[str, Tensor]:
    """What the modules of these paths return for x ("" is the network), each a copy: the last call of each counts.

    Gradients flow where they are enabled. Raises InputError for an unknown path, for a module that is never called,
    and for one that returns no tensor with the items on its first axis.
    """
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        return lambda _module, _args, output: found.__setitem__(path, _copied(output, path))

    with ExitStack() as hooks:
        for path in paths:
            hooks.enter_context(find_layer(model, path).register_forward_hook(keep(path)))
        hooks.enter_context(feeding(model, x))
        model(x.clone())  # it may begin in place
    for path in paths:
        if path not in found:
            raise never_called(path)
        if not found[path].dim() or len(found[path]) != len(x):
            expected = f"the {len(x)} items on its first axis"
            got = tuple(found[path].shape)
            raise InputError("the output of a layer cannot be used", where=path or "output", expected=expected, got=got)
    return {path: found[path] for path in paths}


def find_layers(
    model: nn.Module, x: Tensor, wanted: Sequence[str] | None, most: int = MOST_LAYERS
) -> tuple[list[str], int]:
    """Paths of layers in the order of execution, and how many there are.

    Without `wanted`: the modules without parts that compute something, then the network (""); at most so many of
    them, evenly taken. Raises InputError for an unknown path.
    """
    if wanted is not None:
        for path in wanted:
            find_layer(model, path)
        return list(wanted), len(wanted)
    order: dict[str, None] = {}

    def note(path: str) -> Callable[..., None]:
        def remember(_module: nn.Module, _args: Any, output: Any) -> None:
            order.pop(path, None)
            if isinstance(output, Tensor) and output.dim() > 1 and len(output) == 1 and output.is_floating_point():
                order[path] = None

        return remember

    with examined(model) as network, ExitStack() as hooks, torch.no_grad():
        for path, module in network.named_modules():
            if path and not any(module.children()) and not isinstance(module, _SAME):
                hooks.enter_context(module.register_forward_hook(note(path)))
        hooks.enter_context(feeding(network, x))
        network(x[:1].clone())
    # What the last module returns is mostly what the network returns.
    layers = [*list(order)[:-1], ""]
    if len(layers) <= most:
        return layers, len(layers)
    step = (len(layers) - 1) / (most - 1)
    return [layers[round(number * step)] for number in range(most)], len(layers)


def collect(
    model: nn.Module,
    batches: Set,
    layers: Sequence[str] | None = None,
    *,
    features: int | None = None,
    first: Sequence[str] = (),
    report: Callable[[int], None] = lambda _more: None,
) -> Representations:
    """The items' vectors at each layer (see `find_layers`), after those `first`: maps averaged over space.

    With `features`, maps are averaged into as many positions as make at most so many numbers (see `pooled`).
    `INPUT` and `HEAD` (what the last module with weights is given) are layers, too. Bounded memory: the batches pass
    once, and only vectors and thumbnails stay. Raises InputError where they take more than 2 GiB, and for no items.
    """
    vectors: dict[str, list[Tensor]] = {}
    targets: list[Tensor] = []
    pictures: list[Tensor] = []
    chosen: list[str] = []
    count = found = size = 0
    with examined(model) as network, torch.no_grad():
        for batch in in_batches(batches):
            inputs, labels = taken(batch)
            x = checked(network, inputs)
            if not count:
                special = [path for path in layers or () if path in (INPUT, HEAD)]
                named = [path for path in layers or () if path not in special] if layers else None
                paths, found = find_layers(network, x, named)
                # Numbers of words say nothing as numbers.
                chosen = list(dict.fromkeys([*(first if x.is_floating_point() else ()), *(layers or paths)]))
            for path, output in _run(network, x, chosen).items():
                vectors.setdefault(path, []).append(_vector(output, features).cpu())
            size += sum(parts[-1].nbytes for parts in vectors.values())
            if size > MOST_BYTES:
                fix = "Take fewer items or layers."
                raise InputError("too many numbers to keep", expected=f"at most {MOST_BYTES:,} bytes", fix=fix)
            targets += [labels.cpu()] if labels is not None else []
            pictures += [thumbnails(x)] if x.dim() > 3 and x.is_floating_point() else []
            count += len(x)
            report(1)
    if not count:
        raise InputError("no items to look at", expected="at least one batch")
    every = torch.cat(targets) if targets else None
    usable = every is not None and every.dim() == 1 and not every.is_floating_point() and len(every) == count
    return Representations(
        {path: torch.cat(parts) for path, parts in vectors.items()},
        every.long() if usable and every is not None else None,
        _as_bytes(torch.cat(pictures)) if pictures else None,
        found,
    )


def _run(model: nn.Module, x: Tensor, paths: Sequence[str]) -> dict[str, Tensor]:
    """`run_layers`, with the input itself and what the last layer is given."""
    found = run_layers(model, x, [path for path in paths if path not in (INPUT, HEAD)])
    if INPUT in paths:
        found[INPUT] = x
    if HEAD in paths:
        found[HEAD] = _given_last(model, x)
    return {path: found[path] for path in paths}


def _given_last(model: nn.Module, x: Tensor) -> Tensor:
    """What the last linear or convolutional module to be called is given."""
    given: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...]) -> None:
        given[:] = [_copied(args, "the last layer")]

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, _WEIGHTED):
                hooks.enter_context(module.register_forward_pre_hook(keep))
        hooks.enter_context(feeding(model, x))
        model(x.clone())  # it may begin in place
    if not given:
        expected = "a module Linear, Conv1d, Conv2d or Conv3d"
        raise InputError("no last hidden layer", where=type(model).__name__, expected=expected, fix="Name a layer.")
    return given[0]


def count_of(batches: Set) -> int:
    """How many batches there are; 0 where that is not known."""
    return len(batches) if isinstance(batches, Sized) and not _at_once(batches) else 0


def in_batches(batches: Set) -> Iterable[Any]:
    """The batches; of tensors given at once, 100 items each."""
    if isinstance(batches, Tensor):
        return torch.split(batches, BATCH)
    if _at_once(batches):
        parts = (torch.split(part, BATCH) for part in batches)  # type: ignore[arg-type]
        return zip(*parts, strict=True)
    return batches


def _at_once(batches: Set) -> bool:
    """Whether it is a tensor of all inputs, or the pair of all inputs and all targets, one a row."""
    if isinstance(batches, tuple) and len(batches) == 2 and all(isinstance(part, Tensor) for part in batches):
        inputs, targets = batches
        return isinstance(targets, Tensor) and targets.dim() == 1 and len(inputs) == len(targets)
    return isinstance(batches, Tensor)


def taken(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Inputs and targets of a batch; InputError for what is none."""
    if isinstance(batch, Batch):
        return batch.inputs, batch.targets
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch):
        return batch[0], batch[1]
    expected = "a striate.data.Batch, (inputs, targets), or inputs"
    raise InputError("cannot read a batch", expected=expected, got=type(batch).__name__)


def pooled(y: Float[Tensor, "n c *space"], features: int | None = None) -> Float[Tensor, "n _"]:
    """Averages over equal parts of space, as many as leave at most `features` numbers an item; without it, over all.

    >>> pooled(torch.arange(8.0).view(1, 2, 4)).tolist(), pooled(torch.arange(8.0).view(1, 2, 4), 4).tolist()
    ([[1.5, 5.5]], [[0.5, 2.5, 4.5, 6.5]])
    """
    rank = y.dim() - 2
    if rank == 0 or rank not in POOLS:
        return y.flatten(1)
    positions = 1 if features is None else max(1, features // y.shape[1])
    side = int(positions ** (1 / rank) + 1e-9)
    return POOLS[rank](y, [min(length, side) for length in y.shape[2:]]).flatten(1)


def thumbnails(x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c h w"]:
    """Images of at most 32 pixels a side, of volumes their middle planes; whole parts of pixels are averaged."""
    if x.dim() == 5:
        x = x[:, :, x.shape[2] // 2]
    scale = max(1.0, max(x.shape[2:]) / THUMBNAIL)
    return POOLS[2](x, [max(1, round(side / scale)) for side in x.shape[2:]]).float().cpu()


def _as_bytes(pictures: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
    """From the least value of each channel in the set to its greatest."""
    flat = pictures.transpose(0, 1).flatten(1)
    low, high = (end[:, None, None] for end in (flat.amin(1), flat.amax(1)))
    return ((pictures - low) / (high - low).clamp_min(1e-30) * 255).round().to(torch.uint8)


def _vector(y: Tensor, features: int | None) -> Tensor:
    return pooled(y, features) if y.dim() > 2 else y.flatten(1)


def _copied(output: Any, path: str) -> Tensor:
    """The first tensor of an output, as a copy that later in-place operations do not change."""
    return first_tensor(output, path or "output").clone()
