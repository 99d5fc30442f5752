"""Errors that the lectures print (inventory, appendix B), beside what is right."""

from __future__ import annotations

import pytest
import torch
from tests.ops.fixtures import (
    IMAGE,
    SOBEL_X,
    VERTICAL,
    VERTICAL_PRINTED,
    grid,
    random,
    rows,
)

from striate.ops import (
    RAMP,
    Samples,
    convolution_matrix,
    convolve,
    convolve_samples,
    correlate,
    correlate_samples,
    insert_zeros,
    kernel_gradient,
    sobel_kernels,
)

close = torch.testing.assert_close


def test_note_1_and_2_two_entries_of_the_padded_example() -> None:
    assert {place: VERTICAL[place[0]][place[1]] for place in VERTICAL_PRINTED} == {(3, 0): -11, (4, 4): 11}
    assert VERTICAL_PRINTED == {(3, 0): 11, (4, 4): 10}


def test_note_3_rows_and_columns_are_shifted_by_their_own_index() -> None:
    """Σ I(i + m, j + n) K(m, n); printed with i + n."""
    image, kernel = random(1, 1, 4, 4)[0, 0], random(1, 1, 2, 2)[0, 0]
    found = correlate(image[None, None], kernel[None, None])[0, 0]
    taps = [(m, n) for m in range(2) for n in range(2)]
    right = sum(image[0 + m, 2 + n] * kernel[m, n] for m, n in taps)
    printed = sum(image[0 + m, 0 + n] * kernel[m, n] for m, n in taps)
    close(found[0, 2], torch.as_tensor(right))
    assert found[0, 2].item() != pytest.approx(printed.item())


def test_note_4_the_dilated_convolution_too() -> None:
    """Σ I(i - l·m, j - l·n) K(m, n); printed with i - l·n."""
    image, kernel = Samples(random(1, 1, 6, 5)[0, 0]), Samples(random(1, 1, 2, 2)[0, 0])
    dilated = Samples(insert_zeros(kernel.values[None, None], 2)[0, 0])
    found = convolve_samples(image, dilated)
    right = sum(image[4 - 2 * m, 1 - 2 * n] * kernel[m, n] for m in range(2) for n in range(2))
    printed = sum(image[4 - 2 * m, 4 - 2 * n] * kernel[m, n] for m in range(2) for n in range(2))
    assert found[4, 1] == pytest.approx(right)
    assert found[4, 1] != pytest.approx(printed)
    causal = convolve(image.values[None, None], kernel.values[None, None], dilation=2, padding="causal")
    assert causal[0, 0, 4, 1].item() == pytest.approx(right)


def test_note_5_and_6_a_centered_kernel_goes_from_minus_half_to_half() -> None:
    """-(k - 1)/2 … (k - 1)/2, offsets of one for 3x3; printed up to k - 1, with offsets of two."""
    x, kernel = Samples(random(6, 6), (-3, -3)), Samples.centered(random(3, 3))
    assert kernel.first == (-1, -1)
    taps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    y = convolve_samples(x, kernel)
    assert y[0, 0] == pytest.approx(sum(x[-a, -b] * kernel[a, b] for a, b in taps))
    assert Samples.centered(random(5, 5)).first == (-2, -2)  # what is printed is of this


def test_note_7_the_last_upstream_gradient_has_index_height_minus_one() -> None:
    """∂L/∂y(H - 1, W - 1); printed (H, W), which is not there."""
    x, upstream = random(1, 1, 5, 5), random(1, 1, 5, 5)
    gradient = kernel_gradient(x, upstream, (3, 3), padding=((0, 2), (0, 2)))
    u = Samples(upstream[0, 0])
    assert u[4, 4] != 0
    assert u[5, 5] == 0
    one = torch.zeros_like(upstream)
    one[..., 4, 4] = 1  # its share: x(4, 4) at the first tap
    assert rows(kernel_gradient(x, one, (3, 3), padding=((0, 2), (0, 2))))[0][0] == x[0, 0, 4, 4].item()
    assert gradient.shape == (1, 1, 3, 3)


def test_note_8_an_output_seen_from_an_input_pixel() -> None:
    """y(r' - a, c' - b) is (x ∗ k)(r' - a, c' - b), not (x ∗ k)(r', c')."""
    kernel, at = random(1, 1, 3, 3), (2, 3)
    x = random(1, 1, 6, 6).requires_grad_()
    y = correlate(x, kernel)
    for a, b in ((0, 0), (1, 2), (2, 1)):
        (slope,) = torch.autograd.grad(y[0, 0, at[0] - a, at[1] - b], x, retain_graph=True)
        close(slope[0, 0][at], kernel[0, 0, a, b])


def test_note_9_a_dense_layer_as_a_convolution_has_no_filter_in_the_input_index() -> None:
    """a_k(l) = σ(b_k + Σ_m w_k(m) a(l + m)); printed a(k + m + l), with one b for all."""
    weights, inputs, bias = random(4, 5), random(1, 1, 12), random(4)
    out = correlate(inputs, weights[:, None], bias).sigmoid()
    for k, position in ((0, 0), (3, 2)):
        value = bias[k] + (weights[k] * inputs[0, 0, position : position + 5]).sum()
        close(out[0, k, position], value.sigmoid())
    assert out.shape == (1, 4, 8)


def test_note_13_the_ramp_ends_at_five() -> None:
    """As printed, 1 - 0.2 |x| for all x > 0, it would fall below zero."""
    beyond = torch.tensor([4.9, 5.1])
    assert RAMP(beyond).tolist() == pytest.approx([0.02, 0])
    assert (1 - 0.2 * beyond).tolist()[1] < 0


def test_note_16b_two_sobel_matrices_of_opposite_sign_agree() -> None:
    """One is convolved, the other cross-correlated."""
    convolved, correlated = grid([[1, 0, -1], [2, 0, -2], [1, 0, -1]]), sobel_kernels()[0].double()[None, None]
    assert torch.equal(convolved, -correlated)
    assert rows(convolve(grid(IMAGE), convolved)) == rows(correlate(grid(IMAGE), correlated)) == SOBEL_X


def test_note_16c_the_two_cross_correlations_are_each_others_mirror() -> None:
    f, g = Samples(random(4, 5)), Samples(random(2, 3))
    image, kernel = correlate_samples(f, g), correlate_samples(f, g, shift="kernel")
    assert image.first == (-1, -2)
    assert kernel.first == (-3, -4)
    assert image[2, 1] == pytest.approx(kernel[-2, -1])
    # A network's output is the part of the first where the kernel fits.
    valid = correlate(f.values[None, None], g.values[None, None])[0, 0]
    assert valid[1, 2].item() == pytest.approx(image[1, 2])


def test_note_16e_the_matrix_is_transposed_not_the_kernel() -> None:
    kernel, upstream = random(1, 1, 3, 3), random(1, 1, 2, 2)
    back = (convolution_matrix(kernel, (4, 4)).T @ upstream.flatten()).view(1, 1, 4, 4)
    close(back, correlate(upstream, kernel.flip((2, 3)), padding="full"))
    assert not torch.allclose(back, correlate(upstream, kernel.mT, padding="full"))
