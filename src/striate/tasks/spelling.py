"""Names of measures as people write them."""

from __future__ import annotations

# Those whose name holds a number or a symbol that a key cannot have.
SPELLED = {
    "iou_50": "IoU ≥ 0.5",
    **{f"within_1_{k}": f"within 1.{k} px" for k in (4, 5, 6)},
    **{f"within_{k}_rate": f"within ΔE {k}" for k in (5, 10, 20)},
}


def spell(measure: str) -> str:
    """The name of a measure of `Scores.summary()`, written out.

    >>> spell("within_1_4"), spell("iou_50"), spell("mean_iou"), spell("letter_error_rate")
    ('within 1.4 px', 'IoU ≥ 0.5', 'mean IoU', 'letter error rate')
    """
    words = ("IoU" if word == "iou" else word for word in measure.split("_"))
    return SPELLED.get(measure) or " ".join(words)
