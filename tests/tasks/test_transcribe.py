"""Reading: every path spelled out on tiny cases, Levenshtein by its recursion, and torchmetrics' error rate."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.text import CharErrorRate

from striate.errors import InputError
from striate.tasks.ctc import beam_search, best_path, edit_distance, steps_needed, text_loss
from striate.tasks.transcribe import Transcribe

WORDS = st.text("abc", max_size=6)


def spelled(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """The text of a path, by the definition."""
    return tuple(letter for letter, _ in itertools.groupby(path) if letter != blank)


def all_texts(log: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The probability of every text: the sum over all paths that spell it."""
    classes, steps = log.shape
    chances: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(classes), repeat=steps):
        chances[spelled(path, classes - 1)] += math.exp(sum(log[c, t].item() for t, c in enumerate(path)))
    return chances


def logs(classes: int, steps: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(classes, steps, generator=generator, dtype=torch.float64)).log_softmax(0)


@pytest.mark.parametrize(("classes", "steps"), [(2, 1), (2, 5), (3, 4), (4, 5)])
def test_loss_is_the_sum_over_all_paths(classes: int, steps: int) -> None:
    log = logs(classes, steps, seed=classes + steps)
    for text, chance in all_texts(log).items():
        target = torch.tensor([[*text, -1]])
        assert text_loss(log[None].float(), target).item() == pytest.approx(-math.log(chance), rel=1e-4)


def test_loss_of_a_batch_is_that_of_its_items() -> None:
    output = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[0, 0, 2], [1, -1, -1], [-1, -1, -1]])
    alone = [text_loss(output[i : i + 1], target[i : i + 1, :n]).item() for i, n in enumerate((3, 1, 1))]
    torch.testing.assert_close(text_loss(output, target), torch.tensor(alone))


@pytest.mark.parametrize(("classes", "steps"), [(2, 4), (3, 4), (4, 4)])
def test_a_wide_beam_finds_every_text_with_its_probability(classes: int, steps: int) -> None:
    log = logs(classes, steps, seed=7 * classes + steps)
    true = all_texts(log)
    found = {text: math.exp(value) for text, value in beam_search(log.float(), beam=10_000) if value > -math.inf}
    assert found.keys() == true.keys()
    for text, chance in true.items():
        assert found[text] == pytest.approx(chance, rel=1e-5)
    first = next(text for text, _ in beam_search(log.float(), beam=10_000))
    assert first == max(true, key=true.__getitem__)


def test_a_beam_reads_what_the_best_path_does_not() -> None:
    """Graves et al. 2006, figure 2: the blank is best at each step, yet some letter is likelier than none."""
    log = torch.tensor([[0.4, 0.4], [0.6, 0.6]]).log()
    assert best_path(log[None]) == [()]
    text, value = beam_search(log, beam=2)[0]
    assert (text, math.exp(value)) == ((0,), pytest.approx(1 - 0.36))
    task = Transcribe(("a",), beam=4)
    assert task.decode(log[None])[0].text == "a"
    assert Transcribe(("a",)).decode(log[None])[0].text == ""
    assert task.decode(log[None])[0].probability == pytest.approx(0.64)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=7))
def test_the_best_path_spells_its_classes(path: list[int]) -> None:
    output = torch.nn.functional.one_hot(torch.tensor([path]), 3).permute(0, 2, 1).float()
    assert best_path(output) == [spelled(tuple(path), blank=2)]


@pytest.mark.parametrize("text", [(), (0,), (0, 0), (0, 1, 1, 0), (1, 1, 1)])
def test_fewest_steps_by_trying(text: tuple[int, ...]) -> None:
    tried = next(n for n in range(9) if any(spelled(p, 2) == text for p in itertools.product(range(3), repeat=n)))
    assert steps_needed(torch.tensor([[*text, -1, -1]])).tolist() == [tried]


@lru_cache
def levenshtein(a: str, b: str) -> int:
    """By the recursion."""
    if not a or not b:
        return len(a) + len(b)
    change = levenshtein(a[1:], b[1:]) + (a[0] != b[0])
    return min(levenshtein(a[1:], b) + 1, levenshtein(a, b[1:]) + 1, change)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_edit_distance_by_its_recursion(a: str, b: str) -> None:
    assert edit_distance(a, b) == levenshtein(a, b)


