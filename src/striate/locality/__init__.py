"""Run a network only where it matters, exactly: what the windows of geometry are good for.

patch   many local changes of an input, recomputing only what each reaches
tile    inputs larger than memory, tile by tile, equal to the whole
scan    a classifier of crops at every position of an image at once
stream  one step of work for one step of a signal
"""

from striate.locality.patch import PatchEngine, Plan
from striate.locality.scan import Scan, scan, shift_and_stitch
from striate.locality.stream import Stream, stream
from striate.locality.tile import tile

__all__ = ["PatchEngine", "Plan", "Scan", "Stream", "scan", "shift_and_stitch", "stream", "tile"]
