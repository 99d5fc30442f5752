"""Sequences of letters as one-hot tensors, and edits of them: substitutions, deletions, insertions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from striate.errors import InputError
from striate.interpret.sweep import BLOCK_BYTES, Change
from striate.shapes import Float, Tensor

SIZES = 8  # of windows, for edits that move all that follows: each window is at most an eighth longer than needed
MISSING = "N"  # how a letter that is not known is written


@dataclass(frozen=True)
class Edit:
    """At `position`, `removed` letters give way to the columns `added` (letters, k)."""

    position: int
    removed: int
    added: Float[Tensor, "letters k"]


def one_hot(
    text: str, alphabet: str = "ACGT", unknown: float | None = None, of: str = ""
) -> Float[Tensor, "letters t"]:
    """A column for each letter, 1 where the alphabet has it. Case does not matter in an alphabet of capitals.

    `unknown`: the value of all channels for letters that the alphabet does not have; without it InputError names the
    first of them, and what it is a letter `of`.

    >>> one_hot("AcT")
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.],
            [0., 0., 1.]])
    """
    letters = text.upper() if alphabet == alphabet.upper() else text
    code = {letter: i for i, letter in enumerate(alphabet)}
    codes = torch.tensor([code.get(letter, -1) for letter in letters], dtype=torch.int64)
    if unknown is None and (codes < 0).any():
        position = int((codes < 0).nonzero()[0, 0])
        raise InputError(
            "unknown letter",
            where=f"position {position}" + (f" of {of}" if of else ""),
            expected=f"one of {alphabet}",
            got=repr(text[position]),
            fix="Pass unknown=0.25, say, the value of each channel for letters that are not known.",
        )
    columns = torch.eye(len(alphabet))[codes.clamp(min=0)].T.contiguous()
    columns[:, codes < 0] = 0.0 if unknown is None else unknown
    return columns


def as_one_hot(
    x: str | Sequence[str] | Tensor, alphabet: str, unknown: float | None, like: Tensor
) -> Float[Tensor, "n letters t"]:
    """Sequences (n, letters, t) from text, several texts of one length, or a tensor, which is checked.

    Raises InputError for a letter or a column that is not one-hot, and names its position.
    """
    if isinstance(x, Tensor):
        if x.dim() != 3 or not x.numel():
            raise InputError("these are no sequences", expected="axes (n, letters, length)", got=tuple(x.shape))
        if len(alphabet) != x.shape[1]:
            got = f"{x.shape[1]} channels and {len(alphabet)} letters ({alphabet})"
            raise InputError("each letter has a channel", got=got, fix="Pass the alphabet of these sequences.")
        x = x.detach().to(like)
        _check_columns(x, unknown)
        return x
    texts = [x] if isinstance(x, str) else list(x) if isinstance(x, Sequence) else []
    if not isinstance(x, Sequence) or not all(isinstance(text, str) for text in texts):
        expected = "text, a list of texts, or a tensor (n, letters, length)"
        fix = "torch.as_tensor(x) makes a tensor of an array, x.decode() text of bytes."
        raise InputError("these are no sequences", expected=expected, got=type(x).__name__, fix=fix)
    if not texts or len({len(text) for text in texts}) > 1 or not texts[0]:
        got = ", ".join(str(len(text)) for text in texts[:5]) or "none"
        raise InputError("sequences have one length, from 1", got=f"lengths {got}", fix="Call once for each length.")
    names = [f"sequence {item}" if len(texts) > 1 else "" for item in range(len(texts))]
    columns = [one_hot(text, alphabet, unknown, name) for text, name in zip(texts, names, strict=True)]
    return torch.stack(columns).to(like)


def _check_columns(x: Tensor, unknown: float | None) -> None:
    right = ((x == 0) | (x == 1)).all(1) & (x.sum(1) == 1)
    if unknown is not None:
        right |= (x == unknown).all(1)
    if right.all():
        return
    item, position = (int(i) for i in (~right).nonzero()[0])
    raise InputError(
        "a sequence is not one-hot",
        where=f"position {position}" + (f" of sequence {item}" if len(x) > 1 else ""),
        expected="a single 1, else 0" + ("" if unknown is None else f", or all {unknown:g}"),
        got=[round(float(value), 4) for value in x[item, :, position]],
        fix="Letters that are not known are allowed by unknown=, the value of all their channels.",
    )


def letters_of(column: Float[Tensor, "letters t"], alphabet: str) -> str:
    """The text of one-hot columns; N where a letter is not known."""
    known = (column == 1).any(0)
    return "".join(
        alphabet[i] if is_known else MISSING
        for i, is_known in zip(column.argmax(0).tolist(), known.tolist(), strict=True)
    )


def substitutions(x: Float[Tensor, "letters t"]) -> Iterator[Change]:
    """Each other letter at each position, numbered as (letters, t)."""
    letters, length = x.shape
    letter, position = (x != 1).nonzero(as_tuple=True)
    values = torch.eye(letters, dtype=x.dtype, device=x.device)[letter][:, :, None]
    yield (letter * length + position).cpu(), position[:, None].cpu(), values


def edited(x: Float[Tensor, "letters t"], edit: Edit, tail: Float[Tensor, "letters k"]) -> Float[Tensor, "letters t"]:
    """The sequence after an edit at its length: the end is cut, or filled from `tail`, what follows x."""
    after = edit.position + edit.removed
    return torch.cat([x[:, : edit.position], edit.added, x[:, after:], tail], 1)[:, : x.shape[1]]


def changes(x: Float[Tensor, "letters t"], edits: Sequence[Edit], tail: Float[Tensor, "letters k"]) -> Iterator[Change]:
    """Edits, numbered in their order, grouped by the window that they change.

    Equal lengths change just that window. A deletion or insertion moves all that follows: its window reaches to the
    end, made longer to one of few sizes. `tail` is at least as long as the longest deletion.
    """
    length = x.shape[1]
    step = -(-length // SIZES)
    groups: dict[tuple[bool, int], list[int]] = {}
    for number, edit in enumerate(edits):
        moves = edit.added.shape[1] != edit.removed
        size = min(length, -(-(length - edit.position) // step) * step) if moves else edit.removed
        if size:
            groups.setdefault((moves, size), []).append(number)
    for (moves, size), numbers in groups.items():
        block = max(1, BLOCK_BYTES // (len(x) * size * x.element_size()))
        for first in range(0, len(numbers), block):
            of = numbers[first : first + block]
            starts = [length - size if moves else edits[i].position for i in of]
            values = [edited(x, edits[i], tail)[:, length - size :] if moves else edits[i].added for i in of]
            yield torch.tensor(of), torch.tensor(starts)[:, None], torch.stack(values)
