"""The pages of the documentation, their code blocks and commands."""

import re
from pathlib import Path

from lacy.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page, language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands():
    """Every ``lacy`` line of every page."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                line = re.sub(r"\$\([^)]*\)", "X", re.split(r"(?:^|\s)#", line)[0].strip())
                if line.startswith("lacy "):
                    yield page.relative_to(ROOT).as_posix(), line


def lacy(*argv):
    """Exit code of a command, run in this process."""
    try:
        return main(list(argv))
    except SystemExit as leaving:
        return leaving.code or 0
