"""Motif spacing: two motifs put into background sequences at varying distance, the output as a function of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.map import Map
from striate.interpret.motifs import Motif
from striate.interpret.mutagenesis import alphabet_of
from striate.interpret.scoring import feeding
from striate.interpret.sequences import as_one_hot, one_hot
from striate.interpret.sweep import Change, Progress, Target, described, native, reporting, sweep
from striate.locality.patch.engine import PatchEngine
from striate.shapes import Float, Num, Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class SpacingMap(Map):
    """Outputs with both motifs (`scores`), with the first alone (`first`, the axes of `base`), with the second alone
    (`second`, the axes of `scores`) and with neither (`base`). The axis is the distance from the first letter of the
    first motif to that of the second; of several backgrounds the first axis is the background."""

    first: Tensor = field(default_factory=lambda: torch.zeros(()))
    second: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def interaction(self) -> Float[Tensor, "..."]:
        """What both do beyond the sum of each alone: (both - base) - (first - base) - (second - base)."""
        return self.scores - self.second - (self.first - self.base)[..., None]

    @property
    def fold(self) -> Float[Tensor, "..."]:
        """How many times the first motif's output the second makes it: (both - (second - base)) / first.

        Source: Avsec et al. 2021, BPNet, methods ("In silico motif interaction analysis").
        """
        return (self.scores - self.second + self.base[..., None]) / self.first[..., None]

    @property
    def effect(self) -> Float[Tensor, "..."]:
        """What `table` puts in order: the interaction."""
        return self.interaction

    def heatmap(self) -> Float[Tensor, "..."]:
        """The interaction at the position where the second motif begins, NaN where it was never put."""
        heat = self.scores.new_full((*self.base.shape, self.x.shape[2]), float("nan"))
        starts = [self.parameters["position"] + int(distance) for distance in self.axes["distance"]]
        heat[..., starts] = self.interaction
        return heat

    def plot(self, output: int | Sequence[int] | None = None) -> Figure:
        """The change of the output by distance, of both motifs and as the sum of each alone: means of the backgrounds.

        `output`: as for others, without the axis of the backgrounds.
        """
        from striate.interpret.spacing_pictures import draw_spacing

        several = len(self.x) > 1
        if output is None:
            best = self.scores.mean(0) if several else self.scores
            flat = int(best.amax(-1).flatten().argmax()) if best.dim() > 1 else 0
            chosen = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), best.shape[:-1]))
        else:
            chosen = (output,) if isinstance(output, int) else tuple(output)
        self.output((0, *chosen) if several else chosen)
        return draw_spacing(self, chosen)


def motif_spacing(
    model: nn.Module,
    first: str | Motif,
    second: str | Motif,
    backgrounds: str | Sequence[str] | Num[Tensor, "n letters t"],
    *,
    position: int | None = None,
    distances: Sequence[int] | None = None,
    target: Target = None,
    alphabet: str | None = None,
    unknown: float | None = None,
    layer: str = "",
    progress: Progress = False,
) -> SpacingMap:
    """The output for sequences in which the letters of two motifs replace what stands there, at varying distance.

    The first motif stands at `position` (by default in the middle), the second begins `distances` letters after its
    first letter (before it for negative ones; by default at every place where the two do not overlap). A `Motif` stands
    for its consensus. `backgrounds`: one or several sequences of one length, random or shuffled ones; the other
    arguments are those of `striate.interpret.mutagenesis`. Runs `PatchEngine`: each place recomputes what it reaches.

    Raises InputError for motifs that do not fit in or overlap, and for letters that are none.
    Source: Avsec et al. 2021, "Base-resolution models of transcription-factor binding reveal soft motif syntax",
    methods ("In silico motif interaction analysis").

    >>> pair = nn.Sequential(nn.Conv1d(4, 1, 3, bias=False), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    >>> _ = nn.init.zeros_(pair[0].weight).data[0, 0, 0].fill_(1)
    >>> pair[0].weight.data[0, 2, 2] = 1  # A, any letter, G
    >>> found = motif_spacing(pair, "A", "G", "TTTTTTT", target=0)
    >>> found.axes["distance"], found.scores
    ([-3, -2, -1, 1, 2, 3], tensor([1., 1., 1., 1., 2., 1.]))
    >>> found.interaction
    tensor([ 0.,  0., -1., -1.,  0., -1.])
    """
    alphabet = alphabet_of(backgrounds, alphabet)
    x = as_one_hot(backgrounds, alphabet, unknown, native(model, backgrounds))
    one, other = (one_hot(_letters(motif), alphabet, of="a motif").to(x) for motif in (first, second))
    length, wide = x.shape[2], (one.shape[1], other.shape[1])
    place = (length - wide[0]) // 2 if position is None else position
    if not 0 <= place <= length - wide[0] or not min(wide):
        got = f"{wide[0]} letters at {place} of {length}"
        raise InputError("the first motif does not lie within the sequence", expected="some letters", got=got)
    free = [d for d in range(-place, length - wide[1] - place + 1) if d >= wide[0] or d <= -wide[1]]
    chosen = free if distances is None else [int(distance) for distance in distances]
    wrong = [distance for distance in chosen if distance not in set(free)]
    if wrong or not chosen:
        expected = f"{free[0]} to {free[-1]}, without overlap with the first" if free else "room for both"
        raise InputError("the second motif does not fit there", expected=expected, got=wrong[0] if wrong else "none")
    starts = torch.tensor([[place + distance] for distance in chosen])
    with feeding(model, x[:1]):
        engine = PatchEngine(model, x[:1], layer=layer)
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    with reporting(progress, 2 * len(x) * len(chosen), "motif spacings") as report:
        for background in x[:, None]:
            with_first = background.clone()
            with_first[0, :, place : place + wide[0]] = one
            base, alone = sweep(engine.on(background), _put(starts, other), (len(chosen),), target, report)
            only, both = sweep(engine.on(with_first), _put(starts, other), (len(chosen),), target, report)
            rows.append((base, both, only, alone))
    base, scores, only, alone = rows[0] if len(rows) == 1 else (torch.stack(part) for part in zip(*rows, strict=True))
    parameters = {"first": _letters(first), "second": _letters(second), "position": place, "alphabet": alphabet}
    parameters |= {"unknown": unknown, "target": described(target), "layer": layer}
    return SpacingMap("motif spacing", x.cpu(), base, scores, {"distance": chosen}, parameters, only, alone)


def _put(starts: Tensor, motif: Float[Tensor, "letters w"]) -> Iterator[Change]:
    yield torch.arange(len(starts)), starts, motif[None]


def _letters(motif: str | Motif) -> str:
    return motif if isinstance(motif, str) else motif.consensus.upper()
