"""The error catalogue: every code is used, every template gets its values, every message helps."""

import ast
import pickle
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from lacy.errors import CATALOG, DATA, SOURCE, USAGE, LacyError

SOURCES = sorted((Path(__file__).parent.parent / "src" / "lacy").rglob("*.py"))


def raised():
    """Every ``LacyError("Exx", ...)`` in the source: file, line, code, keywords or None."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name != "LacyError" or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            keywords = {keyword.arg for keyword in node.keywords}
            yield path.name, node.lineno, node.args[0].value, keywords


def fields(entry):
    formatter = string.Formatter()
    return {
        name for part in (entry.what, entry.do) for _, name, _, _ in formatter.parse(part) if name
    }


RAISED = list(raised())


def test_every_error_is_in_the_catalogue_and_gets_the_values_of_its_template():
    wrong = []
    for file, line, code, keywords in RAISED:
        if code not in CATALOG:
            wrong.append(f"{file}:{line} {code} is not in the catalogue")
        elif None not in keywords and (missing := fields(CATALOG[code]) - keywords):
            wrong.append(f"{file}:{line} {code} lacks {sorted(missing)}")
    assert not wrong, "\n".join(wrong)
    assert len(RAISED) > 20


def test_every_code_is_used():
    texts = (p.read_text(encoding="utf-8") for p in SOURCES if p.parent.name != "errors")
    text = "".join(texts)
    used = set(re.findall(r'"(E\d{2,3})"', text))
    assert set(CATALOG) == used


class Anything:
    """A value that any format specification takes."""

    def __format__(self, specification):
        return "VALUE"


@pytest.mark.parametrize("code", sorted(CATALOG))
def test_every_entry_says_what_to_do(code):
    entry = CATALOG[code]
    assert re.fullmatch(r"E\d{2,3}", code)
    assert entry.exit_code in (USAGE, DATA, SOURCE)
    assert entry.what.strip()
    assert entry.do.strip()
    assert not entry.do.endswith(".")
    values = dict.fromkeys(fields(entry), Anything())
    text = str(LacyError(code, **values))
    assert text.startswith(f"[{code}] ")
    assert "\n  Do: " in text


def test_errors_can_be_pickled():
    error = pickle.loads(pickle.dumps(LacyError("E13", path="a", do="b")))
    assert (error.code, error.values, error.exit_code) == ("E13", {"path": "a", "do": "b"}, USAGE)
    assert str(error) == "[E13] file or folder not found: a\n  Do: b"


def test_values_with_braces_are_shown_as_they_are():
    assert "{x}" in str(LacyError("E13", path="{x}", do="look at {y}"))


def test_the_catalogue_needs_nothing_heavy():
    code = "import sys, lacy.errors; print('torch' in sys.modules, 'yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_messages_contain_no_control_characters():
    path = Path("a\x1b[2J\nDone: b\u202e.txt")
    for value in (path, str(path), OSError(str(path)), "half \udc80"):
        message = str(LacyError("E13", path=value, do=value))
        assert len(message.splitlines()) == 2
        assert not any(c in message for c in "\x1b\u202e\udc80")
    listed = "\n  - one \x07\n  - two"
    message = str(LacyError("E14", count=2, where=path, problems=listed, command="train"))
    assert "\n  - one  \n  - two" in message and "\x07" not in message


def test_tables_and_lines_of_the_command_line_are_clean(capsys):
    from lacy.cli.terminal import facts, say

    facts("Texts of a\x1b[2J\n.txt", {"name\x07": "b\x1b]0;x\x07"})
    say("  Next: lacy train a\x1b[31m\nb")
    shown = capsys.readouterr().out
    assert not any(c in shown for c in "\x1b\x07") and "  Next: lacy train a [31m b\n" in shown
