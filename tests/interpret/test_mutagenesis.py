"""Mutagenesis against the definition: edit the text, encode it, run the whole network; one by one."""

from __future__ import annotations

import io
import json
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate import zoo
from striate.errors import InputError
from striate.interpret import MutationMap, mutagenesis, variants
from striate.interpret.pictures import line_of
from striate.interpret.sequences import one_hot

DNA = "ACGT"


def network(letters: int = 4, outputs: int = 3) -> nn.Sequential:
    """Takes any length; borders matter."""
    torch.manual_seed(letters)
    layers = (nn.Conv1d(letters, 5, 3, padding=1), nn.Tanh(), nn.Conv1d(5, 4, 3, dilation=2, padding=2), nn.Tanh())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, outputs)).double().eval()


def encode(text: str, alphabet: str = DNA, unknown: float = 0.0) -> Tensor:
    """(1, letters, length), by definition."""
    rows = [[float(letter == own) if letter in alphabet else unknown for letter in text] for own in alphabet]
    return torch.tensor(rows, dtype=torch.float64)[None]


def run(model: nn.Module, texts: list[str], alphabet: str = DNA, unknown: float = 0.0) -> Tensor:
    """(outputs, texts)."""
    with torch.no_grad():
        return torch.stack([model(encode(text, alphabet, unknown))[0] for text in texts], 1)


def mutants(text: str, edit: str, alphabet: str = DNA) -> list[str]:
    """Row by row, as the scores are."""
    if edit == "deletion":
        return [text[:i] + text[i + 1 :] + "N" for i in range(len(text))]
    skipped = int(edit == "substitution")
    return [(text[:i] + letter + text[i + skipped :])[: len(text)] for letter in alphabet for i in range(len(text))]


def agree(scores: Tensor, expected: Tensor) -> None:
    """The check of the tests below."""
    torch.testing.assert_close(scores, expected.reshape(scores.shape), rtol=1e-9, atol=1e-9)


