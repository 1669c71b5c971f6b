"""README and docs: their Python runs, their commands parse, their links lead somewhere."""

import re
import shlex
import subprocess
import sys

import pytest

from helpers.pages import IDS, PAGES, ROOT, blocks, commands, lacy

COMMANDS = sorted({line for _, line in commands()})


@pytest.mark.parametrize("page", PAGES[:2], ids=IDS[:2])
def test_python_blocks_run(page, tmp_path):
    """Of README.md and CONTRIBUTING.md; ``test_docs.py`` runs those of docs/."""
    for block in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:lacy", "-c", block],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command, capsys):
    """Every flag of a shown command exists: with a wrong one added, only that one is named."""
    words = shlex.split(command)[1:]
    for sign in (">", "<", "|"):
        words = words[: words.index(sign)] if sign in words else words
    if words[0] in ("demo", "help") or "--help" in words:
        assert lacy(*words[: 1 + (words[0] == "help")], "--help") == 0
        return
    before = ["", *words]  # a mapping after these is no file of settings
    kept = ("--source", "--out", "--tasks", "--plan", "--copy-to")
    words = [w for b, w in zip(before, words, strict=False) if b in kept or w[-5:] != ".yaml"]
    assert lacy(*words, "--no-such-flag") == 2
    assert "there is no flag --no-such-flag" in capsys.readouterr().err


def test_the_steps_by_hand_work_as_far_as_they_are_cheap(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text()
    for command in (
        "lacy data world --people 400 --out world",
        "lacy data mark world --annotator gold --out packed",
    ):
        assert command in text
        words = ["40" if word == "400" else word for word in shlex.split(command)[1:]]
        if "mark" in words:
            words += ["--vocab-size", "400", "--context", "64"]
        assert lacy(*words) == 0
    assert lacy("data", "check", "packed") == 0


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_first_screen_says_what_it_is_and_what_to_type():
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:44])
    for part in ("make demo", "make demo-real", "make test", "call for", "What you will see"):
        assert part in first
