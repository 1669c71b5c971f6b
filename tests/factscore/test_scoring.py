import json
import math
import re

import pytest

from lacy.errors import LacyError
from lacy.factscore import (
    FactScoreSettings,
    GivenFact,
    KnownAgreement,
    MappedPages,
    TopicResponse,
    length_penalty,
    page_recall,
    recall_at_k,
    score_labels,
    score_responses,
    write_output,
)
from lacy.factscore.asking import BATCH_CLAIMS
from lacy.judges import NO_PASSAGES, Judgment, OverlapJudge
from lacy.results import AnswerStore

PAGES = {"Ada": "Ada was born in 1815 in London. She wrote notes.", "Bea": ["Bea was a poet."]}


class Sentences:
    """A fact maker for which every sentence is a fact."""

    name, identity = "sentences", ("sentences",)

    def facts_of(self, sentences):
        return [[sentence] for sentence in sentences]


class Script:
    """A judge that supports facts with "yes", rejects those with "no", and counts questions."""

    name, uses_response = "script", False

    def __init__(self, dies_after=math.inf):
        self.asked, self.dies_after = [], dies_after

    def judge(self, claims):
        found = []
        for claim in claims:
            if len(self.asked) >= self.dies_after:
                raise RuntimeError("out of order")
            self.asked.append(claim.text)
            verdict = {"yes": True, "no": False}.get(re.findall("yes|no|hm", claim.text)[0])
            why = "" if verdict is not None else "neither true nor false"
            found.append(Judgment(verdict, None, why) if claim.passages else
                         Judgment(None, None, NO_PASSAGES))  # fmt: skip
        return found


def given(topic, words, text="text"):
    facts = tuple(GivenFact(f"{k} {word}") for k, word in enumerate(words.split()))
    return TopicResponse(topic, text, facts=facts)


def scored(*responses, judge=None, **settings):
    return score_responses(
        responses, PAGES, judge or Script(), settings=FactScoreSettings(**settings)
    )


def values(measured):
    return {name: score.value for name, score in measured.scores().items()}


def test_the_score_is_the_originals():
    measured = scored(given("Ada", "yes " * 8 + "no " * 4), given("Bea", "yes no"),
                      TopicResponse("Ada", "I'm sorry, I do not know."))  # fmt: skip
    found = values(measured)
    assert found["factscore_init"] == pytest.approx((8 / 12 + 1 / 2) / 2)
    assert found["factscore"] == pytest.approx((8 / 12 + 1 / 2 * math.exp(1 - 10 / 2)) / 2)
    assert found["respond_ratio"] == pytest.approx(2 / 3)
    assert found["facts_per_response"] == 7
    assert found["facts_unjudged"] == 0
    assert found["factscore_lowest"] == found["factscore_highest"] == found["factscore"]


@pytest.mark.parametrize(
    ("facts", "penalty"), [(0, 0), (1, math.exp(-9)), (9, math.exp(-1 / 9)), (10, 1), (99, 1)]
)
def test_length_penalty(facts, penalty):
    assert length_penalty(facts, 10) == pytest.approx(penalty)
    assert length_penalty(facts, 0) == 1


def test_facts_without_a_verdict_stay_out_of_the_mean_and_move_the_bounds():
    measured = scored(given("Ada", "yes no hm hm"), given("Zoe", "yes"), gamma=0)
    found = values(measured)
    assert found["factscore"] == 1 / 2
    assert found["factscore_lowest"] == pytest.approx((1 / 4 + 0) / 2)
    assert found["factscore_highest"] == pytest.approx((3 / 4 + 1) / 2)
    assert found["facts_unjudged"] == 3 / 5
    assert measured.unjudged() == {"neither true nor false": 2, "no page has this title": 1}


