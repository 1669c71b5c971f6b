"""Writes what is generated from the program: README's plan of the house and docs/troubles.md.

python scripts/house.py --write     writes them
python scripts/house.py --check     says which are out of date, and leaves with 1
"""

import argparse
import sys
from pathlib import Path

import lacy
from lacy.cli.help.error import KINDS, readable_template, what_to_do
from lacy.errors import CATALOG

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- house: begin -->", "<!-- house: end -->"
FOLDERS = {
    "recipes": "settings as YAML, one file per published setting or result",
    "examples": "short scripts, all run by the tests",
    "benchmarks": "what produces each number, results as CSV with their conditions",
    "docs": "first steps, how-to, design, papers, troubles",
    "tests": "as in src/lacy; test_house.py holds this plan",
}
SECTIONS = [
    ((10, 19), "Settings and installation"),
    ((20, 29), "Texts, tokenizers and packed data"),
    ((30, 39), "Annotation"),
    ((40, 44), "Objective"),
    ((45, 54), "Training"),
    ((55, 59), "Models and checkpoints"),
    ((60, 64), "Cascade"),
    ((65, 74), "Sources"),
    ((75, 79), "Evaluation"),
    ((80, 83), "The made-up world"),
    ((84, 89), "Studies"),
    ((90, 93), "Engines of others"),
    ((94, 99), "Databases"),
    ((100, 105), "Texts as a source"),
    ((106, 110), "Models as sources"),
    ((111, 115), "Command line"),
    ((120, 129), "Files that are read"),
    ((130, 139), "Models from elsewhere"),
    ((145, 149), "The server"),
    ((150, 159), "Files shared with other processes"),
]


def plan() -> str:
    """The plan of the house, from lacy's docstring and the folders that exist."""
    block = (lacy.__doc__ or "").split("\n\n")[2].splitlines()
    lines = ["src/lacy/", *("  " + line.strip() for line in block)]
    lines += [f"{name + '/':<16}{what}" for name, what in FOLDERS.items() if (ROOT / name).is_dir()]
    return "```text\n" + "\n".join(lines) + "\n```"


def readme() -> str:
    """README.md with its plan replaced."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{plan()}\n\n{END}{after}"


def troubles() -> str:
    """The page of all errors."""
    parts = [
        "# Troubles",
        "Written by `make docs` from the error catalogue. On the command line: "
        "`lacy help error E20`. Capitals stand for values that the message fills in. "
        "`--debug` after any command shows "
        "where an error came from; anything that is not a line `[E..]` is a bug: please report it "
        "with the output of `lacy help env`.",
    ]
    for (first, last), title in SECTIONS:
        codes = [code for code in sorted(CATALOG) if first <= int(code[1:]) <= last]
        if codes:
            parts.append(f"## {title}")
        for code in codes:
            entry = CATALOG[code]
            lines = [f"### {code}", "", f"> {readable_template(entry.what)}", ""]
            lines += [entry.more, ""] if entry.more else []
            kind = f"(Exit code {entry.exit_code}: {KINDS[entry.exit_code]}.)"
            parts.append("\n".join([*lines, f"**Do:** {what_to_do(entry)}. {kind}"]))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true")
    group.add_argument("--check", action="store_true")
    write = parser.parse_args().write
    stale = []
    for path, text in {"README.md": readme(), "docs/troubles.md": troubles()}.items():
        file = ROOT / path
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if write:
            file.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path} {'written' if write else 'is out of date; write it with: make docs'}")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main())
