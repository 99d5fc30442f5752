"""Files to tensors: data sources, splits, batches and augmentation for pictures."""

from striate.data.augment import AUGMENTATIONS, build_augmentation
from striate.data.images import Data, ImageSet, Preprocess
from striate.data.loader import Batch, Batches
from striate.data.sources import SOURCES, load_data, open_items

__all__ = [
    "AUGMENTATIONS",
    "SOURCES",
    "Batch",
    "Batches",
    "Data",
    "ImageSet",
    "Preprocess",
    "build_augmentation",
    "load_data",
    "open_items",
]
