"""Tables of users: what each becomes, and what is wrong with a bad one, in one line with its number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from striate.cli import main
from striate.data import load_data, open_items
from striate.data.sources import find_source, read_source
from striate.errors import InputError

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a table beside pictures a.png to d.png of 40x30 and gives its spec."""
    random = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")

    def written(*lines: str, encoding: str = "utf-8") -> str:
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
        return f"table:{tmp_path / 't.csv'}"

    return written


def told(spec: str) -> tuple[object, ...]:
    entry = find_source(spec)
    return entry.kind, entry.inputs, entry.task, read_source(spec).meaning.kind


def test_classes(write: Write) -> None:
    spec = write("file,label,part", "a.png,dog,train", "b.png,cat,train", "c.png,cat,test", "d.png,dog,val")
    assert told(spec) == ("pictures", "pictures", "classify", "class")
    assert find_source(spec).augment == find_source("folder").augment
    found = read_source(spec)
    assert (found.class_names, found.targets.tolist()) == (("cat", "dog"), [1, 0, 0, 1])
    assert {part: where.tolist() for part, where in found.splits.items()} == {
        "train": [0, 1], "test": [2], "validation": [3],
    }  # fmt: skip


def test_boxes_move_with_their_pictures(write: Write) -> None:
    """Pictures of 40x30 cut to the middle 30x30 and halved: 5 pixels go at the left."""
    rows = ["a.png,10,6,20,16,cat", "b.png,,,,,", "c.png,0,0,4,30,dog", "d.png,5,0,35,30,dog"]
    spec = write("file;x1;y1;x2;y2;label".replace(";", ","), *rows)
    assert told(spec) == ("pictures", "pictures", "localize", "box")
    data = load_data(spec, image_size=15, validation=0, test=0)
    right = [[2.5, 3, 5, 5, 1, 1, 0], [0] * 7, [0] * 7, [0, 0, 15, 15, 1, 0, 1]]
    torch.testing.assert_close(data.train.targets, torch.tensor(right))
    assert data.notes == (
        "1 of 3 boxes lie beside the middle of their picture, which the network sees: no object there",
    )


def test_a_picture_that_lies_on_its_side_has_its_box_upright(write: Write, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "side.jpg", exif=exif)
    found = read_source(write("file,x1,y1,x2,y2,label", "side.jpg,0,0,30,40,cat"))
    assert found.sizes.tolist() == [[40, 30]]  # type: ignore[union-attr]
    with pytest.raises(InputError, match="inside the 30x40 pixels of side.jpg"):
        read_source(write("file,x1,y1,x2,y2,label", "side.jpg,0,0,40,30,cat"))


def test_points_and_their_mirror_image(write: Write) -> None:
    spec = write("file,left_x,left_y,right_x,right_y", "a.png,10,6,20,16", "b.png,,,30,8", "c.png,39,29,1,1")
    assert told(spec) == ("pictures", "pictures", "keypoints", "points")
    data = load_data(spec, image_size=15, validation=0, test=0)
    assert (data.class_names, data.meaning.mirror) == (("left", "right"), (1, 0))
    nan = float("nan")
    right = [[[2.25, 2.75], [7.25, 7.75]], [[nan, nan], [12.25, 3.75]], [[nan, nan], [nan, nan]]]
    torch.testing.assert_close(data.train.targets, torch.tensor(right), equal_nan=True)
    assert data.notes[0].startswith("2 of 5 points lie beside the middle")
    one = read_source(write("file,x,y", "a.png,1,2"))
    assert (one.class_names, one.targets.tolist()) == (("point",), [[[1, 2]]])


def test_the_known_schemes_of_faces_are_mirrored_as_they_are(write: Write) -> None:
    columns = ",".join(f"part_{k}_{axis}" for k in range(68) for axis in "xy")
    found = read_source(write(f"file,{columns}", "a.png," + ",".join(["5"] * 136)))
    assert found.meaning.mirror[36] == 45


def test_quantities_with_semicolons_and_a_mark_of_byte_order(write: Write) -> None:
    spec = write("file;age;height", "a.png;3;1.5", "b.png;-1e2;2", encoding="utf-8-sig")
    assert told(spec) == ("pictures", "pictures", "regress", "values")
    found = read_source(spec)
    assert (found.class_names, found.targets.tolist()) == (("age", "height"), [[3, 1.5], [-100, 2]])


