"""Generate texts, and keep every answer, so that a stopped measurement goes on where it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lacy.results import AnswerStore, answer_key
from lacy.types import Answer, Span

if TYPE_CHECKING:
    from lacy.cascade import Engine


def stored_answers(
    engine: Engine,
    prompts: Sequence[str],
    subjects: Sequence[str | None],
    store: AnswerStore | None,
) -> list[Answer]:
    """Continue texts with an engine; texts whose answer is stored are not generated again.

    Where the answers depend on one another (a budget over all texts, or sampling), they are
    generated and stored together; otherwise in batches of the engine's size.

    Args:
        engine: the engine.
        prompts: the texts to continue.
        subjects: the subject of each.
        store: keeps the answers. It must belong to this model, source and set of texts; the
            policy, the prompts and the engine's limits are part of the key. None stores nothing.
    """
    if store is None or not prompts:
        return engine.generate(prompts, subjects)
    alone = engine.temperature == 0 and engine.policy.start() is engine.policy
    settings = [*engine_settings(engine), None if alone else answer_key(*prompts)]

    def ask(items: list[tuple[str, str | None]]) -> list[Any]:
        texts, about = zip(*items, strict=True)
        return [asdict(answer) for answer in engine.generate(texts, about)]

    found = store.answers(
        list(zip(prompts, subjects, strict=True)),
        lambda item: answer_key(*settings, *item),
        ask,
        batch=engine.batch_size if alone else len(prompts),
    )
    return [answer_from_data(data) for data in found]


def stored_texts(
    engine: Engine,
    items: Sequence[str],
    ask: Callable[[Sequence[str]], Sequence[Answer]],
    store: AnswerStore | None,
    *,
    batch: int = 1,
) -> list[Answer]:
    """Return the answer of each item; stored ones are not asked again.

    Args:
        engine: the engine that ``ask`` uses.
        items: questions.
        ask: returns the answers of some.
        store: as in ``stored_answers``.
        batch: number of items that are asked together.
    """
    found = (AnswerStore() if store is None else store).answers(
        items,
        lambda item: answer_key(*engine_settings(engine), item),
        lambda some: [asdict(answer) for answer in ask(some)],
        batch=batch,
    )
    return [answer_from_data(data) for data in found]


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names with " (2)", " (3)" and so on after repeated ones."""
    taken: set[str] = set()
    found = []
    for name in names:
        numbers = itertools.chain([name], (f"{name} ({n})" for n in itertools.count(2)))
        unique = next(one for one in numbers if one not in taken)
        taken.add(unique)
        found.append(unique)
    return tuple(found)


def engine_settings(engine: Engine) -> list[Any]:
    """Return the settings of an engine that its answers depend on, as plain data."""
    names = ("unit", "max_new_tokens", "temperature", "top_p", "seed", "read_until")
    return [str(engine.policy), *(getattr(engine, name) for name in names)]


def answer_from_data(data: Any) -> Answer:
    """Return the answer that ``dataclasses.asdict`` has turned into plain data."""
    return Answer(tuple(Span(**span) for span in data["spans"]), data["finished"])
