"""The cascade end to end: who speaks, exact texts, calls that fail, loop or do not fit."""

import asyncio
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import models
from lacy.cascade import Budget, Engine, Never, Oracle
from lacy.cascade.policy import Always
from lacy.corpus import TokenText
from lacy.errors import LacyError
from lacy.sources import LanguageModel, ScriptedSource
from lacy.testing import byte_tokenizer, scripted
from lacy.types import Candidate, Reply, call_rate

BYTES = byte_tokenizer()


llama, gpt2 = models.llama, models.gpt2
REAL = {name: llama(tokenizer) for name, tokenizer in models.ALL.items()}
REAL["gpt2"] = gpt2(models.ALL["byte_level"])


def story(text):
    """An SLM that writes "<prompt> in X on Y." with its own guesses for X and Y."""
    line = "Ada lived in Rome on Mars."
    return line[len(text) :] if line.startswith(text) else ("." if text[-1:] != "." else "")


def places(text):
    return text.endswith((" in", " on"))


def pieces(answer):
    return [(span.text, span.speaker) for span in answer.spans]


def test_the_slm_alone_is_plain_greedy_decoding():
    for name, loaded in REAL.items():
        answer = Engine(loaded, max_new_tokens=12).generate(["Mara Vell"])[0]
        tokenizer = loaded.tokenizer
        ids = [0, *tokenizer.encode("Mara Vell", add_special_tokens=False)]
        start = len(ids)
        for _ in range(12):
            logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
            logits[-1] = -torch.inf
            if int(logits.argmax()) == 0:
                break
            ids.append(int(logits.argmax()))
        expected = TokenText(tokenizer).decode(ids[start:])
        assert answer.continuation == expected, name
        assert answer.tokens == len(ids) - start and answer.calls == 0


def test_borrowed_words_and_own_words():
    source = ScriptedSource({" in": " Paris", " on": " 3 May"}, name="book", cost=2.0)
    line = "Ada lived in Paris on 3 May."
    loaded = scripted(lambda t: line[len(t) :], places)
    answer = Engine(loaded, source, "threshold=0").generate(["Ada lived"])[0]
    assert pieces(answer) == [
        ("Ada lived", "prompt"), (" in", "slm"), (" Paris", "book"), (" on", "slm"),
        (" 3 May", "book"), (".", "slm"),
    ]  # fmt: skip
    assert answer.finished and answer.calls == 2 and answer.called_tokens == 12
    span = answer.spans[2]
    assert (
        span.reason == "the model asked for a fact here (margin 5.00 > 0.00)"
        and span.margin == 5.0
        and span.cost == 2.0
    )
    assert span.evidence == "line of book" and span.asked
    assert (
        source.asked[0].text == "Ada lived in" and source.asked[1].text == "Ada lived in Paris on"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (ScriptedSource([]), "source had no answer"),
        (ScriptedSource([ConnectionError("refused")]), "ConnectionError: refused"),
        (ScriptedSource([" x"], delay=60), "no answer after"),
        (ScriptedSource([Reply((Candidate(""),))]), "no text"),
        (ScriptedSource([Reply(error="over quota")]), "over quota"),
        (None, "no source is connected"),
    ],
)
def test_sources_without_an_answer_leave_the_slm_its_own_words(source, why):
    loaded = scripted(story, places)
    engine = Engine(loaded, source, "threshold=0", timeout=0.05)
    answer = engine.generate(["Ada lived"])[0]
    assert answer.text == "Ada lived in Rome on Mars." and answer.finished
    silent = [span for span in answer.spans if span.asked]
    assert [(span.text, span.speaker, span.tokens) for span in silent] == [(" ", "slm", 1)] * 2
    assert all(why in span.reason and "margin" in span.reason for span in silent)
    failed = why.startswith(("ConnectionError", "no answer after"))
    assert [span.fault for span in silent] == [failed] * 2
    assert answer.called_tokens == 2 and answer.calls == 2


