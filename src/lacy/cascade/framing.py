"""Take a question out of what people write around it: examples, context, instructions, a blank.

"Question: Where was Ada Lovelace born? Answer: London. Question: Where was Alan Turing born?
Answer:" asks for Alan Turing, "Could you answer this question: ..." for what follows the colon, and
"Complete the sentence: Alan Turing was born in ____." for the blank. The rules know English words
for questions and answers, no relations. The model reads the message as it is; only sources and the
choice of a value see the question alone.
"""

from __future__ import annotations

import re

BLANK = "____"
"""The blank of a sentence to complete, in a message without its frame."""

_QUESTION_LABEL = re.compile(
    r"(?:\A|\n)[ \t]*(?:question|q)(?:[ \t]*\d+)?[ \t]*:[ \t]*(?=\S)", re.I
)
_ANSWER_LABEL = r"(?:\A|\n)[ \t]*(?:answer|a)(?:[ \t]*\d+)?[ \t]*:"
_OPEN_ANSWER = re.compile(rf"{_ANSWER_LABEL}\s*\Z", re.I)
_ANSWERED = re.compile(rf"{_ANSWER_LABEL}[ \t]*\S", re.I)
_CONTEXT_LABEL = re.compile(r"\A\s*context[ \t]*:\s*", re.I)
_LEAD = re.compile(
    r"\A(?:[^.?!:\n]{0,60}\b(?:question|query|fact|blank|sentence|statement)s?\b"
    r"|(?:please,?\s+)?(?:answer|reply|respond)\b)[^.?!:\n]{0,40}:\s*(?=\S)",
    re.I,
)
"""Words before a colon that announce a question or a sentence to complete."""
_ASKS = re.compile(
    r"(?:(?:in|on|at|by|for|to|from|of|with|under|since|during)\s+)?"
    r"(?:who|whom|whose|what|which|when|where|how|name|tell|give)\b"
    r"|[^\n]*(?:(?<!\w)_{2,}(?!\w)|\[(?:blank|mask|\.\.\.)\])",
    re.I,
)
"""What follows such words: a question, or a sentence with a blank."""
_ABOUT_THE_ANSWER = re.compile(
    r"(?:please,?\s+)?(?:"
    r"(?:answer|reply|respond)\b(?!\s+(?:to|the|who|what|when|where|which)\b)"
    r"|(?:give|write|return|provide|use)\s+(?:me\s+)?(?:only|just|one|a|an)\s+(?:\w+\s+){0,3}?"
    r"(?:answer|word|words|phrase|sentence|name|year|date|fact)\b"
    r"|(?:be|keep (?:it|your (?:answer|reply)))\s+(?:brief|short|concise)"
    r"|(?:do not|don['’]t)\s+(?:explain|add|write|give)\b"
    r"|no\s+(?:explanations?|other words)\b"
    r")[^.?!\n]*[.!]?\Z",
    re.I,
)
"""A sentence that says how to answer: "Answer with a short factual phrase."."""
_SENTENCE = re.compile(r"[^\n]+?(?:[.!?](?=\s)|\n|\Z)\s*")
_BLANKS = re.compile(r"(?<!\w)_{2,}(?!\w)|\[(?:blank|mask|\.\.\.)\]", re.I)


def unframed(message: str) -> tuple[str, str]:
    """Return the question in a message and the context before it, each on one line.

    Args:
        message: what a user wrote; a message without a frame is returned as it is.
    """
    text, context = message.strip(), ""
    labels = list(_QUESTION_LABEL.finditer(text))
    if labels:
        before, text = text[: labels[-1].start()], text[labels[-1].end() :]
        examples = list(_ANSWERED.finditer(before))
        # What stands before the first example or behind the last one may say what is asked about.
        context = before if not examples else ""
        context = _CONTEXT_LABEL.sub("", context)
        text = _OPEN_ANSWER.sub("", text)
    shorter = _without_instructions(text)
    if (lead := _LEAD.match(shorter)) and _ASKS.match(shorter, lead.end()):
        shorter = shorter[lead.end() :]
    shorter = _BLANKS.sub(BLANK, shorter, count=1)
    return " ".join((shorter or text).split()), " ".join(_without_instructions(context).split())


def _without_instructions(text: str) -> str:
    """Return a text without sentences that only say how to answer."""
    parts = _SENTENCE.findall(text)
    kept = [part for part in parts if not _ABOUT_THE_ANSWER.match(part.strip())]
    return "".join(kept).strip() if len(kept) < len(parts) else text


def around_blank(text: str) -> tuple[str, str] | None:
    """Return what stands before and behind a blank, without a full stop; None without a blank."""
    if BLANK not in text:
        return None
    before, _, after = text.partition(BLANK)
    return before.strip(), after.strip().rstrip(".!").strip()
