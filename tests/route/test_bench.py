"""The benchmark of routers: folds, rows, resuming, and the page."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from lacy.errors import LacyError
from lacy.report import bench_cells, bench_columns, bench_notes, write_route_page
from lacy.route import (
    RouteCase,
    RouterSettings,
    bench_folds,
    bench_heads,
    bench_router,
    fit_router,
    read_scores,
    targets_of,
)

WORDS = {
    "code": ["write a function", "fix the loop", "print the list"],
    "sums": ["add 3 and 4", "divide 12 by 5", "what is 7 times 8"],
    "talk": ["hello there", "how are you", "tell me a story"],
}
SETTINGS = RouterSettings(head="tfidf", folds=2, keep_vectors=False)


def classes(each=4):
    """Return classes of three sources; every source has its own ending."""
    chance = random.Random(0)
    return [
        RouteCase(f"{chance.choice(openings)} {source} {number} please", route, source=source)
        for route, openings in WORDS.items()
        for source in ("north", "south", "west")
        for number in range(each)
    ]


def outcomes(models=("small", "large"), each=20):
    """Return outcomes in which only the largest model can add; lengths say nothing."""
    chance = random.Random(1)
    found = []
    for source in ("north", "south"):
        for number in range(each):
            hard = number % 2
            text = f"{'add' if hard else 'sing'} {'x' * chance.randint(1, 40)}"
            scores = {name: float(not hard or name == models[-1]) for name in models}
            found.append(RouteCase(text, scores=scores, source=source))
    return found


def test_each_case_is_measured_once_by_folds_that_do_not_know_it():
    cases = classes()
    cases += [RouteCase(cases[0].text.upper(), "code", source="west")]  # the same text elsewhere
    targets = targets_of(cases, sorted(WORDS))
    folds = bench_folds(cases, targets, folds=3)
    for split in ("other sources", "same sources"):
        mine = [fold for fold in folds if fold.split == split]
        assert sorted(np.concatenate([fold.test_N for fold in mine])) == list(range(len(cases)))
        for fold in mine:
            held = {cases[place].text.casefold() for place in fold.test_N}
            assert not held & {cases[place].text.casefold() for place in fold.train_N}
    for fold in folds[:3]:
        assert {cases[place].source for place in fold.test_N} == {fold.name}
        assert fold.name not in {cases[place].source for place in fold.train_N}


def test_many_sources_are_left_out_in_groups_and_one_source_is_not():
    cases = [RouteCase(f"text {n}", "ab"[n % 2], source=f"s{n % 30}") for n in range(120)]
    targets = targets_of(cases, ["a", "b"])
    folds = [one for one in bench_folds(cases, targets, folds=4) if one.split == "other sources"]
    assert [one.name for one in folds] == ["group 1", "group 2", "group 3", "group 4"]
    alone = [RouteCase(case.text, case.route, source="s") for case in cases]
    assert {one.split for one in bench_folds(alone, targets)} == {"same sources"}


def test_classes_are_measured_and_a_stopped_benchmark_goes_on(tmp_path):
    cases, said = classes(), []
    settings = replace(SETTINGS, strength=1.0)
    done = bench_heads(cases, ["length", "tfidf"], tmp_path, settings=settings, folds=2,
                       notify=said.append)  # fmt: skip
    assert len(said) == 2 * (3 + 2)
    best = done.of("other sources")[0]
    assert best.head == "tfidf"
    assert best.main.value > 0.8
    assert best.p_value is None
    assert set(best.by_source) == {"north", "south", "west"}
    by_head = {row.head: row for row in done.of("other sources")}
    assert by_head["oracle"].main.value == 1.0
    assert by_head["constant"].main.value == pytest.approx(1 / 3)
    assert 0 <= by_head["length"].p_value <= 1
    assert by_head["length"].fit_seconds > 0
    assert by_head["random"].milliseconds is None
    stored = json.loads((tmp_path / "bench.json").read_text())
    assert stored["cases"] == {"north": 12, "south": 12, "west": 12}

    file = next((tmp_path / "scores").glob("tfidf-*"))
    file.unlink()
    said.clear()
    again = bench_heads(cases, ["length", "tfidf"], tmp_path, settings=settings, folds=2,
                        notify=said.append)  # fmt: skip
    assert len(said) == 1
    assert again.of("other sources")[0].classes == best.classes
    with pytest.raises(LacyError, match="E17"):
        bench_heads(cases[1:], ["length"], tmp_path, settings=settings, folds=2)


def test_a_class_of_one_source_is_measured_as_wrong_not_as_an_error(tmp_path):
    cases = classes() + [RouteCase(f"bonjour {n}", "french", source="east") for n in range(5)]
    done = bench_heads(cases, ["length"], tmp_path, settings=SETTINGS, folds=2)
    found = done.of("other sources")[0]
    assert found.by_source["east"].value == 0.0
    assert found.main.n == len(cases)


def test_outcomes_of_two_models(tmp_path):
    settings = replace(SETTINGS, strength=1.0)
    done = bench_heads(outcomes(), ["length", "tfidf"], tmp_path, settings=settings,
                       same_sources=False)  # fmt: skip
    assert {row.split for row in done.rows} == {"other sources"}
    rows = {row.head: row for row in done.of("other sources")}
    assert rows["tfidf"].pair.apgr.value > 0.65 > rows["random"].pair.apgr.value
    assert rows["tfidf"].over_length.low > 0
    assert rows["oracle"].pair.apgr.value == pytest.approx(0.75)
    assert rows["tfidf"].pair.weak == 0.5
    assert rows["tfidf"].curve[0] == 0.5
    assert rows["tfidf"].curve[-1] == 1.0
    assert "constant" not in rows


def test_outcomes_of_three_models_with_costs(tmp_path):
    cases = outcomes(("small", "middle", "large"))
    costs = {"small": 1, "middle": 2, "large": 10}
    done = bench_heads(cases, ["length"], tmp_path, settings=SETTINGS, costs=costs,
                       same_sources=False)  # fmt: skip
    rows = {row.head: row for row in done.of("other sources")}
    models = rows["length"].models
    assert models.best == "large"
    assert models.costs == costs
    assert rows["oracle"].models.aiq > models.zero_aiq
    assert rows["oracle"].models.gain_over_best.value == pytest.approx(0.0)
    assert rows["constant"].models.aiq == pytest.approx(models.zero_aiq, abs=0.02)


def test_a_router_is_measured_without_fitting(tmp_path):
    cases = classes()
    seen = [case for case in cases if case.source != "west"]
    router = fit_router(seen, replace(SETTINGS, head="shape"))
    done = bench_router(router, cases, tmp_path)
    other, same = done.of("other sources")[0], done.of("same sources")[0]
    assert set(other.by_source) == {"west"}
    assert same.n == 24
    assert other.milliseconds > 0
    with pytest.raises(LacyError, match="E379"):
        bench_router(router, [*cases, RouteCase("x", "sport")], tmp_path)


def test_too_few_cases_are_explained(tmp_path):
    cases = [RouteCase(f"a {n}", "one", source="s") for n in range(5)]
    cases += [RouteCase(f"b {n}", "two", source="t") for n in range(5)]
    with pytest.raises(LacyError, match="E378"):
        bench_heads(cases, ["length"], tmp_path, settings=SETTINGS)


@pytest.mark.parametrize("models", [None, ("small", "large"), ("small", "middle", "large")])
def test_the_page_has_every_row(models, tmp_path):
    cases = classes(4) if models is None else outcomes(models, 10)
    both = models is None
    done = bench_heads(cases, ["length"], tmp_path, settings=SETTINGS, folds=2, same_sources=both)
    for row in done.rows:
        assert len(bench_cells(row)) == len(bench_columns(done))
    write_route_page(tmp_path / "report.html", done)
    page = (tmp_path / "report.html").read_text()
    assert "Other sources" in page
    assert ("Same sources" in page) == both
    assert "<svg" in page
    assert page.count("oracle") >= 1


def test_a_page_escapes_names_of_sources(tmp_path):
    cases = [
        RouteCase(case.text, case.route, source=f"<b>{case.source}</b>") for case in classes(4)
    ]
    done = bench_heads(cases, ["length"], tmp_path, settings=SETTINGS, folds=2)
    write_route_page(tmp_path / "report.html", done)
    assert "<b>north" not in (tmp_path / "report.html").read_text()


def test_held_out_scores_are_read_back(tmp_path):
    cases = classes()
    done = bench_heads(cases, ["shape"], tmp_path, settings=SETTINGS, folds=2)
    scores = read_scores(tmp_path)
    mine = scores["shape", "other sources"]
    right = [sorted(WORDS)[place] == case.route
             for place, case in zip(mine.argmax(1), cases, strict=True)]  # fmt: skip
    row = next(one for one in done.of("other sources") if one.head == "shape")
    assert np.mean(right) == row.main.value
    assert ("random", "same sources") in scores


def test_more_folds_than_cases_are_possible(tmp_path):
    cases = [replace(case, source=f"s{n % 30}") for n, case in enumerate(classes(4))]
    found = bench_folds(cases, targets_of(cases, sorted(WORDS)), folds=99)
    for split in ("other sources", "same sources"):
        tested = np.concatenate([one.test_N for one in found if one.split == split])
        assert sorted(tested) == list(range(len(cases)))
    equal = [replace(case, text="a") for case in cases]
    with pytest.raises(LacyError, match="all texts are equal"):
        bench_folds(equal, targets_of(cases, sorted(WORDS)))


def test_a_pair_without_a_common_text_is_an_error_before_the_work(tmp_path):
    cases = [RouteCase(f"text {n}", None, {"ab"[n % 2]: 1.0}) for n in range(20)]
    with pytest.raises(LacyError, match="no text has the scores of both models"):
        bench_heads(cases, ["length"], tmp_path, settings=SETTINGS)
    assert not list(tmp_path.iterdir())


def test_two_equally_good_models_have_no_gap_and_the_page_says_so(tmp_path):
    cases = [replace(case, scores={"a": 1.0, "b": 1.0}) for case in outcomes()]
    done = bench_heads(cases, ["length"], tmp_path, settings=SETTINGS, same_sources=False)
    assert "no gap to recover" in bench_notes(done, "other sources")[0]


def test_the_stronger_model_is_named_with_its_scores(tmp_path):
    done = bench_heads(outcomes(), ["length"], tmp_path, settings=SETTINGS, same_sources=False)
    assert bench_notes(done, "other sources") == [
        "Mean scores: large 100.0%, small 50.0%, the better one for each text 100.0%."]  # fmt: skip


def test_a_router_of_three_models_is_measured_on_two_of_them_at_its_own_costs(tmp_path):
    cases = outcomes(("small", "middle", "large"))
    router = fit_router(cases, replace(SETTINGS, head="length"))
    router.set_costs({"small": 1.0, "middle": 2.0, "large": 9.0})
    done = bench_router(router, cases, tmp_path / "all")
    assert done.rows[0].models.costs == {"small": 1.0, "middle": 2.0, "large": 9.0}
    two = [replace(case, scores={n: s for n, s in case.scores.items() if n != "middle"})
           for case in cases]  # fmt: skip
    done = bench_router(router, two, tmp_path / "two")
    assert done.routes == ("large", "small") and done.rows[0].stronger == "large"
    with pytest.raises(LacyError, match="E17"):
        bench_router(router, cases, tmp_path / "two")


def test_a_model_with_too_few_scores_does_not_stop_a_benchmark(tmp_path):
    cases = outcomes(("small", "middle", "large"))
    cases = [case if n < 2 else replace(case, scores={m: s for m, s in case.scores.items()
                                                      if m != "middle"})
             for n, case in enumerate(cases)]  # fmt: skip
    done = bench_heads(cases, ["length"], tmp_path, settings=SETTINGS, folds=2)
    assert done.of("same sources")[0].models.single["middle"].n == 2
