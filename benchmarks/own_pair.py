"""Route between two small models: does a draft by the weaker one improve the router?

    python benchmarks/own_pair.py answers --data DATA --work WORK --model weak=SMOL.gguf \
        --model strong=GEMMA.gguf [--seconds 300]
    python benchmarks/own_pair.py signals --data DATA --work WORK --slm SMOL_ROW [--seconds 300]
    python benchmarks/own_pair.py report --data DATA --work WORK --encoder FOLDER

The questions are 400 of PopQA's and 400 of EntityQuestions' development questions (sampled with a
fixed seed). ``answers`` asks each GGUF model through llama.cpp (closed book, the same few-shot
prompt for all, greedy, one line), and the weak model a second time with PopQA's supporting
paragraph before the question (the arm ``reading``). ``signals`` reads question and weak answer with
a model that has a ``<CALL>`` gate, in one pass: the call's probability and margin, entropy and
log-probability at every token. ``report`` compares routers on the same folds: text only (length,
sentence encoder), text and confidence of the draft, text and calls, all; three pairs: weak against
strong, weak alone against weak with the paragraph, and weak against a source that is always right.
Each step can be stopped and run
again. Writes ``results/own_pair.json``: ids and counts, never texts of the data.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from llama_server import llama_server
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lacy.disk import write_atomic
from lacy.encoder import PieceReader, body_of, text_vectors
from lacy.evaluate import contains_answer
from lacy.results import as_data, auroc, wilson
from lacy.route import PairCurve, apgr_difference
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
SHOTS = (
    ("In what city was Marie Curie born?", "Warsaw"),
    ("What is Galileo Galilei's occupation?", "astronomer"),
    ("Which country is Osaka located in?", "Japan"),
    ("Who is the author of Moby-Dick?", "Herman Melville"),
    ("Where was Frida Kahlo educated?", "National Autonomous University of Mexico"),
)
NEW_TOKENS = 16
EACH = 400


def questions(data: Path) -> list[dict[str, Any]]:
    """Return the sampled questions with their accepted answers, source and relation."""
    found = []
    with gzip.open(data / "factuality" / "popqa_dev.jsonl.gz", "rt", encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            told = [one["text"] for one in row["paragraphs"] if one["is_supporting"]]
            found.append({"id": f"popqa {row['id']}", "text": row["question"], "source": "popqa",
                          "relation": row["prop"], "answers": json.loads(row["possible_answers"]),
                          "paragraph": told[0] if told else ""})  # fmt: skip
    found = random.Random(0).sample(found, min(EACH, len(found)))
    others = []
    for file in sorted((data / "qa" / "entityquestions_dev").glob("*.json")):
        relation = file.name.split(".")[0]
        for number, row in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            others.append({"id": f"{relation} {number}", "text": row["question"],
                           "source": "entity_questions", "relation": relation,
                           "answers": row["answers"], "paragraph": ""})  # fmt: skip
    found += random.Random(0).sample(others, EACH)
    random.Random(1).shuffle(found)  # so that the answered ones are a sample at any time
    return found


def prompt_for(question: str, paragraph: str = "") -> str:
    """Return the few-shot prompt of a question."""
    shots = "".join(f"Question: {asked}\nAnswer: {told}\n\n" for asked, told in SHOTS)
    before = f"{paragraph[:600]}\n\n" if paragraph else ""
    return f"{shots}{before}Question: {question}\nAnswer:"


def stored(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a file by id."""
    if not path.exists():
        return {}
    return {row["id"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())}


def ask(address: str, prompt: str) -> dict[str, Any]:
    """Return the answer and its tokens' log-probabilities."""
    asked = {"prompt": prompt, "max_tokens": NEW_TOKENS, "temperature": 0, "stop": ["\n"],
             "logprobs": 1, "cache_prompt": True}  # fmt: skip
    choice = httpx.post(f"{address}/v1/completions", json=asked, timeout=300).json()["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return {"answer": choice["text"].strip(),
            "logprobs": [round(float(one["logprob"]), 4) for one in tokens]}  # fmt: skip


def answers(args: argparse.Namespace) -> None:
    end = time.monotonic() + args.seconds
    asked = questions(args.data)
    models = dict(one.split("=", 1) for one in args.model)
    arms = [(name, path, False) for name, path in models.items()]
    arms.append(("reading", models["weak"], True))
    for name, path, reading in arms:
        file = args.work / f"answers-{name}.jsonl"
        have = stored(file)
        rest = [one for one in asked if one["id"] not in have]
        rest = [one for one in rest if one["paragraph"]] if reading else rest
        if not rest or time.monotonic() > end:
            print(f"{name}: {len(have)} answered, {len(rest)} missing", flush=True)
            continue
        with llama_server(path, context=1024) as address, file.open("a") as stream:
            for one in rest:
                if time.monotonic() > end:
                    break
                told = ask(address, prompt_for(one["text"], one["paragraph"] if reading else ""))
                stream.write(json.dumps({"id": one["id"], **told}) + "\n")
                stream.flush()
        print(f"{name}: {len(stored(file))} answered of {len(have) + len(rest)}", flush=True)


