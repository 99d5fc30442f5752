"""Random changes of pictures and of what they mean: whole batches at once, each picture with its own draw."""

from striate.data.augment.bend import cut, elastic
from striate.data.augment.color import color, color_axes, color_matrix, cutout, grey, pca_color
from striate.data.augment.joint import build_augmentation
from striate.data.augment.move import Move, crop, flip, rotate, scale, shift, turned, warp
from striate.data.augment.registry import AUGMENTATIONS, Augmentation, words
from striate.data.augment.signals import SIGNAL_AUGMENTATIONS, augment_signals

__all__ = [
    "AUGMENTATIONS",
    "SIGNAL_AUGMENTATIONS",
    "Augmentation",
    "Move",
    "augment_signals",
    "build_augmentation",
    "color",
    "color_axes",
    "color_matrix",
    "crop",
    "cut",
    "cutout",
    "elastic",
    "flip",
    "grey",
    "pca_color",
    "rotate",
    "scale",
    "shift",
    "turned",
    "warp",
    "words",
]
