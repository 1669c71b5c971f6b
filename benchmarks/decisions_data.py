"""Build typed decisions with known answers from public data, as JSONL files.

    python benchmarks/decisions_data.py --shared ../shared/data --more MORE --out WORK

MORE holds ``xstest_prompts.csv`` and ``xstest_v2_completions_*.csv`` of the repository
paul-rottger/exaggerated-safety (CC BY 4.0). WORK is not part of the repository.

How a source becomes questions was decided before any score was seen:

Training sources (type, state, question, options):

- banking77, choice, a customer's message, "What does the customer want?": its intent and 4 others
- entityquestions, choice, a question, "What does the question ask for?": its relation and 3 others
- vital, choice, lead of an article, "What is the text about?": its topic and 3 others
- advbench and alpaca, noul, an instruction, "Does the request ask for help with something harmful?"
- wikipedia, noul, lead of an article, "Is the text about a person's life?"
- factscore, noul, a passage, "Does the text say this? FACT" (labelled by people)
- davidson, score, a tweet, "How offensive is the message?": 3 levels
- llmrouter, score, a task, "How hard is the task?": 3 levels, by how many of 9 models solve it

Test sources, which are never trained on:

- clinc, choice, a user's message, "What does the user want?": its intent and 4 others
- ewt, choice, three sentences, "Where is the text from?": the 5 genres
- mmlu, choice, an exam question, "Which subject is the question about?": its subject and 3 others
- hh, choice, a prompt, "Which reply is less harmful?": the two replies
- xstest, noul, a prompt, "Does the request ask for help with something harmful?"
- popqa-place, noul, a question, "Does the question ask for a place?"
- popqa-fame, score, a person's occupation or place of birth, "How well known is the person?": 3
  levels, by popularity
- xstest-replies, score, prompt and reply, "How far does the reply refuse?": 3 levels (people's)

The question of xstest is known from training, the others are new.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

RELATIONS = {
    "P17": "country", "P19": "place of birth", "P20": "place of death", "P26": "spouse",
    "P36": "capital", "P40": "child", "P50": "author", "P69": "education", "P106": "occupation",
    "P112": "founder", "P127": "owner", "P131": "location", "P136": "music genre",
    "P159": "headquarters", "P170": "creator", "P175": "performer", "P176": "manufacturer",
    "P264": "record label", "P407": "language", "P413": "position in sport",
    "P495": "country of origin", "P740": "place of foundation", "P800": "famous works",
}  # fmt: skip
HARMFUL = "Does the request ask for help with something harmful?"
OFFENSIVE = ["not offensive", "offensive", "hate speech"]
HARD = ["easy", "of middling difficulty", "hard"]
KNOWN = ["hardly known", "fairly well known", "famous"]
REFUSES = ["it does what is asked", "it partly refuses", "it refuses"]
GENRES = ["weblog", "newsgroup", "email", "review", "answer in a forum"]


def digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def some(rows: list[Row], count: int) -> list[Row]:
    """Return ``count`` rows at random, always the same ones, each answer about equally often."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: digest(row["state"] + row["question"])):
        groups.setdefault(row["answer"] if row["type"] != "choice" else "", []).append(row)
    found: list[Row] = []
    while len(found) < count and any(groups.values()):
        found += [group.pop(0) for group in groups.values() if group]
    return found[:count]


def sampled(right: str, known: list[str], count: int, key: str) -> list[str]:
    """Return the right label and ``count`` others, shuffled, always the same ones."""
    chance = random.Random(digest(key))
    labels = [right, *chance.sample(sorted(set(known) - {right}), count)]
    chance.shuffle(labels)
    return labels


def row(source: str, kind: str, state: str, question: str, answer: Any, options: Any = None) -> Row:
    state = " ".join(state.split())
    return {"state": state, "question": question, "type": kind, "options": options,
            "answer": str(answer), "source": source}  # fmt: skip


def choices(source: str, question: str, pairs: list[tuple[str, str]], others: int) -> list[Row]:
    labels = [label for _, label in pairs]
    return [row(source, "choice", state, question, label, sampled(label, labels, others, state))
            for state, label in pairs]  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> Iterator[Row]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    yield from map(json.loads, text.split("\n")[:-1])


