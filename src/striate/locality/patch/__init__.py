"""Many local changes of one input, each layer computed only where a change reaches: the tensors that stand for many
(local), where their windows lie (place), how changes move through operations (rules), one pass (run), and the whole."""

from striate.locality.patch.engine import PatchEngine
from striate.locality.patch.plan import Plan

__all__ = ["PatchEngine", "Plan"]
