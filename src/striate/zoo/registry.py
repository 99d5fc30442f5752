"""Networks by name: one decorated function each, with the facts that its paper states."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import nn

from striate.errors import InputError
from striate.recipe import read_as
from striate.registry import Between, Registry, bind_options, parse_spec

# What training takes from the data: in a name these stand with their key or not at all.
FROM_DATA = ("num_classes", "in_channels", "input_size")
# Annotations that are checked; others are left to the network's constructor.
PLAIN, UNIONS = (int, float, str, bool), (Union, types.UnionType, Literal)


@dataclass(frozen=True)
class Architecture:
    """A network of the zoo and what is known of it, for its default options.

    `input` is the shape (c, h, w) that it was made for, `least` the smallest height or width that it takes,
    `parameters` and `macs` (multiply-adds of convolutions and matrix products, one image of shape `input`) what
    a contract test counts. `note` holds what the paper says where it differs, and why.
    """

    name: str
    function: Callable[..., nn.Module]
    paper: str
    input: tuple[int, int, int]
    least: int
    parameters: int
    macs: int
    note: str

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
        kept = ("name", "paper", "input", "least", "parameters", "macs", "note", "summary", "options")
        return {key: getattr(self, key) for key in kept}

    @property
    def takes_input_size(self) -> bool:
        """Whether the weights depend on the size of the image."""
        return "input_size" in self.options

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


def architecture(
    *,
    paper: str,
    input: tuple[int, int, int],
    least: int,
    parameters: int,
    macs: int,
    note: str = "",
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register the decorated function as the network of its own name."""

    def register(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        name = function.__name__
        ARCHITECTURES.add(Architecture(name, function, paper, input, least, parameters, macs, note))
        return function

    return register


def build(name: str, *, num_classes: int = 10, in_channels: int | None = None, **options: Any) -> nn.Module:
    """Build a network of the zoo with fresh random weights.

    `name` may carry options: `build("lenet5:variant=modern")` is `build("lenet5", variant="modern")`.
    `in_channels` is by default what the network was made for. The forward takes Float[n, in_channels, h, w]
    and returns logits Float[n, num_classes]; weights are drawn from torch's global generator.

    Raises InputError for an unknown network or option (with the nearest names), for a value of a wrong type or out of
    range, for an option both in the name and beside it, for less than two classes or one channel, and for an input
    size below the network's least.
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
    options = own | entry.bind(options)
    if in_channels is None:
        in_channels = entry.input[0]
    options = {"num_classes": num_classes, "in_channels": in_channels} | options
    for key, least in (("num_classes", 2), ("in_channels", 1)):
        if not isinstance(options[key], int) or options[key] < least:
            raise InputError(
                f"cannot build network {base}",
                where=key,
                expected=f"a whole number of at least {least}",
                got=repr(options[key]),
            )
    if "input_size" in options:
        options["input_size"] = as_size(options["input_size"], base, entry.least)
    try:
        return entry.function(**options)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot build network {base}", where=options, got=reason) from error


def as_size(size: Any, network: str, least: int) -> tuple[int, int]:
    """Height and width from one number or two; InputError below `least`."""
    pair = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and side >= least for side in pair):
        raise InputError(
            f"the image is smaller than network {network} can take",
            where="input_size",
            expected=f"at least {least}x{least} pixels",
            got="x".join(map(str, pair)),
            fix=f"Enlarge the images (--image-size {least}) or choose another network (striate zoo).",
        )
    return pair[0], pair[1]


def names() -> tuple[str, ...]:
    """Names of all networks, in the order of registration."""
    return tuple(ARCHITECTURES)
