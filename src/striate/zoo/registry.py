"""Networks by name: one decorated function each, with the facts that its paper states."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn

from striate.errors import InputError
from striate.recipe import read_as
from striate.registry import Between, Registry, bind_options, parse_spec
from striate.shapes import Tensor
from striate.zoo.features import features_only as backbone

# What training takes from the data: in a name these stand with their key or not at all.
FROM_DATA = ("num_classes", "in_channels", "input_size")
# Annotations that are checked; others are left to the network's constructor.
PLAIN, UNIONS = (int, float, str, bool), (Union, types.UnionType, Literal)


@dataclass(frozen=True)
class Architecture:
    """A network of the zoo and what is known of it, for its default options.

    `input` is the shape (c, *spatial) that it was made for, or (length,) for `tokens`: whole numbers below
    `in_channels`, the size of the vocabulary. `output` is the shape of its output, by default (num_classes,).
    `least` is the smallest side that it takes, `multiple` what every side must be a multiple of. `parameters` and
    `macs` (multiply-adds of convolutions and matrix products, one item of shape `input`) are counted by a contract
    test. `published` and `lectures` are the parameters as the paper and the lectures state them, in their words; `note`
    says why they differ and what the paper leaves open. `aliases` are other names that `build` takes.
    """

    name: str
    function: Callable[..., nn.Module]
    paper: str
    year: int
    input: tuple[int, ...]
    parameters: int
    macs: int
    least: int
    multiple: int = 1
    output: tuple[int, ...] | None = None
    tokens: bool = False
    published: str = ""
    lectures: str = ""
    note: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, Any]:
        """Options that the function takes, with their defaults."""
        return {p.name: p.default for p in inspect.signature(self.function).parameters.values()}

    def json(self) -> dict[str, Any]:
        """The entry as plain types."""
        facts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "function"}
        return facts | {"summary": self.summary, "options": self.options}

    @property
    def classifies_images(self) -> bool:
        """Whether it maps an image to one score for each class."""
        return len(self.input) == 3 and self.output is None and not self.tokens

    @property
    def takes_input_size(self) -> bool:
        """Whether the weights depend on the size of the image."""
        return "input_size" in self.options

    def as_size(self, size: Any) -> tuple[int, ...]:
        """One side of the input for each spatial axis, from one number or all; InputError for one that does not fit."""
        rank = max(1, len(self.input) - 1)
        sides = tuple(size) if isinstance(size, Sequence) else (size,) * rank
        fits = all(isinstance(side, int) and side >= self.least and side % self.multiple == 0 for side in sides)
        if len(sides) == rank and fits:
            return sides
        step = f", in multiples of {self.multiple}" if self.multiple > 1 else ""
        unit = "pixels" if rank == 2 else "samples"
        raise InputError(
            f"network {self.name} cannot take an input of this size",
            where="input_size",
            expected=f"at least {'x'.join([str(self.least)] * rank)} {unit}{step}",
            got="x".join(map(str, sides)),
            fix="Enlarge the input (training: --image-size, or --inputs bases:length=...) or choose another network.",
        )

    def example(self, options: Mapping[str, Any]) -> Tensor:
        """An input (on meta: no memory) for the network built with these options."""
        facts = self.options | dict(options)
        space = self.input if self.tokens else self.input[1:]
        if "input_size" in facts:
            space = self.as_size(facts["input_size"])
        if "rank" in facts:
            space = space[:1] * facts["rank"]
        if self.tokens:
            return torch.zeros(1, *space, dtype=torch.int64, device="meta")
        return torch.empty(1, facts["in_channels"], *space, device="meta")

    def bind(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a name (`parse_spec`) by their keys, checked; a value without a key is the first of its own.

        Raises InputError for an unknown option, and for a value that does not fit the function's annotation.
        """
        bound = bind_options("network", self.name, self.function, options, filled=FROM_DATA)
        hints = get_type_hints(self.function, include_extras=True)
        return {k: v if k in FROM_DATA else self._checked(k, v, hints.get(k, Any)) for k, v in bound.items()}

    def _checked(self, key: str, value: Any, hint: Any) -> Any:
        what = f"cannot build network {self.name}"
        if get_origin(hint) is Annotated:
            hint, *allowed = get_args(hint)
            for values in allowed:
                if isinstance(values, Between) and value not in values:
                    raise InputError(what, where=key, expected=values, got=repr(value))
        return read_as(hint, value, f"{what}: {key}") if hint in PLAIN or get_origin(hint) in UNIONS else value


ARCHITECTURES: Registry[Architecture] = Registry("network")


def architecture(**facts: Any) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register the decorated function as the network of its own name; `facts` are the fields of Architecture."""

    def register(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        entry = Architecture(function.__name__, function, **facts)
        ARCHITECTURES.add(entry, entry.aliases)
        return function

    return register


def build(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features_only: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a network of the zoo with fresh random weights.

    `name` may carry options: `build("lenet5:variant=modern")` is `build("lenet5", variant="modern")`. `num_classes`
    (scores, or values, for each item or position) and `in_channels` are by default what the network was made for. The
    forward takes Float[n, in_channels, *spatial], or Int[n, length] of numbers below `in_channels` where the entry
    says `tokens`; classifiers return logits Float[n, num_classes]. With `features_only` the forward returns the
    maps at each stride (`striate.zoo.features_only`). Weights are drawn from torch's global generator.

    Raises InputError for an unknown network or option (with the nearest names), for a value of a wrong type or out of
    range, for an option both in the name and beside it, for less than one class or channel, and for an input size that
    the network cannot take.
    """
    base, inline = parse_spec(name)
    entry = ARCHITECTURES[base]
    if fixed := {"num_classes", "in_channels"} & set(inline):
        raise InputError(
            "the classes and channels of a network are no part of its name",
            where=name,
            got=min(fixed),
            fix=f"Pass {min(fixed)} to build; training takes both from the data.",
        )
    own = entry.bind(inline)
    if twice := own.keys() & options.keys():
        fix = f"Take {min(twice)} out of the name{' (training: --image-size)' * (min(twice) == 'input_size')}."
        raise InputError("an option is given twice", where=f"network {name}", got=min(twice), fix=fix)
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    options = own | entry.bind(options | {key: size for key, size in sizes.items() if size is not None})
    for key in sizes.keys() & options.keys():
        if type(options[key]) is not int or options[key] < 1:
            expected, got = "a whole number of at least 1", repr(options[key])
            raise InputError(f"cannot build network {entry.name}", where=key, expected=expected, got=got)
    if "input_size" in options:
        options["input_size"] = entry.as_size(options["input_size"])
    try:
        model = entry.function(**options)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot build network {base}", where=options, got=reason) from error
    return backbone(model, entry.example(options)) if features_only else model


def names() -> tuple[str, ...]:
    """Names of all networks, in the order of registration."""
    return tuple(ARCHITECTURES)
