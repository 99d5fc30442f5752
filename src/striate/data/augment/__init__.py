"""Random changes of items and of what they mean: whole batches at once, each item with its own draw."""

from striate.data.augment.bend import cut, elastic
from striate.data.augment.color import color, color_axes, color_matrix, cutout, grey, pca_color
from striate.data.augment.joint import build_augmentation
from striate.data.augment.move import Move, crop, flip, rotate, scale, shift, turned, warp
from striate.data.augment.registry import AUGMENTATIONS, Augmentation, words
from striate.data.augment.signals import delay, excerpt, gain, hiss, mask_band, mask_time, speed
from striate.data.augment.symbols import drop_words, jitter, reverse_complement

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Move",
    "build_augmentation",
    "color",
    "color_axes",
    "color_matrix",
    "crop",
    "cut",
    "cutout",
    "delay",
    "drop_words",
    "elastic",
    "excerpt",
    "flip",
    "gain",
    "grey",
    "hiss",
    "jitter",
    "mask_band",
    "mask_time",
    "pca_color",
    "reverse_complement",
    "rotate",
    "scale",
    "shift",
    "speed",
    "turned",
    "warp",
    "words",
]
