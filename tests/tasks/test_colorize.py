from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import striate
from striate import ops
from striate.data import Pictures, load_data
from striate.data.items import Data, Items, Meaning
from striate.errors import InputError
from striate.tasks import Colorize, psnr, read_task, spell, task_of
from striate.tasks.colorize import measure_colors, nearest_bin, rarity, spread
from striate.train import evaluate

FLAT = (1 / 313,) * 313


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def colored(n: int = 4, side: int = 16) -> torch.Tensor:
    """Pictures in 0..1 of vivid and grey places."""
    return torch.rand(n, 3, side, side, generator=drawn()).round(decimals=1)


def data_of(pictures: torch.Tensor) -> Data:
    stored = (pictures * 255).round().to(torch.uint8)
    names = tuple(str(i) for i in range(len(stored)))
    items = Items(stored, torch.zeros(len(stored), dtype=torch.int64), Meaning("class", ("a", "b")), names)
    return Data(items, None, items, Pictures(tuple(pictures.shape[1:]), (0.0,) * 3, (1.0,) * 3))


def perfect(lab: torch.Tensor, size: int) -> torch.Tensor:
    """Logits that say the true soft code."""
    nearest, shares = spread(F.adaptive_avg_pool2d(lab[:, 1:], (size, size)))
    return torch.full((len(lab), 313, size, size), -30.0).scatter_(1, nearest, shares.clamp(min=1e-9).log())


def test_a_color_is_spread_over_its_five_nearest_bins() -> None:
    ab = ops.srgb_to_lab(colored())[:, 1:]
    nearest, shares = spread(ab)
    bins = ops.ab_bins().numpy().astype(float)
    torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))
    for n, row, column in ((0, 0, 0), (1, 5, 7), (3, 15, 2)):
        apart = np.linalg.norm(bins - ab[n, :, row, column].numpy(), axis=1)
        five = np.sort(np.argsort(apart)[:5])
        np.testing.assert_array_equal(np.sort(nearest[n, :, row, column].numpy()), five)
        weight = np.exp(-(apart[nearest[n, :, row, column].numpy()] ** 2) / 50)
        np.testing.assert_allclose(shares[n, :, row, column].numpy(), weight / weight.sum(), atol=1e-5)


def test_the_nearest_bin_of_a_color_is_the_one_it_rounds_to() -> None:
    ab = ops.srgb_to_lab(torch.cartesian_prod(*[torch.linspace(0, 1, 14)] * 3))[:, 1:]
    by_distance = torch.cdist(ab, ops.ab_bins()).argmin(1)
    found = nearest_bin(ab)
    assert (found == by_distance).float().mean() > 0.999  # ties on the border of two bins
    torch.testing.assert_close(ops.ab_bins()[found], (ab / 10).round() * 10)


def test_the_prior_counts_and_smooths() -> None:
    red_and_grey = torch.zeros(2, 3, 10, 10, dtype=torch.uint8)
    red_and_grey[0, 0] = 255
    red_and_grey[1] = 128
    prior, mean = measure_colors(red_and_grey)
    red = ops.srgb_to_lab(torch.eye(3)[:1])[0, 1:]
    torch.testing.assert_close(mean.float(), red / 2, atol=1e-3, rtol=0)
    bins = ops.ab_bins().double()
    want = torch.zeros(313, dtype=torch.float64)
    for center in ([80.0, 70.0], [0.0, 0.0]):
        bell = (-((bins - torch.tensor(center)) ** 2).sum(1) / 50).exp()
        want += bell / bell.sum() / 2
    torch.testing.assert_close(prior, want, atol=1e-9, rtol=1e-6)


def test_many_pictures_are_measured_by_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.zeros(40, 3, 10, 10, dtype=torch.uint8)
    pictures[::4, 0] = 255
    whole, _ = measure_colors(pictures)
    monkeypatch.setattr("striate.tasks.colorize.MEASURED", 2000)  # every second one
    part, _ = measure_colors(pictures)
    red = int(nearest_bin(ops.srgb_to_lab(torch.eye(3)[:1])[:, 1:]))
    assert whole[red] / whole.max() == pytest.approx(1 / 3, rel=0.2)
    assert part[red] / part.max() == pytest.approx(1, rel=0.2)


def test_rare_colors_weigh_more_and_the_mean_weight_is_one() -> None:
    prior = torch.rand(313, generator=drawn(), dtype=torch.float64) ** 8
    prior /= prior.sum()
    for mixing in (0.0, 0.5, 1.0):
        weights = torch.tensor(rarity(tuple(prior.tolist()), mixing), dtype=torch.float64)
        assert (prior * weights).sum().item() == pytest.approx(1)
        want = 1 / ((1 - mixing) * prior + mixing / 313).clamp(min=1e-6)
        torch.testing.assert_close(weights / weights[0], want / want[0])


