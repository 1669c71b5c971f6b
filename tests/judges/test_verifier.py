"""The shipped verifier: what it says of clear cases, and that nothing but the facts matters."""

import itertools
import json
import random
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.labelled import PASSAGES
from lacy.errors import LacyError
from lacy.judges import (
    NO_FACT,
    NO_PASSAGES,
    VERIFIER,
    Claim,
    load_verifier,
    open_judge,
    stored_agreement,
    topic_hash,
    training_topics,
)
from lacy.judges.similarity import PageVectors, WordVectors

MIRA = tuple(PASSAGES["Mira Okafor"])
TRUE = [
    "Mira Okafor is a chemist.",
    "Mira Okafor was born on 4 May 1951.",
    "She won the Adeola Prize.",
    "She married Tunde Bello.",
]
FALSE = [
    "Mira Okafor is a Brazilian footballer.",
    "She died in Toronto in 2011.",
    "She was nominated for three Golden Globe Awards.",
    "She served in the Royal Navy.",
]


def claims(texts, response="", passages=MIRA):
    return [Claim(text, "Mira Okafor", passages, response) for text in texts]


@pytest.fixture(scope="module", params=["verifier", "lexical"])
def judge(request):
    return open_judge(request.param)


@pytest.mark.parametrize("response", ["", "r"])
def test_clear_cases(judge, response):
    judged = judge.judge(claims(TRUE + FALSE, response))
    assert [judgment.supported for judgment in judged[:4]] == [True] * 4
    assert sum(judgment.supported for judgment in judged[4:]) <= 1
    scores = [judgment.score for judgment in judged]
    assert min(scores[:4]) > 0.3 + max(scores[4:])
    assert min(scores) >= 0 and max(scores) <= 1


def test_other_facts_of_a_response_count_only_within_it(judge):
    fact = claims(TRUE[1:2], "a")
    alone = judge.judge(claims(TRUE[1:2]))[0].score
    among_wrong = judge.judge(fact + claims(FALSE, "a"))[0].score
    beside_wrong = judge.judge(fact + claims(FALSE, "b"))[0].score
    assert beside_wrong == judge.judge(fact)[0].score == alone
    assert among_wrong != alone


def test_alone_ignores_the_response():
    judge = load_verifier(alone=True)
    together = judge.judge(claims(TRUE + FALSE, "a"))
    assert together == judge.judge(claims(TRUE + FALSE))
    assert together == [judge.judge([claim])[0] for claim in claims(TRUE + FALSE, "b")]


def test_order_and_duplicates_do_not_matter(judge):
    both = claims(TRUE + FALSE, "a") + claims(TRUE, "b", MIRA[:1])
    expected = dict(zip(both, judge.judge(both), strict=True))
    shuffled = both * 2
    random.Random(5).shuffle(shuffled)
    assert judge.judge(shuffled) == [expected[claim] for claim in shuffled]


def test_a_fresh_judge_gives_the_same_bytes(judge):
    fresh = open_judge(judge.name)
    assert repr(fresh.judge(claims(TRUE, "a"))) == repr(judge.judge(claims(TRUE, "a")))


@pytest.mark.parametrize(
    ("text", "passages", "why"),
    [
        ("", MIRA, NO_FACT),
        (" \n", MIRA, NO_FACT),
        ("A fact.", (), NO_PASSAGES),
        ("A fact.", ("  ",), NO_PASSAGES),
        ("A fact.", ("<s></s>",), "the passages have no words"),
    ],
)
def test_what_cannot_be_judged_says_why(judge, text, passages, why):
    [judgment] = judge.judge(claims([text], "a", passages))
    assert (judgment.supported, judgment.score, judgment.why) == (None, None, why)


@pytest.mark.parametrize(
    "text",
    [
        "fact " * 5_000,
        "x" * 100_000,
        "Mira Okafor wurde am 4. Mai 1951 in Lagos geboren.",
        "米拉·奥卡福出生于拉各斯。",
        "ميرا",
        "🧪🧪",
        "?!",
        "a\x00b",
        "\ud800",
    ],
)
def test_unusual_facts_get_a_score(judge, text):
    [judgment] = judge.judge(claims([text], "a"))
    assert 0 <= judgment.score <= 1


def test_a_page_of_a_megabyte_takes_bounded_time(judge):
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a, b in itertools.product("bcdfgklmnprst", ["ala", "eno", "iru"])]
    sentences = [" ".join(rng.choice(words, 12)).capitalize() + "." for _ in range(17_000)]
    page = (" ".join(sentences) + " " + MIRA[0],)
    assert len(page[0]) > 1_000_000
    started = time.process_time()
    judged = judge.judge(claims(TRUE[:2] + FALSE[:2], "a", page))
    assert time.process_time() - started < 60
    scores = [judgment.score for judgment in judged]
    assert min(scores[:2]) > max(scores[2:])


def test_one_thread_and_several_agree():
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            judged = load_verifier().judge(claims(TRUE + FALSE, "a"))
            found.append([judgment.score for judgment in judged])
    finally:
        torch.set_num_threads(before)
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_similar_words_count():
    tokens = {"page": (12_001,), "fact": (12_002,), "other": (12_003,)}
    table = np.zeros((13_000, 4), dtype=np.float32)
    table[12_001], table[12_002], table[12_003] = (1, 1, 0, 0), (1, 0.9, 0, 0), (0, 0, 1, 0)
    vectors = WordVectors(table)
    page = SimpleNamespace(sentence_words=[[tokens["page"]]])
    values = PageVectors(page, vectors)
    same, similar, unlike = (
        values.similarities((tokens[name],))[0] for name in ("page", "fact", "other")
    )
    assert same == pytest.approx(1) and 0.9 < similar < 1 and unlike == 0


def test_a_verifier_of_another_version_is_an_error(tmp_path):
    shutil.copytree(VERIFIER, tmp_path / "v")
    settings = json.loads((VERIFIER / "verifier.json").read_text(encoding="utf-8"))
    settings["features"] = settings["features"][1:]
    (tmp_path / "v" / "verifier.json").write_text(json.dumps(settings), encoding="utf-8")
    for folder in (tmp_path / "v", tmp_path / "none"):
        with pytest.raises(LacyError, match="E218"):
            load_verifier(folder)


@pytest.mark.parametrize("name", ["verifier", "verifier-alone", "lexical", "overlap"])
def test_every_judge_has_its_agreement(name):
    stored = stored_agreement(name)
    assert {one.model for one in stored.agreements} == {"ChatGPT", "InstructGPT", "PerplexityAI"}
    for one in stored.agreements:
        assert one.auroc.low < one.auroc.value < one.auroc.high
        assert one.facts > 2_000 and abs(one.gap.value) < 0.15
    assert stored_agreement("nobody") is None


def test_the_verifier_beats_word_overlap_with_intervals_apart():
    verifier, overlap = (stored_agreement(n).agreements for n in ("verifier", "overlap"))
    for one, other in zip(verifier, overlap, strict=True):
        assert one.model == other.model and one.auroc.low > other.auroc.high


def test_the_training_topics_are_hashes():
    topics = training_topics()
    assert len(topics) == 129 and topic_hash("Garrincha") in topics
    assert topic_hash("Mira Okafor") not in topics


def test_the_shipped_files_are_small():
    assert sum(file.stat().st_size for file in VERIFIER.iterdir()) <= 25_000_000
