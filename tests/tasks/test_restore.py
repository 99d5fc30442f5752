from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import striate
from striate.cli import main
from striate.data import Pictures, load_data
from striate.data.items import Data, Items, Meaning
from striate.errors import InputError, StorageError
from striate.runs import evaluate_run
from striate.tasks import Restore, psnr, read_task, ssim, task_of
from striate.tasks.noise import gaussian, poisson, salt_pepper
from striate.tasks.panels import beside, write_png
from striate.train import evaluate


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 4, channels: int = 3, side: int = 16) -> torch.Tensor:
    """Smooth: sums of a few waves."""
    place = torch.linspace(0, 3, side)
    waves = [
        torch.outer(torch.sin(place * (1 + i % 7) / 7 + i), torch.cos(place * (i % 3) / 2)) for i in range(n * channels)
    ]
    return (torch.stack(waves).view(n, channels, side, side) + 1) / 2


def small_data() -> Data:
    stored = (pictures(6) * 255).round().to(torch.uint8)
    items = Items(stored, torch.empty(6, 0), Meaning("none"), tuple("abcdef"))
    return Data(items, None, items, Pictures((3, 16, 16), (0.0,) * 3, (1.0,) * 3))


def test_gaussian_noise_has_its_deviation() -> None:
    clean = torch.full((2, 3, 100, 100), 0.5)
    noise = gaussian(clean, 25, drawn()) - clean
    assert noise.std().item() * 255 == pytest.approx(25, rel=0.02)
    assert abs(noise.mean().item()) < 2e-3


