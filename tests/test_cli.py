"""The command line as a person and as a program use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import striate
from striate.cli import main
from striate.cli.training import Predict
from striate.data import AUGMENTATIONS, INPUTS, SOURCES
from striate.demonstrations import DEMONSTRATIONS
from striate.tasks import TASKS

FAST = ["--model", "nielsen_mnist", "--epochs", "2", "--batch-size", "100", "--device", "cpu"]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Exit code 2 and exactly one line on standard error."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    assert (stop.value.code, said.out) == (2, "")
    assert said.err.count("\n") == 1, said.err
    return said.err


def test_train_evaluate_predict_and_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["train", *FAST, "--out", str(tmp_path), "--seed", "3"])
    *_, accuracy, last = lines(capsys)
    assert last.startswith(f"run: {tmp_path}")
    run = last.removeprefix("run: ")
    main(["evaluate", run, "--json"])
    (line,) = lines(capsys)
    scores = json.loads(line)
    assert accuracy == f"test accuracy: {scores['accuracy']:.4f} ({scores['n']} items)"
    main(["evaluate", run, "--data", "digits"])
    said = capsys.readouterr()
    assert "359 items" in said.out
    assert said.err == "scored: the 359 test items of the run's own split\n"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    main(["predict", run, str(tmp_path / "a.png"), "--json", "--top-k", "2"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["file"] == str(tmp_path / "a.png")
    assert len(row["classes"]) == len(row["probabilities"]) == 2
    main(["predict", run, str(tmp_path / "a.png")])
    assert row["classes"][0] in capsys.readouterr().out
    main(["runs", str(tmp_path), "--json"])
    assert [r["state"] for r in json.loads(capsys.readouterr().out)] == ["trained"]
    main(["runs", run])
    assert run in capsys.readouterr().out


def test_a_recipe_replays_bit_for_bit_and_options_override_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["train", *FAST, "--out", str(tmp_path), "--seed", "5"])
    first = Path(lines(capsys)[-1].removeprefix("run: "))
    main(["train", str(first / "recipe.yaml"), "--out", str(tmp_path)])
    second = Path(lines(capsys)[-1].removeprefix("run: "))
    assert first != second
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    main(["train", str(first / "recipe.yaml"), "--epochs", "1", "--out", str(tmp_path)])
    third = striate.Recipe.read(Path(lines(capsys)[-1].removeprefix("run: ")) / "recipe.yaml")
    assert (third.epochs, third.seed, third.model) == (1, 5, "nielsen_mnist")


def test_an_option_is_checked_with_the_recipe_that_it_changes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.yml"
    path.write_text("model: nielsen_mnist\nepochs: 0.1\nfolds: 5\n")
    main(["train", "--fold", "3", str(path), "--out", str(tmp_path)])
    run = Path(lines(capsys)[-1].removeprefix("run: "))
    made = striate.Recipe.read(run / "recipe.yaml")
    assert (made.folds, made.fold) == (5, 3)
    assert "10 classes, fold 3 (0 to 4), seed 0" in (run / "report.html").read_text()
    assert "expected 0 to 4, got 5" in fails(capsys, "train", str(path), "--fold", "5")
    path.rename(tmp_path / "a.txt")
    assert "a recipe is a file that ends in .yaml or .yml" in fails(capsys, "train", str(tmp_path / "a.txt"))


def test_the_zoo_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["zoo", "--json"])
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(striate.zoo.names())
    main(["zoo"])
    assert "60,000" in capsys.readouterr().out
    main(["zoo", "vgg16"])
    assert "parameters: 138357544" in capsys.readouterr().out
    main(["zoo", "lenet5", "--json"])
    assert json.loads(capsys.readouterr().out)["year"] == 1998
    assert "unknown network: got 'vg16'. Did you mean vgg16" in fails(capsys, "zoo", "vg16")


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (["keras_mnist"], [1, 28, 28]),
        (["keras_mnist", "--input", "3x20x30"], [3, 20, 30]),
        (["keras_mnist:input_size=20"], [1, 20, 20]),
        (["text_cnn"], [64]),
        (["text_cnn", "--input", "40"], [40]),
        (["unet:rank=1,width=0.1", "--input", "2x64"], [2, 64]),
    ],
)
def test_describe_builds_a_network_of_the_zoo_for_the_input(
    capsys: pytest.CaptureFixture[str], arguments: list[str], shape: list[int]
) -> None:
    main(["describe", *arguments, "--json"])
    assert next(iter(json.loads(capsys.readouterr().out)["inputs"].values())) == shape


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "unknown verb: got 'trian'. Did you mean train?"),
        (["train", "--epoch", "3"], "did you mean --epochs"),
        (["train", "--epochs", "three"], "Error parsing --epochs"),
        (["train", "--epochs", "0"], "epochs is out of range: expected above 0, got 0"),
        (["train", "--optimizer", "adm"], "invalid choice 'adm' for argument '--optimizer'"),
        (["train", "--model", "lenet"], "unknown network: got 'lenet'. Did you mean lenet5"),
        (["train", "--model", "lenet5:varient=x"], "has no option: got 'varient'. Did you mean variant?"),
        (["train", "--model", "lenet5:variant=new"], "no such variant: expected 1998 or modern, got 'new'"),
        (["train", "--data", "mnst:x"], "unknown data source: got 'mnst'. Did you mean mnist?"),
        (["train", "--data", "mnist:/nowhere"], "/nowhere"),
        (["train", "--data", "folder:/nowhere", "--model", "keras_fcn"], "/nowhere"),
        (["train", "--augment", "flop"], "Did you mean flip?"),
        (
            ["train", "--image-size", "9"],
            "cannot take an input of this size: input_size: expected at least 28x28",
        ),
        (["train", "--device", "gpu"], "no such device: gpu"),
        (["train", "nothing.yaml"], "cannot read the recipe: nothing.yaml: got No such file or directory"),
        (["train", "--resume", "nothing"], "nothing to resume: nothing: expected a run's folder"),
        (["train", "--resume", "x", "--epochs", "3"], "a resumed run keeps its recipe: --resume x: expected no other"),
        (["evaluate", "nothing"], "this folder holds no trained model: nothing"),
        (["predict", "nothing"], "nothing to predict"),
        (["show", "sobbel"], "unknown demonstration: got 'sobbel'. Did you mean sobel?"),
        (["show", "stride:stepp=2"], "demonstration stride has no option: got 'stepp'. Did you mean step?"),
        (["show", "stride:step=9"], "cannot use this value: stride:step: expected a whole number in 1..5, got 9"),
        (["show", "stride", "--out", "a.jpg"], "no such kind of picture: a.jpg: expected a file that ends in .gif"),
        (["show", "stride", "--out", "no/a.png"], "cannot write the picture: no/a.png: got no such folder"),
        (["show", "stride", "--seconds", "0"], "a step cannot stand so long: expected 0.02 to 60 seconds, got 0"),
        (["show", "--out", "a.png"], "nothing to draw: got --out a.png. striate show NAME --out FILE"),
        (["runs", "nothing"], "no such folder: nothing. Train something: striate train"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in fails(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_in_a_recipe_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("epoch: 3\n")
    assert "unknown key: " in (said := fails(capsys, "train", str(tmp_path / "recipe.yaml")))
    assert "got 'epoch'. Did you mean epochs" in said


def test_bad_images_and_foreign_data(capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    assert "cannot decode an image" in fails(capsys, "predict", str(run_folder), str(tmp_path / "a.png"))
    assert "no such file or folder" in fails(capsys, "predict", str(run_folder), str(tmp_path / "b.png"))
    told = fails(capsys, "predict", str(run_folder), str(tmp_path / "a.png"), "--task", "top=3")
    assert "task classify has no option: got 'top'. Did you mean top_k?" in told
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("L", (12, 12)).save(tmp_path / "pets" / name / "a.png")
    assert "cat" in fails(capsys, "evaluate", str(run_folder), "--data", f"folder:{tmp_path / 'pets'}")


def test_broken_files_are_left_out_of_predictions(
    capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path
) -> None:
    Image.new("L", (12, 12)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "c.md").touch()
    assert "b.png: got Un" in (said := fails(capsys, "predict", str(run_folder), str(tmp_path / "b.png")))
    assert said.endswith("Or leave out what cannot be read: --skip-corrupt (skip_corrupt=True).\n")
    main(["predict", str(run_folder), str(tmp_path), "--skip-corrupt"])
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"{tmp_path}: 2 files; left alone: c.md",
        f"left out, cannot be read: {tmp_path / 'b.png'}",
        "files left out: 1",
    ]
    assert "cannot decode an image" in said.out


def test_wide_predictions_are_short_on_the_screen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    row = {"file": "a.png", **{f"x{k}": float(k) for k in range(20)}}
    verb = Predict(tmp_path, (), out=tmp_path)
    verb._show([row, {"file": "b.png", "error": "broken"}], [["a.jpg"], []])
    said = capsys.readouterr()
    assert str(tmp_path / "a.jpg") in said.out
    assert "broken" in said.out
    assert "x0" not in said.out
    assert said.err == f"… 20 more columns in {tmp_path / 'predictions.csv'}\n"
    Predict(tmp_path, ())._show([row], [[]])
    said = capsys.readouterr()
    assert "x6" in said.out
    assert "x7" not in said.out
    assert said.err == "… 13 more columns with --out FOLDER, or --json\n"
    Predict(tmp_path, ())._show([{"file": "a.png", "class": "cat"}], [[]])
    assert capsys.readouterr().err == ""


def test_divergence_ends_with_one_line_and_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wild = ["--optimizer", "sgd", "--learning-rate", "1e30", "--schedule", "constant", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        main(["train", *FAST, *wild])
    assert stop.value.code == 1
    assert "--learning-rate" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        f"import sys; from striate.cli import main\ntry: main({arguments})\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: striate" in done.stdout


def test_describe_a_network_of_the_zoo_of_a_run_and_of_a_module(
    capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path
) -> None:
    main(["describe", "lenet5", "--json", "--html", str(tmp_path / "page.html")])
    assert json.loads(lines(capsys)[0])["parameters"] == 60_000
    assert "<svg" in (tmp_path / "page.html").read_text()
    main(["describe", str(run_folder)])
    assert "least input: 1x" in capsys.readouterr().out
    main(["describe", "torch.nn:Flatten", "--input", "3x4x5", "--everything"])
    assert "60" in capsys.readouterr().out


def test_describe_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown network: got 'lenet6'. Did you mean lenet5" in fails(capsys, "describe", "lenet6")
    assert "expected 3x224x224 or 20:int64, say, got '3y4'" in fails(capsys, "describe", "lenet5", "--input", "3y4")
    assert "the input has no known shape: torch.nn:ReLU" in fails(capsys, "describe", "torch.nn:ReLU")
    assert "there is no such callable: expected module:callable" in fails(capsys, "describe", "torch.nn:Nope")


NETWORKS = """
from torch import nn
class Tokens(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.table = nn.Embedding(10, size)
    def forward(self, x): return self.table(x)
class Needs(nn.Module):
    def __init__(self, size): super().__init__()
class Family: tokens = Tokens
def fails(): raise RuntimeError("no weights here")
class Pair(nn.Module):
    def forward(self, left, right): return left.sum(1) * right.sum(1)
text = "hello"
"""


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(NETWORKS)
    (tmp_path / "own_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("own_networks")
def test_describe_tokens_and_several_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["describe", "own_networks:Family.tokens", "--input", "7:int64", "--json"])
    assert json.loads(lines(capsys)[0])["layers"][-1]["shape"] == [7, 4]
    main(["describe", "own_networks:Pair", "--input", "2,3", "--json"])
    assert json.loads(lines(capsys)[0])["inputs"] == {"left": [2], "right": [3]}


@pytest.mark.usefixtures("own_networks")
@pytest.mark.parametrize(
    ("network", "options", "expected"),
    [
        ("own_networks:Needs", "3", "the network cannot be made: own_networks:Needs: got TypeError: "),
        ("own_networks:fails", "3", "got RuntimeError: no weights here. Name a callable that needs no arguments."),
        (
            "own_networks:text",
            "3",
            "this is no network: own_networks:text: expected a torch.nn.Module, got str",
        ),
        ("own_networks:Tokens", "7", "pass an example: torch.zeros(1, 20, dtype=torch.long), say, or --input 20:int64"),
        ("own_networks:Tokens", "7:int65", "this is no shape: --input: expected 3x224x224 or 20:int64, say, got"),
        ("own_broken:Net", "3", "the module cannot be imported: own_broken: got ZeroDivisionError: division by zero"),
        (":Net", "3", "there is no such callable: expected module:callable, got :Net"),
        ("./own_networks:Net", "3", "there is no such callable: expected module:callable, got ./own_networks:Net"),
        ("lenet5", "1x28x28x3", "lenet5: expected 3 axes, c x h x w, got 4, 1x28x28x3. Add --input 1x32x32, say"),
        ("ts_fcn", "176", "ts_fcn: expected 2 axes, c x t, got 1, 176. Add --input 1x176, say"),
        ("unet:rank=3", "1x32x32", "unet: expected 4 axes, c x d x h x w, got 3, 1x32x32"),
        ("unet:rank=x", "1x32x32", "cannot build network unet: rank: expected 1 or 2 or 3, got 'x'"),
        ("text_cnn", "1x64", "text_cnn: expected 1 axis, length, got 2, 1x64. Add --input 64, say"),
        ("torch.nn:ReLU", "9999999999x9999999999", "an input as large as this cannot be counted: got 9999999999x9"),
    ],
)
def test_describe_says_what_is_wrong_with_a_network(
    capsys: pytest.CaptureFixture[str], network: str, options: str, expected: str
) -> None:
    assert expected in fails(capsys, "describe", network, "--input", options)


def test_show_lists_and_draws(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["show", "--json"])
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(DEMONSTRATIONS)
    main(["show"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in DEMONSTRATIONS)
    main(["show", "stride:size=5,step=2", "--dpi", "30"])
    *table, last = lines(capsys)
    assert last == "picture: stride.gif"
    assert "(5 − 3) / 2 + 1 = 2" in "".join(table)
    with Image.open("stride.gif") as picture:
        assert picture.n_frames == 4
    main(["show", "separable", "--dpi", "30"])
    assert Image.open("separable.png").width == 30 * 9.1
    main(["show", "products", "--json"])
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["numbers"]["s11"] == "a·w11 + b·w12 + d·w21 + e·w22"
    main(["show", "products", "--json", "--out", "other.svg"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.svg", "separable.png", "stride.gif"]


def test_describe_writes_no_page_into_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert f"cannot write the page: {tmp_path}: got Is a directory" in fails(
        capsys, "describe", "torch.nn:ReLU", "--input", "3", "--html", str(tmp_path)
    )


def test_what_a_recipe_can_name(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sources", "--json"])
    (line,) = lines(capsys)
    found = json.loads(line)
    assert {"name": "digits", "inputs": "pictures", "task": "classify"}.items() <= found["data (--data)"][0].items()
    names = {row["name"].partition(":")[0] for rows in found.values() for row in rows}
    assert {*SOURCES, *INPUTS, *TASKS, *AUGMENTATIONS} == names
    main(["sources"])
    assert "label_smoothing=0.0" in capsys.readouterr().out
