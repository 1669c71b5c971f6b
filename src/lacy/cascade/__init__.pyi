from .calibration import Calibration, calibrate, truncate_document
from .chat import ChatRefused, chat_of, controls_of
from .engine import Engine
from .guesses import Unconfirmed, unconfirmed
from .hosted import HostedEngine
from .hosted_model import connect
from .opening import (
    CALIBRATION_TEXTS,
    calibrate_on_sources,
    calibration_note,
    default_policy,
    model_name,
    open_engine,
    open_model,
    split_policy,
    trained_not_to_call,
)
from .parsing import parse_policy
from .policy import Budget, Never, Oracle, Policy, Random, Threshold
from .questions import hint
from .rank import CHARACTERS
from .row import Row
from .scores import ScoredSpan, Scorer, TokenScore
from .signals import teacher_forced_signals
from .steps import Offer, Step, Watch, explain, plain, read_along
from .stream import Stream
from .texts import texts_of
from .trace import (
    Bill,
    bill,
    colours,
    guess_style,
    legend,
    receipt,
    render,
    style_of,
    to_dict,
    visible,
    write_answers,
)

__all__ = [
    "CALIBRATION_TEXTS",
    "CHARACTERS",
    "Bill",
    "Budget",
    "Calibration",
    "ChatRefused",
    "Engine",
    "HostedEngine",
    "Never",
    "Offer",
    "Oracle",
    "Policy",
    "Random",
    "Row",
    "ScoredSpan",
    "Scorer",
    "Step",
    "Stream",
    "Threshold",
    "TokenScore",
    "Unconfirmed",
    "Watch",
    "bill",
    "calibrate",
    "calibrate_on_sources",
    "calibration_note",
    "chat_of",
    "colours",
    "connect",
    "controls_of",
    "default_policy",
    "explain",
    "guess_style",
    "hint",
    "legend",
    "model_name",
    "open_engine",
    "open_model",
    "parse_policy",
    "plain",
    "read_along",
    "receipt",
    "render",
    "split_policy",
    "style_of",
    "teacher_forced_signals",
    "texts_of",
    "to_dict",
    "trained_not_to_call",
    "truncate_document",
    "unconfirmed",
    "visible",
    "write_answers",
]
