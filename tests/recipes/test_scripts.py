"""The other scripts of recipes/, small: places, factors, motifs, variants, series, noise, sizes."""

from __future__ import annotations

import csv
import gzip
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.recipes.made import Run, membranes, peaks, shorter

from striate.data import load_data
from striate.data.sound import write_sound
from striate.interpret import Motif, write_motifs
from striate.recipe import Recipe

pytestmark = pytest.mark.slow


def test_windows_are_classified_and_scanned(run: Run, tmp_path: Path) -> None:
    membranes(tmp_path)
    run("window_classifier", tmp_path, "--steps", 25, "--out", tmp_path, "--pictures", tmp_path)
    found = json.loads((tmp_path / "window_classifier.json").read_text())
    assert found["scores"]["balanced"]["mean_iou"] > 0.6  # all cell: 0.4
    assert found["greatest_difference"] < 1e-4
    assert (tmp_path / "window_classifier.png").is_file()


def test_one_object_is_found_and_two_are_not(run: Run, tmp_path: Path, mnist: Path) -> None:
    """With the mean box of all 9 % of the digits have an IoU of 0.5."""
    changes = {"model": "localizer:width=0.25", "epochs": 4.0, "data": f"clutter:{mnist}", "learning_rate": 0.003}
    path = shorter("clutter", tmp_path, **changes)
    run("places", path, "--runs", tmp_path / "runs")
    (one,) = json.loads(path.with_suffix(".json").read_text())["runs"]
    scores = one["scores"]
    assert scores["presence"] > 0.75  # always: 0.688
    assert scores["iou_50"] > 0.3
    assert "| network | 1000 |" in (tmp_path / "places.md").read_text()
    stored, head = path.with_suffix(".json").read_text(), path.read_text()
    run("places", path)  # nothing is left to do
    assert (path.with_suffix(".json").read_text(), path.read_text()) == (stored, head)
    (folder,) = (tmp_path / "runs").iterdir()
    run("two_objects", folder, "--mnist", mnist)
    found = json.loads((tmp_path / "recipes" / "two_objects.json").read_text())
    one, two = (found[f"scenes with {k} digits"]["digits_found"] for k in (1, 2))
    assert one > 0.3
    assert two < 0.6 * one
    assert found["recipe"]["model"] == "localizer:width=0.25"


def test_places_of_several_seeds(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean stands before the brackets, and a seed that is stored is not trained again; another recipe's is."""
    import importlib

    places, trained = importlib.import_module("places"), []
    values = {0: (0.5, 1.0), 1: (0.25, 2.0)}

    def train(recipe: Recipe, _: Path | None) -> list[int]:
        trained.append(recipe.seed)
        return [recipe.seed]

    def scored(seed: int, _: list[list[int]]) -> dict[str, Any]:
        scores, blind = ({"n": 10, "angle_error": value} for value in values[seed])
        return {"seed": seed, "scores": scores, "baseline": blind, "folds": [scores], "seconds": 1.0,
                "processor_seconds": 0.5}  # fmt: skip

    for name, function in {"train": train, "scored": scored, "draw": lambda *_: None}.items():
        monkeypatch.setattr(places, name, function)
    path = shorter("steering", tmp_path)
    run("places", path)
    run("places", path, "--seeds", 2)
    assert trained == [0, 1]
    assert (
        "# Claim: angle error: 0.375 (0.5, 0.25); the test part's 10 items, mean of seeds 0 to 1." in path.read_text()
    )
    assert "angle error 1.5." in path.read_text()
    shorter("steering", tmp_path, epochs=1.0)
    run("places", path)
    assert trained == [0, 1, 0]
    assert len(json.loads(path.with_suffix(".json").read_text())["runs"]) == 1


def test_specialists_of_drawn_faces(run: Run, tmp_path: Path) -> None:
    """68 points of a face that turns, each a dot; the trivial answer is the mean face."""
    random, rows = np.random.default_rng(0), []
    (tmp_path / "faces").mkdir()
    template = random.uniform(-30, 30, (68, 2))
    for k in range(80):
        turn = random.normal(0, 0.3)
        points = template @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) + 48
        y, x = np.mgrid[:96, :96]
        far = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
        shown = (np.exp(-far / 4) * np.linspace(60, 255, 68)[:, None, None]).max(0)
        Image.fromarray(shown.astype(np.uint8)).save(tmp_path / "faces" / f"{k}.png")
        rows.append([f"{k}.png", *points.round(2).flatten()])
    with (tmp_path / "faces" / "points.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image_name", *(f"part_{i}_{a}" for i in range(68) for a in "xy")], *rows])
    path = shorter("faces", tmp_path, data=f"faces:{tmp_path / 'faces'}", epochs=15.0, augment=(),
                   model="facial_points:width=0.25,hidden=64,dropout=0")  # fmt: skip
    run("specialists", path, "--folds", 0)
    (found,) = json.loads((tmp_path / "recipes" / "specialists.json").read_text())["folds"]
    data = load_data(f"faces:{tmp_path / 'faces'}", validation=0.0, folds=5, fold=0)
    blind = (data.test.targets - data.train.targets.mean(0)).norm(dim=2).mean().item()
    assert found["baseline"]["error"] < 0.9 * blind
    assert all(found[name]["error"] < 0.6 * blind for name in ("continued", "specialists"))
    assert "| specialists | 16 |" in (tmp_path / "places.md").read_text()