def test_the_loss_is_its_definition() -> None:
    prior = torch.rand(313, generator=drawn(), dtype=torch.float64)
    task = Colorize(tuple((prior / prior.sum()).tolist()))
    lab, output = ops.srgb_to_lab(colored(2, 8)), torch.randn(2, 313, 2, 2, generator=drawn())
    weights, bins, total = np.array(rarity(task.prior, 0.5)), ops.ab_bins().numpy(), 0.0
    said = output.log_softmax(1).numpy()
    for n in range(2):
        for row in range(2):
            for column in range(2):
                block = lab[n, 1:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((1, 2)).numpy()
                apart = np.linalg.norm(bins - block, axis=1)
                five = np.argsort(apart)[:5]
                code = np.exp(-(apart[five] ** 2) / 50)
                entropy = -(code / code.sum() * said[n, five, row, column]).sum()
                total += weights[five[0]] * entropy / 8
    assert task.loss(output, lab).item() == pytest.approx(total, rel=1e-4)
    (gradient,) = torch.autograd.grad(task.loss(output.requires_grad_(), lab), output)
    assert gradient.abs().sum() > 0


def test_the_example_is_lightness_and_lab() -> None:
    pictures = colored()
    inputs, lab = Colorize(FLAT).example(pictures, torch.zeros(4), drawn())
    torch.testing.assert_close(lab, ops.srgb_to_lab(pictures))
    torch.testing.assert_close(inputs, (lab[:, :1] - 50) / 100)
    assert torch.equal(Colorize(FLAT).example(pictures, torch.zeros(4), None)[0], inputs)
    torch.testing.assert_close(Colorize(FLAT).encode(list(pictures)), lab)


def test_the_scores_are_their_definitions() -> None:
    task = replace(Colorize(FLAT), mean_color=(5.0, -3.0), temperature=0.4)
    lab = ops.srgb_to_lab(colored())
    output = torch.randn(4, 313, 4, 4, generator=drawn())
    scores = task.score(torch.cat([task.keep(output[:1], lab[:1]), task.keep(output[1:], lab[1:])]), lab)
    ab = task.colors(output, (16, 16))
    flat = torch.zeros_like(ab)
    mean = flat + torch.tensor([5.0, -3.0]).view(2, 1, 1)
    bins = nearest_bin(lab[:, 1:])
    for found, colors in ((scores.network, ab), (scores.mean_color, mean), (scores.grey, flat)):
        apart = ((colors - lab[:, 1:]) ** 2).sum(1).sqrt()
        thresholds = torch.linspace(0, 150, 3001)
        shares = torch.stack([(apart <= t).float().mean() for t in thresholds])
        assert found.auc == pytest.approx((torch.trapezoid(shares, thresholds) / 150).item(), abs=1e-4)
        rebalanced = []
        for which in bins.unique():
            own = apart[bins == which]
            rebalanced.append((1 - own / 150).clamp(min=0).mean().item())
        assert found.balanced_auc == pytest.approx(sum(rebalanced) / len(rebalanced), abs=1e-5)
        assert found.within[10] == pytest.approx((apart <= 10).float().mean().item())
        rgb = ops.lab_to_srgb(torch.cat((lab[:, :1], colors), 1)).clamp(0, 1)
        assert found.psnr == pytest.approx(psnr(rgb, ops.lab_to_srgb(lab)).mean().item(), abs=1e-3)
    assert scores.loss == pytest.approx(task.loss(output, lab).item(), rel=1e-4)
    assert len(scores.picture_auc) == len(scores.picture_psnr) == scores.n == 4
    assert sum(scores.picture_auc) / 4 == pytest.approx(scores.network.auc)
    assert list(scores.summary())[:2] == ["n", "auc"]
    assert [spell(name) for name in scores.summary()][3:6] == ["within ΔE 5", "within ΔE 10", "within ΔE 20"]
    assert scores.table().row_count == 3
    assert scores.json()["grey"]["name"] == "grey"
    metrics = task.metrics(task.keep(output, lab), lab)
    assert metrics["auc"] == pytest.approx(scores.network.auc)


def test_the_true_code_scores_best_and_grey_is_right_on_grey() -> None:
    task, lab = Colorize(FLAT), ops.srgb_to_lab(colored(side=8))
    good = task.score(task.keep(perfect(lab, 8), lab), lab)
    assert good.network.auc > 0.97
    assert good.network.auc > good.grey.auc + 0.2
    grey = ops.srgb_to_lab(torch.full((1, 3, 8, 8), 0.5))
    assert task.score(task.keep(perfect(grey, 2), grey), grey).grey.auc == pytest.approx(1)


class Always(nn.Module):
    """One bin everywhere, at a quarter of the size."""

    def __init__(self, color: tuple[float, float]) -> None:
        super().__init__()
        self.place = ops.ab_bins().tolist().index(list(color))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quarter = F.avg_pool2d(x, 4)
        return F.one_hot(torch.full(quarter[:, 0].shape, self.place), 313).movedim(-1, 1) * 50.0


def test_the_answer_has_the_given_lightness_and_is_written(tmp_path: Path) -> None:
    task, pictures = Colorize(FLAT), torch.full((1, 3, 16, 16), 0.5)
    inputs, lab = task.example(pictures, torch.zeros(1, 0), None)
    (found,) = task.answer(Always((20.0, 10.0)), inputs)
    torch.testing.assert_close(found.lab[0], lab[0, 0])
    torch.testing.assert_close(found.lab[1:].mean((1, 2)), torch.tensor([20.0, 10.0]))
    assert found.row() == {"a": 20.0, "b": 10.0, "chroma": pytest.approx(math.hypot(20, 10), abs=1e-3)}
    assert found.json() == found.row()
    paths = found.save(tmp_path, "a", pictures[0])
    with Image.open(paths[0]) as picture:
        red, green, blue = picture.getpixel((3, 3))
    assert red > green > blue
    with Image.open(paths[1]) as picture:
        assert picture.size == (16 * 3 + 8, 16)
        assert len(set(picture.getpixel((3, 3)))) == 1  # grey
    (plain,) = task.decode(Always((20.0, 10.0))(inputs))
    assert plain.lab.shape == (3, 4, 4)


def test_of_data_and_a_card() -> None:
    task = task_of("colorize:mixing=0.25", data_of(colored()))
    assert isinstance(task, Colorize)
    assert (task.outputs, task.in_channels(3), task.mixing) == (313, 1, 0.25)
    assert sum(task.prior) == pytest.approx(1)
    assert read_task(task.json()) == task


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(InputError, match="colorization learns from colored pictures: expected 3 channels, got 1"):
        Colorize.of(load_data("digits"))
    with pytest.raises(InputError, match="the prior of colors: expected 313 shares of at least 0 with sum 1, got 2"):
        Colorize((0.5, 0.5))
    with pytest.raises(InputError, match="mixing of the prior is out of range: expected 0 to 1, got 2"):
        Colorize(FLAT, mixing=2.0)
    with pytest.raises(InputError, match="the temperature is out of range: expected above 0, got 0"):
        Colorize(FLAT, temperature=0.0)
    task, lab = Colorize(FLAT), torch.zeros(2, 3, 8, 8)
    with pytest.raises(InputError, match=r"outputs do not fit colorization: expected 313 scores for each place"):
        task.check(torch.zeros(2, 10), lab)
    with pytest.raises(InputError, match=r"targets do not fit colorization: expected 2 pictures in CIELAB, n 3 h w"):
        task.check(torch.zeros(2, 313, 2, 2), torch.zeros(2))
    with pytest.raises(InputError, match="cannot score an empty set: expected at least one picture, got 0"):
        task.score(torch.zeros(0, 1), lab[:0])


@pytest.mark.slow
def test_a_small_network_learns_which_lightness_has_which_color(tmp_path: Path) -> None:
    """Dark places blue, bright places yellow: it comes nearer than one mean color does."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(60):
        light = F.interpolate(torch.rand(1, 1, 3, 3, generator=drawn(i)), (32, 32), mode="bicubic").clamp(0, 1)[0, 0]
        ab = torch.stack((0 * light, (light - 0.5) * 100))
        rgb = ops.lab_to_srgb(torch.cat((20 + 70 * light[None], ab))[None])[0].clamp(0, 1)
        pixels = (rgb * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{i}.png")
    recipe = striate.Recipe(
        model="colorization:width=0.06", data=f"photos:{folder}", task="colorize", image_size=32, epochs=120,
        batch_size=8, optimizer="adamw", learning_rate=0.004, device="cpu",
    )  # fmt: skip
    session = striate.open_session(recipe)
    for _ in striate.fit(session.model, session.task, session.data, session.recipe):
        pass
    kept = evaluate(session.model, session.task, session.data.tested, session.data.preprocess, torch.device("cpu"))
    scores = session.task.score(*kept)
    assert scores.network.auc > scores.mean_color.auc + 0.02
    assert scores.network.psnr > scores.mean_color.psnr