def test_salt_and_pepper_cover_their_share_in_all_channels() -> None:
    clean = torch.full((1, 3, 200, 200), 0.5)
    noisy = salt_pepper(clean, 0.2, drawn())
    assert (noisy == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (noisy == 1).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(noisy[:, 0], noisy[:, 2])
    assert ((noisy == 0.5) | (noisy == 0) | (noisy == 1)).all()


def test_poisson_noise_has_variance_x_over_photons() -> None:
    clean = torch.full((1, 1, 300, 300), 0.4)
    noisy = poisson(clean, 30, drawn())
    assert noisy.mean().item() == pytest.approx(0.4, rel=0.01)
    assert noisy.var().item() == pytest.approx(0.4 / 30, rel=0.03)
    torch.testing.assert_close(noisy * 30, (noisy * 30).round())


@pytest.mark.parametrize("noise", ["gaussian", "salt_pepper", "poisson"])
def test_the_example_is_the_noisy_picture_and_the_generator_decides(noise: str) -> None:
    task, clean = Restore(3, noise), pictures()
    noisy, target = task.example(clean, torch.empty(4, 0), drawn())
    assert torch.equal(target[:, 0], clean)
    assert torch.equal(target[:, 1], noisy)
    assert not torch.equal(noisy, clean)
    assert torch.equal(task.example(clean, torch.empty(4, 0), drawn())[0], noisy)
    assert not torch.equal(task.example(clean, torch.empty(4, 0), drawn(1))[0], noisy)
    given, _ = task.example(noisy, torch.empty(4, 0), None)  # a prediction
    assert torch.equal(given, noisy)


def test_the_loss_is_the_mean_error() -> None:
    output, target = torch.rand(2, 1, 11, 12), torch.rand(2, 2, 1, 11, 12)
    error = output - target[:, 0]
    torch.testing.assert_close(Restore(1).loss(output, target), (error**2).mean())
    torch.testing.assert_close(Restore(1, distance="l1").loss(output, target), error.abs().mean())


def test_the_scores_are_means_over_pictures() -> None:
    task, clean = Restore(3), pictures()
    noisy, target = task.example(clean, torch.empty(4, 0), drawn())
    estimate = 0.5 * (clean + noisy)
    kept = torch.cat([task.keep(estimate[:1], target[:1]), task.keep(estimate[1:], target[1:])])
    scores = task.score(kept, target)
    shown = estimate.clamp(0, 1)
    assert scores.n == 4
    assert scores.psnr == pytest.approx(psnr(shown, clean).mean().item(), abs=1e-4)
    assert scores.ssim == pytest.approx(ssim(shown, clean).mean().item(), abs=1e-5)
    assert scores.noisy_psnr == pytest.approx(psnr(noisy, clean).mean().item(), abs=1e-4)
    assert scores.mse == pytest.approx((shown - clean).square().mean().item(), rel=1e-4)
    assert scores.psnr > scores.noisy_psnr
    assert scores.picture_ssim == pytest.approx(ssim(shown, clean).tolist(), abs=1e-5)
    assert list(scores.summary())[:2] == ["n", "psnr"]
    assert scores.table().row_count == 2
    assert set(scores.summary()) <= set(scores.json())
    assert task.metrics(kept, target)["loss"] == pytest.approx(task.loss(estimate, target).item(), rel=1e-4)


class Mean(nn.Module):
    """The mean of 3x3 pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def test_every_evaluation_has_the_same_noise() -> None:
    data, task = small_data(), Restore(3)
    first, second = (evaluate(Mean(), task, data.train, data.preprocess, torch.device("cpu")) for _ in range(2))
    assert torch.equal(first[0], second[0])
    scores = task.score(*first)
    assert scores.noisy_psnr == pytest.approx(20.17, abs=0.3)
    assert scores.psnr > scores.noisy_psnr + 3


def test_the_answer_is_written_and_says_what_was_removed(tmp_path: Path) -> None:
    task, clean = Restore(3), pictures(1)
    noisy, _ = task.example(clean, torch.empty(1, 0), drawn())
    (found,) = task.answer(Mean(), noisy)
    want = (Mean()(noisy).clamp(0, 1) - noisy).square().mean().sqrt().item() * 255
    assert found.row() == {"removed": pytest.approx(want, abs=1e-2)}
    assert found.json()["removed"] == pytest.approx(want, rel=1e-5)
    paths = found.save(tmp_path / "new", "a", noisy[0])
    assert [path.name for path in paths] == ["a.png", "a_beside.png"]
    with Image.open(paths[0]) as picture:
        read = torch.tensor(list(picture.get_flattened_data())).T.view(3, 16, 16) / 255
    torch.testing.assert_close(read, found.picture, atol=0.5 / 255 + 1e-6, rtol=0)
    with Image.open(paths[1]) as picture:
        assert picture.size == (16 + 4 + 16, 16)
    (plain,) = task.decode(noisy)
    assert plain.row() == {"removed": ""}


def test_grey_pictures_are_written_grey(tmp_path: Path) -> None:
    with Image.open(write_png(tmp_path / "a.png", torch.rand(1, 5, 6))) as picture:
        assert (picture.mode, picture.size) == ("L", (6, 5))
    assert beside([torch.zeros(1, 5, 6), torch.zeros(3, 5, 6)]).shape == (3, 5, 16)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write .*: File exists. Free some space"):
        write_png(tmp_path / "file" / "a.png", torch.rand(1, 5, 6))


def test_a_card_keeps_it() -> None:
    task = Restore(1, "poisson", photons=12, distance="l1")
    assert read_task(task.json()) == task
    assert (task.outputs, task.in_channels(1)) == (1, 1)
    clean = torch.rand(3, 4, 4)
    assert torch.equal(Restore(3).encode([clean])[0, 1], clean)


def test_labels_mean_nothing_to_it() -> None:
    data = load_data("digits")
    task = task_of("restore:noise=salt_pepper,share=0.3", data)
    assert task == Restore(1, "salt_pepper", share=0.3)


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(InputError, match=r"unknown kind of noise: got 'gausian'\. Did you mean gaussian\?"):
        Restore(3, "gausian")
    with pytest.raises(InputError, match=r"unknown kind of distance: got 'l3'\. Known: l1, l2"):
        Restore(3, distance="l3")
    for key, value in (("sigma", 0.0), ("share", 1.5), ("photons", -1.0)):
        with pytest.raises(InputError, match=f"{key} of the noise is out of range: expected above 0, at most"):
            replace(Restore(3), **{key: value})
    task, target = Restore(3), torch.zeros(2, 2, 3, 8, 8)
    with pytest.raises(InputError, match=r"outputs do not fit restoration: expected pictures of 3x8x8, got"):
        task.check(torch.zeros(2, 10), target)
    with pytest.raises(InputError, match=r"targets do not fit restoration: expected n 2 3 h w, clean and noisy, got"):
        task.check(torch.zeros(2, 3, 8, 8), torch.zeros(2))
    with pytest.raises(InputError, match="cannot score an empty set: expected at least one picture, got 0"):
        task.score(torch.zeros(0, 6), target[:0])


def test_a_run_on_labeled_pictures_is_evaluated_on_plain_ones(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, picture in zip("abc", (pictures(3, 1, 12) * 255).round().to(torch.uint8), strict=True):
        Image.fromarray(picture[0].numpy()).save(tmp_path / "photos" / f"{name}.png")
    options = ["--task", "restore", "--model", "denoising_unet:width=0.05", "--image-size", "16", "--epochs", "0.02"]
    main(["train", *options, "--device", "cpu", "--out", str(tmp_path / "runs")])
    (run,) = (tmp_path / "runs").iterdir()
    assert evaluate_run(run).scores.n == 359
    found = evaluate_run(run, f"photos:{tmp_path / 'photos'}", device="cpu", resamples=20)
    assert found.scores.n == 3
    low, high = found.intervals["psnr"]
    assert low <= found.scores.summary()["psnr"] <= high


@pytest.mark.slow
def test_a_small_unet_beats_the_noise_on_digits() -> None:
    """Ten epochs on 1,295 digits of 16x16: at least 4 dB above the noisy ones."""
    recipe = striate.Recipe(
        model="denoising_unet:width=0.125,residual=true", data="digits", task="restore", image_size=16, epochs=10,
        optimizer="adamw", learning_rate=0.004, augment=("flip",), device="cpu",
    )  # fmt: skip
    session = striate.open_session(recipe)
    for _ in striate.fit(session.model, session.task, session.data, session.recipe):
        pass
    kept = evaluate(session.model, session.task, session.data.tested, session.data.preprocess, torch.device("cpu"))
    scores = session.task.score(*kept)
    assert scores.noisy_psnr == pytest.approx(20.17, abs=0.1)
    assert scores.psnr > scores.noisy_psnr + 4
    assert scores.ssim > scores.noisy_ssim
