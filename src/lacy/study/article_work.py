"""The jobs of a study on articles: tune a model, calibrate it, let it continue articles.

Each job writes its result atomically and does nothing if the result exists, so a study can be
stopped at any moment.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.run import write_atomic
from lacy.study.article_plan import (
    ArticleRun,
    ArticleStudyPlan,
    article_condition_key,
    article_runs,
    articles_key,
)
from lacy.study.controls import control_of, fit_control
from lacy.study.plan import digest
from lacy.study.runner import Job
from lacy.types import Answer, Document

if TYPE_CHECKING:
    from lacy.cascade import Calibration
    from lacy.evaluate import Extract
    from lacy.model import Precision


def article_jobs(plan: ArticleStudyPlan) -> dict[str, Job]:
    """Return all jobs of a plan, in the order in which they should start.

    The conditions of one model follow each other, so that it is opened once.
    """
    jobs: dict[str, Job] = {}
    for run in article_runs(plan):
        after: tuple[str, ...] = ()

        def add(
            name: str,
            do: Callable[..., None],
            file: Path,
            *args: Any,
            run: ArticleRun = run,
            needs: tuple[str, ...] = (),
        ) -> str:
            done = file.exists if do is not tune_run else partial(is_tuned, file)
            jobs[name] = Job(
                name, do, (plan, run, *args), done, needs, run.method, f"seed {run.seed}"
            )
            return name

        if run.settings.tune is not None:
            after = (add(f"tune {run.name}", tune_run, Path(model_of(plan, run))),)
        if plan.calibration:
            file = calibration_file(plan, run)
            after += (add(f"calibrate {run.name}", calibrate_run, file, needs=after),)
        for name in run.settings.conditions or ():
            file = answers_file(plan, run, name)
            add(f"ask {run.name} {name}", ask_articles, file, name, needs=after)
        add(f"read {run.name}", measure_run, measurements_file(plan, run), needs=after)
    return jobs


# ------------------------------------------------------------------------------------- files


def article_run_folder(plan: ArticleStudyPlan, run: ArticleRun) -> Path:
    """Return the folder of a model's files."""
    return plan.out / "runs" / f"{run.name}.{run.key}"


def model_of(plan: ArticleStudyPlan, run: ArticleRun) -> str:
    """Return the name of a run's model: as given, or the folder that tuning writes."""
    if run.settings.tune is None:
        return str(run.settings.model)
    return str(article_run_folder(plan, run) / "model")


def is_tuned(folder: Path) -> bool:
    """Return whether tuning has finished. A training writes its run folder from the beginning."""
    from lacy.tune import REPORT_FILE

    return any((model / REPORT_FILE).is_file() for model in (folder, folder / "model"))


def calibration_file(plan: ArticleStudyPlan, run: ArticleRun) -> Path:
    """Return the file with a model's calibration."""
    return article_run_folder(plan, run) / f"calibration.{articles_key(plan)}.json"


def answers_file(plan: ArticleStudyPlan, run: ArticleRun, name: str) -> Path:
    """Return the file with a model's texts under one condition, and their counts."""
    key = article_condition_key(plan, run, name)
    return article_run_folder(plan, run) / "conditions" / f"{name}.{key}.json"


def measurements_file(plan: ArticleStudyPlan, run: ArticleRun) -> Path:
    """Return the file with the measurements of a model on the true articles."""
    return (
        article_run_folder(plan, run)
        / f"reading.{digest([articles_key(plan), plan.call_rate])}.json"
    )


# -------------------------------------------------------------------------------------- data


@lru_cache(maxsize=1)
def _read_articles(
    path: Path, only: str | None, people: int, others: int
) -> tuple[list[Document], list[Document]]:
    """Return the articles to continue, and others to calibrate on."""
    from lacy.corpus import read

    chosen = read(path, only=only)
    return list(itertools.islice(chosen, people)), list(itertools.islice(chosen, others))


def articles_of(plan: ArticleStudyPlan) -> tuple[list[Document], list[Document]]:
    """Return the articles of a plan, and those to calibrate on."""
    return _read_articles(plan.articles, plan.only, plan.people, plan.calibration)


@lru_cache(maxsize=2)
def _extract(pipeline: str) -> Extract:
    from lacy.evaluate import default_extract

    return default_extract(pipeline)


@lru_cache(maxsize=1)
def _loaded(name: str, dtype: Precision) -> Any:
    from lacy.cascade import open_model
    from lacy.model import set_precision

    loaded = open_model(name)
    set_precision(loaded.model, dtype)
    return loaded


