"""Generated road scenes: repeatable, every class there, and drawn alike on picture and mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from striate.data.items import Reading
from striate.data.masks import Pairs, read_pairs
from striate.data.roads import CAMVID_CLASSES, CAMVID_PALETTE, road_scene, write_camvid
from striate.data.sources.segmentation import CAMVID, camvid_pairs


def test_a_scene_is_the_same_for_the_same_numbers_only() -> None:
    picture, mask = road_scene(3, seed=1)
    again = road_scene(3, seed=1)
    assert np.array_equal(picture, again[0])
    assert np.array_equal(mask, again[1])
    assert not np.array_equal(picture, road_scene(3, seed=2)[0])
    assert not np.array_equal(picture, road_scene(4, seed=1)[0])


def test_all_classes_occur_and_void_is_the_outlines_only() -> None:
    masks = np.stack([road_scene(number, height=48, width=64)[1] for number in range(6)])
    bare = np.stack([road_scene(number, height=48, width=64, void=False)[1] for number in range(6)])
    assert set(np.unique(masks)) == {*range(11), 255}
    assert set(np.unique(bare)) == set(range(11))
    edge = np.zeros(bare.shape, bool)
    edge[:, :, :-1] |= bare[:, :, 1:] != bare[:, :, :-1]
    edge[:, :-1] |= bare[:, 1:] != bare[:, :-1]
    assert np.array_equal(masks == 255, edge)


def test_the_camera_looks_along_the_road() -> None:
    """Road at the bottom, more sky above than below, and nothing of the road above the horizon."""
    masks = np.stack([road_scene(number)[1] for number in range(6)])
    road, sky = masks == CAMVID_CLASSES.index("road"), masks == CAMVID_CLASSES.index("sky")
    assert road[:, -1].mean() > 0.9
    assert not road[:, :30].any()
    assert sky[:, :48].sum() > 20 * sky[:, 48:].sum()


def test_pixels_of_a_class_look_alike_within_a_scene() -> None:
    """The road's pixels differ less from each other than the picture's do: picture and mask are aligned."""
    for number in range(5):
        picture, mask = road_scene(number)
        grey = picture.mean(-1)
        assert grey[mask == CAMVID_CLASSES.index("road")].std() < 0.8 * grey.std()


def test_written_as_camvid_and_read_again(tmp_path: Path) -> None:
    write_camvid(tmp_path, (2, 1, 1), seed=5, height=32, width=48)
    pairs = camvid_pairs(tmp_path)
    assert {split: len(found) for split, found in pairs.items()} == {"train": 2, "validation": 1, "test": 1}
    images, masks, _ = read_pairs(Pairs.of(pairs["test"], CAMVID), None, None, Reading(""))
    picture, want = road_scene(3, seed=5, height=32, width=48)
    assert np.array_equal(masks[0], want)
    assert np.array_equal(images[0].permute(1, 2, 0), picture)
    assert np.array_equal(np.asarray(Image.open(pairs["test"][0][0])), picture)
    assert len(CAMVID_PALETTE) == len(set(CAMVID_PALETTE)) == 11
