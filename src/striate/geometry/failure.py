"""Why a network could not be traced, said in one line: where in the network, on which line, and the way out."""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.reading import Shape

# Frames of these say nothing of the network.
TORCH = f"{Path(torch.__file__).parent}{os.sep}"
HERE = f"{Path(__file__).parent}{os.sep}"
WRAPPERS = ("contextlib", "jaxtyping", "beartype")
# What torch says where a forward asks for numbers that meta tensors do not have.
ASKS_FOR_NUMBERS = ("meta tensor", "meta device type", "data-dependent", "unallocated storage")
# Errors that another input may well not raise; all others are bugs of the network.
MAY_BE_THE_SIZE = (InputError, RuntimeError, ValueError, AssertionError, IndexError, ArithmeticError)
DIED = "the network cannot take this input"


class DiedError(InputError):
    """The forward failed on this input; another size may work.

    `features` are those that a linear layer was given and those that it takes, where that is why. `operations` had
    been executed when it failed.
    """

    def __init__(self, what: str, *, where: str, got: str, fix: str = "") -> None:
        super().__init__(what, where=where, got=got, fix=fix)
        self.where, self.got = where, got
        self.features: tuple[int, int] | None = None
        self.operations = 0

    def told(self, more: str, fix: str) -> DiedError:
        """The same, with what is known besides, and the way out."""
        return DiedError(f"{DIED}{more}", where=self.where, got=self.got, fix=fix)


def place(path: str, module: nn.Module) -> str:
    """A module, for people."""
    name = type(module).__name__
    return f"layer {path} ({name})" if path else f"the network itself ({name})"


def explained(error: Exception, path: str, module: nn.Module, shapes: Sequence[Shape]) -> InputError:
    """What the network's own error means; it arose in this module, where these shapes were known last."""
    text = str(error).partition("\n")[0].removesuffix(".")
    where = place(path, module)
    if any(sign in text for sign in ASKS_FOR_NUMBERS):
        return depends_on_numbers(type(error).__name__, where)
    if isinstance(error, NotImplementedError) or not isinstance(error, MAY_BE_THE_SIZE):
        got = f"{type(error).__name__}: {text}"
        return InputError("the forward of the network fails", where=f"{where}, {_line()}", got=got)
    if "meta" in text and "cpu" in text.lower():
        return InputError(
            "a tensor that the forward makes meets the input, which has no numbers here (device meta)",
            where=f"{where}, {_line()}",
            got=text,
            fix="Make it on the device of the input: device=x.device. What needs numbers cannot be traced.",
        )
    died = DiedError(DIED, where=f"at {where}", got=f"{' and '.join(map(_by, shapes))} there: {text}")
    if "scalar types: Long, Int" in text:
        fix = "It takes whole numbers; pass an example: torch.zeros(1, 20, dtype=torch.long), say, or --input 20:int64."
        return InputError(DIED, where=died.where, got=died.got, fix=fix)
    if isinstance(module, nn.Linear) and shapes and shapes[0] and shapes[0][-1] != module.in_features:
        died.features = shapes[0][-1], module.in_features
    return died


def is_own(error: Exception) -> bool:
    """Whether the error was raised by the tracer, not by the network."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return last.filename.startswith(HERE)


def depends_on_numbers(name: str, where: str) -> InputError:
    """The error for control flow on data, with the user's own line."""
    fix = "Describe the parts before and after that line, or replace it by tensor operations (torch.where)."
    if name == "aten::index":
        fix += " A mask that never changes may be a buffer."
    return InputError(
        "the course of the network depends on the numbers in a tensor, which no shape can tell",
        where=f"{where}, {_line()}",
        got=name,
        fix=fix,
    )


def cannot_run(func: Any, where: str) -> InputError:
    """The error for an operation that does not run on meta tensors."""
    name = func._schema.name
    if torch.Tag.dynamic_output_shape in func.tags:
        return depends_on_numbers(name, where)
    return InputError(
        "torch cannot tell the shape of an operation's result",
        where=where,
        got=name,
        fix="Register a meta kernel for it: torch.library.register_fake.",
    )


def _line() -> str:
    """File, number and text of the user's own line that is being executed, or that raised what is being handled."""
    frames = list(traceback.extract_stack())
    if error := sys.exc_info()[1]:
        frames += traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((TORCH, HERE, "<"))]
    own = [f for f in own if not any(part in f.filename for part in WRAPPERS)]
    if not own:
        return "?"
    last = own[-1]
    return f"{last.filename}:{last.lineno}: {(last.line or linecache.getline(last.filename, last.lineno or 0)).strip()}"


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