def signals(args: argparse.Namespace) -> None:
    from lacy.cascade import teacher_forced_signals
    from lacy.model import load_model
    from lacy.types import Document

    file = args.work / "signals.jsonl"
    have, weak = stored(file), stored(args.work / "answers-weak.jsonl")
    rest = [one for one in questions(args.data) if one["id"] not in have and one["id"] in weak]
    loaded, end = load_model(args.slm), time.monotonic() + args.seconds
    with file.open("a") as stream:
        for start in range(0, len(rest), 8):
            if time.monotonic() > end:
                break
            part = rest[start : start + 8]
            shown = [f"Question: {one['text']}\nAnswer:" for one in part]
            texts = [f"{a} {weak[b['id']]['answer']}" for a, b in zip(shown, part, strict=True)]
            documents = [Document(text=t, id=b["id"]) for t, b in zip(texts, part, strict=True)]
            for asked, one in zip(shown, teacher_forced_signals(loaded, documents), strict=True):
                size = len(loaded.tokenizer(asked)["input_ids"]) - 1
                row = {name: [round(float(x), 4) for x in getattr(one, name)]
                       for name in ("margin", "p_call", "entropy", "top2", "logprob")}  # fmt: skip
                stream.write(json.dumps({"id": one.id, "question_tokens": size, **row}) + "\n")
            stream.flush()
    print(f"{len(stored(file))} read, of {len(have) + len(rest)}")


