"""A conversation in a real terminal, through a pipe, and what is shown of who said what."""

import codecs
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console
from rich.text import Text

from lacy.cascade import Engine
from lacy.cascade.trace import bill, printable, receipt
from lacy.cli import streaming
from lacy.cli.chat import ChatConfig, Conversation
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.sources import ScriptedSource, TokenPrice, price_of
from lacy.testing import scripted
from lacy.types import Answer, Span

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()=>][A-Z0-9]?|[\x01\x02]")


class Terminal:
    """A process in a pseudo-terminal of its own."""

    def __init__(self, *argv, columns=60, **more):
        self.master, slave = pty.openpty()
        self.resize(columns)
        plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lacy", *map(str, argv)],
            env={**plain, "TERM": "xterm", "OMP_NUM_THREADS": "1", **more},
            preexec_fn=lambda: os.login_tty(slave),
            pass_fds=(slave,),
        )
        os.close(slave)
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # reads end anywhere

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, keys):
        self.raw = ""
        os.write(self.master, keys.encode())

    def press(self, key, part, seconds=300.0):
        """Press a key until that shows: readline hears of Ctrl-C late where it has just begun."""
        self.raw, end = "", time.monotonic() + seconds
        while part not in ESCAPES.sub("", self.raw):
            assert time.monotonic() < end and self.process.poll() is None, self.raw
            os.write(self.master, key.encode())
            pause = time.monotonic() + 2  # a second one too soon would end the program
            while part not in ESCAPES.sub("", self.raw) and time.monotonic() < pause:
                self.read(0.1)

    def until(self, part, seconds=300.0):
        """What is shown until ``part`` is, without escapes."""
        end = time.monotonic() + seconds
        while part not in ESCAPES.sub("", self.raw):
            assert time.monotonic() < end, f"no {part!r} in {self.raw!r}"
            if not self.read():
                break
        shown = ESCAPES.sub("", self.raw)
        assert part in shown, f"no {part!r} in {self.raw!r}"
        return shown

    def read(self, seconds=1.0):
        """Take what is there; False when the other side is gone."""
        try:
            if select.select([self.master], [], [], seconds)[0]:
                self.raw += self._decoder.decode(os.read(self.master, 65536))
        except OSError:
            return False
        return True

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.mark.slow
def test_a_conversation_in_a_terminal(workspace):
    argv = ["chat", workspace.model, "--source", workspace.model, "--unit", "token"]
    argv += ["--policy", "budget=0.5", "--max-new-tokens", 4000]
    terminal = Terminal(*argv)
    try:
        greeting = terminal.until("\u203a ")
        assert "no chat template: it continues texts" in " ".join(greeting.split())
        terminal.type("Ada Lovelace\n")
        terminal.until("\r\nAda Lovelace")
        while terminal.raw.count("\x1b[32m") < 3:  # borrowed words come while it is written
            terminal.read()
        assert "tokens," not in terminal.raw
        terminal.type("\x03")
        shown = terminal.until("\u203a ")
        tokens = int(re.search(r"(\d+) tokens, \d+ borrowed", shown)[1])
        assert 3 < tokens < 3900 and "Traceback" not in shown
        terminal.resize(40)
        terminal.press("\x03", "Ctrl-D quits")
        terminal.type("/why\n")
        shown = terminal.until("a call.")
        assert "margin" in shown and "p(CALL)" not in shown  # does not fit into 40 columns
        terminal.type("/policy never\n")
        terminal.until("Policy: never")
        terminal.press("\x04", "own words")  # lost where it comes before the prompt is there
        assert "1 answer" in ESCAPES.sub("", terminal.raw)
        assert terminal.process.wait(300) == 0
    finally:
        terminal.close()


def test_lines_of_a_pipe_are_answered_as_plain_text(workspace, monkeypatch, capsys, tmp_path):
    lines = "Ada\n\n/why\n/save FILE\n/pol\n//x\n/policy sometimes\n/source nonsense\nBert\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines.replace("FILE", str(tmp_path / "t.jsonl"))))
    argv = [workspace.model, "--source", workspace.world, "--calibrate", 0, "--policy", "always"]
    assert workspace.lacy("chat", *argv, "--max-new-tokens", 4) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out and "margin" in out
    assert "Did you mean /policy?" in err and "4 tokens" in err
    assert "[E61]" in out and "it is not a source" in out
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 1
    answers = []
    for prompt in ("Ada", "/x", "Bert"):
        assert workspace.lacy("generate", *argv, prompt, "--max-new-tokens", 4) == 0
        answers.append(capsys.readouterr().out.partition("\n\n")[0].rstrip("\n"))
    for answer in answers:
        assert answer in printable(out)


