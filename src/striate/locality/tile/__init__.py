"""Inputs larger than memory, tile by tile: how an axis is cut and why that is right (halo), what a crop takes
(footprint), where input comes from (source) and output goes (ledger)."""

from striate.locality.tile.tiles import tile

__all__ = ["tile"]
