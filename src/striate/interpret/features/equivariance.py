"""Equivariance: what each layer makes of a moved input, and whether the answer stays.

equivariant   f(g x) = g f(x)   the map moves with the input
invariant     f(g x) = f(x)     it stays as it was
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.features.motion import BORDERS, UNITS, Motion, Place, places, shifted
from striate.interpret.features.representations import Set, count_of, find_layers, in_batches, run_layers, taken
from striate.interpret.scoring import checked, examined
from striate.interpret.sweep import Progress, reporting
from striate.shapes import Bool, Float, Tensor
from striate.tasks.intervals import Interval, draws, percentiles, wilson
from striate.train.checkpoint import save_tensors, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHUNK = 250_000  # values of inputs that run at a time
ERRORS = ("equivariance", "interior", "invariance")
Shifts = Iterable[int | Sequence[int]]


@dataclass(frozen=True, eq=False)
class Equivariance:
    """What `equivariance` found: relative errors of each motion (m) and layer (l), means over the `items`.

    `equivariance` (m l): |f(gx) - g f(x)| / |f(x)|, over the positions that both show. `interior` (m l): the same over
    those that read neither padding nor what was filled in: what is left is the layer's own. NaN where there is no such
    position, or the layer's output is no map. `invariance` (m l): |f(gx) - f(x)| / |f(x)|. `unchanged` (m): the share
    of items whose class stays, None for outputs that are no classes. `strides`: of each layer, None where it is no map.
    `found` layers there are in all.
    """

    motions: tuple[Motion, ...]
    layers: tuple[str, ...]
    strides: tuple[tuple[float, ...] | None, ...]
    equivariance: Float[Tensor, "m l"]
    interior: Float[Tensor, "m l"]
    invariance: Float[Tensor, "m l"]
    unchanged: Float[Tensor, " m"] | None
    items: int
    border: str
    found: int

    def plot(self) -> Figure:
        """The errors of each layer against shift, angle and scale, and the share of answers that stay."""
        from striate.interpret.features.curves import draw_equivariance

        return draw_equivariance(self)

    def of(self, kind: str) -> list[int]:
        """The places of the motions of one kind, by their amount."""
        found = [place for place, motion in enumerate(self.motions) if motion.kind == kind]
        return sorted(found, key=lambda place: self.motions[place].number)

    def table(self) -> Table:
        """A row for each layer: each error's mean over the motions of a kind that move something."""
        kinds = [kind for kind in UNITS if self.of(kind)]
        columns = [f"{error}, {kind}" for kind in kinds for error in ERRORS]
        title = f"relative errors of moved inputs, {self.items} items, border {self.border}"
        table = Table("layer", "stride", *columns, title=title, caption=self._answers())
        for number, (layer, stride) in enumerate(zip(self.layers, self.strides, strict=True)):
            cells = [self._mean(kind, error, number) for kind in kinds for error in ERRORS]
            written = "" if stride is None else "x".join(f"{step:g}" for step in stride)
            table.add_row(layer or "output", written, *("" if math.isnan(cell) else f"{cell:.3g}" for cell in cells))
        return table

    def json(self) -> dict[str, Any]:
        """As plain types; NaN is None."""
        motions = [{"kind": motion.kind, "amount": motion.amount} for motion in self.motions]
        errors = {error: _plain(getattr(self, error).tolist()) for error in ERRORS}
        unchanged = None if self.unchanged is None else self.unchanged.tolist()
        return {**self._facts(), "motions": motions, **errors, "unchanged": unchanged}

    def save(self, path: str | Path) -> None:
        """Write the numbers into a safetensors file, the rest into its header."""
        tensors = {error: getattr(self, error) for error in ERRORS}
        if self.unchanged is not None:
            tensors["unchanged"] = self.unchanged
        motions = [{"kind": motion.kind, "amount": motion.amount} for motion in self.motions]
        save_tensors(Path(path), tensors, {**self._facts(), "motions": motions})

    def _facts(self) -> dict[str, Any]:
        facts = {"method": "equivariance", "layers": list(self.layers), "strides": self.strides}
        return {**facts, "items": self.items, "border": self.border, "found": self.found}

    def _moving(self, kind: str) -> list[int]:
        return [place for place in self.of(kind) if not self.motions[place].is_identity]

    def _mean(self, kind: str, error: str, layer: int) -> float:
        return float(getattr(self, error)[self._moving(kind), layer].nanmean())

    def _answers(self) -> str | None:
        if self.unchanged is None:
            return None
        kinds = [kind for kind in UNITS if self._moving(kind)]
        shares = [f"{kind} {float(self.unchanged[self._moving(kind)].mean()):.1%}" for kind in kinds]
        return f"Answers that stay: {', '.join(shares)}"