def test_rows_that_call_together_are_asked_together():
    source = ScriptedSource(lambda request: " Ulm" if "Bea" not in request.text else None)
    loaded = scripted(lambda t: "." if t[-1] != "." else "", places)
    prompts = ["Ada lived in", "Bea lived in", "Cid lived in", "Dora ran"]
    answers = Engine(loaded, source, "threshold=0").generate(prompts, ["A", None, "C", None])
    assert [a.text for a in answers] == [
        "Ada lived in Ulm.", "Bea lived in.", "Cid lived in Ulm.", "Dora ran."
    ]  # fmt: skip
    assert source.batches == [3]
    assert [r.subject for r in source.asked] == ["A", None, "C"]
    assert len({r.stream for r in source.asked}) == 3


def test_prompts_of_different_lengths_equal_each_alone():
    for name in ("byte_level", "metaspace", "gpt2"):
        loaded = REAL[name]
        prompts = ["Mara", "Tomas Brill, an engineer from Łódź, grew up", "He", "Ada Lovelace"]
        policy = Oracle(lambda text: "x" if len(text) % 7 == 0 else None)
        source = ScriptedSource(lambda r: f" {len(r.text)}é" if len(r.text) % 2 else None)
        engine = Engine(loaded, source, policy, max_new_tokens=20)
        together = engine.generate(prompts)
        alone = [engine.generate([prompt])[0] for prompt in prompts]
        small = Engine(loaded, source, policy, max_new_tokens=20, batch_size=2).generate(prompts)
        assert [pieces(a) for a in together] == [pieces(a) for a in alone]
        assert [pieces(a) for a in small] == [pieces(a) for a in alone]
        assert [a.text.startswith(p) for a, p in zip(together, prompts, strict=True)] == [True] * 4


seam = st.text(
    st.one_of(st.sampled_from(" .,'\n\taé1東👍\u0301"), st.characters(codec="utf-8")), max_size=8
).map(lambda text: text.replace("▁", ""))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), name=st.sampled_from(["byte_level", "byte_level_unigram", "metaspace"]))
def test_no_character_is_lost_or_doubled(data, name):
    loaded = REAL[name]
    prompts = data.draw(st.lists(seam, min_size=1, max_size=3))
    answers = data.draw(st.lists(st.one_of(st.none(), seam), min_size=1, max_size=5))
    unit = data.draw(st.sampled_from(["token", "word", "value"]))
    source = ScriptedSource(answers)
    engine = Engine(loaded, source, "random=0.5", unit=unit, max_new_tokens=12)
    results = engine.generate(prompts)
    token_text = TokenText(loaded.tokenizer)
    for prompt, answer in zip(prompts, results, strict=True):
        assert answer.prompt == prompt and answer.text == prompt + answer.continuation
        assert answer.tokens <= 12
        borrowed = [span.text for span in answer.spans if span.speaker == "script"]
        assert all(text in answers for text in borrowed)
        for before, span in zip(answer.spans, answer.spans[1:], strict=False):
            if span.asked and before.speaker == "slm":
                assert (
                    not before.text.endswith("\ufffd")
                    or span.speaker == "slm"
                    or ("\ufffd" in token_text.decode(token_text.encode(before.text)))
                )
    # What a source was told is exactly what stands before its answer.
    told = [request.text for request in source.asked]
    starts = [a.text[:n] for a in results for n in range(len(a.text) + 1)]
    assert all(text in starts for text in told)


def test_no_call_in_the_middle_of_a_character():
    loaded = scripted(lambda t: "é👍"[len(t) - 1 :] if len(t) < 3 else "", lambda t: True)
    source = ScriptedSource([])
    answer = Engine(loaded, source, "always").generate(["x"])[0]
    assert answer.text == "xé👍" and answer.finished
    assert [r.text for r in source.asked] == ["x", "xé", "xé👍"]
    # stopped by the limit inside a character: shown, not hidden, and not passed to a source
    cut = Engine(loaded, source, "always", max_new_tokens=1).generate(["x"])[0]
    assert cut.text == "x\ufffd" and not cut.finished and cut.tokens == 1


