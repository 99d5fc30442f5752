"""The segmentation task on signals, pictures and volumes: each part against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.errors import InputError
from striate.tasks.regions import region_scores, regions, thinned
from striate.tasks.segment import REGION_MEASURES, Segment, dice_loss, middle, weights_of

TWO = ("membrane", "cell")
SPACES = {1: (24,), 2: (12, 16), 3: (4, 6, 8)}
each_rank = pytest.mark.parametrize("rank", SPACES)


def example(rank: int, classes: int = 3, seed: int = 0, n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    space = SPACES[rank]
    output = torch.randn(n, classes, *space, generator=generator)
    target = torch.randint(classes, (n, *space), generator=generator).to(torch.uint8)
    target[torch.rand(target.shape, generator=generator) < 0.2] = 255
    return output, target


@each_rank
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 0.5)])
def test_loss_over_the_pixels_in_a_loop(rank: int, weights: tuple[float, ...] | None) -> None:
    output, target = example(rank)
    task = Segment(("a", "b", "c"), class_weights=weights)
    total = norm = 0.0
    rows, truth = output.movedim(1, -1).reshape(-1, 3).double().log_softmax(1), target.flatten().tolist()
    for row, label in zip(rows, truth, strict=True):
        if label != 255:
            weight = 1 if weights is None else weights[label]
            total, norm = total - weight * row[label].item(), norm + weight
    assert task.loss(output, target).item() == pytest.approx(total / norm, rel=1e-5)


@each_rank
def test_void_pixels_teach_nothing(rank: int) -> None:
    output, target = example(rank)
    output.requires_grad_()
    for dice in (0.0, 0.5, 1.0):
        Segment(("a", "b", "c"), dice=dice).loss(output, target).backward()
    assert output.grad is not None
    assert not output.grad.movedim(1, -1)[target == 255].any()
    assert output.grad.movedim(1, -1)[target != 255].any()


def test_a_batch_of_void_or_of_weightless_classes_has_no_loss() -> None:
    output = torch.randn(1, 2, 4, 4, requires_grad=True)
    void = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    for task, target in (
        (Segment(TWO), void),
        (Segment(TWO, dice=1.0), void),
        (Segment(TWO, class_weights=(0.0, 1.0)), torch.zeros_like(void)),
    ):
        loss = task.loss(output, target)
        loss.backward()
        assert loss.item() == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_dice_loss_by_its_definition(seed: int) -> None:
    output, target = example(2, seed=seed)
    p = output.double().softmax(1).movedim(1, -1)[target != 255].numpy()
    g = np.eye(3)[target[target != 255].numpy()]
    dice = [2 * (p[:, c] * g[:, c]).sum() / ((p[:, c] ** 2).sum() + g[:, c].sum()) for c in range(3) if g[:, c].any()]
    assert dice_loss(output.double(), target.long()).item() == pytest.approx(1 - np.mean(dice))
    mixed = Segment(("a", "b", "c"), dice=0.25).loss(output, target).item()
    plain = F.cross_entropy(output, target.long(), ignore_index=255).item()
    assert mixed == pytest.approx(0.75 * plain + 0.25 * (1 - np.mean(dice)), rel=1e-4)


def test_an_unpadded_network_is_compared_with_the_middle_of_the_mask() -> None:
    """U-Net: 572 -> 388, 92 pixels from each side."""
    target = torch.randint(2, (1, 572, 572), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    output = torch.randn(1, 2, 388, 388, generator=torch.Generator().manual_seed(1))
    task, inner = Segment(TWO), target[:, 92:480, 92:480]
    assert task.loss(output, target).item() == task.loss(output, inner).item()
    assert torch.equal(task.keep(output, target), task.keep(output, inner))


@each_rank
def test_a_network_with_a_score_for_several_pixels(rank: int) -> None:
    """Targets at the centers of the output's pixels for the loss; logits enlarged for the scores."""
    stride = 2
    output, _ = example(rank)
    _, target = example(rank, seed=1)
    output = output[(slice(None), slice(None), *(slice(0, side // stride) for side in SPACES[rank]))]
    task = Segment(("a", "b", "c"), stride=stride)
    picked = target[(slice(None), *(slice(1, None, stride),) * rank)].long()
    want = F.cross_entropy(output, picked, ignore_index=255).item()
    assert task.loss(output, target).item() == pytest.approx(want)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
    enlarged = F.interpolate(output, scale_factor=stride, mode=mode)
    assert torch.equal(task.keep(output, target), Segment(("a", "b", "c")).keep(enlarged, target))
    assert np.array_equal(task.decode(output)[0].mask, enlarged[0].argmax(0).numpy())


def test_the_dilated_network_stands_for_528_of_900_pixels() -> None:
    target = torch.full((1, 900, 900), 255, dtype=torch.uint8)
    target[:, 186:714, 186:714] = 1
    task, output = Segment(TWO, stride=8), torch.zeros(1, 2, 66, 66)
    task.check(output, target)
    assert task.score(task.keep(output, target), target).per_class[1].pixels == 528**2


@each_rank
def test_what_is_kept_of_two_batches_is_what_is_kept_of_both(rank: int) -> None:
    output, target = example(rank, n=5)
    task = Segment(("a", "b", "c"), regions="b" if rank > 1 else None)
    parts = [task.keep(output[:2], target[:2]), task.keep(output[2:], target[2:])]
    torch.testing.assert_close(torch.cat(parts), task.keep(output, target), equal_nan=True)


def test_regions_are_compared_image_by_image() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random((2, 20, 20)) < 0.7
    taken = generator.random((2, 20, 20)) < 0.7
    task = Segment(TWO, regions="cell")
    output = torch.from_numpy(np.stack([~taken, taken], 1)).float()
    target = torch.from_numpy(truth.astype(np.uint8))
    scores = task.score(task.keep(output, target), target)
    for thin, prefix in ((lambda x: x, ""), (thinned, "thinned_")):
        rows = [region_scores(regions(t), thin(regions(s))) for t, s in zip(truth, taken, strict=True)]
        for name in rows[0]:
            assert scores.regions[prefix + name] == pytest.approx(np.mean([row[name] for row in rows]))
    assert tuple(scores.regions) == REGION_MEASURES
    assert scores.summary()["thinned_rand"] == scores.regions["thinned_rand"]


def test_metrics_are_those_of_the_scores() -> None:
    output, target = example(2)
    task = Segment(("a", "b", "c"))
    kept = task.keep(output, target)
    scores = task.score(kept, target)
    want = {"loss": scores.loss, "mean_iou": scores.mean_iou, "accuracy": scores.accuracy}
    assert task.metrics(kept, target) == want


def test_encode_takes_masks_as_people_have_them() -> None:
    task = Segment(TWO)
    encoded = task.encode([np.array([[0, 1], [255, 0]]), [[1, 1], [0, 0]]])
    assert encoded.dtype == torch.uint8
    assert encoded.tolist() == [[[0, 1], [255, 0]], [[1, 1], [0, 0]]]
    assert task.outputs == 2


def test_decode_saves_a_mask_with_a_palette_and_an_overlay(tmp_path: Path) -> None:
    output = torch.zeros(1, 2, 40, 60)
    output[0, 1, :, 30:] = 1
    (result,) = Segment(TWO, palette=((10, 20, 30), (200, 100, 0))).decode(output)
    assert result.row() == {"membrane": 0.5, "cell": 0.5}
    assert result.json() == {"size": [40, 60], "shares": {"membrane": 0.5, "cell": 0.5}}
    mask_file, overlay_file = result.save(tmp_path, "slice", torch.full((1, 40, 60), 0.4))
    with Image.open(mask_file) as stored:
        assert (stored.mode, stored.size) == ("P", (60, 40))
        assert np.array_equal(np.asarray(stored), result.mask)
        assert stored.convert("RGB").getpixel((50, 5)) == (200, 100, 0)
    with Image.open(overlay_file) as shown:
        factor = shown.height // 40
        red, green, blue = shown.getpixel((50 * factor, 20 * factor))  # type: ignore[misc]
        assert (red, green, blue) == (151, 101, 51)  # half of the color, half of the grey 102
        assert shown.height >= 256


def test_what_an_unpadded_network_leaves_out_is_void(tmp_path: Path) -> None:
    (result,) = Segment(TWO).decode(torch.eye(2)[None, :, :, None].expand(1, 2, 2, 3))
    mask_file, _ = result.save(tmp_path, "x", torch.rand(3, 6, 8))
    with Image.open(mask_file) as stored:
        mask = np.asarray(stored)
    assert mask.shape == (6, 8)
    assert np.array_equal(mask[2:4, 2:5], result.mask)
    assert (mask == 255).sum() == 48 - 6


def test_masks_of_volumes_are_arrays(tmp_path: Path) -> None:
    output, _ = example(3)
    result = Segment(("a", "b", "c")).decode(output)[0]
    (path,) = result.save(tmp_path, "v", torch.zeros(1, 4, 6, 8))
    assert np.array_equal(np.load(path), output[0].argmax(0).numpy())


def test_weights_by_name() -> None:
    masks = torch.tensor([[[0, 0, 0, 1]]], dtype=torch.uint8)
    assert weights_of(masks, 2, "balanced") == pytest.approx((2 / 3, 2))
    assert weights_of(masks, 2, "median") == pytest.approx((2 / 3, 2))
    with pytest.raises(InputError, match="^unknown class weights: got 'medain'. Did you mean median?"):
        weights_of(masks, 2, "medain")


def test_the_middle() -> None:
    assert middle(torch.arange(7)[None], (3,)).tolist() == [[2, 3, 4]]
    assert middle(torch.zeros(2, 5, 6), (5, 6)).shape == (2, 5, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ("a",)}, "^cannot segment: expected 2 to 255 classes, got 1"),
        ({"class_names": ("a", "a")}, "^two classes have one name: got a, a"),
        ({"class_weights": (1.0,)}, "^class weights do not fit the classes: expected 2 finite numbers of at least 0"),
        ({"class_weights": (0.0, 0.0)}, "not all 0, got .0.0, 0.0.. Give one number for each class"),
        ({"class_weights": (-1.0, 1.0)}, "^class weights do not fit"),
        ({"palette": ((0, 0, 0),)}, "^the palette does not fit the classes: expected 2 colors, got 1"),
        ({"dice": 1.5}, "^the share of the Dice loss is out of range: expected 0 to 1, got 1.5"),
        ({"stride": 0}, "^the stride of the output is out of range: expected at least 1, got 0"),
        ({"regions": "cel"}, "^regions of an unknown class: got 'cel'. Did you mean cell?"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Segment(**{"class_names": TWO, **options})  # type: ignore[arg-type]


def test_outputs_and_targets_that_do_not_fit_are_told() -> None:
    task, target = Segment(TWO), torch.zeros(1, 4, 4, dtype=torch.uint8)
    task.check(torch.zeros(1, 2, 4, 4), target)
    with pytest.raises(
        InputError, match="^the network's outputs do not fit the classes: expected 2 maps for each image"
    ):
        task.check(torch.zeros(1, 3, 4, 4), target)
    with pytest.raises(InputError, match="got shape .2,.. Take a network that gives maps .*num_classes=2"):
        task.check(torch.zeros(1, 2), target)
    with pytest.raises(
        InputError, match="^the network's maps are larger than the masks: expected at most .4, 4., got .8"
    ):
        task.check(torch.zeros(1, 2, 8, 8), target)
    with pytest.raises(InputError, match="2 mask pixels each. Set stride to the mask pixels of one output"):
        Segment(TWO, stride=2).check(torch.zeros(1, 2, 4, 4), target)
    with pytest.raises(InputError, match="^the targets do not fit the task: expected masks of whole numbers"):
        task.check(torch.zeros(1, 2, 4, 4), target.float())
    with pytest.raises(InputError, match="^unknown label value: masks: expected 0 to 1, or 255 for void, got 7"):
        task.check(torch.zeros(1, 2, 4, 4), target + 7)


def test_masks_that_cannot_be_encoded_are_told() -> None:
    task = Segment(TWO)
    with pytest.raises(InputError, match="^unknown label value: mask 1: expected 0 to 1, or 255 for void, got 2"):
        task.encode([[0, 1], [0, 2]])
    with pytest.raises(InputError, match=r"^masks differ in shape: expected one shape, got \(2,\), \(3,\)"):
        task.encode([[0, 1], [0, 1, 1]])
    with pytest.raises(InputError, match="^masks differ in shape: expected one shape, got no mask"):
        task.encode([])


def test_an_empty_set_has_no_scores() -> None:
    task = Segment(TWO)
    kept = task.keep(torch.zeros(0, 2, 4, 4), torch.zeros(0, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match="^cannot score an empty set: expected at least one image, got 0"):
        task.score(kept, torch.zeros(0, 4, 4))
