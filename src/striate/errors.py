"""One family of errors: each says in one line what failed, where, what was expected, what came, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class StriateError(Exception):
    """Any error that striate raises on purpose."""


class InputError(StriateError, ValueError):
    """Something that was passed in cannot be used. The command line prints it as one line and exits with 2.

    >>> print(InputError("cannot read an idx file", where="a.gz", expected="magic 2051", got="7", fix="Pass images."))
    cannot read an idx file: a.gz: expected magic 2051, got 7. Pass images.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        fix: str = "",
    ) -> None:
        line = what if where is None else f"{what}: {where}"
        found = [f"{word} {value}" for word, value in (("expected", expected), ("got", got)) if value is not None]
        if found:
            line += ": " + ", ".join(found)
        super().__init__(f"{line}. {fix}" if fix else line)

    def or_skip(self) -> InputError:
        """The same of an item that cannot be read, where such items can be left out.

        >>> print(InputError("cannot read the sound", where="a.wav", fix="Convert it.").or_skip())
        cannot read the sound: a.wav. Convert it. Or leave out what cannot be read: --skip-corrupt (skip_corrupt=True).
        """
        way = "Or leave out what cannot be read: --skip-corrupt (skip_corrupt=True)."
        return InputError(f"{str(self).removesuffix('.')}. {way}")


class DivergedError(StriateError, ArithmeticError):
    """The loss is no longer a finite number; training stopped before the update that it would have caused."""


class StorageError(StriateError, OSError):
    """A file could not be written (a full disk, say); what was there before is untouched."""


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names in an error, the first 20 of them.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The way out of a misspelt name: the nearest known names, or all of them.

    >>> did_you_mean("lenet", ["lenet5", "keras_mnist"])
    'Did you mean lenet5?'
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {', '.join(sorted(known)) or 'none'}."
