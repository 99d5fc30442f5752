from __future__ import annotations

import math

import pytest
import torch

from striate import describe, zoo
from striate.errors import InputError
from striate.zoo.neocognitron import MODULES, CCells, SCells, falling, representatives, saturate


def line(kind: str, dy: int = 0, dx: int = 0) -> torch.Tensor:
    """A line of seven pixels through the center: | - / or \\."""
    image = torch.zeros(1, 16, 16)
    for t in range(-3, 4):
        y, x = {"|": (t, 0), "-": (0, t), "/": (t, -t), "\\": (t, t)}[kind]
        image[0, 7 + y + dy, 7 + x + dx] = 1
    return image


def shifted(kind: str, reach: int = 3) -> torch.Tensor:
    """The line at every place around the center."""
    steps = range(-reach, reach + 1)
    return torch.stack([line(kind, dy, dx) for dy in steps for dx in steps])


def test_layers_have_the_papers_sizes() -> None:
    """U0 16x16, S1 16x16x24, C1 10x10x24, S2 8x8x24, C2 6x6x24, S3 2x2x24, C3 1x1x24."""
    net, shapes = zoo.build("neocognitron"), []
    for cells in (net.s1, net.s2, net.s3, net.c):
        cells.register_forward_hook(lambda _m, _i, y: shapes.append(tuple(y.shape[1:])))
    assert net(torch.rand(1, 1, 16, 16)).shape == (1, 24)
    assert shapes == [(24, side, side) for side in (16, 10, 8, 6, 2)]


def test_parameters() -> None:
    assert zoo.ARCHITECTURES["neocognitron"].parameters == 24 * (25 + 1) + 2 * 24 * (24 * 25 + 1)
    with torch.device("meta"):
        net = zoo.build("neocognitron", planes=5, num_classes=3, in_channels=2)
    assert [tuple(cells.a.shape[:2]) for cells in (net.s1, net.s2, net.s3)] == [(5, 2), (5, 5), (3, 5)]


def test_the_last_cells_see_the_whole_image() -> None:
    report = describe(zoo.build("neocognitron"), torch.rand(1, 1, 16, 16))
    fields = [layer.receptive_field[0] for layer in report.layers if layer.path in ("s1", "s2", "s3")]
    assert max(fields) == 41
    assert report.layers[-1].sees_whole


