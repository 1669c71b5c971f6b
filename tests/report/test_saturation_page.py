"""The page of saturation says what the stored results say."""

from saturation_page import FIGURE, PAGE, TABLES, figure, filled, stored


def test_the_tables_are_those_of_the_stored_results():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, stored()) == page
    for name in TABLES:
        assert f"<!-- table: {name} -->" in page


def test_the_figure_has_a_line_per_model():
    drawn = figure(stored())
    for name in ("width 16, plain", "width 16, delegation", "gradient kept, %"):
        assert name in drawn and name in FIGURE.read_text(encoding="utf-8")
