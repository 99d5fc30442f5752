"""The verb that lists what a recipe can name besides networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from striate.cli.screen import print_json, print_table


@dataclass(frozen=True)
class Sources:
    """List what a recipe can name: data sources, kinds of input, tasks and augmentations."""

    json: bool = False
    """Print one JSON object of lists."""

    def run(self) -> None:
        """Print the lists."""
        lists = listed()
        if self.json:
            print_json(lists)
            return
        for title, rows in lists.items():
            columns = list(rows[0])
            table = Table(*columns, title=title, title_justify="left")
            for row in rows:
                table.add_row(*(escape(str(row[column])) for column in columns))
            print_table(table)


def listed() -> dict[str, list[dict[str, Any]]]:
    """Each list by its option of `train`: rows of plain types."""
    from striate.data import AUGMENTATIONS, INPUTS, SOURCES
    from striate.tasks import TASKS

    return {
        "data (--data)": [
            {
                "name": entry.spec,
                "inputs": "by the file" if entry.of else entry.inputs,
                "task": "by the file" if entry.of else entry.task,
                "what it is": entry.summary,
            }
            for entry in SOURCES.values()
        ],
        "kinds of input (--inputs)": [
            {"name": entry.name, "reads": ", ".join(entry.reads), "options": spell(entry.options),
             "what it is": entry.summary}
            for entry in INPUTS.values()
        ],
        "tasks (--task)": [
            {"name": entry.name, "learns from": ", ".join(entry.form.takes), "options": spell(entry.options),
             "what it is": entry.summary}
            for entry in TASKS.values()
        ],
        "augmentations (--augment)": [
            {"name": entry.example, "what it is": entry.summary} for entry in AUGMENTATIONS.values()
        ],
    }  # fmt: skip


def spell(options: dict[str, Any]) -> str:
    """Options with their defaults, as they are written."""
    return " ".join(f"{key}={value}" for key, value in options.items())
