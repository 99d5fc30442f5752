"""What a network's output means: encode targets, loss, decode, score."""

from striate.tasks.classify import Classify, Prediction
from striate.tasks.registry import TASKS, Result, Scores, Task, check_takes, read_task, task, task_of
from striate.tasks.scores import Bin, ClassificationScores, ClassScore

__all__ = [
    "TASKS",
    "Bin",
    "ClassScore",
    "ClassificationScores",
    "Classify",
    "Prediction",
    "Result",
    "Scores",
    "Task",
    "check_takes",
    "read_task",
    "task",
    "task_of",
]
