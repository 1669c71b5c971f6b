from .calibration import Calibration, calibrate
from .chat import ChatRefused, control_tokens, render_chat
from .engine import Engine
from .guesses import GuessTracker, guessed_ranges
from .hosted import HostedEngine
from .hosted_model import connect
from .policy import Budget, Never, Oracle, Policy, Random, Threshold, parse_policy
from .questions import question_hint
from .rank import MAX_TOKEN_CHARACTERS
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
    "MAX_TOKEN_CHARACTERS",
    "Bill",
    "Budget",
    "Calibration",
    "ChatRefused",
    "Engine",
    "GuessTracker",
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
    "Watch",
    "bill",
    "calibrate",
    "colours",
    "connect",
    "control_tokens",
    "explain",
    "guess_style",
    "guessed_ranges",
    "legend",
    "parse_policy",
    "plain",
    "question_hint",
    "read_along",
    "receipt",
    "render",
    "render_chat",
    "style_of",
    "teacher_forced_signals",
    "texts_of",
    "to_dict",
    "visible",
    "write_answers",
]
