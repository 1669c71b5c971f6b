"""A language model behind an OpenAI-compatible server as a judge: "True or False?"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lacy.judges.protocol import Claim, Judgment, not_judgeable
from lacy.judges.verdicts import VerdictRule, read_verdict, true_probability
from lacy.judges.words import plain_passage
from lacy.remote import OpenAIClient, RemoteError, Retries, ask_many

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the key, if the server needs one."""

UNREADABLE = "the judge answered neither true nor false"
FAILED = "the judge failed"

MAX_ANSWER_TOKENS = 64
"""Enough for a sentence before the verdict; a model that replies with one word stops there."""

MAX_CONTEXT_CHARACTERS = 24_000
"""Passages are cut after this many characters together, about 6,000 tokens."""


def verification_prompt(claim: Claim) -> str:
    """Return the question about one claim, laid out as in FActScore: the best passage comes last.

    The passages of a claim are in order of relevance; the original puts the most relevant one next
    to the question.
    """
    blocks: list[str] = []
    room = MAX_CONTEXT_CHARACTERS
    for passage in claim.passages:
        text = " ".join(plain_passage(passage).split())[:room]
        room -= len(text)
        if text:
            blocks.append(f"Title: {claim.topic}\nText: {text}")
        if room <= 0:
            break
    context = "\n\n".join(reversed(blocks))
    return (
        f"Use only the texts below to judge a statement about {claim.topic}.\n\n{context}\n\n"
        f"Statement: {claim.text.strip()}\nIs the statement True or False?"
        " Reply with one word.\nReply:"
    )


class EndpointJudge:
    """Asks a model for each claim, many at a time.

    The verdict is read from the text; its score is the probability of True against False where the
    server reports log-probabilities, and 0 or 1 otherwise. Requests that fail are tried again; what
    still has no verdict is a judgment without one that says why.

    Args:
        url: base of the API, such as ``http://localhost:8000/v1``.
        model: the model's name on the server.
        concurrency: number of requests at a time.
        rule: how a text with both verdicts is read.
        timeout: seconds for one claim, including retries.
        key_variable: environment variable with the API key; None sends none.
        retries: when a failed request is sent again.

    Attributes:
        asked: number of requests sent, including retries.

    Raises:
        LacyError: E11, httpx is not installed; E72, the address cannot be used.
    """

    uses_response = False
    """Claims are judged one by one: other facts of the same response do not matter."""
    passages = 5
    """Passages that a claim should have, the best ones first (as in FActScore)."""
    any_language = True
    """Texts in other languages than English can be judged."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        concurrency: int = 16,
        rule: VerdictRule = "later",
        timeout: float = 120.0,
        key_variable: str | None = KEY_VARIABLE,
        retries: Retries | None = None,
    ) -> None:
        self._client = OpenAIClient(
            url, model, key_variable=key_variable, timeout=timeout, concurrency=concurrency,
            retries=retries or Retries(),
        )  # fmt: skip
        self._rule: VerdictRule = rule
        self.name = f"{self._client.url}#{model}"
        self.identity = ("endpoint", 1, self._client.url, model, rule)

    @property
    def asked(self) -> int:
        """Return the number of requests sent so far."""
        return self._client.sent

    def judge(self, claims: Sequence[Claim]) -> list[Judgment]:
        """Return one judgment per claim, in their order."""
        found = dict(self.judge_each(claims))
        return [found[place] for place in range(len(claims))]

    def judge_each(self, claims: Sequence[Claim]) -> Iterator[tuple[int, Judgment]]:
        """Yield the place and judgment of each claim as answers arrive, in any order."""
        open_places = []
        for place, claim in enumerate(claims):
            if undecidable := not_judgeable(claim):
                yield place, undecidable
            else:
                open_places.append(place)
        conversations = (
            [{"role": "user", "content": verification_prompt(claims[place])}]
            for place in open_places
        )
        answers = ask_many(
            self._client, conversations, max_tokens=MAX_ANSWER_TOKENS, logprobs=True,
            top_logprobs=5, seed=0,
        )  # fmt: skip
        for number, answer in answers:
            place = open_places[number]
            if isinstance(answer, RemoteError):
                yield place, Judgment(None, None, f"{FAILED}: {answer.why}")
                continue
            verdict = read_verdict(answer.text, self._rule)
            score = true_probability(answer.choice)
            if verdict is None and score is not None and not answer.text.strip():
                verdict = score >= 0.5
            if verdict is None:
                yield place, Judgment(None, None, UNREADABLE)
            else:
                yield place, Judgment(verdict, score if score is not None else float(verdict))
