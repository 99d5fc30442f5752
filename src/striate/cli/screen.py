"""What the command line says: lines and bars for people on standard error, results on standard output."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

# People read standard error, programs standard output.
SCREEN = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line for people, on standard error, above a live bar; never folded."""
    SCREEN.print(text, markup=False, soft_wrap=True)


def print_line(text: str) -> None:
    """A line for programs, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_table(table: Table) -> None:
    """A table on standard output, never cut when it goes to a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
    console.print(table)


def complain(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"striate: {' '.join(message.split())}\n")
