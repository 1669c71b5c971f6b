r"""Measure whether delegating facts relieves the output head of a small model.

    OMP_NUM_THREADS=1 python benchmarks/saturation_models.py --out SERIES
    OMP_NUM_THREADS=1 python benchmarks/saturation.py --series SERIES --keep DIR \
        --models raw=SMOLLM2 tuned=TUNED --articles MARKED.jsonl

Two parts, which can be measured in several calls; what is in ``--keep`` is not measured again:

- ``series``: models of several widths, trained in made-up worlds without delegation (``plain``)
  and with it (``only-call``), at every checkpoint, on new wordings about known people. Heads of
  lower rank are trained at the last one. Intervals are over seeds (Student's t); differences are
  paired by seed, which has its own world.
- ``models``: pretrained models on marked articles; intervals are over articles.

All results go to ``results/saturation.json``; ``scripts/saturation_page.py`` fills the page.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from lacy.corpus import read
from lacy.disk import write_atomic
from lacy.evaluate import SaturationResult, measure_saturation
from lacy.model import bf16_is_fast, load_model
from lacy.results import AnswerStore, to_data
from lacy.run import environment
from lacy.world import load_world

RESULTS = Path(__file__).parent / "results"
RUN = re.compile(r"w(\d+)\.([\w-]+)\.s(\d+)")
SHOWN = ("hidden_size", "effective_rank", "singular_entropy", "rank_90", "rank_99", "rank")


def measured(
    keep: Path, name: str, model: Path | str, texts: Sequence[Any], **settings: Any
) -> dict[str, Any]:
    """Measure a model, or read what was measured before."""
    file = keep / f"{name}.json"
    if not file.exists():
        loaded = load_model(model)
        settings.setdefault("delegation", "calls" if loaded.calls else "marks")
        with AnswerStore(keep / f"{name}.answers.jsonl") as store:
            found: SaturationResult = measure_saturation(
                loaded, texts, store=store, states_folder=keep / "states", **settings
            )
        write_atomic(file, json.dumps(to_data(found)))
        print(name, found.gradient["text"]["all"].kept, flush=True)
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


# ------------------------------------------------------------------------------------- series


def series(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every checkpoint of every run: one entry per run."""
    found = []
    for run in sorted(args.series.glob(args.runs)):
        if not (match := RUN.fullmatch(run.name)) or not (run / "model" / "config.json").exists():
            continue
        width, method, seed = int(match[1]), match[2], int(match[3])
        world = load_world(args.series / f"texts-s{seed}" / "world")
        documents = world.documents("valid", per_person=2)
        texts = list(itertools.islice(documents, args.texts))
        steps = []
        # A run that was never taught to call has no calls, though its row exists.
        common = {"delegation": "marks" if method == "plain" else "calls", "tokens": args.tokens}
        folders = sorted((run / "checkpoints").glob("step-*"))
        for folder in folders:
            step = int(folder.name.partition("-")[2])
            last = folder is folders[-1]
            ranks = [width // 4, width // 2]
            steps.append(
                {"step": step}
                | measured(
                    args.keep, f"{run.name}.{step}", folder, texts, train_heads=last,
                    ranks=ranks if last else [width], passes=args.passes, **common,
                )
            )  # fmt: skip
        found.append({"width": width, "method": method, "seed": seed, "steps": steps})
    return found


def values_of(run: Mapping[str, Any], step: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a checkpoint that are compared, by name."""
    spectrum, gradient = step["spectrum"], step["gradient"]
    yield "effective rank, share", spectrum["effective_rank"] / spectrum["hidden_size"]
    yield "singular entropy", spectrum["singular_entropy"]
    yield "rank for 90%, share", spectrum["rank_90"] / spectrum["hidden_size"]
    for group in ("all", "fact", "other"):
        yield f"loss, {group}", gradient["text"][group]["loss"]["value"]
        yield f"anisotropy, {group}", step["anisotropy"]["last"][group]["value"]
        yield f"gradient kept, {group}", gradient["text"][group]["kept"]["value"]
    own = gradient.get("call", gradient["text"])
    yield "gradient kept, own loss", own["all"]["kept"]["value"]
    yield "gradient kept, own loss, other", own["other"]["kept"]["value"]
    if "call" in gradient:
        yield "call rate", step["tokens"]["delegated"] / step["tokens"]["all"]
    for head in step["ranks"]["heads"]:
        if head["rank"] < run["width"]:
            share = f"{head['rank'] / run['width']:g}"
            for group in ("all", "fact", "other"):
                yield f"rise, {head['head']}, {share}, {group}", head["rise"][group]["value"]
    for rank, relief in step["ranks"]["relief"].items():
        yield f"relief, {int(rank) / run['width']:g}", relief["value"]


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Return a mean over seeds with its interval by Student's t."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return {"value": mean, "low": None, "high": None, "n": n}
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return {"value": mean, "low": mean - half, "high": mean + half, "n": n}


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return means over seeds by width, method and step, and paired differences to ``plain``."""
    table: dict[tuple[int, int, str, str], dict[int, float]] = {}
    for run in runs:
        for step in run["steps"]:
            for name, value in values_of(run, step):
                key = (run["width"], step["step"], run["method"], name)
                table.setdefault(key, {})[run["seed"]] = value
    rows = []
    for (width, step, method, name), by_seed in table.items():
        row = {"width": width, "step": step, "method": method, "measure": name}
        rows.append({**row, **over_seeds(list(by_seed.values()))})
        plain = table.get((width, step, "plain", name), {})
        both = sorted(set(plain) & set(by_seed))
        if method != "plain" and both:
            gaps = [by_seed[seed] - plain[seed] for seed in both]
            rows.append({**row, "method": f"{method} - plain", **over_seeds(gaps)})
    return rows


# ------------------------------------------------------------------------------------- models


def models(args: argparse.Namespace) -> dict[str, Any]:
    """Measure pretrained models on articles."""
    found = {}
    for named in args.models:
        name, _, path = named.partition("=")
        texts = list(itertools.islice(read(args.articles), args.count))
        fast = bf16_is_fast(torch.device("cpu"))[0]
        found[name] = measured(
            args.keep, name, path, texts, bf16=fast, tokens=args.tokens, ranks=args.ranks,
            train_heads=name in args.train, passes=args.passes,
        )  # fmt: skip
    return found


def slim(step: Mapping[str, Any], *, last: bool) -> dict[str, Any]:
    """Return a measurement without the flat list, and without the spectrum before the last step."""
    kept = {key: value for key, value in step.items() if key not in ("results", "anisotropy")}
    kept["anisotropy"] = {"last": step["anisotropy"]["last"]}
    if not last:
        kept["spectrum"] = {name: step["spectrum"][name] for name in SHOWN}
        kept = {name: kept[name] for name in ("step", "spectrum", "gradient", "anisotropy")}
    found: dict[str, Any] = rounded(kept)
    return found


def rounded(value: Any) -> Any:
    """Return data with numbers of six digits, which keeps the file small."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--series", type=Path)
    parser.add_argument("--runs", default="w*.s*", help="pattern of the runs to measure")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--train", nargs="*", default=[], help="models whose heads are trained")
    parser.add_argument("--articles", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=300, help="texts of each world")
    parser.add_argument("--count", type=int, default=100, help="articles")
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--passes", type=int, default=20, help="over the texts, per head")
    parser.add_argument("--ranks", type=int, nargs="*", default=[72, 288])
    parser.add_argument("--out", type=Path, default=RESULTS / "saturation.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = series(args) if args.series else []
    pretrained = models(args)
    data = {
        "series": [
            {**run, "steps": [slim(s, last=s is run["steps"][-1]) for s in run["steps"]]}
            for run in runs
            if run["seed"] == 0
        ],
        "summary": rounded(summary(runs)),
        "models": {name: slim(one, last=True) for name, one in pretrained.items()},
        "setup": {
            "texts": args.texts, "count": args.count, "tokens": args.tokens, "ranks": args.ranks,
            "passes": args.passes,
            "seeds": sorted({run["seed"] for run in runs}), "environment": environment(),
        },
    }  # fmt: skip
    write_atomic(args.out, json.dumps(data, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
