"""Files of any size, answered whole: against the network run by hand, and against itself in tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from striate import zoo
from striate.cli import main
from striate.data import Framing, Meaning, Pictures, Volumes
from striate.data.images import padded
from striate.errors import InputError
from striate.runs import Card, answer_files, predict, whole
from striate.runs.whole import framed
from striate.tasks import Colorize, Restore, Segment
from striate.train import evaluating

GREY, RGB = Pictures((1, 16, 16), (0.0,), (1.0,)), Pictures((3, 32, 32), (0.0,) * 3, (1.0,) * 3)
TWO = Segment(("dark", "bright"))


def card_of(task: object, pictures: Pictures | Volumes) -> Card:
    return Card("none", {}, Meaning("none"), pictures, task.json())  # type: ignore[attr-defined]


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def threshold(convolution: type[nn.Module]) -> nn.Module:
    """Class 1 where the value is above one half."""
    net = convolution(1, 2, 1)
    net.weight.data.zero_()
    net.weight.data[1] = 1
    net.bias.data = torch.tensor([0.5, 0.0])
    return net


def test_a_picture_is_restored_at_its_own_size(tmp_path: Path) -> None:
    """The identity gives the file back, pixel by pixel."""
    identity = nn.Conv2d(3, 3, 1, bias=False)
    identity.weight.data = torch.eye(3)[:, :, None, None]
    given = picture(41, 77)
    Image.fromarray(given).save(tmp_path / "a.png")
    (line,) = answer_files(identity, card_of(Restore(3), RGB), [tmp_path / "a.png"], tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as restored, Image.open(tmp_path / "out" / "a_beside.png") as both:
        assert (np.asarray(restored) == given).all()
        assert both.size == (2 * 77 + 4, 41)
    assert line["removed"] == pytest.approx(0, abs=1e-4)


def test_a_network_with_strides_gets_mirrored_borders() -> None:
    torch.manual_seed(0)
    net = zoo.build("denoising_unet:width=0.1", num_classes=1, in_channels=1).eval()
    given = picture(21, 50, 1)
    (found,) = predict(net, card_of(Restore(1), GREY), [given], batch_size=100)
    more = [16 + 16 * -(-(side - 16) // 16) - side for side in (21, 50)]
    by_hand = np.pad(given, [(by // 2, by - by // 2) for by in more], mode="symmetric")
    with torch.no_grad():
        right = net(torch.from_numpy(by_hand)[None, None] / 255).clamp(0, 1)[0]
    right = right[:, more[0] // 2 :, more[1] // 2 :][:, :21, :50]
    torch.testing.assert_close(found.picture, right)
    assert found.removed == pytest.approx(255 * float((right - torch.from_numpy(given) / 255).square().mean() ** 0.5))


def test_tiles_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture larger than a batch runs in tiles and gives what it gives at once; halves put together do not."""
    torch.manual_seed(0)
    down = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    up = [nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 3, padding=1)]
    up[-1].bias.data.fill_(0.5)  # nothing is clipped
    net = nn.Sequential(*down, *up)
    card, given, calls = card_of(Restore(1), GREY), picture(70, 90, 1), []

    def counted(*arguments: object, **options: object) -> torch.Tensor:
        calls.append(options)
        return original(*arguments, **options)

    original = whole.tile
    monkeypatch.setattr(whole, "tile", counted)
    (at_once,) = predict(net, card, [given], batch_size=100)
    assert not calls
    for budget in (400_000, 1 << 30):
        monkeypatch.setattr(whole, "BUDGET_BYTES", budget)
        (tiled,) = predict(net, card, [given], batch_size=1)
        torch.testing.assert_close(tiled.picture, at_once.picture, rtol=0, atol=2e-6)
    assert [options["budget_bytes"] for options in calls] == [400_000, 1 << 30]
    halves = predict(net, card, [given[:, :45], given[:, 45:]], batch_size=100)
    put_together = torch.cat([half.picture for half in halves], 2)
    assert (put_together - at_once.picture).abs().max() > 1e-3


