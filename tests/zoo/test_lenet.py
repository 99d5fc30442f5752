from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import zoo
from striate.errors import InputError
from striate.layers import Subsampling2d
from striate.zoo.lenet import C3_TABLE, CODE_LENGTH, output_codes

# Table I of the paper as printed: a row is a map of S2, a column one of C3.
TABLE_I = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def drawing(code: torch.Tensor) -> list[str]:
    return ["".join(".#"[int(pixel > 0)] for pixel in row) for row in code.view(12, 7)]


@pytest.mark.parametrize(
    ("variant", "counts"),
    [
        ("1998", {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}),
        ("modern", {"c1": 156, "c3": 2416, "c5": 48_120, "f6": 10_164, "output": 850}),
    ],
)
def test_parameters_of_each_layer_and_in_all(variant: str, counts: dict[str, int]) -> None:
    net = zoo.build("lenet5", variant=variant)
    assert {name: count(getattr(net, name)) for name in counts} == counts
    assert count(net) == sum(counts.values()) == {"1998": 60_000, "modern": 61_706}[variant]


def test_c3_sees_what_table_one_says() -> None:
    rows = TABLE_I.split()
    assert [sorted(inputs) for inputs in C3_TABLE] == [[i for i in range(6) if rows[i][k] == "X"] for k in range(16)]
    assert [len(inputs) for inputs in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert set(Counter(i for inputs in C3_TABLE for i in inputs).values()) == {10}


def test_connections_are_340_908_as_in_the_paper() -> None:
    """Each output value counts its inputs and its bias; sub-sampling counts four inputs and a bias."""
    c3 = sum(25 * len(inputs) + 1 for inputs in C3_TABLE) * 100
    layers = [26 * 6 * 784, 5 * 6 * 196, c3, 5 * 16 * 25, 401 * 120, 121 * 84, 84 * 10]
    assert layers[:6] == [122_304, 5_880, 151_600, 2_000, 48_120, 10_164]  # as printed
    assert sum(layers) == 340_908


def test_shapes_on_the_way() -> None:
    net, seen = zoo.build("lenet5"), {}
    for name, layer in net.named_children():
        layer.register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: tuple(y.shape[1:])}))
    net(torch.zeros(1, 1, 32, 32))
    assert [seen[name] for name in ("c1", "s2", "c3", "s4")] == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]
    assert [seen[name] for name in ("c5", "f6", "output")] == [(120, 1, 1), (84,), (10,)]


def test_the_codes_are_ten_different_drawings_of_the_digits() -> None:
    codes = output_codes(10)
    assert codes.shape == (10, CODE_LENGTH) == (10, 84)
    assert set(codes.flatten().tolist()) == {-1.0, 1.0}
    assert len({tuple(code.tolist()) for code in codes}) == 10
    one, seven, eight = (drawing(codes[digit]) for digit in (1, 7, 8))
    stem = ["...##..", "..###..", ".####..", *["...##.."] * 6, ".######", ".......", "......."]
    assert one == stem, "\n".join(one)
    assert seven[0] == "#######", "\n".join(seven)
    assert all(row.count("#") == 2 for row in seven[1:10]), "\n".join(seven)
    assert eight[:10] == [row[::-1] for row in eight[:10]], "\n".join(eight)
    assert [eight[i] for i in (0, 4, 9)] == [".#####."] * 3, "\n".join(eight)


@pytest.mark.parametrize("num_classes", [2, 7, 26])
def test_other_codes_are_always_the_same_and_leave_the_generator_alone(num_classes: int) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    codes = output_codes(num_classes)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(output_codes(num_classes), codes)
    assert codes.abs().eq(1).all()
    assert len(codes.unique(dim=0)) == num_classes


@pytest.mark.parametrize("variant", ["1998", "modern"])
@pytest.mark.parametrize(("h", "w"), [(28, 28), (28, 32), (29, 31)])
def test_small_images_are_extended_at_their_edges(variant: str, h: int, w: int) -> None:
    torch.manual_seed(0)
    net = zoo.build("lenet5", variant=variant, input_size=(h, w)).eval()
    whole = zoo.build("lenet5", variant=variant).eval()
    whole.load_state_dict(net.state_dict())
    x = torch.rand(2, 1, h, w)
    top, left = (32 - h) // 2, (32 - w) // 2
    rows, columns = (torch.arange(32) - top).clamp(0, h - 1), (torch.arange(32) - left).clamp(0, w - 1)
    torch.testing.assert_close(net(x), whole(x[:, :, rows][:, :, :, columns]))
    if (h, w) == (28, 28):
        torch.testing.assert_close(net(x), whole(F.pad(x, (2, 2, 2, 2), "replicate")))


def test_c5_covers_the_whole_of_s4_of_larger_images() -> None:
    net = zoo.build("lenet5:input_size=48")
    assert net.c5.kernel_size == (9, 9)
    assert net(torch.zeros(2, 1, 48, 48)).shape == (2, 10)


def test_weights_start_uniform_in_2_4_over_fan_in() -> None:
    net = zoo.build("lenet5")
    for layer, fan_in in ((net.c1, 25), (net.c5, 400), (net.f6, 120)):
        assert 0.9 * 2.4 / fan_in < layer.weight.abs().max() <= 2.4 / fan_in
    widths = net.c3.weight.abs().amax((1, 2)) * torch.tensor(net.c3.fan_in) / 2.4
    assert widths.min() > 0.5
    assert widths.max() <= 1
    assert isinstance(net.s2, Subsampling2d)


@pytest.mark.parametrize("variant", [1998, "1998"])
def test_the_variant_may_be_written_as_a_number(variant: object) -> None:
    assert count(zoo.build("lenet5", variant=variant)) == 60_000


def test_another_variant_is_refused() -> None:
    text = "^network lenet5 has no such variant: expected 1998 or modern, got 'moderne'. Did you mean modern"
    with pytest.raises(InputError, match=text):
        zoo.build("lenet5", variant="moderne")
