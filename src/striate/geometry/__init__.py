"""What a network is, before it runs: the window algebra, and everything that can be read off a network with it.

nn.Module -> trace -> Graph of operations -> fields (windows) -> Report
                        | rules: how each operation reads its inputs
"""

from striate.geometry.complexity import Measured, draw_complexity
from striate.geometry.difference import Difference, diff
from striate.geometry.graph import Counts, Graph, Node, Value
from striate.geometry.pictures import draw_network, draw_receptive_field
from striate.geometry.reading import hull
from striate.geometry.report import Layer, Report, describe
from striate.geometry.rules import Call, Facts, pointwise, rule
from striate.geometry.trace import trace
from striate.geometry.window import Window

__all__ = [
    "Call",
    "Counts",
    "Difference",
    "Facts",
    "Graph",
    "Layer",
    "Measured",
    "Node",
    "Report",
    "Value",
    "Window",
    "describe",
    "diff",
    "draw_complexity",
    "draw_network",
    "draw_receptive_field",
    "hull",
    "pointwise",
    "rule",
    "trace",
]