def outputs_of(texts: list[str], letters: str, steps: int = 14) -> torch.Tensor:
    """Logits that read as `texts`: a letter, a blank, a letter, ..."""
    output = torch.zeros(len(texts), len(letters) + 1, steps)
    output[:, -1] = 5
    for row, text in zip(output, texts, strict=True):
        for place, letter in enumerate(text):
            row[letters.index(letter), 2 * place] = 20
    return output


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS.filter(bool)), min_size=1, max_size=5))
def test_error_rate_is_that_of_torchmetrics(pairs: list[tuple[str, str]]) -> None:
    read, true = map(list, zip(*pairs, strict=True))
    task = Transcribe(tuple("abc"))
    output, target = outputs_of(read, "abc"), task.encode(true)
    task.check(output, target)
    assert [result.text for result in task.decode(output)] == read
    kept = task.keep(output, target)
    scores = task.score(kept, target)
    assert scores.letter_error_rate == pytest.approx(CharErrorRate()(read, true).item())
    assert scores.string_accuracy == sum(a == b for a, b in pairs) / len(pairs)
    assert scores.summary()["loss"] == pytest.approx(task.loss(output, target).item(), rel=1e-5)
    assert task.metrics(kept, target)["string_accuracy"] == pytest.approx(scores.string_accuracy)
    assert sum(row.support for row in scores.by_length) == len(pairs)
    assert sum(row.string_accuracy * row.support for row in scores.by_length) == pytest.approx(
        scores.string_accuracy * len(pairs)
    )


def test_scores_as_a_table_and_as_json() -> None:
    task = Transcribe(tuple("ab"))
    target = task.encode(["ab", "b", "aa"])
    scores = task.score(task.keep(outputs_of(["ab", "a", "a"], "ab"), target), target)
    assert scores.json()["by_length"][0] == {
        "length": 1,
        "string_accuracy": 0.0,
        "letter_error_rate": 1.0,
        "support": 1,
    }
    assert scores.table().row_count == 2
    assert scores.letter_error_rate == 2 / 5
    assert "string accuracy 0.3333" in str(scores.table().title)


def test_an_empty_text_is_read_and_learned() -> None:
    task = Transcribe(tuple("ab"))
    target = task.encode(["", ""])
    assert target.shape == (2, 0)
    output = outputs_of(["", "ab"], "ab")
    assert task.loss(output, target).isfinite()
    assert task.score(task.keep(output, target), target).letter_error_rate == 2
    row = task.decode(output)[1].row()
    assert row["text"] == "ab"
    assert task.decode(output)[1].json() == row


def test_learning_reads() -> None:
    """Gradient descent on the logits alone spells the texts."""
    task = Transcribe(tuple("abc"), beam=3)
    target = task.encode(["abba", "c"])
    output = torch.zeros(2, 4, 8, requires_grad=True)
    for _ in range(60):
        (gradient,) = torch.autograd.grad(task.loss(output, target), output)
        output = (output - 5 * gradient).detach().requires_grad_()
    assert [result.text for result in task.decode(output.detach())] == ["abba", "c"]


def test_what_cannot_be_used() -> None:
    task = Transcribe(tuple("ab"))
    with pytest.raises(
        InputError, match="4 letters: expected at most 6 steps, .* got 7 steps needed .* wider pictures"
    ):
        task.loss(torch.zeros(2, 3, 6), task.encode(["a", "aaaa"]))
    assert task.loss(torch.zeros(1, 3, 7), task.encode(["aaaa"])).isfinite()
    with pytest.raises(InputError, match="a letter outside the alphabet: 'axb': expected letters of 'ab', got 'x'"):
        task.encode(["ab", "axb"])
    with pytest.raises(InputError, match="letters of a text: expected single characters, at least one, got 'ab'"):
        Transcribe(("ab",))
    with pytest.raises(InputError, match="got none"):
        Transcribe(())
    with pytest.raises(InputError, match="a letter is there twice: got aba"):
        Transcribe(tuple("aba"))
    with pytest.raises(InputError, match="beam is out of range: expected at least 1, got 0"):
        Transcribe(("a",), beam=0)
    with pytest.raises(InputError, match="expected 3 classes .* got shape .4, 7.*num_classes=3"):
        task.check(torch.zeros(1, 4, 7), task.encode(["a"]))
    with pytest.raises(InputError, match="targets do not fit the task: expected a row of letters 0 to 1"):
        task.check(torch.zeros(1, 3, 7), torch.tensor([[2]]))
    with pytest.raises(InputError, match="cannot score an empty set"):
        task.score(torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.int64))
