"""Time series of the UCR archive: FCN and ResNet (Wang et al. 2017) beside their published accuracies.

    python recipes/ucr.py PATH --out FOLDER [--sets GunPoint ...] [--networks ts_fcn ...] [--updates 3000]
        [--schedule plateau] [--seeds 1]

PATH is the archive's folder, or a tar of it. The recipe of the published accuracies (H. I. Fawaz et al., "Deep
learning for time series classification: a review", 2019, github.com/hfawaz/dl-4-tsc) is `--schedule plateau`: batches
of 16 (a tenth of small sets), Adam at 0.001, halved after 50 epochs without a lower training loss, and the weights of
the epoch with the lowest one. Few updates never halve it, which harms sets of many classes: without that option the
rate rises to 0.005 and falls to 0. Writes FOLDER/ucr.json and FOLDER/ucr.md; a seed that is in the file already, with
as many updates or more and that schedule, is not trained again, and those of another schedule leave it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch

import striate
from striate.train import evaluate

NETWORKS = ("ts_fcn", "ts_resnet")
# Test accuracy (%) of the authors' five runs, ts_fcn and ts_resnet: results/results-ucr-128.csv of their repository.
PUBLISHED = {
    "GunPoint": ((100.0, 100.0, 100.0, 100.0, 100.0), (99.3, 99.3, 98.0, 98.7, 100.0)),
    "ECG200": ((90.0, 88.0, 88.0, 89.0, 89.0), (89.0, 85.0, 88.0, 89.0, 86.0)),
    "Coffee": ((100.0, 100.0, 100.0, 100.0, 100.0), (100.0, 100.0, 100.0, 100.0, 100.0)),
    "CBF": ((99.4, 99.4, 99.3, 99.2, 99.4), (99.2, 99.7, 99.7, 99.7, 99.7)),
    "ECGFiveDays": ((98.7, 98.5, 98.5, 98.1, 98.8), (99.3, 99.7, 89.3, 96.1, 98.8)),
    "ItalyPowerDemand": ((96.1, 96.4, 96.2, 96.4, 96.3), (96.6, 96.2, 95.9, 96.0, 96.0)),
    "SyntheticControl": ((98.7, 99.3, 99.3, 98.7, 98.3), (99.7, 99.3, 99.7, 100.0, 99.7)),
    "Trace": ((100.0, 100.0, 100.0, 100.0, 100.0), (100.0, 100.0, 100.0, 100.0, 100.0)),
    "SwedishLeaf": ((96.5, 97.1, 96.5, 97.0, 96.6), (95.5, 96.5, 96.3, 96.6, 96.3)),
    "TwoLeadECG": ((100.0, 100.0, 99.9, 99.9, 99.9), (100.0, 100.0, 100.0, 100.0, 100.0)),
}


def train(network: str, data: str, updates: int, seed: int, schedule: str) -> dict[str, Any]:
    """Test accuracy of one network on one set."""
    rows = len(striate.load_data(data, validation=0).train)
    batch = max(2, min(16, rows // 10))
    epochs = math.ceil(updates / max(1, rows // batch))
    how: dict[str, Any] = {"schedule": "one_cycle", "learning_rate": 0.005}
    if schedule == "plateau":
        how = {"schedule": "plateau", "learning_rate": 0.001, "step_epochs": 50, "step_factor": 0.5,
               "final_learning_rate": 0.1, "patience": epochs + 1}  # fmt: skip
    recipe = striate.Recipe(
        model=network, data=data, epochs=epochs, batch_size=batch, validation=0.0, seed=seed, device="cpu",
        optimizer="adamw", weight_decay=0.0, label_smoothing=0.0, **how,
    )  # fmt: skip
    session = striate.open_session(recipe)
    began = time.perf_counter()
    steps = [step.number for step in striate.fit(session.model, session.task, session.data, recipe)]
    seconds = time.perf_counter() - began
    tested = session.data.test
    kept, targets = evaluate(session.model, session.task, tested, session.data.preprocess, torch.device("cpu"))
    accuracy = session.task.score(kept, targets).accuracy
    return {
        "seed": seed,
        "accuracy": round(100 * accuracy, 2),
        "updates": len(steps),
        "schedule": schedule,
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "test_series": len(tested),
    }


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Ours beside the authors' mean and range."""
    ours = "accuracy, % | least to greatest"
    published = "published mean (5 runs) | lowest to highest"
    lines = [f"| set | test series | network | seeds | {ours} | {published} | updates | schedule | seconds |"]
    lines += ["|---|---:|---|---:|---:|---:|---:|---:|---:|---|---:|"]
    met = 0
    for name, both in PUBLISHED.items():
        for network, theirs in zip(NETWORKS, both, strict=True):
            if runs := results.get(f"{name} {network}"):
                values = [run["accuracy"] for run in runs]
                mean = statistics.mean(values)
                met += round(mean, 1) >= min(theirs)
                updates = statistics.median(run["updates"] for run in runs)
                seconds = statistics.median(run["seconds"] for run in runs)
                spread = f"{min(values):.1f} to {max(values):.1f}" if len(runs) > 1 else ""
                lines.append(
                    f"| {name} | {runs[0]['test_series']} | `{network}` | {len(runs)} | {mean:.1f} | {spread} | "
                    f"{statistics.mean(theirs):.1f} | {min(theirs):.1f} to {max(theirs):.1f} | {updates:,.0f} | "
                    f"{runs[0]['schedule'].replace('_', ' ')} | {seconds:.0f} |"
                )
    told = f"{met} of {len(lines) - 2} are as high as the lowest of the authors' five runs, or higher."
    return "\n".join([*lines, "", told]) + "\n"


def main() -> None:
    """Train what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the archive's folder, or a tar of it")
    parser.add_argument("--out", type=Path, default=Path("ucr"))
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED))
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--schedule", default="one_cycle", choices=("one_cycle", "plateau"))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "ucr.json"
    stored = json.loads(path.read_text()) if path.is_file() else {}
    setting = {"torch": torch.__version__, "striate": striate.__version__}
    if stored.get("setting", setting) != setting:
        raise SystemExit(f"{path} holds another setting, {stored['setting']}: choose another --out")
    results = stored.get("results", {})
    for seed, name, network in itertools.product(range(options.seeds), options.sets, options.networks):
        runs = [run for run in results.get(f"{name} {network}", []) if run["schedule"] == options.schedule]
        if any(run["seed"] == seed and run["updates"] >= options.updates for run in runs):
            continue
        data = f"ucr:{options.path / name}" if options.path.is_dir() else f"ucr:{options.path}:{name}"
        found = train(network, data, options.updates, seed, options.schedule)
        others = [run for run in runs if run["seed"] != seed]
        results[f"{name} {network}"] = sorted([*others, found], key=lambda run: int(run["seed"]))
        print(f"{name} {network}, seed {seed}: {found['accuracy']:.1f} % in {found['seconds']} s", flush=True)
        path.write_text(json.dumps({"setting": setting, "results": results}, indent=1) + "\n")
        (options.out / "ucr.md").write_text(table(results))


if __name__ == "__main__":
    main()
