"""Fill the tables and figures of results pages from the files of a study.

python scripts/results_pages.py docs/results/methods.md --study studies/methods
python scripts/results_pages.py docs/results/methods.md --study studies/methods --check

A page keeps its prose. What stands between a marker and ``<!-- end -->`` is made from the study's
files, so that no number on a page is ever typed:

    <!-- table: methods -->
    <!-- end -->
    <!-- figure: sweep weights.svg x=text_weight metrics=facts_right,recall group=method -->
    <!-- end -->

Any other ``key=value`` of a marker chooses runs: ``size=small method=lacy,plain``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.report import STUDY_FIGURES, STUDY_TABLES
from lacy.run import write_atomic

OWN: dict[str, tuple[str, ...]] = {
    "figure methods": ("metric", "conditions"),
    "figure frontier": ("conditions",),
    "figure sweep": ("x", "metrics", "group", "condition"),
    "figure freed_bits": ("group",),
    "table methods": ("metrics", "conditions", "call_rate"),
    "table comparisons": ("metrics",),
}
"""Options of a figure or table; all others choose runs."""

MARKER = re.compile(r"\s*<!--\s*(figure|table)\b(.*?)-->\s*$")
END = re.compile(r"\s*<!--\s*end\s*-->\s*$")


class MarkerError(Exception):
    """Raised when a marker of a page is not known or has no end."""


@dataclass(frozen=True)
class Marker:
    """A place of a page that is made from a study."""

    kind: str
    name: str
    file: str
    options: dict[str, str]
    line: int


def write_page(template: Path, folder: Path, out: Path) -> list[Path]:
    """Fill the marked places of a Markdown page; a second time changes nothing.

    Args:
        template: the page, with markers.
        folder: of the study.
        out: where the page goes (it may be the template); figures go beside it.

    Returns:
        The files that were written, figures first.

    Raises:
        MarkerError: a marker is not known or has no end.
        LacyError: E13 for a missing page or study; E87 if a marker asks for something that the
            study's files do not have. What was not measured becomes a sentence.
    """
    template, out = Path(template), Path(out)
    if not template.is_file():
        raise LacyError("E13", path=template, do="give a Markdown page")
    parts = _parts(template.read_text(encoding="utf-8"), template)
    lines: list[str] = []
    written = []
    for part in parts:
        if isinstance(part, str):
            lines.append(part)
            continue
        content, file = _content(part, Path(folder), out.parent)
        written += [file] if file else []
        lines += ["", content, ""]
    write_atomic(out, "\n".join(lines))
    return [*written, out]


def _parts(text: str, page: Path) -> list[str | Marker]:
    """The page's own lines and, after each marker's line, the marker; old content is left out."""
    parts: list[str | Marker] = []
    open_: Marker | None = None
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        fenced ^= line.lstrip().startswith("```") and open_ is None
        found = None if fenced else MARKER.match(line)
        ends = not fenced and END.match(line)
        if open_ and found:
            raise _wrong(page, open_.line, "it has no <!-- end -->")
        if ends and not open_:
            raise _wrong(page, number, "an end without a beginning")
        if found:
            open_ = _marker(found[1], found[2], page, number)
            parts += [line, open_]
            continue
        if ends:
            open_ = None
        if not open_:
            parts.append(line)
    if open_:
        raise _wrong(page, open_.line, "it has no <!-- end -->")
    return parts


def _marker(kind: str, rest: str, page: Path, number: int) -> Marker:
    known: Mapping[str, Any] = STUDY_FIGURES if kind == "figure" else STUDY_TABLES
    name, *words = rest.strip().removeprefix(":").split() or [""]
    options = dict(word.split("=", 1) for word in words if "=" in word)
    files = [word for word in words if "=" not in word]
    if not rest.lstrip().startswith(":") or name not in known:
        raise _wrong(page, number, f"no {kind} {name!r}; there are: {', '.join(known)}")
    if kind == "table" and files:
        raise _wrong(page, number, f"{files[0]!r} is no key=value")
    if kind == "figure" and (len(files) != 1 or not _beside(files[0])):
        raise _wrong(page, number, "a figure needs one file beside the page: NAME.svg")
    if name == "sweep" and not {"x", "metrics"} <= set(options):
        raise _wrong(page, number, "a sweep needs x=SETTING metrics=NAME,NAME")
    if not _is_number(options.get("call_rate", "0")) and name == "methods":
        raise _wrong(page, number, f"call_rate={options['call_rate']} is no number")
    return Marker(kind, name, files[0] if files else "", options, number)


def _is_number(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


def _beside(file: str) -> bool:
    path = Path(file)
    return path.suffix == ".svg" and not path.is_absolute() and ".." not in path.parts


def _wrong(page: Path, line: int, why: str) -> MarkerError:
    return MarkerError(f"line {line} of {page}: {why}")


def _content(marker: Marker, folder: Path, place: Path) -> tuple[str, Path | None]:
    """What stands at a marker, and the file that was written for it."""
    own: dict[str, Any] = {
        key: value
        for key, value in marker.options.items()
        if key in OWN.get(f"{marker.kind} {marker.name}", ())
    }
    own |= {name: own[name].split(",") for name in ("metrics", "conditions") if name in own}
    if "call_rate" in own:
        own["call_rate"] = float(own["call_rate"])
    where = {key: value for key, value in marker.options.items() if key not in own}
    try:
        if marker.kind == "table":
            return STUDY_TABLES[marker.name](folder, where=where, **own).strip(), None
        file = place / marker.file
        said = STUDY_FIGURES[marker.name](folder, file, where=where, **own)
        return f"![{said}]({marker.file})", file
    except LacyError as error:
        if error.code != "E88":
            raise
        return f"*Not shown: {error.values['what']}.*", None


def main() -> int:
    """Writes the pages in place, and says what was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("pages", nargs="+", type=Path, help="Markdown pages with marks")
    parser.add_argument("--study", required=True, type=Path, help="folder of the study")
    parser.add_argument("--out", type=Path, help="write the page here (one page only)")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page differs")
    given = parser.parse_args()
    if given.out and len(given.pages) > 1:
        parser.error("--out goes with one page")
    try:
        for page in given.pages:
            if given.check:
                with tempfile.TemporaryDirectory() as place:
                    made = write_page(page, given.study, Path(place) / page.name)[-1]
                    if made.read_text(encoding="utf-8") != page.read_text(encoding="utf-8"):
                        print(f"{page} differs from its study", file=sys.stderr)
                        return 1
                continue
            for file in write_page(page, given.study, given.out or page):
                print(file)
    except (LacyError, MarkerError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
