"""Tables of points on faces: written here in both formats, read back, and every error's text."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data.faces import MIRROR_15, MIRROR_68, cut, mirror_of, read_kaggle, read_landmarks
from striate.errors import InputError
from striate.zoo.landmarks import POINTS, POINTS_68

NAMES = ("part_0", "part_1", "part_2")
HEADER = ["image_name", *(f"{name}_{axis}" for name in NAMES for axis in "xy")]
ROWS = [["a.png", 30, 20, 50, 20, 40, 44], ["b.png", 10, 10, 22, 10, 16, 25]]


def write_faces(folder: Path, rows: list[list[object]], header: list[str] = HEADER) -> Path:
    """A picture of a white dot at each point, 80 wide and 60 high, and the table."""
    folder.mkdir()
    for row in rows:
        pixels = np.zeros((60, 80), np.uint8)
        for x, y in np.array(row[1:7], dtype=object).reshape(-1, 2):
            if isinstance(x, int) and 0 <= x < 80 and 0 <= y < 60:
                pixels[y, x] = 255
        Image.fromarray(pixels).save(folder / str(row[0]))
    with (folder / "points.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder


def test_points_lie_on_what_they_mark_after_the_crop(tmp_path: Path) -> None:
    faces = read_landmarks(write_faces(tmp_path / "faces", ROWS), side=48)
    assert (faces.point_names, faces.names, mirror_of(faces.point_names)) == (NAMES, ("a.png", "b.png"), ())
    assert faces.pictures.shape == (2, 1, 48, 48)
    for picture, points in zip(faces.pictures[:, 0].float(), faces.points, strict=True):
        for x, y in points.tolist():
            top, left = round(y) - 3, round(x) - 3
            window = picture[top : top + 7, left : left + 7]
            rows, columns = torch.meshgrid(torch.arange(7) + top, torch.arange(7) + left, indexing="ij")
            weight = window.sum()
            assert ((window * columns).sum() / weight).item() == pytest.approx(x, abs=0.35)
            assert ((window * rows).sum() / weight).item() == pytest.approx(y, abs=0.35)
    # 20 by 24 points: the longer side and a fifth of it on each side fill the crop.
    extent = faces.points[0].amax(0) - faces.points[0].amin(0)
    assert extent.max().item() == pytest.approx(48 / 1.4, abs=0.01)


def test_a_tar_is_read_as_its_folder(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "faces", ROWS)
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(folder, "faces")
    packed, plain = read_landmarks(tmp_path / "faces.tar"), read_landmarks(folder)
    assert torch.equal(packed.pictures, plain.pictures)
    assert torch.equal(packed.points, plain.points)
    assert packed.names == plain.names


def test_a_crop_reaches_over_the_border_with_its_edge() -> None:
    pixels = np.full((20, 20), 7, np.uint8)
    crop, points = cut(pixels, np.array([[-1.0, 0.0], [19.0, 20.0]]), 40)
    assert (crop == 7).all()
    assert points[0] == pytest.approx(39 - points[1])


def test_two_faces_in_one_picture_and_a_point_cut_off_by_the_border(tmp_path: Path) -> None:
    rows = [*ROWS, ["a.png", -4, 20, 50, 20, 40, 62]]
    faces = read_landmarks(write_faces(tmp_path / "faces", rows))
    assert faces.names == ("a.png", "b.png", "a.png (line 4)")


@pytest.mark.parametrize(
    ("rows", "header", "text"),
    [
        ([["a.png", 30, 20, 50, 20, 40, 67]], HEADER, r"a point outside the picture: .*points.csv, line 2, a.png, "
         r"part_2: expected inside 80x60 pixels, got \(40, 67\)"),
        ([["a.png", 90, 20, 50, 20, 40, 44]], HEADER, r"line 2, a.png, part_0: .* got \(90, 20\)"),
        ([ROWS[0], ROWS[1][:5]], HEADER, "a ragged row: .*, line 3: expected 7 fields, got 5"),
        ([["a.png", 30, 20, "x", 20, 40, 44]], HEADER, "no coordinate: .*line 2, column 4: expected a number, got 'x'"),
        ([["a.png", 30, 20, "nan", 20, 40, 44]], HEADER, "no coordinate: .*, line 2, column 4: .* got 'nan'"),
        (ROWS, [*HEADER[:5], "u", "v"], "a header that names no points: .*: expected pairs of NAME_x,NAME_y"),
        ([], HEADER, "an empty table of points: .*: expected a header and a row for each picture"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(tmp_path: Path, rows: list[list[object]], header: list[str], text: str) -> None:
    folder = write_faces(tmp_path / "faces", rows, header)
    with pytest.raises(InputError, match=text):
        read_landmarks(folder)


def test_rows_and_pictures_must_fit(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "faces", ROWS)
    (folder / "b.png").rename(folder / "c.png")
    with pytest.raises(InputError, match=r"rows without their picture: .*points.csv: got 1 \(b.png\). Add or remove"):
        read_landmarks(folder)
    (folder / "c.png").rename(folder / "b.png")
    Image.new("L", (4, 4)).save(folder / "extra.png")
    with pytest.raises(InputError, match=r"pictures without a row of points: .*: got 1 \(extra.png\)"):
        read_landmarks(folder)
    (folder / "extra.png").unlink()
    (folder / "a.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot decode a picture: a.png: got cannot identify"):
        read_landmarks(folder)
    (folder / "points.csv").unlink()
    with pytest.raises(
        InputError, match="no single table of points: .*expected one .csv beside the pictures, got none"
    ):
        read_landmarks(folder)
    (tmp_path / "faces.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match="no tar of pictures: .*Pass the faces' folder or tar"):
        read_landmarks(tmp_path / "faces.tar")


@pytest.mark.parametrize(("mirror", "count"), [(MIRROR_68, 68), (MIRROR_15, 15)])
def test_mirror_partners_are_each_others(mirror: tuple[int, ...], count: int) -> None:
    assert sorted(mirror) == list(range(count))
    assert all(mirror[mirror[i]] == i for i in range(count))


def test_mirror_partners_by_name() -> None:
    assert mirror_of(POINTS) == MIRROR_15
    assert mirror_of(POINTS_68) == MIRROR_68
    swapped = {POINTS[i]: POINTS[MIRROR_15[i]] for i in range(15)}
    assert swapped["left_eye_inner_corner"] == "right_eye_inner_corner"
    assert swapped["mouth_right_corner"] == "mouth_left_corner"
    assert swapped["nose_tip"] == "nose_tip"
    assert MIRROR_68[36] == 45  # the eyes' outer corners
    assert MIRROR_68[30] == 30  # the tip of the nose


def test_the_faces_are_nearly_mirror_images_on_average(shared_data: Path) -> None:
    faces = read_landmarks(shared_data / "face-landmarks68" / "faces.tar")
    assert faces.points.shape == (69, 68, 2)
    mean = faces.points.mean(0)
    mirrored = torch.stack([95 - mean[:, 0], mean[:, 1]], 1)
    assert (mirrored[list(MIRROR_68)] - mean).norm(dim=1).max() < 1.5  # a wrong pair is 5 to 60 pixels off
    assert ((faces.points > 10) & (faces.points < 86)).all()


def write_kaggle(path: Path, change: Callable[[list[list[str]]], object] = list) -> Path:
    """Three pictures of 4x4 and two points, the second point of line 3 missing."""
    rows = [
        ["left_eye_center_x", "left_eye_center_y", "nose_tip_x", "nose_tip_y", "Image"],
        ["1.5", "2", "3", "0.25", " ".join(map(str, range(16)))],
        ["1", "2", "", "", " ".join(["255"] * 16)],
        ["0", "0", "3.9", "3.9", " ".join(["0"] * 16)],
    ]
    change(rows)
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path.write_text(text.getvalue())
    return path


def test_kaggles_table(tmp_path: Path) -> None:
    faces = read_kaggle(write_kaggle(tmp_path / "training.csv"))
    assert faces.point_names == ("left_eye_center", "nose_tip")
    assert torch.equal(faces.pictures[0, 0], torch.arange(16, dtype=torch.uint8).view(4, 4))
    assert faces.points[0].tolist() == [[1.5, 2], [3, 0.25]]
    assert faces.points[1].isnan().tolist() == [[False, False], [True, True]]
    assert faces.names[1] == "training.csv line 3"


def replaced(line: int, column: int, text: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[line - 1][column] = text

    return change


@pytest.mark.parametrize(
    ("line", "column", "value", "text"),
    [
        (1, 4, "Picture", "no facial keypoints: .*: expected a last column Image, got Picture"),
        (1, 1, "left_y", "a header that names no points"),
        (3, 1, "", "half a point: .*training.csv, line 3, left_eye_center: expected x and y, or neither"),
        (
            2,
            0,
            "7",
            r"a point outside the picture: .*left_eye_center: expected inside 4x4 pixels, got \(7, 2\)",
        ),
        (2, 0, "a", "no coordinate: .*, line 2, column 1: expected a number, got 'a'"),
        (4, 4, "1 2 3", "no square picture: .*line 4, Image: expected 96x96 = 9216 grey values, got 3"),
        (4, 4, "", "no square picture: .*line 4, Image: .* got 0"),
        (4, 4, "1 2 3 300", "no grey values: .*line 4, Image: expected 0 to 255, got 300"),
        (4, 4, "1 2 3 -4", "no grey values: .*line 4, Image: expected 0 to 255, got -4"),
        (4, 4, "1 2 3 z", "no grey values: .*line 4, Image: expected whole numbers"),
        (4, 4, "1 2 3 4", "pictures of different sizes: .*line 4: expected 4x4, got 2x2"),
    ],
)
def test_kaggles_table_that_cannot_be_used(tmp_path: Path, line: int, column: int, value: str, text: str) -> None:
    path = write_kaggle(tmp_path / "training.csv", replaced(line, column, value))
    with pytest.raises(InputError, match=text):
        read_kaggle(path)


def test_ragged_rows_of_kaggles_table(tmp_path: Path) -> None:
    path = write_kaggle(tmp_path / "training.csv", lambda rows: rows[2].pop(0))
    with pytest.raises(InputError, match="a ragged row: .*, line 3: expected 5 fields, got 4"):
        read_kaggle(path)
