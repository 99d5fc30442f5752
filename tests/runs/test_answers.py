"""Predictions in a folder: all of them, those that are left, and what must not be mixed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import striate
from striate.data import Bases, Framing, Input, Meaning, Pictures, Series, Volumes, Waveform, Words
from striate.errors import InputError, StorageError
from striate.ops.color import srgb_to_lab
from striate.runs import Card, answer_files, predict
from striate.runs.answers import LINES, TABLE
from striate.tasks import Classify, Colored, FindKeypoints, Localize

BOX = Localize(("cat",), (8, 8), convention="upper_left")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("a.png", "b.png", "b/a.png", "c.png")]
    (tmp_path / "b").mkdir()
    for k, file in enumerate(made):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (12, 12), dtype=np.uint8)).save(file)
    return made


def test_an_interrupted_run_goes_on(run_folder: Path, files: list[Path], tmp_path: Path) -> None:
    model, card = striate.load(run_folder)
    whole = answer_files(model, card, files, tmp_path / "whole", top_k=2)
    parts = tmp_path / "parts"
    answer_files(model, card, files[:2], parts, top_k=2)
    with (parts / LINES).open("a") as lines:
        lines.write('{"file": "half')  # killed while it wrote
    seen = []
    found = answer_files(model, card, files, parts, top_k=2, progress=lambda *told: seen.append(told))
    assert found == whole
    assert seen == [(1, 2, "predicting"), (2, 2, "predicting")]
    assert (parts / TABLE).read_bytes() == (tmp_path / "whole" / TABLE).read_bytes()
    with (parts / TABLE).open() as table:
        rows = list(csv.DictReader(table))
    expected = predict(model, card, files, top_k=2)
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert [row["class"] for row in rows] == [prediction.classes[0] for prediction in expected]
    assert [json.loads(line)["classes"] for line in (parts / LINES).read_text().splitlines()] == [
        list(prediction.classes) for prediction in expected
    ]


def test_what_must_not_be_mixed(run_folder: Path, files: list[Path], tmp_path: Path) -> None:
    model, card = striate.load(run_folder)
    answer_files(model, card, files[:1], tmp_path / "out", top_k=2)
    with pytest.raises(InputError, match="predictions of another model or with other options: .*Choose another --out"):
        answer_files(model, card, files, tmp_path / "out", top_k=3)
    with pytest.raises(InputError, match=r"a file is given twice: got .*a\.png"):
        answer_files(model, card, [files[0], files[0]], tmp_path / "twice")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file.*Choose another --out"):
        answer_files(model, card, files, tmp_path / "file")
    with pytest.raises(InputError, match="no such file or folder: .*nowhere"):
        answer_files(model, card, [*files, tmp_path / "nowhere.png"], tmp_path / "out2", batch_size=1)
    assert not (tmp_path / "out2").exists()  # it is told before anything is computed


def test_interrupted_anywhere_the_bytes_are_the_same(run_folder: Path, tmp_path: Path) -> None:
    """Within a batch, too, whose last digits depend on what is computed together."""
    model, card = striate.load(run_folder)
    files = [tmp_path / f"{k}.png" for k in range(11)]
    for k, file in enumerate(files):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (12, 12), dtype=np.uint8)).save(file)
    whole = tmp_path / "whole"
    answer_files(model, card, files, whole, batch_size=7)
    for stop in (1, 5, 8):
        parts = tmp_path / f"stopped at {stop}"

        def interrupt(number: int, *_: object, stop: int = stop) -> None:
            if number == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            answer_files(model, card, files, parts, batch_size=7, progress=interrupt)
        assert len((parts / LINES).read_text().splitlines()) == stop
        answer_files(model, card, files, parts, batch_size=7)
        assert {f.name: f.read_bytes() for f in parts.iterdir()} == {f.name: f.read_bytes() for f in whole.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_has_changed_since_is_answered_again(tmp_path: Path) -> None:
    """With what was saved for it; told, and ending in the bytes of a run on the files as they are now."""
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for k, file in enumerate(files):
        Image.new("L", (8, 8), 60 * k).save(file)
    card = Card("none", {}, Meaning("box", ("cat",)), Pictures((1, 8, 8), (0.5,), (0.25,)), BOX.json())
    model, said = Says(0.25, 0.5, 0.5, 0.5, 9.0, 0.0), []
    answer_files(model, card, files, tmp_path / "out", say=said.append)
    answer_files(model, card, files, tmp_path / "out", say=said.append)
    assert said == []
    Image.new("L", (20, 10), 255).save(files[1])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_files(model, card, files, tmp_path / "out", progress=interrupt)
    Image.new("L", (10, 20), 255).save(files[2])

    answer_files(model, card, files, tmp_path / "out", say=said.append)
    assert said == ["1 of 3 items have changed since and are answered again"]
    answer_files(model, card, files, tmp_path / "new")
    assert contents(tmp_path / "out") == contents(tmp_path / "new")
    files[1].write_bytes(b"no picture")
    answer_files(model, card, files, tmp_path / "out", skip_corrupt=True)
    assert {f.name for f in (tmp_path / "out").iterdir()} == {LINES, TABLE, "a.png", "a.json", "c.png", "c.json"}


class Sums(nn.Module):
    """A network whose score for the first of two classes is the sum of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.01))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self.weight * x.flatten(1).float().sum(1)
        return torch.stack([total, -total], 1)


