"""Train a recipe with several seeds and write what came out into the head of its file, and into a JSON file beside it.

    python recipes/claim.py recipes/mnist.yaml [--seeds 5] [--data mnist:PATH]
    python recipes/claim.py recipes/cifar10.yaml --seeds 2 --hold-out 5000 [--runs FOLDER]
    python recipes/claim.py recipes/char_cnn.yaml --folds 0 1
    python recipes/claim.py recipes/deepsea.yaml --seeds 2 --apart 40

The first line of a recipe stays; the comment lines after it are the claim. Nothing in them is typed by hand. A seed
that is in the JSON file already, of the same recipe, is not trained again. Of a recipe with folds, the folds are
trained instead of seeds (all, or those of `--folds`). `--hold-out` takes the last training images of CIFAR-10 for a
test of their own; `--apart` scores those test sequences again that have nothing in common with the training ones, as
peaks of several factors overlap. Seconds are those of the clock; where other programs ran beside, those of the
processor divided by the threads say more, and both are written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import numpy as np
import torch

import striate
from striate.data.bases import N
from striate.data.formats import read_cifar10
from striate.runs import conclude, make_folder, record
from striate.runs.record import completed, read_metrics
from striate.tasks import spell
from striate.train import averaged, evaluate

CURVE = 200  # points of the training loss that are kept
TESTED = {
    "digits": "each with its own split",
    "moving": "clips of test digits",
    "strings": "strings of test digits",
    "isbi_volume": "blocks of the last 10 slices",
}
FOLDS = {"fsdd": ", each a speaker who was not heard in training"}


def run(
    recipe: striate.Recipe, parts: dict[str, slice | torch.Tensor], runs: Path | None, apart: int = 0
) -> dict[str, Any]:
    """What one training gave: its measures on each part of the test set, its seconds, its losses."""
    session = striate.open_session(recipe)
    folder = make_folder(recipe, runs) if runs else None
    steps = striate.fit(session.model, session.task, session.data, recipe)
    clock, processor = time.perf_counter(), time.process_time()
    curve: list[tuple[int, float]] = []
    for step in record(steps, folder, checkpoint_seconds=60) if folder else steps:
        if step.number % max(1, step.of // CURVE) == 0 or step.last:
            curve.append((step.number, round(step.loss, 4)))  # noqa: PERF401 - what is appended is a loop's by-product
    found: dict[str, Any] = {
        "seed": recipe.seed if recipe.folds is None else recipe.fold,
        "seconds": round(time.perf_counter() - clock, 1),
        "processor_seconds": round((time.process_time() - processor) / torch.get_num_threads(), 1),
    }
    items = session.data.tested
    if recipe.folds and items.groups is not None:  # who or what is held out is in the names
        found["first_and_last"] = [Path(items.names[k]).name for k in (0, -1)]
    if folder:
        kept, targets = conclude(session, folder).kept, items.targets
    else:
        model, device = averaged(session.model, recipe.tta), next(session.model.parameters()).device
        kept, targets = evaluate(model, session.task, items, session.data.preprocess, device)
    if apart:
        alone = unlike(session.data.train.inputs, items.inputs, apart)
        parts = parts | {f"those that share no {apart} letters with a training item": alone}
    scores = {name: session.task.score(kept[part], targets[part]) for name, part in parts.items()}
    found["parts"] = {name: score.summary() for name, score in scores.items()}
    if apart:
        found["labels"] = {name: {row.name: asdict(row) for row in score.per_class} for name, score in scores.items()}
    return found | {"curve": curve}


def trained(session: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
    """Train a session from start to end: its kept outputs on the test part, their targets, its seconds."""
    clock, processor = time.perf_counter(), time.process_time()
    for step in striate.fit(session.model, session.task, session.data, session.recipe):
        if step.ends_epoch:
            print(f"epoch {step.epoch} loss {step.train_loss:.4f} {time.perf_counter() - clock:.0f} s", flush=True)
    seconds = {
        "seconds": round(time.perf_counter() - clock, 1),
        "processor_seconds": round((time.process_time() - processor) / torch.get_num_threads(), 1),
    }
    tested, device = session.data.tested, next(session.model.parameters()).device
    return *evaluate(session.model, session.task, tested, session.data.preprocess, device), seconds


def unlike(train: torch.Tensor, test: torch.Tensor, letters: int) -> torch.Tensor:
    """Which stored test sequences share no stretch of so many bases with a training sequence, on either strand."""
    powers = np.random.default_rng(0).integers(1, 2**63, letters, dtype=np.uint64) | np.uint64(1)

    def stretches(stored: torch.Tensor) -> np.ndarray[Any, Any]:
        windows = np.lib.stride_tricks.sliding_window_view(stored.numpy(), letters, 1)
        sums = sum(windows[..., k].astype(np.uint64) * power for k, power in enumerate(powers))
        unknown = np.lib.stride_tricks.sliding_window_view((stored == N).numpy(), letters, 1).any(2)
        return np.where(unknown, np.uint64(0), sums)

    known = np.unique(stretches(train))
    turned = torch.where(test == N, N, 3 - test.int()).to(test.dtype).flip(1)
    found = [np.isin(some, known[known > 0]).any(1) for some in (stretches(test), stretches(turned))]
    return torch.from_numpy(~(found[0] | found[1]))


def held_out(spec: str, count: int, folder: Path) -> str:
    """The source `cifar10:PATH` with its last `count` training images before its own test images, as files."""
    name, _, path = spec.partition(":")
    if name != "cifar10":
        raise SystemExit("--hold-out is for cifar10:PATH.")
    (images, labels), (own, own_labels) = (read_cifar10(Path(path))[part] for part in ("train", "test"))
    kept = len(images) - count
    batches = np.array_split(np.arange(kept), 5)
    files = {f"data_batch_{k}": (images[part], labels[part]) for k, part in enumerate(batches, 1)}
    files["test_batch"] = (np.concatenate([images[kept:], own]), np.concatenate([labels[kept:], own_labels]))
    for file, (pixels, classes) in files.items():
        rows = np.concatenate([classes[:, None], pixels.reshape(len(pixels), -1)], axis=1)
        (folder / f"{file}.bin").write_bytes(rows.astype(np.uint8).tobytes())
    return f"cifar10:{folder}"


def words(runs: list[dict[str, Any]], folds: int | None = None) -> list[str]:
    """The comment lines; of a cross-validation the runs are its folds."""
    lines = []
    for number, part in enumerate(runs[0]["parts"]):
        rows = [found["parts"][part] for found in runs]
        measure = list(rows[0])[1]
        values = [row[measure] for row in rows]
        first, last = runs[0]["seed"], runs[-1]["seed"]
        one = "fold" if folds else "seed"
        seeds = f"{one} {first}" if len(runs) == 1 else f"mean of {one}s {first} to {last}"
        share = max(values) <= 1  # else a number with a unit, as bits a sample
        mean = statistics.mean(values)
        written = f"{mean:.2%}" if share else f"{mean:.3f}"
        listed = [f"{100 * value:.2f}" if share else f"{value:.3f}" for value in values]
        each = f" ({', '.join(listed)})" if len(runs) > 1 else ""
        loss = f", loss {statistics.mean(row['loss'] for row in rows):.4f}" if "loss" in rows[0] else ""
        what = f"test {spell(measure)}"
        items = f"{rows[0]['n']:,} items" + ("" if folds is None else " each")
        lines.append(
            f"# {'Claim:' if number == 0 else 'And'} {written} {what}{loss}, {seeds}{each} on {items}, {part}."
        )
    clock, processor = ([found[key] for found in runs if key in found] for key in ("seconds", "processor_seconds"))
    if not clock:
        return lines
    lines.append(
        f"# Training: median {statistics.median(clock):.1f} s ({min(clock):.1f} to {max(clock):.1f}; processor "
        f"{statistics.median(processor):.1f} s a thread) on {torch.get_num_threads()} threads; striate "
        f"{striate.__version__}, torch {torch.__version__}, Python {platform.python_version()}."
    )
    return lines


def settings_of(path: Path) -> list[str]:
    """The lines of a recipe's file without its head: results are kept as long as these are the same."""
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def write_head(path: Path, lines: list[str]) -> None:
    """Put the claim into a recipe's file, between its first line and its settings."""
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first, *lines, *(line for line in rest if not line.startswith("#"))]) + "\n")


