"""Random changes of texts and sequences."""

from __future__ import annotations

import pytest
import torch

from striate.data import AUGMENTATIONS, Bases, Characters, Words, build_augmentation
from striate.errors import InputError
from striate.interpret.sequences import letters_of

BASES = Bases(12)
WORDS = Words(("a", "b", "c"), 12)
STORED = {form: form.read("ACGTACGTACGT" if form is BASES else "a b")[None] for form in (BASES, WORDS, Characters(9))}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(spec: str, texts: list[str], seed: int = 0) -> list[str]:
    units = torch.stack([BASES(text) for text in texts])
    change = build_augmentation([spec], STORED[BASES], preprocess=BASES)
    assert change is not None
    after, targets = change(units, torch.arange(len(texts)), seeded(seed))
    assert targets.tolist() == list(range(len(texts)))
    return [letters_of(column, "ACGT") for column in after]


def complement(text: str) -> str:
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_the_other_strand() -> None:
    texts = ["AACGTTTGCATG", "ACGTNNNNACCC"]
    assert changed("reverse_complement:1", texts) == [complement(text) for text in texts]
    assert changed("reverse_complement:0", texts) == texts
    many = changed("reverse_complement", [texts[0]] * 400)
    assert set(many) == {texts[0], complement(texts[0])}
    assert 140 < many.count(texts[0]) < 260


def test_jitter_brings_in_unknown_bases() -> None:
    text = "AACGTTTGCATG"
    found = changed("jitter:2", [text] * 200)
    assert set(found) == {"NN" + text[:-2], "N" + text[:-1], text, text[1:] + "N", text[2:] + "NN"}
    assert changed("jitter:0", [text]) == [text]


def test_dropped_words_are_unknown_and_padding_stays() -> None:
    units = WORDS.normalize(torch.stack([WORDS.read("a b c a")] * 500))
    change = build_augmentation(["drop_words:0.3"], STORED[WORDS], preprocess=WORDS)
    assert change is not None
    after, _ = change(units, torch.zeros(500), seeded())
    assert ((after == units) | ((after == 1) & (units != 0))).all()
    assert 0.27 < (after == 1).sum() / (units != 0).sum() < 0.33
    assert torch.equal(change(units, torch.zeros(500), seeded())[0], after)


@pytest.mark.parametrize("name", [name for name, entry in AUGMENTATIONS.items() if {"bases", "words"} & {*entry.takes}])
def test_every_entry_runs_on_its_example_and_says_what_it_does(name: str) -> None:
    entry = AUGMENTATIONS[name]
    form = BASES if "bases" in entry.takes else WORDS
    change = build_augmentation([entry.example], STORED[form], preprocess=form)
    assert change is not None
    units = form.units(STORED[form])
    after, _ = change(units, torch.zeros(1), seeded())
    assert after.shape == units.shape
    assert after.dtype == units.dtype
    assert entry.summary.endswith(".")


@pytest.mark.parametrize(
    ("spec", "form", "said"),
    [
        (
            "reverse_complement",
            WORDS,
            "reverse_complement: expected bases, got words .*For words: drop_words",
        ),
        (
            "drop_words",
            Characters(9),
            "drop_words: expected words, got characters .*Leave it out",
        ),
        ("jitter:-1", BASES, r"augmentation option: jitter:places: expected a whole number in 0..10000, got -1"),
        ("reverse_complement:q=1", BASES, "augmentation reverse_complement has no option: got 'q'"),
        ("flip", BASES, "does not fit the inputs: flip: expected pictures or volumes, got bases"),
    ],
)
def test_errors(spec: str, form: Bases | Words | Characters, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_augmentation([spec], STORED[form], preprocess=form)


def test_no_specs_change_nothing() -> None:
    assert build_augmentation([], STORED[BASES], preprocess=BASES) is None