def test_missing_pages_show_the_nearest_titles():
    measured = score_responses([given("Anna Bel", "yes")], {"Anna Bell": "x"}, Script())
    assert measured.missing_pages() == {"Anna Bel": ("Anna Bell",)}
    assert measured.counts["responses without a page"] == 1
    assert math.isnan(values(measured)["factscore"])
    near = FactScoreSettings(titles="normal")
    responses = [given("anna bell", "yes")]
    measured = score_responses(responses, {"Anna Bell": "x"}, Script(), settings=near)
    assert measured.responses[0].title == "Anna Bell"


def test_empty_texts_abstentions_and_texts_without_facts_are_counted_apart():
    responses = [TopicResponse("Ada", ""), TopicResponse("Ada", "I'm sorry"),
                 TopicResponse("Ada", "Sure!"),
                 TopicResponse("Ada", "It says yes.", abstained=True),
                 TopicResponse("Ada", "I'm sorry to say yes.", abstained=False)]  # fmt: skip
    measured = score_responses(responses, PAGES, Script(), Sentences())
    assert measured.without_facts() == {"empty": 1, "abstained": 2, "no facts": 1}
    assert values(measured)["respond_ratio"] == 1 / 5
    assert measured.counts["responses about a topic that others are about, too"] == 5


def test_topics_are_the_unit_of_intervals():
    measured = scored(*[given("Ada", "yes " * 10)] * 50, given("Bea", "no " * 10))
    score = measured.scores()["factscore"]
    assert (score.value, score.n) == (50 / 51, 2)
    assert score.low == 0.0  # drawing Bea twice


def test_other_languages_are_not_judged_unless_the_judge_reads_them():
    text = (
        "Ada wurde in London geboren und war die Tochter des Dichters. Sie hat mit ihm nicht"
        " gelebt, aber sie ist eine Mathematikerin von Rang, die auch Noten schrieb. yes"
    )
    judge = Script()
    measured = score_responses([TopicResponse("Ada", text)], PAGES, judge, Sentences())
    assert measured.unjudged() == {"the text is in another language (de)": 2}
    assert "yes" not in judge.asked
    judge.any_language = True
    assert not score_responses([given("Ada", "yes", text)], PAGES, judge).unjudged()


def test_a_page_of_a_megabyte_is_read_to_its_end():
    filler = " ".join(f"Sentence {k} has w{k} in it." for k in range(32_000))
    page = f"{filler} Ada kept a green parrot named Quill."
    assert len(page) > 1_000_000
    response = TopicResponse(
        "Ada",
        "t",
        facts=(
            GivenFact("Ada kept a green parrot named Quill."),
            GivenFact("Ada kept a red horse named Bob."),
        ),
    )
    measured = score_responses([response], {"Ada": page}, OverlapJudge())
    assert [d.supported for d in measured.responses[0].decisions] == [True, False]


def test_a_judge_that_dies_is_reported_and_goes_on_where_it_stopped(tmp_path):
    responses = [given("Ada", "yes no " * BATCH_CLAIMS), given("Bea", "yes yes yes")]
    with AnswerStore(tmp_path / "answers.jsonl") as store:
        judge = Script(dies_after=2 * BATCH_CLAIMS)
        first = score_responses(responses, PAGES, judge, store=store)
    assert first.unjudged() == {"the judge failed: RuntimeError: out of order": 3}
    with AnswerStore(tmp_path / "answers.jsonl") as store:
        again = Script()
        second = score_responses(responses, PAGES, again, store=store)
    assert again.asked == ["0 yes", "1 yes", "2 yes"]
    assert second.scores() == score_responses(responses, PAGES, Script()).scores()


def test_no_question_is_asked_twice():
    judge = Script()
    scored(given("Ada", "yes no"), given("Ada", "yes no"), judge=judge)
    assert judge.asked == ["0 yes", "1 no"]


