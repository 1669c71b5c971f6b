"""The page of results says what the stored results say."""

from tune_page import PAGE, filled


def test_the_tables_are_those_of_the_stored_results():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page
    assert "<!-- rows: articles -->" in page and "| 200 |" in page
