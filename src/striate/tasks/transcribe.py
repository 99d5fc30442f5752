"""Reading: a text from the steps along a picture or a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from rich.table import Table

from striate.data import Data
from striate.errors import InputError
from striate.plain import finite
from striate.shapes import Float, Int64, Tensor
from striate.tasks.ctc import PADDING, Text, beam_search, best_path, edit_distance, text_loss
from striate.tasks.registry import Task, task


@dataclass(frozen=True)
class Transcript:
    """The text that was read, and its probability: that of all paths that spell it."""

    text: str
    probability: float

    def row(self) -> dict[str, Any]:
        """A line of a table."""
        return {"text": self.text, "probability": self.probability}

    def json(self) -> dict[str, Any]:
        """All of it as plain types."""
        return asdict(self)

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """The text as STEM.txt."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}.txt"
        path.write_text(self.text + "\n", encoding="utf-8")
        return [path]


@dataclass(frozen=True)
class LengthScore:
    """The texts of one length: how many, and the share of them that is right."""

    length: int
    string_accuracy: float
    letter_error_rate: float
    support: int


@dataclass(frozen=True)
class TranscriptionScores:
    """Scores of `n` texts.

    string_accuracy: share of texts that are right in every letter. letter_error_rate: edits (insertions, deletions,
    substitutions) that mend all the texts read, over all true letters; can be above 1. loss: mean -log p(text) in nats.
    """

    n: int
    string_accuracy: float
    letter_error_rate: float
    loss: float
    by_length: tuple[LengthScore, ...]

    # Shares of the n items, one answer each.
    shares = ("string_accuracy",)

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        return {
            "n": self.n,
            "string_accuracy": self.string_accuracy,
            "letter_error_rate": self.letter_error_rate,
            "loss": self.loss,
        }

    def table(self) -> Table:
        """A row for each length of text."""
        title = f"{self.n} texts  string accuracy {self.string_accuracy:.4f}  loss {self.loss:.4f}"
        caption = f"letter error rate {self.letter_error_rate:.4f}"
        table = Table("letters", "string accuracy", "letter error rate", "support", title=title, caption=caption)
        for row in self.by_length:
            cells = f"{row.length}", f"{row.string_accuracy:.4f}", f"{row.letter_error_rate:.4f}", f"{row.support}"
            table.add_row(*cells)
        return table


