"""What a model says of files, written as it is found, so that an interrupted run goes on where it stopped.

predictions.jsonl    a line an item: its name, all that the model says of it, the files that were written for it
predictions.csv      a row an item, written at the end
*.bedGraph           probabilities along sequences that are longer than what the network takes
*                    whatever the task gives its users: masks, drawn boxes, sounds ...
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from torch import nn

from striate.data.items import Progress
from striate.errors import InputError, StorageError
from striate.plain import to_json
from striate.runs.card import Card
from striate.runs.evaluation import predicting
from striate.runs.tracks import write_tracks
from striate.tasks import Result
from striate.train import write_atomically

LINES, TABLE = "predictions.jsonl", "predictions.csv"


def answer_files(
    model: nn.Module,
    card: Card,
    files: Sequence[Path],
    folder: Path,
    *,
    batch_size: int = 16,
    scale: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Write what the model says of every item of `files` into `folder`; the lines of predictions.jsonl.

    Items that are in predictions.jsonl already are not written again, so that an interrupted run that goes on leaves
    the same bytes as one that was not. predictions.csv has a row for each item of predictions.jsonl, those of earlier
    calls too. Raises InputError where a file is missing or broken (what was written before stays) and where `folder`
    holds predictions of another model or with other options, and StorageError where it cannot be written.
    """
    items = [pair for file in files for pair in card.preprocess.expand(file)]
    names = [name for name, _ in items]
    check_names(names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}. Choose another --out.") from error
    if scale is not None:
        options["scale"] = scale  # what decides the answer like the task's own
    by = _identity(model, card, options)
    done = {line["file"]: line for line in _read_lines(folder / LINES)}
    if any(line["by"] != by for line in done.values()):
        fix = "Choose another --out, or remove this folder."
        raise InputError("the folder holds predictions of another model or with other options", where=folder, fix=fix)
    left = [name for name in names if name not in done]
    stems = file_stems(left, {line["stem"] for line in done.values()})
    answers = _answers(model, card, items, set(left), batch_size, options)
    for number, (name, result, units) in enumerate(answers, 1):
        saved = [path.name for path in result.save(folder, stems[name], units)]
        done[name] = {"file": name, **result.json(), "row": result.row(), "saved": saved, "stem": stems[name], "by": by}
        _append(folder / LINES, done[name])
        if progress is not None:
            progress(number, len(left), "predicting")
    write_atomically(folder / TABLE, _table(list(done.values())).encode("utf-8", "surrogateescape"))
    write_tracks(list(done.values()), folder)
    return [done[name] for name in names]


def _answers(
    model: nn.Module,
    card: Card,
    items: Sequence[tuple[str, Any]],
    left: Collection[str],
    batch_size: int,
    options: dict[str, Any],
) -> Iterator[tuple[str, Result, Any]]:
    """What the model says of the items that are `left`, and what it was given.

    A batch is computed whole though a part of it is there: the last digits depend on what is computed together.
    """
    for first in range(0, len(items), max(1, batch_size)):
        batch = items[first : first + max(1, batch_size)]
        if not any(name in left for name, _ in batch):
            continue
        made = predicting(model, card, [item for _, item in batch], batch_size=batch_size, **options)
        yield from ((name, *found[1:]) for (name, _), found in zip(batch, made, strict=True) if name in left)


def _identity(model: nn.Module, card: Card, options: dict[str, Any]) -> str:
    """A hash of all that decides what the model says."""
    digest = hashlib.sha256(to_json([card.json(), dict(sorted(options.items()))]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_names(names: Sequence[str]) -> None:
    """Raises InputError where two items have one name."""
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise InputError("a file is given twice", got=twice, fix="Name each file once.")


def file_stems(names: Sequence[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A file name of its own for each item, as like its name as can be and none of those `taken`.

    >>> file_stems(["a/cat 1.png", "b/cat 1.png", "few.fa, chr7"])
    {'a/cat 1.png': 'cat_1', 'b/cat 1.png': 'cat_1_2', 'few.fa, chr7': 'few_chr7'}
    """
    stems: dict[str, str] = {}
    used = set(taken)
    for name in names:
        inside = Path(name).suffix.partition(", ")[2]  # the name of an item of a file that holds several
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{Path(name).stem}_{inside}").strip("_") or "item"
        stem = next(stem for number in count(1) if (stem := f"{plain}_{number}" if number > 1 else plain) not in used)
        stems[name] = stem
        used.add(stem)
    return stems


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of an interrupted run; a half written last one is dropped."""
    if not path.is_file():
        return []
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    write_atomically(path, b"".join(kept))
    return [json.loads(line) for line in kept]


def _append(path: Path, line: dict[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(to_json(line) + "\n")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}. Free some space and run it again.") from error


def _table(lines: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV; an item that lacks a column leaves it empty."""
    columns = dict.fromkeys(["file", *(key for line in lines for key in line["row"])])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**line["row"], "file": line["file"]} for line in lines)
    return text.getvalue()
