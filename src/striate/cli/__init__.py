"""The command line."""

from striate.cli.verbs import main

__all__ = ["main"]
