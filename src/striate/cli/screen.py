"""What the command line says: lines and bars for people on standard error, results on standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from striate.plain import to_json

# People read standard error, programs standard output.
SCREEN = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line for people, on standard error, above a live bar; never folded."""
    SCREEN.print(text, markup=False, soft_wrap=True)


def print_line(text: str) -> None:
    """A line for programs, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Plain types as one line of JSON, on standard output."""
    print_line(to_json(value))


def print_table(table: Table) -> None:
    """A table on standard output, never cut when it goes to a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
    console.print(table)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table: text as it is, numbers with three decimals."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        values = [row.get(column, "") for column in columns]
        table.add_row(*(escape(f"{value:.3f}" if isinstance(value, float) else str(value)) for value in values))
    print_table(table)


def complain(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"striate: {' '.join(message.split())}\n")
