"""How well two images agree on what belongs together: Rand and information scores of connected regions.

A membrane of one pixel that is broken in one place merges two cells: hardly a pixel is wrong, and the segmentation is
useless. These scores compare the regions that the pixels enclose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.integer]


def regions(inside: npt.NDArray[np.bool_]) -> Labels:
    """Connected pieces numbered from 1, 0 outside; pixels touch at their sides, not at their corners.

    >>> regions(np.array([[1, 1, 0, 1], [0, 0, 0, 1]], bool))
    array([[1, 1, 0, 2],
           [0, 0, 0, 2]], dtype=int32)
    """
    labels, _ = ndimage.label(inside)
    return np.asarray(labels)


def thinned(labels: Labels) -> Labels:
    """The regions grown over the outside until one pixel of it is left between any two.

    A pixel outside goes to a region that is nearest, in steps from side to side; of two such neighbors that went to
    different regions, the one with the lower number stays outside. Nothing to grow from leaves all as it is.

    >>> thinned(np.array([[1, 0, 0, 0, 2, 2]]))
    array([[1, 1, 0, 2, 2, 2]], dtype=int32)
    """
    labels = labels.astype(np.int32)
    outside = labels == 0
    if outside.all() or not outside.any():
        return labels
    _, nearest = ndimage.distance_transform_cdt(outside, "taxicab", return_indices=True)
    grown = labels[tuple(nearest)]
    stays = np.where(outside, grown, grown + grown.max())  # what was inside does so
    border = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        region, rank, edge = (np.moveaxis(array, axis, 0) for array in (grown, stays, border))
        apart = region[1:] != region[:-1]
        edge[:-1] |= apart & (rank[:-1] < rank[1:])
        edge[1:] |= apart & (rank[1:] < rank[:-1])
    return np.where(border, 0, grown)


def region_scores(truth: Labels, proposal: Labels) -> Mapping[str, float]:
    """V^Rand and V^Info of a proposed segmentation, over the pixels inside the true regions, with their parts.

    With p_ij the share of those pixels in true region i and proposed region j, and t_i, s_j its sums,

        V^Rand = sum p_ij^2 / (sum t_i^2 / 2 + sum s_j^2 / 2)       split: / sum t_i^2      merge: / sum s_j^2
        V^Info = I(s; t) / (H(t) / 2 + H(s) / 2)                     split: / H(s)           merge: / H(t)

    1 is best. A pixel that the proposal leaves outside is a region of its own. "split" falls as true regions fall
    apart, "merge" as they are joined. NaN without a true region; V^Info of two segmentations with one region each is 1.

    Source: I. Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics"
    (2015), Frontiers in Neuroanatomy 9:142, equations 3 and 6 with alpha 0.5.

    >>> truth, merged = np.array([1, 1, 2, 2]), np.array([1, 1, 1, 1])
    >>> scores = region_scores(truth, merged)
    >>> round(scores["rand"], 4), scores["rand_split"], scores["rand_merge"], scores["info"]
    (0.6667, 1.0, 0.5, 0.0)
    """
    t, s = truth[truth > 0].astype(np.int64), proposal[truth > 0].astype(np.int64)
    n = len(t)
    if not n:
        return dict.fromkeys(
            (f"{kind}{part}" for kind in ("rand", "info") for part in ("", "_split", "_merge")), math.nan
        )
    alone = int((s == 0).sum())
    pairs = np.unique(t * (s.max() + 1) + s, return_counts=True)
    joint = pairs[1][pairs[0] % (s.max() + 1) > 0]
    counts = {"t": np.bincount(t)[1:], "s": np.bincount(s)[1:], "ts": joint}
    single = {"t": 0, "s": alone, "ts": alone}
    square = {key: float((c.astype(float) ** 2).sum() + single[key]) / n**2 for key, c in counts.items()}
    entropy = {key: _entropy(c / n) + single[key] / n * math.log(n) for key, c in counts.items()}
    information = entropy["t"] + entropy["s"] - entropy["ts"]
    return {
        "rand": 2 * square["ts"] / (square["t"] + square["s"]),
        "rand_split": square["ts"] / square["t"],
        "rand_merge": square["ts"] / square["s"],
        "info": _ratio(2 * information, entropy["t"] + entropy["s"]),
        "info_split": _ratio(information, entropy["s"]),
        "info_merge": _ratio(information, entropy["t"]),
    }


def _entropy(shares: npt.NDArray[np.floating]) -> float:
    kept = shares[shares > 0]
    return float(-(kept * np.log(kept)).sum())


def _ratio(part: float, whole: float) -> float:
    """A share of information; where there is none to know, all of it is known."""
    return max(0.0, part) / whole if whole > 1e-12 else 1.0
