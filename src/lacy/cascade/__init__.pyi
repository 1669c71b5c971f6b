from .biography import Definition, definition_in, places_in, spelled_out
from .by_name import (
    CALIBRATION_TEXTS,
    calibrate_on_sources,
    calibration_note,
    default_policy,
    is_address,
    lookup_policy,
    model_name,
    open_engine,
    open_model,
    split_policy,
    trained_not_to_call,
)
from .calibration import Calibration, calibrate, truncate_document
from .chat import ChatRefused, control_tokens, render_chat
from .engine import Engine
from .gate_entropy import GateEntropy, log_entropy
from .guesses import GuessTracker, guessed_ranges
from .hints import question_hint
from .hosted_model import Hosted, connect
from .loop import DecodeLoop
from .policy import (
    Budget,
    Controller,
    Decision,
    Never,
    Oracle,
    Policy,
    Random,
    SignalBatch,
    Threshold,
)
from .policy_text import parse_policy
from .questions import Question, question_in
from .rank import MAX_TOKEN_CHARACTERS
from .scores import ScoredSpan, Scorer, TokenScore
from .sequence import TextSequence
from .signals import read_signal, teacher_forced_signals
from .steps import (
    DecodeStep,
    Offer,
    Watch,
    explain,
    read_along,
    read_continuations,
    steps_to_json,
)
from .trace import (
    Bill,
    answer_to_dict,
    bill,
    colours,
    guess_style,
    legend,
    printable,
    receipt,
    render_answer,
    style_of,
    write_answers,
)

__all__ = [
    "CALIBRATION_TEXTS",
    "MAX_TOKEN_CHARACTERS",
    "Bill",
    "Budget",
    "Calibration",
    "ChatRefused",
    "Controller",
    "Decision",
    "DecodeLoop",
    "DecodeStep",
    "Definition",
    "Engine",
    "GateEntropy",
    "GuessTracker",
    "Hosted",
    "Never",
    "Offer",
    "Oracle",
    "Policy",
    "Question",
    "Random",
    "ScoredSpan",
    "Scorer",
    "SignalBatch",
    "TextSequence",
    "Threshold",
    "TokenScore",
    "Watch",
    "answer_to_dict",
    "bill",
    "calibrate",
    "calibrate_on_sources",
    "calibration_note",
    "colours",
    "connect",
    "control_tokens",
    "default_policy",
    "definition_in",
    "explain",
    "guess_style",
    "guessed_ranges",
    "is_address",
    "legend",
    "log_entropy",
    "lookup_policy",
    "model_name",
    "open_engine",
    "open_model",
    "parse_policy",
    "places_in",
    "printable",
    "question_hint",
    "question_in",
    "read_along",
    "read_continuations",
    "read_signal",
    "receipt",
    "render_answer",
    "render_chat",
    "spelled_out",
    "split_policy",
    "steps_to_json",
    "style_of",
    "teacher_forced_signals",
    "trained_not_to_call",
    "truncate_document",
    "write_answers",
]
