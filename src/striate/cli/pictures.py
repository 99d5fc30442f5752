"""The verb that shows how an operation works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from striate.cli.screen import print_json, print_line, print_table
from striate.errors import InputError


@dataclass(frozen=True)
class Show:
    """Draw how an operation works, step by step, with its numbers; or list all such demonstrations."""

    demonstration: Annotated[Positional[str | None], tyro.conf.arg(metavar="[NAME]")] = None
    """A demonstration of the list; its options follow as in stride:size=9,step=3."""
    out: Path | None = None
    """The picture: .gif moves, .png and .svg hold still. By default NAME.gif, or NAME.png for what does not move."""
    seconds: float = 0.6
    """How long a GIF shows each step."""
    dpi: int = 100
    """Dots per inch of .png and .gif."""
    json: bool = False
    """Print one JSON object with all data instead of the numbers; write no picture without --out."""

    def run(self) -> None:
        """Write the picture, print the numbers."""
        from striate.demonstrations import DEMONSTRATIONS, show

        if self.demonstration is None:
            if self.out is not None:
                raise InputError("nothing to draw", got=f"--out {self.out}", fix="striate show NAME --out FILE")
            if self.json:
                print_json([entry.json() for entry in DEMONSTRATIONS.values()])
                return
            table = Table("demonstration", "what it shows", "options", "formats")
            for entry in DEMONSTRATIONS.values():
                options = " ".join(f"{key}={value}" for key, value in entry.defaults.items())
                table.add_row(entry.name, escape(entry.summary), escape(options), " ".join(entry.formats))
            print_table(table)
            return
        scene = show(self.demonstration)
        out = self.out
        if out is None and not self.json:
            out = Path(f"{scene.name}.{'gif' if scene.steps > 1 else 'png'}")
        if out is not None:
            scene.save(out, seconds=self.seconds, dpi=self.dpi)
        if self.json:
            print_json(scene.json())
            return
        print_table(scene.table())
        print_line(f"picture: {out}")
