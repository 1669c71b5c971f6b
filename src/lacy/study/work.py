"""The jobs of a study: prepare the texts of a seed, train one run, evaluate one run.

Each job writes its result atomically and does nothing if the result exists, so a study can be
stopped at any moment. ``runner`` runs the jobs in worker processes.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._parse import parse_json
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.run import read_metrics, replace_folder, write_atomic
from lacy.study.plan import (
    Cue,
    PlannedRun,
    StudyPlan,
    condition_key,
    digest,
    partner_of,
    planned_runs,
)
from lacy.study.sources import open_study_source
from lacy.types import Document

if TYPE_CHECKING:
    from lacy.evaluate import WorldAnswers
    from lacy.world import World

TOKENIZER_TEXTS = 3000
"""Number of texts on which the tokenizer is trained."""


# ------------------------------------------------------------------------------------ folders


def shared_folder(plan: StudyPlan, seed: int) -> Path:
    """Return the folder of a seed's world, tokenizer and packed texts."""
    return plan.run_root / "shared" / f"s{seed}.{digest(asdict(plan.world))}"


def run_folder(plan: StudyPlan, run: PlannedRun) -> Path:
    """Return the folder of a training run."""
    return plan.run_root / "runs" / run.folder


def condition_file(
    plan: StudyPlan, run: PlannedRun, name: str, runs: Mapping[str, PlannedRun]
) -> Path:
    """Return the file with the counts of a run under one condition; ``runs`` are all by name."""
    partner = partner_of(plan.condition(name))
    source_key = runs[partner_name(run, partner)].key if partner else ""
    return (
        run_folder(plan, run)
        / "conditions"
        / f"{name}.{condition_key(plan, run, name, source_key)}.json"
    )


def reading_file(plan: StudyPlan, run: PlannedRun) -> Path:
    """Return the file with the measurements of a run's model itself (without conditions)."""
    return run_folder(plan, run) / f"reading.{digest([plan.ask, plan.call_rate])}.json"


def partner_name(run: PlannedRun, partner: str) -> str:
    """Return the name of the run whose model is the partner or reference of ``run``."""
    return f"{run.size}.{partner}.steps.s{run.seed}"


def trained(plan: StudyPlan, run: PlannedRun) -> dict[str, Any] | None:
    """Return the facts about a finished training run (steps, tokens, ...); None if unfinished."""
    file = run_folder(plan, run) / "run.json"
    return read_object(file) if file.exists() else None


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object that the study wrote.

    Raises:
        LacyError: E87, the file is not a JSON object.
    """
    try:
        data = parse_json(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise LacyError("E87", path=file, why=str(error)) from error
    if not isinstance(data, dict):
        raise LacyError("E87", path=file, why="it is not one JSON object")
    return data


def texts_prepared(plan: StudyPlan, seed: int, cue: Cue) -> bool:
    """True if the texts of a seed are packed with the marks of a cue."""
    return (shared_folder(plan, seed) / f"{cue}.done").exists()


# ------------------------------------------------------------------------------------ texts


def prepare_texts(plan: StudyPlan, seed: int, cue: Cue) -> None:
    """Make the world of a seed, its tokenizer, and its texts packed with the marks of a cue."""
    folder = shared_folder(plan, seed)
    with lock(folder.parent, name=f".{folder.name}.lock", wait=math.inf):
        if not texts_prepared(plan, seed, cue):  # otherwise another study has made them meanwhile
            _prepare(plan, seed, cue, folder)


def _prepare(plan: StudyPlan, seed: int, cue: Cue, folder: Path) -> None:
    from lacy.annotate import encode_many
    from lacy.corpus import PackedData, load_tokenizer, train_tokenizer
    from lacy.world import make_world

    world = make_world(plan.world.people, seed, prose=plan.world.prose)
    texts = world.documents("train", per_person=plan.world.texts)
    if cue == "gold":
        with replace_folder(folder / "world") as fresh:
            world.save(fresh)
        sample = itertools.islice(texts, TOKENIZER_TEXTS)
        tokenizer = train_tokenizer(
            (d.text for d in sample), plan.world.vocabulary, split_digits=False
        )
        texts = world.documents("train", per_person=plan.world.texts)
    else:
        tokenizer = load_tokenizer(folder / "gold")
    marked = _marked(texts, cue)
    PackedData.write(encode_many(marked, tokenizer), tokenizer, plan.world.context, folder / cue)
    write_atomic(folder / f"{cue}.done", "")


def _marked(texts: Iterable[Document], cue: Cue) -> Iterable[Document]:
    """Replace the world's own marks by those of a cue."""
    if cue == "gold":
        return texts
    if cue == "none":
        return (replace(text, marks=()) for text in texts)
    import spacy

    from lacy.annotate import SpacyAnnotator

    # A blank pipeline has no trained components, so the rules see only characters.
    return _annotated(
        iter(texts), SpacyAnnotator("bundled" if cue == "bundled" else spacy.blank("en"))
    )


def _annotated(texts: Iterator[Document], annotator: Any) -> Iterator[Document]:
    """Annotate texts in batches of 256."""
    while batch := list(itertools.islice(texts, 256)):
        marks_of_batch = annotator.annotate([text.text for text in batch])
        for text, marks in zip(batch, marks_of_batch, strict=True):
            yield replace(text, marks=tuple(marks))


# ----------------------------------------------------------------------------------- training


def train_run(plan: StudyPlan, run: PlannedRun) -> None:
    """Train one model, or resume an interrupted run.

    Studies that share a folder of runs may run at the same time; one waits while another trains
    a run that both need.
    """
    folder = run_folder(plan, run)
    with lock(folder.parent, name=f".{folder.name}.lock", wait=math.inf):
        if trained(plan, run) is None:
            _train(plan, run, folder)


