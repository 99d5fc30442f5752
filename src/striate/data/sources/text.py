"""Sources of texts with a class each: movie reviews, and files of lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from striate.data.items import Listing, Meaning
from striate.data.sequences import read_lines
from striate.data.sources.registry import source
from striate.errors import InputError

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
# For each class, what each text is called and the text.
Texts = Mapping[str, Sequence[tuple[str, str]]]


@source("rt_polarity", kind="text", inputs="words:alphabet=ascii")
def rt_polarity(path: Path) -> Listing:
    """Movie reviews: 5,331 negative and 5,331 positive sentences; PATH is the folder of rt-polarity.neg and .pos.

    One sentence a line in Latin-1; no test set of its own (Kim 2014 takes ten folds). Its words are by default those of
    Kim's code, of letters in ASCII. Source: Pang & Lee 2005.
    """
    texts = {}
    for name, ending in (("negative", "neg"), ("positive", "pos")):
        file = path / f"rt-polarity.{ending}"
        if not file.is_file():
            raise InputError("a file of movie reviews is missing", where=file, fix="Pass the folder that holds both.")
        texts[name] = _lines_of(file, "latin-1")
    return _listing({"train": texts})


@source("imdb", kind="text", inputs="words:keep=10000,length=400,padding=0,align=end")
def imdb(path: Path) -> Listing:
    """Movie reviews of IMDB: 25,000 for training, 25,000 for test; PATH is the folder aclImdb.

    It holds train/pos, train/neg, test/pos and test/neg with a text file a review; its unlabeled train/unsup is left
    out. Marks of line breaks (<br />) become blanks. Source: Maas et al. 2011.
    """
    parts: dict[str, Texts] = {}
    for part in ("train", "test"):
        texts = {}
        for name, folder in (("negative", "neg"), ("positive", "pos")):
            files = sorted((path / part / folder).glob("*.txt"))
            if not files:
                fix = "Pass the folder aclImdb, which holds train and test."
                raise InputError("no reviews", where=path / part / folder, expected="*.txt", fix=fix)
            reviews = [(str(file), " ".join(read_lines(file)).replace("<br />", " ")) for file in files]
            texts[name] = [(where, _filled(review, where)) for where, review in reviews]
        parts[part] = texts
    return _listing(parts)


@source("lines", kind="text", inputs="words")
def lines(path: Path) -> Listing:
    """Texts of your own, one a line: PATH is a folder with a file a class, or a file of class, tab, text.

    The folder holds CLASS.txt files (or CLASS.txt.gz), or such folders train, test and validation; a file may be packed
    with gzip. Text is UTF-8.
    """
    if path.is_file():
        return _listing({"train": _table(path)})
    return _listing({part: _files(folder) for part, folder in parts_of(path).items()})


def parts_of(path: Path) -> dict[str, Path]:
    """The folders train, validation (or val) and test of a folder; or itself as the training part, without any."""
    found = {part: path / name for name, part in SPLITS.items() if (path / name).is_dir()}
    if found and "train" not in found:
        raise InputError("no training part", where=path, expected="a folder train", got=", ".join(found))
    return found or {"train": path}


def _files(folder: Path) -> Texts:
    files = sorted(file for file in folder.iterdir() if file.name.removesuffix(".gz").endswith(".txt"))
    if not files:
        fix = "Put the texts of each class into a file named after it, one a line."
        raise InputError("no files of texts", where=folder, expected="CLASS.txt", fix=fix)
    return {file.name.removesuffix(".gz").removesuffix(".txt"): _lines_of(file) for file in files}


def _table(path: Path) -> Texts:
    texts: dict[str, list[tuple[str, str]]] = {}
    for where, line in _lines_of(path):
        name, tab, text = line.partition("\t")
        if not tab or not name.strip():
            raise InputError("a line without a class", where=where, expected="class, tab, text", got=repr(line[:40]))
        texts.setdefault(name.strip(), []).append((where, _filled(text, where)))
    return dict(sorted(texts.items()))


def _lines_of(path: Path, encoding: str = "utf-8") -> list[tuple[str, str]]:
    """Each line of a file and what it is called."""
    found = [(f"{path}, line {i}", line) for i, line in enumerate(read_lines(path, encoding), 1)]
    if not found:
        raise InputError("a file without texts", where=path, expected="one text a line")
    return [(where, _filled(line, where)) for where, line in found]


def _filled(text: str, where: str) -> str:
    """The text; InputError for an empty one."""
    if not text.strip():
        raise InputError("an empty text", where=where, fix="Remove it.")
    return text


def _listing(parts: Mapping[str, Texts]) -> Listing:
    classes = tuple(parts["train"])
    inputs: list[str] = []
    names: list[str] = []
    targets: list[int] = []
    splits = {}
    for part, texts in parts.items():
        strangers = sorted(set(texts) - set(classes))
        if strangers:
            expected = ", ".join(classes)
            raise InputError("classes without training texts", where=part, expected=expected, got=", ".join(strangers))
        first = len(inputs)
        for label, name in enumerate(classes):
            for where, text in texts.get(name, ()):
                inputs.append(text)
                names.append(where)
                targets.append(label)
        splits[part] = np.arange(first, len(inputs))
    return Listing(tuple(inputs), torch.tensor(targets), Meaning("class", classes), tuple(names), splits)
