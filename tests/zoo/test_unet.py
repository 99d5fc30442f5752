from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.errors import InputError


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def stage(given: int, width: int, taps: int = 9) -> int:
    """Parameters of two convolutions."""
    return (taps * given + 1) * width + (taps * width + 1) * width


@pytest.mark.parametrize("name", ["unet", "unet_valid"])
def test_parameters_by_the_papers_figure(name: str) -> None:
    with torch.device("meta"):
        net = zoo.build(name)
    widths = (64, 128, 256, 512, 1024)
    down = sum(stage(given, width) for given, width in zip((1, *widths), widths, strict=False))
    up = sum(4 * 2 * width * width + width + stage(2 * width, width) for width in widths[:-1])
    assert count(net) == down + up + 2 * 64 + 2
    assert len([m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]) == 23  # the paper's sum


def test_sizes_by_the_papers_figure() -> None:
    with torch.device("meta"):
        layers = describe(zoo.build("unet_valid").eval(), torch.rand(1, 1, 572, 572)).layers
    sizes = [layer.shape[-1] for layer in layers if layer.kind in ("convolution", "pooling")]
    down = [*(570, 568, 284), *(282, 280, 140), *(138, 136, 68), *(66, 64, 32), *(30, 28)]
    up = [*(56, 54, 52), *(104, 102, 100), *(200, 198, 196), *(392, 390, 388)]
    assert sizes == [*down, *up, 388]
    crops = [layer.shape[-1] for layer in layers if layer.operation == "slice" and layer.shape[-1] == layer.shape[-2]]
    assert crops == [56, 104, 200, 392]


def test_the_valid_output_is_the_padded_ones_where_that_sees_no_border() -> None:
    torch.manual_seed(0)
    valid, padded = zoo.build("unet_valid", width=0.05).eval(), zoo.build("unet", width=0.05).eval()
    padded.load_state_dict(valid.state_dict())
    x = torch.rand(1, 1, 204, 204)
    # Two pixels more at the start: then both forms pool the same pixels together, at every depth.
    whole = padded(F.pad(x, (2, 2, 2, 2)))
    inner = slice(2 + 92, 2 + 92 + 20)  # the margin that the valid form loses is 92
    torch.testing.assert_close(valid(x), whole[..., inner, inner])


@pytest.mark.parametrize(("rank", "size"), [(1, (50,)), (2, (16, 37)), (3, (16, 17, 20))])
@pytest.mark.parametrize("name", ["unet", "encoder_decoder", "denoising_unet"])
def test_any_rank_and_size(name: str, rank: int, size: tuple[int, ...]) -> None:
    net = zoo.build(name, rank=rank, width=0.03, num_classes=3, in_channels=2, batch_norm=True)
    assert net(torch.rand(2, 2, *size)).shape == (2, 3, *size)


def test_each_rank_has_kernels_of_its_rank() -> None:
    with torch.device("meta"):
        counts = [count(zoo.build("unet", rank=rank)) for rank in (1, 2, 3)]
    widths = (64, 128, 256, 512, 1024)
    for rank, got in zip((1, 2, 3), counts, strict=True):
        down = sum(stage(given, width, 3**rank) for given, width in zip((1, *widths), widths, strict=False))
        up = sum(2**rank * 2 * w * w + w + stage(2 * w, w, 3**rank) for w in widths[:-1])
        assert got == down + up + 2 * 64 + 2


def test_unet_is_figure_1_written_out() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("unet_valid", width=0.05).eval(), torch.rand(1, 1, 188, 188)
    copies, y = [], x
    for number, part in enumerate(net.down):
        y = F.max_pool2d(y, 2) if number else y
        y = F.conv2d(F.conv2d(y, part[0].weight, part[0].bias).relu(), part[2].weight, part[2].bias).relu()
        copies.append(y)
    for up, part, copy in zip(net.up, net.right, copies[3::-1], strict=True):
        y = F.conv_transpose2d(y, up.weight, up.bias, stride=2)
        side = (copy.shape[-1] - y.shape[-1]) // 2
        y = torch.cat((F.pad(copy, (-side,) * 4), y), 1)
        y = F.conv2d(F.conv2d(y, part[0].weight, part[0].bias).relu(), part[2].weight, part[2].bias).relu()
    torch.testing.assert_close(net(x), F.conv2d(y, net.score.weight, net.score.bias))


def test_only_the_skips_show_fine_detail() -> None:
    """With the coarsest maps at zero the vanilla encoder-decoder knows nothing of its input; the U-Net does."""
    torch.manual_seed(0)
    for name, knows in (("encoder_decoder", False), ("unet", True)):
        net = zoo.build(name, width=0.05).eval()
        net.down[-1].register_forward_hook(lambda _m, _i, y: torch.zeros_like(y))
        a, b = net(torch.rand(1, 1, 32, 32)), net(torch.rand(1, 1, 32, 32))
        assert torch.equal(a, b) is not knows


def test_the_encoder_decoder_is_the_unet_less_what_reads_the_copies() -> None:
    widths = (64, 128, 256, 512)
    facts = zoo.ARCHITECTURES
    saved = facts["unet"].parameters - facts["encoder_decoder"].parameters
    assert saved == sum(9 * width * width for width in widths)


def test_a_residual_denoiser_starts_from_its_input() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("denoising_unet", width=0.05, residual=True).eval(), torch.rand(1, 1, 20, 20)
    torch.testing.assert_close(net(x), x - net.net(x))
    nn.init.zeros_(net.net.score.weight)
    assert torch.equal(net(x), x)


def test_a_residual_denoiser_of_unequal_channels_is_refused() -> None:
    message = "a residual network restores the channels .* expected num_classes 3, as many as in_channels, got 1. Set"
    with pytest.raises(InputError, match=message):
        zoo.build("denoising_unet", residual=True, in_channels=3)


def test_dropout_is_at_the_end_of_the_contracting_path() -> None:
    torch.manual_seed(0)
    net = zoo.build("unet", width=0.05, dropout=1.0).train()
    stages = []
    for part in net.down:
        part.register_forward_pre_hook(lambda _m, i: stages.append(bool(i[0].any())))
    net(torch.rand(1, 1, 32, 32))
    assert stages == [True, True, True, True, False]


def test_weights_start_as_the_paper_says() -> None:
    torch.manual_seed(0)
    layer = zoo.build("unet", width=0.5).down[3][2]
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert not layer.bias.any()
