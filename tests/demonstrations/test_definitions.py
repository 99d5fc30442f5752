"""The data of the demonstrations against their definitions, written out in NumPy and SciPy, and published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from sklearn.datasets import load_digits, load_sample_image

from striate.demonstrations import DEMONSTRATIONS, show

# Which demonstrations show what the lectures' slides show, by the number of the figure in our inventory.
SLIDES = {
    "F02": ["edges"],
    "F03": ["sobel"],
    "F04": ["products"],
    "F05": ["box_and_ramp", "signals"],
    "F06": ["box_and_ramp", "signals"],
    "F07": ["template"],
    "F08": ["rotated_kernel", "signals"],
    "F09": ["sparse_connections"],
    "F10": ["shared_weights"],
    "F11": ["equivariance"],
    "F12": ["padding", "padding_modes", "shrinking"],
    "F13": ["stride"],
    "F14": ["pooling"],
    "F15": ["invariance", "equivariance"],
    "F17": ["classifier"],
    "F25": ["receptive_field"],
    "F28": ["dilation", "receptive_field"],
    "F30": ["transposed", "zero_insertion", "checkerboard"],
    "F32": ["local_weights"],
    "F33": ["dense_as_convolution"],
    "F34": ["words"],
    "F36": ["activations"],
    "F37": ["residual"],
    "F42": ["matrix"],
}
SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SOBEL_MAP = """
0 510 1020 510 -510 -1020 -510 0
-255 510 1020 510 -510 -1020 -510 0
-255 765 765 255 -255 -765 -765 -255
255 765 510 0 0 -510 -765 -510
255 510 765 0 0 -765 -510 -255
0 765 1020 0 0 -1020 -765 0
0 1020 765 -255 255 -765 -1020 255
255 1020 0 -765 765 0 -1020 255
"""
SOBEL_GRAY = """
128 191 255 191 64 0 64 128
96 191 255 191 64 0 64 128
96 223 223 159 96 32 32 96
159 223 191 128 128 64 32 64
159 191 223 128 128 32 64 96
128 223 255 128 128 0 32 128
128 255 223 96 159 32 0 159
159 255 128 32 223 128 0 159
"""


def table(text: str) -> np.ndarray:
    return np.array([[float(word) for word in line.split()] for line in text.strip().splitlines()])


def test_every_demonstration_belongs_to_the_slides_or_says_its_source() -> None:
    shown = {name for names in SLIDES.values() for name in names}
    assert shown <= set(DEMONSTRATIONS)
    assert all(DEMONSTRATIONS[name].source for name in set(DEMONSTRATIONS) - shown)


def test_sobel_is_the_map_of_64_numbers() -> None:
    data = show("sobel").data
    assert data["feature_map"].numpy() == pytest.approx(table(SOBEL_MAP))
    assert data["gray"].numpy() == pytest.approx(table(SOBEL_GRAY))
    down = show("sobel:kernel=sobel_y").data
    expected = signal.correlate2d(data["image"].numpy(), SOBEL_X.T, "valid")
    assert down["feature_map"].numpy() == pytest.approx(expected)


def test_products_of_letters_are_written_out() -> None:
    numbers = show("products").numbers
    assert numbers == {
        "s11": "a·w11 + b·w12 + d·w21 + e·w22",
        "s12": "b·w11 + c·w12 + e·w21 + f·w22",
        "s21": "d·w11 + e·w12 + g·w21 + h·w22",
        "s22": "e·w11 + f·w12 + h·w21 + i·w22",
    }


@pytest.mark.parametrize("height", [1, 2, 9])
def test_words_are_read_by_a_kernel_as_wide_as_their_vectors(height: int) -> None:
    scene = show("words", height=height)
    vectors, kernel = scene.data["vectors"].numpy(), scene.data["kernel"].numpy()
    expected = [(vectors[place : place + height] * kernel).sum() for place in range(9 - height + 1)]
    assert scene.data["output"].numpy() == pytest.approx(np.array(expected), abs=1e-5)
    assert scene.numbers["places"] == 10 - height
    assert (vectors[0] == vectors[7]).all()  # "the"


@pytest.mark.parametrize(("operation", "first"), [("convolution", -1), ("correlation", -2)])
def test_box_and_ramp_are_the_closed_form(operation: str, first: int) -> None:
    numbers = show("box_and_ramp", operation=operation).numbers
    values = [numbers[f"h({i})"] for i in range(first, first + 9)]
    assert values == pytest.approx([0, 0.9, 1.6, 2.1, 1.5, 0.9, 0.4, 0.1, 0], abs=1e-6)
    data = show("box_and_ramp").data
    i, integral = data["i"].numpy(), lambda t: t - t**2 / 10
    inside = (i > -1) & (i < 7)
    exact = integral(np.minimum(i + 1, 5)) - integral(np.maximum(i - 2, 0))
    assert data["h"].numpy() == pytest.approx(np.where(inside, exact, 0), abs=1e-9)


def test_signals_are_those_of_numpy() -> None:
    data = {key: values.numpy() for key, values in show("signals").data.items()}
    assert (data["convolution"] == np.convolve(data["signal"], data["kernel"])).all()
    assert (data["correlation"] == np.correlate(data["signal"], data["kernel"], "full")).all()


@given(st.integers(1, 4))
@settings(max_examples=4)
def test_a_rotated_kernel_is_the_difference_of_the_two(impulses: int) -> None:
    scene = show("rotated_kernel", impulses=impulses)
    image, kernel = scene.data["image"].numpy(), scene.data["kernel"].numpy()
    assert (scene.data["convolution"].numpy() == signal.convolve2d(image, kernel, "same")).all()
    assert (scene.data["correlation"].numpy() == signal.correlate2d(image, kernel, "same")).all()
    assert scene.numbers["convolution - correlation with the rotated kernel"] == 0


def test_edges_are_those_of_scipy() -> None:
    data = {key: values.double().numpy() for key, values in show("edges").data.items()}
    gx = signal.correlate2d(data["image"], SOBEL_X, "valid")
    gy = signal.correlate2d(data["image"], SOBEL_X.T, "valid")
    assert data["gx"] == pytest.approx(gx, abs=0.01)
    assert data["gy"] == pytest.approx(gy, abs=0.01)
    assert data["magnitude"] == pytest.approx(np.hypot(gx, gy), abs=0.01)
    assert 0 <= data["image"].min() < data["image"].max() <= 255.01
    gray = load_sample_image("china.jpg").mean()
    assert data["image"].mean() == pytest.approx(gray, rel=0.1)


@pytest.mark.parametrize("photograph", ["china", "flower"])
def test_a_template_is_found_where_it_was_cut_out(photograph: str) -> None:
    scene = show("template", photograph=photograph)
    assert scene.numbers["off by"] == 0
    assert scene.numbers["raw is off by"] > 20
    row, column = scene.numbers["true place"]
    window = scene.data["image"].numpy()[row : row + 24, column : column + 24]
    score = np.corrcoef(window.ravel(), scene.data["template"].numpy().ravel())[0, 1]
    assert scene.numbers["score"] == pytest.approx(score, abs=1e-5)


@given(st.integers(3, 8), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_padding_counts_the_real_values_of_each_window(size: int, kernel: int) -> None:
    data = show("padding", size=size, kernel=kernel).data
    ones, window = np.ones((size, size)), np.ones((kernel, kernel))
    full = signal.correlate2d(ones, window, "full")
    assert (data["full"].numpy() == full).all()
    assert (data["valid"].numpy() == signal.correlate2d(ones, window, "valid")).all()
    assert (data["causal"].numpy() == full[:size, :size]).all()
    after = kernel // 2  # one more after than before where the kernel is even
    assert (data["same"].numpy() == full[after : after + size, after : after + size]).all()


@pytest.mark.parametrize(
    ("mode", "name", "row"),
    [
        ("zeros", "constant", "0 0 1 2 3 4 0 0"),
        ("reflect", "reflect", "3 2 1 2 3 4 3 2"),
        ("replicate", "edge", "1 1 1 2 3 4 4 4"),
        ("circular", "wrap", "3 4 1 2 3 4 1 2"),
    ],
)
def test_padding_modes_are_those_of_numpy(mode: str, name: str, row: str) -> None:
    scene = show("padding_modes")
    assert scene.numbers[mode] == row
    digits = load_digits()
    assert digits.target[5] == 5
    assert (scene.data[f"{mode} image"].numpy() == np.pad(digits.images[5], 4, mode=name)).all()


def test_shrinking_is_the_course_of_the_sizes() -> None:
    numbers = show("shrinking").numbers
    assert numbers == {"valid": "16 → 11 → 6 → 1", "same": "16 → 16 → 16 → 16"}


@pytest.mark.parametrize(("step", "outputs", "rest"), [(1, 5, 0), (2, 3, 0), (3, 2, 1)])
def test_stride_skips_places_and_leaves_a_rest(step: int, outputs: int, rest: int) -> None:
    scene = show("stride", step=step)
    every = signal.correlate2d(scene.data["image"].numpy(), np.ones((3, 3)), "valid")
    assert (scene.data["output"].numpy() == every[::step, ::step]).all()
    assert scene.numbers["output"] == f"{outputs}x{outputs}"
    assert scene.numbers["left over"] == rest
    assert scene.numbers["multiply-adds"] == 9 * outputs**2


def test_dilation_spreads_the_kernel_with_zeros() -> None:
    scene = show("dilation", rate=4)
    for rate in range(1, 5):
        comb = np.zeros((rate, rate))
        comb[0, 0] = 1
        spread = np.kron(np.arange(1, 10).reshape(3, 3), comb)[: 2 * rate + 1, : 2 * rate + 1]
        assert (scene.data[f"rate {rate}"].numpy() == spread).all()
    assert scene.numbers["greatest difference from the kernel with zeros"] == 0


def test_connections_are_36_and_weights_are_4() -> None:
    scene = show("sparse_connections")
    assert scene.numbers == {
        "dense: connections": 36,
        "dense: weights": 36,
        "convolution: connections": 16,
        "convolution: weights": 4,
        "times fewer weights": 9,
    }
    assert scene.data["reads"].tolist() == [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    assert show("shared_weights").numbers["uses of each weight"] == 4


def test_local_weights_are_counted_and_differ_from_place_to_place() -> None:
    scene = show("local_weights")
    assert scene.numbers["locally connected: parameters"] == 14_976
    assert scene.numbers["convolution: parameters"] == 26
    assert show("local_weights:channels=3,filters=5").numbers["locally connected: parameters"] == 218_880
    image, weights = scene.data["image"].numpy(), scene.data["weights"].numpy()
    for row, column in ((0, 0), (7, 20)):
        window = image[row : row + 5, column : column + 5]
        expected = (window * weights[row, column]).sum()
        assert scene.data["locally_connected"][row, column].item() == pytest.approx(expected, rel=1e-3, abs=0.1)
    shared = signal.correlate2d(image, weights[0, 0], "valid")
    assert scene.data["convolution"].numpy() == pytest.approx(shared, abs=0.05)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.sampled_from(["none", "doubling"]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_receptive_field_is_where_the_gradient_is(
    layers: int, kernel: int, stride: int, dilation: str, causal: bool
) -> None:
    scene = show("receptive_field", layers=layers, kernel=kernel, stride=stride, dilation=dilation, causal=causal)
    x = torch.ones(1, 1, 1_000, requires_grad=True)  # the widest of these fields is 778
    y = x
    for layer in range(layers):
        rate = 2**layer if dilation == "doubling" else 1
        y = torch.nn.functional.conv1d(y, torch.ones(1, 1, kernel), stride=stride, dilation=rate)
    y[0, 0, 0].backward()
    (places,) = np.nonzero(x.grad[0, 0].numpy())
    sees = scene.data["sees"].numpy()
    assert (sees - sees[0] == places).all()
    assert scene.data["field"][-1] == places[-1] + 1
    assert not causal or sees[-1] == 0


def test_equivariance_is_exact_and_pooling_follows_whole_windows_only() -> None:
    scene = show("equivariance", shift=8)
    assert (scene.data["errors"] == 0).all()
    assert len(set(scene.data["greatest"].tolist())) == 1
    exact = [moved for moved, error in enumerate(scene.data["pooled_errors"].tolist()) if error == 0]
    assert exact == [0, 2, 4, 6, 8]
    first = scene.data["inputs"][3].numpy()
    wrapped = np.pad(first, 1, mode="wrap")
    assert (scene.data["maps"][3].numpy() == signal.correlate2d(wrapped, SOBEL_X, "valid")).all()


def test_pooling_is_the_worked_example() -> None:
    data = show("pooling").data
    assert data["max"].tolist() == [[8, 6], [9, 3]]
    assert data["mean"].tolist() == [[3.75, 2.5], [4.25, 1.75]]
    assert data["L2"].square().numpy() == pytest.approx(np.array([[83, 42], [111, 15]]), rel=1e-6)
    assert show("pooling:window=3,stride=1").data["max"].tolist() == [[9, 9], [9, 9]]


def test_invariance_counts_what_changed() -> None:
    scene = show("invariance")
    for moved in range(4):
        before = scene.data["before"][moved].numpy()
        after = [before[max(i - 2, 0) : i + 3].max() for i in range(12)]
        assert (scene.data["after"][moved].numpy() == np.array(after, np.float32)).all()
    assert scene.numbers["changed before pooling, moved by 1"] == "12 of 12"
    assert scene.numbers["changed after pooling, moved by 1"] == "4 of 12"


def test_a_transposed_convolution_is_the_worked_example_and_torchs() -> None:
    assert show("transposed").data["output"].tolist() == [[1, 3, 2], [5, 14, 10], [6, 17, 12]]
    apart = show("transposed:stride=2").data["output"]
    assert apart.tolist() == [
        [1, 2, 1, 2],
        [3, 4, 3, 4],
        [2, 4, 3, 6],
        [6, 8, 9, 12],
    ]
    for stride in (1, 2, 3):
        data = show("transposed", stride=stride).data
        x, kernel = (data[name][None, None] for name in ("input", "kernel"))
        expected = torch.nn.functional.conv_transpose2d(x, kernel, stride=stride)[0, 0]
        assert torch.equal(data["output"], expected)
        assert torch.equal(show("zero_insertion", stride=stride).data["output"], expected)


def test_the_matrix_has_the_printed_pattern_and_goes_back() -> None:
    data = {name: values.numpy() for name, values in show("matrix").data.items()}
    rows = np.zeros((4, 16))
    for i in range(2):
        for j in range(2):
            for p in range(3):
                rows[2 * i + j, 4 * (i + p) + j : 4 * (i + p) + j + 3] = data["kernel"][p]
    assert (data["matrix"] == rows).all()
    assert (data["there"] == signal.correlate2d(data["image"], data["kernel"], "valid")).all()
    assert (data["back"] == signal.convolve2d(data["there"], data["kernel"], "full")).all()


def test_checkerboards_are_measured() -> None:
    scene = show("checkerboard")
    one_axis = np.convolve(np.repeat([1, 0], 1).tolist() * 8, np.ones(3))[4:12]  # stamps that meet on an axis: 1 or 2
    counts = scene.data["transposed convolution, constant"].numpy()
    assert sorted(np.unique(counts)) == [1, 2, 4]
    assert set(one_axis) == {1, 2}
    assert np.linalg.matrix_rank(counts) == 1
    for way in ("nearest, then convolution", "bilinear, then convolution"):
        assert (scene.data[f"{way}, constant"] == 9).all()
        assert scene.numbers[f"{way}: unevenness"] < 1e-6
        assert scene.numbers[f"{way}: power at 1/2"] < 0.01
    assert scene.numbers["transposed convolution: unevenness"] > 0.5
    assert scene.numbers["transposed convolution: power at 1/2"] > 0.5
    even = show("checkerboard:kernel=4")
    assert len(even.data["transposed convolution, constant"].unique()) == 1
    assert even.numbers["transposed convolution: unevenness"] > 0.5  # equal overlaps do not help unequal weights


def test_activations_and_their_derivatives_are_the_formulas() -> None:
    data = {name: values.numpy() for name, values in show("activations").data.items()}
    z = data["z"]
    sigmoid = 1 / (1 + np.exp(-z))
    assert data["sigmoid"] == pytest.approx(sigmoid)
    assert data["sigmoid derivative"] == pytest.approx(sigmoid * (1 - sigmoid))
    assert data["tanh derivative"] == pytest.approx(1 - np.tanh(z) ** 2)
    away = np.abs(z) > 1e-9
    assert (data["ReLU derivative"][away] == (z > 0)[away]).all()
    assert data["leaky ReLU"] == pytest.approx(np.where(z > 0, z, 0.1 * z))
    assert data["ELU derivative"][away] == pytest.approx(np.where(z > 0, 1, np.exp(z))[away])


def test_the_classifier_has_the_shapes_of_the_lectures_and_the_values_of_its_definition() -> None:
    scene = show("classifier")
    numbers = scene.numbers
    assert [numbers[key] for key in ("picture", "convolution", "max pooling", "flatten")] == [
        "10x10x3",
        "5x5x4",
        "2x2x4",
        "16",
    ]
    data = {name: values.numpy() for name, values in scene.data.items()}
    assert (data["active"] == np.maximum(data["maps"], 0)).all()
    pooled = data["active"][:, :4, :4].reshape(4, 2, 2, 2, 2).max((2, 4))
    assert (data["pooled"] == pooled).all()
    assert (data["flat"] == pooled.ravel()).all()
    assert data["probabilities"] == pytest.approx(np.exp(data["scores"]) / np.exp(data["scores"]).sum(), rel=1e-5)


def test_a_dense_layer_slides_with_100_weights() -> None:
    scene = show("dense_as_convolution")
    image, weights = scene.data["image"].numpy(), scene.data["weights"].numpy()
    for k in range(4):
        expected = signal.correlate2d(image, weights[k].reshape(5, 5), "valid")
        assert (scene.data["scores"][k].numpy() == expected).all()
    assert scene.numbers["weights"] == 100
    assert scene.numbers["convolution - dense layer, place by place"] == 0


def test_a_separable_convolution_costs_what_two_layers_cost() -> None:
    scene = show("separable")
    assert scene.numbers["share"] == pytest.approx(1 / 256 + 1 / 9)
    assert scene.numbers["share, counted"] == pytest.approx(scene.numbers["share"])
    depthwise = torch.nn.Conv2d(256, 256, 3, groups=256, bias=False).weight.numel()
    pointwise = torch.nn.Conv2d(256, 256, 1, bias=False).weight.numel()
    assert (scene.numbers["depthwise: weights"], scene.numbers["pointwise: weights"]) == (depthwise, pointwise)
    assert scene.numbers["standard: MACs"] == 14 * 14 * 9 * 256 * 256


def test_residual_blocks_multiply_variance_and_normalized_ones_add_it() -> None:
    data = {name: values.numpy() for name, values in show("residual").data.items()}
    assert data["residual"][-1] > 1e4 * data["residual"][0]
    growth = np.diff(data["residual, normalized"])[5:]
    assert (growth > 0).all()
    assert growth.max() < 1
