"""The page's controls for verdicts: shown only if the server keeps them."""

from contextlib import contextmanager

import pytest

from helpers.browser import WORDS, Watched, done, expect, needs_browser, until, write
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.records import RecordLog, read_records
from lacy.sources import ScriptedSource
from lacy.testing import scripted

pytestmark = [pytest.mark.slow, needs_browser]

SAID = " 👍é was born in 1898."


def speak(text):
    return SAID[next(n for n in range(len(SAID) - 1, -1, -1) if text.endswith(SAID[:n]))]


@pytest.fixture(scope="module")
def speaking():
    source = ScriptedSource(lambda request: [" Ulm.", None][len(request.text) % 2], name="book")
    return Engine(scripted(speak, context=512), source, "random=0.1", max_new_tokens=60)


@pytest.fixture
def seen(browser):
    seen = Watched(browser)
    yield seen
    seen.context.close()


@contextmanager
def answered(seen, engine, folder):
    """Yield the page after one answer, the records of its server, and the server's address."""
    with (
        RecordLog(folder, texts=True) as records,
        serving(engine, records=records) as running,
    ):
        page = seen.open(running.url + "/")
        write(page, "Mara")
        done(page)
        yield page, records, running.url


def test_no_controls_without_records(seen, speaking):
    with serving(speaking) as running:
        page = seen.open(running.url + "/")
        write(page, "Mara")
        done(page)
        assert page.locator(".verdicts button").count() == 0
        page.locator(WORDS).first.click()
        assert page.is_hidden("#judge") and page.is_visible("#detail")
        seen.clean(running.url)


SELECT = """([node, from, to]) => {
  getSelection().setBaseAndExtent(node.firstChild, from, node.firstChild, to);
}"""


def test_a_user_judges_words_a_value_and_an_answer(seen, speaking, tmp_path):
    with answered(seen, speaking, tmp_path / "logs") as (page, records, url):
        # some of the model's own words: only the selected ones, counted in characters
        own = page.locator(".text .own", has_text="1898").first
        own.click()
        text = own.text_content()
        at = text.index("1898")
        handle = own.element_handle()
        units = len(text[:at].encode("utf-16-le")) // 2
        page.evaluate(SELECT, [handle, units, units + 4])
        expect(page.locator("#judged-part")).to_have_text("1898")
        page.fill("#correct", "1867")
        assert page.text_content("#judged-part") == "1898"  # typing changes nothing
        page.click("#wrong")
        expect(page.locator("#judged")).to_contain_text("kept")
        # a value of the source, and the whole answer
        page.locator(".text .source-1").first.click()
        expect(page.locator("#judged-part")).to_have_text("Ulm.")
        page.click("#right")
        expect(page.locator("#judged")).to_contain_text("kept")
        page.locator(".verdicts button").last.click()
        expect(page.locator(".judged")).to_contain_text("kept")
        seen.clean(url)
        until(lambda: records.kept == 4)
        [answer] = read_records(tmp_path / "logs").answers
    said = answer.record.text
    first, second, third = answer.verdicts
    assert (first.verdict, first.correct, said[first.start : first.end]) == (
        "wrong",
        "1867",
        "1898",
    )
    assert (second.verdict, said[second.start : second.end]) == ("right", "Ulm.")
    assert (third.verdict, third.start) == ("wrong", None)


def test_parts_of_a_continued_answer_belong_to_its_responses(seen, speaking, tmp_path):
    with answered(seen, speaking, tmp_path / "logs") as (page, records, url):
        page.click("text=Continue")
        done(page)
        until(lambda: records.kept == 2)
        page.locator(WORDS).last.click()
        words = page.text_content("#judged-part").removesuffix("…")
        page.click("#wrong")
        expect(page.locator("#judged")).to_contain_text("kept")
        until(lambda: records.kept == 3)
        seen.clean(url)
        found = read_records(tmp_path / "logs").answers
    [judged] = [answer for answer in found if answer.verdicts]
    [verdict] = judged.verdicts
    assert judged is found[1]
    assert judged.record.text[verdict.start : verdict.end].strip().startswith(words)
