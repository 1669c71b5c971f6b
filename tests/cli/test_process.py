"""Commands with closed or full streams, streams with limited encodings, and signals."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent / "lacy"

WORDS = (
    "--help",
    "--version",
    "help env",
    "help error",
    "help config train",
    "train --help",
    "source",
)
MISTAKES = ("trian", "train --nonsense 3", "data check /nowhere", "source nothing")


def shell(command, **env):
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, errors="replace",
        env={**os.environ, **env}, timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", WORDS)
def test_a_reader_that_is_gone_is_no_error(words, unbuffered):
    """``true`` reads nothing and usually exits before the first word is written."""
    done = shell(f"{BIN} {words} | true; echo ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED=unbuffered)
    assert done.stderr == ""
    assert done.stdout in ("141\n", "0\n", "1\n")  # 1: how rich leaves


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_that_nobody_reads_leaves_no_traceback(words):
    assert shell(f"{BIN} {words} 2>&1 >/dev/null | true").stderr == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [("--version", 0), ("train --x", 2)])
def test_closed_streams_are_the_null_device(words, code, closed, tmp_path):
    done = shell(f"cd {tmp_path}; {BIN} {words} {closed}")
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_nothing_is_written_into_a_file_that_took_the_number_of_a_closed_stream(tmp_path):
    """Without the null device, the first opened file would become standard output."""
    done = shell(f"{BIN} data world --people 12 --per-person 1 --out {tmp_path}/w >&- 2>&- <&-")
    assert done.returncode == 0
    for line in (tmp_path / "w" / "train.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "help error"])
def test_a_full_disk_under_the_output_is_said(words, unbuffered):
    done = shell(f"{BIN} {words} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr.startswith("[E19] ") and "No space left" in done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_what_an_output_cannot_hold_is_replaced(encoding, tmp_path):
    (tmp_path / "東京.txt").write_text("Zoë Müller was born in 1815 in 東京.", encoding="utf-8")
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    good = shell(f"{BIN} data check {tmp_path}/東京.txt", **env)
    assert (good.returncode, good.stderr) == (0, "")
    bad = shell(f"{BIN} data check {tmp_path}/没有.txt", **env)
    assert bad.returncode == 2 and bad.stderr.startswith("[E13] ")


def typed(*words, **env):
    """What a command writes on a terminal."""
    pid, screen = pty.fork()
    if pid == 0:
        os.environ.pop("NO_COLOR", None)
        os.environ.update(env)
        os.execv(BIN, [str(BIN), *words])
    shown = b""
    while True:
        try:
            part = os.read(screen, 65_536)
        except OSError:  # the end, on Linux
            break
        if not part:
            break
        shown += part
    os.waitpid(pid, 0)
    os.close(screen)
    return shown


@pytest.mark.parametrize("words", [("train", "--help"), ("train", "--nonsense"), ("--help",)])
@pytest.mark.parametrize("env", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}], ids=str)
def test_help_and_mistakes_have_no_colours_where_none_are_wanted(words, env):
    shown = typed(*words, **env)
    assert b"lacy" in shown and b"\x1b[" not in shown


def test_help_has_colours_on_a_terminal():
    assert b"\x1b[" in typed("train", "--help", TERM="xterm")


READ = "from lacy.cli.terminal import input_lines; print(ascii(list(input_lines())))"
PROMPTS = ["Mara Vell", "Zo\xeb M\xfcller", "  Emil"]
TEXT = "Mara Vell\r\n\r\nZo\xeb M\xfcller\n  Emil\r\n"


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "raw",
    [TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16")],
    ids=["utf-8", "byte order mark", "utf-16"],
)
def test_prompts_have_no_mark_and_no_line_ends(raw, locale, unbuffered):
    env = {**os.environ, "LC_ALL": locale, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([sys.executable, "-c", READ], input=raw, capture_output=True, env=env)
    assert done.stdout.decode().strip() == ascii(PROMPTS), done.stderr


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_input_that_is_no_utf_8_text_is_named(codec):
    raw = "Mara Vell\n".encode(codec)
    done = subprocess.run([sys.executable, "-c", READ], input=raw, capture_output=True)
    assert b"[E151]" in done.stderr and b"iconv -f UTF-16" in done.stderr


def test_terminating_signals_end_a_command_as_ctrl_c_does(tmp_path):
    for name in ("SIGTERM", "SIGHUP"):
        out = tmp_path / name
        command = [
            BIN,
            "data",
            "world",
            "--people",
            "50",
            "--per-person",
            "20000",
            "--out",
            out / "w",
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until(lambda out=out: out.is_dir() and list(out.iterdir()), process)
        process.send_signal(getattr(signal, name))
        _, shown = process.communicate(timeout=PATIENCE)
        assert (process.returncode, shown) == (130, "\nStopped.\n")
        assert list(out.iterdir()) == []


@pytest.mark.parametrize("columns", ["0", "1", "-5", "wide", ""])
def test_implausible_columns_are_ignored(columns):
    """Help would never end in one column, and answers would vanish in none."""
    shown = shell(f"{BIN} train --help", COLUMNS=columns)
    assert shown.returncode == 0
    assert "--call-rate" in shown.stdout
