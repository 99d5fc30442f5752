"""What the filters of DeepBind's networks look for, among known motifs: those of recipes/factors.py, and small ones.

    python recipes/motifs.py recipes/deepbind.yaml H12CORE_meme_format.meme.gz [--factors REST ...] [--out docs]

For each factor: its network of the recipe (seed 0), and two small ones (16 filters, two epochs of the first 2,500
peaks; seeds 0 and 1), each matched against all motifs of a MEME or JASPAR file. Writes motifs.json beside the recipe
and motifs.png, the likeliest filter of each factor's network; what is in the JSON file, of the same recipe, is not
trained again.
`python benchmarks/tables.py` puts it into docs/sequences.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch

import striate
from claim import settings_of, trained
from striate.interpret import Motif, filter_motifs, match_motifs, read_motifs
from striate.interpret.pictures import draw_logos

SEQUENCES = 1000  # bound training sequences in which the filters are active
LIKELY = 0.01  # greatest E-value of a match
PEAKS = 2500
SMALL: dict[str, Any] = {"model": "deepbind:strands=both,motifs=16,hidden=0", "epochs": 2}


def matched(recipe: striate.Recipe, factor: str, known: Sequence[Motif]) -> dict[str, Any]:
    """Train; the likeliest match, the rank of the factor among those of known motifs, and how many filters match."""
    session = striate.open_session(recipe)
    *_, seconds = trained(session)
    train = session.data.train
    bound = train.inputs[(train.targets == 1).flatten()][:SEQUENCES]
    motifs = [motif.trimmed() for motif in filter_motifs(session.model.eval(), session.data.preprocess.units(bound))]
    rows = sorted(match_motifs(motifs, known, most=len(known)).rows, key=lambda row: row.e_value)
    likely = [row for row in rows if row.e_value < LIKELY]
    names = list(dict.fromkeys(row.target.split(".")[0] for row in rows))
    own = [row for row in rows if row.target.split(".")[0] == factor]
    (first,) = (motif for motif in motifs if motif.name == rows[0].query)
    return {
        "filters": len(motifs),
        "filters_like_any": len({row.query for row in likely}),
        "filters_like_own": len({row.query for row in own if row.e_value < LIKELY}),
        "best": asdict(rows[0]) | {"matrix": first.matrix.tolist(), "sites": first.sites},
        "rank": names.index(factor) + 1,
        "before": names[: names.index(factor)],
        "own_e_value": own[0].e_value,
        **seconds,
    }


def fewer(peaks: Path, folder: Path) -> Path:
    """The first of a factor's peaks, beside its test file, in another folder."""
    lines = gzip.decompress(peaks.read_bytes()).splitlines()[: PEAKS + 1]
    (folder / peaks.name).write_bytes(gzip.compress(b"\n".join(lines)))
    shutil.copy(peaks.with_name(peaks.name.replace("_AC.", "_B.")), folder)
    return folder / peaks.name


def main() -> None:
    """Train and match what is missing, factor by factor; draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("known", type=Path, help="a file of known motifs (MEME, JASPAR)")
    parser.add_argument("--factors", nargs="+", help="only these")
    parser.add_argument("--folder", type=Path, help="the sets, where they lie elsewhere than the recipe says")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs")
    options = parser.parse_args()
    recipe = replace(striate.Recipe.read(options.recipe), device="cpu")
    known = read_motifs(options.known)
    path = options.recipe.with_name("motifs.json")
    stored = json.loads(path.read_text()) if path.is_file() else {}
    setting = {
        "recipe": settings_of(options.recipe),
        "small": {**SMALL, "peaks": PEAKS},
        "sequences": SEQUENCES,
        "known": options.known.name,
        "motifs": len(known),
        "torch": torch.__version__,
    }
    factors = stored["factors"] if stored.get("setting") == setting else {}
    folder = options.folder or Path(recipe.data.partition(":")[2]).parent
    files = {file.name.partition("_")[0]: file for file in folder.glob("*_AC.seq.gz")}
    wanted = options.factors or sorted(files, key=lambda factor: files[factor].stat().st_size)
    named = {motif.name.split(".")[0] for motif in known}
    for factor in wanted:
        if factor not in files or factor not in named:
            what = f"peaks in {folder}" if factor not in files else f"motif in {options.known}"
            raise SystemExit(f"{factor} has no {what}.")
    options.out.mkdir(parents=True, exist_ok=True)
    for factor in wanted:
        if factor in factors:
            continue
        file = files[factor]
        with tempfile.TemporaryDirectory() as place:
            part = fewer(file, Path(place))
            factors[factor] = {
                "full": matched(replace(recipe, data=f"chip:{file}"), factor, known),
                "small": [
                    matched(replace(recipe, data=f"chip:{part}", seed=seed, **SMALL), factor, known) for seed in (0, 1)
                ],
            }
        path.write_text(json.dumps({"setting": setting, "factors": factors}) + "\n")
        ranks = [factors[factor]["full"]["rank"], *(one["rank"] for one in factors[factor]["small"])]
        print(f"{factor}: its own motif is number {', '.join(map(str, ranks))}", flush=True)
    logos = [titled(factor, found["full"]["best"]) for factor, found in factors.items()]
    draw_logos(logos).savefig(options.out / "motifs.png", dpi=120)


def titled(factor: str, best: dict[str, Any]) -> Motif:
    """The filter's motif with a title that says what it is like."""
    like = best["target"].split(".")[0]
    number = best["query"].rpartition(".")[2]
    title = f"{factor}: filter {number}, like {like}, E {best['e_value']:.0e}"
    return Motif(title, torch.tensor(best["matrix"]), best["sites"])


if __name__ == "__main__":
    main()
