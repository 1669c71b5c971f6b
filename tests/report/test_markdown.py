"""Tables and pages of a study: exact contents, and pages that stay as they are when done twice."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_pages import MarkerError, write_page

from helpers.studies import METHODS, write_study, write_sweep
from lacy.errors import LacyError
from lacy.report.markdown import comparisons_table, format_p_value, methods_table
from lacy.report.study_files import read_study
from lacy.report.study_page import write_study_page

SCRIPT = Path(__file__).parents[2] / "scripts" / "results_pages.py"
PAGE = """# Methods

Prose that stays.

<!-- table: methods metrics=facts_right,closed_book_recall -->
<!-- end -->

More prose.

<!-- figure: frontier frontier.svg method=lacy,plain -->
<!-- end -->

<!-- figure: calibration figures/calibration.svg -->
<!-- end -->
<!-- table: comparisons metrics=f1 -->
<!-- end -->

```text
<!-- table: nonsense -->
```
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


def rows_of(text, title):
    """The cells of the table under a bold title."""
    block = text.split(f"**{title}**\n\n")[1].split("\n\n")[0]
    # A pipe within a name is escaped.
    return [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in block.splitlines()]


HERE = "Size small, the same number of steps, call rate 22%"


def test_the_table_of_methods_is_exact(study):
    head, rule, *body = rows_of(methods_table(study), HERE)
    assert head == [
        "method", "condition", "call rate", "facts right", "recall", "F1", "closed-book recall",
        "AUROC at value starts", "calls per fact", "calls at value starts", "language loss, nats",
        "stored bits, per fact",
    ]  # fmt: skip
    assert len(rule) == len(head)
    assert [row[:2] for row in body] == [
        ["plain", "budget=0.22"],
        ["plain", "budget=0.22,by=entropy"],
        ["lacy", "budget=0.22"],
        ["loss only", "budget=0.22"],
        ["random\\|tokens", "budget=0.22"],
    ]
    assert body[2][2:] == [
        "22.2% [20.2-24.2]<br><sub>seeds 22.0-22.4</sub>",
        "**95.0%** [93.0-97.0]<br><sub>seeds 94.0-96.0</sub>",
        "**85.5%** [83.5-87.5]<br><sub>seeds 84.6-86.4</sub>",
        "**90.2%** [88.2-92.2]<br><sub>seeds 89.3-91.2</sub>",
        "**18.0%** [17.0-19.0]<br><sub>seeds 17.0-19.0</sub>",
        "**0.999** [0.989-1.009]",
        "1.22 [1.20-1.24]",  # alike in all rows: none is best
        "**57.0%** [55.0-59.0]<br><sub>seeds 56.4-57.6</sub>",
        "**1.870** [1.860-1.880]",
        "7.40 [7.39-7.41]",  # neither more nor less is better
    ]
    assert "**" not in "".join("".join(row) for n, row in enumerate(body) if n != 2)
    # The entropy of the plain model places its calls: the AUROC is that of the entropy.
    assert [row[7] for row in body[:2]] == ["0.640 [0.630-0.650]", "0.600 [0.590-0.610]"]


def test_other_call_rates_have_a_separate_table_without_a_best(study):
    text = methods_table(study)
    head, _, *body = rows_of(text, "Size small, the same number of steps, other call rates")
    assert head == ["method", "condition", "call rate", "facts right"]
    assert [row[1] for row in body] == ["alone"] * 4
    assert "**" not in "".join("".join(row) for row in body)
    assert "budget=0.35" not in text
    assert text.splitlines()[-1].startswith("<sub>3 seeds. ")


def test_another_rate_and_chosen_conditions(study):
    text = methods_table(study, call_rate=0.35, metrics=["f1"], where={"method": "lacy"})
    rows = rows_of(text, "Size small, the same number of steps, call rate 35%")
    assert [row[:2] for row in rows[2:]] == [["lacy", "budget=0.35"]]
    assert "**9" not in text  # one row has no best
    only = methods_table(study, conditions=["alone"])
    assert "22%" not in only.split("<sub>")[0]


