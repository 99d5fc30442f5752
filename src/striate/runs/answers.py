"""What a model says of files, written as it is found, so that an interrupted run goes on where it stopped.

predictions.jsonl    a line an item: its name, all that the model says of it, the files that were written for it, and a
                     digest of what it was read from; of one that cannot be read, the error
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
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from torch import nn

from striate.data import Input
from striate.data.items import Entry, Progress
from striate.errors import InputError, StorageError, listed
from striate.plain import to_json
from striate.runs.card import Card
from striate.runs.evaluation import Answer, answering
from striate.runs.tracks import write_tracks
from striate.train import write_atomically

LINES, TABLE = "predictions.jsonl", "predictions.csv"


def answer_files(
    model: nn.Module,
    card: Card,
    files: Sequence[Path],
    folder: Path | None,
    *,
    batch_size: int = 16,
    scale: float | None = None,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda _: None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Write what the model says of every item of `files` into `folder`; the lines of predictions.jsonl.

    Of a folder among the `files`, those in it count that the kind of input reads by their ending. Items that are in
    predictions.jsonl already, and have not changed since, are not written again, so that an interrupted run that goes
    on leaves the same bytes as one that was not. predictions.csv has a row for each item of predictions.jsonl, those of
    earlier calls too. What people should know is told to `say`. Without a `folder` nothing is written.

    An item that cannot be read raises InputError when its turn comes (what was written before stays), or with
    `skip_corrupt` is a line with an `error`. Raises InputError, too, where `folder` holds predictions of another model
    or with other options, and StorageError where it cannot be written.
    """
    items = expand(card.preprocess, files, say)
    names = list(items)
    if folder is not None:
        _keep_apart(files, folder)
    for note in card.preprocess.notes([item for item in items.values() if not isinstance(item, InputError)]):
        say(note)
    if scale is not None:
        options["scale"] = scale  # what decides the answer like the task's own
    by = _identity(model, card, options) if folder is not None else ""
    done = _done(folder, by, items, say) if folder is not None else {}
    if earlier := len(done.keys() - items.keys()):
        say(f"answers of earlier calls that stay in {folder}: {earlier:,}")
    changed = {name for name in names if name in done and done[name].get("digest") != digest(name, items[name])}
    if changed:
        say(f"{len(changed):,} of {len(names):,} items have changed since and are answered again")
    left = {n for n in names if n not in done or n in changed or ("error" in done[n] and not skip_corrupt)}
    stems = {name: line["stem"] for name, line in done.items()}
    stems |= file_stems([name for name in names if name not in done], stems.values())
    for number, (name, mark, answer) in enumerate(_answers(model, card, items, left, batch_size, options), 1):
        if isinstance(answer, InputError) and not skip_corrupt:
            raise answer.or_skip()
        before, done[name] = done.get(name, {}), {"file": name, **_told(answer)}
        if folder is not None:
            _remove(folder, before)
            saved = [] if isinstance(answer, InputError) else answer[0].save(folder, stems[name], answer[1])
            done[name] |= {"saved": [path.name for path in saved], "stem": stems[name], "digest": mark, "by": by}
            _append(folder / LINES, done[name])
        if progress is not None:
            progress(number, len(left), "predicting")
    if folder is not None:
        lines = list(done.values())
        write_atomically(folder / LINES, "".join(to_json(line) + "\n" for line in lines).encode())
        write_atomically(folder / TABLE, _table(lines).encode("utf-8", "surrogateescape"))
        write_tracks(lines, folder)
    return [done[name] for name in names]


def _told(answer: Answer) -> dict[str, Any]:
    """What a line says of an answer, or of why there is none."""
    if isinstance(answer, InputError):
        return {"error": str(answer), "row": {"error": str(answer)}}
    return {**answer[0].json(), "row": answer[0].row()}


def expand(preprocess: Input, files: Sequence[Path], say: Callable[[str], object]) -> dict[str, Any]:
    """All items of the files, and of those in folders, by name; the error for a file whose items cannot be told.

    Raises InputError for a path that is not there, for a folder without any file for this kind of input, and where two
    items have one name.
    """
    items: list[tuple[str, Any]] = []
    for file in (file for path in files for file in files_of(preprocess, path, say)):
        try:
            found = preprocess.expand(file)
        except InputError as error:
            found = [(str(file), error)]
        items += found or [(str(file), InputError("a file without items", where=file))]
    check_names([name for name, _ in items])
    return dict(items)