def lead(text: str, most: int = 300) -> str:
    """Return the first sentences of a text, at most ``most`` characters where it is possible."""
    found = ""
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        if found and len(found) + len(sentence) > most:
            break
        found = f"{found} {sentence}".strip()
    return found[: most + 200]


def train(shared: Path, count: int) -> list[Row]:
    routing, toxicity = shared / "routing", shared / "toxicity"
    banking = [(one["text"], one["category"].replace("_", " "))
               for one in table(routing / "banking77_train.csv")]  # fmt: skip
    asked = [(one["question"], RELATIONS[file.name.split(".")[0]])
             for file in sorted((shared / "qa" / "entityquestions_dev").glob("*.json"))
             if file.name.split(".")[0] in RELATIONS
             for one in json.loads(file.read_text(encoding="utf-8"))[:100]]  # fmt: skip
    vital = [(lead(one["extract"]), one["topic"].lower())
             for one in lines(shared / "factuality" / "vital_summaries.jsonl.gz")
             if one["topic"] != "Uncategorized"]  # fmt: skip
    harmful = [one["Behavior"] for one in table(toxicity / "advbench_behaviors.csv")]
    alpaca = json.loads((toxicity / "harmless_train.json").read_text("utf-8"))
    harmless = [one["instruction"] for one in alpaca]
    requests = [row("advbench", "noul", text, HARMFUL, "yes") for text in harmful]
    requests += [row("advbench", "noul", text, HARMFUL, "no") for text in harmless]
    wikipedia = [row("wikipedia", "noul", lead(one["text"]), "Is the text about a person's life?",
                     "yes" if one["is_biography"] else "no")
                 for one in lines(shared / "wiki" / "valid.jsonl.gz")]  # fmt: skip
    tweets = [row("davidson", "score", one["tweet"], "How offensive is the message?",
                  2 - int(one["class"]), OFFENSIVE)
              for one in table(toxicity / "davidson_labeled_data.csv")]  # fmt: skip
    return [
        *some(choices("banking77", "What does the customer want?", banking, 4), count),
        *some(choices("entityquestions", "What does the question ask for?", asked, 3), count),
        *some(choices("vital", "What is the text about?", vital, 3), count),
        *some(requests, count), *some(wikipedia, count), *some(facts(shared), count),
        *some(tweets, count), *some(tasks(shared), count),
    ]  # fmt: skip


def facts(shared: Path) -> list[Row]:
    """Return facts from ChatGPT's biographies, each with the passage closest in words."""
    folder = shared / "factuality"
    passages: dict[str, list[str]] = {}
    for one in lines(folder / "factscore_passages.jsonl.gz"):
        passages.setdefault(one["topic"], []).append(re.sub(r"</?s>", " ", one["text"]))
    found = []
    for one in lines(folder / "factscore_human_ChatGPT.jsonl.gz"):
        for part in one["annotations"] or ():
            for fact in part.get("human-atomic-facts") or ():
                if fact["label"] in ("S", "NS") and one["topic"] in passages:
                    text = " ".join(closest(fact["text"], passages[one["topic"]]).split()[:120])
                    found.append(row("factscore", "noul", text,
                                     f"Does the text say this? {fact['text']}",
                                     "yes" if fact["label"] == "S" else "no"))  # fmt: skip
    return found


def closest(text: str, passages: list[str]) -> str:
    """Return the passage that shares most words with a text."""

    def words(given: str) -> set[str]:
        return set(re.findall(r"\w+", given.lower()))

    wanted = words(text)
    return max(passages, key=lambda passage: len(wanted & words(passage)))


def tasks(shared: Path) -> list[Row]:
    """Return questions about how many of nine models solve a task."""
    right: dict[str, list[float]] = {}
    stored = json.loads((shared / "routing" / "llmrouter_scores_train.json").read_text("utf-8"))
    for one in stored:
        scores = one.get("scores") or {}
        values = list(scores.values()) if isinstance(scores, dict) else list(scores)
        right.setdefault(one["question"], []).extend(float(value) for value in values)
    found = []
    for question, values in right.items():
        if values and len(question) <= 500:
            share = sum(values) / len(values)
            level = 0 if share >= 0.8 else 1 if share >= 0.3 else 2
            found.append(row("llmrouter", "score", question, "How hard is the task?", level, HARD))
    return found


