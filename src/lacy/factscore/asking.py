"""Ask fact makers and judges for what is not known yet, and keep every answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.factscore.facts import FactMaker
from lacy.judges import Claim, Judge, Judgment
from lacy.results import AnswerStore, answer_key

Progress = Callable[[str, int, int], None]
"""Called with what is counted, how many are done, and how many there are."""

BATCH_CLAIMS = 256
"""Facts per call of a judge that does not give its answers one by one (whole responses)."""

BATCH_SENTENCES = 256

WRITE_SECONDS = 0.25
"""A process that is killed loses the answers of this time; the next run asks them again."""

JUDGE_FAILED = "the judge failed"


def no_progress(what: str, done: int, total: int) -> None:
    """Show nothing."""


def make_facts(
    maker: FactMaker, sentences: Sequence[str], store: AnswerStore, progress: Progress = no_progress
) -> list[list[str] | None]:
    """Return the facts of each sentence; equal sentences are asked once.

    What failed is not stored, so a later run asks it again.
    """
    keys = {s: answer_key("facts", list(maker.identity), s) for s in dict.fromkeys(sentences)}
    waiting = [sentence for sentence, key in keys.items() if key not in store]
    each = getattr(maker, "facts_of_each", None)
    size = BATCH_SENTENCES if each is None else max(1, len(waiting))
    chunks = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    done, failed = 0, set[str]()
    with _Writer(store) as written:
        for chunk in chunks:
            arriving = enumerate(maker.facts_of(chunk)) if each is None else each(chunk)
            for place, facts in arriving:
                done += 1
                if facts is None:
                    failed.add(chunk[place])
                else:
                    written.add(keys[chunk[place]], facts)
                progress("sentences split into facts", done, len(waiting))
    return [None if sentence in failed else store.get(keys[sentence]) for sentence in sentences]


def judge_claims(
    judge: Judge,
    responses: Sequence[Sequence[Claim]],
    store: AnswerStore,
    progress: Progress = no_progress,
) -> list[list[Judgment]]:
    """Return the judgments of the claims of each response; equal claims are asked once.

    A judge that fails leaves claims without a verdict; these are not stored, so a later run asks
    them again.
    """
    keys = [_keys(judge, claims) for claims in responses]
    pending: dict[str, Claim] = {}
    groups: list[list[str]] = []
    for claims, own in zip(responses, keys, strict=True):
        claim_of = dict(zip(own, claims, strict=True))
        new = [key for key in claim_of if key not in store and key not in pending]
        pending.update((key, claim_of[key]) for key in new)
        if new:
            groups.append(new)
    failed: dict[str, Judgment] = {}
    with _Writer(store) as written:
        for done, (key, judgment) in enumerate(_judged(judge, groups, pending), 1):
            if judgment.supported is None and judgment.why.startswith(JUDGE_FAILED):
                failed[key] = judgment
            else:
                written.add(key, [judgment.supported, judgment.score, judgment.why])
            progress("facts judged", done, len(pending))
    return [[failed[k] if k in failed else Judgment(*store.get(k)) for k in own] for own in keys]


class _Writer:
    """Keeps answers a few at a time, because each write to a busy disk may take milliseconds."""

    def __init__(self, store: AnswerStore) -> None:
        self._store, self._fresh, self._written = store, dict[str, Any](), time.monotonic()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def add(self, key: str, answer: Any) -> None:
        """Keep an answer; it is on disk after ``WRITE_SECONDS`` at the latest."""
        self._fresh[key] = answer
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._fresh:
            self._store.put(self._fresh)
        self._fresh, self._written = {}, time.monotonic()


def _keys(judge: Judge, claims: Sequence[Claim]) -> list[str]:
    """Return the key of each claim: everything that its judgment depends on."""
    identity: Any = list(getattr(judge, "identity", (judge.name,)))
    others = [c.text for c in claims] if getattr(judge, "uses_response", True) else None
    return [
        answer_key(
            "judgment", identity, claim.topic, claim.text, [*map(_digest, claim.passages)], others
        )
        for claim in claims
    ]


@lru_cache(maxsize=4096)
def _digest(passage: str) -> str:
    """Return a hash of a passage; the passages of a page belong to many claims."""
    return answer_key(passage)


def _judged(
    judge: Judge, groups: Sequence[Sequence[str]], claims: dict[str, Claim]
) -> Iterator[tuple[str, Judgment]]:
    """Yield keys and judgments: as they arrive, or batch by batch of whole responses."""
    each = getattr(judge, "judge_each", None)
    if each is not None:
        keys = [key for group in groups for key in group]
        for place, judgment in each([claims[key] for key in keys]):
            yield keys[place], judgment
        return
    for keys in _batches(groups):
        try:
            found = judge.judge([claims[key] for key in keys])
        except (LacyError, MemoryError):
            raise
        except Exception as error:  # a judge of the user's own; the run goes on
            why = f"{JUDGE_FAILED}: {type(error).__name__}: {first_line(error)}"
            found = [Judgment(None, None, why)] * len(keys)
        yield from zip(keys, found, strict=True)


def _batches(groups: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    batch: list[str] = []
    for group in groups:
        batch += group
        if len(batch) >= BATCH_CLAIMS:
            yield batch
            batch = []
    if batch:
        yield batch
