"""The model card of a run: its table, and the words below."""

from __future__ import annotations

from typing import Any

from lacy.train.setup import Session

CARD = """
The last token of the vocabulary, `<CALL>`, says that a source should speak; plain decoding should
forbid it. Settings: `lacy.json`. Speak with it: `lacy generate`; load it:
`transformers.AutoModelForCausalLM.from_pretrained`.
"""


def card_facts(session: Session, last: dict[str, Any]) -> dict[str, Any]:
    """The table of the model card."""
    config = session.config
    names = ("loss", "text_loss", "call_rate", "valid_loss", "valid_fact_loss", "valid_other_loss")
    return {
        "model": config.init_from or config.model,
        "parameters": f"{sum(p.numel() for p in session.parameters()):,}",
        "steps": f"{session.step:,}",
        "tokens": f"{session.step * session.tokens_per_step:,}",
        "method": config.method,
        "call rate asked": config.call_rate if config.method != "none" else "-",
        **{name.replace("_", " "): f"{last[name]:.4f}" for name in names if last.get(name)},
    }