def card_of(kind: Input, *names: str) -> Card:
    task = Classify(names, multi_label=len(names) == 1)
    return Card("none", {}, Meaning("class", names), kind, task.json())


def test_lines_that_have_changed_or_gone_and_errors_of_texts(tmp_path: Path) -> None:
    card, file, said = card_of(Words(("good", "bad"), 12), "yes", "no"), tmp_path / "new.txt", []
    file.write_text("good\nbad\nbad\n")
    before = answer_files(Sums(), card, [file], tmp_path / "out")
    file.write_text("good\nbad bad\n")
    after = answer_files(Sums(), card, [file], tmp_path / "out", say=said.append)
    assert said == [
        "answers removed, of items that are no longer in their files: 1",
        "1 of 2 items have changed since and are answered again",
    ]
    assert (after[0], len(after)) == (before[0], 2)
    assert after[1]["probabilities"] != before[1]["probabilities"]
    assert contents(tmp_path / "out").keys() == {LINES, TABLE}
    assert answer_files(Sums(), card, [file], None) == [
        {key: line[key] for key in line if key not in ("saved", "stem", "digest", "by")} for line in after
    ]
    file.write_text("good\n\nbad\n")
    match = rf"a text without words: {file}, line 2: got ''. Remove it. Or leave out .* --skip-corrupt"
    with pytest.raises(InputError, match=match):
        answer_files(Sums(), card, [file], tmp_path / "out")
    file.write_bytes(b"\xff")
    (line,) = answer_files(Sums(), card, [file], tmp_path / "out", skip_corrupt=True)
    assert line["error"] == f"this is no text: {file}, line 1: expected utf-8. Save it as UTF-8."
    assert len((tmp_path / "out" / LINES).read_text().splitlines()) == 1
    file.write_bytes(b"")
    with pytest.raises(InputError, match=f"a file without items: {file}. Or leave out"):
        answer_files(Sums(), card, [file], tmp_path / "out")


def test_a_broken_file_among_others(tmp_path: Path) -> None:
    """It stops a run or is a line with its error; repaired, all bytes are those of a run without it."""
    files = [tmp_path / f"{name}.png" for name in "abcd"]
    for k, file in enumerate(files):
        Image.new("L", (8, 8), 60 * k).save(file)
    card = card_of(Pictures((1, 8, 8), (0.5,), (0.25,)), "yes", "no")
    answer_files(Sums(), card, files, tmp_path / "new", skip_corrupt=True)
    whole = files[2].read_bytes()
    files[2].write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"cannot decode an image: .*c\.png: got .* Or leave out .* --skip-corrupt"):
        answer_files(Sums(), card, files, tmp_path / "out")
    assert len((tmp_path / "out" / LINES).read_text().splitlines()) == 2  # those before it in its batch
    lines = answer_files(Sums(), card, files, tmp_path / "out", skip_corrupt=True)
    assert [line["file"] for line in lines if "error" in line] == [str(files[2])]
    with (tmp_path / "out" / TABLE).open() as table:
        rows = list(csv.DictReader(table))
    assert [row["error"] != "" for row in rows] == [False, False, True, False]
    assert rows[2]["error"].startswith(f"cannot decode an image: {files[2]}: got UnidentifiedImageError")
    with pytest.raises(InputError, match="cannot decode an image"):
        answer_files(Sums(), card, files, tmp_path / "out")  # an error is no answer
    files[2].write_bytes(whole)
    answer_files(Sums(), card, files, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "new")
    files[2].unlink()
    with pytest.raises(InputError, match=f"no such file or folder: {files[2]}. Check the path."):
        answer_files(Sums(), card, files[2:3], None, skip_corrupt=True)


