"""What a network's output means: encode targets, loss, decode, score."""

from striate.tasks.classify import Classify, Prediction
from striate.tasks.color_scores import ColorizationScores, ColorScore
from striate.tasks.colorize import Colored, Colorize
from striate.tasks.fidelity import psnr, ssim
from striate.tasks.generate import Continuation, Generate, GenerationScores
from striate.tasks.intervals import intervals
from striate.tasks.keypoints import FindKeypoints, Keypoints, KeypointScores, PointScore
from striate.tasks.localize import ClassPlaces, LocalizationScores, Localize, Located
from striate.tasks.mask_picture import MaskPicture
from striate.tasks.overlap import ClassOverlap, SegmentationScores
from striate.tasks.registry import TASKS, Placed, Result, Scores, Task, check_takes, read_task, task, task_of, told
from striate.tasks.regress import Regress, RegressionScores, Values, ValueScore
from striate.tasks.restore import Restore, Restored
from striate.tasks.restore_scores import RestorationScores
from striate.tasks.scores import Bin, ClassificationScores, ClassScore
from striate.tasks.segment import Segment
from striate.tasks.spelling import spell
from striate.tasks.transcribe import Transcribe, Transcript, TranscriptionScores

__all__ = [
    "TASKS",
    "Bin",
    "ClassOverlap",
    "ClassPlaces",
    "ClassScore",
    "ClassificationScores",
    "Classify",
    "ColorScore",
    "Colored",
    "ColorizationScores",
    "Colorize",
    "Continuation",
    "FindKeypoints",
    "Generate",
    "GenerationScores",
    "KeypointScores",
    "Keypoints",
    "LocalizationScores",
    "Localize",
    "Located",
    "MaskPicture",
    "Placed",
    "PointScore",
    "Prediction",
    "Regress",
    "RegressionScores",
    "RestorationScores",
    "Restore",
    "Restored",
    "Result",
    "Scores",
    "Segment",
    "SegmentationScores",
    "Task",
    "Transcribe",
    "Transcript",
    "TranscriptionScores",
    "ValueScore",
    "Values",
    "check_takes",
    "intervals",
    "psnr",
    "read_task",
    "spell",
    "ssim",
    "task",
    "task_of",
    "told",
]
