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
from torch import nn
from torch.nn.functional import one_hot

import striate
from striate.data import Batches, Pictures, augmentation_of
from striate.errors import InputError
from striate.interpret import feature_maps, filters
from striate.runs import plots
from striate.runs.answers import file_stems
from striate.runs.evaluation import predicting
from striate.runs.record import Outcome, Session, read_metrics
from striate.runs.report import Report, Section, render, standard_sections
from striate.shapes import Tensor, UInt8
from striate.tasks import ClassificationScores, spell
from striate.train import write_atomically

EXAMPLES, ANSWERS = 32, 8
# What the names of a target are called, by its kind.
NAMED = {"class": "classes", "labels": "labels", "mask": "classes", "box": "classes", "points": "points",
         "values": "quantities", "text": "letters", "none": "names"}  # fmt: skip
SHARES = {"calibration_error", "macro_f1"}
ANSWERED = "The first test items and what the network says of them, as striate predict writes it."


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
    confidence, predicted = outcome.kept.softmax(1).max(1)
    wrong = (predicted != items.targets.cpu()).nonzero().flatten()
    return [
        Mistake(
            items.inputs[i],
            items.class_names[int(items.targets[i])],
            items.class_names[int(predicted[i])],
            float(confidence[i]),
            items.names[i],
        )
        for i in wrong[confidence[wrong].argsort(descending=True, stable=True)].tolist()
    ]


def draw_figures(session: Session, outcome: Outcome, folder: Path) -> dict[str, Figure]:
    """Every picture of the run by its name on the page."""
    scores, items = outcome.scores, outcome.items
    figures = {"curves": plots.curves(read_metrics(folder))}
    if isinstance(scores, ClassificationScores):
        figures["reliability"] = plots.reliability(scores.reliability)
    if not isinstance(session.data.preprocess, Pictures):
        return figures
    if session.data.meaning.kind in ("class", "labels"):
        figures["examples"] = plots.examples(training_examples(session))
    if isinstance(scores, ClassificationScores) and items.meaning.kind == "class":
        figures["confusion"] = plots.confusion(torch.tensor(scores.confusion), items.class_names)
        figures["mistakes"] = plots.mistakes(find_mistakes(outcome))
    # A network without a convolution has neither.
    with contextlib.suppress(InputError):
        figures["filters"] = filters(session.model).plot()
        first = session.data.preprocess.normalize(items.inputs[:1])
        given = session.task.example(first, items.targets[:1], None)
        figures["feature_maps"] = feature_maps(session.model, given[0]).plot()
    return figures


def training_examples(session: Session) -> list[tuple[UInt8[Tensor, "c h w"], str]]:
    """The first pictures of the first batch, as the network sees them (augmented), and their classes."""
    data, recipe = session.data, session.recipe
    batches = Batches(
        data.train,
        data.preprocess,
        batch_size=min(EXAMPLES, len(data.train)),
        seed=recipe.seed,
        augment=augmentation_of(recipe.augment, data),
        workers=0,
    )
    batch = next(batches.epoch(0))
    assert isinstance(data.preprocess, Pictures)
    mean, std = (torch.tensor(v)[:, None, None] for v in (data.preprocess.mean, data.preprocess.std))
    images = ((batch.inputs * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    labels = batch.targets if batch.targets.ndim == 2 else one_hot(batch.targets, len(data.class_names))
    names = [", ".join(n for n, has in zip(data.class_names, row, strict=True) if has) for row in labels.tolist()]
    return list(zip(images, names, strict=True))


def draw_answers(session: Session, outcome: Outcome, folder: Path) -> dict[str, bytes]:
    """What the model says of the first test items, as a user of `striate predict` gets it: name -> picture."""
    few = outcome.items.subset(range(min(ANSWERS, len(outcome.items))))
    pictures = {}
    made = predicting(session.model, outcome.card, list(few.inputs), stored=True)
    stems = file_stems(few.names)
    for name, (_, result, units) in zip(few.names, made, strict=True):
        for path in result.save(folder / "answers", stems[name], units):
            if path.suffix == ".png":
                pictures[f"{name}: {path.stem}"] = path.read_bytes()
    return pictures


def write_report(session: Session, outcome: Outcome, folder: Path) -> Path:
    """Write plots/*.png and report.html into the run folder; the path of the page."""
    pictures = {}
    for name, figure in draw_figures(session, outcome, folder).items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        pictures[name] = buffer.getvalue()
        write_atomically(folder / "plots" / f"{name}.png", pictures[name])
    page = folder / "report.html"
    answers = draw_answers(session, outcome, folder)
    write_atomically(page, render(describe(session, outcome, folder, pictures, answers)).encode())
    return page


def describe(
    session: Session, outcome: Outcome, run: Path, pictures: dict[str, bytes], answers: dict[str, bytes]
) -> Report:
    """What the page says."""
    recipe, data = session.recipe, session.data
    epochs = [line for line in read_metrics(run) if line["kind"] == "epoch"]
    tested = "test" if data.test else "validation" if data.validation else "training"
    count, headline, *others = outcome.scores.summary().items()
    at = shlex.quote(str(run))
    classes = f", {len(data.class_names)} {NAMED[data.meaning.kind]}" if data.class_names else ""
    fold = f", fold {recipe.fold} (0 to {recipe.folds - 1})" if recipe.folds else ""
    sections = standard_sections(pictures)
    if answers:
        sections = (Section("What it answers", ANSWERED, answers), *sections)
    scores = outcome.scores
    return Report(
        title=f"{recipe.model} on {recipe.data}",
        subtitle=". ".join(
            [
                f"{len(data.train):,} training items of {'x'.join(map(str, data.shape))}{classes}{fold}, "
                f"seed {recipe.seed}",
                *data.notes,
            ]
        ),
        facts={
            f"{tested} {spell(headline[0])}": spell_number(*headline),
            f"{tested} items": f"{count[1]:,}",
            "parameters": _count(session.model),
            "epochs": str(len(epochs)),
            "training time": f"{sum(line['seconds'] for line in epochs):.1f} s",
            **{spell(name): spell_number(name, value) for name, value in others},
            **({"items left out": str(len(data.skipped))} if data.skipped else {}),
        },
        sections=sections,
        per_class=scores.per_class if isinstance(scores, ClassificationScores) else (),
        recipe=recipe.yaml(),
        commands={
            "Use it on files": f"striate predict {at} FILES ... --out ANSWERS",
            "Test it again, or on other data": f"striate evaluate {at} --data {recipe.data.partition(':')[0]}:PATH",
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


def _count(model: nn.Module) -> str:
    """Parameters, and how many of them were trained where some are frozen."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    every, trained = sum(count for count, _ in counts), sum(count for count, free in counts if free)
    return f"{every:,}" + (f" ({trained:,} trained)" if trained < every else "")


def spell_number(name: str, value: float) -> str:
    """Shares as percentages, all else with four digits."""
    share = name in SHARES or name.endswith(("accuracy", "rate"))
    return f"{value:.2%}" if share else f"{value:.4g}"
