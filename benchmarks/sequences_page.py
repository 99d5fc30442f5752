"""The tables of docs/sequences.md: factors, Kim's variants, motifs. Written by tables.py."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from claims_page import read


def sequences_tables() -> Sequence[str]:
    """In the order of the page."""
    return kim_table(), factors_table(), motifs_table(), small_motifs_table()


def kim_table() -> str:
    """The four variants over the same folds."""
    stored = read("kim")
    published = {"rand": 76.1, "static": 81.0, "non-static": 81.5, "multichannel": 81.1}
    setting, modes = stored["setting"], stored["modes"]
    first = modes["static"]["0"]
    cores = "a core" if first["threads"] == 1 else f"{first['threads']} cores"
    lines = [
        f"`{setting['vectors']}`, {setting['length']} numbers a word, has {first['words_with_a_vector']:,} of the "
        f"{first['words']:,} words (fold 0).",
        "",
        f"| `text_cnn:mode=` | epochs | accuracy, % | least to greatest | folds | seconds of {cores} | "
        "Kim, vectors of 300 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for mode, folds in modes.items():
        values = [100 * one["accuracy"] for one in folds.values()]
        seconds = statistics.median(one["processor_seconds"] for one in folds.values())
        cells = [
            f"`{mode}`",
            setting["epochs"][mode],
            f"{statistics.mean(values):.1f}",
            f"{min(values):.1f} to {max(values):.1f}",
            len(values),
            f"{seconds:.0f}",
            published[mode],
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def factors_table() -> str:
    """A network for each factor, and networks for all of them."""
    together = {name: read(name)["runs"] for name in ("deepsea", "basset")}
    *_, apart = together["deepsea"][0]["labels"].values()
    head = ["factor", "peaks in training", "`deepbind`: AUROC", "AUPRC", "accuracy", "seconds"]
    for name in together:
        head += [f"one `{name}`: AUROC", "AUPRC", "AUROC where nothing overlaps"]
    head.append("with peaks")
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for factor, found in read("deepbind_factors")["factors"].items():
        cells = [f"{found[key]:.3f}" for key in ("auroc", "auprc", "accuracy")] + [f"{found['processor_seconds']:.0f}"]
        for runs in together.values():
            parts = [[part[factor] for part in run["labels"].values()] for run in runs]
            for number, key in ((0, "auroc"), (0, "auprc"), (1, "auroc")):
                cells.append(f"{statistics.mean(part[number][key] for part in parts):.3f}")
        lines.append(f"| {factor} | {found['peaks']:,} | {' | '.join(cells)} | {apart[factor]['support']} |")
    counts = ", ".join(f"`{name}` {len(runs)}" for name, runs in together.items())
    return "\n".join([*lines, "", f"`deepbind`: seed 0. Networks of all factors: means of their trainings ({counts})."])


def motifs_table() -> str:
    """What the networks of the recipe found."""
    lines = [
        "| network | filters with E < 0.01 | best match | E | overlap | correlation | its own motif: filters | E |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for factor, found in read("motifs")["factors"].items():
        one = found["full"]
        best = one["best"]
        lines.append(
            f"| {factor} | {one['filters_like_any']} | {factor_of(best['target'])} | {best['e_value']:.0e} | "
            f"{best['overlap']} | {best['correlation']:.2f} | {one['filters_like_own']} | {one['own_e_value']:.0e} |"
        )
    return "\n".join(lines)


def small_motifs_table() -> str:
    """Where the factor's own motif stands, after little training."""
    stored = read("motifs")
    small, found = stored["setting"]["small"], {factor: one["small"] for factor, one in stored["factors"].items()}
    busy = statistics.median(one["processor_seconds"] for seeds in found.values() for one in seeds)
    lines = [
        f"`{small['model']}`, {small['epochs']} epochs of the first {small['peaks']:,} peaks, {busy:.0f} s of the "
        "processor each:",
        "",
        "| factor | rank | E | before it |",
        "|---|---|---|---|",
    ]
    for factor, seeds in sorted(found.items(), key=lambda item: statistics.mean(one["rank"] for one in item[1])):
        ranks, chances = ([one[key] for one in seeds] for key in ("rank", "own_e_value"))
        before = list(dict.fromkeys(name for one in seeds for name in one["before"]))
        lines.append(
            f"| {factor} | {', '.join(map(str, ranks))} | {', '.join(f'{chance:.0e}' for chance in chances)} | "
            f"{some(before)} |"
        )
    return "\n".join(lines)


def some(names: list[str], most: int = 4) -> str:
    """The first names."""
    rest = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def factor_of(target: str) -> str:
    """HOCOMOCO's name of a motif starts with its factor's, or with the protein's as UniProt has it."""
    return target.split(".")[0]
