"""The tables of docs/recipes.md, docs/techniques.md, docs/restoration.md and docs/signals.md. Written by tables.py."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from striate.tasks import spell

ROOT = Path(__file__).resolve().parents[1]


class Row(NamedTuple):
    """A recipe, its measures with their formats, and what there is to reach."""

    task: str
    name: str
    measures: dict[str, str]
    asked: str = ""


SHARE = "{:.2%}"
DENOISED = ("denoise", "denoise_cifar10")
COLORED = {"colorize": "rare colors weigh more", "colorize_alike": "all colors weigh alike"}
CAMVID = "SegNet, 29 M parameters, from VGG-16's weights, 3,433 images: 71.2 %, 60.1 % (its paper)"
ROWS = [
    Row("image classification", "digits", {"accuracy": SHARE}),
    Row("image classification", "mnist", {"accuracy": SHARE}, "LeNet-5: 99.05 % (LeCun et al. 1998)"),
    Row("image classification", "fashion", {"accuracy": SHARE}, "2 convolutions: 91.6 to 92.5 % (its own list)"),
    Row("image classification", "cifar10", {"accuracy": SHARE, "loss": "{:.4f}"}, "90 % in 10 minutes on two cores"),
    Row("image classification", "cifar10_long", {"accuracy": SHARE, "loss": "{:.4f}"}, "94 %"),
    Row("the lectures' Keras networks", "keras_mnist", {"accuracy": SHARE, "loss": "{:.4f}"}, "99.00 %, loss 0.0276"),
    Row("the lectures' Keras networks", "keras_fcn", {"accuracy": SHARE, "loss": "{:.4f}"}, "99.10 %, loss 0.0505"),
    Row("localization", "clutter", {"presence": SHARE, "accuracy": SHARE, "iou_50": SHARE, "right": SHARE}),
    Row("segmentation", "isbi", {"accuracy": SHARE, "thinned_rand": "{:.4f}", "thinned_info": "{:.4f}"},
        "U-Net on the challenge's own test: Rand error 0.0382, pixel error 0.0611"),
    Row("segmentation", "roads_segnet", {"mean_accuracy": SHARE, "mean_iou": SHARE}),
    Row("segmentation", "roads_fcn8s", {"mean_accuracy": SHARE, "mean_iou": SHARE}),
    Row("segmentation", "roads_dilated", {"mean_accuracy": SHARE, "mean_iou": SHARE}),
    Row("segmentation", "camvid_unet", {"mean_accuracy": SHARE, "mean_iou": SHARE}, CAMVID),
    Row("segmentation", "camvid", {"mean_accuracy": SHARE, "mean_iou": SHARE}, CAMVID),
    Row("points of a face", "faces", {"error": "{:.2f} pixels", "median": "{:.2f}"},
        "1.6, 1.5, 1.4 pixels (15 points, 7,049 faces)"),
    Row("steering", "steering", {"angle_error": "{:.3f}°", "r2": "{:.3f}"}),
    Row("sentiment", "rt_polarity", {"accuracy": SHARE}, "CNN-rand: 76.1 % (Kim 2014)"),
    Row("sentiment, Keras' network", "keras_text", {"accuracy": SHARE}),
    Row("sentiment, letter by letter", "char_cnn", {"accuracy": SHARE}),
    Row("sound", "fsdd", {"accuracy": SHARE}, "97 to 99.3 %"),
    Row("sound", "fsdd_waveform", {"accuracy": SHARE}),
    Row("sound of a speaker not heard in training", "fsdd_speakers", {"accuracy": SHARE}),
    Row("sound of a speaker not heard in training", "fsdd_waveform_speakers", {"accuracy": SHARE}),
    Row("DNA", "deepbind", {"auroc": "{:.4f}", "auprc": "{:.4f}"}, "AUROC 0.900 (a published notebook)"),
    Row("DNA, six factors at once", "deepsea", {"auroc": "{:.4f}", "auprc": "{:.4f}"}),
    Row("DNA, six factors at once", "basset", {"auroc": "{:.4f}", "auprc": "{:.4f}"}),
    Row("raw audio", "wavenet", {"bits_per_sample": "{:.3f}", "previous": "{:.3f}", "unigram": "{:.3f}"}),
    Row("clips", "moving", {"accuracy": SHARE}),
    Row("volumes", "isbi_volume", {"mean_dice": SHARE, "mean_iou": SHARE}),
    Row("reading", "reading", {"string_accuracy": SHARE, "letter_error_rate": SHARE}),
]  # fmt: skip


def read(name: str) -> dict[str, Any]:
    """A recipe's JSON file; empty where there is none."""
    path = ROOT / "recipes" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def trainings(stored: dict[str, Any]) -> list[dict[str, float]]:
    """The measures of each training."""
    return [
        next(iter(run["parts"].values())) if "parts" in run else run["scores"] | run["scores"].get("regions", {})
        for run in stored.get("runs", [])
    ]


