"""Generate documentation from the code: README's list of packages, and docs/troubles.md.

python scripts/generate_docs.py --write     writes them
python scripts/generate_docs.py --check     names those that are out of date; exit code 1 if any
"""

import argparse
import sys
from pathlib import Path

import lacy
from lacy.cli.help.error import KINDS, readable_template, what_to_do
from lacy.errors import CATALOG

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- packages: begin -->", "<!-- packages: end -->"
FOLDERS = {
    "recipes": "settings as YAML, one file per published experiment",
    "examples": "short scripts, all run by the tests",
    "benchmarks": "the scripts behind each number, and their results",
    "docs": "first steps, how-to guides, glossary, design, papers, results, error codes",
    "tests": "the same folders as src/lacy, and shared helpers",
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
    ((90, 93), "Other inference engines"),
    ((94, 99), "Databases"),
    ((100, 105), "Documents as a source"),
    ((106, 110), "Models as sources"),
    ((111, 115), "Command line"),
    ((120, 129), "Reading files"),
    ((130, 139), "Models of other origin"),
    ((145, 149), "The server"),
    ((150, 159), "Files used by several processes"),
    ((160, 179), "Tuning"),
    ((180, 199), "Questions"),
    ((200, 209), "Serving and records"),
    ((216, 230), "Judges and FActScore"),
    ((231, 240), "Exact factuality"),
    ((241, 249), "lm-eval and efficiency"),
    ((250, 259), "Scorecards"),
    ((260, 264), "Saturation"),
    ((270, 279), "Smaller vocabularies"),
    ((280, 289), "Quantization, and walks through blocks"),
    ((290, 299), "Pruning"),
    ((300, 309), "Distillation"),
    ((310, 319), "Formats of other runtimes"),
    ((320, 329), "Compression"),
    ((330, 344), "Federated training"),
    ((345, 354), "Safety and text encoders"),
    ((355, 364), "Deltas and rare synchronisation"),
    ((365, 369), "Simulations of devices"),
    ((370, 379), "Query routing"),
    ((380, 389), "Typed decisions"),
    ((390, 399), "Knowledge for a black box"),
    ((400, 404), "Cleaning texts"),
]


def packages() -> str:
    """Return the list of packages and folders, from lacy's docstring."""
    block = (lacy.__doc__ or "").split("\n\n")[2].splitlines()
    lines = ["src/lacy/", *("  " + line.strip() for line in block)]
    lines += [f"{name + '/':<16}{what}" for name, what in FOLDERS.items() if (ROOT / name).is_dir()]
    return "```text\n" + "\n".join(lines) + "\n```"


def readme() -> str:
    """Return README.md with a current list of packages."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{packages()}\n\n{END}{after}"


def troubles() -> str:
    """Return the page of all error codes."""
    parts = [
        "# Error codes",
        "`make docs` writes this page from the error catalogue; `lacy help error E20` prints one "
        "entry. Words in capitals stand for values that the message fills in. Add `--debug` to any "
        "command to see where an error was raised. An error without a code is a bug: please report "
        "it with the output of `lacy help env`.",
    ]
    shown = [range(first, last + 1) for (first, last), _ in SECTIONS]
    if lost := [c for c in CATALOG if not any(int(c[1:]) in codes for codes in shown)]:
        raise ValueError(f"no section of the page has the errors {', '.join(lost)}")
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
    """Write or check the files; return the exit code."""
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
