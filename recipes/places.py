"""Train a recipe of places (clutter, faces, steering), score it beside its baseline, and draw what it says.

    python recipes/places.py recipes/faces.yaml [--seeds 1] [--data faces:PATH] [--runs FOLDER]

Every fold of a cross-validation is trained; a seed that the JSON file has already, of the same recipe, is not trained
again. Written: the claim into the recipe's head, its numbers into a JSON file beside it, a table into docs/places.md
with a picture beside it (of the last training), and with --runs the run folders. Nothing in them is typed by hand.
Seconds are those of the training by the clock and, where other programs ran beside, of the processor
divided by the threads.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import torch
from matplotlib import pyplot as plt

import striate
from claim import settings_of, trained, write_head
from striate.ops.boxes import edges
from striate.runs import conclude, make_folder
from striate.tasks import FindKeypoints, Localize, Regress, Task, spell
from striate.tasks.keypoints import mean_points

PAGE = Path(__file__).parents[1] / "docs" / "places.md"
FOLDER = PAGE.with_suffix("")
SHOWN = 18
TRUE, SAID = "#40dc60", "#ff4020"


def train(recipe: striate.Recipe, runs: Path | None) -> dict[str, Any]:
    """One training: session, kept outputs, targets and the mean of the training targets, seconds."""
    session = striate.open_session(recipe)
    kept, targets, seconds = trained(session)
    if runs is not None:
        conclude(session, make_folder(recipe, runs))
    said = baseline(session.task, session.data.train.targets, targets)
    return {"session": session, "kept": kept, "targets": targets, "baseline": said, "seconds": seconds}


def baseline(task: Task, training: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The outputs of an answer that looks at no picture: the mean of the training targets (of boxes: where one is)."""
    if isinstance(task, FindKeypoints):
        return task.answer_of(mean_points(training).expand_as(targets))
    if isinstance(task, Regress):
        return torch.zeros_like(targets)
    assert isinstance(task, Localize)
    mean = training[training[:, 4] > 0].mean(0)
    said = torch.cat([task.boxes_said(edges(mean[None, :4])), torch.ones(1, 1), mean[None, 5:]], 1)
    return said.expand(len(targets), -1)


def draw_scenes(task: Localize, pictures: torch.Tensor, kept: torch.Tensor, targets: torch.Tensor) -> plt.Figure:
    """Scenes with the true box and the one that was said."""
    figure, axes = sheet(3, 6, 1.5)
    for axis, picture, said, true in zip(axes, pictures, task.decode(kept), targets, strict=False):
        axis.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=255, extent=(0, 64, 64, 0))
        if true[4] > 0:
            box(axis, edges(true[None, :4])[0].tolist(), TRUE)
        if said.there:
            box(axis, list(said.box), SAID)
        named = f"{said.name} {said.probability:.2f}" if said.there else "nothing"
        truth = task.class_names[int(true[5:].argmax())] if true[4] > 0 else "nothing"
        axis.set_title(f"{named} (is {truth})", fontsize=7)
    return figure


def draw_faces(task: FindKeypoints, pictures: torch.Tensor, kept: torch.Tensor, targets: torch.Tensor) -> plt.Figure:
    """Faces with the true points and those that were said."""
    figure, axes = sheet(3, 6, 1.5)
    errors = task.score(kept, targets).per_picture
    for axis, picture, said, true, error in zip(axes, pictures, task.pixels(kept), targets, errors, strict=False):
        axis.imshow(picture[0].numpy(), cmap="gray")
        axis.plot(*true.T, ".", color=TRUE, markersize=2)
        axis.plot(*said.T, ".", color=SAID, markersize=2)
        axis.set_title(f"{error:.1f} pixels", fontsize=7)
    return figure


def draw_roads(task: Regress, pictures: torch.Tensor, kept: torch.Tensor, targets: torch.Tensor) -> plt.Figure:
    """Roads with both commands, and all commands against each other."""
    figure = plt.figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.4, 1))
    said = task.values(kept)
    for axis, picture, one, true in zip(left.subplots(6, 2).flat, pictures, said, targets, strict=False):
        axis.imshow(picture.permute(1, 2, 0).numpy())
        axis.set_title(f"says {one.item():+.4f}, is {true.item():+.4f} 1/m", fontsize=7)
        axis.axis("off")
    plot = right.subplots()
    plot.plot(targets, said, ".", markersize=2, color=SAID)
    ends = [targets.min().item(), targets.max().item()]
    plot.plot(ends, ends, color="gray", linewidth=1)
    plot.set_xlabel("true 1/r [1/m]")
    plot.set_ylabel("said 1/r [1/m]")
    return figure


def sheet(rows: int, columns: int, inches: float) -> tuple[plt.Figure, list[Any]]:
    """A figure of empty axes."""
    figure, axes = plt.subplots(rows, columns, figsize=(columns * inches, rows * inches * 1.1), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    return figure, list(axes.flat)


def box(axis: Any, sides: list[float], color: str) -> None:
    """One box in a picture."""
    left, top, right, bottom = sides
    axis.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color))


