"""Several algorithms for one cross-correlation, and the choice between them."""

from striate.ops.algorithms.choice import Choice, explain_choice
from striate.ops.algorithms.cost import calibrate
from striate.ops.algorithms.kept import forget
from striate.ops.algorithms.matrix import toeplitz
from striate.ops.algorithms.operators import correlation

__all__ = ["Choice", "calibrate", "correlation", "explain_choice", "forget", "toeplitz"]
