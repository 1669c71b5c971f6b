"""Each step explained is the step that is made: same spans, same signals, same ranking."""

import io
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from helpers.models import REAL
from helpers.raw import raw_llama, raw_tokenizer, save_raw
from lacy.cascade import Engine
from lacy.cascade.steps import END_LABEL, Watch, explain, read_along, steps_to_json
from lacy.cli import step_table
from lacy.cli.streaming import generate_live
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.sources import ScriptedSource
from lacy.testing import scripted

POLICIES = ["never", "always", "budget=0.3,window=9", "threshold=0", "top2=0.1", "entropy=3"]
PROMPTS = ["Mara", "Tomas Brill, an engineer from Łódź, grew up in", "He 東京"]


def reply(request):
    """One text, a choice of two, or nothing, by the length of the text."""
    return [f" {len(request.text)}é", ["Paris", " in Ulm"], None][len(request.text) % 3]


def said(answer):
    return [(s.text, s.speaker, s.tokens, s.reason, s.margin, s.asked) for s in answer.spans]


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(sorted(REAL)),
    prompt=st.sampled_from(PROMPTS),
    policy=st.sampled_from(POLICIES),
    unit=st.sampled_from(["token", "word", "value"]),
    limit=st.integers(1, 12),
    heat=st.sampled_from([0.0, 0.9]),
)
def test_steps_are_those_of_generate(name, prompt, policy, unit, limit, heat):
    loaded = REAL[name]
    engine = Engine(
        loaded, ScriptedSource(reply), policy, unit=unit, temperature=heat, max_new_tokens=limit
    )
    answer, steps = explain(engine, prompt)
    engine = Engine(
        loaded, ScriptedSource(reply), policy, unit=unit, temperature=heat, max_new_tokens=limit
    )
    [expected] = engine.generate([prompt])
    assert said(answer) == said(expected)
    text = prompt
    for step in steps:
        assert step.start == len(text)
        text += step.text
    assert expected.text.startswith(text) and len(expected.text) - len(text) <= 1  # half a letter
    assert sum(step.tokens for step in steps) == expected.tokens
    called = [step for step in steps if step.called]
    assert [(s.reason, s.text) for s in called] == [
        (s.reason, s.text) for s in expected.spans if s.asked
    ]
    assert [s.answered for s in called] == [
        s.speaker == "script" for s in expected.spans if s.asked
    ]


class Places(Watch):
    """Keeps the plan of a text, and where in it each step began."""

    def decided(self, sequences, logits_RV, decisions):
        super().decided(sequences, logits_RV, decisions)
        [self.sequence] = sequences
        self.places = [*getattr(self, "places", ()), len(self.sequence.ids) - 1]


@pytest.mark.parametrize("name", sorted(REAL))
def test_signals_are_those_of_a_plain_forward_pass(name):
    loaded = REAL[name]
    engine = Engine(
        loaded, ScriptedSource([[" Ulm", " Bern"]]), "budget=0.3,window=9", abstain=None
    )
    engine.observer = watch = Places(engine)
    engine.generate(["Mara"], max_new_tokens=12)
    steps = watch.steps[0]
    with torch.inference_mode():
        logits_TV = loaded.model(input_ids=torch.tensor([watch.sequence.ids])).logits[0].float()
    for step, place in zip(steps, watch.places, strict=True):
        own_V = logits_TV[place].clone()
        own_V[engine.call_id] = -torch.inf
        margin = float(logits_TV[place, engine.call_id] - own_V.max())
        assert step.margin == pytest.approx(margin, abs=1e-4)
        p_call = float(logits_TV[place].softmax(-1)[engine.call_id])
        assert step.p_call == pytest.approx(p_call, abs=1e-5)
        assert step.words[0].p == pytest.approx(float(own_V.softmax(-1).max()), abs=1e-5)
        assert step.value is None or step.value == step.margin
        assert step.limit is None or (step.value > step.limit) <= step.called
    assert any(step.called for step in steps) and not all(step.called for step in steps)


