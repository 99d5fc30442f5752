"""What a network's output means: encode targets, loss, decode, score."""

from striate.tasks.classify import Classify, Prediction
from striate.tasks.intervals import intervals
from striate.tasks.registry import TASKS, Result, Scores, Task, check_takes, read_task, task, task_of
from striate.tasks.scores import Bin, ClassificationScores, ClassScore
from striate.tasks.transcribe import Transcribe, Transcript, TranscriptionScores

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
    "Transcribe",
    "Transcript",
    "TranscriptionScores",
    "check_takes",
    "intervals",
    "read_task",
    "task",
    "task_of",
]
