"""What a training run leaves, and how to use it again."""

from striate.runs.answers import answer_files
from striate.runs.card import Card, load, read_card, save_model
from striate.runs.catalog import RunList, RunSummary, is_run, list_runs, read_run
from striate.runs.evaluation import Evaluation, evaluate_run, predict, predicting
from striate.runs.pictures import find_mistakes, write_report
from striate.runs.record import CHECKPOINT, Outcome, Session, conclude, make_folder, open_session, read_metrics, record

__all__ = [
    "CHECKPOINT",
    "Card",
    "Evaluation",
    "Outcome",
    "RunList",
    "RunSummary",
    "Session",
    "answer_files",
    "conclude",
    "evaluate_run",
    "find_mistakes",
    "is_run",
    "list_runs",
    "load",
    "make_folder",
    "open_session",
    "predict",
    "predicting",
    "read_card",
    "read_metrics",
    "read_run",
    "record",
    "save_model",
    "write_report",
]