def test_a_letter_that_is_no_base_costs_its_windows(tmp_path: Path) -> None:
    (tmp_path / "few.fa").write_text(">chr1\n" + "ACGT" * 3 + "R" + "ACGT" * 3 + "\n")
    card = card_of(Bases(4), "bound")
    lines = answer_files(Sums(), card, [tmp_path / "few.fa"], tmp_path / "out", skip_corrupt=True)
    broken = [line["file"].rpartition(":")[2] for line in lines if "error" in line]
    assert broken == ["10-14", "12-16"]
    assert all("few.fa, chr1, position 13: expected A" in line["error"] for line in lines if "error" in line)
    track = [row.split("\t")[1:3] for row in (tmp_path / "out" / "bound.bedGraph").read_text().splitlines()[1:]]
    covered = {place for start, end in track for place in range(int(start), int(end))}
    assert covered == set(range(25)) - {12, 13}


def test_tracks_are_those_of_the_lines(tmp_path: Path) -> None:
    """One for all sequences, or one a file where names meet; none stays that nothing stands behind any more."""
    card, files, out = card_of(Bases(4), "bound"), [tmp_path / "a.fa", tmp_path / "b.fa"], tmp_path / "out"
    for file, name in zip(files, ("chr1", "chr2"), strict=True):
        file.write_text(f">{name}\nACGTACGT\n")
    answer_files(Sums(), card, files, out)
    assert [path.name for path in out.glob("*.bedGraph")] == ["bound.bedGraph"]
    files[1].write_text(">chr1\nTTTTTTTT\n")
    answer_files(Sums(), card, files, out)
    tracks = sorted(out.glob("*.bedGraph"))
    assert [path.name[-13:] for path in tracks] == ["a.fa.bedGraph", "b.fa.bedGraph"]
    assert all([row[:4] for row in path.read_text().splitlines()[1:]] == ["chr1"] * 3 for path in tracks)
    (out / "own.bedGraph").write_text("chr1\t0\t1\t1\n")
    for file in files:
        file.write_text(">chr1\nACGT\n")
    answer_files(Sums(), card, files, out)
    assert [path.name for path in out.glob("*.bedGraph")] == ["own.bedGraph"]


def test_tables_of_series_line_by_line(tmp_path: Path) -> None:
    card, file, said = card_of(Series(1, 3), "yes", "no"), tmp_path / "a.tsv", []
    file.write_text("?\t1\t2\t4\n1\t\t2\t3\n2\t3\t1\t2\n")
    lines = answer_files(Sums(), card, [file], tmp_path / "out", skip_corrupt=True, say=said.append)
    assert [line.get("error", "") != "" for line in lines] == [False, True, False]
    assert lines[1]["error"].startswith(f"a time series: {file}, line 2: expected a label, then values, got an empty")
    assert said == [f"{file} is a table: the first value of each line is taken for its label"]
    file.write_text("1\t2\t4\n")
    (line,) = answer_files(Sums(), card, [file], tmp_path / "out", say=said.append)
    assert line["file"] == str(file)
    assert said[1:] == [
        f"{file} is one series, without a label",
        "answers removed, of items that are no longer in their files: 3",
    ]


def test_answers_are_not_written_among_the_files(files: list[Path], tmp_path: Path) -> None:
    card = card_of(Pictures((1, 8, 8), (0.5,), (0.25,)), "yes", "no")
    for given in (files[0], tmp_path):
        with pytest.raises(InputError, match=f"would be written among the files .*: {tmp_path}. Choose another"):
            answer_files(Sums(), card, [given], tmp_path)


def test_a_folder_is_the_files_in_it(files: list[Path], tmp_path: Path) -> None:
    card, said = card_of(Pictures((1, 8, 8), (0.5,), (0.25,)), "yes", "no"), []
    (tmp_path / "notes.md").touch()
    (tmp_path / ".hidden.png").touch()
    lines = answer_files(Sums(), card, [tmp_path], None, say=said.append)
    assert [line["file"] for line in lines] == [str(files[k]) for k in (0, 1, 3)]
    assert said == [f"{tmp_path}: 3 files; left alone: b, notes.md"]
    (tmp_path / "b" / "a.png").rename(tmp_path / "b" / "a.txt")
    match = (
        "a folder without files that the network reads: .*/b: expected files for pictures, got a.txt. Name the files"
    )
    with pytest.raises(InputError, match=match):
        answer_files(Sums(), card, [tmp_path / "b"], None)


