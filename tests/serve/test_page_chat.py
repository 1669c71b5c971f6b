"""The page of a chat model: a question is asked as a chat, and a database answers it."""

import contextlib
import sqlite3

import pytest

from helpers.browser import Watched, needs_browser, write
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.sources import Database

pytestmark = pytest.mark.slow


@needs_browser
def test_the_page_answers_a_question_from_a_database(smollm2_loaded, browser, tmp_path):
    path = tmp_path / "facts.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        facts = [("date of birth", "7 November 1867"), ("place of birth", "Warsaw")]
        rows = [("Marie Curie", *fact) for fact in facts]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    with Database(path) as source:
        engine = Engine(smollm2_loaded, source, "entropy=4", max_new_tokens=32)
        with serving(engine) as server:
            seen = Watched(browser)
            page = seen.open(server.url + "/")
            write(page, "When was Marie Curie born?")
            [text] = page.locator(".text").all_text_contents()
            assert text.split("\n")[1] == "Marie Curie was born on 7 November 1867."
            borrowed = page.locator(".text .source-1").all_text_contents()
            assert borrowed == ["7 November 1867"]
            seen.clean(server.url)
            seen.context.close()