def _train(plan: StudyPlan, run: PlannedRun, folder: Path) -> None:
    from lacy.model import load_model
    from lacy.train import TrainConfig, train

    runs = {other.name: other for other in planned_runs(plan)}
    settings = dict(run.settings)
    if run.equal == "text_tokens":
        settings["steps"] = _stretched(plan, runs[run.name.replace(".text_tokens.", ".steps.")])
    if run.reference is not None:
        reference = runs[partner_name(run, run.reference)]
        settings["reference"] = run_folder(plan, reference)
    begin = time.perf_counter()
    config = TrainConfig(
        **{"save_minutes": 2.0, **settings},
        data=shared_folder(plan, run.seed) / run.cue,
        out=folder,
        seed=run.seed,
        quiet=True,
    )
    try:
        result = train(config)
    except LacyError as error:
        if error.code != "E17":
            raise
        # E17: other settings than in the checkpoint. The folder's key proves that all but the paths
        # are equal, so the study was moved: train the run again.
        shutil.rmtree(folder)
        result = train(config)
    if not result.finished:
        raise LacyError("E86", run=f"{run.name} ({result.stopped})")
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if "call_rate" in row]
    facts = {
        "parameters": sum(p.numel() for p in load_model(folder).model.parameters()),
        "steps": rows[-1]["step"],
        "tokens": rows[-1]["tokens"],
        "text_tokens": round(text_tokens(rows, config)),
        "seconds": rows[-1].get("seconds", time.perf_counter() - begin),
    }
    write_atomic(folder / "run.json", json.dumps(facts, indent=2) + "\n")


def text_tokens(rows: Sequence[Mapping[str, Any]], config: Any) -> float:
    """Return the number of targets that are text, weighted as in the loss.

    Padding counts as text, because the metrics do not tell them apart.
    """
    total, tokens_before = 0.0, 0
    for row in rows:
        without_text = row["call_rate"] * (1.0 - config.text_weight) + row.get("ignored", 0.0)
        total += (row["tokens"] - tokens_before) * (1.0 - without_text)
        tokens_before = row["tokens"]
    return total


def _stretched(plan: StudyPlan, base: PlannedRun) -> int:
    """Return the number of steps in which a method sees as many text targets as the plain one."""
    facts = trained(plan, base)
    if facts is None:
        raise LacyError("E86", run=base.name)
    return max(1, round(facts["steps"] * facts["tokens"] / facts["text_tokens"]))


# ------------------------------------------------------------------------------------- asking


def ask_run(plan: StudyPlan, run: PlannedRun) -> None:
    """Evaluate a trained model under every condition, and on true texts, as far as not done yet."""
    from lacy.cascade import calibrate
    from lacy.model import load_model
    from lacy.world import load_world

    runs = {other.name: other for other in planned_runs(plan)}
    shared = shared_folder(plan, run.seed)
    world, loaded = load_world(shared / "world"), load_model(run_folder(plan, run))
    texts = itertools.islice(world.documents("train"), plan.world.calibration)
    calibration = calibrate(loaded, texts) if plan.world.calibration else None
    for name in run.conditions:
        file = condition_file(plan, run, name, runs)
        if not file.exists():
            partner = partner_of(plan.condition(name))
            partner_model = (
                load_model(run_folder(plan, runs[partner_name(run, partner)])) if partner else None
            )
            answers = _ask(plan, run, name, world, loaded, calibration, partner_model)
            write_atomic(file, json.dumps(_person_counts(answers)) + "\n")
    file = reading_file(plan, run)
    if not file.exists():
        write_atomic(file, json.dumps(_measure_model(plan, run, world, loaded)) + "\n")


def _ask(
    plan: StudyPlan,
    run: PlannedRun,
    name: str,
    world: World,
    loaded: Any,
    calibration: Any,
    partner_model: Any,
) -> WorldAnswers:
    from lacy.cascade import Oracle
    from lacy.evaluate import answer_all

    condition = plan.condition(name)
    policy = Oracle(world.expects_value) if condition.policy == "oracle" else condition.policy
    subjects = [person.name for person in world.people("valid")[: plan.ask]]
    folder = shared_folder(plan, run.seed) / "world"
    with open_study_source(
        condition.source, world, folder, run.seed, loaded.tokenizer, partner_model
    ) as source:
        return answer_all(
            loaded, world, source, policy, subjects, unit=condition.unit,
            max_new_tokens=condition.max_new_tokens, calibration=calibration, seed=run.seed,
        )  # fmt: skip


def _person_counts(answers: WorldAnswers) -> dict[str, Any]:
    """Return the counts of each person as JSON; ``tables`` computes all metrics from them."""
    from lacy.evaluate import COUNTS, person_counts

    people, table = person_counts(answers.answers, answers.subjects, answers.graded)
    return {
        "policy": answers.policy,
        "columns": list(COUNTS),
        "people": people,
        "counts": table.tolist(),
    }


def _measure_model(plan: StudyPlan, run: PlannedRun, world: World, loaded: Any) -> dict[str, Any]:
    """Return call quality, language loss, stored bits and closed-book recall as JSON."""
    from lacy.evaluate import evaluate_world
    from lacy.results import as_data

    measured = evaluate_world(
        loaded, world, None, {}, people=plan.ask, call_rate=plan.call_rate, seed=run.seed
    )
    return {key: value for key, value in as_data(measured).items() if key != "conditions"}
