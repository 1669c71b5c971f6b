from .checking import Checked, check_decider, check_decisions
from .data import UNKNOWN, KnownDecision, hold_out_decisions, known_decision, read_decisions
from .decision import TypedDecision
from .features import OptionFeatures
from .fitting import FitSettings, Fitted, OptionRows, fit_head, fit_on_features, option_features
from .head import Decider, DecisionHead, load_head, zero_shot
from .likelihood import LikelihoodFeatures
from .opening import ENCODER, is_head, open_decider
from .questions import (
    MAX_DEPTH,
    MAX_LEVELS,
    MAX_OPTIONS,
    MAX_QUESTIONS,
    DecisionQuestion,
    DecisionType,
    Option,
    choice,
    question_from_data,
    score,
    state_text,
    too_deep,
    yes_no,
)
from .states import StateFeatures
from .vectors import VectorFeatures

__all__ = [
    "ENCODER",
    "MAX_DEPTH",
    "MAX_LEVELS",
    "MAX_OPTIONS",
    "MAX_QUESTIONS",
    "UNKNOWN",
    "Checked",
    "Decider",
    "DecisionHead",
    "DecisionQuestion",
    "DecisionType",
    "FitSettings",
    "Fitted",
    "KnownDecision",
    "LikelihoodFeatures",
    "Option",
    "OptionFeatures",
    "OptionRows",
    "StateFeatures",
    "TypedDecision",
    "VectorFeatures",
    "check_decider",
    "check_decisions",
    "choice",
    "fit_head",
    "fit_on_features",
    "hold_out_decisions",
    "is_head",
    "known_decision",
    "load_head",
    "open_decider",
    "option_features",
    "question_from_data",
    "read_decisions",
    "score",
    "state_text",
    "too_deep",
    "yes_no",
    "zero_shot",
]
