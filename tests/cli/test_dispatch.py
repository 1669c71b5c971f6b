"""The command line: commands are found, mistakes explained, bugs shown, Ctrl-C is clean."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.waiting import PATIENCE, until
from lacy import cli
from lacy.cli import PURPOSES, main
from lacy.errors import CATALOG, LacyError

BIN = Path(sys.executable).with_name("lacy")


@pytest.fixture
def set_command(monkeypatch):
    """Let a test replace what a command does."""

    def put(function):
        monkeypatch.setattr(cli, "_run", lambda name, arguments: function(arguments))

    return put


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["help"], ["help", "--debug"]])
def test_help_names_every_command(argv, capsys):
    assert main(argv) == 0
    shown = capsys.readouterr().out
    for name in PURPOSES:
        assert f"\n  {name} " in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_every_command_has_a_file():
    for name in PURPOSES:
        file = Path(cli.__file__).parent.joinpath(*name.split()).with_suffix(".py")
        assert file.is_file()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trian --steps 3", "train --steps 3"),
        ("eval", "evaluate"),
        ("annotate wiki.jsonl --out o", "data mark wiki.jsonl --out o"),
        ("anotate", "data mark"),
        ("mark", "data mark"),
        ("data marl x", "data mark x"),
        ("dta world", "data world"),
        ("check marks packed", "data check packed"),
        ("source biuld kb", "source build kb"),
        ("explain E20", "help error E20"),
        ("help confg", "help config"),
        ("help trian", "train"),
    ],
)
def test_a_mistyped_or_former_command_gets_a_suggestion(typed, meant, capsys):
    assert main(typed.split()) == 2
    assert capsys.readouterr().err.endswith(f"Did you mean: lacy {meant}\n")


@pytest.mark.parametrize("group", ["data", "source"])
def test_a_group_lists_its_commands(group, capsys):
    for argv in ([group], [group, "--help"], ["help", group]):
        assert main(argv) == 0
        shown = capsys.readouterr().out
        for name in PURPOSES:
            if name.startswith(f"{group} "):
                assert f"\n  {name.split()[1]} " in shown
    assert main([group, "xyzzy"]) == 2
    assert f"{group} {'mark' if group == 'data' else 'ask'}" in capsys.readouterr().err


def test_a_command_like_no_other_gets_the_list(capsys):
    assert main(["xyzzy"]) == 2
    shown = capsys.readouterr().err
    assert all(name in shown for name in PURPOSES)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lacy 0.")


def test_a_users_mistake_is_a_message_and_its_exit_code(set_command, capsys):
    def mistake(_):
        raise LacyError("E20", tokens=10, marks=9, where="x", do="lacy data mark")

    set_command(mistake)
    assert main(["train"]) == CATALOG["E20"].exit_code
    shown = capsys.readouterr().err
    assert shown.startswith("[E20] ")
    assert "\n  Do: " in shown
    assert "Traceback" not in shown
    assert main(["train", "--debug"]) == CATALOG["E20"].exit_code
    assert "Traceback" in capsys.readouterr().err


def test_debug_is_not_passed_on(set_command):
    seen = []
    set_command(lambda arguments: seen.extend(arguments) or 0)
    assert main(["train", "a", "--debug", "b"]) == 0
    assert seen == ["a", "b"]


def test_a_bug_is_not_hidden(set_command, capsys):
    def bug(_):
        raise ZeroDivisionError

    set_command(bug)
    with pytest.raises(ZeroDivisionError):
        main(["train"])
    assert "lacy help env" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device", "big"), PermissionError(13, "Denied", "x")]
)
def test_what_the_system_refuses_is_said_without_a_traceback(set_command, capsys, error):
    def refuse(_):
        raise error

    set_command(refuse)
    assert main(["train"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("[E19] ")
    assert error.strerror in shown


def test_ctrl_c_leaves_with_130(set_command, capsys):
    def stop(_):
        raise KeyboardInterrupt

    set_command(stop)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_ctrl_c_in_a_real_process_shows_no_traceback(tmp_path):
    command = [
        BIN,
        "data",
        "world",
        "--people",
        "50",
        "--per-person",
        "20000",
        "--out",
        tmp_path / "w",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: list(tmp_path.iterdir()), process)  # its unfinished folder: the work has begun
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert shown == "\nStopped.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_error():
    command = f"{BIN} help error | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.startswith("E10")


def test_a_bug_that_is_an_error_of_the_system_without_a_reason_is_not_hidden(set_command):
    def bug(_):
        raise OSError("no reason given")

    set_command(bug)
    with pytest.raises(OSError, match="no reason given"):
        main(["train"])


def test_a_connection_that_breaks_is_said(set_command, capsys):
    """A ``BrokenPipeError`` of a source is not the end of the output."""

    def broken(_):
        raise BrokenPipeError(32, "Broken pipe")

    set_command(broken)
    assert main(["train"]) == 2
    assert capsys.readouterr().err.startswith("[E19] ")


def test_nothing_is_sent_by_the_libraries_below(monkeypatch, set_command):
    for name in cli.QUIET:
        monkeypatch.delenv(name, raising=False)
    seen = {}
    set_command(lambda _: seen.update(os.environ) or 0)
    main(["train"])
    assert seen["HF_HUB_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    main(["train"])
    assert seen["HF_HUB_DISABLE_TELEMETRY"] == "0"


def test_python_m_lacy_is_the_same():
    done = subprocess.run([sys.executable, "-m", "lacy"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: lacy COMMAND" in done.stdout


def cpu_seconds(*command):
    """CPU time of a process, which busy neighbours change less than its wall time."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_help_is_instant():
    """The bar is 80 ms; benchmarks/startup.py measures wall time."""
    assert min(cpu_seconds(BIN, "--help") for _ in range(8)) <= 0.08


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("command", PURPOSES)
def test_the_help_of_every_command_fits(command, width, monkeypatch, capsys):
    """No line is wider than the terminal, no flag is broken, and train takes two screens."""
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help-all"])
    assert not caught.value.code
    shown, _, examples = capsys.readouterr().out.partition("\nExamples:\n")
    assert max(map(len, shown.splitlines())) <= width
    assert examples.count(f"lacy {command}") >= 1
    if command == "train" and width == 100:
        with pytest.raises(SystemExit):
            main(["train", "--help"])
        assert len(capsys.readouterr().out.splitlines()) <= 60
