"""The pages of docs/results say what the stored tables of the studies say."""

from pathlib import Path

import pytest
from results_pages import write_page

ROOT = Path(__file__).parents[2]
STORED = ROOT / "benchmarks" / "results" / "studies"
PAGES = {  # page: study
    "methods.md": "methods-world",
    "real.md": "real",
    "calibration.md": "calibration-world",
    "cue.md": "cue-world",
    "dynamics.md": "dynamics-world",
    "freed-bits.md": "capacity-world",
    "sources.md": "sources-world",
    "units.md": "units-world",
}


@pytest.mark.parametrize("page", PAGES)
def test_tables_of_a_page_equal_those_of_its_study(page, tmp_path):
    source = ROOT / "docs" / "results" / page
    write_page(source, STORED / PAGES[page], tmp_path / page)
    assert (tmp_path / page).read_text() == source.read_text()
    for figure in tmp_path.glob("*.svg"):
        assert (source.parent / figure.name).exists()


def test_every_stored_study_has_a_page_and_its_recipe():
    assert {path.name for path in STORED.iterdir()} == set(PAGES.values())
    for name in PAGES.values():
        recipe = (ROOT / "recipes" / f"{name}.yaml").read_text()
        page = next(page for page, study in PAGES.items() if study == name)
        assert f"docs/results/{page}" in recipe
        assert (STORED / name / "recipe.yaml").read_text() == recipe


def test_figures_of_a_model_are_in_the_table_of_its_own_condition():
    """Figures without a condition stand beside whichever conditions are shown."""
    page = (ROOT / "docs" / "results" / "cue.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| lacy | alone |")]
    assert any("| 6.2% [4.0-8.6] |" in row for row in rows)