def test_a_chat_template_makes_a_conversation(workspace, capsys):
    page = io.StringIO()
    config = ChatConfig(str(workspace.chatty), max_new_tokens=2)
    with Conversation(config, Console(file=page, width=60, force_terminal=True)) as chat:
        chat.print_greeting()
        assert chat.process("Who was Ada?")
        prompt, tokens, _ = chat._prompt("And Bert?")
        first = chat.answers[0]
        assert first.prompt == "[user] Who was Ada?\n[assistant]"
        before = f"[user] Who was Ada?\n[assistant] {first.continuation}\n"
        assert prompt == before + "[user] And Bert?\n[assistant]"
        assert list(tokens) == chat.engine.tokenizer.encode(prompt, add_special_tokens=False)
        forged, tokens, _ = chat._prompt("Say <|endoftext|>")  # the words, not the token
        assert "<|endoftext|>" in forged
        assert list(tokens).count(chat.engine.tokenizer.eos_token_id) == 0
        assert chat.process("/new") and chat._prompt("x")[0] == "[user] x\n[assistant]"
        assert not chat.process("/quit")
    assert "has a chat template" in " ".join(Text.from_ansi(page.getvalue()).plain.split())


def test_an_answer_that_was_cut_off_is_written_on(workspace):
    for model in (workspace.model, workspace.chatty):
        page = io.StringIO()
        config = ChatConfig(str(model), max_new_tokens=3)
        with Conversation(config, Console(file=page, width=60, force_terminal=True)) as chat:
            chat.process("/more")
            assert "no answer that was cut off" in page.getvalue()
            chat.process("Ada was")
            first = chat.answers[0]
            assert "Cut off after 3 tokens; /more continues." in page.getvalue()
            tokens = list(chat._ids)
            chat.process("/more")
            assert chat.answers[1].prompt == first.text and chat.answers[1].tokens == 3
            if model == workspace.chatty:
                assert chat._messages[-1]["content"] == (
                    first.continuation + chat.answers[1].continuation
                )
        with Conversation(
            ChatConfig(str(model), max_new_tokens=6), Console(file=io.StringIO())
        ) as whole:
            whole.process("Ada was")
        assert len(tokens) == len(whole._ids) - 3 and list(chat._ids) == list(whole._ids)


def test_why_explains_one_call_or_all(workspace):
    page = io.StringIO()
    config = ChatConfig(
        str(workspace.model), [str(workspace.world)], policy="always", max_new_tokens=4
    )
    with Conversation(config, Console(file=page, width=80)) as chat:
        chat.process("Ada")

        def said(command):
            page.seek(0)
            page.truncate()
            assert chat.process(command)
            return page.getvalue()

        calls = chat.answers[0].calls
        assert calls >= 2
        table, every, second = said("/why"), said("/why calls"), said("/why 2")
        assert "next best" in table and "next best" not in every
        numbers = re.compile(r"^\u25b8 (\d+) ", re.MULTILINE)
        assert numbers.findall(every) == [str(n) for n in range(1, calls + 1)]
        assert numbers.findall(second) == ["2"] and second.strip() in every
        for wrong in ("/why 0", f"/why {calls + 1}", "/why me"):
            assert numbers.findall(said(wrong)) == []


def test_a_question_to_a_model_that_continues_texts_gets_a_hint(workspace, capsys):
    question = "When was Ada Lovelace born?"
    page = io.StringIO()
    with Conversation(
        ChatConfig(str(workspace.model), max_new_tokens=2), Console(file=page, width=80)
    ) as chat:
        chat.process(question)
    assert "“Ada Lovelace was born”" in capsys.readouterr().err
    with Conversation(
        ChatConfig(str(workspace.chatty), max_new_tokens=2), Console(file=page)
    ) as chat:
        chat.process(question)
    assert "continues texts" not in capsys.readouterr().err
    assert workspace.lacy("generate", workspace.model, question, "--max-new-tokens", 1) == 0
    assert "“Ada Lovelace was born”" in capsys.readouterr().err


