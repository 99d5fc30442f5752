"""Sources of sound and of series, on files made here."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from striate.data import load_data, open_items
from striate.data.series import read_rows
from striate.data.sound import write_sound
from striate.errors import InputError

PEOPLE = ("ann", "bob", "cy")


def digits(folder: Path, count: int = 7) -> Path:
    folder.mkdir()
    time = torch.arange(400) / 8000
    for digit in range(10):
        for who, name in enumerate(PEOPLE):
            for index in range(count):
                tone = torch.sin(2 * torch.pi * (200 + 100 * digit + 20 * who) * time)
                write_sound(folder / f"{digit}_{name}_{index}.wav", tone, 8000)
    return folder


def test_spoken_digits_in_a_folder_and_in_a_tar(tmp_path: Path) -> None:
    folder = digits(tmp_path / "recordings")
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz") as archive:
        archive.add(folder, "recordings")
    options = {"inputs": "waveform:rate=8000,seconds=0.05", "validation": 0}
    both = [load_data(f"fsdd:{tmp_path / path}", **options) for path in ("recordings", "a.tar.xz")]
    for data in both:
        assert (len(data.train), len(data.test)) == (10 * 3 * 2, 10 * 3 * 5)
        assert data.test.targets.bincount().tolist() == [15] * 10
        assert {name[-5] for name in data.test.names} == set("01234")
    assert torch.equal(both[0].train.inputs, both[1].train.inputs)
    assert both[0].fingerprint() == both[1].fingerprint()


def test_folds_hold_speakers_out(tmp_path: Path) -> None:
    spec = f"fsdd:{digits(tmp_path / 'recordings')}"
    held = []
    for fold in range(3):
        data = load_data(spec, folds=3, fold=fold, validation=0)
        tested, trained = ({name.split("_")[1] for name in part.names} for part in (data.test, data.train))
        assert len(tested) == 1
        assert not tested & trained
        assert len(data.test) == 70
        held += tested
    assert sorted(held) == list(PEOPLE)


def test_spoken_digits_named_otherwise(tmp_path: Path) -> None:
    folder = digits(tmp_path / "recordings", 1)
    (folder / "seven.wav").touch()
    with pytest.raises(InputError, match=r"named \{digit\}_\{speaker\}_\{index\}.* got .*seven.wav and 0 more. Other"):
        load_data(f"fsdd:{folder}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="recordings of spoken digits: .*/empty: .* got none"):
        load_data(f"fsdd:{tmp_path / 'empty'}")
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match="cannot read the archive: .*/a.tar"):
        load_data(f"fsdd:{tmp_path / 'a.tar'}")


def sounds(root: Path) -> Path:
    for name, hertz in (("high", 2000), ("low", 200)):
        (root / name).mkdir(parents=True)
        for i in range(6):
            rate = 16000 if i == 5 else 8000
            tone = torch.sin(2 * torch.pi * hertz * torch.arange(rate // 10) / rate)
            write_sound(root / name / f"{i}.{'flac' if i % 2 else 'wav'}", tone, rate)
    return root


def test_recordings_in_class_folders(tmp_path: Path) -> None:
    root = sounds(tmp_path / "sounds")
    (root / "notes.txt").write_text("left alone")
    data = load_data(f"wav:{root}", validation=0, test=0.3)
    assert data.class_names == ("high", "low")
    assert data.preprocess.rate == 8000
    assert len(data.train) + len(data.test) == 12
    assert "high/0.wav" in (*data.train.names, *data.test.names)
    items, _ = open_items(f"wav:{root}", data.preprocess, data.meaning)
    assert len(items) == 12


def test_broken_recordings_stop_or_are_counted(tmp_path: Path) -> None:
    root = sounds(tmp_path / "sounds")
    (root / "low" / "2.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="cannot read the sound: .*/low/2.wav.*--skip-corrupt"):
        load_data(f"wav:{root}")
    data = load_data(f"wav:{root}", skip_corrupt=True, validation=0)
    assert data.skipped == ("low/2.wav",)
    assert len(data.train) + len(data.test) == 11
    (root / "low" / "2.wav").write_bytes((root / "low" / "0.wav").read_bytes()[:500])
    with pytest.raises(InputError, match="a recording was cut short: .*/low/2.wav: expected 1,600 bytes, got 456"):
        load_data(f"wav:{root}")
    assert load_data(f"wav:{root}", skip_corrupt=True, validation=0).skipped == ("low/2.wav",)


def test_recordings_without_a_label(tmp_path: Path) -> None:
    root = sounds(tmp_path / "sounds")
    with pytest.raises(InputError, match="recordings of classes lie in a folder: .*0.wav. Pass the folder"):
        load_data(f"wav:{root / 'low' / '0.wav'}")
    write_sound(root / "stray.wav", torch.zeros(80), 8000)
    with pytest.raises(InputError, match="recordings without a label: .*/sounds: .* got 1: stray.wav. Move"):
        load_data(f"wav:{root}")
    (root / "stray.wav").unlink()
    (root / "none").mkdir()
    with pytest.raises(InputError, match="a class folder without recordings: .*/none"):
        load_data(f"wav:{root}")
    with pytest.raises(InputError, match="a folder without class folders"):
        load_data(f"wav:{root / 'none'}")


def test_series_in_class_folders(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("up", "down"):
        (tmp_path / name).mkdir()
        for k in range(4):
            values = random.normal(size=(2, 7))
            np.savetxt(tmp_path / name / f"{k}.csv", values, delimiter=",")
            np.save(tmp_path / name / f"{k}.npy", values)
    data = load_data(f"series:{tmp_path}", inputs="series:normalize=none", validation=0, test=0.25)
    assert (data.class_names, data.shape, len(data.train) + len(data.test)) == (("down", "up"), (2, 7), 16)
    both = {name: row for part in (data.train, data.test) for name, row in zip(part.names, part.inputs, strict=True)}
    for name in ("up", "down"):
        torch.testing.assert_close(both[f"{name}/1.csv"], both[f"{name}/1.npy"])
    np.save(tmp_path / "up" / "9.npy", np.zeros((2, 5)))
    with pytest.raises(InputError, match="series of unequal lengths: up/9.npy: expected 7 steps, got 5"):
        load_data(f"series:{tmp_path}")
    for content, got in (("1,2\n3\n", "inhomogeneous"), ("", "no numbers"), ("1 x", "could not convert .* 'x'")):
        (tmp_path / "up" / "9.npy").unlink(missing_ok=True)
        (tmp_path / "up" / "a.txt").write_text(content)
        with pytest.raises(InputError, match=f"cannot read the series: .*up/a.txt: .* got .*{got}"):
            load_data(f"series:{tmp_path}")


def archive_set(folder: Path, train: str = "", test: str = "") -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, text in (("TRAIN", train), ("TEST", test)):
        rows = ["\t".join([f"{2 * (i % 2) - 1}", *map(str, random.normal(size=5).round(3))]) for i in range(6)]
        (folder / f"{folder.name}_{part}.tsv").write_text(text or "\n".join(rows) + "\n")
    return folder


def test_a_set_of_the_ucr_archive_in_a_folder_and_in_a_tar(tmp_path: Path) -> None:
    folder = archive_set(tmp_path / "UCR" / "Waves")
    with tarfile.open(tmp_path / "ucr.tar.gz", "w:gz") as archive:
        archive.add(folder.parent, "UCR")
    for path in (folder, f"{tmp_path / 'ucr.tar.gz'}:Waves"):
        data = load_data(f"ucr:{path}", inputs="series:normalize=none", validation=0)
        assert (len(data.train), len(data.test), data.shape, data.class_names) == (6, 6, (1, 5), ("-1", "1"))
        first = np.loadtxt(folder / "Waves_TRAIN.tsv")[0]
        assert data.train.inputs[0, 0].tolist() == pytest.approx(first[1:].tolist())
        assert data.test.names[0] == "Waves test 0"
    with pytest.raises(InputError, match="no such set in the archive: .*ucr.tar.gz: expected Waves, got Ripples"):
        load_data(f"ucr:{tmp_path / 'ucr.tar.gz'}:Ripples")
    with pytest.raises(InputError, match="a UCR set is a folder, or a set of a tar: .* Name one of its sets"):
        load_data(f"ucr:{tmp_path / 'ucr.tar.gz'}")
    (tmp_path / "b.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match="cannot read the archive: .*/b.tar"):
        load_data(f"ucr:{tmp_path / 'b.tar'}:Waves")


def test_a_set_with_missing_parts_or_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one file NAME_TRAIN.tsv, got none"):
        load_data(f"ucr:{tmp_path}")
    with pytest.raises(InputError, match="without training series: .*A_TEST.tsv, line 2: expected labels 1, got 3"):
        load_data("ucr:" + str(archive_set(tmp_path / "A", "1\t2\t3\n", "1\t2\t3\n3\t2\t3\n")))
    folder = archive_set(tmp_path / "B")
    (folder / "B_TRAIN.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="a file of time series is no text: .*B_TRAIN.tsv"):
        load_data(f"ucr:{folder}")


def test_unequal_lengths_of_a_set(tmp_path: Path) -> None:
    folder = archive_set(tmp_path / "C", "1\t1\t2\t3\n2\t1\t2\tNaN\n" * 3, "1\t1\t2\t3\n2\t5\tNaN\tNaN\n")
    with pytest.raises(InputError, match="series of unequal lengths: C train 1: expected 3 steps, got 2"):
        load_data(f"ucr:{folder}", validation=0)
    data = load_data(f"ucr:{folder}", inputs="series:pad=end,normalize=none", validation=0)
    assert data.preprocess.normalize(data.test.inputs).tolist() == [[[1, 2, 3]], [[5, 0, 0]]]


def test_a_set_with_an_empty_field(tmp_path: Path) -> None:
    folder = archive_set(tmp_path / "UCR" / "A", "1\t1\t2\n2\t2\t1\n\t1\t2\n")
    with tarfile.open(tmp_path / "ucr.tar.gz", "w:gz") as archive:
        archive.add(folder.parent, "UCR")
    for path, file in ((folder, folder / "A_TRAIN.tsv"), (tmp_path / "ucr.tar.gz:A", "ucr.tar.gz:A_TRAIN.tsv")):
        with pytest.raises(
            InputError, match=f"a time series: .*{file}, line 3: expected a label.* got an empty column 1"
        ):
            load_data(f"ucr:{path}")


ROWS = {
    "1\t2\t3\t\n1\t\t3\t\n": "here, line 2: expected a label, then values, got an empty column 2. Write NaN for a",
    "1,2,3\n,2,3\n": "a time series: here, line 2: expected a label, then values, got an empty column 1",
    "1\t2\nx\t3\n": "a time series: here, line 2: expected numbers, got 'x'",
    "1\t2\nNaN\t3\n": "a time series without a label: here, line 2: expected a number in the first column",
    "1\tNaN\n": "a time series without values: here, line 1",
    "1\t2\tinf\n": "a value that is infinite: here, line 1",
    "\n": "a file without time series: here",
}


@pytest.mark.parametrize("text", ROWS)
def test_bad_rows(text: str) -> None:
    with pytest.raises(InputError, match=ROWS[text]):
        read_rows(text, "here")


def test_rows_with_commas_or_spaces() -> None:
    for text in ("1,2,3", " 1 2  3", "1\t2\t3", "1\t2\t3\t\r\n"):
        ((_, label, values),) = read_rows(text, "here")
        assert (label, values.tolist()) == (1, [[2, 3]])
