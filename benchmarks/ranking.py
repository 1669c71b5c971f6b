"""Measure how often a small model chooses the right one of the values that a source offers.

    OMP_NUM_THREADS=1 python benchmarks/ranking.py runs/ranking --data DATA
    python benchmarks/ranking.py --page

At every place of held-out texts where a value is due, the model ranks candidates as the cascade
does (``cascade/rank.py``, ``calibration.py``): all values of the subject, and sets of 2 to 64 with
distractors of other kinds, of the same kind, and as documents would bring them. The models have 0.1
to 2.6 million parameters and are trained alike in a made-up world (two seeds), and on real
biographies whose values a judge has labelled. Without ``--data`` (see its README: ``wiki/``,
``judge/``) the real biographies are left out, with a message.

Texts, models and counts are kept in the folder and made once. Writes ``results/ranking*.csv`` and
``ranking.json``; ``--page`` writes tables and figures of ``docs/results/ranking.md`` from these.
``--smoke`` does all of it in seconds, with meaningless numbers.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import ranking_candidates as offered
import ranking_models as models
import ranking_page
import ranking_speed
import torch
from ranking_scores import Counts, Scorer, curve, measure

from lacy.annotate import read_labels
from lacy.cascade.calibration import calibrate, truncate_document
from lacy.evaluate.article_sources import write_values
from lacy.model import load_model
from lacy.run import environment, write_atomic
from lacy.sources import Database
from lacy.types import Document

RESULTS = Path(__file__).parent / "results"
CALIBRATION = 100
COLUMNS = (
    "data", "size", "method", "split", "distractors", "k", "ranking", "kind", "value", "low",
    "high", "units", "places", "seeds",
)  # fmt: skip


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    if args.out is not None:
        found = {spec: one_model(spec, args) for spec in models.specs(
            args.seeds, args.data is not None, smoke=args.smoke)}  # fmt: skip
        if args.data is None:
            print("Real biographies are left out: give their folder with --data.")
        write(found, args)
    if args.page:
        for file in ranking_page.write(args.page, args.results):
            print(file)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder for texts and models")
    parser.add_argument("--data", type=Path, help="folder of the real data (wiki/, judge/)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--people", type=int, default=400, help="people of a world")
    parser.add_argument(
        "--ask", type=int, default=30, help="people per split, or articles, to evaluate"
    )
    parser.add_argument("--articles", type=int, default=4000, help="articles to train on")
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--wiki-steps", type=int, default=300)
    parser.add_argument("--results", type=Path, default=RESULTS)
    page = Path(__file__).parents[1] / "docs" / "results" / "ranking.md"
    parser.add_argument(
        "--page", type=Path, nargs="?", const=page, help="fill the tables and figures of this page"
    )
    parser.add_argument("--smoke", action="store_true", help="a quick run with meaningless numbers")
    args = parser.parse_args()
    if args.smoke:
        args.seeds, args.people, args.ask, args.articles = 1, 40, 1, 30
        args.steps = args.wiki_steps = 3
    return args


# ---------------------------------------------------------------------------------- measuring


def one_model(spec: models.Spec, args: argparse.Namespace) -> tuple[Counts, dict]:
    """Return a model's counts, and the facts about its training."""
    world = spec.data == "world"
    packed = (
        models.world_data(args.out, spec.seed, args.people, args.steps)
        if world
        else models.wiki_data(args.out, args.data, args.articles)
    )
    folder = models.trained(spec, args.out, packed, args.steps if world else args.wiki_steps)
    file = args.out / "counts" / f"{spec.name}.json"
    if not file.exists():
        begin = time.perf_counter()
        counts = (measure_world if world else measure_wiki)(spec, folder, args)
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, json.dumps(counts.as_json()))
        print(spec.name, f"{time.perf_counter() - begin:.0f} s", flush=True)
    facts = json.loads((folder / "facts.json").read_text())
    return Counts.of_json(json.loads(file.read_text())), facts


