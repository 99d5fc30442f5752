"""Mutagenesis in silico: change a sequence letter by letter, or by given variants, see what the output does."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.map import Changes
from striate.interpret.scoring import feeding
from striate.interpret.sequences import Edit, as_one_hot, changes, letters_of, one_hot, substitutions
from striate.interpret.sweep import Change, Progress, Target, described, native, reporting, sweep
from striate.locality.patch.engine import PatchEngine
from striate.shapes import Float, Num, Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDITS = ("substitution", "insertion", "deletion")
GAP = "-"  # how no letter is written


@dataclass(frozen=True, eq=False, repr=False)
class MutationMap(Changes):
    """Scores of `mutagenesis`. The axes are the letter put in ("-" for deletions) and the position; of several
    sequences the first axis of `base` and `scores` is the sequence."""

    def heatmap(self) -> Float[Tensor, "..."]:
        """How much a position matters, (*outputs, length): base - score, the mean over all that was tried there."""
        tried = self.tried().to(self.scores)
        if len(self.x) == 1:
            tried = tried[0]
        else:
            tried = tried.reshape(len(tried), *[1] * (self.base.dim() - 1), *tried.shape[1:])
        return -(self.change * tried).sum(-2) / tried.sum(-2)

    def tried(self) -> Tensor:
        """Which entries are changes, (n, letters, length): all but the letter that is there already."""
        if self.parameters["edit"] == "substitution":
            return self.x != 1
        return torch.ones(len(self.x), *map(len, self.axes.values()), dtype=torch.bool)

    def text(self, item: int = 0) -> str:
        """The sequence in letters, N where a letter is not known."""
        return letters_of(self.x[item], self.parameters["alphabet"])

    def plot(self, output: int | Sequence[int] | None = None) -> Figure:
        """Letters by positions: red where the change raises the output, blue where it lowers it."""
        from striate.interpret.pictures import draw_mutations

        return draw_mutations(self, self.output(output))

    def logo(self, output: int | Sequence[int] | None = None) -> Figure:
        """The sequence, each letter as high as it matters (see `heatmap`): upright where the output needs it, hanging
        down where the output would rise without it."""
        from striate.interpret.letter_pictures import Meaning, draw_letters
        from striate.interpret.pictures import titled

        chosen = self.output(output)
        text = self.text(chosen[0] if len(self.x) > 1 else 0)
        means = Meaning("changes of the letter lower the output", "they raise it")
        return draw_letters(self.heatmap()[chosen], text, titled(self, chosen), means, "mean drop of the output")


@dataclass(frozen=True, eq=False, repr=False)
class VariantMap(Changes):
    """Scores of `variants`, one for each of them in the order given."""

    def heatmap(self) -> Float[Tensor, "..."]:
        """The mean drop, base - score, of the variants that begin at a position; NaN where none does."""
        at = torch.tensor(self.parameters["positions"])
        length = self.x.shape[2] + 1  # an insertion may stand at the end
        begins = torch.nn.functional.one_hot(at, length).to(self.scores)
        return (-self.change @ begins / begins.sum(0))[..., :-1]

    def plot(self, output: int | Sequence[int] | None = None) -> Figure:
        """A bar for each of the 40 variants with the greatest effect."""
        from striate.interpret.pictures import draw_variants

        return draw_variants(self, self.output(output))


def mutagenesis(
    model: nn.Module,
    x: str | Sequence[str] | Num[Tensor, "n letters t"],
    *,
    edit: str = "substitution",
    target: Target = None,
    alphabet: str | None = None,
    unknown: float | None = None,
    layer: str = "",
    progress: Progress = False,
) -> MutationMap:
    """The output after each single change of a sequence: every letter at every position.

    `x`: one-hot (1, letters, length), or text; several sequences of one length as (n, letters, length) or a list.
    `edit`: "substitution" by each other letter (where the letter is the same, the score is that of x itself);
    "insertion" of each letter before each position: what follows moves on, and the last letter is lost; "deletion" of
    each letter: what follows moves up, and an unknown letter (zeros, or `unknown`) comes in at the end.
    `alphabet`: a letter for each channel, "ACGT" for four. `unknown`: the value of all channels of letters that are
    not known (N); without it there may be none. `target`, `layer`, `progress`: as for `striate.interpret.occlusion`.

    `scores` are (outputs, letters, length), without the first axis for one target index, with n in front for n > 1
    sequences; deletions have one row. Runs `PatchEngine`: each change recomputes only what it reaches, and equals
    the full run; deletions and insertions reach all that follows.

    Raises InputError for letters and columns that are none, and names the position.
    Source: Zhou & Troyanskaya 2015, "Predicting effects of noncoding variants with deep learning–based sequence
    model", online methods (in silico saturated mutagenesis).

    >>> count = nn.Conv1d(4, 1, 3, bias=False)  # how often G stands in three letters
    >>> _ = nn.init.zeros_(count.weight).data[0, 2].fill_(1)
    >>> found = mutagenesis(nn.Sequential(count, nn.Flatten()), "ACG")
    >>> found.base, found.scores[0]
    (tensor([1.]), tensor([[1., 1., 0.],
            [1., 1., 0.],
            [2., 2., 1.],
            [1., 1., 0.]]))
    """
    alphabet = alphabet_of(x, alphabet)
    if edit not in EDITS:
        raise InputError("unknown edit", expected=" or ".join(EDITS), got=edit)
    sequences = as_one_hot(x, alphabet, unknown, native(model, x))
    length = sequences.shape[2]
    rows: list[int | str] = [GAP] if edit == "deletion" else [*alphabet]
    with feeding(model, sequences[:1]):
        engine = PatchEngine(model, sequences[:1], layer=layer)
    engines = (engine.on(sequence[None]) if item else engine for item, sequence in enumerate(sequences))
    what = f"{edit}s" + (f" of {len(sequences)} sequences" if len(sequences) > 1 else "")
    found, plan = [], None
    with reporting(progress, len(sequences) * len(rows) * length, what) as report:
        for sequence, here in zip(sequences, engines, strict=True):
            edits = _every(edit, sequence, unknown or 0.0)
            found.append(sweep(here, edits, (len(rows), length), target, report))
            if plan is None or (here.whole and not plan.whole):
                plan = here.plan()
    base, scores = found[0] if len(found) == 1 else (torch.stack(part) for part in zip(*found, strict=True))
    parameters = {"edit": edit, "alphabet": alphabet, "unknown": unknown, "target": described(target), "layer": layer}
    axes: dict[str, Sequence[int | str]] = {"letter": rows, "position": range(length)}
    return MutationMap(f"mutagenesis by {edit}", sequences.cpu(), base, scores, axes, parameters, plan)


def variants(
    model: nn.Module,
    x: str | Num[Tensor, "n letters t"],
    given: Iterable[tuple[int, str, str]],
    *,
    following: str | Num[Tensor, "letters k"] = "",
    target: Target = None,
    alphabet: str | None = None,
    unknown: float | None = None,
    layer: str = "",
    progress: Progress = False,
) -> VariantMap:
    """The output after each of the given variants (position, reference, alternative) of one sequence (n = 1).

    As in VCF files, except that `position` counts from 0, and from the start of x: (7, "A", "C") is a substitution,
    (7, "AT", "A") a deletion, (7, "A", "ATT") an insertion; without the common letter, "" says none, and an insertion
    may stand at the end (position = length), where nothing of it is left. The length
    stays: after an insertion the end is cut; after a deletion letters come in from `following`, the letters after x,
    then unknown ones (zeros, or `unknown`). The other arguments are those of `mutagenesis`.

    `scores` are (outputs, variants), or (variants,) for one target index.

    Raises InputError for a reference that is not what x has there, a position outside of x, an unknown letter.

    >>> first = nn.Sequential(nn.Conv1d(4, 1, 1), nn.Flatten())
    >>> _ = nn.init.zeros_(first[0].weight).data[0, 2].fill_(1), nn.init.zeros_(first[0].bias)  # 1 where G stands
    >>> variants(first, "ACGT", [(1, "C", "G"), (0, "A", ""), (0, "A", "AA")]).scores.T
    tensor([[0., 1., 1., 0.],
            [0., 1., 0., 0.],
            [0., 0., 0., 1.]])
    """
    alphabet = alphabet_of(x, alphabet)
    sequences = as_one_hot(x, alphabet, unknown, native(model, x))
    if len(sequences) != 1:
        raise InputError("variants are those of one sequence", got=f"{len(sequences)} sequences", fix="Call for each.")
    sequence, listed = sequences[0], list(given)
    if not listed:
        raise InputError("no variants are given", expected="(position, reference, alternative)", got="none")
    edits = [_edit(sequence, variant, alphabet, unknown) for variant in listed]
    tail = _tail(following, alphabet, unknown, sequence)
    filler = torch.full((len(alphabet), max(edit.removed for edit in edits)), unknown or 0.0).to(sequence)
    with feeding(model, sequences):
        engine = PatchEngine(model, sequences, layer=layer)
    made = changes(sequence, edits, torch.cat([tail, filler], 1))
    with reporting(progress, len(edits), "variants") as report:
        base, scores = sweep(engine, made, (len(edits),), target, report)
    parameters = {"alphabet": alphabet, "unknown": unknown, "target": described(target), "layer": layer}
    parameters["positions"] = [position for position, _, _ in listed]
    labels = [f"{position} {reference or GAP}>{alternative or GAP}" for position, reference, alternative in listed]
    axes = {"variant": labels}
    return VariantMap("variant effects", sequences.cpu(), base, scores, axes, parameters, engine.plan())


def _every(edit: str, sequence: Float[Tensor, "letters t"], unknown: float) -> Iterable[Change]:
    """Each change of a kind at each position, numbered as (letters, t)."""
    if edit == "substitution":
        return substitutions(sequence)
    letters, length = sequence.shape
    eye = torch.eye(letters).to(sequence)
    if edit == "insertion":
        edits = [Edit(position, 0, eye[:, i : i + 1]) for i in range(letters) for position in range(length)]
    else:
        edits = [Edit(position, 1, eye[:, :0]) for position in range(length)]
    return changes(sequence, edits, torch.full((letters, 1), unknown).to(sequence))


def _tail(following: Any, alphabet: str, unknown: float | None, like: Tensor) -> Float[Tensor, "letters k"]:
    """The columns after a sequence, of none too."""
    if isinstance(following, str):
        return one_hot(following, alphabet, unknown, "following").to(like)
    if not isinstance(following, torch.Tensor):
        expected = "text or a tensor (letters, k)"
        raise InputError("what follows is no sequence", expected=expected, got=type(following).__name__)
    return as_one_hot(following[None], alphabet, unknown, like)[0] if following.numel() else like[:, :0]


def _edit(
    sequence: Float[Tensor, "letters t"], variant: tuple[int, str, str], alphabet: str, unknown: float | None
) -> Edit:
    """A variant without the letters that reference and alternative have in common, checked against the sequence."""
    position, reference, alternative = variant
    length = sequence.shape[1]
    if not 0 <= position <= length - len(reference):
        got = f"{len(reference)} letters from position {position}"
        last = length - bool(reference)
        raise InputError("a variant lies outside of the sequence", where=variant, expected=f"0 to {last}", got=got)
    there = one_hot(reference, alphabet, 0.0).to(sequence) == 1
    stands = sequence[:, position : position + len(reference)] == 1
    if not torch.equal(there, stands):
        raise InputError(
            "the reference is not what the sequence has",
            where=f"position {position}",
            expected=letters_of(sequence[:, position : position + len(reference)], alphabet),
            got=reference,
            fix="Positions count from 0 at the start of x.",
        )
    added = one_hot(alternative, alphabet, unknown, f"the alternative of {variant}").to(sequence)
    common = _common(reference, alternative)
    reference, alternative = reference[common:], alternative[common:]
    shared = _common(reference[::-1], alternative[::-1])
    return Edit(position + common, len(reference) - shared, added[:, common : common + len(alternative) - shared])


def _common(one: str, other: str) -> int:
    """How many letters two texts begin with alike."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def alphabet_of(x: Any, alphabet: str | None) -> str:
    """As given; else ACGT for text and four channels, digits and letters for other numbers of them."""
    if alphabet is None:
        channels = x.shape[1] if isinstance(x, Tensor) and x.dim() == 3 else 4
        alphabet = "ACGT" if channels == 4 else (string.digits + string.ascii_letters)[:channels]
    if len(set(alphabet)) != len(alphabet) or not alphabet:
        raise InputError("the letters of an alphabet differ", got=repr(alphabet))
    return alphabet