texts = st.text(DNA, min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(texts, st.sampled_from(["substitution", "insertion", "deletion"]), st.booleans())
def test_every_change_is_made_and_run(text: str, edit: Any, as_tensor: bool) -> None:
    model = network()
    found = mutagenesis(model, encode(text) if as_tensor else text, edit=edit)
    agree(found.scores, run(model, mutants(text, edit)))
    assert found.scores.shape == (3, 1 if edit == "deletion" else 4, len(text))
    agree(found.base, run(model, [text]))
    if edit == "substitution":
        for position, letter in enumerate(text):
            assert torch.equal(found.scores[:, DNA.index(letter), position], found.base)


def test_a_wrong_letter_does_not_pass() -> None:
    model, text = network(), "ACGTTGCAACGG"
    right = run(model, mutants(text, "substitution")).reshape(3, 4, -1)
    agree(mutagenesis(model, text).scores, right)
    with pytest.raises(AssertionError):
        agree(mutagenesis(model, text).scores, right[:, [1, 0, 2, 3]])


@st.composite
def listed(draw: st.DrawFn) -> tuple[str, list[tuple[int, str, str]], str]:
    text = draw(texts)
    found = []
    for _ in range(draw(st.integers(1, 8))):
        position = draw(st.integers(0, len(text)))
        end = draw(st.integers(position, min(len(text), position + 5)))
        found.append((position, text[position:end], draw(st.text(DNA, max_size=5))))
    return text, found, draw(st.text(DNA, max_size=6))


@settings(max_examples=60, deadline=None)
@given(listed())
def test_variants_are_spliced_and_run(case: tuple[str, list[tuple[int, str, str]], str]) -> None:
    text, given_, following = case
    model = network()
    spliced = [text[:at] + other + text[at + len(own) :] + following + 9 * "N" for at, own, other in given_]
    expected = run(model, [variant[: len(text)] for variant in spliced])
    found = variants(model, encode(text), given_, following=following)
    agree(found.scores, expected)
    agree(variants(model, text, given_, following=following, target=2).scores, expected[2])
    if following:
        agree(variants(model, text, given_, following=encode(following)[0]).scores, expected)


def test_values_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text, model = "ACGTTGCAACGGTTACA", network()
    whole = mutagenesis(model, text, edit="insertion")
    monkeypatch.setattr("striate.interpret.sequences.BLOCK_BYTES", 1)
    agree(mutagenesis(model, text, edit="insertion").scores, whole.scores)


@pytest.mark.parametrize("alphabet", ["AB", "ARNDCQEGHILKMFPSTWYV"])
def test_other_alphabets(alphabet: str) -> None:
    text, model = (alphabet * 4)[1:9], network(len(alphabet))
    found = mutagenesis(model, text, alphabet=alphabet)
    agree(found.scores, run(model, mutants(text, "substitution", alphabet), alphabet))
    assert list(found.axes["letter"]) == list(alphabet)
    numbered = mutagenesis(model, encode(text, alphabet))
    agree(numbered.scores, found.scores)
    assert numbered.axes["letter"][0] == "0"
    assert mutagenesis(network(), "acgt").text() == "ACGT"


@pytest.mark.parametrize("unknown", [0.0, 0.25])
@pytest.mark.parametrize("edit", ["substitution", "deletion"])
def test_unknown_letters(unknown: float, edit: Any) -> None:
    text, model = "ACNTNNGA", network()
    expected = run(model, mutants(text, edit), unknown=unknown)
    found = mutagenesis(model, encode(text, unknown=unknown), edit=edit, unknown=unknown)
    agree(found.scores, expected)
    agree(mutagenesis(model, text, edit=edit, unknown=unknown).scores, expected)
    assert found.text() == text
    given_ = [(1, "CN", "T"), (2, "N", "A"), (0, "A", "AN")]
    spliced = ["ATTNNGAN", "ACATNNGA", "ANCNTNNG"]
    agree(variants(model, text, given_, unknown=unknown).scores, run(model, spliced, unknown=unknown))


def test_several_sequences() -> None:
    model, together = network(), ["ACGTTA", "TTGACC", "GGGGGG"]
    alone = [mutagenesis(model, text) for text in together]
    found = mutagenesis(model, together)
    assert found.scores.shape == (3, 3, 4, 6)
    agree(found.scores, torch.stack([one.scores for one in alone]))
    assert torch.equal(found.base, torch.stack([one.base for one in alone]))
    torch.testing.assert_close(found.heatmap(), torch.stack([one.heatmap() for one in alone]))
    assert [found.text(item) for item in range(3)] == together
    batch = torch.cat([encode(text) for text in together])
    agree(mutagenesis(model, batch, target=1).scores, found.scores[:, 1])
    assert mutagenesis(model, batch, target=1).heatmap().shape == (3, 6)


@pytest.mark.parametrize("edit", ["substitution", "insertion", "deletion"])
def test_the_heat_map_is_the_mean_drop(edit: Any) -> None:
    text = "ACGTTGA"
    found = mutagenesis(network(), text, edit=edit)
    for output in range(3):
        for position, own in enumerate(text):
            rows = [i for i, other in enumerate(found.axes["letter"]) if edit != "substitution" or other != own]
            drops = [float(found.base[output] - found.scores[output, row, position]) for row in rows]
            assert float(found.heatmap()[output, position]) == pytest.approx(sum(drops) / len(drops), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "length"),
    [
        ("deepbind", {}, 40),
        ("deepsea", {"width": 0.05, "num_classes": 5, "input_size": (200,)}, 200),
        ("basset", {"width": 0.05, "num_classes": 5, "input_size": (180,)}, 180),
    ],
)
def test_networks_of_the_zoo(name: str, options: dict[str, Any], length: int) -> None:
    torch.manual_seed(0)
    model = zoo.build(name, **options).double().eval()
    text = "".join(DNA[i] for i in torch.randint(0, 4, (length,)))
    found = mutagenesis(model, text)
    places = torch.randint(0, 4 * length, (40,))
    made = mutants(text, "substitution")
    agree(found.scores.flatten(1)[:, places], run(model, [made[place] for place in places]))
    given_ = [(i, text[i : i + i % 4], "GA"[: i % 3]) for i in range(0, length - 4, 19)]
    spliced = [(text[:at] + other + text[at + len(own) :] + 4 * "N")[:length] for at, own, other in given_]
    agree(variants(model, text, given_).scores, run(model, spliced))


def test_a_network_with_two_outputs_and_a_profile() -> None:
    torch.manual_seed(0)
    model = zoo.build("bpnet", width=0.0625, layers=2, num_classes=2).double().eval()
    text = "ACGTTGCAAC"
    made = mutants(text, "substitution")
    with torch.no_grad():
        profiles = torch.stack([model(encode(one))[0][0] for one in made], -1)
        counts = torch.stack([model(encode(one))[1][0] for one in made], -1)
    agree(mutagenesis(model, text).scores, profiles)
    agree(mutagenesis(model, text, target=lambda output: output[:, 0].sum(1)).scores, profiles[0].sum(0))
    agree(mutagenesis(model, text, layer="count").scores, counts)