def features_of(asked: Sequence[dict[str, Any]], args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the inputs of each group ``[N, F]``: text, confidence of the draft, calls."""
    weak, read = stored(args.work / "answers-weak.jsonl"), stored(args.work / "signals.jsonl")
    texts = [one["text"] for one in asked]
    vectors = text_vectors(body_of(args.encoder), PieceReader.open(args.encoder), texts)
    lengths = np.log1p([[len(text), len(text.split())] for text in texts])
    confidence, calls = [], []
    for one in asked:
        logps = np.array(weak[one["id"]]["logprobs"] or [0.0])
        row = read[one["id"]]
        start = min(row["question_tokens"], len(row["margin"]) - 1)
        answer = {name: np.array(row[name][start:]) for name in ("margin", "p_call", "entropy")}
        confidence.append([logps.mean(), logps.min(), logps[0], len(logps),
                           answer["entropy"].mean(), answer["entropy"][0]])  # fmt: skip
        calls.append([answer["margin"].mean(), answer["margin"].max(), answer["margin"][0],
                      answer["p_call"].mean(), answer["p_call"].max(), answer["p_call"][0],
                      (answer["margin"] > 0).mean(), np.mean(row["p_call"][:start])])  # fmt: skip
    return {"text": np.hstack([vectors, lengths]), "confidence": np.array(confidence),
            "calls": np.array(calls)}  # fmt: skip


def preferences(
    inputs_NF: np.ndarray, gain_N: np.ndarray, groups: np.ndarray, text_NF: np.ndarray | None = None
) -> np.ndarray:
    """Return held-out predictions of the gain; the penalty is chosen on the training folds.

    ``text_NF`` enters as one input, its own prediction, which is held out in the training folds,
    too. Put beside a few other inputs as they are, its hundreds of columns would drown them.
    """
    found_N = np.zeros(len(gain_N))
    for train, test in folds_of(groups):
        given, asked = inputs_NF[train], inputs_NF[test]
        if text_NF is not None:
            own = preferences(text_NF[train], gain_N[train], groups[train])
            told = ridge().fit(text_NF[train], gain_N[train]).predict(text_NF[test])
            given, asked = np.column_stack([given, own]), np.column_stack([asked, told])
        found_N[test] = ridge().fit(given, gain_N[train]).predict(asked)
    return found_N


def folds_of(groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return up to five splits that keep groups whole, or, within a single group, split it."""
    single = len(np.unique(groups)) == 1
    groups = np.arange(len(groups)) if single else groups
    folds = GroupKFold(min(5, len(np.unique(groups))), shuffle=True, random_state=0)
    return list(folds.split(groups, groups=groups))


def ridge() -> Any:
    return make_pipeline(StandardScaler(), RidgeCV(np.geomspace(10, 1e5, 9)))


def routed(
    inputs: dict[str, np.ndarray], weak_N: np.ndarray, strong_N: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    """Return figures of routers with and without the draft."""
    text, draft, calls = inputs["text"], inputs["confidence"], inputs["calls"]
    plans = {
        "length": (text[:, -2:], None),
        "text": (text, None),
        "confidence": (draft, None),
        "calls": (calls, None),
        "confidence + calls": (np.hstack([draft, calls]), None),
        "text + confidence": (draft, text),
        "text + calls": (calls, text),
        "text + confidence + calls": (np.hstack([draft, calls]), text),
    }
    gain_N = strong_N - weak_N
    curves = {name: PairCurve(preferences(own, gain_N, groups, read), weak_N, strong_N)
              for name, (own, read) in plans.items()}  # fmt: skip
    curves["oracle"] = PairCurve(gain_N, weak_N, strong_N)
    best = max(("length", "text"), key=lambda name: curves[name].figures(draws=2).apgr.value)
    with_calls = apgr_difference(curves["text + confidence + calls"], curves["text + confidence"])
    return {
        "routers": {name: as_data(curve.figures()) for name, curve in curves.items()},
        "best_text_only": best,
        "calls_beside_text_and_confidence": as_data(with_calls),
        "minus_best_text_only": {name: as_data(apgr_difference(curve, curves[best]))
                                 for name, curve in curves.items() if name != best},
    }  # fmt: skip


def report(args: argparse.Namespace) -> None:
    told = {name: stored(args.work / f"answers-{name}.jsonl")
            for name in ("weak", "strong", "reading")}  # fmt: skip
    read = stored(args.work / "signals.jsonl")
    asked = [one for one in questions(args.data) if one["id"] in told["weak"] and one["id"] in read]
    inputs = features_of(asked, args)
    right = {
        name: np.array([float(one["id"] in rows and contains_answer(rows[one["id"]]["answer"],
                                                                    tuple(one["answers"])))
                        for one in asked])
        for name, rows in told.items()
    }  # fmt: skip
    relations = np.array([one["relation"] for one in asked])
    single = np.arange(len(asked))
    pairs = {
        "weak, strong": (np.array([one["id"] in told["strong"] for one in asked]), right["strong"]),
        "weak, weak with the paragraph": (
            np.array([one["id"] in told["reading"] for one in asked]), right["reading"],
        ),
        "weak, a source that is always right": (np.ones(len(asked), bool), np.ones(len(asked))),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, (keep, strong) in pairs.items():
        if keep.sum() < 50:
            continue
        mine = {group: one[keep] for group, one in inputs.items()}
        weak = right["weak"][keep]
        wins = int((strong[keep] > weak).sum()), int((strong[keep] < weak).sum())
        found[name] = {"n": int(keep.sum()), "only_second_right": wins[0],
                       "only_first_right": wins[1]}  # fmt: skip
        for split, groups in (("other relations", relations), ("same relations", single)):
            found[name][split] = routed(mine, weak, strong[keep], groups[keep])
    accuracy = {
        f"{arm}, {source}": as_data(wilson(int(sum(right[arm][places])), len(places)))
        for arm in right for source in ("popqa", "entity_questions")
        for places in [[n for n, one in enumerate(asked)
                        if one["source"] == source and one["id"] in told[arm]]] if places
    }  # fmt: skip
    aurocs = {
        name: as_data(auroc(list(values[:, None]), list((right["weak"] == 0)[:, None])))
        for name, values in {
            "minus mean log-probability": -inputs["confidence"][:, 0],
            "largest probability of a call": inputs["calls"][:, 4],
            "mean margin of a call": inputs["calls"][:, 0],
        }.items()
    }  # fmt: skip
    result = {"n": len(asked), "accuracy": accuracy, "pairs": found,
              "auroc_of_wrong_weak_answers": aurocs, "environment": environment()}  # fmt: skip
    write_atomic(RESULTS / "own_pair.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps(accuracy, indent=1))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = top.add_subparsers(dest="step", required=True)
    for name in ("answers", "signals", "report"):
        step = steps.add_parser(name)
        step.add_argument("--data", type=Path, required=True)
        step.add_argument("--work", type=Path, required=True)
        step.add_argument("--seconds", type=float, default=float("inf"))
        if name == "answers":
            step.add_argument("--model", action="append", required=True)
        if name == "signals":
            step.add_argument("--slm", required=True)
        if name == "report":
            step.add_argument("--encoder", type=Path, required=True)
    return top


def main() -> None:
    args = parser().parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    {"answers": answers, "signals": signals, "report": report}[args.step](args)


if __name__ == "__main__":
    main()
