"""Studies on articles as a user types them: asked, stopped, continued, and their tables."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lacy.cli import main
from lacy.evaluate import ARTICLE_COUNTS
from lacy.model import build_model, save_model
from lacy.study import ArticleStudyPlan, check_plan, jobs_of, read_plan
from lacy.study.article_plan import article_condition_key, article_problems, article_runs
from lacy.study.article_work import is_tuned
from lacy.study.controls import control_of, fit_control
from lacy.testing import byte_tokenizer
from lacy.tune import REPORT_FILE
from lacy.types import Document, Mark

TOKENIZER = byte_tokenizer()
TOWNS = ["Oslo", "Lima", "Bonn", "Turin", "Ulm", "Rome", "Paris", "Kyiv", "Bern", "Nice"]


def articles():
    return [
        {
            "id": str(n),
            "title": f"Ann {town}sen",
            "text": f"Ann {town}sen (born 19{n:02}) was a painter from {town} who moved to "
            f"{TOWNS[(n + 3) % 10]} in 19{n + 30:02} and taught there until 19{n + 60:02}.",
        }
        for n, town in enumerate(TOWNS)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("articles")
    lines = [json.dumps(article) for article in articles()]
    (folder / "articles.jsonl").write_text("\n".join(lines) + "\n")
    for seed in (0, 1):
        model = build_model("tiny", TOKENIZER, context=256, seed=seed)
        save_model(folder / f"model-{seed}", model, TOKENIZER)
    return folder


def recipe(files, folder, **changed):
    settings = {
        "out": str(folder / "out"),
        "articles": str(files / "articles.jsonl"),
        "people": 4,
        "calibration": 5,
        "prompt_words": 6,
        "max_new_tokens": 12,
        "pipeline": "bundled",
        "model": str(files / "model-0"),
        "methods": {"first": None, "second": {"model": str(files / "model-1")}},
        "conditions": {
            "alone": {"policy": "never", "source": ""},
            "random": "random=0.3",
            "position": "position=0.3",
            "documents": {"policy": "embedding=0.3", "source": "documents", "unit": "word"},
            "title": {"policy": "oracle=0.3", "prompt_words": 0},
        },
        "compare": ["first/random - first/alone", "second/title - first/title"],
        **changed,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def lacy(*argv):
    try:
        return main([str(word) for word in argv])
    except SystemExit as leaving:
        return leaving.code or 0


@pytest.fixture(scope="module")
def study(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    second = {"model": str(files / "model-1"), "conditions": ["alone", "title"]}
    file = recipe(files, folder, methods={"first": None, "second": second})
    assert lacy("study", file, "--jobs", 1) == 0
    return file, folder / "out"


@pytest.mark.slow
def test_every_condition_of_every_method_has_scores(study):
    results = pd.read_csv(study[1] / "results.csv", keep_default_na=False)
    asked = results[(results.condition != "") & (results.seed == 0)]
    assert len(asked.groupby(["method", "condition"])) == 5 + 2
    assert set(asked.metric) >= {"entities_right", "entity_recall", "call_rate", "right_per_text"}
    alone = asked[(asked.condition == "alone") & (asked.metric == "call_rate")]
    assert (alone.value.astype(float) == 0).all()
    own = results[(results.condition == "") & (results.seed == -1)]
    assert set(own.metric) >= {"language_loss", "auroc_entropy_start", "fact_loss"}
    assert "Comparisons" in (study[1] / "report.html").read_text()


@pytest.mark.slow
def test_tables_follow_from_the_counts_of_articles(study):
    counts = pd.read_csv(study[1] / "articles.csv")
    assert set(ARTICLE_COUNTS) < set(counts.columns)
    results = pd.read_csv(study[1] / "results.csv", keep_default_na=False)
    for (method, condition), part in counts.groupby(["method", "condition"]):
        assert len(part) == 4 and part.answers.sum() == 4
        row = results[(results.method == method) & (results.condition == condition)
                      & (results.metric == "entities_per_text") & (results.seed == 0)]  # fmt: skip
        assert float(row.value.iloc[0]) == pytest.approx(part.entities.sum() / 4, rel=1e-5)
    comparisons = pd.read_csv(study[1] / "comparisons.csv")
    assert set(comparisons.a) <= {"first/random", "second/title"}


@pytest.mark.slow
def test_a_finished_study_asks_nothing_again_and_a_new_condition_only_itself(study, files):
    file, out = study
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/conditions/*.json")}
    plan = yaml.safe_load(file.read_text())
    plan["conditions"]["more"] = "random=0.1"
    more = file.with_name("more.yaml")
    more.write_text(yaml.safe_dump(plan))
    todo = [name for name, job in jobs_of(read_plan(more)).items() if not job.done()]
    assert todo == ["ask first.s0 more"]
    assert lacy("study", file, "--jobs", 1) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_a_stopped_study_has_tables_of_what_is_finished(study, tmp_path):
    file, out = study
    for path in out.rglob("title.*.json"):
        path.rename(tmp_path / f"{path.parent.parent.name}.json")
    try:
        assert lacy("study", file, "--tables") == 0
        results = pd.read_csv(out / "results.csv", keep_default_na=False)
        assert set(results.condition) == {"alone", "random", "position", "documents", ""}
    finally:
        for path in out.glob("runs/*/conditions/alone.*.json"):
            name = path.parent.parent.name
            key = article_condition_key(
                read_plan(file),
                next(r for r in article_runs(read_plan(file)) if r.name in name),
                "title",
            )
            (tmp_path / f"{name}.json").rename(path.with_name(f"title.{key}.json"))


def test_the_plan_is_shown_without_running_it(files, tmp_path, capsys):
    assert lacy("study", recipe(files, tmp_path), "--dry-run") == 0
    out = capsys.readouterr().out
    assert "texts to generate" in out and "40" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"methods": {}}, "methods is empty"),
        ({"people": 0}, "people and max_new_tokens must be at least 1"),
        ({"conditions": {"a": {"source": ""}}}, "conditions.a.policy is not given"),
        ({"conditions": {"a": {"policy": "never", "sauce": "x"}}}, "unknown conditions.a.sauce"),
        ({"conditions": {"a": "sometimes"}}, "conditions.a.policy"),
        ({"conditions": {"a": "embedding=2"}}, "a share of tokens"),
        ({"conditions": {"a b": "never"}}, "a name has no blank"),
        ({"methods": {"m": {"conditions": ["x"]}}}, "names 'x', which is not a condition"),
        ({"methods": {"m": {"tune": {"depth": "row"}}}}, "needs tune_on"),
        ({"methods": {"m": 3}}, "methods.m is 3, expected `key: value` lines"),
        ({"metrics": ["beauty"]}, "metrics names 'beauty'"),
        ({"compare": ["first/none - first/alone"]}, "names 'first/none'"),
    ],
)
def test_mistakes_in_a_plan_are_named(files, tmp_path, changed, words, capsys):
    assert lacy("study", recipe(files, tmp_path, compare=[], **changed) if "compare" not in changed
                else recipe(files, tmp_path, **changed), "--dry-run") == 2  # fmt: skip
    assert words in capsys.readouterr().err


def test_keys_depend_on_what_texts_depend_on(tmp_path):
    plan = ArticleStudyPlan(
        articles=tmp_path, methods={"m": None}, conditions={"a": "never", "b": {"policy": "never"}}
    )
    assert not article_problems(plan)
    check_plan(plan)
    (run,) = article_runs(plan)
    keys = [article_condition_key(plan, run, name) for name in ("a", "b")]
    assert keys[0] == keys[1]
    longer = ArticleStudyPlan(**{**vars(plan), "max_new_tokens": 65})
    assert article_condition_key(longer, run, "a") != keys[0]
    same = ArticleStudyPlan(**{**vars(plan), "out": tmp_path, "compare": ("m/a - m/b",)})
    assert article_condition_key(same, run, "a") == keys[0]


# ----------------------------------------------------------------------------------- controls


def test_a_control_calls_after_the_tokens_before_values(files):
    """In these texts a value always follows "in ", never another word."""
    from lacy.cascade.policy import SignalBatch
    from lacy.model import load_model

    loaded = load_model(files / "model-0")
    texts = [f"{name} saw it in {town} again" for name in ("Ann", "Bob") for town in TOWNS]
    documents = [
        Document(str(n), text, marks=(Mark(text.index("in ") + 3, text.index(" again"), "ENTITY"),))
        for n, text in enumerate(texts)
    ]
    policy = fit_control("embedding", 0.3, loaded, documents, ["" for _ in documents])
    assert str(policy) == "embedding=0.3"
    assert policy.score("Eva was in ", 3) > policy.score("Eva was a", 3)
    early = fit_control("position", 0.3, loaded, documents, ["" for _ in documents])
    assert early.score("", 14) > early.score("", 40)
    import numpy as np

    texts = ["Eva was in ", "Eva wa"]
    batch = SignalBatch(np.zeros(2), [3, 3], texts.__getitem__, lambda by: np.zeros(2))
    first, second = policy.start().decide(batch)
    assert first.call and not second.call
    assert "embedding control" in first.reason


def test_controls_are_read_from_their_text():
    assert control_of("embedding=0.22") == ("embedding", 0.22)
    assert control_of("position=0.1") == ("position", 0.1)
    assert control_of("budget=0.22") is None


def test_the_published_recipe_is_a_valid_plan():
    plan = read_plan(Path(__file__).parents[2] / "recipes" / "real.yaml")
    assert isinstance(plan, ArticleStudyPlan)
    names = list(jobs_of(plan))
    assert names[:2] == ["calibrate raw.s0", "ask raw.s0 alone"]
    assert names.index("tune row.s0") < names.index("ask row.s0 gate")
    tiny = plan.smoke()
    assert tiny.people == 3 and {tiny.condition(c).max_new_tokens for c in tiny.conditions} == {8}


def test_an_interrupted_tuning_is_not_finished(tmp_path):
    run = tmp_path / "model"
    run.mkdir()
    (run / "config.yaml").touch()  # a training writes this at its beginning
    assert not is_tuned(run) and not is_tuned(tmp_path / "none")
    (run / "model").mkdir()
    (run / "model" / REPORT_FILE).touch()
    assert is_tuned(run) and is_tuned(run / "model")