def _keep_apart(files: Sequence[Path], folder: Path) -> None:
    """Raises InputError where what is written could take the place of what is read."""
    for file in files:
        if folder.resolve() == (file if file.is_dir() else file.parent).resolve():
            fix = "Choose another --out, a folder inside it, say."
            raise InputError("answers would be written among the files that they are about", where=folder, fix=fix)


def files_of(preprocess: Input, path: Path, say: Callable[[str], object]) -> Sequence[Path]:
    """The file itself, or those in a folder that are for this kind of input, in order; hidden ones are left out."""
    if not path.exists():
        raise InputError("no such file or folder", where=path, fix="Check the path.")
    if not path.is_dir() or preprocess.reads(path):
        return [path]
    inside = [file for file in sorted(path.iterdir()) if not file.name.startswith(".")]
    files = [file for file in inside if file.is_file() and preprocess.reads(file)]
    others = listed([file.name for file in inside if file not in set(files)], 5)
    if not files:
        kind = preprocess.json()["kind"]
        what = "a folder without files that the network reads"
        fix = "Name the files, or the folders that hold them."
        raise InputError(what, where=path, expected=f"files for {kind}", got=others or "none", fix=fix)
    if others:
        say(f"{path}: {len(files):,} files; left alone: {others}")
    return files


def digest(name: str, item: Any) -> str:
    """A hash of what an item is read from, a file or all files of a folder or an entry; "" if that cannot be read."""
    if isinstance(item, Entry):
        value = item.value.encode("utf-8", "surrogateescape") if isinstance(item.value, str) else item.value.numpy()
        return hashlib.blake2b(value, digest_size=8).hexdigest()
    path, found = Path(name), hashlib.blake2b(digest_size=8)
    try:
        for file in sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]:
            with file.open("rb") as content:
                found.update(hashlib.file_digest(content, "blake2b").digest())
    except OSError:
        return ""
    return found.hexdigest()


def _done(folder: Path, by: str, items: dict[str, Any], say: Callable[[str], object]) -> dict[str, dict[str, Any]]:
    """The lines of earlier calls by name, of an item that was answered again the last; without those that are gone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}. Choose another --out.") from error
    done = {line["file"]: line for line in _read_lines(folder / LINES)}
    if any(line["by"] != by for line in done.values()):
        fix = "Choose another --out, or remove this folder."
        raise InputError("the folder holds predictions of another model or with other options", where=folder, fix=fix)
    files = {name.rpartition(", ")[0] if isinstance(item, Entry) else name for name, item in items.items()}
    gone = [name for name in done if name not in items and not files.isdisjoint((name, name.rpartition(", ")[0]))]
    for name in gone:
        _remove(folder, done.pop(name))
    if gone:
        say(f"answers removed, of items that are no longer in their files: {len(gone):,}")
    return done


def _remove(folder: Path, line: dict[str, Any]) -> None:
    """Remove what was saved for an item."""
    for saved in line.get("saved", ()):
        (folder / saved).unlink(missing_ok=True)


def _answers(
    model: nn.Module,
    card: Card,
    items: dict[str, Any],
    left: Collection[str],
    batch_size: int,
    options: dict[str, Any],
) -> Iterator[tuple[str, str, Answer]]:
    """The digests of the items that are `left`, and what the model says of them.

    A batch is computed whole though a part of it is there: the last digits depend on what is computed together.
    """
    names = list(items)
    for first in range(0, len(names), max(1, batch_size)):
        batch = names[first : first + max(1, batch_size)]
        marks = {name: digest(name, items[name]) for name in batch if name in left}  # of what is read after that
        if not marks:
            continue
        answers = answering(model, card, [items[name] for name in batch], batch_size=batch_size, **options)
        yield from ((name, marks[name], answer) for name, answer in zip(batch, answers, strict=True) if name in marks)


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
    answered = [key for line in lines if "error" not in line for key in line["row"]]
    columns = dict.fromkeys(["file", *answered, *(["error"] if any("error" in line for line in lines) else [])])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**line["row"], "file": line["file"]} for line in lines)
    return text.getvalue()
