"""Explanations of a run's answers: by name, by class, as files and one page; wrongly asked."""

from __future__ import annotations

import dataclasses
import html
import json
import random
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from striate.cli import main
from striate.cli.explaining import Explain
from striate.errors import InputError, StorageError
from striate.interpret import deconvnet, grad_cam, gradient, strongest
from striate.interpret.methods import METHODS, explain
from striate.interpret.scoring import output_of
from striate.runs import load
from striate.runs.explaining import explain_item


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digit") / "three.png"
    Image.fromarray((load_digits().images[3] * 15.9).astype(np.uint8)).save(path)
    return path


def test_one_method_of_one_file(run_folder: Path, digit: Path, tmp_path: Path, capsys) -> None:
    arguments = ["explain", str(run_folder), str(digit), "--method", "gradient", "--target", "5"]
    main([*arguments, "--out", str(tmp_path / "out"), "--json"])
    (told,) = json.loads(capsys.readouterr().out)
    assert told["explained"] == "output 5, 5"
    model, card = load(run_folder)
    x = card.preprocess(digit)[None]
    expected = gradient(model, x, target=5)
    np.testing.assert_allclose(told["gradient"]["scores"], expected.scores.numpy(), rtol=1e-5, atol=1e-7)
    folder = tmp_path / "out" / "three"
    assert sorted(path.name for path in folder.iterdir()) == [
        "gradient.json",
        "gradient.npz",
        "gradient.png",
        "index.html",
    ]
    with np.load(folder / "gradient.npz") as stored:
        np.testing.assert_allclose(stored["heatmap"], expected.heatmap().numpy(), rtol=1e-5, atol=1e-7)
        assert json.loads(str(stored["facts"]))["method"] == "gradient"
    page = (folder / "index.html").read_text()
    assert "striate explain" in page
    assert page.count("<img") == 2  # with the frame for enlarging


@pytest.mark.slow
def test_all_methods_on_one_page(run_folder: Path, digit: Path, tmp_path: Path) -> None:
    main(["explain", str(run_folder), str(digit), "--data", "own", "--set-size", "200", "--out", str(tmp_path)])
    page = (tmp_path / "three" / "index.html").read_text()
    made = {path.stem for path in (tmp_path / "three").glob("*.png")}
    left = set(METHODS) - made
    assert {"occlusion", "grad_cam", "integrated_gradients", "maximize", "embed", "top_patches"} <= made
    reasons = re.search('Methods that do not fit</h2><p class="reading">([^<]*)', page)
    assert reasons
    assert all(f"{name}: " in reasons[1] for name in left)
    assert "mutagenesis" in left


def test_a_layer_is_explained_or_looked_at(run_folder: Path, digit: Path) -> None:
    model, card = load(run_folder)
    methods = ["gradient", "grad_cam", "feature_maps", "invert:steps=2"]
    found = explain_item(model, card, digit, methods, target=7, layer="conv2")
    assert found.question == "output 7 of conv2, summed over its positions; output 7, 7"
    by_name = {result.method: result.found for result in found.results}
    x = card.preprocess(digit)[None]
    torch.testing.assert_close(by_name["gradient"].scores, gradient(model, x, target=7, layer="conv2").scores)
    torch.testing.assert_close(by_name["grad_cam"].scores, grad_cam(model, x, target=7, layer="conv2").scores)
    assert by_name["feature_maps"].shown == "conv2"


