from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from striate.errors import InputError
from striate.runs import plots


@dataclass(frozen=True)
class Bin:
    lower: float
    upper: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Mistake:
    image: Tensor
    truth: str
    predicted: str
    probability: float
    name: str


def pixels(figure: Figure) -> np.ndarray[Any, Any]:
    """Drawing is where matplotlib warns (missing letters, collapsed axes), so every figure is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def images(figure: Figure) -> list[Any]:
    return list(figure.axes[0].images)


def step(number: int, loss: float | None = None, momentum: float | None = 0.9) -> dict[str, Any]:
    loss = 1 + 1 / number if loss is None else loss
    line = {"kind": "step", "step": number, "epoch": number / 10, "loss": loss}
    return {**line, "learning_rate": 0.1 / number, "momentum": momentum}


def epoch(number: int, validation: dict[str, float] | None) -> dict[str, Any]:
    line = {"kind": "epoch", "epoch": number, "step": 10 * number, "train_loss": 1.5 / number}
    return {**line, "validation": validation, "seconds": 1.0}


def photo(channels: int = 3, height: int = 6, width: int = 8) -> Tensor:
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)


def test_curves_draw_the_numbers_given() -> None:
    steps = [step(i) for i in range(1, 21)]
    epochs = [epoch(i, {"loss": 1.2 / i, "accuracy": i / 4}) for i in (1, 2)]
    figure = plots.curves([*steps[:10], epochs[0], *steps[10:], epochs[1]])
    pixels(figure)
    assert titles(figure) == [
        "Loss",
        "Validation accuracy, best 50.00 % in epoch 2",
        "Learning rate",
        "Momentum",
    ]
    loss, accuracy, rate, momentum = figure.axes
    training, validation = loss.lines
    assert training.get_xdata().tolist() == list(range(1, 21))
    assert training.get_ydata().tolist() == [line["loss"] for line in steps]
    assert validation.get_xdata().tolist() == [10, 20]
    assert validation.get_ydata().tolist() == [1.2, 0.6]
    assert accuracy.lines[0].get_ydata().tolist() == [0.25, 0.5]
    assert rate.lines[0].get_ydata().tolist() == [line["learning_rate"] for line in steps]
    assert set(momentum.lines[0].get_ydata()) == {0.9}


def test_many_steps_are_smoothed_by_a_centered_mean() -> None:
    losses = np.random.default_rng(0).random(200) + 1
    losses[50] = math.nan
    figure = plots.curves([step(i + 1, loss) for i, loss in enumerate(losses)])
    raw, smooth = figure.axes[0].lines
    assert np.array_equal(raw.get_ydata(), losses, equal_nan=True)
    expected = [np.nanmean(losses[max(i - 4, 0) : i + 5]) for i in range(200)]
    np.testing.assert_allclose(smooth.get_ydata(), expected)
    assert smooth.get_label() == "training, mean of 9 steps"


def test_the_loss_is_logarithmic_only_where_it_spans_much() -> None:
    wide, narrow = (plots.curves([step(1, 10.0), step(2, last)]) for last in (0.01, 5.0))
    assert (wide.axes[0].get_yscale(), narrow.axes[0].get_yscale()) == ("log", "linear")
    assert titles(wide)[0] == "Loss (logarithmic)"
    assert plots.curves([step(1, 10.0), step(2, 0.0)]).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("history", "panels"),
    [
        ([step(1)], ["Loss", "Learning rate", "Momentum"]),
        ([step(1, momentum=None)], ["Loss", "Learning rate"]),
        ([epoch(1, None)], ["Loss"]),
        ([epoch(1, {"loss": 1.0})], ["Loss"]),
        (
            [step(1, math.nan), epoch(1, {"loss": math.inf, "accuracy": math.nan})],
            ["Loss", "Validation accuracy"],
        ),
        ([{"kind": "start"}, step(1), epoch(1, None)], ["Loss", "Learning rate", "Momentum"]),
    ],
)
def test_panels_without_numbers_are_left_out(history: list[dict[str, Any]], panels: list[str]) -> None:
    figure = plots.curves(history)
    pixels(figure)
    assert titles(figure)[: len(panels)] == panels


def test_epochs_alone_show_their_mean_loss() -> None:
    line = plots.curves([epoch(i, None) for i in range(1, 40)]).axes[0].lines[0]
    assert line.get_ydata().tolist() == [1.5 / i for i in range(1, 40)]


def test_several_accuracies_share_a_panel() -> None:
    scores = {"loss": 1.0, "accuracy": 0.5, "top5_accuracy": 0.9}
    axes = plots.curves([epoch(1, scores), epoch(2, scores)]).axes[1]
    assert [line.get_label() for line in axes.lines] == ["accuracy", "top5 accuracy"]


def test_history_without_lines_is_an_error() -> None:
    with pytest.raises(InputError, match="no curves to draw: expected step or epoch lines, got 1 others"):
        plots.curves([{"kind": "start"}])


def test_confusion_colors_are_shares_of_the_true_class() -> None:
    figure = plots.confusion(torch.tensor([[8, 2, 0], [0, 5, 0], [0, 0, 0]]), ["a", "b", "c"])
    pixels(figure)
    shares = images(figure)[0].get_array()
    assert shares[0].tolist() == [0.8, 0.2, 0]
    assert shares.mask.all(1).tolist() == [False, False, True]
    assert sorted(words(figure)) == ["2", "5", "8"]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert titles(figure)[0] == "13 of 15 on the diagonal"


@pytest.mark.parametrize(("k", "written", "labels"), [(1, True, 1), (25, True, 25), (26, False, 26), (300, False, 50)])
def test_confusion_of_few_and_many_classes(k: int, written: bool, labels: int) -> None:
    names = [f"class {i} $x_{{$ 日本 with a very long name" for i in range(k)]
    figure = plots.confusion(torch.eye(k, dtype=torch.int64) * 12345, names)
    pixels(figure)
    assert words(figure) == ["12k"] * k * written
    assert len(figure.axes[0].get_yticks()) == labels
    assert max(figure.get_size_inches()) <= 11


def test_confusion_must_be_square_with_a_name_each() -> None:
    with pytest.raises(InputError, match=r"cannot draw the confusion: expected a 3 × 3 matrix, got \(2, 2\)"):
        plots.confusion(torch.eye(2, dtype=torch.int64), ["a", "b", "c"])


def test_reliability_draws_accuracy_gap_and_counts() -> None:
    bins = (Bin(0, 0.5, math.nan, math.nan, 0), Bin(0.5, 0.75, 0.6, 0.7, 10), Bin(0.75, 1, 0.9, 0.8, 30))
    figure = plots.reliability(bins)
    pixels(figure)
    top, bottom = figure.axes
    accuracy, gap = top.containers
    assert [bar.get_height() for bar in accuracy] == [0.7, 0.8]
    assert [bar.get_y() + bar.get_height() for bar in gap] == pytest.approx([0.6, 0.9])
    assert [bar.get_height() for bar in bottom.containers[0]] == [10, 30]
    assert [bar.get_x() for bar in accuracy] == [0.5, 0.75]
    assert top.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("bins", [(), (Bin(0, 1, math.nan, math.nan, 0),)])
def test_reliability_without_predictions_is_an_error(bins: tuple[Bin, ...]) -> None:
    with pytest.raises(InputError, match="no calibration to draw: expected predictions"):
        plots.reliability(bins)


def test_mistakes_show_image_classes_and_probability() -> None:
    items = [Mistake(photo(), "cat", "dog", 0.934, "a.png"), Mistake(photo(1), "dog", "cat", 0.6, "b.png")]
    figure = plots.mistakes(items)
    pixels(figure)
    assert np.array_equal(images(figure)[0].get_array(), items[0].image.permute(1, 2, 0))
    assert words(figure)[0] == "2 mistakes"
    assert words(figure)[2:6] == ["dog", "93 %", "cat", "a.png"]


def test_too_many_mistakes_are_cut_and_counted() -> None:
    name = "$\\frac{日本 " * 9
    figure = plots.mistakes([Mistake(photo(1, 1, 1), name, name, 1.0, name)] * 31)
    pixels(figure)
    assert len(images(figure)) == 30
    assert words(figure)[0] == "30 of 31 mistakes"


def test_no_mistakes_says_so() -> None:
    figure = plots.mistakes([])
    pixels(figure)
    assert words(figure) == ["No mistakes", "Every prediction was right."]


def test_examples_show_every_image_with_its_class() -> None:
    items = [(photo(), f"class {i}") for i in range(10)]
    figure = plots.examples(items)
    pixels(figure)
    assert [image.get_array().tolist() for image in images(figure)] == [i.permute(1, 2, 0).tolist() for i, _ in items]
    assert words(figure)[2:] == [name for _, name in items]
    with pytest.raises(InputError, match="no examples to draw"):
        plots.examples([])


def test_drawing_leaves_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    pixels(plots.curves([step(1)]))
    assert dict(matplotlib.rcParams) == before
    assert plots.mistakes([]).get_dpi() == 120
