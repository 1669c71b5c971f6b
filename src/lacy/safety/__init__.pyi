from .calibration import CalibrationMethod, ScoreCalibration, calibration_error, threshold_for
from .check import HarmScorer, SourceFigures, check_classifier
from .classifier import RoleDecision, SafetyClassifier, load_classifier
from .client import AlignClient, AlignSettings
from .dpo import DpoLoss, reference, reply_logps, without_adapters
from .network import distillation_loss
from .refusals import TEMPLATES, declines, refusal_for
from .rows import ReplyRow, ReplyRows, prompt_ids
from .samples import PreferencePair, ReplySample, Sample, read_samples
from .sanitise import Guard, Sanitised, SanitiseMode, sanitise
from .teachers import EndpointTeacher, FolderTeacher, HarmTeacher, open_teacher
from .texts import LabelFields, LabelledText, Role, hold_out, read_labelled
from .training import SafetySettings, at_rate, decide, train_classifier

__all__ = [
    "TEMPLATES",
    "AlignClient",
    "AlignSettings",
    "CalibrationMethod",
    "DpoLoss",
    "EndpointTeacher",
    "FolderTeacher",
    "Guard",
    "HarmScorer",
    "HarmTeacher",
    "LabelFields",
    "LabelledText",
    "PreferencePair",
    "ReplyRow",
    "ReplyRows",
    "ReplySample",
    "Role",
    "RoleDecision",
    "SafetyClassifier",
    "SafetySettings",
    "Sample",
    "SanitiseMode",
    "Sanitised",
    "ScoreCalibration",
    "SourceFigures",
    "at_rate",
    "calibration_error",
    "check_classifier",
    "decide",
    "declines",
    "distillation_loss",
    "hold_out",
    "load_classifier",
    "open_teacher",
    "prompt_ids",
    "read_labelled",
    "read_samples",
    "reference",
    "refusal_for",
    "reply_logps",
    "sanitise",
    "threshold_for",
    "train_classifier",
    "without_adapters",
]
