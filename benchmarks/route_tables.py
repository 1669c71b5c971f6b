"""Print the tables of docs/results/route.md from the files in ``results``, as far as they exist.

python benchmarks/route_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    for name, tables in (("query_routing", query_routing), ("front_door", front_door),
                         ("own_pair", own_pair)):  # fmt: skip
        file = RESULTS / f"{name}.json"
        if file.exists():
            for title, rows in tables(json.loads(file.read_text(encoding="utf-8"))):
                print(f"\n**{title}**\n")
                head, *body = ([str(cell) for cell in row] for row in rows)
                for row in (head, ["---"] * len(head), *body):
                    print(f"| {' | '.join(row)} |")


def plain(score: dict[str, Any] | None) -> str:
    """Format a score with three digits."""
    if not score or score["value"] is None:
        return ""
    if score["low"] is None:
        return f"{score['value']:.3f}"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def query_routing(found: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for name in ("mmlu", "gsm8k"):
        rows = found.get(name, {}).get("rows", [])
        for split in dict.fromkeys(row["split"] for row in rows):
            yield f"{name}, {split}", [
                ("head", "APGR", "CPT(50%)", "CPT(80%)", "APGR minus that of length"),
                *((row["head"], *(plain(row["pair"][k]) for k in ("apgr", "cpt50", "cpt80")),
                   plain(row["over_length"])) for row in rows if row["split"] == split),
            ]  # fmt: skip
    mmlu = found.get("mmlu", {})
    if mmlu:
        best = mmlu["best"]
        yield f"mmlu, over subjects; {best} minus the others", [
            ("head", "APGR, subjects resampled", "without moral_scenarios", f"{best} minus it",
             "the same, subjects resampled"),
            *((head, plain(score), plain(mmlu["without_moral_scenarios"][head]),
               plain(mmlu["best_minus"].get(head)),
               plain(mmlu["best_minus_over_subjects"].get(head)))
              for head, score in mmlu["over_subjects"].items()),
        ]  # fmt: skip
    moved = found.get("gsm8k", {}).get("fitted_on_mmlu", {})
    if moved:
        yield "gsm8k, fitted on mmlu", [
            ("head", "APGR", "CPT(50%)", "CPT(80%)"),
            *((head, *(plain(one[k]) for k in ("apgr", "cpt50", "cpt80")))
              for head, one in moved.items()),
        ]  # fmt: skip
    rows = found.get("matrix", {}).get("rows", [])
    for split in dict.fromkeys(row["split"] for row in rows):
        mine = [row for row in rows if row["split"] == split]
        yield f"nine models, {split}", [
            ("head", "quality", "cost", "AIQ", "over best single, equal cost", "gap to oracle"),
            *((row["head"], plain(row["models"]["quality"]), f"{row['models']['cost']:.1f}",
               f"{row['models']['aiq']:.3f}", plain(row["models"]["gain_over_best"]),
               f"{row['models']['gap_to_oracle']:.3f}") for row in mine),
        ]  # fmt: skip
        models = mine[0]["models"]
        yield f"single models (zero router's AIQ {models['zero_aiq']:.3f})", [
            ("model", "quality", "cost"),
            *((name, plain(score), models["costs"][name])
              for name, score in models["single"].items()),
        ]  # fmt: skip


def front_door(found: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    rows = sorted(found["rows"], key=lambda row: (row["split"], -row["accuracy"]["value"]))
    yield f"front door, {found['n']:,} requests", [
        ("head", "split", "accuracy", "mean over sources"),
        *((row["head"], row["split"], plain(row["accuracy"]), f"{row['mean_over_sources']:.3f}")
          for row in rows),
    ]  # fmt: skip
    unseen = [row for row in rows if row["split"] == "other sources"
              and row["head"] not in ("random", "constant", "oracle")]  # fmt: skip
    yield "accuracy by left-out source", [
        ("source", *(row["head"] for row in unseen)),
        *((name, *(f"{row['by_source'][name]:.2f}" for row in unseen))
          for name in unseen[0]["by_source"]),
    ]  # fmt: skip
    yield f"classes, {unseen[0]['head']}", [
        ("class", "recall", "precision"),
        *((one["route"], plain(one["recall"]), plain(one["precision"]))
          for one in unseen[0]["routes"]),
    ]  # fmt: skip
    yield "McNemar, other sources", [
        ("head", "against", "difference", "p"),
        *((one["a"], one["b"], f"{one['difference']:+.3f}", f"{one['p']:.2g}")
          for one in found["mcnemar"]),
    ]  # fmt: skip
    slm = found["prompted"]
    if slm:
        yield "prompted model and heads on the same requests", [
            ("", "accuracy", "p against the prompted model"),
            ("prompted", plain(slm["figures"]["accuracy"]), ""),
            ("prompted, minus each name's mean", plain(slm["centred"]["accuracy"]), ""),
            *((head, plain(score), f"{slm['p'][head]:.2g}")
              for head, score in slm["same_cases"].items()),
        ]  # fmt: skip
    yield f"learning curve, {found['learning_head']}", [
        ("trained on", "texts", "mean over left-out sources", "sources"),
        *((name, one["texts"], f"{one['mean_over_sources']:.3f}", one["sources"])
          for name, one in found["learning_curve"].items()),
    ]  # fmt: skip
    waits = [f"threads_{count}" for count in (1, 8, 32)]
    yield "latency (ms) and dollars per 1,000", [
        ("head", "CPU p50 / p95", *(f"{name}: p50 / p95 / p99" for name in waits), "per 1,000"),
        *((head, f"{one['service_ms']['p50']} / {one['service_ms']['p95']}",
           *(" / ".join(str(one[name][p]) for p in ("p50", "p95", "p99")) if name in one else ""
             for name in waits), found["cost_per_1000"][head])
          for head, one in found["latency"].items()),
    ]  # fmt: skip
    for name, arms in found["traffic"].items():
        yield f"traffic: {name}", [
            ("arm", "requests", "right tier", "to large", "too weak", "harmful let through",
             "router ms p50 / p95 / p99", "dollars per 1,000", "busy"),
            *((arm, one["requests"], one["right_tier"], one["to_large"], one["too_weak"],
               one["harmful_let_through"],
               " / ".join(str(one["router_ms"][p]) for p in ("p50", "p95", "p99")),
               one["cost_per_1000"], one["busy"]) for arm, one in arms.items()),
        ]  # fmt: skip


def own_pair(found: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    yield f"accuracy of the arms ({found['n']} questions)", [
        ("arm", "right"), *((name, plain(score)) for name, score in found["accuracy"].items()),
    ]  # fmt: skip
    for name, pair in found["pairs"].items():
        for split in ("other relations", "same relations"):
            routed = pair[split]
            yield f"{name}, {split} (n = {pair['n']})", [
                ("router", "APGR", f"minus {routed['best_text_only']}"),
                *((router, plain(one["apgr"]), plain(routed["minus_best_text_only"].get(router)))
                  for router, one in routed["routers"].items()),
            ]  # fmt: skip
    yield "AUROC: which of the weak model's answers are wrong", [
        ("signal", "AUROC"),
        *((name, plain(score)) for name, score in found["auroc_of_wrong_weak_answers"].items()),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
