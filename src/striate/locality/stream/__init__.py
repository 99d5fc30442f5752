"""One step of work for one step of a signal: a forward is written down (recording), told apart by axes (layout),
read as causal operations on signals (causal, signals), merged (fusion), and run as a flat list (program)."""

from striate.locality.stream.steps import Stream, stream

__all__ = ["Stream", "stream"]
