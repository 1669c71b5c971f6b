"""Atomic facts by a language model behind an OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lacy._parse import parse_json
from lacy.remote import OpenAIClient, RemoteError, ask_many, without_reasoning

KEY_VARIABLE = "OPENAI_API_KEY"
MAX_ANSWER_TOKENS = 512
MAX_FACTS = 40
"""More lines than this are no facts of one sentence; the rest is ignored."""

_INSTRUCTION = (
    "Break the sentence down into independent facts. Write each fact as a short sentence that can"
    ' be checked on its own, in a line that begins with "- ". Use only what the sentence says. If'
    ' it states no fact, reply with "- none".'
)

_EXAMPLES = (
    (
        "Mary Anning, born in Lyme Regis in 1799, was an English fossil collector and dealer who"
        " found the first complete plesiosaur.",
        (
            "Mary Anning was born in Lyme Regis.",
            "Mary Anning was born in 1799.",
            "Mary Anning was English.",
            "Mary Anning was a fossil collector.",
            "Mary Anning was a fossil dealer.",
            "Mary Anning found the first complete plesiosaur.",
        ),
    ),
    (
        'He appeared in the films "Red Harvest" (1997) and "North", for which he received an'
        " award.",
        (
            "He appeared in Red Harvest.",
            "Red Harvest is a film.",
            "Red Harvest was released in 1997.",
            "He appeared in North.",
            "North is a film.",
            "He received an award for North.",
        ),
    ),
    (
        "After leaving the army, she moved to Chile with her husband, the painter Luis Vera, and"
        " opened a school there.",
        (
            "She left the army.",
            "She moved to Chile.",
            "She moved to Chile with her husband.",
            "Her husband is Luis Vera.",
            "Luis Vera is a painter.",
            "She opened a school in Chile.",
        ),
    ),
    ("I hope this helps!", ("none",)),
)  # fmt: skip

_ITEM = re.compile(r"^\s*(?:[-*•–]|\d{1,2}[.)])\s+(.*\S)\s*$")
_NONE = re.compile(r"\W*(?:none|no facts?|n/?a)\W*$", re.IGNORECASE)


class AskedFacts:
    """Asks a model for the facts of each sentence, many sentences at a time.

    Args:
        url: base of the API.
        model: the model's name on the server.
        concurrency: number of requests at a time.
        timeout: seconds for one sentence, including retries.
        key_variable: environment variable with the API key; None sends none.

    Raises:
        LacyError: E11, httpx is not installed; E72, the address cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        concurrency: int = 16,
        timeout: float = 120.0,
        key_variable: str | None = KEY_VARIABLE,
    ) -> None:
        self._client = OpenAIClient(
            url, model, key_variable=key_variable, timeout=timeout, concurrency=concurrency
        )
        self.name = f"facts by {self._client.url}#{model}"
        self.identity: tuple[str | int, ...] = ("asked facts", 1, self._client.url, model)

    @property
    def asked(self) -> int:
        """Return the number of requests sent so far."""
        return self._client.sent

    def facts_of(self, sentences: Sequence[str]) -> list[list[str] | None]:
        """Return the facts of each sentence; None where the model failed or wrote no list."""
        found = dict(self.facts_of_each(sentences))
        return [found[place] for place in range(len(sentences))]

    def facts_of_each(self, sentences: Sequence[str]) -> Iterator[tuple[int, list[str] | None]]:
        """Yield the place and the facts of each sentence as answers arrive, in any order."""
        conversations = (fact_messages(sentence) for sentence in sentences)
        for place, answer in ask_many(
            self._client, conversations, max_tokens=MAX_ANSWER_TOKENS, seed=0
        ):
            yield place, None if isinstance(answer, RemoteError) else parse_facts(answer.text)


def fact_messages(sentence: str) -> list[dict[str, str]]:
    """Return the conversation that asks for the facts of a sentence, with examples of our own."""
    messages = [{"role": "system", "content": _INSTRUCTION}]
    for example, facts in _EXAMPLES:
        messages.append({"role": "user", "content": f"Sentence: {example}"})
        reply = "\n".join(f"- {fact}" for fact in facts)
        messages.append({"role": "assistant", "content": reply})
    messages.append({"role": "user", "content": f"Sentence: {sentence}"})
    return messages


def parse_facts(answer: str) -> list[str] | None:
    """Return the facts in an answer; None if it contains no list.

    Understands lines with bullets or numbers, with or without text around them, a JSON list, and
    bare lines of sentences. "none" gives an empty list.
    """
    text = without_reasoning(answer).strip()
    text = re.sub(r"^```\w*\n|\n?```$", "", text).strip()
    if _NONE.match(text.removeprefix("-").strip()):
        return []
    items = [match[1] for line in text.splitlines() if (match := _ITEM.match(line))]
    if not items and text.startswith("["):
        items = _json_items(text)
    if not items:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        items = lines if lines and all(re.fullmatch(r"[A-Z].*\.", line) for line in lines) else []
    if not items:
        return None
    facts = [_clean(item) for item in items[:MAX_FACTS] if not _NONE.match(item)]
    return [fact for fact in facts if len(fact.split()) > 1]


def _json_items(text: str) -> list[str]:
    try:
        found = parse_json(text)
    except ValueError:
        return []
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _clean(item: str) -> str:
    fact = re.sub(r"\*\*|__|`", "", item).strip().strip('"“”')
    return fact if fact.endswith((".", "!", "?")) else f"{fact.rstrip(',;:')}."
