"""The places in a data set that excite each unit most, and what of them excites it (Zeiler & Fergus 2014, fig. 2)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.features.best import Best
from striate.interpret.features.reconstruction import RULES, reconstructions
from striate.interpret.features.sight import Until
from striate.interpret.lean import parts
from striate.interpret.motifs import ALPHABET, Motif
from striate.interpret.scoring import checked, examined
from striate.interpret.sequences import letters_of
from striate.interpret.sweep import Progress, reporting
from striate.shapes import Float, Int64, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATIENCE = 60.0  # seconds of a pass that are left (of unknown length: that went) from which its fastest form pays


@dataclass(frozen=True, eq=False, repr=False)
class TopPatches:
    """For each of `channels` of a layer the k places that excite it most, the greatest first.

    `values` are the activations, `items` the numbers of the items in the order in which they came, `places` those in
    the layer's map, `windows` first and last position of the input that is seen (beyond its border where that is
    padded). `patches` is what is seen, NaN beyond the border, and `reconstructions` what of it excites the unit, by
    `rule`, None without one. `seen` items were looked at; where `complete` is False, the pass was stopped by Ctrl-C.
    """

    layer: str
    rule: str | None
    channels: tuple[int, ...]
    values: Float[Tensor, "u k"]
    items: Int64[Tensor, "u k"]
    places: Int64[Tensor, "u k r"]
    windows: Int64[Tensor, "u k a 2"]
    patches: Tensor  # u k c *window, or u k window of tokens
    reconstructions: Float[Tensor, "u k c *window"] | None
    seen: int
    complete: bool
    whole: str = ""
    words: Sequence[str] = field(default=(), repr=False)

    @property
    def dead(self) -> tuple[int, ...]:
        """Channels that nothing excites: never above zero."""
        return tuple(c for c, best in zip(self.channels, self.values[:, 0].tolist(), strict=True) if best <= 0)

    def texts(self, channel: int) -> tuple[str, ...]:
        """The patches of a channel in letters (of one-hot input) or words; "·" beyond the border."""
        found = []
        for patch, window in zip(self.patches[self._row(channel)], self.windows[self._row(channel)], strict=True):
            if patch.dim() == 1:
                beyond = torch.arange(int(window[0, 0]), int(window[0, 1]) + 1)
                cells = ["·" if at < 0 else self._word(int(token)) for at, token in zip(beyond, patch, strict=True)]
                found.append(" ".join(cells))
                continue
            letters = letters_of(patch, self._alphabet())
            beyond = patch.isnan().all(0).tolist()
            found.append("".join("·" if out else letter for out, letter in zip(beyond, letters, strict=True)))
        return tuple(found)

    def motifs(self) -> tuple[Motif, ...]:
        """Of DNA: how often each base stands at each position of a channel's patches; a quarter each beyond the border.

        Those of channels that nothing excites have 0 sites.
        """
        if self.patches.dim() != 4 or self.patches.shape[2] != len(ALPHABET):
            raise InputError("motifs are those of DNA", expected="input (n, 4, t)", got=self._shape())
        shares = self.patches.nan_to_num(1 / len(ALPHABET)).mean(1)
        sites = (self.values > 0).sum(1).tolist()
        return tuple(
            Motif(f"{self.layer}.{channel}", share / share.sum(0), count)
            for channel, share, count in zip(self.channels, shares, sites, strict=True)
        )

    def plot(self, channels: Sequence[int] | None = None, *, of: int = 9) -> Figure:
        """For each channel (at most 16, by default those that are excited most evenly spread) its `of` best patches
        beside what of them excites it; signals as curves, one-hot letters as letters, tokens as words."""
        from striate.interpret.features.patch_pictures import draw_patches

        return draw_patches(self, [self._row(c) for c in channels] if channels is not None else None, of)

    def table(self, rows: int = 20) -> Table:
        """A row a channel: greatest and k-th activation, and the best place."""
        table = Table("channel", "greatest", f"{self.values.shape[1]}th", "item", "place", title=self.title())
        lettered = self._lettered()
        if lettered:
            table.add_column("patch")
        for row, channel in enumerate(self.channels[:rows]):
            spans = ", ".join(f"{first}–{last}" for first, last in self.windows[row, 0].tolist())
            best, least = f"{float(self.values[row, 0]):.4g}", f"{float(self.values[row, -1]):.4g}"
            text = [self.texts(channel)[0]] if lettered else []
            table.add_row(str(channel), best, least, str(int(self.items[row, 0])), spans, *text)
        return table

    def json(self) -> dict[str, Any]:
        """Everything but patches and reconstructions as plain types."""
        numbers = {name: getattr(self, name).tolist() for name in ("values", "items", "places", "windows")}
        return {**self._facts(), **numbers}

    def save(self, path: str | Path) -> None:
        """Write all tensors into a safetensors file, the rest as JSON into its header.

        Raises StorageError where it cannot be written; what `path` held is then untouched.
        """
        names = ("values", "items", "places", "windows", "patches", "reconstructions")
        tensors = {name: found for name in names if (found := getattr(self, name)) is not None}
        save_tensors(Path(path), tensors, self._facts())

    def title(self) -> str:
        """What was looked for, and in how much: "top 9 patches of 64 channels of features.3, 1,797 items"."""
        many = f"{len(self.channels)} channel{'s' * (len(self.channels) != 1)}"
        stopped = "" if self.complete else " (stopped early)"
        layer = self.layer or "the output"
        return f"top {self.values.shape[1]} patches of {many} of {layer}, {self.seen:,} items{stopped}"

    def _facts(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("layer", "rule", "seen", "complete", "whole")}
        return {"method": "top patches", **facts, "channels": list(self.channels)}

    def _row(self, channel: int) -> int:
        if channel not in self.channels:
            raise InputError("no such channel", expected=f"one of those looked at: {_some(self.channels)}", got=channel)
        return self.channels.index(channel)

    def _word(self, token: int) -> str:
        return self.words[token] if token < len(self.words) else str(token)

    def _alphabet(self) -> str:
        letters = "".join(self.words) or ALPHABET
        if self.patches.dim() != 4 or self.patches.shape[2] != len(letters):
            expected = "tokens, or one-hot letters with a channel for each of words="
            raise InputError("these patches are no text", expected=expected, got=self._shape())
        return letters

    def _lettered(self) -> bool:
        """Whether the patches are text."""
        if self.patches.dim() == 3:
            return True
        return (
            self.patches.dim() == 4
            and self.patches.shape[2] == (len(self.words) or len(ALPHABET))
            and _one_hot(self.patches)
        )

    def _shape(self) -> str:
        return f"patches {tuple(self.patches.shape[2:])}"

    def _repr_html_(self) -> str:
        from striate.interpret.map import as_image

        return as_image(self.plot(), self.title())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title()})"


def top_patches(
    model: nn.Module,
    batches: Tensor | Iterable[Any],
    layer: str,
    *,
    k: int = 9,
    channels: Sequence[int] | None = None,
    rule: str | None = "deconvnet",
    once: bool = True,
    words: Sequence[str] = (),
    progress: Progress = False,
) -> TopPatches:
    """For each channel of a layer (axis 1 of its output) the k places in a data set that excite it most, in one pass.

    `batches`: any iterable of tensors (n, c, *space) of one shape but n, or tokens (n, t); of tuples that begin with
    one, as a DataLoader gives; of things with `inputs`, as `striate.data.Batches.epoch(0)` gives; or one tensor. Only
    the k best of each channel are kept, so the set may be larger than memory. The network runs up to the layer, its
    last call, and no further. `channels`: which (all). `once`: at most one place of each item, as in the paper. Of
    equal activations the first one counts. `words`: what tokens are called, or the letters of one-hot channels.

    `rule`: how each place is projected back to the input. "deconvnet": all other activations of the layer are set to
    zero, then each layer is undone: maxima go back to where they were found (switches), values below zero are dropped
    at each rectifier, and convolutions become their transposes. "guided", "gradient": the same by these rules; None:
    not at all. A projection runs only on the crop of the input that the unit sees, many at a time, and equals that of
    the whole input.

    Ctrl-C ends the pass, and what was found so far is returned with `complete=False`.

    Raises InputError for a layer or channel that is not there, batches that are empty or of several shapes, and where
    the patches would take more than 4 GiB.
    Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", sec. 2.1 and 4.1.

    >>> edge = nn.Sequential(nn.Conv1d(1, 1, 2, bias=False), nn.ReLU())
    >>> _ = edge[0].weight.data.copy_(torch.tensor([[[-1.0, 1.0]]]))
    >>> found = top_patches(edge, torch.tensor([[[0.0, 1, 1, 4, 9]], [[2.0, 2, 4, 4, 0]]]), "1", k=2)
    >>> found.values, found.items, found.patches[0, :, 0]
    (tensor([[5., 2.]]), tensor([[0, 1]]), tensor([[4., 9.],
            [2., 4.]]))
    >>> found.reconstructions[0, :, 0]
    tensor([[-5.,  5.],
            [-2.,  2.]])
    """
    if k < 1:
        raise InputError("places to keep of each channel", expected="at least 1", got=k)
    if rule is not None and rule not in RULES:
        raise InputError("unknown rule", expected=f"{', '.join(RULES)} or None", got=rule)
    with examined(model) as network:
        best = _pass(network, batches, layer, k, channels, once, progress)
        rule = rule if best.crops.is_floating_point() else None  # tokens have no gradient
        kept = best.flat()
        made = reconstructions(best.until, *kept, best.sight, rule, progress) if rule else None
    crops, _, places = kept
    shape = tuple(best.values.shape)
    return TopPatches(
        layer,
        rule,
        tuple(best.channels.tolist()),
        best.values,
        best.items,
        best.places,
        best.sight.windows(places).reshape(*shape, -1, 2),
        best.sight.patches(crops, places).unflatten(0, shape),  # type: ignore[no-untyped-call]
        None if made is None else best.sight.patches(made, places).unflatten(0, shape),  # type: ignore[no-untyped-call]
        best.seen,
        best.complete,
        best.sight.whole,
        words,
    )


def _pass(
    model: nn.Module,
    batches: Tensor | Iterable[Any],
    layer: str,
    k: int,
    channels: Sequence[int] | None,
    once: bool,
    progress: Progress,
) -> Best:
    """All batches through the network up to the layer."""
    best: Best | None = None
    run: nn.Module | None = None
    total = _total(batches)
    with reporting(progress, total, f"activations of {layer or 'the output'}") as report, torch.no_grad():
        began = time.monotonic()
        try:
            for x in _inputs(batches):
                x = checked(model, x)
                if best is None:
                    best = Best(model, layer, x, k, channels, once)
                if x.shape[1:] != best.shape[1:]:
                    expected = f"{tuple(best.shape[1:])}, as the first batch"
                    raise InputError("items of one data set have one shape", expected=expected, got=tuple(x.shape[1:]))
                if run is None and x.shape == best.shape and _is_long(time.monotonic() - began, best.seen, total):
                    run = _fastest(best.until, x)
                best.add(x, (run or best.until)(x) if x.shape == best.shape else best.until(x))
                report(len(x))
        except KeyboardInterrupt:
            if best is None or not best.seen:
                raise
            best.finish()
            best.complete = False
    if best is None:
        raise InputError("no items to look at", expected="batches of inputs", got="none")
    return best.trimmed()


def _is_long(gone: float, seen: int, total: int) -> bool:
    """Whether so much is left of a pass that its fastest form pays."""
    left = gone * (total - seen) / max(seen, 1) if total else gone
    return seen > 0 and left > PATIENCE


def _fastest(until: Until, x: Tensor) -> nn.Module:
    """The network up to the layer on its fastest exact form, where it has one."""
    from striate.acceleration import accelerate

    with contextlib.suppress(InputError):
        return accelerate(until.eval(), x, seconds=0.1, keep_memory=False)
    return until


def _inputs(batches: Tensor | Iterable[Any]) -> Iterator[Tensor]:
    """The inputs of each batch."""
    if isinstance(batches, Tensor):
        yield from (batches[part] for part in parts(len(batches), 128))
        return
    for batch in batches:
        first: Any = getattr(batch, "inputs", batch[0] if isinstance(batch, list | tuple) and batch else batch)
        if len(first):
            yield first


def _total(batches: Any) -> int:
    """How many items there are, 0 where nobody knows."""
    counted = batches if isinstance(batches, Tensor) else getattr(batches, "dataset", ())
    return len(counted) if hasattr(counted, "__len__") else 0


def _one_hot(patches: Tensor) -> bool:
    known = patches[~patches.isnan()]
    return bool(((known == 0) | (known == 1)).all())


def _some(channels: Sequence[int]) -> str:
    return ", ".join(map(str, channels[:8])) + (", …" if len(channels) > 8 else "")