def test(shared: Path, more: Path, count: int) -> list[Row]:
    routing = shared / "routing"
    clinc = [(text, label.replace("_", " ")) for text, label in
             json.loads((routing / "clinc_data_full.json").read_text("utf-8"))["test"]]  # fmt: skip
    mmlu = [(one["prompt"].split("\nA. ")[0], file.stem.removeprefix("mmlu_").replace("_", " "))
            for file in sorted((routing / "routellm_mmlu").glob("*.csv"))
            for one in table(file)]  # fmt: skip
    prompts = [row("xstest", "noul", one["prompt"], HARMFUL,
                   "yes" if one["label"] == "unsafe" else "no")
               for one in table(more / "xstest_prompts.csv")]  # fmt: skip
    popqa = list(lines(shared / "factuality" / "popqa_dev.jsonl.gz"))
    places = [row("popqa-place", "noul", one["question"], "Does the question ask for a place?",
                  "yes" if one["prop"] == "place of birth" else "no") for one in popqa]  # fmt: skip
    ranks = sorted(one["s_pop"] for one in popqa)
    fame = [row("popqa-fame", "score", f"{one['subj']}: {one['prop']} {one['obj']}",
                "How well known is the person?",
                sum(one["s_pop"] > ranks[len(ranks) * part // 3] for part in (1, 2)), KNOWN)
            for one in popqa]  # fmt: skip
    return [
        *some(choices("clinc", "What does the user want?", clinc, 4), count),
        *some(genres(shared), count),
        *some(choices("mmlu", "Which subject is the question about?",
                      [one for one in mmlu if len(one[0]) <= 500], 3), count),
        *some(replies(shared), count), *some(prompts, count), *some(places, count),
        *some(fame, count), *some(refusals(more), count),
    ]  # fmt: skip


def genres(shared: Path) -> list[Row]:
    names = dict(zip(("weblog", "newsgroup", "email", "reviews", "answers"), GENRES, strict=True))
    texts: dict[str, list[str]] = {}
    with gzip.open(shared / "ud_ewt" / "test.conllu.gz", "rt", encoding="utf-8") as file:
        for line in file:
            if line.startswith("# sent_id = "):
                name = line.split(" = ")[1].strip()
            elif line.startswith("# text = "):
                texts.setdefault(name.rsplit("-", 1)[0], []).append(line[9:].strip())
    return [row("ewt", "choice", " ".join(found[:3]), "Where is the text from?",
                names[name.split("-")[0]], GENRES)
            for name, found in texts.items() if name.split("-")[0] in names]  # fmt: skip


def replies(shared: Path) -> list[Row]:
    found = []
    for number, pair in enumerate(lines(shared / "toxicity" / "hh_rlhf_harmless_test.jsonl.gz")):
        prompt = pair["chosen"].split("\n\nHuman:", 2)[1].split("\n\nAssistant:")[0].strip()
        both = [lead(pair[name].rsplit("\n\nAssistant:", 1)[1], 200)
                for name in ("chosen", "rejected")]  # fmt: skip
        if pair["chosen"].count("\n\nHuman:") == 1 and all(both) and both[0] != both[1]:
            options = both if number % 2 else both[::-1]
            found.append(row("hh", "choice", prompt, "Which reply is less harmful?", both[0],
                             options))  # fmt: skip
    return found


def refusals(more: Path) -> list[Row]:
    levels = {"1_full_compliance": 0, "3_partial_refusal": 1, "2_full_refusal": 2}
    found = []
    for file in sorted(more.glob("xstest_v2_completions_*.csv")):
        if "eval" in file.stem:
            continue
        for one in table(file):
            if one["final_label"] in levels:
                state = f"Request: {one['prompt']} Reply: {lead(one['completion'], 200)}"
                found.append(row("xstest-replies", "score", state, "How far does the reply refuse?",
                                 levels[one["final_label"]], REFUSES))  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--more", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=400, help="decisions of each training source")
    parser.add_argument("--test", type=int, default=250, help="decisions of each other source")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    files = {"train": train(given.shared, given.train),
             "test": test(given.shared, given.more, given.test)}  # fmt: skip
    for name, rows in files.items():
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)
        (given.out / f"{name}.jsonl").write_text(text, encoding="utf-8")
        counts = Counter((one["source"], one["type"]) for one in rows)
        print(name, {source: n for (source, _), n in counts.items()})


if __name__ == "__main__":
    main()
