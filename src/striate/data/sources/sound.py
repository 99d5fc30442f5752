"""Recordings of one class each: the Free Spoken Digit Dataset, and folders of classes."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import numpy as np
import torch

from striate.data.items import Listing, Meaning
from striate.data.sound import SOUNDS, Packed
from striate.data.sources.folders import in_class_folders
from striate.data.sources.registry import source
from striate.errors import InputError

DIGIT = re.compile(r"([0-9])_([^_]+)_([0-9]+)\.wav")
TESTED = 5  # recordings of each digit and speaker


@source("fsdd", kind="sound", inputs="spectrogram:rate=8000,seconds=1", augment=("delay:0.1", "gain:6"))
def fsdd(path: Path) -> Listing:
    """Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers; PATH is their folder or a tar of it.

    Files are named {digit}_{speaker}_{index}.wav. Indices 0 to 4 are the test part, as its authors have it; speakers
    are the groups, so that folds hold speakers out. Source: Z. Jackson, "Free spoken digit dataset" (2016).
    """
    files = _packed(path) if path.is_file() else tuple(sorted(path.rglob("*.wav")))
    found = [(match, file) for file in files if (match := DIGIT.fullmatch(Path(str(file)).name))]
    others = [str(file) for file in files if not DIGIT.fullmatch(Path(str(file)).name)]
    if others or not found:
        raise InputError(
            "recordings of spoken digits",
            where=path,
            expected="files named {digit}_{speaker}_{index}.wav, 3_theo_17.wav say",
            got=f"{others[0]} and {len(others) - 1} more" if others else "none",
            fix="Other recordings are read with wav:PATH, one sub-folder per class." if others else "",
        )
    digits, speakers, indices = (np.array(column) for column in zip(*(m.groups() for m, _ in found), strict=True))
    tested = indices.astype(int) < TESTED
    parts = {"train": np.flatnonzero(~tested), "test": np.flatnonzero(tested)}
    _, groups = np.unique(speakers, return_inverse=True)
    return Listing(
        tuple(file for _, file in found),
        torch.from_numpy(digits.astype(np.int64)),
        Meaning("class", tuple("0123456789")),
        tuple(match.group(0) for match, _ in found),
        {name: positions for name, positions in parts.items() if len(positions)},
        torch.from_numpy(groups.astype(np.int64)),
    )


@source("wav", kind="sound", inputs="spectrogram", augment=("delay:0.1", "gain:6"))
def wav(path: Path) -> Listing:
    """Recordings in one sub-folder per class under PATH, or under PATH/train, PATH/test and PATH/validation.

    Wav, flac, ogg and what else libsndfile reads. A folder whose name begins with a dot is left alone, as are files
    that are no sound by their ending; a class folder without sound, and sound outside the class folders, raise
    InputError.
    """
    found = in_class_folders(path, _sounds, "recordings")
    names = tuple(str(file.relative_to(path)) for file in found.files)
    return Listing(found.files, found.labels, found.meaning, names, found.splits)


def _sounds(root: Path, deep: bool) -> list[Path]:
    paths = root.rglob("*") if deep else root.glob("*")
    return sorted(p for p in paths if p.suffix.lower() in SOUNDS and p.is_file())


def _packed(path: Path) -> tuple[Packed, ...]:
    """The wav files of a tar, however it is compressed."""
    files = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".wav"):
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    files.append(Packed(member.name, content.read()))
    except (tarfile.TarError, OSError, EOFError) as error:
        fix = "Pass the folder of the recordings, or a whole tar of it."
        raise InputError("cannot read the archive", where=path, got=str(error), fix=fix) from None
    return tuple(sorted(files, key=lambda file: Path(file.name).name))
