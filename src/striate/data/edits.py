"""Random changes of texts and sequences that keep their label: whole batches at once, each item with its own draws.

Every function takes what the network gets (`Input.units`), the kind of input, and a generator, and leaves the items as
they are at zero strength. Draws come from the generator's own device, so a CPU generator gives the same changes on any.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from striate.data.augment.registry import Allowed, words
from striate.data.items import Input
from striate.data.symbols import PADDING, UNKNOWN, Bases, Symbols, Words
from striate.errors import InputError
from striate.registry import Between, Registry, bind_options, parse_spec
from striate.shapes import Float, Int64, Tensor

Change = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Edit:
    """A registered change: the kind of input that it is for, and the values that its options may have."""

    name: str
    function: Callable[..., Tensor]
    example: str
    form: type[Symbols]
    allowed: Mapping[str, Allowed]

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


EDITS: Registry[Edit] = Registry("augmentation of sequences")


def edit(
    example: str, form: type[Symbols], **allowed: Allowed
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register the decorated function under its name, for a kind of input, with an `example` and `allowed` values."""

    def add(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        EDITS.add(Edit(function.__name__, function, example, form, allowed))
        return function

    return add


def build_edits(specs: Sequence[str], preprocess: Input) -> Change | None:
    """One function (units, targets, generator) -> (units, targets) that applies `specs` in order; None without specs.

    An unknown name or option, a value out of range and a change of another kind of input raise InputError here.

    >>> change = build_edits(["reverse_complement:1"], Bases(3))
    >>> change(Bases(3)("AAC")[None], torch.ones(1, 1), torch.Generator())[0].argmax(1)  # GTT
    tensor([[2, 3, 3]])
    """
    steps = [_step(spec, preprocess) for spec in specs]
    if not steps:
        return None

    def change(units: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for step in steps:
            units = step(units, generator)
        return units, targets

    return change


def _step(spec: str, preprocess: Input) -> Callable[[Tensor, torch.Generator], Tensor]:
    name, given = parse_spec(spec)
    entry = EDITS[name]
    if not isinstance(preprocess, entry.form):
        expected, got = entry.form.__name__.lower(), type(preprocess).__name__.lower()
        raise InputError("an augmentation of another kind of input", where=name, expected=expected, got=got)
    options = bind_options("augmentation", name, entry.function, given, skip=3)
    for key, value in options.items():
        if value not in entry.allowed[key]:
            expected = words(entry.allowed[key])
            raise InputError("augmentation option", where=f"{name}:{key}", expected=expected, got=value)
    return lambda units, generator: entry.function(units, preprocess, generator, **options)


@edit("reverse_complement:0.5", Bases, p=Between(0, 1))
def reverse_complement(
    units: Float[Tensor, "n 4 t"],
    preprocess: Bases,  # noqa: ARG001
    generator: torch.Generator,
    p: float = 0.5,
) -> Float[Tensor, "n 4 t"]:
    """Read the other strand with probability p: from the end, A for T, C for G and back."""
    turned = torch.rand(len(units), generator=generator, device=generator.device).to(units.device) < p
    # A C G T from the end is T G C A, so the complement turns the channels round.
    return torch.where(turned[:, None, None], units.flip(1, 2), units)


@edit("shift:3", Bases, places=Between(0, 10_000, whole=True))
def shift(
    units: Float[Tensor, "n 4 t"], preprocess: Bases, generator: torch.Generator, places: int = 3
) -> Float[Tensor, "n 4 t"]:
    """Move by up to `places` bases either way; unknown bases come in."""
    length = units.shape[2]
    start = torch.randint(2 * places + 1, (len(units),), generator=generator, device=generator.device)
    padded = F.pad(units, (places, places), value=preprocess.unknown)
    at = start.to(units.device)[:, None] + torch.arange(length, device=units.device)
    return padded.gather(2, at[:, None].expand(-1, units.shape[1], -1))


@edit("drop_words:0.1", Words, p=Between(0, 1))
def drop_words(
    units: Int64[Tensor, "n t"],
    preprocess: Words,  # noqa: ARG001
    generator: torch.Generator,
    p: float = 0.1,
) -> Int64[Tensor, "n t"]:
    """Take each word for the unknown one with probability p; padding stays."""
    dropped = torch.rand(units.shape, generator=generator, device=generator.device).to(units.device) < p
    return torch.where(dropped & (units != PADDING), UNKNOWN, units)