def test_factors_one_by_one(run: Run, tmp_path: Path) -> None:
    peaks(tmp_path)
    path = shorter("deepbind", tmp_path, model="deepbind:strands=both,motifs=16,motif_length=12,hidden=0")
    run("factors", path, "--folder", tmp_path)
    found = json.loads(path.with_name("deepbind_factors.json").read_text())["factors"]
    assert set(found) == {"GATA", "AP"}
    assert all(one["auroc"] > 0.85 and one["peaks"] == 400 for one in found.values())  # guessing: 0.5


def test_motifs_of_the_factors(run: Run, tmp_path: Path) -> None:
    """Known are the two that were planted and twenty that were not."""
    peaks(tmp_path)
    for file in tmp_path.glob("*.seq"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    random = np.random.default_rng(1)
    planted = {"GATA.1": "AGATAAGA", "AP.1": "TGACTCAT"}
    known = planted | {f"OTHER{k}.1": "".join(random.choice(list("ACGT"), 8)) for k in range(20)}
    matrices = {name: 0.9 * torch.eye(4)[:, ["ACGT".index(letter) for letter in text]] + 0.025
                for name, text in known.items()}  # fmt: skip
    write_motifs([Motif(name, matrix, 100) for name, matrix in matrices.items()], tmp_path / "known.meme")
    options = {"motifs": 16, "motif_length": 12, "hidden": 0, "strands": "both"}
    model = "deepbind:" + ",".join(f"{name}={value}" for name, value in options.items())
    path = shorter("deepbind", tmp_path, model=model)
    run("motifs", path, tmp_path / "known.meme", "--folder", tmp_path, "--out", tmp_path)
    found = json.loads(path.with_name("motifs.json").read_text())["factors"]
    assert {factor: one["full"]["rank"] for factor, one in found.items()} == {"GATA": 1, "AP": 1}
    assert all(one["full"]["own_e_value"] < 0.01 for one in found.values())
    assert (tmp_path / "motifs.png").stat().st_size > 5_000


def test_the_variants_of_kim(run: Run, tmp_path: Path) -> None:
    """Words of two kinds, whose vectors tell them apart; so few updates teach little from a random start."""
    random = np.random.default_rng(0)
    words: dict[str, list[str]] = {"neg": [], "pos": []}
    with (tmp_path / "vectors.txt").open("w") as file:
        file.write("the " + " ".join(["0"] * 8) + "\n")
        for sign, kind in ((-1, "neg"), (1, "pos")):
            for k in range(300):
                words[kind].append(word := kind + "".join(chr(97 + int(digit)) for digit in f"{k:03d}"))
                vector = sign * np.ones(8) + random.normal(0, 0.5, 8)
                file.write(f"{word} {' '.join(f'{x:.3f}' for x in vector)}\n")
    for kind, known in words.items():
        texts = [" ".join(["the", *random.choice(known, 2), "the", "the"]) for _ in range(200)]
        (tmp_path / f"rt-polarity.{kind}").write_text("\n".join(texts) + "\n")
    changes = {"model": "text_cnn:width=0.1", "data": f"rt_polarity:{tmp_path}"}
    path = shorter("rt_polarity", tmp_path, **changes)
    run("kim", path, "--vectors", tmp_path / "vectors.txt", "--folds", 0)
    modes = json.loads(path.with_name("kim.json").read_text())["modes"]
    assert list(modes) == ["rand", "static", "non-static", "multichannel"]
    assert all(modes[mode]["0"]["accuracy"] > 0.9 for mode in ("static", "non-static", "multichannel"))
    assert modes["rand"]["0"]["accuracy"] < 0.9  # guessing: 0.5
    assert len({modes[mode]["0"]["loss"] for mode in modes}) == 4
    assert modes["static"]["0"]["words_with_a_vector"] == modes["static"]["0"]["words"]


def test_speakers_that_were_not_heard(run: Run, tmp_path: Path) -> None:
    """Ten "digits" are ten tones, a little higher or lower for each speaker."""
    (tmp_path / "sound").mkdir()
    for digit in range(10):
        for speaker in range(6):
            for k in range(3, 7):  # up to 4 the test part
                tone = torch.sin(2 * torch.pi * 300 * 1.25**digit * 1.01**speaker * torch.arange(2000) / 8000)
                write_sound(tmp_path / "sound" / f"{digit}_s{speaker}_{k}.wav", 0.5 * tone, 8000)
    inputs = "spectrogram:rate=8000,seconds=0.25,hop=0.02"
    path = shorter("fsdd_speakers", tmp_path, data=f"fsdd:{tmp_path / 'sound'}", model="resnet20:width=0.25",
                   inputs=inputs, batch_size=20, epochs=6, augment=())  # fmt: skip
    run("claim", path, "--folds", 0, 3)
    found = json.loads(path.with_suffix(".json").read_text())["runs"]
    scores = [next(iter(one["parts"].values())) for one in found]
    assert statistics.mean(one["accuracy"] for one in scores) > 0.5  # guessing: 0.1
    assert [one["n"] for one in scores] == [40, 40]
    (first, second), (third, fourth) = ([name.split("_")[1] for name in one["first_and_last"]] for one in found)
    assert first == second != third == fourth


def test_series_of_the_archive(run: Run, tmp_path: Path) -> None:
    random, folder = np.random.default_rng(0), tmp_path / "GunPoint"
    folder.mkdir()
    for part, count in (("TRAIN", 30), ("TEST", 60)):
        waves = [np.sin(np.arange(50) / random.uniform(2, 3) + random.uniform(0, 6)) for _ in range(count)]
        rows = [[k % 2, *(np.sign(wave) if k % 2 else wave) + 0.1 * random.normal(size=50)]
                for k, wave in enumerate(waves)]  # fmt: skip
        (folder / f"GunPoint_{part}.tsv").write_text("\n".join("\t".join(map(str, row)) for row in rows))
    run("ucr", tmp_path, "--out", tmp_path, "--sets", "GunPoint", "--networks", "ts_fcn", "--updates", 150,
        "--seeds", 2)  # fmt: skip
    found, second = json.loads((tmp_path / "ucr.json").read_text())["results"]["GunPoint ts_fcn"]
    assert found["accuracy"] > 90  # guessing: 50
    mean = (found["accuracy"] + second["accuracy"]) / 2
    assert (found["seed"], second["seed"]) == (0, 1)
    assert f"| GunPoint | 60 | `ts_fcn` | 2 | {mean:.1f} |" in (tmp_path / "ucr.md").read_text()


def test_a_frame_does_not_tell_the_motion(run: Run, tmp_path: Path, mnist: Path) -> None:
    run("single_frame", f"moving:{mnist}", "--out", tmp_path, "--seeds", 1, "--clips", 2000)
    found = json.loads((tmp_path / "single_frame.json").read_text())
    (one,), (three,) = (found[name] for name in ("one frame", "three frames as channels"))
    assert one["accuracy"] < 0.18  # guessing: 0.125
    assert three["accuracy"] > 0.5


def test_noise_is_removed_and_colors_are_compared(run: Run, tmp_path: Path) -> None:
    """Photographs of soft blobs. That colors are learned tests/tasks/test_colorize.py shows; here the script runs."""
    random, photos = np.random.default_rng(0), tmp_path / "photos"
    photos.mkdir()
    for k in range(40):
        light = np.asarray(Image.fromarray(random.uniform(0, 1, (4, 4)).astype(np.float32)).resize((32, 32)))
        rgb = np.stack([255 * light, 255 * light, 200 - 150 * light], -1)
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(photos / f"{k}.png")
    small = {"data": f"photos:{photos}", "image_size": 32, "batch_size": 5, "augment": ("flip",)}
    models = {"denoise": "denoising_unet:width=0.125,residual=true", "colorize": "colorization:width=0.06"}
    from striate.cli import main

    for name, epochs in (("denoise", 40.0), ("colorize", 2.0)):
        path = shorter(name, tmp_path, model=models[name], epochs=epochs, validation=0.0, **small)
        for seed in (0, 1) if name == "denoise" else (0,):
            main(["train", str(path), "--seed", str(seed), "--out", str(tmp_path / name)])
        folders = sorted((tmp_path / name).iterdir())
        run(name, *folders, "--out", tmp_path, "--recipe", path)
        assert "# Claim: " in path.read_text()
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
    with pytest.raises(SystemExit, match="of one recipe, each with another seed"):
        run("denoise", *[next((tmp_path / "denoise").iterdir())] * 2)
    first, second = (one["methods"] for one in json.loads((tmp_path / "denoise.json").read_text())["runs"])
    mean = (first["ours"]["psnr"] + second["ours"]["psnr"]) / 2
    claim = (tmp_path / "recipes" / "denoise.yaml").read_text()
    assert f"# Claim: {mean:.2f} dB" in claim
    assert f"mean of seeds 0, 1 ({first['ours']['psnr']:.2f}, {second['ours']['psnr']:.2f})" in claim
    (colored,) = json.loads((tmp_path / "colorize.json").read_text()).values()
    assert all(methods["ours"]["psnr"] > methods["noisy"]["psnr"] + 5 for methods in (first, second))
    assert colored["n"] == 8
    assert 0 < colored["network"]["auc"] < 1


def test_digits_of_many_sizes(run: Run, tmp_path: Path) -> None:
    run("many_scales", "digits", "--epochs", 15, "--canvases", 4, "--out", tmp_path)
    found = json.loads((tmp_path / "many_scales.json").read_text())
    one, pyramid = (found["by magnification"][name] for name in ("one scale", "pyramid"))
    assert statistics.mean(row["named"] for row in pyramid.values()) > 0.6
    assert one["3"]["named"] < 0.3 < pyramid["3"]["named"]
    assert found["greatest difference to the converted network"] < 1e-5
    assert (tmp_path / "many_scales.png").stat().st_size > 5_000
