"""The greatest activations of each channel in one pass over a data set, with the crops that they are computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.features.sight import Sight, Until, in_whole, sight_of
from striate.interpret.lean import parts
from striate.interpret.sweep import MOST_BYTES
from striate.shapes import Int64, Tensor

CLOSE = 1e-3  # how far a unit may be off on its crop, of the greatest


class Best:
    """The k greatest of each channel so far, and the crops that they are computed from, one to a slot."""

    def __init__(
        self, model: nn.Module, layer: str, x: Tensor, k: int, channels: Sequence[int] | None, once: bool
    ) -> None:
        self.until, self.shape, self.k, self.once = Until(model, layer, x), x.shape, k, once
        out = self.until(x[:1])
        if out.dim() < 2 or not out.is_floating_point():
            expected = "floats (n, channels, *space)"
            raise InputError("this layer has no channels", where=layer, expected=expected, got=tuple(out.shape))
        self.channels = _chosen(channels, out.shape[1])
        self.space = tuple(out.shape[2:])
        self.sight = self._proved(x, out)
        self.seen, self.complete = 0, True
        u = len(self.channels)
        self.values = torch.full((u, k), -math.inf, dtype=out.dtype)
        self.items, self.places = torch.full((u, k), -1), torch.zeros(u, k, len(self.space), dtype=torch.int64)
        self.slots = torch.arange(u * k).reshape(u, k)
        self.crops = self._room(x, u * k)
        self._pending: tuple[Any, ...] | None = None

    def _proved(self, x: Tensor, out: Tensor) -> Sight:
        """What the units see; the crops of a few are run, in case the network does something that no window tells."""
        sight = sight_of(self.until, x)
        if sight.whole or not self.space:
            return sight
        ends = torch.tensor([[0] * len(self.space), [s // 2 for s in self.space], [s - 1 for s in self.space]])
        near = self.until(sight.cropped(x, torch.zeros(len(ends), dtype=torch.int64), ends))
        for row, (place, at) in enumerate(zip(ends.tolist(), sight.inside(ends).tolist(), strict=True)):
            far = (near[(row, slice(None), *at)] - out[(0, slice(None), *place)]).abs().max()
            if not float(far) <= CLOSE * max(float(out.abs().max()), 1e-30):
                return in_whole(sight, "on crops its activations differ")
        return sight

    def _room(self, x: Tensor, count: int) -> Tensor:
        sides = [axis.crop for axis in self.sight.axes]
        shape = (count, *x.shape[1 : x.dim() - len(sides)], *sides)
        if math.prod(shape) * x.element_size() > MOST_BYTES:
            raise InputError(
                "the patches of all channels are too large to keep",
                expected=f"at most {MOST_BYTES:,} bytes",
                got=" × ".join(map(str, shape)),
                fix="Look at some channels (channels=range(64)), or keep fewer places (k=4).",
            )
        return x.new_empty(shape, device="cpu")

    def add(self, x: Tensor, activations: Tensor) -> None:
        """Take in a batch: what is greater than what was kept takes its place."""
        flat = (
            activations[:, self.channels.to(activations.device)].flatten(2)
            if self.space
            else (activations[:, self.channels.to(activations.device), None])
        )
        flat = flat.nan_to_num(nan=-math.inf)
        most = 1 if self.once else min(self.k, flat.shape[2])
        if most == 1:
            top, at = (part[..., None] for part in flat.max(2))
        else:
            top, at = (part[..., :most] for part in flat.sort(dim=2, descending=True, stable=True))
        top, at = (part.movedim(1, 0).flatten(1).cpu() for part in (top, at))  # u (n most)
        values = torch.cat([self.values, top.to(self.values)], 1)
        order = values.sort(dim=1, descending=True, stable=True).indices[:, : self.k]
        fresh = order >= self.k
        which, at = (order[fresh] - self.k) // most, at.gather(1, (order - self.k).clamp(min=0))[fresh]
        old = order.clamp(max=self.k - 1)
        kept = torch.zeros_like(fresh)
        kept[(~fresh).nonzero()[:, 0], order[~fresh]] = True
        slots, items = self.slots.gather(1, old), self.items.gather(1, old)
        places = self.places.gather(1, old[..., None].expand(-1, -1, len(self.space)))
        # As many slots of a channel become free as are filled.
        slots[fresh], items[fresh] = self.slots[~kept], self.seen + which
        if self.space:
            places[fresh] = torch.stack(torch.unravel_index(at, self.space), 1)
        state = {"values": values.gather(1, order), "items": items, "places": places, "slots": slots}
        self._pending = x, which, slots[fresh], places[fresh], state | {"seen": self.seen + len(x)}
        self.finish()

    def finish(self) -> None:
        """Write what was decided; doing it again after an interruption changes nothing."""
        if self._pending is None:
            return
        x, which, into, at, state = self._pending
        step = max(1, (1 << 26) // max(1, self.crops[0].numel() * self.crops.element_size()))
        for part in parts(len(which), step):
            self.crops[into[part]] = self.sight.cropped(x, which[part], at[part]).to("cpu")
        vars(self).update(state)
        self._pending = None

    def trimmed(self) -> Best:
        """Without the places that no item filled."""
        full = int((self.items[0] >= 0).sum())
        self.values, self.items = self.values[:, :full], self.items[:, :full]
        self.places, self.slots = self.places[:, :full], self.slots[:, :full]
        return self

    def flat(self) -> tuple[Tensor, Int64[Tensor, " u"], Int64[Tensor, "u r"]]:
        """Crops, channels and places, all channels after each other."""
        return (
            self.crops[self.slots.flatten()],
            self.channels.repeat_interleave(self.slots.shape[1]),
            self.places.flatten(0, 1),
        )


def _chosen(channels: Sequence[int] | None, count: int) -> Int64[Tensor, " u"]:
    if channels is None:
        return torch.arange(count)
    wrong = [c for c in channels if not 0 <= c < count]
    if wrong or not len(channels):
        got = wrong[0] if wrong else "none"
        raise InputError("the layer has no such channel", expected=f"0 to {count - 1}", got=got)
    return torch.tensor(list(channels))
