"""Connectionist temporal classification: from logits of each step to a text, and how far one text is from another.

A path names a letter or the blank at each step; it spells the text that is left when equal neighbors are merged and the
blanks dropped. The blank is the last class, so that letter i of an alphabet is class i.
Source: Graves, Fernandez, Gomez, Schmidhuber 2006, Connectionist temporal classification.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from heapq import nlargest

import torch
import torch.nn.functional as F

from striate.errors import InputError
from striate.shapes import Float, Int64, Tensor

PADDING = -1
Text = tuple[int, ...]


def text_loss(output: Float[Tensor, "n k t"], target: Int64[Tensor, "n l"]) -> Float[Tensor, " n"]:
    """-log p(text) of each item in nats: p sums over all paths that spell the text (section 3.1).

    `output` are logits, the blank last; `target` is padded with -1. A text that no path is long enough to spell raises
    InputError (its loss would be infinite).
    """
    steps, lengths = output.shape[2], (target != PADDING).sum(1)
    _check_steps(target, lengths, steps)
    log = output.float().log_softmax(1).permute(2, 0, 1)
    taken = torch.full_like(lengths, steps)
    blank = output.shape[1] - 1
    return F.ctc_loss(log, target.clamp(min=0), taken, lengths, blank=blank, reduction="none")


def steps_needed(target: Int64[Tensor, "n l"]) -> Int64[Tensor, " n"]:
    """The fewest steps that spell each text: one a letter, and a blank between two equal neighbors.

    >>> steps_needed(torch.tensor([[3, 1, 4, -1], [1, 1, 1, 2]])).tolist()
    [3, 6]
    """
    repeated = (target[:, 1:] == target[:, :-1]) & (target[:, 1:] != PADDING)
    return (target != PADDING).sum(1) + repeated.sum(1)


def _check_steps(target: Tensor, lengths: Tensor, steps: int) -> None:
    needed = steps_needed(target)
    if bool((needed > steps).any()):
        worst = int(needed.argmax())
        raise InputError(
            "a text is too long for the network",
            where=f"{int(lengths[worst])} letters",
            expected=f"at most {steps} steps, as the network gives",
            got=f"{int(needed[worst])} steps needed (one a letter, and a blank between equal neighbors)",
            fix="Give the network wider pictures, or shorten the texts.",
        )


def best_path(output: Float[Tensor, "n k t"]) -> list[Text]:
    """What the most probable path of each item spells (section 3.2, best path decoding).

    >>> steps = torch.tensor([[0, 0, 2, 0, 1, 1]])  # classes of six steps; 2 is the blank
    >>> best_path(torch.nn.functional.one_hot(steps, 3).permute(0, 2, 1).float())
    [(0, 0, 1)]
    """
    blank = output.shape[1] - 1
    paths = output.argmax(1).tolist()
    texts = []
    for path in paths:
        merged = [letter for i, letter in enumerate(path) if i == 0 or letter != path[i - 1]]
        texts.append(tuple(letter for letter in merged if letter != blank))
    return texts


def beam_search(log: Float[Tensor, "k t"], beam: int) -> list[tuple[Text, float]]:
    """The most probable texts of one item and their log probabilities, best first: prefix search that keeps `beam`.

    `log` are log probabilities, the blank last. Each prefix carries the probability of the paths that end in the blank
    and of those that end in its last letter, since only the former may repeat that letter. Exact where no prefix is
    dropped; else a lower bound. Source: Graves et al. 2006, section 3.2; as a beam, Hannun et al. 2014 (1408.2873).
    """
    nothing = -math.inf
    blank = len(log) - 1
    kept: dict[Text, list[float]] = {(): [0.0, nothing]}  # ends in the blank, ends in its last letter
    for column in log.T.tolist():
        grown: dict[Text, list[float]] = defaultdict(lambda: [nothing, nothing])
        for text, (in_blank, in_letter) in kept.items():
            both = _add(in_blank, in_letter)
            same = grown[text]
            same[0] = _add(same[0], both + column[blank])
            if text:
                same[1] = _add(same[1], in_letter + column[text[-1]])
            for letter in range(blank):
                before = in_blank if text and letter == text[-1] else both
                longer = grown[(*text, letter)]
                longer[1] = _add(longer[1], before + column[letter])
        kept = dict(nlargest(beam, grown.items(), key=lambda item: _add(*item[1])))
    return [(text, _add(*ends)) for text, ends in kept.items()]


def _add(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """The fewest insertions, deletions and substitutions that make `b` of `a` (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
