"""What a network's output means: encode targets, loss, decode, score."""

from striate.tasks.classify import Classify, Prediction
from striate.tasks.color_scores import ColorizationScores, ColorScore
from striate.tasks.colorize import Colored, Colorize
from striate.tasks.fidelity import psnr, ssim
from striate.tasks.registry import TASKS, Result, Scores, Task, check_takes, read_task, task, task_of
from striate.tasks.restore import Restore, Restored
from striate.tasks.restore_scores import RestorationScores
from striate.tasks.scores import Bin, ClassificationScores, ClassScore

__all__ = [
    "TASKS",
    "Bin",
    "ClassScore",
    "ClassificationScores",
    "Classify",
    "ColorScore",
    "Colored",
    "ColorizationScores",
    "Colorize",
    "Prediction",
    "RestorationScores",
    "Restore",
    "Restored",
    "Result",
    "Scores",
    "Task",
    "check_takes",
    "psnr",
    "read_task",
    "ssim",
    "task",
    "task_of",
]