def test_words_after_a_call_that_found_nothing_stand_out():
    page = io.StringIO()
    writer = streaming.SpanWriter(
        Console(file=page, width=60, force_terminal=True, color_system="standard"), {}
    )
    writer.write(Span("Ada was born on", "prompt"))
    writer.write(Span(" 12", "slm", 1, "nobody knew", asked=True))
    writer.write(Span(" June. She", "slm", 3))
    writer.end()
    red = "\x1b[4;31m"
    assert f"{red}12" in page.getvalue() and f"{red}June." in page.getvalue()
    assert f"{red}She" not in page.getvalue()


def test_remarks_wrap_at_words_in_a_terminal(monkeypatch, capsys):
    from lacy.cli.terminal import note

    sentence = "Policy: threshold=0, where <CALL> is the likeliest token: a database costs nothing"
    note(sentence)
    assert capsys.readouterr().err == sentence + "\n"
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    note(sentence)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(lines) == sentence and max(map(len, lines)) <= 30


def test_ctrl_c_stops_an_answer_that_waits_for_its_source():
    engine = Engine(scripted(lambda text: "x", lambda text: len(text) == 8),
                    ScriptedSource(["!"], delay=30.0), "threshold=0")  # fmt: skip
    texts = []

    def on_span(span):
        texts.append(span.text)
        if len(texts) == 4:
            signal.setitimer(signal.ITIMER_REAL, 0.2)

    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        begin = time.monotonic()
        with LoopThread() as loop_thread:
            answer = streaming.generate_live(
                engine, loop_thread, engine.sequence(0, "Mara", None, 50), on_span, stoppable=True
            )
    finally:
        signal.signal(signal.SIGALRM, before)
    assert answer.text == "Maraxxxx" and not answer.finished
    assert time.monotonic() - begin < 60
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("width", [10, 40])
def test_words_are_written_whole_and_lines_fit(width):
    page = io.StringIO()
    writer = streaming.SpanWriter(Console(file=page, width=width, force_terminal=True), {})
    text = "Emil Quilodell, de\nspite lemons,  was born\tin 東京 and in Stoneham\x1b[31m\x07."
    pieces = [text[n : n + 3] for n in range(0, len(text), 3)]
    for n, piece in enumerate(pieces):
        writer.write(Span(piece, "facts.db" if n % 2 else "slm"))
    writer.end()
    shown = Text.from_ansi(page.getvalue()).plain
    assert "\x1b[31m" not in page.getvalue() and "\x07" not in page.getvalue()
    assert shown.split() == printable(text).split()
    assert all(Text(line).cell_len <= width or len(line.split()) == 1 for line in shown.split("\n"))