@task("transcribe", takes=("text",))
@dataclass(frozen=True)
class Transcribe(Task):
    """Reads texts of any length with connectionist temporal classification: no letter's place need be known.

    Targets: Int64[n, l], letters as indices, padded with -1. Outputs: logits Float[n, k, t] of the k - 1 `letters` and,
    last, the blank, at each of t steps. Decodes the best path (`beam` 1) or the best text of a prefix search that keeps
    `beam` texts. Source: Graves et al. 2006; Shi, Bai, Yao 2015, section 2.3.

    Raises InputError for letters that are not single characters or repeat, and a beam below 1.
    """

    told_by: ClassVar[tuple[str, ...]] = ("beam",)
    letters: tuple[str, ...]
    beam: int = 1

    def __post_init__(self) -> None:
        if not self.letters or any(len(letter) != 1 for letter in self.letters):
            got = ", ".join(map(repr, self.letters)) or "none"
            raise InputError("the letters of a text", expected="single characters, at least one", got=got)
        if len(set(self.letters)) != len(self.letters):
            raise InputError("a letter is there twice", got="".join(self.letters), fix="Keep one.")
        if self.beam < 1:
            raise InputError("beam is out of range", expected="at least 1", got=self.beam)

    @classmethod
    def of(cls, data: Data, beam: int = 1) -> Transcribe:
        """For the letters of `data`; `beam` above 1 searches for the most probable text."""
        return cls(data.meaning.names, beam)

    @property
    def outputs(self) -> int:
        """Classes of the network: the letters and the blank."""
        return len(self.letters) + 1

    @property
    def output_names(self) -> tuple[str, ...]:
        """The letters."""
        return self.letters

    def encode(self, targets: Sequence[str]) -> Int64[Tensor, "n l"]:
        """Texts -> indices of letters, padded with -1. An empty text is one of blanks alone.

        >>> Transcribe(("a", "b")).encode(["ab", "b"]).tolist()
        [[0, 1], [1, -1]]
        """
        index = {letter: i for i, letter in enumerate(self.letters)}
        encoded = torch.full((len(targets), max(map(len, targets), default=0)), PADDING)
        for row, text in zip(encoded, targets, strict=True):
            for place, letter in enumerate(text):
                if letter not in index:
                    raise InputError(
                        "a letter outside the alphabet",
                        where=repr(text),
                        expected=f"letters of {''.join(self.letters)!r}",
                        got=repr(letter),
                    )
                row[place] = index[letter]
        return encoded

    def check(self, output: Float[Tensor, "n ..."], target: Int64[Tensor, "n ..."]) -> None:
        """Raise InputError if the network's outputs or the targets do not fit the letters."""
        if output.ndim != 3 or output.shape[1] != self.outputs:
            raise InputError(
                "the network's outputs do not fit the letters",
                expected=f"{self.outputs} classes ({len(self.letters)} letters and the blank) at each step",
                got=f"shape {tuple(output.shape[1:])}",
                fix=f"Choose a network that reads (crnn), built with num_classes={self.outputs}.",
            )
        if target.ndim != 2 or not bool(((target >= PADDING) & (target < len(self.letters))).all()):
            raise InputError(
                "the targets do not fit the task",
                expected=f"a row of letters 0 to {len(self.letters) - 1} for each item, padded with {PADDING}",
                got=f"{tuple(target.shape)} of {target.min()} to {target.max()}",
            )

    def loss(self, output: Float[Tensor, "n k t"], target: Int64[Tensor, "n l"]) -> Float[Tensor, ""]:
        """Mean -log p(text) in nats; InputError for a text that the network has too few steps for."""
        return text_loss(output, target).mean()

    def read(self, output: Float[Tensor, "n k t"]) -> list[Text]:
        """The letters read, as indices."""
        if self.beam == 1:
            return best_path(output)
        return [beam_search(log, self.beam)[0][0] for log in output.float().log_softmax(1).cpu()]

    def decode(self, output: Float[Tensor, "n k t"]) -> tuple[Transcript, ...]:
        """Texts and their probabilities."""
        texts = ["".join(self.letters[i] for i in text) for text in self.read(output)]
        chances = (-text_loss(output, self.encode(texts).to(output.device))).exp().tolist()
        return tuple(Transcript(text, chance) for text, chance in zip(texts, chances, strict=True))

    def keep(self, output: Float[Tensor, "n k t"], target: Int64[Tensor, "n l"]) -> Float[Tensor, "n 2"]:
        """What scores need of each item: its loss, and the edits between the text read and the true one."""
        true = [[i for i in row if i != PADDING] for row in target.tolist()]
        edits = [edit_distance(read, text) for read, text in zip(self.read(output), true, strict=True)]
        return torch.stack([text_loss(output, target), output.new_tensor(edits)], 1)

    def metrics(self, kept: Float[Tensor, "n 2"], target: Int64[Tensor, "n l"]) -> Mapping[str, float]:
        """Loss, the share of texts that are right, and edits a letter."""
        scores = self.score(kept, target)
        return {name: value for name, value in scores.summary().items() if name != "n"}

    def score(self, kept: Float[Tensor, "n 2"], target: Int64[Tensor, "n l"]) -> TranscriptionScores:
        """Every measure of a whole set; InputError for an empty one."""
        if not len(kept):
            raise InputError("cannot score an empty set", expected="at least one text", got="0")
        loss, edits = kept.double().cpu().unbind(1)
        lengths = (target != PADDING).sum(1).cpu()
        rows = []
        for length in sorted(set(lengths.tolist())):
            of = edits[lengths == length]
            rows.append(LengthScore(length, (of == 0).double().mean().item(), _rate(of, length * len(of)), len(of)))
        return TranscriptionScores(
            n=len(kept),
            string_accuracy=(edits == 0).double().mean().item(),
            letter_error_rate=_rate(edits, int(lengths.sum())),
            loss=loss.mean().item(),
            by_length=tuple(rows),
        )


def _rate(edits: Float[Tensor, " n"], letters: int) -> float:
    """Edits a letter; where there is none, every letter read is one too many."""
    return edits.sum().item() / max(1, letters)