def test_methods_are_listed(capsys) -> None:
    main(["explain"])
    assert "integrated_gradients" in capsys.readouterr().out
    main(["explain", "--json"])
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(METHODS)
    assert listed["integrated_gradients"]["options"]["steps"] == 50


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--method", "gradcam"], "unknown method: got 'gradcam'. Did you mean grad_cam"),
        (["--method", "occlusion:size=3"], "method occlusion has no option: got 'size'"),
        (["--method", "gradient", "--target", "eleven"], "no such class: got 'eleven'"),
        (["--method", "gradient", "--target", "10"], "no such target: expected 0 to 9"),
        (["--method", "gradient", "--layer", "convX"], "the network has no such layer: got 'convX'"),
        (["--method", "gradient", "--target", "²"], "no such class: got '²'. Known: 0, 1, 2"),
        (["--method", "gradient", "--target=--1"], "no such class: got '--1'. Known: 0, 1, 2"),
        (["--method", "gradient", "--target", "-11"], "no such target: expected 0 to 9"),
        (["--target", "eleven"], "no such class: got 'eleven'. Known: 0, 1, 2"),
        (["--method", "filters", "--target", "3"], "none of these methods explains an output: got target 3. Leave it"),
        (["--method", "gradient", "--layer", "conv2", "--target", "x"], "no such class: got 'x'. Known: 0, 1, 2"),
        (["--method", "smooth_grad:noise=abc"], "wrong type: method smooth_grad: noise: expected a finite number, got"),
        (
            ["--method", "all", "smooth_grad:seed=x"],
            "wrong type: method smooth_grad: seed: expected a whole number, got",
        ),
        (["--first", "0"], "wrong --first: expected 1 or more, got 0"),
        (["--data", "own", "--set-size", "0"], "wrong --set-size: expected 1 or more, got 0"),
        (["--method", "cam", "--layer", "conv1"], "method cam has no layer: got conv1. Leave it out, or see: "),
        (["--method", "embed"], "method embed looks at a set of items: expected batches, got none. Name one"),
    ],
)
def test_wrong_calls_are_told(run_folder: Path, digit: Path, tmp_path: Path, capsys, arguments, text: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["explain", str(run_folder), str(digit), *arguments, "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_target_that_some_methods_cannot_have(run_folder: Path, digit: Path, monkeypatch) -> None:
    """Of all methods those are left out that cannot have it; what is told is what the others explain."""
    monkeypatch.setattr("striate.runs.explaining.METHODS", {name: METHODS[name] for name in CHOSEN})
    model, card = load(run_folder)
    channels = model.get_submodule("conv1").out_channels
    assert channels < 9
    found = explain_item(model, card, digit, ["all", "occlusion:patch=6"], target=9, layer="conv2")
    assert found.question == "output 9 of conv2, summed over its positions; output 9, 9"
    found = explain_item(model, card, digit, target=9, layer="conv1")
    left = {result.method: result.missing for result in found.results if result.missing}
    assert set(left) == {"gradient"}
    assert f"no such target: expected 0 to {channels - 1}" in left["gradient"]
    assert found.question == "output 9, 9"
    with pytest.raises(InputError, match="no such target: expected 0 to 9"):
        explain_item(model, card, digit, target=10, layer="conv1")
    with pytest.raises(InputError, match=f"no such target: expected 0 to {channels - 1}"):
        explain_item(model, card, digit, ["gradient"], target=9, layer="conv1")
    assert explain_item(model, card, digit, ["feature_maps"]).question == ""


CHOSEN = ("gradient", "grad_cam", "feature_maps")


def test_a_channel_of_a_deconvnet_is_its_strongest_unit(run_folder: Path, digit: Path) -> None:
    model, card = load(run_folder)
    x = card.preprocess(digit)[None]
    for target in (3, None):
        (result,) = explain_item(model, card, digit, ["deconvnet"], target=target, layer="conv2").results
        maps = output_of(model, x, "conv2").detach()
        channel = int(maps[0].amax((1, 2)).argmax()) if target is None else target
        torch.testing.assert_close(
            result.found.scores, deconvnet(model, x, layer="conv2", target=strongest(channel)).scores
        )
        assert result.question == f"output {channel} of conv2, where it is strongest"


def test_a_class_is_a_name_before_a_number_and_counts_from_the_end(run_folder: Path, digit: Path) -> None:
    model, card = load(run_folder)
    assert explain_item(model, card, digit, ["gradient"], target=-1).question == "output 9, 9"
    turned = dataclasses.replace(card, meaning=dataclasses.replace(card.meaning, names=card.class_names[::-1]))
    assert explain_item(model, turned, digit, ["gradient"], target="2").question == "output 7, 2"
    assert explain_item(model, turned, digit, ["gradient"], target=2).question == "output 2, 7"


def test_a_method_twice_has_files_of_its_own(run_folder: Path, digit: Path, tmp_path: Path, capsys) -> None:
    methods = ["occlusion:patch=4", "gradient", "occlusion:patch=8", "gradient"]
    main(["explain", str(run_folder), str(digit), "--method", *methods, "--out", str(tmp_path), "--json"])
    folder = tmp_path / "three"
    names = {"gradient", "occlusion", "occlusion-2"}
    assert {path.name for path in folder.iterdir()} == {"index.html"} | {
        f"{name}.{kind}" for name in names for kind in ("png", "npz", "json")
    }
    for name, patch in (("occlusion", 4), ("occlusion-2", 8)):
        assert json.loads((folder / f"{name}.json").read_text())["parameters"]["patch"] == [patch, patch]
    page = (folder / "index.html").read_text()
    assert "Occlusion (patch=4)" in page
    assert "What is red lowers the output when it is covered" in page
    assert "Occlusion (patch=8)" in page
    (told,) = json.loads(capsys.readouterr().out)
    assert {"occlusion:patch=4", "occlusion:patch=8", "gradient"} <= set(told)


def test_the_page_says_how_to_make_it_again(run_folder: Path, digit: Path, tmp_path: Path) -> None:
    def command(page: Path) -> list[str]:
        said = re.search(r'<pre class="command"><code>([^<]*)', page.read_text())
        assert said
        return shlex.split(html.unescape(said[1]))

    options = [
        "--method",
        "ablate:channels=1",
        "gradient",
        "--target",
        "3",
        "--data",
        "own",
        "--set-size",
        "20",
        "--device",
        "cpu",
    ]
    out = tmp_path / "a b"
    main(["explain", str(run_folder), str(digit), *options, "--out", str(out)])
    again = command(out / "three" / "index.html")
    assert again[:4] == ["striate", "explain", str(run_folder), str(digit)]
    before = (out / "three" / "ablate.json").read_bytes()
    shutil.rmtree(out)
    main(again[1:])
    assert (out / "three" / "ablate.json").read_bytes() == before


def test_the_page_says_what_the_axes_mean(run_folder: Path, digit: Path, tmp_path: Path) -> None:
    found = explain_item(*load(run_folder), digit, ["gradient"])
    assert "axes of the pictures" not in found.write(tmp_path / "plain", "title", "again").read_text()
    sound = dataclasses.replace(found, axes="time and frequency")
    page = sound.write(tmp_path / "sound", "title", "again").read_text()
    assert "axes of the pictures" in page
    assert "time and frequency" in page


@pytest.mark.parametrize(("stop", "made"), [(("filters", 1), 1), (("gradient", 1), 0), (("gradient", 2), 2)])
def test_what_is_there_at_ctrl_c_is_written(
    run_folder: Path, digit: Path, tmp_path: Path, monkeypatch, capsys, stop: tuple[str, int], made: int
) -> None:
    """Within the first file, before anything is there, and at the first method of the second file."""
    begun: list[str] = []

    def stopping(model, x, spec: str, **given):
        begun.append(spec)
        if spec == stop[0] and begun.count(spec) == stop[1]:
            raise KeyboardInterrupt
        return explain(model, x, spec, **given)

    monkeypatch.setattr("striate.runs.explaining.explain", stopping)
    shutil.copy(digit, tmp_path / "again.png")
    command = ["explain", str(run_folder), str(digit), str(tmp_path / "again.png"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--json", "--method", "gradient", "filters"])
    assert ended.value.code == 130
    out, err = capsys.readouterr()
    assert "interrupted" in err
    assert {path.stem for path in (tmp_path / "out").rglob("*.png")} == {*("gradient", "filters")[:made]}
    told = json.loads(out)
    assert [one["file"] for one in told] == [str(digit)][:made]
    if made:
        page = (tmp_path / "out" / "three" / "index.html").read_text()
        assert ("Left out: filters." in page) == (made == 1)
        assert "Methods that do not fit" not in page


def test_a_picture_that_cannot_be_drawn_is_told(run_folder: Path, digit: Path, tmp_path: Path) -> None:
    model, card = load(run_folder)
    batches = [(torch.rand(1, *card.input_shape), torch.zeros(1, dtype=torch.long))]
    found = explain_item(model, card, digit, ["gradient", "embed"], batches=batches)
    page = found.write(tmp_path, "title", "again").read_text()
    assert "embed: perplexity of t-SNE: expected 1 to below 1" in html.unescape(page)
    assert {path.name for path in tmp_path.iterdir()} >= {"gradient.png", "embed.json", "index.html"}
    assert not (tmp_path / "embed.png").exists()


def test_no_file_is_told(run_folder: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["explain", str(run_folder)])
    assert "nothing to explain: expected files" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(run_folder: Path, digit: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model, card = load(run_folder)
    found = explain_item(model, card, digit, ["gradient"], name="three")
    with pytest.raises(StorageError, match="Choose another --out"):
        found.write(tmp_path / "file" / "x", "title", "command")


def test_letters_stand_for_positions(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    x = torch.eye(4)[torch.randint(4, (1, 120), generator=torch.Generator().manual_seed(0))].transpose(1, 2)
    found = explain(net, x, "deep_lift", target=1)
    bases = ["ACGT"[i] for i in x[0].argmax(0)]
    logo, words = found.lettered(bases), found.lettered([f"word{i}" for i in range(120)])
    for number, picture in enumerate((logo, words, found)):
        picture.plot().savefig(tmp_path / f"{number}.png")
    assert logo.parameters["letters"] == bases
    with pytest.raises(InputError, match="letters are one for each position: expected 120, got 3"):
        found.lettered("ACG")


@pytest.fixture(scope="module")
def motif_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on short sequences, and a file of a dozen."""
    folder, draw = tmp_path_factory.mktemp("motifs"), random.Random(0)
    for name in ("positives", "negatives"):
        texts = ("".join(draw.choices("ACGT", k=24)) for _ in range(40))
        (folder / f"{name}.fa").write_text("".join(f">{name[0]}{i}\n{text}\n" for i, text in enumerate(texts)))
    small = "deepbind:motifs=4,motif_length=8,hidden=0"
    settings = ["--epochs", "1", "--batch-size", "40", "--device", "cpu", "--out", str(folder / "runs")]
    main(["train", "--data", f"fasta:{folder}", "--model", small, *settings])
    few = folder / "few.fa"
    few.write_text("".join(f">s{i}\n{'ACGTTGCA' * 3}\n" for i in range(12)))
    return next((folder / "runs").iterdir()), few


def test_items_inside_a_file(motif_run: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    run, file = motif_run
    main(["explain", str(run), str(file), "--method", "occlusion", "filters", "--first", "11", "--out", str(tmp_path)])
    told = capsys.readouterr()
    assert "the first 11 of 12 items (--first)" in told.err
    assert len(list(tmp_path.glob("*/index.html"))) == 11
    assert told.out.count("\n") == 11
    page = (tmp_path / "few_s10" / "index.html").read_text()
    assert f"striate explain {run} {file} --method occlusion filters --first 11 --out {tmp_path}" in page
    assert "What is upright lowers the output when it is covered" in page
    item = json.loads((tmp_path / "few_s10" / "occlusion.json").read_text())
    assert "".join(item["parameters"]["letters"]) == "ACGTTGCA" * 3
    assert Explain(run_folder=run, files=(file,))._command(file, 9).endswith(f"{file} --method all --first 10")


def test_files_of_a_folder_are_explained(
    run_folder: Path, digit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    for name in ("one", "two"):
        shutil.copy(digit, folder / f"{name}{digit.suffix}")
    (folder / "notes.md").write_text("no picture")
    main(
        ["explain", str(run_folder), str(folder), "--method", "gradient", "--first", "2", "--out", str(tmp_path / "x")]
    )
    assert f"{folder}: 2 files; left alone: notes.md" in " ".join(capsys.readouterr().err.split())
    assert {path.parent.name for path in (tmp_path / "x").glob("*/index.html")} == {"one", "two"}


def test_a_file_without_items_is_told(motif_run: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    (tmp_path / "none.txt").write_text("")
    with pytest.raises(SystemExit):
        main(["explain", str(motif_run[0]), str(tmp_path / "none.txt")])
    assert "nothing to explain: " in (told := capsys.readouterr().err)
    assert "none.txt: expected at least one item, got none" in told