def test_looping_answers_end():
    loaded = scripted(lambda t: "." if t[-1] != "." else "", lambda t: True)
    source = ScriptedSource([" Ulm"])
    answer = Engine(loaded, source, "always", calls_in_row=2).generate(["in"])[0]
    assert answer.text == "in Ulm Ulm. Ulm Ulm" + answer.text[len("in Ulm Ulm. Ulm Ulm") :]
    assert answer.tokens <= 128
    once = Engine(loaded, source, "always", calls_in_row=1, max_new_tokens=12).generate(["in"])[0]
    assert pieces(once)[1:4] == [(" Ulm", "script"), (".", "slm"), (" Ulm", "script")]


def test_token_calls_may_follow_each_other():
    source = ScriptedSource([" P", "ar", "is", None])
    loaded = scripted(lambda t: "", lambda t: True)
    answer = Engine(loaded, source, "always", unit="token").generate(["in"])[0]
    assert answer.text == "in Paris" and answer.finished
    assert [s.text for s in answer.spans if s.asked] == [" P", "ar", "is", ""]
    assert answer.called_tokens == answer.tokens == 6


def test_special_token_names_in_answers_are_plain_text():
    loaded = scripted(lambda t: "!" if t[-1] != "!" else "", lambda t: t == "in")
    source = ScriptedSource(["<|endoftext|><CALL>"])
    answer = Engine(loaded, source, "threshold=0").generate(["in"])[0]
    assert answer.text == "in<|endoftext|><CALL>!" and answer.finished


def test_values_are_never_cut_by_the_limit_or_the_context():
    loaded = scripted(lambda t: ".", places)
    source = ScriptedSource([" 12 March 1879"])
    answer = Engine(loaded, source, "threshold=0", max_new_tokens=10).generate(["born on"])[0]
    assert answer.text == "born on" and not answer.finished
    assert "no room" in answer.spans[-1].reason and answer.calls == 1
    loaded = scripted(lambda t: ".", places, context=16)
    answer = Engine(loaded, source, "threshold=0").generate(["born on"])[0]
    assert answer.text == "born on" and "context" in answer.spans[-1].reason
    plain = Engine(loaded).generate(["born on"])[0]
    assert plain.tokens == 8 and not plain.finished  # 16 places: start, 7 letters, 8 more


def test_prompts_that_do_not_fit_are_refused_before_anything_is_decoded():
    loaded = scripted(lambda t: ".", context=16)
    with pytest.raises(LacyError, match="E60"):
        Engine(loaded, batch_size=1).generate(["ok", "x" * 15])
    assert loaded.model.passes == 0
    assert Engine(loaded).generate(["x" * 14])[0].tokens == 1


def test_settings_are_checked():
    loaded = scripted(story)
    for name, value in [("max_new_tokens", 0), ("temperature", -1), ("batch_size", 0)]:
        with pytest.raises(LacyError, match=name):
            Engine(loaded, **{name: value})
    with pytest.raises(LacyError, match="E61"):
        Engine(loaded, policy="perhaps")
    with pytest.raises(LacyError, match="E63"):
        Engine(loaded).generate(["a", "b"], ["A"])
    with pytest.raises(TypeError, match="list"):
        Engine(loaded).generate("Ada")
    with pytest.raises(LacyError, match="max_new_tokens"):
        Engine(loaded).generate(["a"], max_new_tokens=0)
    assert Engine(loaded).generate([]) == []


def test_a_model_without_call():
    tokenizer = models._wrap(models.Tokenizer.from_str(BYTES.backend_tokenizer.to_str()))
    loaded = llama(tokenizer)
    loaded.tokenizer = SimpleNamespace(get_vocab=dict, __len__=lambda: 3)
    plain = llama(BYTES)
    plain.model.resize_token_embeddings(len(BYTES) - 1)  # the checkpoint lacks the last row
    with pytest.raises(LacyError, match="E62"):
        Engine(plain, None, Budget(0.2))
    answer = Engine(plain, ScriptedSource([" x"]), "entropy=0", max_new_tokens=8).generate(["a"])[0]
    assert answer.calls and all(span.margin is None for span in answer.spans)


