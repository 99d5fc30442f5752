"""What a network's output means: encode targets, loss, decode, score."""

from striate.tasks.classify import Classify, Prediction
from striate.tasks.keypoints import FindKeypoints, Keypoints, KeypointScores, PointScore
from striate.tasks.localize import ClassPlaces, LocalizationScores, Localize, Located
from striate.tasks.registry import TASKS, Result, Scores, Task, check_takes, read_task, task, task_of
from striate.tasks.regress import Regress, RegressionScores, Values, ValueScore
from striate.tasks.scores import Bin, ClassificationScores, ClassScore

__all__ = [
    "TASKS",
    "Bin",
    "ClassPlaces",
    "ClassScore",
    "ClassificationScores",
    "Classify",
    "FindKeypoints",
    "KeypointScores",
    "Keypoints",
    "LocalizationScores",
    "Localize",
    "Located",
    "PointScore",
    "Prediction",
    "Regress",
    "RegressionScores",
    "Result",
    "Scores",
    "Task",
    "ValueScore",
    "Values",
    "check_takes",
    "read_task",
    "task",
    "task_of",
]