def equivariance(
    model: nn.Module,
    x: Float[Tensor, "n c *space"],
    *,
    shifts: Shifts | None = None,
    angles: Iterable[float] | None = None,
    scales: Iterable[float] | None = None,
    layers: Sequence[str] | None = None,
    border: str = "edge",
    progress: Progress = False,
) -> Equivariance:
    """How the layers and the answer of a network follow when its input is shifted, turned (2-D, 3-D) and scaled.

    A layer's map is moved as its input was, by its true stride and about the input's center (see `motion`): a shift by
    s moves it by s / stride positions. Where that is no whole number, the map is interpolated linearly; what the layer
    then says otherwise is aliasing.

    `shifts`: positions along all axes, or one number an axis each; by default -8 to 8, at most a quarter of the side.
    `angles`: degrees counterclockwise in the last two axes; by default each 15 up to 180. `scales`: by default 0.5 to
    2. `layers`: module paths; by default those of `find_layers`. `border`: what comes in at the edge: edge, zeros,
    reflect, or circular (of shifts; what is turned or scaled then has its edge repeated).

    Raises InputError for an unknown border or layer, a rotation of a signal, a scale that is not positive, and where
    the network cannot be traced. Source: Goodfellow et al. 2016, "Deep learning", section 9.2; LeCun et al. 1998,
    section VII; Azulay & Weiss 2019, "Why do deep convolutional networks generalize so poorly to small image
    transformations?".

    >>> torch.manual_seed(0) and None
    >>> conv = nn.Conv1d(1, 2, 3, stride=2, padding=1, padding_mode="circular")
    >>> found = equivariance(conv, torch.rand(4, 1, 16), shifts=[1, 2], scales=[], border="circular")
    >>> (found.equivariance[:, 0] < 1e-6).tolist()  # an even shift is a whole position of the map
    [False, True]
    """
    x = checked(model, x)
    motions = _motions(x, shifts, angles, scales, border)
    paths, count = find_layers(model, x, layers)
    chosen = list(dict.fromkeys([*paths, ""]))
    where = places(model, x, chosen)
    sums = torch.zeros(len(ERRORS), len(motions), len(chosen), dtype=torch.float64)
    same = torch.zeros(len(motions), dtype=torch.float64)
    compare = _Comparison(where, tuple(x.shape[2:]), border)
    classes = False
    size = max(1, CHUNK // max(1, x[0].numel()))
    with (
        examined(model) as model,
        torch.no_grad(),
        reporting(progress, len(motions) * len(x), "equivariance") as report,
    ):
        for part in x.split(size):  # type: ignore[no-untyped-call]
            still = run_layers(model, part, chosen)
            classes = still[""].dim() == 2 and still[""].shape[1] > 1
            for m, motion in enumerate(motions):
                turned = run_layers(model, motion.image(part, border), chosen)
                for number, path in enumerate(chosen):
                    sums[:, m, number] += compare(motion, path, still[path], turned[path])
                if classes:
                    same[m] += (turned[""].argmax(1) == still[""].argmax(1)).sum().cpu()
                report(len(part))
    errors = (sums / len(x)).float()[:, :, [number for number, path in enumerate(chosen) if path in paths]]
    unchanged = (same / len(x)).float() if classes else None
    strides = tuple(None if (p := where[path]) is None else tuple(map(float, p.stride)) for path in paths)
    moves, inside, stays = errors
    facts = (unchanged, len(x), border, count)
    return Equivariance(motions, tuple(paths), strides, moves, inside, stays, *facts)


@dataclass(frozen=True)
class Consistency:
    """What `consistency` found: how often two shifts of one item get one answer, and how often it is the right one.

    `share`: of pairs of shifts, mean over items; `interval`: 95 %, by bootstrap over items. `accuracy` of the shifted
    items with Wilson's interval, None without classes.
    """

    share: float
    interval: Interval
    accuracy: float | None
    accuracy_interval: Interval | None
    items: int
    pairs: int
    most: int
    border: str

    def plot(self, others: Mapping[str, Consistency] | None = None, name: str = "") -> Figure:
        """Both shares with their intervals; of `others`, named, below each other."""
        from striate.interpret.features.curves import draw_consistency

        return draw_consistency({name: self, **(others or {})})

    def table(self) -> Table:
        """Both shares."""
        table = Table("measure", "share", "95 %", title=f"shifts of up to {self.most}, border {self.border}")
        low, high = self.interval
        table.add_row("two shifts, one answer", f"{self.share:.2%}", f"{low:.2%} to {high:.2%}")
        if self.accuracy is not None and self.accuracy_interval is not None:
            low, high = self.accuracy_interval
            table.add_row("right answers of shifted items", f"{self.accuracy:.2%}", f"{low:.2%} to {high:.2%}")
        return table

    def json(self) -> dict[str, Any]:
        """As plain types."""
        return asdict(self)

    def save(self, path: str | Path) -> None:
        """Write `json` into a file."""
        write_atomically(Path(path), (json.dumps(self.json(), indent=2) + "\n").encode())


def consistency(
    model: nn.Module,
    batches: Set,
    *,
    most: int,
    pairs: int = 5,
    border: str = "edge",
    seed: int = 0,
    progress: Progress = False,
) -> Consistency:
    """Shift consistency: the chance that two random shifts of an item get the same answer (the greatest output).

        share = mean over items, pairs of  [argmax f(shift(x, a)) = argmax f(shift(x, b))],  a, b of -most … most

    Each axis is shifted by its own whole number, drawn anew for each batch and pair. `batches`: with classes as targets
    the accuracy of the shifted items is told, too. Raises InputError for outputs that are no classes, an unknown
    border, and no items. Source: Zhang 2019, "Making convolutional networks shift-invariant again", section 4.1.

    >>> first = nn.Sequential(nn.Flatten())  # says where the greatest value lies
    >>> consistency(first, [torch.eye(8)[:, None]], most=1, pairs=30).share < 0.5
    True
    """
    if most < 0 or pairs < 1:
        raise InputError("no shifts to compare", expected="most of 0 or more, at least 1 pair", got=(most, pairs))
    generator = torch.Generator().manual_seed(seed)
    agreed, right = [], []
    with examined(model) as model, torch.no_grad(), reporting(progress, count_of(batches), "batches") as report:
        for batch in in_batches(batches):
            inputs, targets = taken(batch)
            x = checked(model, inputs)
            same = torch.zeros(len(x), dtype=torch.float64)
            for _ in range(pairs):
                by = torch.randint(-most, most + 1, (2, x.dim() - 2), generator=generator).tolist()
                one, other = (_answers(model(shifted(x, steps, border).clone())) for steps in by)
                same += (one == other).double().cpu() / pairs
                if targets is not None:
                    right += [(answer == targets.to(answer)).double().mean().cpu() * len(x) for answer in (one, other)]
            agreed.append(same)
            report(1)
    if not agreed:
        raise InputError("no items to look at", expected="at least one batch")
    every = torch.cat(agreed)
    n = len(every)
    means = [float(every[torch.from_numpy(drawn)].mean()) for drawn in draws(n, None, 1000, seed)]
    accuracy = float(sum(right)) / (n * 2 * pairs) if right else None
    bounds = None if accuracy is None else wilson(accuracy, n)
    return Consistency(float(every.mean()), percentiles(means, 0.95), accuracy, bounds, n, pairs, most, border)


def _answers(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError("no answers to compare", expected="outputs (n, k) of k classes", got=got)
    return output.argmax(1)


def _motions(
    x: Tensor,
    shifts: Shifts | None,
    angles: Iterable[float] | None,
    scales: Iterable[float] | None,
    border: str,
) -> tuple[Motion, ...]:
    rank = x.dim() - 2
    if border not in BORDERS:
        raise InputError("unknown border", expected=", ".join(BORDERS), got=repr(border))
    if rank not in (1, 2, 3):
        raise InputError("cannot move this input", expected="1 to 3 spatial axes", got=f"shape {tuple(x.shape)}")
    reach = min(8, min(x.shape[2:]) // 4)
    wanted = range(-reach, reach + 1) if shifts is None else shifts
    steps = [(by,) * rank if isinstance(by, int) else tuple(by) for by in wanted]
    turns = list((range(0, 181, 15) if rank > 1 else ()) if angles is None else angles)
    sizes = list((0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0) if scales is None else scales)
    if any(len(by) != rank for by in steps):
        raise InputError("a shift has a number for each axis", expected=f"{rank} of them", got=steps)
    if turns and rank == 1:
        raise InputError("a signal cannot be turned", expected="2 or 3 spatial axes", got="1", fix="Leave angles out.")
    if any(not size > 0 for size in sizes):
        raise InputError("scales are positive", got=sizes)
    moved = [Motion("shift", by) for by in steps]
    return (*moved, *(Motion("rotation", float(a)) for a in turns), *(Motion("scale", float(s)) for s in sizes))


class _Comparison:
    """The errors of a layer for one motion, summed over items, in the order of `ERRORS`; masks are made once."""

    def __init__(self, where: Mapping[str, Place | None], space: tuple[int, ...], border: str) -> None:
        self.where, self.space, self.border = where, space, border
        self.masks: dict[tuple[Motion, str], tuple[Tensor, Tensor]] = {}

    def __call__(self, motion: Motion, path: str, still: Tensor, turned: Tensor) -> Float[Tensor, "3"]:
        place, apart = self.where[path], _relative(turned, still).sum().cpu()
        if place is None:
            return torch.stack([torch.full_like(apart, math.nan)] * 2 + [apart])
        if (motion, path) not in self.masks:
            self.masks[motion, path] = self._masks(motion, place, still)
        goal = motion.on_map(still, place, self.space, self.border)
        errors = []
        for mask in self.masks[motion, path]:
            away = _relative(turned * mask, goal * mask).sum().cpu()
            errors.append(away if bool(mask.any()) else torch.full_like(away, math.nan))
        return torch.stack([*errors, apart])

    def _masks(self, motion: Motion, place: Place, y: Tensor) -> tuple[Bool[Tensor, "..."], Bool[Tensor, "..."]]:
        """The map's positions that can be compared, and those among them that saw nothing but the input itself."""
        sides = tuple(y.shape[2:])
        before = place.clear(torch.ones(*self.space, dtype=torch.bool), sides)
        whole = torch.stack([torch.ones(*sides), before.float()])[None]
        there, carried = motion.on_map(whole, place, self.space, self.border)[0] > 0.999
        after = place.clear(motion.valid(self.space, self.border), sides)
        return there.to(y.device), (there & carried & after).to(y.device)


def _relative(one: Tensor, other: Tensor) -> Float[Tensor, " n"]:
    """|one - other| / |other| of each item; 0 where both are 0."""
    away, size = ((part.flatten(1).double().norm(dim=1)) for part in (one - other, other))
    return torch.where(away > 0, away / size.clamp_min(1e-30), 0.0)


def _plain(rows: list[list[float]]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in rows]
