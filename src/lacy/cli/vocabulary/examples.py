"""Flags of the commands that read a task's examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import print_report
from lacy.config import Positional
from lacy.corpus import ReadReport


@dataclass
class ExampleOptions(TextOptions):
    """Flags that say which texts a task reads and writes."""

    model: Positional[str] = field(kw_only=True)
    """Folder of a model or a run, a .gguf file, smollm2, or a Hub name."""
    # [Texts]
    data: str = field(kw_only=True)
    """Examples of what the model writes: texts, marked or not (a file or a folder), or JSON, CSV or
    Parquet with inputs and outputs."""
    output_field: str | None = None
    """Field with what the model writes; by default --text-field."""
    input_field: str | None = None
    """Field with what the model reads before it; by default nothing."""

    def examples(self) -> Iterator[tuple[str, str]]:
        """Yield pairs of input and output, and report which texts were skipped."""
        report = ReadReport()
        if self.output_field is not None:
            self.text_field = self.output_field
        for document in self.read(self.data, report, limit=self.limit):
            given = document.meta.get(self.input_field) if self.input_field else ""
            if given is not None:
                yield str(given), document.text
        print_report(report)
