"""Where a row may call: at any token or only where a word begins"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.cascade import Engine
from lacy.cascade.sampling import begins_word
from lacy.errors import LacyError
from lacy.testing import ScriptedSource, scripted
from lacy.types import Reply

LINE = "Ada, born 1815 in Kent; né 12."


def speak(text):
    """The line from where it stopped, byte by byte."""
    return LINE[len(text) :][:1] if LINE.startswith(text) else ""


def called_at(at):
    """The texts at which a call was made."""
    seen = []

    class Source:
        name = "nobody"

        async def ask(self, requests):
            seen.extend(request.text for request in requests)
            return [Reply(error="knows nothing")] * len(requests)

    loaded = scripted(speak, lambda text: True)
    engine = Engine(loaded, Source(), "always", at=at, max_new_tokens=60)
    (answer,) = engine.generate(["Ada"])
    assert answer.text == LINE
    return seen


def test_a_call_tears_no_word_and_no_number():
    everywhere, words = called_at("any"), called_at("word")
    inside = {t for t in everywhere if t[-1].isalnum() and LINE[len(t) : len(t) + 1].isalnum()}
    assert {"Ada, b", "Ada, born 18", "Ada, born 1815 in Kent; n"} <= inside
    assert set(words) == set(everywhere) - inside
    for where in ("Ada, ", "Ada, born", "Ada, born ", "Ada, born 1815", LINE):
        assert where in words


def test_the_paper_s_unit_may_call_anywhere():
    engine = Engine(scripted(speak), unit="token")
    assert engine.at == "any"
    with pytest.raises(LacyError) as caught:
        Engine(scripted(speak), at="sentence")
    assert caught.value.code == "E12"
    assert "word" in str(caught.value)


def test_a_budget_holds_where_only_words_may_call():
    loaded = scripted(lambda text: " ab12"[len(text) % 5], lambda text: float(len(text) * 7 % 11))
    source = ScriptedSource({"": " [x]"})
    engine = Engine(loaded, source, "budget=0.2", at="word", max_new_tokens=400)
    (answer,) = engine.generate(["word"])
    assert 0.1 < answer.called_tokens / answer.tokens < 0.3


@given(st.text(max_size=4), st.text(min_size=1, max_size=3))
def test_words_by_a_slow_reference(text, following):
    """ASCII is judged by the character, anything else counts as a letter."""
    first = following[0]
    letter = first.isalnum() if first.isascii() else True
    torn = bool(text) and text[-1].isalnum() and letter
    assert begins_word(text, following.encode("utf-8", "ignore") or b"a") == (not torn)


def test_the_end_of_a_text_begins_a_word():
    assert begins_word("Ada", b"")
