"""Log-probabilities of generated texts equal those of a plain forward pass."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.models import REAL
from lacy.cascade import Engine
from lacy.cascade.local import LocalBackend
from lacy.cascade.loop import DecodeLoop
from lacy.cascade.scores import ScoredSpan, Scorer, TokenScore
from lacy.errors import LacyError
from lacy.model import without_call
from lacy.remote import LoopThread
from lacy.sources import ScriptedSource
from lacy.testing import scripted

SETTINGS = [
    {"policy": "never"},
    {"policy": "always", "unit": "value"},
    {"policy": "entropy=1.5", "unit": "word"},
    {"policy": "random=0.3,seed=4", "temperature": 0.8, "top_p": 0.9, "seed": 11},
    {"policy": "never", "temperature": 1.5, "seed": 2},
]
PROMPTS = ["Mara", "Tomas Brill, an engineer from Łódź, grew up in", ""]


def reply(request):
    return [" Łódź an der Donau", ["Paris", " in Ulm"], None][len(request.text) % 3]


def plain(engine, ids):
    """Log-probabilities after each token, by one forward pass."""
    with torch.inference_mode():
        logits_TV = engine.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    return torch.log_softmax(without_call(logits_TV, engine.call_id), dim=-1)


def run(engine, texts, prefill=256):
    with LoopThread() as loop_thread:
        running = DecodeLoop(LocalBackend(engine, prefill), loop_thread.submit)
        for text in texts:
            running.add([text])
        while len(running):
            if not running.stuck:
                running.step()


def text(engine, begin, limit, top=None, prompt=False):
    sequence, spans = engine.sequence(0, begin, None, limit), []
    sequence.on_text = spans.append
    if top is not None:
        sequence.scorer = Scorer(sequence.ids, top, sequence.spans[0] if prompt else None)
    return sequence, spans


@settings(max_examples=25, deadline=None)
@given(
    jobs=st.lists(
        st.tuples(
            st.sampled_from(PROMPTS), st.sampled_from(SETTINGS), st.integers(0, 12),
            st.integers(0, 4), st.booleans(), st.booleans(),
        ),
        min_size=1, max_size=4,
    ),
    name=st.sampled_from(sorted(REAL)),
    prefill=st.sampled_from([3, 256]),
    delay=st.sampled_from([0.0, 0.003]),
)  # fmt: skip
@example(  # one text calls for values while another calls for words
    jobs=[
        (PROMPTS[1], SETTINGS[0], 0, 0, True, False), (PROMPTS[2], SETTINGS[1], 11, 0, False, True),
        (PROMPTS[0], SETTINGS[0], 1, 0, False, False),
        (PROMPTS[1], SETTINGS[2], 4, 0, False, False),
    ],
    name="gpt2", prefill=3, delay=0.0,
)  # fmt: skip
def test_scores_are_those_of_a_plain_forward_pass(jobs, name, prefill, delay):
    base = Engine(REAL[name], ScriptedSource(reply, delay=delay), abstain=None)
    made = []
    for prompt, how, limit, top, echo, measured in jobs:
        scorer = {"top": top, "prompt": echo} if measured or limit == 0 else {}
        made.append((*text(base.variant(**how), prompt, limit, **scorer), scorer))
    run(base, [sequence for sequence, _, _ in made], prefill)
    for (prompt, how, limit, *_), (sequence, pieces, scorer) in zip(jobs, made, strict=True):
        ids, start = sequence.ids, sequence.spans[0].tokens
        if limit:
            alone = Engine(REAL[name], ScriptedSource(reply), abstain=None, **how)
            expected = alone.generate([prompt], max_new_tokens=limit)[0].continuation
            assert "".join(p.text for p in pieces if p.speaker != "prompt") == expected
        if not scorer:
            continue
        first = 1 if scorer["prompt"] else start  # of a prompt all but its begin
        scores = [s for p in pieces if isinstance(p, ScoredSpan) for s in p.scores]
        assert [s.text for s in scores] == [base.token_text.bytes_of(n) for n in ids[first:]]
        logp_TV = plain(base, ids)
        for place, score in enumerate(scores, start=first):
            logp_V = logp_TV[place - 1]
            assert score.logprob == pytest.approx(float(logp_V[ids[place]]), abs=1e-4)
            best = logp_V.topk(scorer["top"]) if scorer["top"] else None
            values = best.values.tolist() if best else []
            assert [value for _, value in score.top] == pytest.approx(values, abs=1e-4)
        said = pieces[1 if scorer["prompt"] else 0 :]
        # The token that ends a text is measured too, in a piece of its own that says nothing.
        ends = [not (piece.text or piece.tokens or piece.asked) for piece in said]
        assert sum(ends) == sequence.finished
        for piece, end in zip(said, ends, strict=True):
            assert len(getattr(piece, "scores", ())) == piece.tokens + end


def test_nothing_is_scored_without_a_request(monkeypatch):
    engine = Engine(REAL["llama"], ScriptedSource(reply), "always")
    monkeypatch.setattr("lacy.cascade.local.token_scores", None)
    sequence, pieces = text(engine, "Mara", 9)
    run(engine, [sequence])
    assert pieces and not any(isinstance(piece, ScoredSpan) for piece in pieces)


def test_a_text_that_is_only_scored_may_fill_the_context():
    engine = Engine(scripted(lambda text: "x", context=12))
    for limit, length, fits in [(0, 11, True), (0, 12, False), (1, 10, True), (1, 11, False)]:
        sequence, pieces = text(engine, "a" * length, limit, top=1, prompt=True)
        if not fits:
            with pytest.raises(LacyError, match="E60"):
                run(engine, [sequence])
            continue
        run(engine, [sequence])
        assert [len(piece.scores) for piece in pieces] == [length, 1][: 1 + limit]


def test_a_cancelled_text_emits_what_it_has():
    """Text of a source has been added, but not all of its tokens have been read."""
    engine = Engine(scripted(lambda t: "x"), ScriptedSource([" Ulm an der Donau"]), "always")
    sequence, pieces = text(engine, "Ada", 40, top=0)
    with LoopThread() as loop_thread:
        running = engine.loop(loop_thread.submit)
        running.add([sequence])
        while not sequence.generated:
            running.step()
        running.step()
        assert not pieces
        sequence.cancelled = True
        running.step()
        assert not len(running)
    assert [piece.text for piece in pieces] == [" Ulm an der Donau"]
    known = [score.logprob is not None for score in pieces[0].scores]
    assert len(known) == 17 and known == sorted(known, reverse=True) and any(known)


def test_a_cut_span_keeps_the_tokens_that_begin_in_it():
    scores = tuple(TokenScore(part, -1.0) for part in (b" Z", b"\xc3", b"\xbcrich", b" ist"))
    piece = ScoredSpan(" Zürich ist", "slm", 4, scores=scores)
    assert [len(piece.cut(n).scores) for n in (0, 1, 2, 3, 4, 7, 8, 11)] == [0, 1, 1, 3, 3, 3, 4, 4]
    assert piece.cut(4).text == " Zür"
