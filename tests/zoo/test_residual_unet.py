from __future__ import annotations

import torch
from torch import nn

from striate import describe, zoo


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def bottleneck(given: int, channels: int) -> int:
    """Three norms and convolutions, and a projection where the width changes."""
    narrow = channels // 4
    own = (
        2 * given + (given + 1) * narrow + 2 * narrow + (9 * narrow + 1) * narrow + 2 * narrow + (narrow + 1) * channels
    )
    return own + (given + 1) * channels * (given != channels)


def stage(given: int, channels: int, repeats: int) -> int:
    return bottleneck(given, channels) + (repeats - 1) * bottleneck(channels, channels)


def test_parameters_by_the_papers_table() -> None:
    with torch.device("meta"):
        net = zoo.build("residual_unet")
    simple = 2 * 32 + (9 * 32 + 1) * 32
    down = [simple, stage(32, 128, 3), stage(128, 256, 8), stage(256, 512, 10)]
    assert [count(part) for part in net.down] == down
    assert count(net.across) == stage(512, 1024, 3)
    assert [count(part) for part in net.up] == [stage(512, 512, 10), stage(256, 256, 8), stage(128, 128, 3), simple]
    assert [count(part) for part in net.adapt] == [
        a * b + b for a, b in ((1024, 512), (512, 256), (256, 128), (128, 32))
    ]
    assert count(net) - sum(down) - count(net.across) - count(net.up) - count(net.adapt) == (
        (9 + 1) * 32 + (9 * 32 + 1) * 32 + 2 * 32 + 32 + 1
    )


def test_sizes_by_the_papers_table() -> None:
    with torch.device("meta"):
        report = describe(zoo.build("residual_unet").eval(), torch.rand(1, 1, 512, 512))
    ends: dict[str, tuple[int, ...]] = {}
    for layer in report.layers:
        part = (
            ".".join(layer.path.split(".")[:2]) if layer.path.startswith(("down", "up")) else layer.path.split(".")[0]
        )
        ends[part] = layer.shape
    got = [ends[part][-3:] for part in ("down.0", "down.1", "down.2", "down.3", "across")]
    assert got == [(32, 256, 256), (128, 128, 128), (256, 64, 64), (512, 32, 32), (1024, 32, 32)]
    got = [ends[part][-3:] for part in ("up.0", "up.1", "up.2", "up.3", "conv2", "score")]
    assert got == [(512, 64, 64), (256, 128, 128), (128, 256, 256), (32, 512, 512), (32, 512, 512), (1, 512, 512)]


def test_with_its_convolutions_at_zero_a_block_is_its_shortcut() -> None:
    torch.manual_seed(0)
    net = zoo.build("residual_unet", width=0.25)
    x = torch.rand(2, 8, 7, 9)
    for block in (net.down[0], net.down[2][1], net.up[3], net.across[-1]):
        for name, layer in block.named_children():
            if name.startswith("conv"):
                nn.init.zeros_(layer.weight)
    assert torch.equal(net.down[0](x), x[:, :, ::2, ::2])
    assert torch.equal(net.up[3](x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    y = torch.rand(2, 64, 4, 4)
    assert torch.equal(net.down[2][1](y), y)
    y = torch.rand(2, 256, 3, 3)
    assert torch.equal(net.across[-1](y), y.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_any_size() -> None:
    net = zoo.build("residual_unet", width=0.1).eval()
    for size in ((1, 1), (33, 70)):
        assert net(torch.rand(1, 1, *size)).shape == (1, 1, *size)