def told(row: Row) -> str | None:
    """A line of the table; None where nothing was measured."""
    stored = read(row.name)
    found = trainings(stored)
    if not found:
        return None
    words = []
    for key, form in row.measures.items():
        values = [one[key] for one in found if key in one]
        if values:
            mean, least, most = (form.format(function(values)) for function in (statistics.mean, min, max))
            several = "" if least == most else f" ({least} to {most})"
            words.append(f"{spell(key)}: {mean}{several}")
    seconds = [run["processor_seconds"] for run in stored["runs"] if "processor_seconds" in run]
    folds = sum(len(run.get("folds", [run])) for run in stored["runs"])
    time = f"{statistics.median(seconds):,.0f}" if seconds else ""
    link = f"[{row.name}](../recipes/{row.name}.yaml)"
    return f"| {row.task} | {link} | {'; '.join(words)} | {row.asked} | {folds} | {time} |"


def claims_table() -> str:
    """docs/recipes.md's table."""
    head = [
        "| task | recipe | measured | to reach, or to compare | trainings | seconds of two cores |",
        "|---|---|---|---|---:|---:|",
    ]
    return "\n".join([*head, *filter(None, map(told, ROWS)), *others()])


def others() -> list[str]:
    """Rows of scripts that are no recipe files."""
    ucr = (ROOT / "recipes" / "ucr.md").read_text().splitlines()[-1].removesuffix(".")
    lines = [
        *map(denoised, DENOISED),
        *map(colored, COLORED),
        f"| time series | [ucr](../recipes/ucr.py) | accuracies of two networks on ten sets: {ucr} | "
        f"[set by set](signals.md) | {sum(map(len, read('ucr')['results'].values()))} | |",
    ]
    if found := read("window_classifier"):
        scores = found["scores"]["corrected"]
        lines.append(
            f"| a class for each window | [window_classifier](../recipes/window_classifier.py) | accuracy "
            f"{scores['accuracy']:.2%}; scanned {found['ratio']:,.0f} times as fast as window by window (measured on "
            f"{found['scaled_from_rows']} rows of a slice), greatest "
            f"difference {found['greatest_difference']:.0e} | the same result | 1 | {found['train_seconds']:,.0f} |"
        )
    if found := read("many_scales"):
        ways = found["by magnification"]
        shares = {
            (way, key): ", ".join(f"{row[key]:.0%}" for row in rows.values())
            for way, rows in ways.items()
            for key in ("named", "voted")
        }
        lines.append(
            f"| digits of {', '.join(ways['pyramid'])} times the size on canvases | "
            f"[many_scales](../recipes/many_scales.py) | found and named by the pyramid: {shares['pyramid', 'named']}; "
            f"by one scale: {shares['one scale', 'named']}; with most votes of the pyramid: "
            f"{shares['pyramid', 'voted']}; of one scale: {shares['one scale', 'voted']} | | 1 | "
            f"{found['processor_seconds']:,.0f} |"
        )
    return lines