DRAW: dict[type[Task], Callable[..., plt.Figure]] = {
    Localize: draw_scenes,
    FindKeypoints: draw_faces,
    Regress: draw_roads,
}


def table(rows: dict[str, dict[str, float]]) -> list[str]:
    """Rows of numbers as a Markdown table."""
    columns = list(next(iter(rows.values())))
    lines = [["", *(spell(column) for column in columns)], ["---"] * (len(columns) + 1)]
    lines += [[name, *(f"{row[column]:.4g}" for column in columns)] for name, row in rows.items()]
    return [f"| {' | '.join(line)} |" for line in lines]


def into_page(name: str, lines: list[str]) -> None:
    """Put the lines after the page's mark <!-- name -->, for what stood there up to the next empty line."""
    head, mark, rest = PAGE.read_text().partition(f"<!-- {name} -->\n")
    _, _, tail = rest.partition("\n\n") if not rest.startswith("\n") else ("", "", rest[1:])
    PAGE.write_text(head + mark + "\n".join(lines) + "\n\n" + tail)


def main() -> None:
    """Train what is missing, score, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", help="the data, where they lie elsewhere than the recipe says")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    given = parser.parse_args()
    recipe = replace(striate.Recipe.read(given.recipe), device="cpu")
    recipe = replace(recipe, data=given.data or recipe.data)
    body = settings_of(given.recipe)
    results = given.recipe.with_suffix(".json")
    stored = json.loads(results.read_text()) if results.is_file() else {}
    done = stored["runs"] if stored.get("recipe") == body else []
    for seed in range(given.seeds):
        if seed in [found["seed"] for found in done]:
            continue
        parts = [train(replace(recipe, seed=seed, fold=fold), given.runs) for fold in range(recipe.folds or 1)]
        done.append(scored(seed, parts))
        done.sort(key=lambda found: found["seed"])
        results.write_text(json.dumps({"recipe": body, "runs": done}) + "\n")
        write_head(given.recipe, lines := words(done, recipe.folds))
        into_page(given.recipe.stem, table(rows(done)))
        draw(parts, FOLDER / f"{given.recipe.stem}.png")
        print("\n".join(lines), flush=True)


def together(parts: list[dict[str, Any]], key: str) -> torch.Tensor:
    """Of all folds."""
    return torch.cat([part[key] for part in parts])


def scored(seed: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The measures over all folds, those of the baseline, and each fold's."""
    task, targets = parts[0]["session"].task, together(parts, "targets")
    return {
        "seed": seed,
        "scores": task.score(together(parts, "kept"), targets).summary(),
        "baseline": task.score(together(parts, "baseline"), targets).summary(),
        "folds": [part["session"].task.score(part["kept"], part["targets"]).summary() for part in parts],
        **{key: round(sum(part["seconds"][key] for part in parts), 1) for key in parts[0]["seconds"]},
    }


def words(done: list[dict[str, Any]], folds: int | None) -> list[str]:
    """The claim: the mean of the seeds, and in brackets each seed's."""
    numbers = []
    for key in list(done[0]["scores"])[1:]:
        values = [found["scores"][key] for found in done]
        each = f" ({', '.join(f'{value:.4g}' for value in values)})" if len(values) > 1 else ""
        numbers.append(f"{spell(key)}: {statistics.mean(values):.4g}{each}")
    how = f"{folds} folds together," if folds else "the test part's"
    seeds = f"seed {done[0]['seed']}" if len(done) == 1 else f"mean of seeds {done[0]['seed']} to {done[-1]['seed']}"
    name = list(done[0]["baseline"])[1]
    blind = statistics.mean(found["baseline"][name] for found in done)
    clock, processor = (statistics.median(found[key] for found in done) for key in ("seconds", "processor_seconds"))
    return [
        f"# Claim: {', '.join(numbers)}; {how} {done[0]['scores']['n']:,} items, {seeds}.",
        f"# Without looking (the mean of the training targets): {spell(name)} {blind:.4g}.",
        f"# Training: median {clock:.0f} s (processor {processor:.0f} s a thread) on {torch.get_num_threads()} "
        f"threads; striate {striate.__version__}, torch {torch.__version__}, Python {platform.python_version()}.",
    ]


def rows(done: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The page's rows: each seed's network, and the answer without looking."""
    names = [f"network, seed {found['seed']}" if len(done) > 1 else "network" for found in done]
    networks = {name: found["scores"] for name, found in zip(names, done, strict=True)}
    blind = {key: statistics.mean(found["baseline"][key] for found in done) for key in done[0]["baseline"]}
    return networks | {"mean of the training targets": blind}


def draw(parts: list[dict[str, Any]], path: Path) -> None:
    """The first test pictures with what is there and what was said; of a quantity, all of them as points, too."""
    task = parts[0]["session"].task
    pictures = torch.cat([part["session"].data.tested.inputs for part in parts])
    said = slice(None) if isinstance(task, Regress) else slice(SHOWN)
    figure = DRAW[type(task)](task, pictures[:SHOWN], together(parts, "kept")[said], together(parts, "targets")[said])
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
