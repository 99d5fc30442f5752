"""Write docs/demonstrations.md and the pictures in docs/demonstrations/: every demonstration, drawn.

python docs/demonstrations.py [NAME ...]

Without names, all pictures are drawn again.
"""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from PIL import Image

from striate.demonstrations import DEMONSTRATIONS, Demonstration, show

PAGE = Path(__file__).parent / "demonstrations.md"
PICTURES = PAGE.with_suffix("")
PNG_DPI, GIF_DPI = 72, 60
# These say more in motion than all steps side by side.
MOVING = ("sobel", "box_and_ramp", "signals", "stride", "equivariance", "dense_as_convolution")


def file_name(spec: str) -> str:
    """Of the picture of a spec."""
    name = "-".join(spec.replace("=", "_").replace(",", "-").split(":"))
    return f"{name}.{'gif' if spec in MOVING else 'png'}"


def draw(spec: str) -> bytes:
    """A small picture."""
    scene = show(spec)
    if spec in MOVING:
        return scene.picture("gif", dpi=GIF_DPI, seconds=0.4)
    picture = Image.open(io.BytesIO(scene.picture("png", dpi=PNG_DPI))).convert("RGB")
    small = io.BytesIO()
    picture.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def chapter(entry: Demonstration) -> str:
    """What the file that it stands in says of itself."""
    module = inspect.getmodule(inspect.unwrap(entry.function))
    return (inspect.getdoc(module) or "").partition("\n")[0].removesuffix(".")


def section(entry: Demonstration) -> str:
    """The entry's own section."""
    lines = [f"### {entry.name}", "", entry.summary + (f" After {entry.source}." if entry.source else ""), ""]
    values = entry.json()["allowed"]
    options = [f"`{key}={default}` ({_words(values[key])})" for key, default in entry.defaults.items()]
    lines += [f"Options: {', '.join(options)}.", ""] if options else []
    for spec in entry.examples:
        lines += [f"    striate show {spec}", "", f"![{spec}]({PICTURES.name}/{file_name(spec)})", ""]
    return "\n".join(lines)


def _words(allowed: str | tuple[object, ...]) -> str:
    return allowed if isinstance(allowed, str) else " or ".join(map(str, allowed))


def page(entries: Iterable[Demonstration]) -> str:
    """docs/demonstrations.md."""
    entries = list(entries)
    moving = sum(entry.moves for entry in entries)
    parts = [
        "# Demonstrations",
        "",
        f"How the operations of convolutional networks work, drawn: {len(entries)} of them, {moving} of which move. "
        "`striate show NAME --out FILE` writes a .gif of all steps, or a still .png or .svg; with `--json` it prints "
        "the data. In Python, and in a notebook, which shows the picture:",
        "",
        '    scene = striate.demonstrations.show("stride:size=9,step=3")',
        '    scene.data["output"], scene.numbers',
        '    scene.save("stride.gif")',
        "",
        "Orange is what is read, green what is written. Gray runs from black to white; blue, white and red are below, "
        "at and above zero. Written by `python docs/demonstrations.py`.",
        "",
        "| demonstration | what it shows |",
        "|---|---|",
        *(f"| [`{entry.name}`](#{entry.name}) | {entry.summary} |" for entry in entries),
        "",
    ]
    for title, group in groupby(entries, chapter):
        parts += [f"## {title}", "", *map(section, group)]
    return "\n".join(parts).rstrip() + "\n"


def main(names: list[str]) -> None:
    """Write the page and the pictures, or only those of some demonstrations."""
    PICTURES.mkdir(exist_ok=True)
    PAGE.write_text(page(DEMONSTRATIONS.values()), encoding="utf-8")
    specs = [spec for entry in DEMONSTRATIONS.values() for spec in entry.examples]
    for old in PICTURES.iterdir():
        if old.name not in map(file_name, specs):
            old.unlink()
    for spec in specs:
        if not names or spec.partition(":")[0] in names:
            (PICTURES / file_name(spec)).write_bytes(draw(spec))


if __name__ == "__main__":
    main(sys.argv[1:])