def techniques_table() -> str:
    """docs/techniques.md's table."""
    stored = read("techniques")
    rows = stored["rows"]
    bases = {row["technique"]: row for row in rows if not row["change"]}
    lines = [
        "| technique | change | runs | test accuracy, % | least to greatest | against its base | training loss |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for before, row in zip([None, *rows], rows, strict=False):
        first = before is None or before["technique"] != row["technique"]
        values = [100 * run["accuracy"] for run in row["runs"]]
        said = "the base, as below" if row["technique"] == row["base"] == "base" else f"`{row['spelled']}`"
        loss = statistics.mean(run["training_loss"] for run in row["runs"])
        lines.append(
            f"| {row['technique'] if first else ''} | {said} | {len(values)} | {statistics.mean(values):.1f} | "
            f"{min(values):.1f} to {max(values):.1f} | {against(row, bases.get(row['base']))} | {loss:.2f} |"
        )
    return "\n".join([*lines, "", setting(stored["setting"], rows)])


def against(row: dict[str, Any], base: dict[str, Any] | None) -> str:
    """The mean difference to the base, seed by seed, with its standard deviation."""
    if base is None or not row["change"] or "folds" in row["change"]:
        return ""
    of_base = {run["seed"]: run["accuracy"] for run in base["runs"]}
    gains = [100 * (run["accuracy"] - of_base[run["seed"]]) for run in row["runs"] if run["seed"] in of_base]
    spread = f" ± {statistics.stdev(gains):.1f}" if len(gains) > 1 else ""
    return f"{statistics.mean(gains):+.1f}{spread}"


def setting(stored: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What all rows have in common."""
    base, images = stored["base"], stored["images"]
    seconds = sum(run["seconds"] for row in rows for run in row["runs"])
    return (
        f"{stored['data']}: {images['all']:,} training and {images['all, test']:,} test images; `{base['model']}`, "
        f"{base['epochs'] * stored['share']:g} epochs, {base['batch_size']} images an update, {base['optimizer']}, "
        f"learning rate {base['learning_rate']:g} (one cycle), momentum {base['momentum']:g}. {len(rows)} rows, "
        f"{seconds / 60:.0f} minutes of training on {stored['threads']} threads (processor); torch {stored['torch']}."
    )


def restored(name: str) -> dict[str, Any]:
    """What is stored in docs/restoration."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "restoration" / f"{name}.json").read_text())
    return found


def denoised(name: str) -> str:
    """A line of the table of recipes."""
    runs = restored(name)["runs"]
    levels = {method: decibels(runs, method) for method in runs[0]["methods"]}
    each = [run["methods"]["ours"]["psnr"] for run in runs]
    several = f" ({min(each):.2f} to {max(each):.2f})" if len(each) > 1 else ""
    others = "; ".join(f"{method} {level:.2f}" for method, level in levels.items() if method != "ours")
    return (
        f"| denoising | [{name}](../recipes/{name}.yaml) | {levels['ours']:.2f} dB{several} | dB: {others} | "
        f"{len(runs)} | |"
    )


def colored(name: str) -> str:
    """A line of the table of recipes, of the run's own test pictures."""
    one = next(iter(restored(name).values()))
    network, *others = (
        f"{one[key]['name']}: {one[key]['balanced_auc']:.1%}, {one[key]['auc']:.1%}"
        for key in ("network", "mean_color", "grey")
    )
    link = f"[{name}](../recipes/{name}.yaml)"
    return f"| colorization | {link} | AuC balanced, plain: {network} | {'; '.join(others)} | 1 | |"


def decibels(runs: Sequence[dict[str, Any]], method: str, measure: str = "psnr") -> float:
    """The mean PSNR of a method; `psnr_unseen`: without the pictures of which another form was in training."""
    return statistics.mean(run["methods"][method][measure] for run in runs)


def denoising_table(name: str) -> list[str]:
    """Every method on the test pictures of a recipe's runs."""
    runs = restored(name)["runs"]
    setting, again = runs[0]["setting"], [run["seen_in_training"] for run in runs]
    best = max(runs[0]["methods"], key=lambda method: decibels(runs, method))
    lines = [
        f"[{name}.yaml](../recipes/{name}.yaml): {setting['pictures']:,} test pictures of "
        f"{'x'.join(map(str, setting['shape'][1:]))}, {setting['noise']} noise of σ {setting['sigma']:g}; ours has "
        f"{setting['parameters']:,} parameters and learned from {setting['trained_on']:,} other pictures "
        f"({len(runs)} training{'s' * (len(runs) > 1)}). Without: those of which another form is among the training "
        f"pictures ({', '.join(map(str, again))}).",
        "",
        "| | PSNR, dB | without | SSIM | strength |",
        "|---|---|---|---|---|",
    ]
    for method in runs[0]["methods"]:
        value = f"{decibels(runs, method):.2f}"
        similar = statistics.mean(run["methods"][method]["ssim"] for run in runs)
        strengths = dict.fromkeys(run["methods"][method].get("strength", "") for run in runs)
        shown, unseen = f"**{value}**" if method == best else value, decibels(runs, method, "psnr_unseen")
        lines.append(f"| {method} | {shown} | {unseen:.2f} | {similar:.3f} | {', '.join(strengths)} |")
    return lines


def restoration_tables() -> str:
    """docs/restoration.md's tables."""
    lines: list[str] = []
    for name in DENOISED:
        lines += [*denoising_table(name), ""]
    lines += [
        "Shares in %, AuC balanced over the colors that occur and plain; shares of the pixels within ΔE:",
        "",
        "| pictures | answer | AuC balanced | AuC | within ΔE 5 | 10 | 20 | PSNR, dB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    measured = {name: restored(name) for name in COLORED}
    for title, found in measured["colorize"].items():
        answers = {f"network, {how}": measured[name][title]["network"] for name, how in COLORED.items()}
        answers |= {found[key]["name"]: found[key] for key in ("mean_color", "grey")}
        for number, (answer, one) in enumerate(answers.items()):
            shares = [one["balanced_auc"], one["auc"], *one["within"].values()]
            cells = [f"{100 * share:.1f}" for share in shares]
            what = "" if number else f"{title} ({found['n']:,})"
            lines.append(f"| {what} | {answer} | {' | '.join(cells)} | {one['psnr']:.1f} |")
    return "\n".join(lines)


def signals_table() -> str:
    """docs/signals.md's results."""
    parts = []
    for name in ("fsdd", "fsdd_waveform", "wavenet"):
        lines = (ROOT / "recipes" / f"{name}.yaml").read_text().splitlines()
        head = [line.removeprefix("# ") for line in lines if line.startswith("#")]
        parts += [f"**[recipes/{name}.yaml](../recipes/{name}.yaml)**", "", *head[1:], ""]
    parts += [
        "**A speaker who was not heard in training**, each in turn ([spectrogram](../recipes/fsdd_speakers.yaml), "
        "[waveform](../recipes/fsdd_waveform_speakers.yaml))",
        "",
        "| speaker | recordings | ResNet-20 on the spectrogram | M5 on the waveform |",
        "|---|---:|---:|---:|",
    ]
    first, second = map(by_speaker, ("fsdd_speakers", "fsdd_waveform_speakers"))
    for name, one in sorted(first.items()):
        parts.append(f"| {name} | {one['n']} | {one['accuracy']:.1%} | {second[name]['accuracy']:.1%} |")
    means = [statistics.mean(one["accuracy"] for one in found.values()) for found in (first, second)]
    parts.append(f"| mean | | {means[0]:.1%} | {means[1]:.1%} |")
    setting = read("ucr")["setting"]
    parts += [
        "",
        f"**The UCR archive** (`recipes/ucr.py`, torch {setting['torch']})",
        "",
        (ROOT / "recipes" / "ucr.md").read_text().rstrip(),
    ]
    return "\n".join(parts)


def by_speaker(name: str) -> dict[str, dict[str, float]]:
    """The measures of each speaker's fold; recordings are named as 3_theo_17.wav."""
    stored = read(name)
    speakers = [{file.split("_")[1] for file in run["first_and_last"]} for run in stored["runs"]]
    return {speaker: found for (speaker,), found in zip(speakers, trainings(stored), strict=True)}
