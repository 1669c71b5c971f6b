from .comparison_page import comparison_markdown, comparison_rows, write_comparison_page
from .compression_page import (
    STAGE_COLUMNS,
    compression_figure,
    compression_markdown,
    stage_cells,
    write_compression_page,
)
from .demo import demo_figures, show_demo, write_demo
from .edge_page import progress_figure, tornado_figure, write_edge_page
from .federation_page import (
    ROUND_COLUMNS,
    federation_figure,
    round_cells,
    write_federation_page,
)
from .figures import STUDY_FIGURES
from .html import HtmlPage, NextStep, format_figure, format_score, write_html
from .markdown import STUDY_TABLES
from .real_demo import EXAMPLES, LABELS, show_real_demo, write_real_demo
from .route_page import bench_cells, bench_columns, bench_notes, route_figure, write_route_page
from .saturation_figure import SaturationSeries, saturation_figure
from .scorecard_page import (
    format_cell,
    model_card_results,
    scorecard_markdown,
    with_results,
    write_scorecard_page,
)
from .study_page import write_study_page
from .svg import SERIES_COLOURS, SeriesStyle, figure_panels
from .together_page import together_figure, write_together_page
from .world_page import ShownCondition, world_page

__all__ = [
    "EXAMPLES",
    "LABELS",
    "ROUND_COLUMNS",
    "SERIES_COLOURS",
    "STAGE_COLUMNS",
    "STUDY_FIGURES",
    "STUDY_TABLES",
    "HtmlPage",
    "NextStep",
    "SaturationSeries",
    "SeriesStyle",
    "ShownCondition",
    "bench_cells",
    "bench_columns",
    "bench_notes",
    "comparison_markdown",
    "comparison_rows",
    "compression_figure",
    "compression_markdown",
    "demo_figures",
    "federation_figure",
    "figure_panels",
    "format_cell",
    "format_figure",
    "format_score",
    "model_card_results",
    "progress_figure",
    "round_cells",
    "route_figure",
    "saturation_figure",
    "scorecard_markdown",
    "show_demo",
    "show_real_demo",
    "stage_cells",
    "together_figure",
    "tornado_figure",
    "with_results",
    "world_page",
    "write_comparison_page",
    "write_compression_page",
    "write_demo",
    "write_edge_page",
    "write_federation_page",
    "write_html",
    "write_real_demo",
    "write_route_page",
    "write_scorecard_page",
    "write_study_page",
    "write_together_page",
]
