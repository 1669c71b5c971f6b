"""Toxic samples become refusals, are left out, or are only counted."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.safety import (
    PreferencePair,
    ReplySample,
    Sanitised,
    declines,
    read_samples,
    sanitise,
)

REFUSAL = "I'm sorry, but I can't help with that."


class Guard:
    """A text is as harmful as the number of exclamation marks in it, divided by 10."""

    def prompt_scores(self, prompts):
        return np.array([prompt.count("!") / 10 for prompt in prompts])

    def answer_scores(self, prompts, answers):
        return self.prompt_scores(answers)

    def threshold(self, role):
        return {"prompt": 0.3, "answer": 0.5}[role]


PAIRS = [
    PreferencePair("ask", "help", "nothing"),
    PreferencePair("ask!!!", "do it", REFUSAL),  # flagged by its prompt
    PreferencePair("ask", "do it!!!!!", REFUSAL),  # by its preferred reply
    PreferencePair("ask!!!!!!", "do it!!!!!!", REFUSAL),  # by both
    PreferencePair("ask!!!", REFUSAL, "do it!!!!!!"),  # a good sample about a harmful prompt
    PreferencePair("ask!!", "do it!!!!", "do it!!!!!!!!!"),  # below both thresholds
]


def test_replace():
    kept, counts = sanitise(PAIRS, Guard(), "replace")
    assert counts == Sanitised(6, 4, by_prompt=3, by_answer=2, refusing=1, replaced=3)
    assert [kept[n] for n in (0, 4, 5)] == [PAIRS[n] for n in (0, 4, 5)]
    for number in (1, 2, 3):
        assert declines(kept[number].chosen)
        assert kept[number].rejected == PAIRS[number].chosen
        assert kept[number].prompt == PAIRS[number].prompt


def test_drop_and_keep():
    kept, counts = sanitise(PAIRS, Guard(), "drop")
    assert kept == [PAIRS[n] for n in (0, 4, 5)] and (counts.dropped, counts.replaced) == (3, 0)
    kept, counts = sanitise(PAIRS, Guard(), "keep")
    assert kept == PAIRS and (counts.flagged, counts.dropped, counts.replaced) == (4, 0, 0)
    assert counts.counts()["flagged"] == 4
    assert sanitise(PAIRS, None) == (PAIRS, Sanitised(seen=6))
    assert sanitise([], Guard()) == ([], Sanitised())


def test_own_thresholds():
    _, counts = sanitise(PAIRS, Guard(), prompt_threshold=2.0, answer_threshold=0.4)
    assert (counts.by_prompt, counts.by_answer, counts.flagged) == (0, 3, 3)
    _, counts = sanitise(PAIRS, Guard(), prompt_threshold=0.0)
    assert counts.flagged == 6


def test_replies_to_imitate():
    samples = [ReplySample("ask", "help"), ReplySample("ask!!!!", "do it")]
    kept, counts = sanitise(samples, Guard())
    assert kept[0] == samples[0] and declines(kept[1].reply) and counts.replaced == 1


marks = st.integers(0, 9).map(lambda count: "x" + "!" * count)
pairs = st.lists(st.builds(PreferencePair, marks, st.one_of(marks, st.just(REFUSAL)), marks))


@given(pairs, st.sampled_from(["replace", "drop", "keep"]), st.integers(0, 5))
def test_counts_add_up(samples, mode, seed):
    kept, counts = sanitise(samples, Guard(), mode, seed=seed)
    assert counts.seen == len(samples) == len(kept) + counts.dropped
    assert max(counts.by_prompt, counts.by_answer) <= counts.flagged
    assert counts.flagged <= counts.by_prompt + counts.by_answer
    changed = sum(one not in samples for one in kept)
    assert changed <= counts.replaced
    if mode != "keep":
        assert counts.flagged == counts.refusing + counts.replaced + counts.dropped
        again, more = sanitise(kept, Guard(), mode, seed=seed)
        assert again == kept and more.replaced == more.dropped == 0  # nothing toxic is left
    assert (kept, counts) == sanitise(samples, Guard(), mode, seed=seed)


def test_a_mode_must_exist():
    with pytest.raises(LacyError, match=r"E12.*replace"):
        sanitise(PAIRS, Guard(), "replce")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1])
@pytest.mark.parametrize("name", ["prompt_threshold", "answer_threshold"])
def test_a_threshold_is_a_number_that_can_be_compared(name, wrong):
    with pytest.raises(LacyError, match=f"E12.*{name}"):
        sanitise(PAIRS, Guard(), **{name: wrong})
    assert sanitise(PAIRS, Guard(), prompt_threshold=2, answer_threshold=2)[1].flagged == 0


def test_samples_are_read(tmp_path):
    file = tmp_path / "samples.jsonl"
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": "r", "topic": "t", "id": "1"},
        {"prompt": "p", "reply": "c", "id": "2"},
        {"prompt": "p", "completion": "c", "id": "3"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_samples(file)) == [
        PreferencePair("p", "c", "r", "t", "1"),
        ReplySample("p", "c", "", "2"),
        ReplySample("p", "c", "", "3"),
    ]
    file.write_text('{"prompt": "p", "chosen": "c", "rejected": "r", "kind": 3, "id": "4"}\n')
    [sample] = read_samples(file, topic_field="kind")
    assert sample.topic == "3"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "p", "chosen": "c", "id": "7"}, "7 is no sample: it has no rejected .it has p"),
        ({"prompt": "p", "chosen": "", "rejected": "r"}, "its chosen is empty"),
        ({"prompt": "p", "reply": " "}, "its reply is empty"),
        ({"prompt": "p", "text": "c"}, "neither chosen and rejected nor reply .it has prompt, tex"),
        ({"prompt": "p", "chosen": 3, "rejected": "r"}, "its chosen is neither a text nor a list"),
        ({"prompt": 3, "reply": "r"}, "its prompt is neither a text nor a list"),
        ({"chosen": "c", "rejected": "r"}, "it has no prompt .it has chosen, rejected"),
    ],
)
def test_what_is_no_sample_is_explained(row, words, tmp_path):
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(LacyError, match=f"E351.*{words}"):
        list(read_samples(file))
