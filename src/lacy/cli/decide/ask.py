"""``lacy decide ask``: answer one question with typed options."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.terminal import as_text, say, table
from lacy.config import Positional, Repeated
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.decide import Decider, DecisionQuestion


@dataclass
class AskDecideConfig:
    """Answer a question about a text: yes or no, one of some options, or a level.

    Every option gets a probability, and their order changes nothing. A model's own likelihoods are
    not calibrated; a head of lacy decide fit is, for decisions like those that it was fitted to.
    """

    decider: Positional[str] = field(kw_only=True)
    """A folder of lacy decide fit, or a model (a folder, smollm2, a Hub name)."""
    # [Question]
    state: str = field(kw_only=True)
    """What the question is about."""
    question: str = field(kw_only=True)
    """The question."""
    option: Repeated = field(default_factory=list)
    """An option: a label, or LABEL=DESCRIPTION."""
    level: Repeated = field(default_factory=list)
    """The description of a level, from the lowest to the highest."""
    # [Answer]
    sure: float = 0.0
    """Answer unknown if no option has this probability."""
    model: str | None = None
    """The model, if the head was fitted to one."""
    json: bool = False
    """Print the answer as the System One API writes it."""


FILE = False
FLAGS = AskDecideConfig
EXAMPLES = """
lacy decide ask smollm2 --state "I was charged twice." --question "Is it about money?"
lacy decide ask head --state "I was charged twice." --question "Who answers?" --option billing
"""


def run(config: AskDecideConfig) -> int:
    """Decide and print."""
    from lacy._require import require_share

    require_share("sure", config.sure)
    question = _question(config)
    [decision] = _open(config).decide(as_text(config.state), [question])
    if config.json:
        say(json.dumps(decision.to_data(), ensure_ascii=False))
        return 0
    names = {"true": "yes", "false": "no"} if question.type == "noul" else {}
    answer = decision.answer(config.sure)
    best = next((one for one in question.options if one.name == answer), None)
    shown = "unknown" if best is None else names.get(best.name, best.name)
    if best is not None and question.type == "score":
        shown = f"{decision.score:.2f}, likeliest {best.name} ({best.description})"
    rows = [(names.get(one.name, one.name), one.description, f"{p:.3f}")
            for one, p in zip(question.options, decision.probabilities, strict=True)]  # fmt: skip
    table(f"{question.instructions} {shown}", rows, ("option", "description", "probability"))
    return 0


def _question(config: AskDecideConfig) -> DecisionQuestion:
    """Return the question that the flags describe."""
    from lacy.decide import choice, question_from_data, score, yes_no

    text = as_text(config.question)
    if config.option and config.level:
        do = "give only --option or only --level"
        raise LacyError("E12", key="level", value=config.level[0], why="there are options", do=do)
    if config.level:
        return score(text, [as_text(level) for level in config.level])
    if not config.option:
        return yes_no(text)
    pairs = [as_text(option).partition("=")[::2] for option in config.option]
    if len({name for name, _ in pairs}) < len(pairs):
        return choice(text, [name for name, _ in pairs])  # says which one is there twice
    criteria = {name: description or None for name, description in pairs}
    return question_from_data({"type": "choice", "instructions": text, "criteria": criteria})


def _open(config: AskDecideConfig) -> Decider:
    """Open the head, or the model itself."""
    from lacy.decide import is_head, open_decider
    from lacy.model import load_model

    head = config.decider if is_head(config.decider) else None
    if head is not None and config.model is None:
        return open_decider(head=Path(head))
    if head is None and config.model is not None:
        raise LacyError("E383", path=config.decider, why="it has no decide.json")
    loaded = load_model(config.model or config.decider)
    return open_decider(loaded.model, loaded.tokenizer, head=head, call_id=loaded.call_id)
