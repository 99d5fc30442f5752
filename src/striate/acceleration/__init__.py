"""A network on its fastest exact form: captured, rewritten step by step, each step held against the network itself."""

from striate.acceleration.fastest import accelerate
from striate.acceleration.network import Accelerated
from striate.acceleration.report import Acceleration, Row, Step
from striate.acceleration.rewrites import REWRITES

__all__ = ["REWRITES", "Accelerated", "Acceleration", "Row", "Step", "accelerate"]
