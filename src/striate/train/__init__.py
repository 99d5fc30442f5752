"""Training as an iterator of steps, with exact resume."""

from striate.train.checkpoint import load_weights, read_tensors, save_tensors, write_atomically
from striate.train.device import find_device
from striate.train.ensemble import ensemble
from striate.train.evaluate import evaluate, evaluating
from striate.train.fit import Step, fit
from striate.train.optimizers import Muon, build_optimizers
from striate.train.process import lay_out, settle_process
from striate.train.randomness import derive, seeded
from striate.train.transfer import freeze, start_from
from striate.train.views import averaged

__all__ = [
    "Muon",
    "Step",
    "averaged",
    "build_optimizers",
    "derive",
    "ensemble",
    "evaluate",
    "evaluating",
    "find_device",
    "fit",
    "freeze",
    "lay_out",
    "load_weights",
    "read_tensors",
    "save_tensors",
    "seeded",
    "settle_process",
    "start_from",
    "write_atomically",
]
