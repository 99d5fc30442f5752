"""The pictures of a finished run, and the page that shows them."""

from __future__ import annotations

import contextlib
import io
import platform
import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.nn.functional import one_hot

import striate
from striate.data import Batches, build_augmentation
from striate.errors import InputError
from striate.interpret import feature_maps, first_filters
from striate.runs import plots
from striate.runs.record import Outcome, Session, read_metrics
from striate.runs.report import Report, render, standard_sections
from striate.shapes import Tensor, UInt8
from striate.train import write_atomically

EXAMPLES = 32


@dataclass(frozen=True)
class Mistake:
    """A test image with another class than the one predicted, and how sure the network was."""

    image: UInt8[Tensor, "c h w"]
    truth: str
    predicted: str
    probability: float
    name: str


def find_mistakes(outcome: Outcome) -> list[Mistake]:
    """All mistakes, the most confident first."""
    items = outcome.items
    confidence, predicted = outcome.outputs.softmax(1).max(1)
    wrong = (predicted != items.labels.cpu()).nonzero().flatten()
    return [
        Mistake(
            items.images[i],
            items.class_names[int(items.labels[i])],
            items.class_names[int(predicted[i])],
            float(confidence[i]),
            items.names[i],
        )
        for i in wrong[confidence[wrong].argsort(descending=True, stable=True)].tolist()
    ]


def draw_figures(session: Session, outcome: Outcome, folder: Path) -> dict[str, Figure]:
    """Every picture of the run by the name of the function in `runs.plots` that draws it."""
    scores, items = outcome.scores, outcome.items
    first = items.images[0]
    figures = {
        "curves": plots.curves(read_metrics(folder)),
        "reliability": plots.reliability(scores.reliability),
        "examples": plots.examples(training_examples(session)),
    }
    if not session.task.multi_label:
        figures["confusion"] = plots.confusion(torch.tensor(scores.confusion), items.class_names)
        figures["mistakes"] = plots.mistakes(find_mistakes(outcome))
    # A network without a convolution has neither.
    with contextlib.suppress(InputError):
        figures["filters"] = plots.filters(first_filters(session.model))
        maps = feature_maps(session.model, session.data.preprocess.normalize(first[None])[0])
        figures["feature_maps"] = plots.feature_maps(first, maps)
    return figures


def training_examples(session: Session) -> list[tuple[UInt8[Tensor, "c h w"], str]]:
    """The first images of the first batch, as the network sees them (augmented), and their classes."""
    data, recipe = session.data, session.recipe
    batches = Batches(
        data.train,
        data.preprocess,
        batch_size=min(EXAMPLES, len(data.train)),
        seed=recipe.seed,
        augment=build_augmentation(recipe.augment, data.train.images),
        workers=0,
    )
    batch = next(batches.epoch(0))
    mean, std = (torch.tensor(v)[:, None, None] for v in (data.preprocess.mean, data.preprocess.std))
    images = ((batch.images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    labels = batch.labels if batch.labels.ndim == 2 else one_hot(batch.labels, len(data.class_names))
    names = [", ".join(n for n, has in zip(data.class_names, row, strict=True) if has) for row in labels.tolist()]
    return list(zip(images, names, strict=True))


def write_report(session: Session, outcome: Outcome, folder: Path) -> Path:
    """Write plots/*.png and report.html into the run folder; the path of the page."""
    pictures = {}
    for name, figure in draw_figures(session, outcome, folder).items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        pictures[name] = buffer.getvalue()
        write_atomically(folder / "plots" / f"{name}.png", pictures[name])
    page = folder / "report.html"
    write_atomically(page, render(describe(session, outcome, folder, pictures)).encode())
    return page


def describe(session: Session, outcome: Outcome, run: Path, pictures: dict[str, bytes]) -> Report:
    """What the page says."""
    recipe, scores = session.recipe, outcome.scores
    epochs = [line for line in read_metrics(run) if line["kind"] == "epoch"]
    tested = "test" if session.data.test else "validation" if session.data.validation else "training"
    at = shlex.quote(str(run))
    return Report(
        title=f"{recipe.model} on {recipe.data}",
        subtitle=f"{len(session.data.train):,} training images of {'x'.join(map(str, session.data.shape))}, "
        f"{len(session.data.class_names)} classes, seed {recipe.seed}",
        facts={
            f"{tested} accuracy": f"{scores.accuracy:.2%}",
            f"{tested} images": f"{scores.n:,}",
            "parameters": f"{sum(p.numel() for p in session.model.parameters() if p.requires_grad):,}",
            "epochs": str(len(epochs)),
            "training time": f"{sum(line['seconds'] for line in epochs):.1f} s",
            "calibration error": f"{scores.calibration_error:.2%}",
            **({"images left out": str(len(session.data.skipped))} if session.data.skipped else {}),
        },
        sections=standard_sections(pictures),
        per_class=scores.per_class,
        recipe=recipe.yaml(),
        commands={
            "Predict the class of images": f"striate predict {at} IMAGE ...",
            "Test it again, or on other data": f"striate evaluate {at} --data folder:PATH",
            "Train it again": f"striate train {shlex.quote(str(run / 'recipe.yaml'))}",
            "Compare it with other runs": f"striate runs {shlex.quote(str(run.parent))}",
            "Use it in Python": f"model, card = striate.load({str(run)!r})",
        },
        versions={
            "striate": striate.__version__,
            "torch": torch.__version__,
            "Python": platform.python_version(),
        },
    )
