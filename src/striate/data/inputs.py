"""Kinds of input by name: what turns the items of a source into tensors that a network takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from striate.data.items import Input, Reading
from striate.errors import InputError
from striate.registry import Registry, bind_options, parse_spec
from striate.shapes import Tensor


@dataclass(frozen=True)
class InputKind:
    """A registered kind of input: `reads` names the kinds of raw data (see `Source`) that its `fit` takes."""

    name: str
    form: Any
    reads: tuple[str, ...]

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(self.form) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, Any]:
        """What a recipe may say of it, with the defaults."""
        parameters = list(inspect.signature(self.form.fit).parameters.values())[2:]
        return {p.name: p.default for p in parameters}


INPUTS: Registry[InputKind] = Registry("kind of input")


def input_kind(name: str, *, reads: tuple[str, ...]) -> Callable[[type], type]:
    """Register the decorated class, an `Input` with the class methods `fit` and `from_json`, under `name`."""

    def add(form: type) -> type:
        INPUTS.add(InputKind(name, form, reads))
        return form

    return add


def fit_input(spec: str, kind: str, raw: Any, reading: Reading, **given: Any) -> tuple[Tensor, Input, list[int]]:
    """Stored inputs, the fitted kind of input that `spec` names, and the positions of broken items.

    `kind` is that of the raw data; `given` are options from elsewhere than the spec, None where there is none.
    Raises InputError for a kind of input that does not read it, and for unknown options.
    """
    name, own = parse_spec(spec)
    entry = INPUTS[name]
    if kind not in entry.reads:
        fitting = [other.name for other in INPUTS.values() if kind in other.reads]
        raise InputError(
            f"this kind of input does not read {kind}",
            where=f"inputs {name}, data {reading.where}",
            expected=" or ".join(fitting),
            got=name,
        )
    options = own | {key: value for key, value in given.items() if value is not None}
    stored, fitted, corrupt = entry.form.fit(
        raw, reading, **bind_options("kind of input", name, entry.form.fit, options, skip=2)
    )
    return stored, fitted, corrupt


def read_input(stored: Mapping[str, Any]) -> Input:
    """The kind of input of a card: the inverse of its `json`; InputError for one that cannot be understood."""
    if not isinstance(stored, Mapping) or "kind" not in stored:
        raise InputError("a kind of input is not named", expected=" or ".join(INPUTS), got=repr(stored)[:60])
    form: Input = INPUTS[stored["kind"]].form.from_json(stored)
    return form
