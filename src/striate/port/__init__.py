"""Other people's weights in networks of the zoo."""

from striate.port import weights
from striate.port.weights import Loaded, Move, load

__all__ = ["Loaded", "Move", "load", "weights"]
