"""Flags of the commands that read labelled texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.terminal import print_report
from lacy.config import Rare

if TYPE_CHECKING:
    from lacy.safety import LabelledText


@dataclass
class LabelledOptions:
    """Flags that say where text, label, source and prompt are in a file."""

    # [Texts]
    text_field: Rare[str] = "text"
    """Field (or column) with the text: a prompt or an answer."""
    label_field: Rare[str] = "label"
    """Field with the label: 1, true, yes, harmful, unsafe, toxic, or 0, false, no, harmless, safe,
    benign. A text without a label is used only with a teacher."""
    source_field: Rare[str] = "source"
    """Field with the name of the data that the text is from; by default the file's name."""
    prompt_field: Rare[str] = "prompt"
    """Field with the prompt before an answer. A text that has it (even empty) is an answer."""
    harmful: Rare[list[str]] = field(default_factory=list)
    """Further labels that mean harmful."""
    safe: Rare[list[str]] = field(default_factory=list)
    """Further labels that mean safe."""
    encoding: Rare[str | None] = None
    """Encoding of files that are not UTF-8."""

    def labelled(self, paths: list[Path]) -> list[LabelledText]:
        """Read the files, and report which lines were skipped."""
        from lacy.corpus import ReadReport
        from lacy.safety import LabelFields, read_labelled

        report = ReadReport()
        fields = LabelFields(
            self.text_field, self.label_field, self.source_field, self.prompt_field, self.harmful,
            self.safe,
        )  # fmt: skip
        found = read_labelled(paths, fields, encoding=self.encoding, report=report)
        print_report(report)
        return found
