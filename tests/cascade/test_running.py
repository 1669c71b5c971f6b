"""Texts that come and go while others run say what each alone says; a slow source holds up none."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.models import REAL
from lacy.cascade import Engine, Oracle
from lacy.cascade.local import LocalBackend
from lacy.cascade.loop import DecodeLoop
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.sources import ScriptedSource
from lacy.testing import scripted

SETTINGS = [
    {"policy": "never"},
    {"policy": "always", "unit": "word"},
    {"policy": "budget=0.3,window=20", "unit": "value"},
    {"policy": "entropy=1.5", "unit": "token"},
    {"policy": "random=0.3,seed=4", "temperature": 0.8, "top_p": 0.9, "seed": 11},
    {"policy": Oracle(lambda text: "x" if len(text) % 7 == 0 else None), "temperature": 1.3},
]
PROMPTS = ["Mara", "Tomas Brill, an engineer from Łódź, grew up in", "He", "Ada Lovelace 東京 " * 3]


class Heard:
    """What a listener was told."""

    def __init__(self, engine, prompt, limit, number=0, enough=10**6):
        self.pieces, self.ends = [], []
        self.sequence = engine.sequence(number, prompt, None, limit)
        self.sequence.on_text, self.sequence.on_end = self.hear, self.ends.append
        self.enough = enough

    def hear(self, piece):
        self.pieces.append(piece)
        return len(self.pieces) >= self.enough

    @property
    def answer(self):
        assert len(self.ends) == 1, self.ends
        return self.ends[0]


def run(running, limit=60.0):
    end = time.monotonic() + limit
    while len(running):
        if running.stuck:
            time.sleep(0.001)
        else:
            running.step()
        assert time.monotonic() < end


def said(answer):
    return [
        (s.text, s.speaker, s.tokens, s.asked, s.reason.partition(" ")[0]) for s in answer.spans
    ]


def reply(request):
    """Reply with one text, a choice of two, or nothing, depending on the length of the prompt."""
    return [f" {len(request.text)}é", ["Paris", " in Ulm"], None][len(request.text) % 3]


def check(heard, expected):
    assert said(heard.answer) == said(expected)
    assert heard.answer.finished == expected.finished
    assert "".join(piece.text for piece in heard.pieces) == expected.continuation
    assert sum(piece.tokens for piece in heard.pieces) == expected.tokens
    asked = [(p.text, p.speaker, p.reason) for p in heard.pieces if p.asked]
    assert asked == [(s.text, s.speaker, s.reason) for s in heard.answer.spans if s.asked]


@settings(max_examples=25, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(REAL)))
def test_each_text_says_what_it_says_alone(data, name):
    delay = data.draw(st.sampled_from([0.0, 0.0, 0.004]))
    base = Engine(REAL[name], ScriptedSource(reply, delay=delay))
    jobs = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(PROMPTS), st.sampled_from(SETTINGS), st.integers(1, 14),
                st.integers(0, 6),
            ),
            min_size=1, max_size=6,
        )
    )  # fmt: skip
    expected = [
        Engine(REAL[name], ScriptedSource(reply), **how).generate([prompt], max_new_tokens=limit)[0]
        for prompt, how, limit, _ in jobs
    ]
    texts = [Heard(base.variant(**how), prompt, limit) for prompt, how, limit, _ in jobs]
    with LoopThread() as loop_thread:
        running = DecodeLoop(
            LocalBackend(base, data.draw(st.sampled_from([3, 256]))), loop_thread.submit
        )
        coming = sorted(range(len(jobs)), key=lambda n: jobs[n][3])
        for step in range(8):
            while coming and jobs[coming[0]][3] <= step:
                running.add([texts[coming.pop(0)].sequence])
            running.step()
        run(running)
    for heard, answer in zip(texts, expected, strict=True):
        check(heard, answer)


def test_several_answers_to_one_prompt_read_it_once():
    loaded = scripted(lambda text: "x", lambda text: False)
    engine = Engine(loaded).variant(temperature=5.0, seed=3)
    expected = engine.generate(["A prompt"] * 4, max_new_tokens=12)
    texts = [Heard(engine, "A prompt", 12, number) for number in range(4)]
    loaded.model.tokens_read = 0
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        running.add([heard.sequence for heard in texts])
        run(running)
    for heard, answer in zip(texts, expected, strict=True):
        check(heard, answer)
    assert len({heard.answer.text for heard in texts}) > 1
    assert loaded.model.tokens_read <= 9 + 4 * 11


def test_a_slow_source_holds_up_only_who_calls():
    source = ScriptedSource([" Ulm"], delay=0.3)
    loaded = scripted(lambda text: "." if len(text) < 60 else "", lambda t: t.endswith(" in"))
    engine = Engine(loaded, source, "threshold=0")
    calling, silent = Heard(engine, "Ada was born in", 100), Heard(engine, "Bea ran", 100)
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        running.add([calling.sequence])
        running.add([silent.sequence])
        begin = time.monotonic()
        while not silent.ends:
            running.step()
        assert time.monotonic() - begin < 0.25 and not calling.pieces
        run(running)
    assert calling.answer.text.startswith("Ada was born in Ulm.") and calling.answer.calls == 1
    assert source.batches == [1]


def test_cancelling_ends_a_text_wherever_it_is():
    engine = Engine(REAL["llama"], ScriptedSource([" Ulm"], delay=0.2), "always")
    own = engine.variant("never")
    new, away, other, here, enough = (
        Heard(own, "Mara " * 20, 5), Heard(engine, "Mara", 5), Heard(engine, "Mara", 5),
        Heard(own, "Mara", 50), Heard(own, "Mara", 50, enough=3),
    )  # fmt: skip
    with LoopThread() as loop_thread:
        running = DecodeLoop(LocalBackend(engine, 8), loop_thread.submit)
        running.add([away.sequence, other.sequence])
        running.add([here.sequence])
        running.add([enough.sequence])
        for _ in range(4):
            running.step()
        running.add([new.sequence])
        running.step()
        assert len(running) == 4
        for heard in (new, away, here):
            heard.sequence.cancelled = True
        running.step()
        assert new.answer.continuation == "" and away.answer.continuation == ""
        assert 0 < here.answer.tokens < 6 and len(enough.pieces) <= 3
        run(running)
    assert enough.answer.tokens == 3 and not enough.answer.finished
    assert other.answer.spans[1].text == " Ulm"


def test_a_failure_ends_all_texts_and_the_next_begin_anew():
    engine = Engine(REAL["gpt2"], ScriptedSource(["x"], delay=0.05), "always")
    texts = [Heard(engine, "Mara", 5), Heard(engine.variant("never"), "Mara Vell", 5)]
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        for heard in texts:
            running.add([heard.sequence])
            running.step()
        running.fail(RuntimeError("broken"))
        assert [str(heard.answer) for heard in texts] == ["broken"] * 2 and len(running) == 0
        last = Heard(engine.variant("never"), "Mara Vell", 5)
        running.add([last.sequence])
        run(running)
    check(last, engine.variant("never").generate(["Mara Vell"], max_new_tokens=5)[0])


def test_a_policy_that_fails_ends_its_own_text_alone():
    def fail(text):
        raise ZeroDivisionError("mine")

    engine = Engine(REAL["llama"], ScriptedSource(["x"]))
    bad = Heard(engine.variant(Oracle(fail)), "Mara", 5)
    cold = Heard(engine.variant(temperature=1e-320), "Mara", 5)
    good = Heard(engine, "Mara", 5)
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        running.add([bad.sequence, cold.sequence, good.sequence])
        run(running)
    assert isinstance(bad.answer, ZeroDivisionError) and isinstance(cold.answer, RuntimeError)
    check(good, engine.generate(["Mara"], max_new_tokens=5)[0])


def test_an_endless_answer_is_not_even_read():
    engine = Engine(REAL["llama"], ScriptedSource(["x" * 10_000_000]), "always")
    heard = Heard(engine, "Mara", 5)
    begin = time.monotonic()
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        running.add([heard.sequence])
        run(running)
    assert time.monotonic() - begin < 2
    assert "no room for the answer" in heard.answer.spans[-1].reason


def test_prompts_without_room_and_settings_that_there_are_not():
    engine = Engine(scripted(lambda text: "x", context=8))
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        with pytest.raises(LacyError, match="E60"):
            running.add([Heard(engine, "12345678", 5).sequence])
    with pytest.raises(LacyError, match="E12"):
        engine.variant(unit="page")
    with pytest.raises(LacyError, match="E61"):
        engine.variant("sometimes")
    assert engine.variant(unit="token").calls_in_row is None and engine.calls_in_row == 1


def test_replies_wake_whoever_waits_for_them():
    """A loop steps only when ``wake`` says that there is something to do."""
    engine = Engine(REAL["llama"], ScriptedSource([" Ulm"], delay=0.05), "always")
    woken = threading.Event()
    heard = Heard(engine, "Mara", 1)
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit, woken.set)
        running.add([heard.sequence])
        while not running.stuck:
            running.step()
        assert woken.wait(60) and not running.stuck
        run(running)
    assert heard.answer.calls == 1