def claim_of_runs(runs: Sequence[Path], path: Path, lines: list[str]) -> None:
    """Put a claim, with the seconds of a training, into the head of the recipe of which the `runs` are runs.

    Runs with other settings (but for the seed, the device and the place of the data) leave the file as it is.
    """
    recipe = completed(striate.Recipe.read(path))
    for own in (completed(striate.Recipe.read(run / "recipe.yaml")) for run in runs):
        for field in fields(recipe):
            free = field.name in ("data", "seed", "device", "workers")
            if not free and getattr(own, field.name) != getattr(recipe, field.name):
                print(f"{path} is left as it is: a run has another {field.name}")
                return
    seconds = [sum(line["seconds"] for line in read_metrics(run) if line["kind"] == "epoch") for run in runs]
    median = "median " if len(runs) > 1 else ""
    write_head(path, [*lines, f"# Training: {median}{statistics.median(seconds):,.0f} s by the clock."])


def claim(path: Path, seeds: Iterable[int], data: str | None, hold_out: int, runs: Path | None, apart: int = 0) -> None:
    """Train what is missing, seed by seed (or fold by fold), and write the claim after each."""
    recipe = replace(striate.Recipe.read(path), device="cpu")
    body = settings_of(path)
    results = path.with_suffix(".json")
    stored = json.loads(results.read_text()) if results.is_file() else {}
    done = stored["runs"] if stored.get("recipe") == body else []
    test = TESTED.get(recipe.data.partition(":")[0], "the official test set")
    parts: dict[str, slice | torch.Tensor]
    if recipe.folds:
        test = f"the folds of a {recipe.folds}-fold cross-validation" + FOLDS.get(recipe.data.partition(":")[0], "")
    parts = {test: slice(None)}
    with tempfile.TemporaryDirectory() as folder:
        spec = data or recipe.data
        if hold_out:
            spec = held_out(spec, hold_out, Path(folder))
            parts = {
                f"the last {hold_out:,} training images (not trained on)": slice(hold_out),
                "test images that are here": slice(hold_out, None),
            }
        for seed in seeds:
            if seed in [found["seed"] for found in done]:
                continue
            which = {"fold": seed} if recipe.folds else {"seed": seed}
            done.append(run(replace(recipe, **which, data=spec), parts, runs, apart))
            done.sort(key=lambda found: found["seed"])
            # First what took long.
            results.write_text(json.dumps({"recipe": body, "runs": done}) + "\n")
            write_head(path, words(done, recipe.folds))
            one = "fold" if recipe.folds else "seed"
            print(f"{one} {seed}: {done[-1]['parts']}, {done[-1]['seconds']} s", flush=True)
    print(path.read_text())


def main() -> None:
    """Read, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, nargs="+", help="only these of a recipe that has folds")
    parser.add_argument("--data", help="the data, where they lie elsewhere than the recipe says")
    parser.add_argument("--hold-out", type=int, default=0)
    parser.add_argument(
        "--apart", type=int, default=0, help="score DNA unlike the training's: no so many letters shared"
    )
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    options = parser.parse_args()
    seeds = options.folds or range(striate.Recipe.read(options.recipe).folds or options.seeds)
    claim(options.recipe, seeds, options.data, options.hold_out, options.runs, options.apart)


if __name__ == "__main__":
    main()