def test_an_s_cell_is_its_equation() -> None:
    torch.manual_seed(0)
    r = 4.0
    cells, u = SCells(3, 2, 0, r, 1.0).double(), torch.rand(1, 3, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        cells.b.copy_(torch.tensor([0.3, 2.0]))
        cells.a.copy_(torch.rand(2, 3, 5, 5) * torch.tensor([0.1, 0.001])[:, None, None, None])
    c = falling().double() / falling().double().sum() / 3
    v = math.sqrt(sum((c * u[0, k] ** 2).sum().item() for k in range(3)))
    assert (cells(u)[0, :, 0, 0] > 0).tolist() == [True, False]
    for plane in range(2):
        a, b = cells.a[plane], cells.b[plane].item()
        want = r * max(0.0, (1 + (a * u[0]).sum().item()) / (1 + 2 * r / (1 + r) * b * v) - 1)
        assert cells(u)[0, plane].item() == pytest.approx(want, abs=1e-6)


def test_a_c_cell_is_its_equation() -> None:
    torch.manual_seed(0)
    u = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    got = CCells().double()(u)
    assert got.shape == (1, 3, 10, 10)
    d, near = falling().double(), u[0, :, 4:9, 2:7]  # around row 6, column 4: the fifth and the fourth cell
    total = (d * near).sum((1, 2))
    x = (1 + total) / (1 + total.mean()) - 1
    torch.testing.assert_close(got[0, :, 4, 3], x.relu() / (0.5 + x.relu()))


def test_connections_fall_with_the_distance() -> None:
    weights = falling()
    assert weights[2, 2] == weights.max() == 1
    assert weights[2, 3] == pytest.approx(0.9)
    assert weights[0, 0] == pytest.approx(0.9 ** math.sqrt(8))
    torch.testing.assert_close(weights, weights.flip(0).T)


def test_the_paper_s_output_is_the_saturated_score() -> None:
    torch.manual_seed(0)
    net = zoo.build("neocognitron").eval()
    x = torch.rand(2, 1, 16, 16)
    u = net.s3(net.c(net.s2(net.c(net.s1(x)))))
    total = u.sum((2, 3))
    want = ((1 + total) / (1 + total.mean(1, keepdim=True)) - 1).relu()
    torch.testing.assert_close(saturate(net(x)), want / (0.5 + want), rtol=1e-3, atol=1e-6)


def test_representatives_are_winners_of_columns_one_for_a_plane() -> None:
    answers = torch.zeros(3, 12, 12)
    answers[0, 1, 1], answers[0, 9, 9] = 0.5, 0.9  # two winners of one plane: the stronger one stays
    answers[1, 2, 2] = 0.7  # in one column with the first
    answers[2, 9, 8] = 0.8  # loses to plane 0 wherever a column holds both, wins in columns without
    got = {plane: (row, column) for plane, row, column in representatives(answers)}
    assert got == {0: (9, 9), 1: (2, 2), 2: (9, 8)}
    answers[2, 9, 8], answers[2, 11, 11] = 0, 0.8  # every column of the corner holds the stronger one, too
    assert 2 not in {plane for plane, _, _ in representatives(answers)}
    assert representatives(torch.zeros(3, 4, 4)) == []


def test_reinforcement_adds_what_the_winner_saw() -> None:
    torch.manual_seed(0)
    net = zoo.build("neocognitron")
    a, b, image = net.s1.a.detach().clone(), net.s1.b.detach().clone(), line("|")[None]
    places = representatives(net.s1(image)[0])
    net.learn(image)
    padded = torch.nn.functional.pad(image[0, 0], (2, 2, 2, 2))
    near = falling() / falling().sum()
    assert places
    for plane, row, column in places:
        seen = padded[row : row + 5, column : column + 5]
        a[plane, 0] += near * seen  # q is 1 in the first module
        b[plane] += (near * seen**2).sum().sqrt() / 2
    torch.testing.assert_close(net.s1.a, a)
    torch.testing.assert_close(net.s1.b, b)
    assert MODULES[0][2] == 1


def test_without_labels_each_line_gets_its_own_cell_wherever_it_lies() -> None:
    """The paper's experiment with simpler patterns: 20 presentations at random places, no teacher, no gradient."""
    torch.manual_seed(0)
    net = zoo.build("neocognitron")
    tests = {kind: shifted(kind) for kind in "|-/\\"}
    before = {kind: net(images).argmax(1) for kind, images in tests.items()}
    assert max(agreement(winners) for winners in before.values()) < 1
    for _ in range(20):
        net.learn(torch.stack([line(kind, *torch.randint(-3, 4, (2,)).tolist()) for kind in tests]))
    assert all(parameter.grad is None for parameter in net.parameters())
    winners = {kind: net(images).argmax(1) for kind, images in tests.items()}
    assert min(agreement(w) for w in winners.values()) > 0.95
    assert len({w.mode().values.item() for w in winners.values()}) == 4
    assert min(net(images).amax(1).min().item() for images in tests.values()) > 0.01


def agreement(winners: torch.Tensor) -> float:
    return (winners == winners.mode().values).float().mean().item()


def test_it_learns_by_gradient_too() -> None:
    torch.manual_seed(0)
    net = zoo.build("neocognitron", num_classes=2)
    images, labels = torch.cat((shifted("|", 1), shifted("-", 1))), torch.arange(2).repeat_interleave(9)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(15):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    assert (net(images).argmax(1) == labels).all()


def test_dark_images_have_a_gradient() -> None:
    net = zoo.build("neocognitron")
    net(torch.zeros(1, 1, 16, 16)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


def test_values_below_zero_are_refused_in_learning() -> None:
    with pytest.raises(InputError, match=r"learns from brightness: images: expected values from zero up, got a least"):
        zoo.build("neocognitron").learn(line("|")[None] - 0.5)
