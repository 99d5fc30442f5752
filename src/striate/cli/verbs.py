"""The command line: one verb a capability, a thin layer over the public functions.

torch is imported only when a verb runs, so that every --help answers at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro
from tyro.conf import FlagCreatePairsOff

from striate.cli.explaining import Explain
from striate.cli.networks import Describe, Zoo
from striate.cli.pictures import Show
from striate.cli.screen import complain
from striate.cli.sources import Sources
from striate.cli.training import INTERRUPTED, Evaluate, Predict, Runs, Train
from striate.errors import InputError, StriateError, did_you_mean
from striate.recipe import Recipe

BAD_INPUT, FAILED = 2, 1

VERBS: dict[str, Any] = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "explain": Explain,
    "runs": Runs,
    "zoo": Zoo,
    "sources": Sources,
    "describe": Describe,
    "show": Show,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line; exits with 2 on bad input, 1 on a failure, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.simplefilter("ignore")
    # Threads that soon stop spinning: where other programs want the cores, small networks train ten times faster.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        parse(arguments).run()
    except StriateError as error:
        complain(str(error))
        sys.exit(BAD_INPUT if isinstance(error, InputError) else FAILED)
    except BrokenPipeError:
        # The reader of our output left (striate zoo | head); Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(INTERRUPTED)


def parse(arguments: list[str]) -> Any:
    """The verb and its options; a recipe file given to `train` is read first, and options override it."""
    if not arguments or arguments[0] not in VERBS:
        if arguments and not arguments[0].startswith("-"):
            raise InputError("unknown verb", got=repr(arguments[0]), fix=did_you_mean(arguments[0], VERBS))
        return _parse_one(_all_verbs(), arguments or ["--help"], "striate")
    verb, rest = arguments[0], arguments[1:]
    # Read before the options are checked: `--fold 3` is right where the file says `folds: 6`.
    files = [argument for argument in rest if verb == "train" and re.fullmatch(r"[^-].*\.ya?ml", argument)]
    default = {"default": Train(recipe=Recipe.read(files[0]))} if files else {}
    command = _parse_one(VERBS[verb], rest, f"striate {verb}", **default)
    if isinstance(command, Train) and command.file is not None and not files:
        raise InputError("a recipe is a file that ends in .yaml or .yml", got=command.file)
    return command


def _all_verbs() -> Any:
    # Built at run time, which type checkers do not follow.
    options: Any = tuple(Annotated[verb, tyro.conf.subcommand(name)] for name, verb in VERBS.items())
    return Union[options]  # noqa: UP007


def _parse_one(verb: Any, arguments: list[str], prog: str, **options: Any) -> Any:
    """Parse with tyro; its boxed complaints become one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(verb, args=arguments, prog=prog, config=(FlagCreatePairsOff,), **options)
    except SystemExit as stop:
        if stop.code:
            raise InputError(_unbox(complaint.getvalue()), fix=f"See {prog} --help.") from None
        raise


def _unbox(box: str) -> str:
    """The sentence in a box of tyro's: what is wrong, and the options that it proposes."""
    lines = [line.strip("│╭╮╰╯|+ ") for line in box.splitlines()]
    text = " ".join(line for line in lines[1:] if set(line) - set("─- "))
    sentence = re.split("Perhaps you meant:|Argument helptext:|For full helptext", text)[0].strip(" .")
    sentence = sentence.removeprefix("Error parsing recipe: ")
    near = [line.split()[0] for line in lines if re.match("--[a-z]", line)]
    return f"{sentence} (did you mean {' or '.join(near)}?)" if "Perhaps you meant:" in lines else sentence