def test_sizes_and_rules_have_separate_tables_with_the_plain_method(tmp_path):
    study = write_study(tmp_path, sizes=("s", "l"), equals=("steps", "text_tokens"), seeds=(0,))
    text = methods_table(study)
    for size in "sl":
        for rule in ("steps", "text tokens"):
            title = f"Size {size}, the same number of {rule}, call rate 22%"
            assert [row[0] for row in rows_of(text, title)[2:]] == [
                "plain", "plain", "lacy", "loss only", "random\\|tokens",
            ]  # fmt: skip
    assert "seeds 9" not in text  # one seed has no spread
    assert "<sub>1 seed. " in text


def test_without_pooled_rows_the_mean_has_no_interval(tmp_path):
    study = write_study(tmp_path)
    rows = pd.read_csv(study / "results.csv", keep_default_na=False)
    rows[rows.seed >= 0].to_csv(study / "results.csv", index=False)
    row = rows_of(methods_table(study, metrics=["facts_right"]), HERE)[4]
    assert row == ["lacy", "budget=0.22", "**95.0%**<br><sub>seeds 94.0-96.0</sub>"]


def test_a_method_called_none_keeps_its_name(tmp_path):
    """pandas takes None and NA for a missing value; they are names here."""
    study = write_study(tmp_path, methods={"plain": METHODS["plain"]}, seeds=(0,))
    for name in ("runs.csv", "results.csv"):
        text = (study / name).read_text().replace("plain", "None")
        (study / name).write_text(text)
    assert read_study(study).methods == ["None"]
    assert "| None | budget=0.22 |" in methods_table(study)


def test_the_comparisons_are_exact(study):
    text = comparisons_table(study)
    title = "Size small, the same number of steps"
    head, _, *body = rows_of(text, title)
    assert head == ["metric", "a", "b", "a - b", "p", "people", "seeds"]
    lacy = "lacy/budget=0.22"
    assert body == [
        ["facts right", lacy, "loss only/budget=0.22", "+24.0 points [+21.5 to +26.5]", "<0.001",
         "300", "3"],
        ["F1", lacy, "random\\|tokens/budget=0.22", "+24.0 points [+21.5 to +26.5]", "0.012",
         "300", "3"],
        ["calls per fact", lacy, "plain/budget=0.22", "+0.240 calls [+0.215 to +0.265]", "0.46",
         "300", "3"],
    ]  # fmt: skip
    assert len(comparisons_table(study, metrics=["f1"]).splitlines()) == 5
    with pytest.raises(LacyError, match="no comparison"):
        comparisons_table(study, where={"size": "giant"})
    with pytest.raises(LacyError, match="no column method"):
        comparisons_table(study, where={"method": "lacy"})


@given(st.floats(0, 1))
def test_a_p_value_is_never_shown_as_nothing(p):
    shown = format_p_value(p)
    assert shown != "0" and not re.fullmatch(r"0\.0+", shown)
    if shown.startswith("<"):
        assert p < 0.001
    else:
        assert abs(float(shown) - p) <= 0.005
    assert format_p_value(float("nan")) == "–"


def test_a_page_is_filled_and_stays_the_same(study, tmp_path):
    page = tmp_path / "methods.md"
    page.write_text(PAGE)
    written = write_page(page, study, page)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "frontier.svg", "figures/calibration.svg", "methods.md",
    ]  # fmt: skip
    first = page.read_text()
    drawn = [path.read_bytes() for path in written]
    assert write_page(page, study, page) == written
    assert page.read_text() == first
    assert [path.read_bytes() for path in written] == drawn
    for line in PAGE.splitlines():
        assert line in first.splitlines()
    assert first.count("<!-- end -->") == 4
    assert "| lacy | budget=0.22 | **95.0%**" in first
    assert re.search(r"-->\n\n!\[Facts right [^\]]*\]\(frontier\.svg\)\n\n<!-- end -->", first)
    assert "](figures/calibration.svg)" in first
    assert "| F1 |" in first and "| calls per fact |" not in first
    assert "stored bits" not in first  # only the metrics that were asked for


def test_old_content_is_replaced_and_prose_is_not(study, tmp_path):
    page = tmp_path / "methods.md"
    page.write_text(PAGE)
    write_page(page, study, page)
    filled = page.read_text()
    page.write_text(filled.replace("95.0%", "12.3%").replace("Prose that stays", "New prose"))
    write_page(page, study, tmp_path / "out" / "methods.md")
    assert (tmp_path / "out" / "methods.md").read_text() == filled.replace(
        "Prose that stays", "New prose"
    )
    assert (tmp_path / "out" / "frontier.svg").is_file()
    assert "12.3%" in page.read_text()  # the template was not touched