def test_a_wide_picture_is_segmented_whole() -> None:
    """Resized so that its shorter side is the network's, scores interpolated back, nothing void."""
    torch.manual_seed(0)
    net = zoo.build("unet:width=0.05", num_classes=2, in_channels=3).eval()
    given = picture(64, 150)
    (found,) = predict(net, card_of(TWO, RGB), [given])
    small = np.array(Image.fromarray(given).resize((80, 32), Image.Resampling.BILINEAR))
    with evaluating(net):
        scores = net(torch.from_numpy(small).permute(2, 0, 1)[None] / 255)
    right = F.interpolate(scores, (64, 150), mode="bilinear", align_corners=False).argmax(1)[0]
    assert found.mask.shape == (64, 150)
    assert (found.mask == right.numpy()).mean() > 0.999  # equal scores may fall either way
    (own,) = predict(net, card_of(TWO, RGB), [given], scale=1)
    with evaluating(net):
        mirrored = np.pad(given, [(0, 0), (5, 5), (0, 0)], mode="symmetric")
        right = net(torch.from_numpy(mirrored).permute(2, 0, 1)[None] / 255).argmax(1)[0, :, 5:-5]
    assert (own.mask == right.numpy()).all()


def test_a_network_without_padding_leaves_its_border_void() -> None:
    net = nn.Sequential(threshold(nn.Conv2d), nn.AvgPool2d(5, 1))
    (found,) = predict(net, card_of(TWO, GREY), [np.full((20, 30), 255, np.uint8)], scale=1)
    assert (found.mask[2:-2, 2:-2] == 1).all()
    assert (found.mask == 255).sum() == 20 * 30 - 16 * 26


