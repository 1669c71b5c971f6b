"""Flags of the commands that read a task's examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import print_report
from lacy.config import Positional
from lacy.corpus import ReadReport
from lacy.errors import LacyError


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
        """Yield pairs of input and output, and report which texts were skipped.

        Raises:
            LacyError: E22, no row has one of the fields; and the other errors of ``read``.
        """
        report, count = ReadReport(), 0
        if self.output_field is not None:
            self.text_field = self.output_field
        try:
            for document in self.read(self.data, report, limit=self.limit):
                given = document.meta.get(self.input_field) if self.input_field else ""
                if given is None:
                    report.skip(f"no field {self.input_field}", document.id)
                    continue
                count += 1
                yield str(given), document.text
        except LacyError as error:
            if error.code == "E22" and self.output_field is not None:
                raise LacyError("E22", **error.values | {"setting": "output-field"}) from error
            raise
        if not count and report.documents and self.input_field not in report.fields:
            fields = ", ".join(report.fields)
            raise LacyError("E22", field=self.input_field, path=self.data, fields=fields,
                            setting="input-field")  # fmt: skip
        print_report(report)
