"""``lacy chat``: talk to a model in the terminal, with each word in the colour of its speaker."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lacy import cascade
from lacy._text import closest
from lacy.cli import step_table, streaming
from lacy.cli.options import SamplingOptions
from lacy.cli.terminal import input_lines
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.sources import price_of
from lacy.types import Answer, Span

if TYPE_CHECKING:
    from lacy.cascade import DecodeStep

WITHOUT_TEMPLATE = (
    "This model has no chat template: it continues texts. Type the beginning of a text; earlier "
    "texts have no influence."
)
WITH_TEMPLATE = (
    "This model has a chat template: type messages, it answers. Earlier messages count (/new "
    "starts over)."
)
HOSTED = "The model's server does not return enough for that; `lacy why` takes the model's folder."
COMMANDS = {
    "/policy": ("[POLICY]", "show or change when to call: /policy budget=0.1, never, always"),
    "/source": ("[SOURCE]", "show or change what answers calls, one or several; none for nothing"),
    "/why": ("[N|calls]", "explain the last answer step by step, its call number N, or all calls"),
    "/more": ("", "continue the last answer if it was cut off"),
    "/receipt": ("", "show tokens, calls and cost of the conversation"),
    "/save": ("FILE", "save it: .jsonl with provenance, anything else as text"),
    "/new": ("", "start over"),
    "/help": ("", "list the commands"),
    "/quit": ("", "quit (Ctrl-D does as well)"),
}


@dataclass
class ChatConfig(SamplingOptions):
    """Talk to a model; each word appears in the colour of its speaker.

    Commands: /policy, /source, /why, /more, /receipt, /save, /new, /help, /quit. Ctrl-C stops an
    answer, Ctrl-D quits. Lines may also come from a file or a pipe. Only /save stores anything.
    """


FLAGS = ChatConfig
EXAMPLES = """
lacy chat runs/mine --source world
echo "Emil Quilodell" | lacy chat runs/mine --source world
"""


def run(config: SamplingOptions) -> int:
    """Answer lines until the input ends."""
    console = Console(highlight=False)
    interactive = sys.stdin.isatty()
    with Conversation(config, console) as conversation:
        if interactive:
            conversation.print_greeting()
        for line in _typed_lines() if interactive else input_lines():
            if not conversation.process(line):
                break
        if interactive and conversation.answers:
            conversation.print_receipt()
    return 0


def _typed_lines() -> Iterator[str]:
    """Yield the lines that the user types, with line editing and history."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - enables arrows, history and search in input()
    prompt = "\u203a " if "utf" in (sys.stdout.encoding or "").lower() else "> "
    while True:
        try:
            line = input(prompt)
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("\n(Ctrl-D quits)")
            continue
        if line.strip():
            yield line.rstrip()


