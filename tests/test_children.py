"""A fresh process gives a result, or one line that says why it has none."""

import os

import pytest

from lacy._children import ProcessFailed, run_fresh


@pytest.fixture
def module(tmp_path, monkeypatch):
    """``module(code)`` writes a module that a fresh process finds, and returns its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(code):
        (tmp_path / "fresh_module.py").write_text(code)
        return "fresh_module"

    return write


def test_the_last_line_is_the_result(module):
    name = module("import os, sys\nprint('loading')\nprint([os.getpid(), *map(int, sys.argv[1:])])")
    process, *given = run_fresh(name, ["3", "4"], 60)
    assert process != os.getpid() and given == [3, 4]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise ValueError('no such model')", "ValueError: no such model"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("import sys\nprint(1)\nsys.exit(3)", "exit code 3"),
        ("", "exit code 0"),
        ("import sys\nprint('0.00.1.2 I loaded', file=sys.stderr)\nsys.exit('full')", "full"),
        ("import sys\nprint('0.00.1.2 I loaded', file=sys.stderr)\nsys.exit(2)", "exit code 2"),
    ],
)  # fmt: skip
def test_a_process_without_a_result_says_why(module, code, why):
    with pytest.raises(ProcessFailed) as caught:
        run_fresh(module(code), [], 60)
    assert str(caught.value) == why


def test_a_process_has_a_limit_of_time(module):
    with pytest.raises(ProcessFailed, match=r"no result after 0\.2 s"):
        run_fresh(module("import time\ntime.sleep(600)"), [], 0.2)
