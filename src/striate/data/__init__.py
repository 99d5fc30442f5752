"""Files to tensors: data sources, kinds of input, splits, batches and augmentation."""

from striate.data.augment import AUGMENTATIONS, build_augmentation
from striate.data.images import Pictures
from striate.data.inputs import INPUTS, input_kind, read_input
from striate.data.items import VOID, Data, Input, Items, Listing, Meaning, Reading
from striate.data.load import load_data, open_items
from striate.data.loader import Batch, Batches
from striate.data.patch import patch
from striate.data.sources import SOURCES, source

__all__ = [
    "AUGMENTATIONS",
    "INPUTS",
    "SOURCES",
    "VOID",
    "Batch",
    "Batches",
    "Data",
    "Input",
    "Items",
    "Listing",
    "Meaning",
    "Pictures",
    "Reading",
    "build_augmentation",
    "input_kind",
    "load_data",
    "open_items",
    "patch",
    "read_input",
    "source",
]