@pytest.mark.parametrize(
    ("kind", "reads", "others"),
    [
        (Pictures((1, 8, 8), (0.5,), (0.25,)), "a.PNG b.jpg", "a.txt b.wav"),
        (Volumes((1, 2, 8, 8), (0.5,), (0.25,)), "a.gif b.tif c.npz", "a.txt b.wav"),
        (Words(("a",), 9), "a.txt b.txt.gz", "a.csv b.fa"),
        (Bases(4), "a.fa b.fna.gz c.seq d.txt", "a.csv b.png"),
        (Waveform(8000, 10), "a.wav b.FLAC", "a.txt b.png"),
        (Series(1, 10), "a.csv b.npy c.tsv", "a.wav b.png"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_knows_its_files_by_their_endings(kind: Input, reads: str, others: str) -> None:
    assert all(kind.reads(Path(name)) for name in reads.split())
    assert not any(kind.reads(Path(name)) for name in others.split())


def test_the_table_has_all_that_the_folder_has(run_folder: Path, files: list[Path], tmp_path: Path) -> None:
    model, card = striate.load(run_folder)
    answer_files(model, card, files[:3], tmp_path / "out")
    assert [line["file"] for line in answer_files(model, card, files[3:], tmp_path / "out")] == [str(files[3])]
    with (tmp_path / "out" / TABLE).open() as table:
        assert [row["file"] for row in csv.DictReader(table)] == [str(file) for file in files]


class Says(nn.Module):
    """A network that answers the same to everything."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.values.expand(len(x), -1)


def test_places_are_told_in_the_pixels_of_the_picture(tmp_path: Path) -> None:
    """A 24x16 picture (turned upright: 16 wide) of which an 8x8 network sees the middle 16x16, halved."""
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    file = tmp_path / "a.jpg"
    Image.new("RGB", (24, 16)).save(file, exif=exif)
    pictures = Pictures((1, 8, 8), (0.5,), (0.25,))
    points = FindKeypoints(("corner", "middle"), (8, 8))
    card = Card("none", {}, Meaning("points", points.point_names), pictures, points.json())
    model = Says(-1.0, -1.0, 0.0, 0.0)
    (line,) = answer_files(model, card, [file], tmp_path / "points")
    assert line["points"] == {"corner": [0.5, 4.5], "middle": [8.5, 12.5]}  # whole numbers are centers of pixels
    with Image.open(tmp_path / "points" / "a.png") as drawn:
        assert drawn.width * 24 == drawn.height * 16
    (inside,) = predict(model, card, [np.zeros((8, 8), np.uint8)])
    assert inside.points == ((0.0, 0.0), (4.0, 4.0))
    card = Card("none", {}, Meaning("box", ("cat",)), pictures, BOX.json())
    (line,) = answer_files(Says(0.25, 0.5, 0.5, 0.5, 9.0, 0.0), card, [file], tmp_path / "box")
    assert line["box"] == [4.0, 12.0, 12.0, 20.0]


def test_colors_are_laid_over_the_fine_lightness(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    fine = Image.fromarray(random.integers(0, 256, (40, 60), dtype=np.uint8)).convert("RGB")
    framing = Framing((20, 20), (40, 60))
    lab = torch.cat([torch.full((1, 20, 20), 50.0), torch.full((1, 20, 20), 20.0), torch.zeros(1, 20, 20)])
    whole = torch.from_numpy(np.array(fine)).permute(2, 0, 1) / 255
    colored, _ = Colored(lab).within(framing).save(tmp_path, "a", whole)
    found = torch.from_numpy(np.array(Image.open(colored))).permute(2, 0, 1)[None] / 255
    seen = srgb_to_lab(found)[0]
    assert seen.shape == (3, 40, 60)
    assert seen[1:, :, :10].abs().max() < 1  # the network did not look there
    given = srgb_to_lab(whole[None])[0, 0]
    middle = (given > 40) & (given < 80)
    middle[:, :10] = middle[:, 50:] = False
    assert (seen[0] - given)[middle].abs().max() < 2  # every pixel keeps its own lightness
    assert (seen[1][middle] - 20).abs().mean() < 2
