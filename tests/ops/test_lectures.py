"""The 38 worked examples of the lectures (inventory, appendix C), by number.

Those about networks and countings are here in one line each; tests/geometry and tests/zoo have them at length.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.ops.fixtures import (
    CONVOLVED_Y,
    GREY,
    IMAGE,
    MAGNITUDE,
    MATRIX,
    PADDED,
    SOBEL_X,
    VERTICAL,
    grid,
    random,
    rows,
)
from torch import Tensor, nn

from striate import zoo
from striate.geometry import count, describe
from striate.ops import (
    BOX,
    RAMP,
    Samples,
    binomial,
    convolution_matrix,
    convolve,
    convolve_functions,
    convolve_samples,
    correlate,
    correlate_functions,
    correlate_samples,
    difference,
    factorize,
    grey_values,
    input_gradient,
    insert_zeros,
    kernel_gradient,
    output_size,
    patches,
    sobel,
    sobel_kernels,
    transposed,
)

close = torch.testing.assert_close


def built(name: str) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name).eval()


def test_01_sobels_kernel_is_an_average_times_a_difference() -> None:
    kernel = sobel_kernels()[0]
    assert torch.equal(kernel, torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([-1.0, 0, 1])))
    (term,) = factorize(kernel)
    column, row = (vector / vector.abs().max() for vector in term.vectors)
    close(column * column.sign()[0] * 2, torch.tensor([1.0, 2, 1]))
    close(row * row.sign()[2], torch.tensor([-1.0, 0, 1]))


def test_02_sobel_of_the_10x10_image() -> None:
    assert sobel(torch.tensor(IMAGE)).x.tolist() == SOBEL_X
    assert rows(correlate(grid(IMAGE), sobel_kernels()[0].double()[None, None])) == SOBEL_X


def test_02_the_other_direction_and_the_magnitude() -> None:
    found = sobel(torch.tensor(IMAGE))
    assert found.magnitude.round().tolist() == MAGNITUDE
    printed = grid([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
    assert rows(convolve(grid(IMAGE), printed)) == CONVOLVED_Y == found.y.tolist()
    assert torch.equal(sobel_kernels()[1], sobel_kernels()[0].T)


def test_03_the_map_as_grey_values() -> None:
    assert grey_values(torch.tensor(SOBEL_X)).tolist() == GREY
    assert grey_values(torch.tensor([-1020, -255, 0, 510, 1020])).tolist() == [0, 96, 128, 191, 255]


def test_04_one_position_gives_1020() -> None:
    patch = grid([[0, 255, 255], [0, 0, 255], [0, 255, 255]])
    assert correlate(patch, sobel_kernels()[0].double()[None, None]).item() == 1020
    assert torch.equal(grid(IMAGE)[..., 1:4, 2:5], patch)
    assert SOBEL_X[1][2] == 1020


def test_05_a_2x2_kernel_on_3x3_letter_by_letter() -> None:
    """The derivative with respect to each letter says which weight it is multiplied with."""
    a_to_i, weights = random(1, 1, 3, 3), {"w11": (0, 0), "w12": (0, 1), "w21": (1, 0), "w22": (1, 1)}
    letters = {letter: divmod(n, 3) for n, letter in enumerate("abcdefghi")}
    sums = {
        (0, 0): "a·w11 b·w12 d·w21 e·w22",
        (0, 1): "b·w11 c·w12 e·w21 f·w22",
        (1, 0): "d·w11 e·w12 g·w21 h·w22",
        (1, 1): "e·w11 f·w12 h·w21 i·w22",
    }
    w = random(1, 1, 2, 2)
    s = correlate(a_to_i, w)[0, 0]
    for place, terms in sums.items():
        pairs = [term.split("·") for term in terms.split()]
        total = sum(a_to_i[0, 0][letters[letter]] * w[0, 0][weights[weight]] for letter, weight in pairs)
        close(s[place], torch.as_tensor(total))


def test_06_the_first_values_of_a_causal_convolution() -> None:
    h, x = random(4), random(1, 4)[0]
    y = [
        h[0] * x[0],
        h[1] * x[0] + h[0] * x[1],
        h[2] * x[0] + h[1] * x[1] + h[0] * x[2],
        h[3] * x[0] + h[2] * x[1] + h[1] * x[2] + h[0] * x[3],
    ]
    close(convolve(x[None, None], h[None, None], padding="causal")[0, 0], torch.stack(y))
    close(convolve_samples(Samples(x), Samples(h)).values[:4], torch.stack(y))


def test_07_box_and_ramp() -> None:
    i = torch.arange(-1, 8, dtype=torch.float64)
    h = torch.tensor([0, 0.9, 1.6, 2.1, 1.5, 0.9, 0.4, 0.1, 0], dtype=torch.float64)
    close(convolve_functions(BOX, RAMP, i), h)
    close(correlate_functions(BOX, RAMP, i - 1, shift="kernel"), h)  # begins at -2
    fine = torch.linspace(-1, 7, 8001, dtype=torch.float64)
    assert fine[convolve_functions(BOX, RAMP, fine).argmax()].item() == pytest.approx(2)


P3, K3 = [[200, 150, 150], [100, 50, 100], [25, 25, 10]], [[1, 0, -1], [2, 0, -2], [1, 0, -1]]


def test_08_a_patch_times_a_kernel_plus_bias() -> None:
    assert correlate(grid(P3), grid(K3)).item() == 65
    assert correlate(grid(P3), grid(K3), torch.tensor([7.0]).double()).item() == 72


def test_09_the_maximum_of_that_patch() -> None:
    assert patches(grid(P3), (3, 3)).max().item() == F.max_pool2d(grid(P3), 3).item() == 200


def test_10_the_padded_6x6_example() -> None:
    kernel = grid([[1, 0, -1]] * 3)
    assert rows(correlate(grid(PADDED), kernel)) == VERTICAL
    inner = grid([row[1:-1] for row in PADDED[1:-1]])
    assert rows(correlate(inner, kernel, padding=1)) == rows(correlate(inner, kernel, padding="same")) == VERTICAL


POOLED = [[1, 3, 6, 2], [3, 8, 1, 1], [2, 9, 2, 1], [5, 1, 3, 1]]


def test_11_max_pooling_by_2x2() -> None:
    windows = patches(grid(POOLED), (2, 2), stride=2)[0]
    assert windows.max(1).values.tolist() == [8, 6, 9, 3] == F.max_pool2d(grid(POOLED), 2).flatten().tolist()
    assert windows.mean(1).tolist() == [3.75, 2.5, 4.25, 1.75]


def test_12_the_kernel_of_blur_pooling() -> None:
    blur = torch.outer(binomial(3), binomial(3))
    assert (blur * 16).tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert blur.sum().item() == 1


@pytest.mark.parametrize("form", ["adjoint", "insertion", "scatter"])
def test_13_transposed_convolution(form: str) -> None:
    image, kernel = grid([[1, 1], [2, 3]]), grid([[1, 2], [3, 4]])
    assert rows(transposed(image, kernel, form=form)) == [[1, 3, 2], [5, 14, 10], [6, 17, 12]]
    stride_2 = [[1, 2, 1, 2], [3, 4, 3, 4], [2, 4, 3, 6], [6, 8, 9, 12]]
    assert rows(transposed(image, kernel, stride=2, form=form)) == stride_2
    same = grid([[0, 1], [2, 3]])
    assert rows(transposed(same, same, form=form)) == [[0, 0, 1], [0, 4, 6], [4, 12, 9]]
    assert rows(transposed(image, kernel, form=form)) == rows(convolve(image, kernel, padding=1))  # K - 1


def test_14_the_4x16_matrix_and_its_transpose() -> None:
    kernel = torch.arange(1.0, 10, dtype=torch.float64).view(1, 1, 3, 3)
    matrix = convolution_matrix(kernel, (4, 4))
    assert matrix.to_dense().tolist() == MATRIX
    x, upstream = random(1, 1, 4, 4), random(1, 1, 2, 2)
    close(matrix @ x.flatten(), correlate(x, kernel).flatten())
    back = (matrix.T @ upstream.flatten()).view(1, 1, 4, 4)
    close(back, transposed(upstream, kernel))
    close(back, convolve(upstream, kernel, padding="full"))


def test_15_gradients_of_kernel_and_input() -> None:
    x, kernel, upstream = random(1, 1, 5, 5), random(1, 1, 3, 3), random(1, 1, 3, 3)
    close(kernel_gradient(x, upstream, (3, 3)), correlate(x, upstream))
    close(input_gradient(kernel, upstream, (5, 5)), convolve(upstream, kernel, padding="full"))
    step = 1e-4 * torch.eye(9, dtype=torch.float64).view(9, 1, 1, 3, 3)
    change = torch.stack([((correlate(x, kernel + s) - correlate(x, kernel - s)) * upstream).sum() for s in step])
    close(kernel_gradient(x, upstream, (3, 3)).flatten(), change / 2e-4)


def test_15_gradients_with_two_zeros_to_the_right_and_below() -> None:
    """So that the output is H x W, as the lectures derive them."""
    x, kernel, upstream = random(1, 1, 5, 5), random(1, 1, 3, 3), random(1, 1, 5, 5)
    right_below = ((0, 2), (0, 2))
    assert correlate(x, kernel, padding=right_below).shape == (1, 1, 5, 5)
    by_kernel = kernel_gradient(x, upstream, (3, 3), padding=right_below)[0, 0]
    by_input = input_gradient(kernel, upstream, (5, 5), padding=right_below)[0, 0]
    x_at, u_at, k_at = (Samples(t[0, 0]) for t in (x, upstream, kernel))
    everywhere = [(r, c) for r in range(5) for c in range(5)]
    for a, b in ((0, 0), (1, 2), (2, 2)):
        assert by_kernel[a, b].item() == pytest.approx(sum(u_at[r, c] * x_at[r + a, c + b] for r, c in everywhere))
    taps = [(a, b) for a in range(3) for b in range(3)]
    for r, c in ((0, 0), (1, 4), (4, 4)):
        assert by_input[r, c].item() == pytest.approx(sum(u_at[r - a, c - b] * k_at[a, b] for a, b in taps))


def test_16_a_dilated_3x3_is_5x5_with_zeros() -> None:
    a_to_i = torch.arange(1.0, 10).double().view(1, 1, 3, 3)
    spread = [[1, 0, 2, 0, 3], [0] * 5, [4, 0, 5, 0, 6], [0] * 5, [7, 0, 8, 0, 9]]
    assert rows(insert_zeros(a_to_i, 2)) == spread
    x = random(1, 1, 9, 8)
    close(correlate(x, a_to_i, dilation=2), correlate(x, grid(spread)))
    assert correlate(x, a_to_i, dilation=2, padding="same").shape == x.shape
    assert a_to_i.count_nonzero() == 9


def test_17_output_sizes() -> None:
    assert output_size((7, 7), (3, 3)) == (5, 5)
    assert output_size((7, 7), (3, 3), stride=2) == (3, 3)
    assert output_size((7, 7), (3, 3), padding=1) == (7, 7)
    with pytest.raises(ValueError, match="not an image: axis 0: expected a whole number, got .* = 7/3"):
        count.output_size((7, 7), 3, stride=3)
    assert output_size((7, 7), (3, 3), stride=3) == (2, 2)  # the rest is left out
    assert output_size((28, 28), (5, 5)) == (24, 24)
    assert output_size((6, 6), (3, 3), padding=1) == (6, 6)


def test_18_a_10x10x3_image_and_2x2x3_filters() -> None:
    x, filters = torch.zeros(1, 3, 10, 10), torch.zeros(7, 3, 2, 2)
    assert correlate(x, filters, stride=2).shape == (1, 7, 5, 5)
    assert correlate(x, filters).shape == (1, 7, 9, 9)


def test_19_mnist_to_three_maps_pooled() -> None:
    maps = correlate(torch.zeros(1, 1, 28, 28), torch.zeros(3, 1, 5, 5))
    assert maps.shape == (1, 3, 24, 24)
    assert F.max_pool2d(maps, 2).shape == (1, 3, 12, 12)


def test_20_nine_words_and_a_filter_over_two() -> None:
    assert correlate(torch.zeros(1, 50, 9), torch.zeros(4, 50, 2)).shape == (1, 4, 8)


def test_21_a_megapixel_to_a_thousand_units() -> None:
    assert count.dense(10**6, 10**3, bias=False).parameters == 10**9


def test_22_mnist_to_a_hundred_units() -> None:
    assert count.dense(784, 100).parameters == 78_500


def test_23_local_receptive_fields() -> None:
    assert count.convolution((28, 28), 1, 1, 5, shared=False).parameters == 14_976


def test_24_local_receptive_fields_in_color() -> None:
    assert count.convolution((28, 28), 3, 5, 5, shared=False).parameters == 218_880


def test_25_thirty_six_weights_against_four() -> None:
    """As the matrix: 36 entries, of which 16 are connections, of four values."""
    matrix = convolution_matrix(torch.tensor([[[[1.0, 2], [3, 4]]]]), (3, 3))
    assert matrix.to_dense().numel() == count.dense((3, 3), (2, 2)).weights == 36
    assert matrix.values().numel() == 16
    assert matrix.values().unique().numel() == count.convolution((3, 3), 1, 1, 2).weights == 4


def test_26_seventy_five_weights_against_three_hundred_million() -> None:
    assert count.convolution((100, 100), 3, 1, 5, padding=2, bias=False).parameters == 75
    assert count.dense((3, 100, 100), (100, 100), bias=False).parameters == 300_000_000


def test_27_values_of_a_color_image() -> None:
    assert count.dense((256, 256, 3), 1, bias=False).weights == 196_608


def test_28_the_quiz() -> None:
    assert count.convolution((32, 32), 3, 1, 3, bias=False).parameters == 27
    assert count.convolution((32, 32), 3, 96, 3, bias=False).parameters == 2_592


def test_29_a_dense_layer_slid_along_is_a_convolution_of_100_weights() -> None:
    weights, inputs = random(4, 25), random(1, 1, 40)
    slid = correlate(inputs, weights[:, None])
    assert weights.numel() == 100
    close(slid[0, :, 7], weights @ inputs[0, 0, 7 : 7 + 25])


def test_30_the_table_of_vgg16() -> None:
    layers = [m for m in built("vgg16").modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [layer.weight.numel() for layer in layers] == [
        *(1728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, 2_359_296, 2_359_296),
        *(2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000),
    ]
    assert sum(layer.weight.numel() for layer in layers) == 138_344_128


def test_31_totals_of_the_vgg_networks() -> None:
    names = ("vgg11", "vgg11_lrn", "vgg13", "vgg16_c", "vgg16", "vgg19")
    assert [round(zoo.ARCHITECTURES[name].parameters / 1e6) for name in names] == [133, 133, 133, 134, 138, 144]


def test_32_the_maps_of_alexnet() -> None:
    x, shapes = torch.zeros(1, 3, 227, 227, device="meta"), []
    for layer in built("alexnet").features:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        *((96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
    ]


def test_33_alexnet_has_62_million_parameters_and_six_percent_in_convolutions() -> None:
    report = describe(built("alexnet"), (3, 227, 227))
    assert report.parameters == 62_378_344
    assert round(report.parameter_share.convolution, 2) == 0.06


def test_34_vgg16_has_138_million_parameters_and_89_percent_in_dense_layers() -> None:
    report = describe(built("vgg16"), (3, 224, 224))
    assert report.parameters == 138_357_544
    assert round(100 * report.parameter_share.linear, 2) == 89.36  # printed: 85 %


def test_35_googlenet_is_nine_times_smaller_than_alexnet() -> None:
    found, alexnet = (zoo.ARCHITECTURES[name].parameters for name in ("googlenet", "alexnet"))
    assert found == 6_998_552  # printed: 5 million
    assert round(alexnet / found, 1) == 8.9  # printed: 12
    assert round(62.378 / 5) == 12


def test_36_the_two_keras_networks() -> None:
    """Their printed losses need training; their parameters follow from the code."""
    assert zoo.ARCHITECTURES["keras_mnist"].parameters == 320 + 18_496 + 16_010 == 34_826
    assert zoo.ARCHITECTURES["keras_fcn"].parameters == 320 + 18_496 + 73_856 + 1_290 == 93_962


def test_37_rows_of_patches_times_the_kernel_are_the_convolution() -> None:
    x, kernel = random(2, 3, 7, 6), random(4, 3, 3, 3)
    product = patches(x, (3, 3)) @ kernel.flatten(1).T
    close(product.mT.reshape(2, 4, 5, 4), correlate(x, kernel))


def test_38_the_identities_of_convolution() -> None:
    f, g, h = (Samples(random(*size)) for size in ((3, 4), (2, 2), (3, 2)))
    fg = convolve_samples(f, g)
    close(fg.values, convolve_samples(g, f).values)
    close(convolve_samples(fg, h).values, convolve_samples(f, convolve_samples(g, h)).values)
    other = Samples(random(1, 2, 2)[0])
    both = convolve_samples(f, Samples(g.values + other.values))
    close(both.values, fg.values + convolve_samples(f, other).values)
    close(convolve_samples(Samples(3 * f.values), g).values, 3 * fg.values)
    close(difference(fg).values, convolve_samples(difference(f), g).values)
    close(correlate_samples(f, g, shift="kernel").values, convolve_samples(f.mirror(), g).values)
    swapped = correlate_samples(g, f, shift="kernel").values
    assert not torch.allclose(swapped, correlate_samples(f, g, shift="kernel").values)


def test_equivariance_what_is_shifted_before_is_shifted_after() -> None:
    x, kernel = random(1, 2, 8, 9), random(3, 2, 3, 3)

    def layer(x: Tensor) -> Tensor:
        return correlate(x, kernel, padding="same", padding_mode="circular")

    close(layer(x.roll((2, -3), (2, 3))), layer(x).roll((2, -3), (2, 3)))
    strided = correlate(x, kernel, stride=2, padding="same", padding_mode="circular")
    moved = correlate(x.roll(1, 2), kernel, stride=2, padding="same", padding_mode="circular")
    assert not any(torch.allclose(moved, strided.roll(n, 2)) for n in range(4))  # a stride keeps every second shift
