"""Files to tensors: data sources, kinds of input, splits, batches and augmentation."""

from striate.data.augment import AUGMENTATIONS, build_augmentation
from striate.data.bases import Bases
from striate.data.framing import Framing
from striate.data.images import Pictures
from striate.data.inputs import INPUTS, input_kind, read_input
from striate.data.items import VOID, Data, Entry, Input, Items, Listing, Meaning, Reading
from striate.data.load import augmentation_of, load_data, open_items
from striate.data.loader import Batch, Batches
from striate.data.series import Series
from striate.data.signals import Spectrogram, Waveform
from striate.data.sources import SOURCES, source
from striate.data.symbols import Characters, Words
from striate.data.volumes import Volumes

__all__ = [
    "AUGMENTATIONS",
    "INPUTS",
    "SOURCES",
    "VOID",
    "Bases",
    "Batch",
    "Batches",
    "Characters",
    "Data",
    "Entry",
    "Framing",
    "Input",
    "Items",
    "Listing",
    "Meaning",
    "Pictures",
    "Reading",
    "Series",
    "Spectrogram",
    "Volumes",
    "Waveform",
    "Words",
    "augmentation_of",
    "build_augmentation",
    "input_kind",
    "load_data",
    "open_items",
    "read_input",
    "source",
]