def test_other_items(write: Write, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    (tmp_path / "s.csv").write_text("1,2,3\n")
    assert told(write("file,label,group", "a.wav,x,anna")) == ("sound", "spectrogram", "classify", "class")
    series = write("file,speed", "s.csv,2.5")
    assert told(series) == ("series", "series", "regress", "values")
    assert read_source(series).inputs[0].tolist() == [[1, 2, 3]]
    spec = write("text,label,group", '"good, very good",1,p', "bad,0,q", "dull,0,p")
    assert told(spec) == ("text", "words", "classify", "class")
    assert read_source(spec).inputs[0] == "good, very good"
    assert read_source(spec).groups.tolist() == [0, 1, 0]  # type: ignore[union-attr]
    assert told(write("sequence,affinity", "ACGT,0.5")) == ("sequences", "bases", "regress", "values")


def test_odd_letters_and_long_fields(write: Write) -> None:
    """Only ends of lines end rows; a sequence may be longer than what Python's csv takes by itself."""
    assert read_source(write("text,label", "a good\u2028film\x0c,pos", "bad,neg")).inputs[0] == "a good\u2028film"
    assert len(read_source(write("sequence,affinity", "ACGT" * 50_000 + ",0.5")).inputs[0]) == 200_000


def test_a_model_is_tested_on_a_table_with_some_of_its_classes(write: Write) -> None:
    spec = write("file,x1,y1,x2,y2,label", "a.png,5,0,35,30,cat", "b.png,5,0,35,30,dog")
    data = load_data(spec, image_size=30, test=0, validation=0)
    other = write("file,x1,y1,x2,y2,label", "c.png,5,0,35,30,dog")
    items, _ = open_items(other, data.preprocess, data.meaning)
    assert items.targets.tolist() == [[0, 0, 30, 30, 1, 0, 1]]
    with pytest.raises(InputError, match=r"classes that the model does not know: .* got cow"):
        open_items(write("file,x1,y1,x2,y2,label", "c.png,5,0,35,30,cow"), data.preprocess, data.meaning)


def test_corrupt_pictures_are_left_out_on_request(write: Write, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    spec = write("file,x1,y1,x2,y2,label", "a.png,5,0,35,30,cat", "bad.png,1,2,3,4,cat")
    with pytest.raises(InputError, match=r"cannot decode an image: .*bad\.png"):
        load_data(spec, image_size=30, test=0, validation=0)
    data = load_data(spec, image_size=30, test=0, validation=0, skip_corrupt=True)
    assert [Path(name).name for name in data.skipped] == ["bad.png"]


BOX = "file,x1,y1,x2,y2,label"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label"], r"an empty table: .*t\.csv: expected a header, and a row for each item, got 1"),
        (
            ["fiel,label", "a.png,x"],
            r"without a column of items: .*line 1: expected .*, got fiel, label. Did you mean file",
        ),
        (["file,text,label", "a.png,x,y"], r"without a column of items: .* got file, text, label"),
        (["file,label,label", "a.png,x,y"], r"two columns of a table have one name: .*line 1: got label"),
        (["file", "a.png"], r"a table without targets: .*line 1: expected label, boxes, .*photos:FOLDER"),
        (["file,label", "a.png,x", "b.png"], r"fields of a row: .*line 3: expected 2, as the header, got 1"),
        (["file,label", "a.png,x,y"], r"fields of a row: .*line 2: expected 2, as the header, got 3"),
        (
            ["file,label", "", "a.png,x", "z.png,y"],
            r"no such file: .*line 4: got 'z\.png'. Paths count from the folder",
        ),
        (["file,label", "a.png,x", "a.png,y"], r"a file has two rows: .*line 3 and line 2: got a\.png"),
        (["file,label", "a.png,"], r"a row without a label: .*line 2"),
        (["file,label", "a.exe,x"], r"a file of no known kind: .*line 2: expected a picture, .* got 'a\.exe'"),
        (["file,label", "a.png,x", "b.wav,y"], r"files of several kinds in one table: .* got a\.png, b\.wav"),
        (
            ["file,label,age", "a.png,x,3"],
            r"columns that do not go with label: .*line 1: expected label alone, got age",
        ),
        (["file,label,part", "a.png,x,tset"], r"a part of a table: .*line 2: expected train, .* got 'tset'"),
        (["file,lable", "a.png,cat"], r"no number in a table: .*line 2, column lable: .* got 'cat'"),
        (
            ["file,age", "a.png,nan"],
            r"no number in a table: .*line 2, column age: expected a finite number .* got 'nan'",
        ),
        (["file,age", "a.png,"], r"no number in a table: .*line 2, column age: .* got ''"),
        (["file,x1,y1,x2,label", "a.png,1,2,3,c"], r"a table of boxes lacks columns: .*line 1: .* got y2"),
        ([BOX + ",age", "a.png,1,2,3,4,c,5"], r"unknown columns in a table of boxes: .*line 1: .* got age"),
        (
            [BOX, "a.png,1,2,41,4,c"],
            r"a box outside the picture: .*line 2: expected inside the 40x30 pixels of a\.png, got \(1, 2, 41, 4\)",
        ),
        ([BOX, "a.png,3,2,3,4,c"], r"a box without area: .*line 2: expected x1 < x2 and y1 < y2, got \(3, 2, 3, 4\)"),
        ([BOX, "a.png,1,2,3,4,"], r"a box without a label: .*line 2. Fill it in"),
        ([BOX, "a.png,1,,3,4,c"], r"no number in a table: .*line 2, column y1"),
        ([BOX, "a.png,1,inf,3,4,c"], r"no number in a table: .*line 2, column y1: .* got 'inf'"),
        ([BOX, "a.png,,,,,"], r"a table without any box"),
        ([BOX, "a.wav,1,2,3,4,c"], r"boxes and points lie in pictures: .*t\.csv: got sound. Name pictures"),
        (["file,nose_x,nose_y,chin_x", "a.png,1,2,3"], r"columns of a table of points: .*line 1: .* got half of chin"),
        (["file,nose_x,nose_y,age", "a.png,1,2,3"], r"columns of a table of points: .* got nose_x, nose_y, age"),
        (["file,x,y,point_x,point_y", "a.png,1,2,3,4"], r"columns of a table of points: .* got x, y, point_x, point_y"),
        (["file,nose_x,nose_y", "a.png,1,"], r"half a point: .*line 2, nose: expected x and y, or neither"),
        (["file,nose_x,nose_y", "a.png,1,30"], r"a point outside the picture: .*line 2, nose: .*, got \(1, 30\)"),
        (["text,label", ",x"], r"an empty text: .*line 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(write: Write, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_source(write(*lines))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_table(write: Write, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cannot read a table: .*t\.csv: expected a CSV file in UTF-8, got other bytes"
    ):
        read_source(write("file,label", "ä.png,x", encoding="latin-1"))
    with pytest.raises(InputError, match="a folder where a file is wanted: .*Write table:PATH"):
        read_source(f"table:{tmp_path}")
    with pytest.raises(InputError, match="no such file or folder: .*nowhere"):
        read_source(f"table:{tmp_path / 'nowhere.csv'}")
    with pytest.raises(InputError, match=r"the task does not fit the data: task localize"):
        main_of(write("file,label", "a.png,x", "b.png,y"), "--task", "localize")


def main_of(spec: str, *options: str) -> None:
    from striate.recipe import Recipe
    from striate.runs import open_session

    given = dict(zip((option[2:] for option in options[::2]), options[1::2], strict=True))
    open_session(Recipe(data=spec, model="keras_mnist:width=0.25", image_size=12, test=0, validation=0, **given))


def test_boxes_train_and_are_told_in_the_pixels_of_the_files(write: Write, tmp_path: Path) -> None:
    rows = [f"{name}.png,{k},2,{k + 20},22,{'cat' if k % 2 else 'dog'}" for k, name in enumerate("abcd", 8)]
    spec = write("file,x1,y1,x2,y2,label,part", *(row + ",train" for row in rows[:3]), rows[3] + ",test")
    recipe = ["--model", "localizer:width=0.1", "--image-size", "32", "--epochs", "1", "--validation", "0"]
    main(["train", "--data", spec, *recipe, "--device", "cpu", "--out", str(tmp_path / "runs")])
    (run,) = (tmp_path / "runs").iterdir()
    main(["evaluate", str(run), "--data", spec, "--device", "cpu"])
    main(["predict", str(run), str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--device", "cpu"])
    with Image.open(tmp_path / "out" / "a.png") as drawn:
        assert drawn.width * 30 == drawn.height * 40
