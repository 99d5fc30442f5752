"""A classifier of crops at every position of an image: tensors that stand for all crops (crops), what operations do
with them (sharing), also where crops are padded (frames)."""

from striate.locality.scan.scanner import Scan, scan
from striate.locality.scan.stitch import shift_and_stitch

__all__ = ["Scan", "scan", "shift_and_stitch"]