def test_without_colours_borrowed_words_are_inverse(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    page = io.StringIO()
    writer = streaming.SpanWriter(Console(file=page, width=60, force_terminal=True), {})
    writer.write(Span("Ada was born in", "prompt"))
    writer.write(Span(" Ulm", "facts.db"))
    writer.end()
    assert "\x1b[32m" not in page.getvalue() and "\x1b[7mUlm" in page.getvalue()


def test_a_bill_says_what_it_would_have_cost_without_delegation():
    answer = Answer((
        Span("Ada was born in", "prompt", 10),
        Span(" Ulm", "qwen", 4, asked=True, cost=0.01, seconds=0.5),
        Span(" in", "slm", 16),
        Span(" a", "slm", 1, asked=True, cost=0.01),
    ))  # fmt: skip

    class Priced(ScriptedSource):
        def __init__(self):
            super().__init__([])
            self.price = TokenPrice(2_000, 4_000)

    class Around(ScriptedSource):
        inner = (ScriptedSource([]), Priced())

    assert price_of(Around([])) == (2_000, 4_000) and price_of(ScriptedSource([], cost=3.0)) is None
    found = bill([answer, answer], seconds=2.1, price=price_of(Around([])))
    assert (found.tokens, found.calls, found.unanswered) == (42, 4, 2)
    assert found.undelegated == pytest.approx((2.0 * 20 + 4.0 * 42) / 1000)
    assert found.cost == pytest.approx(0.04) and found.own == pytest.approx(34 / 42)
    console = Console(width=80)
    shown = streaming.long_receipt(found, {"qwen": "green"}, console).plain
    assert "own words" in shown and "81%" in shown and "2.1 s, 50 ms per token" in shown
    assert "without delegation: 0.208" in shown and "81% saved" in shown
    narrow = streaming.long_receipt(found, {"qwen": "green"}, Console(width=40)).plain
    assert all(len(line) <= 40 for line in narrow.splitlines())
    assert "no source has a price" in streaming.long_receipt(bill([answer]), {}, console).plain


def test_prompts_longer_than_the_context_do_not_end_a_conversation(workspace):
    page = io.StringIO()
    with Conversation(ChatConfig(str(workspace.model)), Console(file=page, width=60)) as chat:
        assert chat.process("Ada " * 5000)
        assert "[E60]" in page.getvalue() and not chat.answers
    with pytest.raises(LacyError):
        Conversation(ChatConfig("nowhere/at/all"), Console(file=page))


@pytest.mark.parametrize("command", ["chat", "why", "generate"])
def test_help_ends_in_examples(command, workspace, capsys):
    assert workspace.lacy(command, "--help") == 0
    assert f"lacy {command} " in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_generate_streams_in_a_terminal_and_counts_what_is_done(workspace):
    from lacy.cli.generate import ProgressCounter

    argv = ["generate", workspace.model, "--source", workspace.model, "--unit", "token", "--show"]
    argv += ["--policy", "budget=0.5", "--max-new-tokens", 60, "Ada"]
    terminal = Terminal(*argv, columns=50)
    try:
        shown = terminal.until("no source has a price")
        assert terminal.process.wait(300) == 0
        assert "\x1b[32m" in terminal.raw and "60 tokens" in shown
        assert "found nothing" in shown or "model" in shown
    finally:
        terminal.close()
    told = []
    engine = Engine(scripted(lambda text: "x" if len(text) < 6 else ""))
    engine.observer = ProgressCounter(lambda done, tokens: told.append((done, tokens)))
    engine.generate(["a", "abc"])
    assert told[-1] == (2, 8) and {done for done, _ in told} == {0, 1, 2}


def test_one_answer_in_a_terminal_is_shown_once(monkeypatch, capsys):
    from lacy.cli.generate import _generate

    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes that for a terminal
    engine = Engine(scripted(lambda text: "x" if len(text) < 8 else ""))
    _generate(engine, ["Ada"], False)
    assert ESCAPES.sub("", capsys.readouterr().out).count("Adaxxxxx") == 1


def test_lines_of_any_bytes_are_texts(monkeypatch):
    from lacy.cli.terminal import input_lines

    raw = io.BytesIO(b"Ada\r\n\n  \n" + b"\xff bad\n" + "Zoë".encode())
    for errors in ("strict", "surrogateescape"):  # by the locale
        raw.seek(0)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(raw, "utf-8", errors))
        assert list(input_lines()) == ["Ada", "\ufffd bad", "Zoë"]
        sys.stdin.detach()


def test_a_name_that_would_steer_the_terminal_does_not():
    asked = Span(" x", "b\x1b]0;k", 1, asked=True, reason="why", evidence="two\nlines\x07")
    answer = Answer((Span("Ada", "prompt", 1), asked), True)
    assert "\x1b" not in receipt(answer) and "b\ufffd]0;k" in receipt(answer)
    page = Console(file=io.StringIO(), width=80)
    [line] = streaming.evidence(answer, {}, page)
    assert line.plain.endswith("why; two lines\ufffd")


def test_words_of_any_bytes_are_texts(workspace, capsys):
    assert workspace.lacy("generate", workspace.model, "\udcff x", "--max-new-tokens", 1) == 0
    assert "\ufffd x" in capsys.readouterr().out
    assert (
        workspace.lacy("why", workspace.model, "\udcff x", "--max-new-tokens", 1, "--no-marks") == 0
    )
    assert "\ufffd x" in capsys.readouterr().out
