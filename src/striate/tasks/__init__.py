"""What a network's output means: encode targets, loss, decode, score."""

from striate.tasks.classify import Classify, Prediction
from striate.tasks.registry import TASKS, Task, build_task, task
from striate.tasks.scores import Bin, ClassificationScores, ClassScore

__all__ = [
    "TASKS",
    "Bin",
    "ClassScore",
    "ClassificationScores",
    "Classify",
    "Prediction",
    "Task",
    "build_task",
    "task",
]
