from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.interpret import Motif, motif_spacing, mutagenesis
from striate.interpret.sequences import one_hot


def network(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(4, 6, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(6, 5, 3), nn.ReLU(),
        nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(5, outputs),
    ).double().eval()  # fmt: skip


def run(model: nn.Module, text: str) -> torch.Tensor:
    with torch.no_grad():
        return model(one_hot(text)[None].double())[0]


def put(text: str, motif: str, at: int) -> str:
    return text[:at] + motif + text[at + len(motif) :]


BACKGROUNDS = ["ACGTTGCAACGGTACCTGATCGATTACGAT", "TTGACCATGCATGGCATCAAGGTTCCAATG"]


@pytest.mark.parametrize("count", [1, 2])
def test_outputs_are_those_of_the_sequences_written_out(count: int) -> None:
    model, first, second = network(), "TGAC", "GGA"
    found = motif_spacing(model, first, second, BACKGROUNDS[:count], position=9)
    assert found.axes["distance"] == [*range(-9, -2), *range(4, 19)]
    for item, text in enumerate(BACKGROUNDS[:count]):
        base, only = run(model, text), run(model, put(text, first, 9))
        at = (item,) if count > 1 else ()
        torch.testing.assert_close(found.base[at], base)
        torch.testing.assert_close(found.first[at], only)
        for place, distance in enumerate(found.axes["distance"]):
            alone = run(model, put(text, second, 9 + distance))
            both = run(model, put(put(text, first, 9), second, 9 + distance))
            torch.testing.assert_close(found.second[(*at, ..., place)], alone)
            torch.testing.assert_close(found.scores[(*at, ..., place)], both)
            torch.testing.assert_close(found.interaction[(*at, ..., place)], both - alone - only + base)
            torch.testing.assert_close(found.fold[(*at, ..., place)], (both - alone + base) / only)
            torch.testing.assert_close(found.heatmap()[(*at, ..., 9 + distance)], both - alone - only + base)
    assert found.heatmap()[..., 10:13].isnan().all()


def test_a_network_that_wants_a_distance_of_six_shows_it() -> None:
    pair = nn.Conv1d(4, 1, 8, bias=False)
    nn.init.zeros_(pair.weight)
    pair.weight.data[0, :, :2] = one_hot("GA")
    pair.weight.data[0, :, 6:] = one_hot("TC")
    net = nn.Sequential(pair, nn.Threshold(3.5, 0.0), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    found = motif_spacing(net, Motif("GA", one_hot("GA")), "TC", ["A" * 30, "C" * 30], target=0)
    best = found.axes["distance"][int(found.interaction.mean(0).argmax())]
    assert best == 6
    assert found.table().row_count == 20
    for figure in (found.plot(), motif_spacing(net, "GA", "TC", "A" * 30).plot(), network_plot()):
        figure.savefig(io.BytesIO())


def network_plot() -> object:
    return motif_spacing(network(), "TGAC", "GGA", BACKGROUNDS).plot(1)


def test_motifs_that_do_not_fit_are_errors() -> None:
    model = network()
    with pytest.raises(
        InputError, match="the first motif does not lie within the sequence: .* got 4 letters at 28 of 30"
    ):
        motif_spacing(model, "TGAC", "GGA", BACKGROUNDS[0], position=28)
    with pytest.raises(InputError, match=r"the second motif does not fit there: expected -13 to 14, .* got 2"):
        motif_spacing(model, "TGAC", "GGA", BACKGROUNDS[0], distances=[5, 2])
    with pytest.raises(InputError, match="unknown letter: position 1 of a motif: expected one of ACGT, got 'X'"):
        motif_spacing(model, "TX", "GGA", BACKGROUNDS[0])


def test_a_logo_is_as_high_as_a_letter_matters() -> None:
    count = nn.Conv1d(4, 1, 1, bias=False)
    count.weight.data[:] = torch.tensor([0.0, 1, 3, -2])[:, None]
    net = nn.Sequential(count, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    found = mutagenesis(net, "ACGT")
    figure = found.logo()
    figure.savefig(io.BytesIO())
    heights = {}
    for patch, letter in zip(figure.axes[0].patches, "ACGT", strict=True):  # each is drawn, also upside down
        box = patch.get_path().get_extents()
        heights[letter] = box.height
    heat = found.heatmap()[0]
    for letter, value in zip("ACGT", heat.tolist(), strict=True):
        assert heights[letter] / heights["G"] == pytest.approx(abs(value) / abs(float(heat[2])), rel=1e-3)