def test_the_network_is_as_before() -> None:
    model = network()
    random = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mutagenesis(model, "ACGTT", edit="insertion", progress=lambda _done, _total, what: told.append(what))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert set(told) == {"insertions"}


told: list[str] = []


def test_the_progress_of_all_sequences_is_one() -> None:
    said: list[tuple[int, int, str]] = []
    mutagenesis(network(), ["ACG", "TTT", "GAT"], progress=lambda *report: said.append(report))
    assert said[-1] == (36, 36, "substitutions of 3 sequences")
    done = [report[0] for report in said]
    assert done == sorted(set(done))
    assert {report[1:] for report in said} == {said[-1][1:]}


def test_the_plan_names_the_layers_also_of_several_sequences() -> None:
    for found in (mutagenesis(network(), ["ACGTTA", "TTGACC"]), variants(network(), "ACGTTA", [(0, "A", "C")])):
        assert found.plan is not None
        assert found.plan.rows[0].path == "0"
        assert found.json()["plan"] == found.plan.json()


class Asking(nn.Module):
    """A number is asked for, which cannot be had on windows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1, keepdim=True) * (2.0 if x.sum().item() > 0 else 1.0)


def test_a_network_that_was_run_whole_says_so() -> None:
    found = mutagenesis(Asking(), ["ACG", "TTT"])
    assert found.plan is not None
    assert found.plan.whole


def test_tables_json_and_pictures() -> None:
    found = mutagenesis(network(), "ACGTTGCAAC", target=1)
    assert json.loads(json.dumps(found.json()))["axes"]["position"] == list(range(10))
    assert repr(found) == "MutationMap(mutagenesis by substitution, 4 letters × 10 positions, base ())"
    row = [next(iter(column.cells)) for column in found.table(1).columns]
    letter, position = divmod(int(found.change.abs().argmax()), 10)
    assert row[:2] == [DNA[letter], str(position)]
    figure = found.plot()
    figure.savefig(io.BytesIO())
    words = [text.get_text() for text in figure.axes[0].texts]
    assert f"{float(found.change.abs().max()):+.3g}" in words
    assert "".join(word for word in words if word in DNA) == "ACGTTGCAAC"
    assert words[0] == f"{found.title()}: output 1 = {float(found.base):.4g}"
    drawn = mutagenesis(network(), ["ACGT" * 75, "TTGA" * 75], edit="deletion").plot((1, 0))
    drawn.savefig(io.BytesIO())
    words = [text.get_text() for text in drawn.axes[0].texts]
    assert [word for word in words if word.isdigit()][:3] == ["0", "100", "200"]
    # No strip has a few letters only: 101 stand in one, 240 in two.
    assert [line_of(length) for length in (40, 101, 149, 151, 240, 5000)] == [40, 101, 149, 76, 120, 250]


def test_pictures_of_variants_and_of_long_sequences() -> None:
    text = "ACGT" * 15
    found = variants(network(), text, [(i, text[i], "") for i in range(60)])
    figure = found.plot()
    figure.savefig(io.BytesIO())
    words = [word.get_text() for word in figure.axes[0].texts]
    assert "The 40 of 60 with the greatest effect." in " ".join(words)
    assert sum(word.endswith(">-") for word in words) == 40
    torch.manual_seed(0)
    counted = nn.Sequential(nn.Conv1d(4, 1, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    scores = torch.rand(4, 2400)
    long = mutagenesis(counted, "ACGT", target=0)
    wide = MutationMap(
        *(long.method, one_hot("ACGT" * 600)[None], long.base, scores),
        {"letter": DNA, "position": range(2400)},
        long.parameters,
    )
    wide.plot().savefig(io.BytesIO())


def test_an_unknown_letter_is_named() -> None:
    message = "unknown letter: position 3: expected one of ACGT, got 'x'. Pass unknown=0.25, say"
    with pytest.raises(InputError, match=message):
        mutagenesis(network(), "ACGxN")
    with pytest.raises(InputError, match=r"unknown letter: position 1 of the alternative of \(0, 'A', 'AN'\): exp"):
        variants(network(), "ACGT", [(0, "A", "C"), (0, "A", "AN")])
    with pytest.raises(InputError, match="unknown letter: position 2 of following: expected one of ACGT, got 'N'"):
        variants(network(), "ACGT", [(0, "A", "C")], following="ACN")
    with pytest.raises(InputError, match="unknown letter: position 0 of sequence 1: expected one of ACGT, got 'N'"):
        mutagenesis(network(), ["ACG", "NCG"])


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        ([0, 0, 0, 0], {}, r"position 2: expected a single 1, else 0, got \[0.0, 0.0, 0.0, 0.0\]. Letters that are no"),
        ([1, 1, 0, 0], {}, r"position 2: expected a single 1, else 0, got \[1.0, 1.0, 0.0, 0.0\]"),
        ([0.5, 0.5, 0, 0], {}, "position 2: expected a single 1"),
        ([0.25] * 4, {"unknown": 0}, "position 2: expected a single 1, else 0, or all 0, got"),
    ],
)
def test_columns_that_are_not_one_hot_are_named(column: list[float], options: dict[str, Any], message: str) -> None:
    x = encode("ACGT")
    x[0, :, 2] = torch.tensor(column)
    with pytest.raises(InputError, match=f"a sequence is not one-hot: {message}"):
        mutagenesis(network(), x, **options)
    with pytest.raises(InputError, match="a sequence is not one-hot: position 2 of sequence 1: expected"):
        mutagenesis(network(), torch.cat([encode("ACGT"), x]), **options)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(1, 4, 0), {}, r"these are no sequences: expected axes \(n, letters, length\), got \(1, 4, 0\)"),
        ("", {}, "sequences have one length, from 1: got lengths 0. Call once for each length."),
        ([], {}, "sequences have one length, from 1: got lengths none"),
        (["ACG", "AC"], {}, "sequences have one length, from 1: got lengths 3, 2"),
        (torch.ones(1, 1, 3), {"alphabet": "AC"}, r"each letter has a channel: got 1 channels and 2 letters \(AC\)"),
        ("ACA", {"alphabet": "ACC"}, "the letters of an alphabet differ: got 'ACC'"),
        ("ACA", {"edit": "inversion"}, "unknown edit: expected substitution or insertion or deletion, got inversion"),
    ],
)
def test_what_is_no_sequence_is_refused(x: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mutagenesis(network(), x, **options)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([], r"no variants are given: expected \(position, reference, alternative\), got none"),
        (
            [(0, "A", "C"), (2, "T", "C")],
            "the reference is not what the sequence has: position 2: expected G, got T. P",
        ),
        ([(0, "AG", "")], "the reference is not what the sequence has: position 0: expected AC, got AG"),
        ([(4, "A", "C")], r"a variant lies outside of the sequence: \(4, 'A', 'C'\): expected 0 to 3, got 1 letters"),
        ([(3, "TA", "C")], "a variant lies outside of the sequence: .* got 2 letters from position 3"),
        ([(-1, "T", "C")], "a variant lies outside of the sequence"),
        (
            [(5, "", "C")],
            r"a variant lies outside of the sequence: \(5, '', 'C'\): expected 0 to 4, got 0 letters from",
        ),
    ],
)
def test_variants_that_do_not_fit_are_refused(given_: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        variants(network(), "ACGT", given_)


def test_variants_of_several_sequences_are_refused() -> None:
    with pytest.raises(InputError, match="variants are those of one sequence: got 2 sequences. Call for each."):
        variants(network(), encode("ACGT").expand(2, -1, -1), [(0, "A", "C")])


def test_an_insertion_at_the_end_leaves_the_sequence() -> None:
    found = variants(network(), "ACGT", [(4, "", "GG"), (3, "T", "TG")])
    agree(found.scores, run(network(), ["ACGT", "ACGT"]))


def test_nothing_may_follow() -> None:
    given_ = [(1, "CG", "")]
    nothing = variants(network(), "ACGT", given_, following=torch.zeros(4, 0)).scores
    agree(nothing, variants(network(), "ACGT", given_).scores)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are not checked, as outside of the tests: what users then read is an error of striate."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("x", [np.zeros((1, 4, 3)), b"ACGT", 7, None, [b"ACGT"]])
def test_other_types_are_no_sequences(x: Any) -> None:
    message = (
        rf"these are no sequences: expected text, a list of texts, or a tensor .* got {type(x).__name__}. torch.as"
    )
    for explain in (mutagenesis, lambda model, x: variants(model, x, [(0, "A", "C")])):
        with pytest.raises(InputError, match=message):
            explain(network(), x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("following", [np.zeros((4, 2)), b"AC", ["AC"]])
def test_what_follows_is_text_or_a_tensor(following: Any) -> None:
    expected = rf"expected text or a tensor \(letters, k\), got {type(following).__name__}"
    with pytest.raises(InputError, match=f"what follows is no sequence: {expected}"):
        variants(network(), "ACGT", [(0, "A", "C")], following=following)
