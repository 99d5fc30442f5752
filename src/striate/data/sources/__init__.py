"""Data sources by name: files as people have them, each read into one listing."""

from striate.data.sources import photos, pictures
from striate.data.sources.registry import SOURCES, Source, find_source, read_source, source

__all__ = ["SOURCES", "Source", "find_source", "photos", "pictures", "read_source", "source"]