class Conversation:
    """A conversation with a model; use it as a context manager.

    Args:
        options: the flags of the command.
        console: the console to print to.
    """

    def __init__(self, options: SamplingOptions, console: Console) -> None:
        # The policy may be part of the model's name; keep it, as /source opens another engine.
        policy = options.policy or cascade.split_policy(options.model)[1]
        self.options, self.console = replace(options, policy=policy), console
        self.palette: dict[str, str] = {}
        self.answers: list[Answer] = []
        self.seconds = 0.0
        self._messages: list[dict[str, str]] = []
        self._steps: list[DecodeStep] = []
        self._ids: Sequence[int] = ()
        self.engine = self.options.open(on_note=self._print)
        self._hosted = self.engine.hosted is not None
        self._templated = bool(getattr(self.engine.tokenizer, "chat_template", None))
        self._loop_thread = LoopThread()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop_thread.close()
        except TimeoutError:  # a source blocks the thread, but the process ends anyway
            return

    def print_greeting(self) -> None:
        """Print how the model handles lines, and the most important keys."""
        self._print(WITH_TEMPLATE if self._templated else WITHOUT_TEMPLATE)
        self._print("/help lists commands, Ctrl-C stops an answer, Ctrl-D quits.")
        self.console.print()

    def process(self, line: str) -> bool:
        """Answer a line or run its command; return False to quit.

        A line that begins with ``//`` is a text that begins with ``/``.
        """
        try:
            if line.startswith("/") and not line.startswith("//"):
                return self._run_command(line)
            self._answer(line[1:] if line.startswith("//") else line)
        except LacyError as error:
            self.console.print(Text(str(error), style="bold"))
        return True

    def _answer(self, line: str) -> None:
        """Print an answer while it is generated, then its receipt."""
        prompt, given, question = self._prompt(line)
        answer, seconds = self._generate(prompt, given, question)
        if self._templated:
            reply = {"role": "assistant", "content": answer.continuation}
            self._messages += [{"role": "user", "content": line}, reply]
        elif hint := cascade.question_hint(line, templated=False):
            self._print(hint)
        self._print_end(answer, seconds)

    def _more(self, _: str) -> None:
        """Continue the last answer if it was cut off."""
        if not self.answers or self.answers[-1].finished:
            self._print("There is no answer that was cut off.")
            return
        answer, seconds = self._generate(self.answers[-1].text, self._ids)
        if self._messages:
            self._messages[-1]["content"] += answer.continuation
        self._print_end(answer, seconds)

    def _generate(
        self, prompt: str, prompt_ids: Sequence[int], question: cascade.Question | None = None
    ) -> tuple[Answer, float]:
        """Continue a text and print it while it is written; return the answer and the seconds."""
        engine = self.engine.variant()
        watch = cascade.Watch(engine)
        engine.observer = None if self._hosted else watch
        writer = streaming.SpanWriter(self.console, self.palette)
        if not self._templated:
            writer.write(Span(prompt, "prompt"))
        begin, number = time.perf_counter(), len(self.answers)
        try:
            sequence = engine.sequence(
                number, prompt, None, engine.max_new_tokens, prompt_ids, question
            )
            answer = streaming.generate_live(
                engine, self._loop_thread, sequence, writer.write, stoppable=True
            )
        finally:
            writer.end()
        seconds = time.perf_counter() - begin
        self.seconds += seconds
        self.answers.append(answer)
        self._steps, self._ids = watch.steps.get(number, []), sequence.ids
        return answer, seconds

    def _print_end(self, answer: Answer, seconds: float) -> None:
        """Print the receipt of an answer, and a note if it was cut off."""
        if cut := streaming.cut_off(answer):
            self._print(f"{cut}; /more continues.")
        bill = cascade.bill([answer], seconds=seconds, price=price_of(self.engine.source))
        console = self._remarks()
        console.print(streaming.short_receipt(bill, console), soft_wrap=True)
        self.console.print()

    def _prompt(self, line: str) -> tuple[str, Sequence[int], cascade.Question | None]:
        """Return the text to continue, its tokens and the question that it answers.

        They come from the chat template; without one, the line itself is continued.
        """
        if not self._templated:
            return line, (), None
        messages = [*self._messages, {"role": "user", "content": line}]
        try:
            chat = cascade.render_chat(messages, self.engine.tokenizer)
            return chat.text, chat.tokens(), cascade.question_in(messages)
        except cascade.ChatRefused as error:
            raise LacyError("E112", why=str(error)) from error

    def _run_command(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        if word == "/quit":
            return False
        if word not in COMMANDS:
            near = closest(word, COMMANDS, cutoff=0.5)
            hint = f"Did you mean {near}?" if near else "/help lists the commands."
            self._print(f"There is no command {word}. {hint} (// begins a text with /)")
            return True
        methods: dict[str, Callable[[str], object]] = {
            "/policy": self._policy, "/source": self._source, "/why": self._why,
            "/more": self._more, "/receipt": self.print_receipt, "/save": self._save,
            "/new": self._new, "/help": self._help,
        }  # fmt: skip
        methods[word](rest.strip())
        return True

    def _policy(self, text: str) -> None:
        if text:
            self.engine = self.engine.variant(text)
            self.options = replace(self.options, policy=text)
        self._print(f"Policy: {self.engine.policy}")

    def _source(self, name: str) -> None:
        if name:
            # The prices of the command line apply only to its own sources.
            names = [] if name == "none" else name.split()
            price = self.options.price if names == self.options.source else []
            options = replace(self.options, source=names, price=price)
            self.engine = options.open(self.engine.loaded, on_note=self._print)
        source = self.engine.source
        self._print(f"Source: {source.name if source else 'none'}; policy: {self.engine.policy}")

    def _why(self, which: str) -> None:
        if not self.answers:
            self._print("There is no answer yet.")
            return
        if self._hosted:
            self._print(HOSTED)
            return
        calls = sum(step.called for step in self._steps)
        if which not in ("", "calls") and not (which.isdecimal() and 1 <= int(which) <= calls):
            numbers = f"1 to {calls}" if calls else "there were none"
            self._print(f"/why takes nothing, `calls`, or the number of a call ({numbers}).")
            return
        if which:
            only = None if which == "calls" else int(which)
            step_table.show_calls(self.console, self._steps, self.palette, only)
            if not calls:
                self._print("The last answer made no call.")
        else:
            steps, note = step_table.with_marks(self._steps, self.answers[-1].text)
            step_table.show(self.console, steps, self.palette, notes=[note] * bool(note))
        self.console.print()

    def print_receipt(self, _: str = "") -> None:
        """Print the receipt of the whole conversation."""
        price = price_of(self.engine.source)
        bill = cascade.bill(self.answers, seconds=self.seconds, price=price)
        count = len(self.answers)
        self._print(f"{count} answer{'s' * (count != 1)}")
        receipt = streaming.long_receipt(bill, self.palette, self.console)
        self.console.print(receipt, soft_wrap=True)

    def _save(self, name: str) -> None:
        if not name:
            self._print("Name a file: /save talk.jsonl")
            return
        from lacy.run import write_atomic

        path = Path(name).expanduser()
        try:
            if path.suffix == ".jsonl":
                cascade.write_answers(path, self.answers)
            else:
                write_atomic(path, "".join(f"{answer.text}\n\n" for answer in self.answers))
        except OSError as error:
            raise LacyError("E19", path=path, why=error.strerror or str(error)) from error
        self._print(f"Saved {len(self.answers)} answers in {path}")

    def _new(self, _: str) -> None:
        self._messages.clear()
        self._print("Starting over; the receipt continues.")

    def _help(self, _: str) -> None:
        for name, (value, what) in COMMANDS.items():
            line = Text("  ").append(f"{name} {value}".ljust(18), "bold").append(what)
            self.console.print(line)
        self.console.print(cascade.legend(self.palette, not self.console.no_color))

    def _print(self, sentence: str) -> None:
        """Print a note: dim in a terminal, on standard error if answers are piped."""
        self._remarks().print(Text(sentence, style="dim"))

    def _remarks(self) -> Console:
        return self.console if self.console.is_terminal else Console(stderr=True)
