"""Data sources by name: files as people have them, each read into one listing."""

from striate.data.sources import (
    clips,
    dna,
    photos,
    pictures,
    places,
    segmentation,
    series,
    sound,
    stack,
    strings,
    table,
    text,
)
from striate.data.sources.registry import SOURCES, Source, find_source, read_source, source

__all__ = [
    "SOURCES",
    "Source",
    "clips",
    "dna",
    "find_source",
    "photos",
    "pictures",
    "places",
    "read_source",
    "segmentation",
    "series",
    "sound",
    "source",
    "stack",
    "strings",
    "table",
    "text",
]