def test_a_partner_with_another_tokenizer():
    partner = llama(models.ALL["metaspace"], seed=3)
    source = LanguageModel(partner.model, partner.tokenizer, name="partner")
    prompts = ["Mara Vell was born in Zürich", "Ada"]
    speakers = set()
    for unit, name in [("token", "byte_level"), ("word", "gpt2"), ("value", "byte_level")]:
        engine = Engine(REAL[name], source, "random=0.4", unit=unit, max_new_tokens=30)
        answers, again = engine.generate(prompts), engine.generate(prompts)
        assert [pieces(a) for a in answers] == [pieces(a) for a in again]
        speakers |= {span.speaker for answer in answers for span in answer.spans}
        for prompt, answer in zip(prompts, answers, strict=True):
            assert answer.prompt == prompt and answer.tokens <= 30
    assert speakers == {"prompt", "slm", "partner"}


def test_budget_is_kept_in_real_decoding():
    loaded = llama(BYTES, context=450)
    source = ScriptedSource(lambda r: " 12 May" if len(r.text) % 3 else None)
    # no sampling, no end: forbid the end of text so that streams are long
    loaded.model.lm_head.weight.data[0] = 0
    engine = Engine(loaded, source, Budget(0.22), max_new_tokens=400, temperature=1.0)
    answers = engine.generate([f"text {n}" for n in range(8)])
    assert sum(a.tokens for a in answers) > 1500
    assert call_rate(answers) == pytest.approx(0.22, abs=0.01)


def test_sampling_depends_on_seed_and_number_only():
    loaded = REAL["byte_level"]
    run = lambda seed, **kw: [  # noqa: E731
        a.text
        for a in Engine(loaded, temperature=1.0, seed=seed, max_new_tokens=8, **kw).generate(
            ["Mara", "Tomas Brill"]
        )
    ]
    assert run(1) == run(1) == run(1, batch_size=1) != run(2)
    nearly_greedy = run(1, top_p=1e-6)
    greedy = [a.text for a in Engine(loaded, max_new_tokens=8).generate(["Mara", "Tomas Brill"])]
    assert nearly_greedy == greedy


def test_remembering_the_controller():
    loaded = scripted(lambda t: "a" * (len(t) < 30), lambda t: float(len(t) % 5))
    source = ScriptedSource([None])
    fresh = Engine(loaded, source, "budget=0.3", max_new_tokens=20)
    assert fresh.generate(["x"])[0].calls == fresh.generate(["x"])[0].calls
    kept = Engine(loaded, source, "budget=0.3", max_new_tokens=20, remember=True)
    for _ in range(3):
        kept.generate(["x"])
    assert kept._controller.total == 60


def test_inside_a_running_event_loop():
    async def notebook():
        loaded = scripted(story, places)
        return Engine(loaded, ScriptedSource([" Ulm"]), "always", calls_in_row=1).generate(["Ada"])

    assert asyncio.run(notebook())[0].calls


def test_a_hanging_source_costs_its_timeout_only():
    loaded = scripted(story, places)
    begin = time.perf_counter()
    engine = Engine(loaded, ScriptedSource([" x"], delay=600), "threshold=0", timeout=0.1)
    assert engine.generate(["Ada lived"])[0].finished
    assert time.perf_counter() - begin < 5


def test_decoding_reads_every_token_once():
    loaded = scripted(story, places)
    source = ScriptedSource({" in": " Paris"})
    answer = Engine(loaded, source, "threshold=0").generate(["Ada lived"])[0]
    prompt = answer.spans[0].tokens
    assert loaded.model.tokens_read == prompt + answer.tokens  # the last one decides the end
    assert Never() == Engine(loaded).policy and Always().start()


@pytest.mark.parametrize("name", ["temperature", "top_p"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_settings_of_sampling_are_finite_numbers(name, value):
    (loaded, *_) = REAL.values()
    with pytest.raises(LacyError, match=name) as caught:
        Engine(loaded, **{name: value})
    assert caught.value.code == "E12"


@pytest.mark.parametrize("seed", [-7, 2**63 - 1, 10**30])
def test_any_whole_number_is_a_seed(seed):
    (loaded, *_) = REAL.values()
    first, second = (
        Engine(loaded, temperature=1.0, seed=seed, max_new_tokens=8).generate(["Mara Vell"])
        for _ in range(2)
    )
    assert first == second


def test_what_a_policy_raises_is_raised():
    def fail(text):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        Engine(scripted(story), None, Oracle(fail)).generate(["Ada", "Bea"])