def test_a_live_text_has_the_same_steps():
    engine = Engine(REAL["llama"], ScriptedSource(reply), "budget=0.3,window=9", unit="word")
    answer, steps = explain(engine, "Mara", max_new_tokens=12)
    watched = Engine(REAL["llama"], ScriptedSource(reply), "budget=0.3,window=9", unit="word")
    watched.observer = watch = Watch(watched)
    heard = []
    with LoopThread() as loop_thread:
        live = generate_live(
            watched, loop_thread, watched.sequence(0, "Mara", None, 12), heard.append
        )
    assert said(live)[0] == said(answer)[0]
    assert live.text == answer.text == "Mara" + "".join(piece.text for piece in heard)
    for mine, other in zip(watch.steps[0], steps, strict=True):
        assert (mine.text, mine.speaker, mine.called) == (other.text, other.speaker, other.called)
        assert mine.margin == pytest.approx(other.margin, abs=1e-4)
        assert [o.text for o in mine.offers] == [o.text for o in other.offers]


def test_offers_say_what_was_taken_and_why_not():
    whole = "Ada was born in Ulm."
    loaded = scripted(
        lambda text: whole[len(text) :] if whole.startswith(text) else "",
        lambda text: text.endswith(" in"),
    )
    source = ScriptedSource([[" Bern", " Ulm"]])
    _, steps = explain(Engine(loaded, source, "threshold=0", abstain=-5.0), "Ada was born in")
    first = steps[0]
    assert first.answered and first.text == " Ulm" and first.speaker == "script"
    assert [(o.text, o.taken, o.why) for o in first.offers] == [
        (" Ulm", True, "fits best"), (" Bern", False, "does not fit (< -5.0)")
    ]  # fmt: skip
    assert first.offers[0].score > first.offers[1].score
    assert first.margin == 5.0 and first.limit == 0.0 and first.needed == -5.0
    assert steps[-1].own.text == END_LABEL and steps[-1].tokens == 0
    _, steps = explain(Engine(loaded, source, "threshold=0", abstain=5.0), "Ada was born in")
    assert not steps[0].answered and steps[0].called and steps[0].speaker == "slm"


@pytest.mark.parametrize("name", sorted(REAL))
def test_a_given_text_is_read_to_its_end(name):
    text = "Tomas Brill grew up in Łódź."
    source = ScriptedSource(reply)
    engine = Engine(REAL[name], source, "budget=0.4,window=9")
    read, steps = read_along(engine, text)
    assert read.lstrip() == text
    assert "".join(step.text for step in steps) == read[steps[0].start :]
    assert {step.speaker for step in steps} == {"text"}
    assert all(0 < step.p_text <= 1 for step in steps)
    assert len(source.asked) == sum(step.called for step in steps) > 0
    with pytest.raises(LacyError, match="E111"):
        read_along(engine, "")


def test_a_given_text_may_fill_the_context():
    engine = Engine(scripted(lambda text: "", context=8), None, "never")
    _, steps = read_along(engine, "x" * 8)  # the last token is predicted, but not read
    assert len(steps) == 8 and steps[-1].p_text is not None
    with pytest.raises(LacyError, match="E60"):
        read_along(engine, "x" * 9)


def test_json_has_no_infinities():
    engine = Engine(REAL["llama"], ScriptedSource(["x"]), "budget=0")
    _, steps = explain(engine, "Mara", max_new_tokens=3)
    assert all(math.isinf(step.limit) for step in steps)
    shown = json.loads(json.dumps(steps_to_json(steps), allow_nan=False))
    assert {step["limit"] for step in shown} == {None}
    assert all(len(step["words"]) == 5 for step in shown)


@pytest.mark.parametrize(("said", "shown"), [(" ", "␣"), ("\n", "⏎"), ("", "(end)"), ("x", "x")])
def test_a_call_names_the_word_that_stands_in_its_place(said, shown):
    loaded = scripted(lambda text: said if text == "Ada" else "", lambda text: text == "Ada")
    _, steps = explain(Engine(loaded, ScriptedSource([None]), "threshold=0"), "Ada")
    page = io.StringIO()
    console = Console(file=page, width=80, color_system=None)
    step_table.show(console, steps, {}, notes=[])
    assert f"▸ 1 … {shown}\n" in page.getvalue()


