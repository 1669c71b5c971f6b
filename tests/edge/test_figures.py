"""The table of well-known figures."""

import json
from pathlib import Path

import edge_figures
import pytest

ROOT = Path(__file__).parent.parent.parent

KNOWN = {
    "60,723)": 60_723.2,
    "operations to train DeepSeek-V3": 3.2856e24,
    "sustained rate of one H800": 342.6e12,
    "the cluster's time": 54.2,
    "time of 60,723 phones": 313.1,
    "phones to match the cluster: 2 TFLOP/s, all used, always on": 350_815,
    "phones for one week: 2 TFLOP/s, all used, always on": 2.716e6,
    "phones to match the cluster: 2 TFLOP/s, 40% used": 877_037,
    "phones for one week: 2 TFLOP/s, 40% used": 6.79e6,
    "phones to match the cluster: 2 TFLOP/s, 20% used, 30% of the day": 5.847e6,
    "phones for one week: 2 TFLOP/s, 20% used, 30% of the day": 45.27e6,
    "phones to match the cluster: 1.38 TFLOP/s (mean of 2024)": 8.474e6,
    "phones for one week: 1.38 TFLOP/s (mean of 2024)": 65.6e6,
    "125M, synchronous, 16 bits": 500e6,
    "360M, synchronous, 16 bits": 1440e6,
    "1.1B, synchronous, 16 bits": 4400e6,
    "125M, DiLoCo, 16 bits, H = 500": 1.0e6,
    "360M, DiLoCo, 16 bits, H = 500": 2.88e6,
    "1.1B, DiLoCo, 8 bits, H = 100": 22e6,
    "INTELLECT-1": 400,
    "125M on 2.5e9 tokens": 43.4,
    "360M on 7.2e9 tokens": 36.0,
}


@pytest.mark.parametrize("what", KNOWN)
def test_known_figures_have_their_values(what):
    [found] = [f for f in edge_figures.figures() if what in f.what]
    assert found.value == pytest.approx(KNOWN[what], rel=2e-3)


def test_the_page_shows_the_figures_and_the_file_has_them():
    page = (ROOT / "docs" / "results" / "edge.md").read_text(encoding="utf-8")
    stored = json.loads((ROOT / "benchmarks" / "results" / "edge_figures.json").read_text())
    shown = [f.shown for f in edge_figures.figures()]
    assert [row["shown"] for row in stored["figures"]] == shown
    for figure in edge_figures.figures():
        assert f"| {figure.what} | `{figure.formula}` | {figure.shown} |" in page
