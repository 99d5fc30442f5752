"""Every task with every kind of input through one way: train, evaluate, predict, on small data in files of users."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from striate.cli import main
from striate.data import INPUTS, SOURCES
from striate.data.sources import table
from striate.data.sources.registry import find_source, read_source
from striate.recipe import Recipe
from striate.runs import answer_files, evaluate_run, load, open_session
from striate.tasks import TASKS
from striate.train import fit

RANDOM = np.random.default_rng(0)


def pictures(folder: Path, names: list[str], size: tuple[int, int] = (32, 32), mode: str = "RGB") -> list[Path]:
    folder.mkdir(parents=True)
    for name in names:
        shape = (*size, 3) if mode == "RGB" else size
        Image.fromarray(RANDOM.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


def classes_of_pictures(folder: Path) -> tuple[str, list[Path]]:
    files = [f for name in ("cat", "dog") for f in pictures(folder / "data" / name, list("abcdefgh"))]
    return f"folder:{folder / 'data'}", files[:3]


def plain_pictures(folder: Path) -> tuple[str, list[Path]]:
    return f"photos:{folder / 'data'}", pictures(folder / "data", list("abcdefghij"))[:3]


def masked_pictures(folder: Path) -> tuple[str, list[Path]]:
    files = pictures(folder / "data" / "images", list("abcdefgh"), mode="L")
    (folder / "data" / "masks").mkdir()
    for file in files:
        bright = (np.asarray(Image.open(file)) > 127).astype(np.uint8)
        Image.fromarray(bright).save(folder / "data" / "masks" / file.name)
    return f"masks:{folder / 'data'}", files[:3]


def idx_digits(folder: Path) -> Path:
    """MNIST's files with 60 + 20 random pictures."""
    (folder / "data").mkdir()
    for stem, count in (("train", 60), ("t10k", 20)):
        images = RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        images[:, :4] = images[:, -4:] = images[:, :, :4] = images[:, :, -4:] = 0
        head = np.array([2051, count, 28, 28], ">i4").tobytes()
        (folder / "data" / f"{stem}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = np.array([2049, count], ">i4").tobytes()
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / "data" / f"{stem}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    return folder / "data"


def with_points(folder: Path) -> tuple[str, list[Path]]:
    names = ("left_eye_center", "right_eye_center", "nose_tip")
    rows = [[*(f"{n}_{axis}" for n in names for axis in "xy"), "Image"]]
    for _ in range(12):
        pixels = RANDOM.integers(0, 256, 96 * 96)
        rows.append([*(f"{value:.2f}" for value in RANDOM.uniform(10, 80, 6)), " ".join(map(str, pixels))])
    (folder / "training.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    return f"kaggle_faces:{folder / 'training.csv'}", pictures(folder / "new", ["face"], (96, 96), "L")


def texts(folder: Path) -> tuple[str, list[Path]]:
    (folder / "data").mkdir()
    for name, word in (("good", "fine"), ("bad", "dull")):
        lines = [f"a {word} film number {k} with more words than five" for k in range(20)]
        (folder / "data" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "new.txt").write_text("a dull film of many many words\nanother fine film of many words\n")
    return f"lines:{folder / 'data'}", [folder / "new.txt"]


def sequences(folder: Path) -> tuple[str, list[Path]]:
    (folder / "data").mkdir()
    for name in ("positives", "negatives"):
        texts = ["".join(RANDOM.choice(list("ACGT"), 101)) for _ in range(20)]
        (folder / "data" / f"{name}.fa").write_text("".join(f">{name}{k}\n{t}\n" for k, t in enumerate(texts)))
    return f"fasta:{folder / 'data'}", [folder / "data" / "positives.fa"]


def several_labels(folder: Path) -> tuple[str, list[Path]]:
    """As DeepSEA has them: several factors a sequence, some of them not known."""
    texts = ["".join(RANDOM.choice(list("ACGT"), 200)) for _ in range(30)]
    (folder / "a.fa").write_text("".join(f">s{k}\n{text}\n" for k, text in enumerate(texts)))
    rows = [f"s{k}\t{k % 2}\t{k % 3 // 2}\t{'' if k % 5 else k % 2}" for k in range(30)]
    (folder / "a.tsv").write_text("\n".join(["name\tCTCF\tGATA1\topen", *rows]) + "\n")
    return f"fasta:{folder / 'a.fa'}", [folder / "a.fa"]


def slices_of_tissue(folder: Path) -> tuple[str, list[Path]]:
    """A stack as ISBI's, with its first slices to predict."""
    stack = RANDOM.integers(0, 256, (26, 64, 128), dtype=np.uint8)
    (folder / "data").mkdir()
    tifffile.imwrite(folder / "data" / "train-volume.tif", stack)
    tifffile.imwrite(folder / "data" / "train-labels.tif", np.uint8(255) * (stack > 127))
    tifffile.imwrite(folder / "new.tif", stack[:16])
    return f"isbi_volume:{folder / 'data'}", [folder / "new.tif"]


def measured(make: Callable[[Path], tuple[str, list[Path]]]) -> Callable[[Path], tuple[str, list[Path]]]:
    """The same files (or lines) in a table, with a quantity each."""

    def quantities(folder: Path) -> tuple[str, list[Path]]:
        spec, files = make(folder)
        root, item = Path(spec.partition(":")[2]), {"lines": "text", "fasta": "sequence"}.get(spec.partition(":")[0])
        if item:
            lines = [
                line for file in sorted(root.iterdir()) for line in file.read_text().splitlines() if line[0] != ">"
            ]
        else:
            lines = [str(file.relative_to(folder)) for file in sorted(root.rglob("*.*"))]
        rows = [[line, k % 7 / 3] for k, line in enumerate(lines)]
        with (folder / "table.csv").open("w", newline="") as file:
            csv.writer(file).writerows([[item or "file", "age"], *rows])
        return f"table:{folder / 'table.csv'}", files

    return quantities


def recordings(folder: Path) -> tuple[str, list[Path]]:
    import soundfile

    for name, pitch in (("high", 900), ("low", 200)):
        (folder / "data" / name).mkdir(parents=True)
        for k in range(10):
            wave = 0.5 * np.sin(2 * np.pi * pitch * np.arange(4000) / 8000) + 0.01 * RANDOM.standard_normal(4000)
            soundfile.write(folder / "data" / name / f"{k}.wav", wave, 8000)
    return f"wav:{folder / 'data'}", sorted((folder / "data" / "high").iterdir())[:2]


def series(folder: Path) -> tuple[str, list[Path]]:
    (folder / "Waves").mkdir()
    for part in ("TRAIN", "TEST"):
        rows = [[k % 2 + 1, *np.sin(np.arange(60) * (1 + k % 2) / 5 + RANDOM.random())] for k in range(20)]
        (folder / "Waves" / f"Waves_{part}.tsv").write_text("\n".join("\t".join(map(str, row)) for row in rows) + "\n")
    (folder / "new.csv").write_text(",".join(map(str, np.sin(np.arange(60) / 5))) + "\n")
    return f"ucr:{folder / 'Waves'}", [folder / "new.csv"]


def series_in_files(folder: Path) -> tuple[str, list[Path]]:
    for name in ("fast", "slow"):
        (folder / "data" / name).mkdir(parents=True)
        for k in range(10):
            wave = np.sin(np.arange(60) / (2 if name == "fast" else 5) + RANDOM.random())
            (folder / "data" / name / f"{k}.csv").write_text(",".join(map(str, wave)) + "\n")
    return f"series:{folder / 'data'}", sorted((folder / "data" / "fast").iterdir())[:2]


def clips(folder: Path) -> tuple[str, list[Path]]:
    frames = [Image.fromarray(RANDOM.integers(0, 256, (32, 32), dtype=np.uint8)) for _ in range(16)]
    frames[0].save(folder / "new.gif", save_all=True, append_images=frames[1:])
    return f"moving:{idx_digits(folder)}", [folder / "new.gif"]


def scenes(folder: Path) -> tuple[str, list[Path]]:
    return f"clutter:{idx_digits(folder)}", pictures(folder / "new", ["scene"], (64, 64), "L")


def lines_of_digits(folder: Path) -> tuple[str, list[Path]]:
    return f"strings:{idx_digits(folder)}", pictures(folder / "new", ["line"], (32, 174), "L")


def roads(folder: Path) -> tuple[str, list[Path]]:
    return "steering", pictures(folder / "new", ["road"], (66, 200))


@dataclass(frozen=True)
class Case:
    """Data in a folder and files to predict; a network; what a recipe says besides."""

    make: Callable[[Path], tuple[str, list[Path]]]
    model: str
    options: tuple[str, ...] = ()


SMALL_WAVEFORM = ("--inputs", "waveform:rate=2000")
# Named by task and kind of input, as the data and the options have them.
CASES = {
    "classify pictures": Case(classes_of_pictures, "nielsen_mnist", ("--image-size", "28")),
    "classify words": Case(texts, "text_cnn:width=0.1,vector=8"),
    "classify characters": Case(texts, "char_cnn:width=0.05", ("--inputs", "characters:length=150")),
    "classify bases": Case(sequences, "deepbind", ("--augment", "reverse_complement:0.5")),
    "classify bases, several labels": Case(several_labels, "deepsea:width=0.05"),
    "classify spectrogram": Case(recordings, "keras_fcn:width=0.25"),
    "classify waveform": Case(recordings, "ts_fcn:width=0.1", SMALL_WAVEFORM),
    "classify series": Case(series, "ts_resnet:width=0.1"),
    "classify volumes": Case(clips, "c3d:width=0.05", ("--epochs", "0.05")),
    "segment pictures": Case(masked_pictures, "unet:width=0.05", ("--image-size", "32", "--augment", "flip")),
    "segment volumes": Case(slices_of_tissue, "vnet:width=0.1", ("--validation", "0.0")),
    "localize pictures": Case(scenes, "localizer:width=0.1", ("--epochs", "0.05")),
    "keypoints pictures": Case(with_points, "facial_points:width=0.1,hidden=10"),
    "regress pictures": Case(roads, "pilotnet:width=0.2", ("--epochs", "0.05")),
    "regress words": Case(measured(texts), "text_cnn:width=0.1,vector=8"),
    "regress characters": Case(measured(texts), "char_cnn:width=0.05", ("--inputs", "characters:length=150")),
    "regress bases": Case(measured(sequences), "deepbind"),
    "regress spectrogram": Case(measured(recordings), "keras_fcn:width=0.25"),
    "regress waveform": Case(measured(recordings), "ts_fcn:width=0.1", SMALL_WAVEFORM),
    "regress series": Case(measured(series_in_files), "ts_resnet:width=0.1"),
    "restore pictures": Case(plain_pictures, "denoising_unet:width=0.1", ("--image-size", "32")),
    "colorize pictures": Case(
        plain_pictures, "colorization:width=0.05", ("--image-size", "32", "--task", "colorize", "--channels", "3")
    ),
    "generate waveform": Case(
        recordings,
        "wavenet:stacks=1,layers=4,residual=8,skip=8",
        ("--task", "generate:seconds=0.01", "--inputs", "waveform:rate=2000,seconds=0.2"),
    ),
    "transcribe pictures": Case(lines_of_digits, "crnn:width=0.1", ("--epochs", "0.05")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_way_for_all(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    data, files = case.make(tmp_path)
    recipe = ["--model", case.model, "--epochs", "1", "--batch-size", "4", "--device", "cpu", *case.options]
    main(["train", "--data", data, *recipe, "--out", str(tmp_path / "runs")])
    (run,) = (tmp_path / "runs").iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == f"run: {run}"
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    found = evaluate_run(run, device="cpu", resamples=10)
    summary = found.scores.summary()
    stored = json.loads((run / "model.json").read_text(), parse_constant=pytest.fail)["scores"]
    assert stored == {key: value if math.isfinite(value) else None for key, value in summary.items()}
    assert next(iter(summary)) == "n"
    assert set(found.intervals) == set(summary) - {"n", *getattr(found.scores, "fixed", ())}
    model, card = load(run)
    lines = answer_files(model, card, files, tmp_path / "answers")
    with (tmp_path / "answers" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [line["file"] for line in lines]
    assert all((tmp_path / "answers" / saved).is_file() for line in lines for saved in line["saved"])
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}
    assert answer_files(model, card, files, tmp_path / "answers") == lines  # what is there is not computed again
    assert {path.name for path in written} == {path.name for path in (tmp_path / "answers").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_training_goes_on_bit_by_bit(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    data, _ = case.make(tmp_path)
    given = dict(
        zip([o.removeprefix("--").replace("-", "_") for o in case.options[::2]], case.options[1::2], strict=True)
    )
    given = {
        k: (v,) if k == "augment" else float(v) if k in ("epochs", "validation") else int(v) if v.isdigit() else v
        for k, v in given.items()
    }
    recipe = Recipe(**({"model": case.model, "data": data, "epochs": 3, "batch_size": 4, "device": "cpu"} | given))
    models = []
    for stop in (None, 2):
        session = open_session(recipe)
        for step in fit(session.model, session.task, session.data, session.recipe):
            if step.number == stop:
                step.save(tmp_path / "checkpoint.safetensors")
                break
        if stop is not None:
            session = open_session(recipe)
            for _ in fit(
                session.model, session.task, session.data, session.recipe, resume=tmp_path / "checkpoint.safetensors"
            ):
                pass
        models.append(session.model.state_dict())
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_every_task_has_a_case_with_every_kind_of_input_that_a_source_has_for_it(tmp_path: Path) -> None:
    cases, labels = set(), set()
    for name, case in CASES.items():
        (tmp_path / name).mkdir()
        spec, _ = case.make(tmp_path / name)
        given, source = dict(zip(case.options[::2], case.options[1::2], strict=True)), find_source(spec)
        task, inputs = given.get("--task", source.task), given.get("--inputs", source.inputs)
        cases.add(f"{task.partition(':')[0]} {inputs.partition(':')[0]}")
        assert name.partition(",")[0] in cases
        if source.kind == "sequences" and (meaning := read_source(spec).meaning).kind == "labels":
            labels.add(min(len(meaning.names), 2))
    assert cases == set(combinations())
    assert {case.partition(" ")[0] for case in cases} == set(TASKS)
    assert labels == {1, 2}  # one, and several


def combinations() -> Iterator[str]:
    """Each source's task (a table has several) with each kind of input that reads its items, and the rest."""
    for source in SOURCES.values():
        found = [(source.kind, source.task)]
        if source.of is not None:
            lies = {task for meaning, task in table.TASKS.items() if meaning in ("box", "points")}
            found = [(k, t) for k in table.INPUTS for t in table.TASKS.values() if k == "pictures" or t not in lies]
        for kind, task in found:
            yield from (f"{task.partition(':')[0]} {i.name}" for i in INPUTS.values() if kind in i.reads)
    yield from ("colorize pictures", "generate waveform")  # tasks of no source, which say themselves what they read