def test_colors_reach_the_borders(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = zoo.build("colorization:width=0.02", num_classes=313, in_channels=1).eval()
    given = picture(40, 100)
    for scale, inner in ((None, (32, 80)), (1, (40, 104))):
        (found,) = predict(net, card_of(Colorize((1 / 313,) * 313), RGB), [given], scale=scale)
        assert found.lab.shape == (3, 40, 100)
        assert found.lab[1:, :, [0, -1]].abs().min() > 0
        assert framed((32, 32), (40, 100), (8, 8), scale).inner == inner
        assert [file.name for file in found.save(tmp_path, "a", torch.from_numpy(given).permute(2, 0, 1) / 255)]
        with Image.open(tmp_path / "a.png") as colored:
            assert colored.size == (100, 40)


def test_a_volume_is_answered_at_its_own_voxels(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 256, (9, 21, 18), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack)
    card = card_of(TWO, Volumes((1, 4, 16, 16), (0.0,), (1.0,)))
    pooled = nn.Sequential(threshold(nn.Conv3d), nn.Upsample(scale_factor=2), nn.MaxPool3d(2))  # of period 1
    for net in (threshold(nn.Conv3d), pooled):
        answer_files(net, card, [tmp_path / "stack.tif"], out := tmp_path / str(id(net)))
        assert (np.load(out / "stack.mask.npy") == (stack > 127)).all()
    flat = predict(threshold(nn.Conv3d), card, [stack[:2]])  # fewer slices than in training
    assert (flat[0].mask == (stack[:2] > 127)).all()


def test_what_takes_one_size_only(tmp_path: Path) -> None:
    one_size = nn.Sequential(nn.Flatten(), nn.Linear(256, 256), nn.Unflatten(1, (1, 16, 16)))
    Image.fromarray(picture(20, 30, 1)).save(tmp_path / "a.png")
    card = card_of(Restore(1), GREY)
    assert predict(one_size, card, [picture(16, 16, 1)])[0].picture.shape == (1, 16, 16)
    message = r"answers for inputs of 16x16 only, not for a whole file: .*a\.png: got 20x30. Resize or cut it, or train"
    with pytest.raises(InputError, match=message):
        predict(one_size, card, [tmp_path / "a.png"])
    classes = nn.Sequential(nn.Flatten(), nn.Linear(256, 512), nn.Unflatten(1, (2, 16, 16)))
    (found,) = predict(classes, card_of(TWO, GREY), [tmp_path / "a.png"])
    assert (found.mask == 255).sum() == 20 * 10  # beside the middle
    with pytest.raises(InputError, match="answers for inputs of 16x16 only"):
        predict(classes, card_of(TWO, GREY), [tmp_path / "a.png"], scale=0.5)


def test_a_scale_holds_for_files_of_the_training_size_too() -> None:
    """In any order, alone or beside others."""
    torch.manual_seed(0)
    net, card = zoo.build("unet:width=0.05", num_classes=2, in_channels=3).eval(), card_of(TWO, RGB)
    same, other = picture(32, 32), picture(40, 48, seed=1)
    seen: list[tuple[int, ...]] = []
    with net.register_forward_pre_hook(lambda _module, args: seen.append(tuple(args[0].shape[2:]))):
        (alone,) = predict(net, card, [same], scale=2)
        first, _, last = predict(net, card, [same, other, same], scale=2)
    assert seen.count((64, 64)) == 3
    assert (alone.mask == first.mask).all()
    assert (alone.mask == last.mask).all()
    one_size = nn.Sequential(nn.Flatten(), nn.Linear(256, 512), nn.Unflatten(1, (2, 16, 16)))
    with pytest.raises(InputError, match="answers for inputs of 16x16 only"):
        predict(one_size, card_of(TWO, GREY), [picture(16, 16, 1)], scale=2)


def test_scales_that_are_none(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, card = threshold(nn.Conv2d), card_of(TWO, GREY)
    for scale in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="the scale of a prediction is out of range: expected above 0, got"):
            predict(net, card, [picture(8, 8, 1)], scale=scale)
    with pytest.raises(InputError, match="volumes are not scaled, only pictures are: got 2"):
        predict(net, card_of(TWO, Volumes((1, 4, 8, 8), (0.0,), (1.0,))), [picture(8, 8, 1)], scale=2)
    Image.fromarray(picture(9, 9, 1)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit):
        main(["predict", str(run_folder), str(tmp_path / "a.png"), "--scale", "1"])
    expected = "a scale is for answers at every place of a picture: task classify. Leave --scale out."
    assert expected in capsys.readouterr().err


def test_other_scales_are_other_predictions(tmp_path: Path) -> None:
    Image.fromarray(picture(20, 20, 1)).save(tmp_path / "a.png")
    net, card = threshold(nn.Conv2d), card_of(TWO, GREY)
    answer_files(net, card, [tmp_path / "a.png"], tmp_path / "out")
    with pytest.raises(InputError, match="predictions of another model or with other options"):
        answer_files(net, card, [tmp_path / "a.png"], tmp_path / "out", scale=1)


SIDES = st.integers(1, 70)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 4, 8]), st.sampled_from([None, 1.0, 0.3, 2.0]))
def test_sizes_differ_by_whole_periods(h: int, w: int, height: int, width: int, period: int, scale: float) -> None:
    framing = framed((h, w), (height, width), (period, period), scale)
    assert all(new > 0 and (new - old) % period == 0 for new, old in zip(framing.inner, (h, w), strict=True))
    if framing.fit == "pad":
        assert all(0 <= new - old < period for new, old in zip(framing.inner, framing.outer, strict=True))
        pixels = torch.arange(height * width).view(1, height, width).to(torch.uint8)
        assert torch.equal(framing.sampled(padded(pixels, framing.inner).float()), pixels.float())
    else:
        wanted = scale or max(h / height, w / width)
        assert all(abs(new - old * wanted) < period for new, old in zip(framing.inner, framing.outer, strict=True))
        ramp = (torch.arange(framing.inner[1]) + 0.5).expand(1, *framing.inner)
        right = ((torch.arange(width) + 0.5) * framing.inner[1] / width).clamp(0.5, framing.inner[1] - 0.5)
        torch.testing.assert_close(framing.sampled(ramp)[0, 0], right, rtol=1e-3, atol=1e-3)


def test_the_middle_of_a_padded_picture_is_where_it_is() -> None:
    framing = Framing((8,), (5,), "pad")  # one before, two behind
    assert framing.corners == (-1,)
    maps = torch.arange(4.0)[None]  # the middle 4 of 8: positions 2 to 5, so 1 to 4 of the outer ones
    assert framing.sampled(maps).nan_to_num(-1).tolist() == [[-1, 0, 1, 2, 3]]