def test_a_sweep_of_a_page(tmp_path):
    study = write_sweep(tmp_path / "s")
    page = tmp_path / "p.md"
    page.write_text(
        "<!-- figure: sweep s.svg x=text_weight metrics=facts_right,closed_book_recall"
        " group=call_negative condition=budget=0.22 -->\n<!-- end -->\n"
    )
    write_page(page, study, page)
    assert "call negative: sigmoid" in (tmp_path / "s.svg").read_text()


def test_what_was_not_measured_becomes_a_sentence(tmp_path):
    study = write_study(tmp_path / "s", curves=False)
    page = tmp_path / "p.md"
    page.write_text("<!-- figure: calibration c.svg -->\nold\n<!-- end -->\n")
    assert write_page(page, study, page) == [page]
    assert "\n*Not shown: no calibration curve.*\n" in page.read_text()
    assert str(tmp_path) not in page.read_text()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("<!-- table: army -->\n<!-- end -->", "line 1: no table 'army'; there are: methods"),
        ("\n<!-- figure: frontiers f.svg -->\n<!-- end -->", "line 2: no figure 'frontiers'"),
        ("<!-- figure frontier f.svg -->\n<!-- end -->", "no figure"),
        ("<!-- table: methods -->", "line 1: it has no <!-- end -->"),
        ("<!-- table: methods -->\n<!-- table: methods -->\n<!-- end -->", "line 1: it has no"),
        ("<!-- end -->", "an end without a beginning"),
        ("<!-- figure: frontier -->\n<!-- end -->", "one file beside the page"),
        ("<!-- figure: frontier ../f.svg -->\n<!-- end -->", "one file beside the page"),
        ("<!-- figure: frontier f.png -->\n<!-- end -->", "one file beside the page"),
        ("<!-- figure: sweep f.svg x=a -->\n<!-- end -->", "needs x=SETTING"),
        ("<!-- table: methods call_rate=low -->\n<!-- end -->", "call_rate=low is no number"),
        ("<!-- table: methods all -->\n<!-- end -->", "'all' is no key=value"),
    ],
)
def test_a_wrong_mark_is_an_error_with_its_line(study, tmp_path, lines, says):
    page = tmp_path / "p.md"
    page.write_text(lines + "\n")
    says = re.sub(r"^(line \d+):", rf"\1 of {page}:", says)
    with pytest.raises(MarkerError, match=re.escape(says)):
        write_page(page, study, page)
    assert page.read_text() == lines + "\n"


def test_a_mark_with_an_unknown_column_is_an_error(study, tmp_path):
    page = tmp_path / "p.md"
    page.write_text("<!-- table: methods colour=red -->\n<!-- end -->\n")
    with pytest.raises(LacyError, match="no column colour"):
        write_page(page, study, page)


def test_the_script_writes_pages_in_place_and_explains_mistakes(study, tmp_path):
    page = tmp_path / "methods.md"
    page.write_text(PAGE)
    command = [sys.executable, str(SCRIPT), str(page), "--study"]
    done = subprocess.run([*command, str(study)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(page)
    assert "| lacy | budget=0.22 |" in page.read_text()
    done = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("[E13]")


class Page(HTMLParser):
    """Tags that could ask for something, and the text."""

    def __init__(self, html):
        super().__init__()
        self.asks, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag in ("script", "link", "img", "iframe") or "src" in named:
            self.asks.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_report_is_one_page_without_requests(study, tmp_path):
    write_study_page(study, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    assert not page.asks
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/)[a-z]", html)
    for text in (HERE, "95.0%", "random|tokens", "+24.0 points", "<0.001", "share of value starts"):
        assert text in page.text
    assert html.count("<svg") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    write_study_page(study, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == html


def test_a_report_without_curves_or_comparisons_says_so(tmp_path):
    study = write_study(tmp_path / "s", curves=False, seeds=(0,))
    (study / "comparisons.csv").unlink()
    write_study_page(study, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).text
    assert "Not shown: no calibration curve." in text
    assert "Not shown: the comparisons." in text
