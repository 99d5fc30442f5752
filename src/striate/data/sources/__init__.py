"""Data sources by name: files as people have them, each read into one listing."""

from striate.data.sources import pictures, places
from striate.data.sources.registry import SOURCES, Source, find_source, read_source, source

__all__ = ["SOURCES", "Source", "find_source", "pictures", "places", "read_source", "source"]