def marked_articles(plan: ArticleStudyPlan, articles: Sequence[Document]) -> list[Document]:
    """Return articles with the annotator's marks, as for training."""
    from lacy.annotate import SpacyAnnotator

    annotator = SpacyAnnotator(plan.pipeline, notify=lambda note: None)
    marks = annotator.annotate([article.text for article in articles])
    return [replace(a, marks=tuple(m)) for a, m in zip(articles, marks, strict=True)]


# -------------------------------------------------------------------------------------- jobs


def tune_run(plan: ArticleStudyPlan, run: ArticleRun) -> None:
    """Tune a model as ``lacy tune`` does."""
    from lacy.annotate import AnnotateConfig
    from lacy.corpus import read
    from lacy.tune import tune

    assert plan.tune_on is not None and run.settings.tune is not None
    folder = article_run_folder(plan, run)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = read(plan.tune_on, only=plan.only, limit=TUNE_POOL)
    tune(
        str(run.settings.model), chosen, out=folder / "model",
        annotate=AnnotateConfig(pipeline=plan.pipeline), seed=run.seed, progress=False,
        **run.settings.tune,
    )  # fmt: skip


TUNE_POOL = 2000
"""Number of articles that tuning chooses from."""


def calibrate_run(plan: ArticleStudyPlan, run: ArticleRun) -> None:
    """Calibrate a model on the articles after the held-out ones."""
    from lacy.evaluate import calibrate_on

    loaded, (_, others) = _loaded(model_of(plan, run), plan.dtype), articles_of(plan)
    calibration = calibrate_on(loaded, others, _extract(plan.pipeline))
    file = calibration_file(plan, run)
    file.parent.mkdir(parents=True, exist_ok=True)
    calibration.save(file)


def ask_articles(plan: ArticleStudyPlan, run: ArticleRun, name: str) -> None:
    """Let a model continue all articles under one condition; write texts and counts."""
    from lacy.evaluate import answer_articles, article_prompts, open_article_source

    begin = time.perf_counter()
    loaded, (articles, others) = _loaded(model_of(plan, run), plan.dtype), articles_of(plan)
    condition, extract = plan.condition(name), _extract(plan.pipeline)
    words = plan.words(condition)
    prompts = article_prompts(articles, extract, words)
    policy: Any = condition.policy
    if control := control_of(policy):
        marked = marked_articles(plan, others)
        beginnings = article_prompts(others, extract, words)
        policy = fit_control(*control, loaded, marked, beginnings)
    with open_article_source(condition.source, articles, extract, prompts) as (source, subjects):
        found = answer_articles(
            loaded, articles, extract, policy, source, prompts, subjects, unit=condition.unit,
            max_new_tokens=condition.max_new_tokens or plan.max_new_tokens,
            calibration=_calibration(plan, run), read_until=condition.read_until,
        )  # fmt: skip
    data = {
        "policy": found.policy,
        "seconds": round(time.perf_counter() - begin, 1),
        "articles": [article.id for article in articles],
        "counts": {key: values.tolist() for key, values in found.counts.items()},
        "texts": [readable(answer) for answer in found.answers],
    }
    file = answers_file(plan, run, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _calibration(plan: ArticleStudyPlan, run: ArticleRun) -> Calibration | None:
    from lacy.cascade import Calibration

    return Calibration.load(calibration_file(plan, run)) if plan.calibration else None


def readable(answer: Answer) -> str:
    """Return a text for display: the prompt before a bar, borrowed values in brackets."""
    parts = []
    for span in answer.spans:
        if span.speaker == "prompt":
            parts.append(span.text + " |")
        elif span.asked and span.speaker != "slm":
            space = " " * (len(span.text) - len(span.text.lstrip()))
            parts.append(f"{space}[{span.text.strip()}]")
        else:
            parts.append(span.text)
    return "".join(parts)


def measure_run(plan: ArticleStudyPlan, run: ArticleRun) -> None:
    """Measure a model on the true articles: call quality, language loss, loss on facts."""
    from lacy.cascade import truncate_document
    from lacy.evaluate import measure_on_texts
    from lacy.results import as_data

    loaded, (articles, _) = _loaded(model_of(plan, run), plan.dtype), articles_of(plan)
    marked = marked_articles(plan, articles)
    cut = [truncate_document(d, loaded.tokenizer, READ_TOKENS) for d in marked]
    measured = measure_on_texts(loaded, cut, call_rate=plan.call_rate)
    file = measurements_file(plan, run)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(as_data(measured), indent=1) + "\n")


READ_TOKENS = 256
"""Maximum number of tokens per article on which a model is measured."""