def test_a_judge_that_reads_whole_responses_gets_them_whole():
    class Counting(Script):
        uses_response = True

        def judge(self, claims):
            sizes.append(
                [sum(c.response == r for c in claims) for r in {c.response for c in claims}]
            )
            return super().judge(claims)

    sizes = []
    scored(
        *[given("Ada", "yes " * 150)] + [given("Bea", "no " * k) for k in (150, 7)],
        judge=Counting(),
    )
    assert [sorted(size) for size in sizes] == [[150, 150], [7]]


def test_an_unfit_judge_scores_no_factscore(tmp_path):
    responses = [given("Ada", "yes no")]
    unfit = KnownAgreement("AUROC 0.400", unfit=True)
    measured = score_responses(responses, PAGES, Script(), agreement=unfit)
    assert not [name for name in measured.scores() if "factscore" in name]
    assert values(measured)["facts_supported_init"] == 1 / 2
    write_output(tmp_path / "out.json", measured)
    assert json.loads((tmp_path / "out.json").read_text())["score"] is None
    unknown = score_responses(responses, PAGES, Script())
    assert "unknown" in unknown.conditions()["agreement"]


def test_the_output_has_the_originals_names_and_the_same_bytes_twice(tmp_path):
    responses = [given("Ada", "yes no hm"), TopicResponse("Bea", "")]
    for name in ("a", "b"):
        write_output(tmp_path / name, scored(*responses))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    output = json.loads((tmp_path / "a").read_text())
    assert output["score"] == pytest.approx(0.5 * math.exp(1 - 10 / 3))
    assert output["init_score"] == 0.5 and output["respond_ratio"] == 0.5
    assert output["num_facts_per_response"] == 3
    atoms = [
        {"atom": f"{k} {word}", "is_supported": verdict}
        for k, (word, verdict) in enumerate([("yes", True), ("no", False), ("hm", None)])
    ]
    assert output["decisions"] == [atoms, None]


def test_responses_without_facts_need_a_maker():
    with pytest.raises(LacyError, match=r"E227.*2 of the responses.*Bea"):
        scored(given("Ada", "yes"), TopicResponse("Bea", "x"), TopicResponse("Cy", "x"))


def test_labels_are_a_judge_of_their_own():
    facts = (GivenFact("a", True), GivenFact("b", False), GivenFact("c", None, irrelevant=True),
             GivenFact("d", True), GivenFact("e"))  # fmt: skip
    measured = score_labels([TopicResponse("Ada", "x", facts=facts)])
    assert values(measured)["factscore_init"] == pytest.approx(2 / 3)
    assert measured.unjudged() == {"no label": 1}
    assert measured.counts == {"irrelevant facts, which do not count": 1}


def test_f1_at_k():
    measured = scored(given("Ada", "yes yes no no"), given("Bea", "no"), TopicResponse("Cy", ""))
    found = {result.metric: result.value for result in recall_at_k(measured, 4).results()}
    assert found["fact_precision"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["fact_recall_at_k"] == pytest.approx((2 / 4 + 0 + 0) / 3)
    assert found["fact_f1_at_k"] == pytest.approx(1 / 2 / 3)
    assert recall_at_k(measured).k == 2  # the median of 4 and 1 facts, rounded to even


def test_facts_of_the_page_that_the_text_holds():
    responses = [
        TopicResponse("Ada", "Ada was born in 1815 in London.", facts=()),
        TopicResponse("Bea", ""),
        TopicResponse("Zoe", "Zoe was born.", facts=()),
    ]
    measured = score_responses(responses, PAGES, OverlapJudge())
    recall = page_recall(measured, MappedPages(PAGES), OverlapJudge(), Sentences())
    assert recall.held == (("Ada was born in 1815 in London.",), ())
    assert recall.looked_for[0] == ("Ada was born in 1815 in London.", "She wrote notes.")
    assert recall.without_page == 1
    [value, unjudged] = recall.results()
    assert value.value == pytest.approx((1 / 2 + 0) / 2) and unjudged.value == 0
