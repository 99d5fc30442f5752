"""The verbs that tell what a network is, before it runs."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table
from tyro.conf import Positional

from striate.cli.screen import print_json, print_line, print_table
from striate.errors import InputError

AXES = {2: "2 axes, c x t", 3: "3 axes, c x h x w", 4: "4 axes, c x d x h x w"}  # of one input


@dataclass(frozen=True)
class Zoo:
    """List the networks of the zoo, or all that is known of one."""

    network: Annotated[Positional[str | None], tyro.conf.arg(metavar="[NETWORK]")] = None
    """A network of the list."""
    json: bool = False
    """Print JSON: a list, or one object."""

    def run(self) -> None:
        """Print the networks."""
        from striate.zoo import ARCHITECTURES

        if self.network is not None:
            facts = ARCHITECTURES[self.network.partition(":")[0]].json()
            lines = [f"{key}: {value}" for key, value in facts.items() if value not in ("", None, (), False)]
            if self.json:
                print_json(facts)
            else:
                print_line("\n".join(lines))
            return
        if self.json:
            print_json([entry.json() for entry in ARCHITECTURES.values()])
            return
        table = Table("network", "year", "input", "parameters", "MACs", "what it is")
        for entry in ARCHITECTURES.values():
            shape = "x".join(map(str, entry.input)) + " tokens" * entry.tokens
            counts = f"{entry.parameters:,}", f"{entry.macs:,}"
            table.add_row(entry.name, str(entry.year), shape, *counts, entry.summary)
        print_table(table)


@dataclass(frozen=True)
class Describe:
    """Size up a network before it runs: shapes, parameters, MACs, memory, and what each layer sees."""

    network: Annotated[Positional[str], tyro.conf.arg(metavar="NETWORK")]
    """A network of the zoo, the folder of a run, or module:callable for your own."""
    input: str | None = None
    """Shape of one input, as 3x224x224, or 20:int64 for whole numbers; several with commas between. By default the one
    that the network was made for."""
    everything: bool = False
    """Show views and reshapes, too."""
    html: Path | None = None
    """Write a page with the network drawn, too."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print the report."""
        from striate.geometry import describe

        given = None if self.input is None else read_inputs(self.input)
        model, shape = find_network(self.network, given)
        if shape is None:
            raise InputError("the input has no known shape", where=self.network, fix="Add --input 3x224x224, say.")
        report = describe(model, shape)
        if self.html is not None:
            try:
                self.html.write_text(report.html(), encoding="utf-8")
            except OSError as error:
                raise InputError("cannot write the page", where=self.html, got=error.strerror) from error
        if self.json:
            print_json(report.json())
            return
        print_table(report.table(self.everything))
        for name, text in report.summary().items():
            print_line(f"{name}: {text}")


def find_network(name: str, given: Any) -> tuple[Any, Any]:
    """The network of the zoo, of a run, or that `module:callable` returns; and the input: `given`, or its own."""
    import torch

    from striate.runs import load
    from striate.zoo import ARCHITECTURES

    base, _, rest = name.partition(":")
    if base in ARCHITECTURES:
        return network_of_zoo(name, given)
    if Path(name).is_dir():
        model, card = load(name)
        return model, tuple(card.input_shape) if given is None else given
    if not rest:
        return ARCHITECTURES[name], None  # raises, with the nearest names
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = functools.reduce(getattr, rest.split("."), importlib.import_module(base))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError("there is no such callable", got=name, expected="module:callable", fix=f"{error}.") from error
    except Exception as error:
        raise InputError("the module cannot be imported", where=base, got=f"{type(error).__name__}: {error}") from error
    if callable(made) and not isinstance(made, torch.nn.Module):
        try:
            made = made()
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
            fix = "Name a callable that needs no arguments."
            raise InputError("the network cannot be made", where=name, got=got, fix=fix) from error
    if not isinstance(made, torch.nn.Module):
        got = f"{type(made).__name__} {made!r}"
        raise InputError("this is no network", where=name, expected="a torch.nn.Module", got=got)
    return made, given


def network_of_zoo(name: str, given: Any) -> tuple[Any, Any]:
    """The network, without memory, with the channels and the size of the shape that is given; and its input."""
    import torch

    from striate.registry import parse_spec
    from striate.zoo import ARCHITECTURES, build

    base, own = parse_spec(name)
    entry, options = ARCHITECTURES[base], {}
    like = tuple(entry.example(entry.bind(own)).shape[1:])
    fits = isinstance(given, tuple) and all(isinstance(side, int) for side in given)
    if fits and len(given) != len(like):
        expected = "1 axis, length" if entry.tokens else AXES[len(like)]
        got, fix = f"{len(given)}, {'x'.join(map(str, given))}", f"Add --input {'x'.join(map(str, like))}, say."
        raise InputError("the network cannot take this input", where=base, expected=expected, got=got, fix=fix)
    if fits and not entry.tokens:
        options["in_channels"] = given[0]
    if fits and entry.takes_input_size and "input_size" not in own:
        options["input_size"] = given if entry.tokens else given[1:]
    with torch.device("meta"):
        model = build(name, **options)
    if fits and entry.tokens:
        return model, torch.zeros((1, *given), dtype=torch.int64, device="meta")
    return model, entry.example(entry.bind(own) | options) if given is None else given


def read_inputs(text: str) -> Any:
    """What `describe` takes: the shape 3x224x224, an example for 20:int64, a tuple for several with commas between."""
    import torch

    parts: list[Any] = []
    for part in text.split(","):
        sides, _, kind = part.partition(":")
        dtype = getattr(torch, kind, None) if kind else None
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sides) or (kind and not isinstance(dtype, torch.dtype)):
            raise InputError("this is no shape", where="--input", expected="3x224x224 or 20:int64, say", got=repr(part))
        shape = tuple(map(int, sides.split("x")))
        parts.append(torch.empty((1, *shape), dtype=dtype, device="meta") if dtype else shape)
    return parts[0] if len(parts) == 1 else tuple(parts)