@pytest.mark.parametrize(("policy", "words"), [("always", "▸ a call"), ("never", "No call is")])
def test_the_explanation_says_whether_calls_are_made(policy, words):
    _, steps = explain(Engine(REAL["llama"], ScriptedSource([None]), policy), "Mara",
                       max_new_tokens=2)  # fmt: skip
    page = io.StringIO()
    step_table.show(Console(file=page, width=99, color_system=None), steps, {}, notes=[])
    assert words in page.getvalue().splitlines()[-1]


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_tables_fit_the_terminal(width):
    engine = Engine(REAL["llama"], ScriptedSource(reply), "budget=0.4,window=9")
    answer, steps = explain(engine, PROMPTS[1], max_new_tokens=14)
    steps, note = step_table.with_marks(steps, answer.text)
    page = io.StringIO()
    console = Console(file=page, width=width, force_terminal=True, no_color=True)
    step_table.show(console, steps, {}, notes=[note])
    lines = page.getvalue().splitlines()
    from rich.text import Text

    assert max(Text.from_ansi(line).cell_len for line in lines) <= width
    shown = Text.from_ansi(page.getvalue()).plain
    assert "margin" in shown and "limit" in shown
    assert ("p(CALL)" in shown) == (width >= 56) and ("entropy" in shown) == (width >= 90)


def test_why_prints_writes_and_draws(workspace, tmp_path, capsys):
    person = json.loads((workspace.world / "train.jsonl").read_text().splitlines()[0])["person"]
    argv = ["why", workspace.model, person, "--source", workspace.world, "--policy", "always"]
    argv += ["--calibrate", 0, "--max-new-tokens", 5]
    assert workspace.lacy(*argv, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["policy"] == "always" and data["text"].startswith(person)
    assert len(data["steps"]) and all(step["called"] for step in data["steps"][:2])
    assert any(step["offers"] for step in data["steps"])
    table = tmp_path / "why.txt"
    assert workspace.lacy(*argv, "--out", table, "--no-marks") == 0
    assert "next best" in table.read_text() and capsys.readouterr().out == ""
    assert workspace.lacy(*argv, "--teacher") == 0
    assert "p(it)" in capsys.readouterr().out
    assert workspace.lacy(*argv, "--plot", "why.jpeg") == 2
    assert "[E113]" in capsys.readouterr().err


def test_the_picture_shows_margin_threshold_and_calls(tmp_path):
    pytest.importorskip("matplotlib")
    engine = Engine(REAL["llama"], ScriptedSource(reply), "budget=0.4,window=9")
    answer, steps = explain(engine, "Mara", max_new_tokens=14)
    for name in ("why.png", "why.svg"):
        step_table.draw(tmp_path / name, steps, answer.text)
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    shown = (tmp_path / "why.svg").read_text()
    for word in ("margin", "threshold", "call, "):
        assert word in shown


@pytest.mark.parametrize("chat", [True, False])
def test_a_question_gets_the_same_hint_as_in_generate(chat, workspace, tmp_path, capsys):
    tokenizer = raw_tokenizer()
    if chat:
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    folder, hints = save_raw(tmp_path / "raw", raw_llama(), tokenizer), []
    for argv in (["generate", folder], ["why", folder, "--no-marks"]):
        argv += ["When was Marie Curie born?", "--policy", "never", "--max-new-tokens", 1]
        assert workspace.lacy(*argv) == 0
        hints.append([line for line in capsys.readouterr().err.splitlines() if "question" in line])
    assert hints[0] == hints[1] and len(hints[0]) == 1
    assert (f"lacy chat {folder}" in hints[0][0]) == chat
    argv = ["why", folder, "When was Marie Curie born?", "--teacher", "--no-marks"]
    assert workspace.lacy(*argv, "--policy", "never") == 0
    assert "question" not in capsys.readouterr().err  # it is read, not continued