def measure_world(spec: models.Spec, folder: Path, args: argparse.Namespace) -> Counts:
    loaded, world = load_model(folder), models.the_world(spec.seed, args.people)
    calibration_texts = list(itertools.islice(world.documents("train"), CALIBRATION))
    with TemporaryDirectory() as place, Database(world.to_sqlite(f"{place}/t.sqlite")) as source:
        scorer = Scorer(loaded, calibrate(loaded, calibration_texts), source.alternatives)
    places = [
        place
        for split in ("valid", "fresh", "unseen")
        for place in offered.world_places(world, split, args.ask, controlled=split != "fresh")
    ]
    return measure(scorer, places, frequent(calibration_texts))


def measure_wiki(spec: models.Spec, folder: Path, args: argparse.Namespace) -> Counts:
    """Measure both naming schemes for kinds; calibrate on biographies that are not scored."""
    loaded, counts = load_model(folder), []
    found = offered.biographies(read_labels(models.labels_of(args.data)))
    for kinds in ("relations", "coarse"):
        marked = [offered.with_kinds(article, kinds) for article in found]
        scored = marked[CALIBRATION : CALIBRATION + 3 * args.ask]
        length = loaded.model.config.max_position_embeddings
        calibration_texts = [
            truncate_document(a, loaded.tokenizer, length) for a in marked[:CALIBRATION]
        ]
        with TemporaryDirectory() as place:
            path = Path(place) / "facts.sqlite"
            write_values(path, ((a.id, a.text, a.marks) for a in scored))
            with Database(path) as source:
                scorer = Scorer(loaded, calibrate(loaded, calibration_texts), source.alternatives)
        places = offered.article_places(scored, loaded.tokenizer, length, split=kinds)
        counts.append(measure(scorer, places, frequent(calibration_texts)))
    return Counts().merge(counts)


def frequent(texts: Iterable[Document]) -> list[str]:
    """Return the kinds of values, the most frequent first."""
    kinds = Counter(mark.relation or mark.reason for text in texts for mark in text.marks)
    return [kind for kind, _ in kinds.most_common()]


# ------------------------------------------------------------------------------------ writing


def write(found: dict[models.Spec, tuple[Counts, dict]], args: argparse.Namespace) -> None:
    """Write all tables; seeds of a model are pooled over their people."""
    groups: dict[tuple[str, str, str], list[models.Spec]] = {}
    for spec in found:
        groups.setdefault((spec.data, spec.size, spec.method), []).append(spec)
    accuracy, curves = [], []
    for name, specs in groups.items():
        each = [found[spec][0] for spec in specs]
        pooled = Counts().merge(each)
        labels = dict(zip(("data", "size", "method"), name, strict=True))
        accuracy += [labels | row for row in pooled.rows(each)]
        for (split, ranking), taken in pooled.taken.items():
            curves += [labels | {"split": split, "ranking": ranking} | row for row in curve(taken)]
    args.results.mkdir(parents=True, exist_ok=True)
    table(args.results / "ranking.csv", accuracy)
    table(args.results / "ranking_abstain.csv", curves)
    trained = [
        {"data": s.data, "size": s.size, "method": s.method, "seed": s.seed,
         **{k: v for k, v in facts.items() if k != "last"},
         **{k: facts["last"].get(k) for k in ("valid_loss", "valid_fact_loss", "valid_other_loss")}}
        for s, (_, facts) in found.items()
    ]  # fmt: skip
    table(args.results / "ranking_models.csv", trained)
    folders = {
        s.size: args.out / "runs" / s.name for s in found if s.data == "world" and not s.seed
    }
    table(args.results / "ranking_speed.csv", ranking_speed.measure(folders, smoke=args.smoke))
    given = {k: v for k, v in vars(args).items() if k not in ("out", "data", "results", "page")}
    setup = {**given, "calibration": CALIBRATION, "environment": environment()}
    write_atomic(args.results / "ranking.json", json.dumps(setup, indent=1) + "\n")


def table(file: Path, rows: Sequence[dict]) -> None:
    """Write rows as CSV, numbers with five digits."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    with file.open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
