"""One conversation of ``lacy chat``: its model and source, what was said, what it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lacy.cascade import (
    ChatRefused,
    DecodeStep,
    Engine,
    Watch,
    bill,
    question_hint,
    render_chat,
    to_dict,
)
from lacy.cli import calibration, live, why_output
from lacy.cli.hosting import at_a_server, open_model
from lacy.cli.policies import choose_policy, rankable, split_policy
from lacy.errors import LacyError
from lacy.remote import LoopThread
from lacy.sources import open_sources, price_of
from lacy.types import Answer, Span

if TYPE_CHECKING:
    from lacy.cli.chat import ChatConfig

RAW = (
    "This model has no chat template: it continues texts. Type the beginning of one; each is "
    "continued by itself, without those before."
)
TEMPLATE = (
    "This model has a chat template: type messages, it answers, and what was said before counts "
    "(/new begins anew)."
)
FAR = "The model is at a server, which does not tell enough for that; `lacy why` takes its folder."
COMMANDS = {
    "/policy": ("[POLICY]", "say or change when to call: /policy budget=0.1, never, always"),
    "/source": ("[SOURCE]", "say or change who answers calls, one or several; none for nobody"),
    "/why": ("[N|calls]", "show the last answer step by step; its call number N; all its calls"),
    "/more": ("", "continue the last answer where it was cut off"),
    "/receipt": ("", "what this conversation took"),
    "/save": ("FILE", "write it: .jsonl with who said what, anything else as text"),
    "/new": ("", "forget what was said before"),
    "/help": ("", "these lines"),
    "/quit": ("", "leave (Ctrl-D does as well)"),
}


class Talk:
    """A conversation; to be used in a ``with``.

    Args:
        config: the settings of the verb.
        console: where everything is shown.
    """

    def __init__(self, config: ChatConfig, console: Console) -> None:
        self.config, self.console = config, console
        self.palette: dict[str, str] = {}
        self.answers: list[Answer] = []
        self.seconds = 0.0
        self._took = 0.0
        self._messages: list[dict[str, str]] = []
        self._steps: list[DecodeStep] = []
        self._ids: Sequence[int] = ()
        name, travelling = split_policy(config.model)
        self._loaded, self._engine_of = open_model(name, config.tokenizer)
        self._far = at_a_server(name)
        self._wanted = config.policy or travelling
        self._templated = bool(getattr(self._loaded.tokenizer, "chat_template", None))
        self._answered = 0
        self.engine = self._engine(config.source)
        self._loop_thread = LoopThread()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop_thread.close()
        except TimeoutError:  # a source that holds up its thread; the program ends anyway
            return

    def greet(self) -> None:
        """Says who is there and how to go on."""
        self._say(TEMPLATE if self._templated else RAW)
        self._say("/help for commands, Ctrl-C stops an answer, Ctrl-D leaves.")
        self.console.print()

    def leave(self) -> None:
        """The receipt of everything, if anything was said."""
        if self.answers:
            self._receipt("")

    def hear(self, line: str) -> bool:
        """Answers a line or does what it commands; False to leave. ``//`` begins a text with /."""
        try:
            if line.startswith("/") and not line.startswith("//"):
                return self._command(line)
            self._answer(line[1:] if line.startswith("//") else line)
        except LacyError as error:
            self.console.print(Text(str(error), style="bold"))
        return True

    def _answer(self, line: str) -> None:
        """Says an answer as it is written, then what it took."""
        prompt, given = self._prompt(line)
        answer = self._write(prompt, given)
        if self._templated:
            said = {"role": "assistant", "content": answer.continuation}
            self._messages += [{"role": "user", "content": line}, said]
        elif told := question_hint(line, templated=False):
            self._say(told)
        self._end(answer)

    def _more(self, _: str) -> None:
        """Continues the last answer where it was cut off."""
        if not self.answers or self.answers[-1].finished:
            self._say("There is no answer that was cut off.")
            return
        before = self.answers[-1]
        answer = self._write(before.text, self._ids)
        if self._messages:
            self._messages[-1]["content"] += answer.continuation
        self._end(answer)

    def _write(self, prompt: str, given: Sequence[int]) -> Answer:
        """Continues a text and shows it as it is written."""
        watched = self.engine.variant()
        watch = Watch(watched)
        watched.observer = None if self._far else watch
        pen = live.Pen(self.console, self.palette)
        if not self._templated:
            pen.write(Span(prompt, "prompt"))
        begin = time.perf_counter()
        number, self._answered = self._answered, self._answered + 1
        try:
            sequence = watched.sequence(number, prompt, None, watched.max_new_tokens, given)
            answer = live.speak(watched, self._loop_thread, sequence, pen.write, stoppable=True)
        finally:
            pen.end()
        self._took = time.perf_counter() - begin
        self.seconds += self._took
        self.answers.append(answer)
        self._steps, self._ids = watch.steps.get(number, []), sequence.ids
        return answer

    def _end(self, answer: Answer) -> None:
        """Prints the receipt of an answer, and whether it was cut off."""
        if cut := live.cut_off(answer):
            self._say(f"{cut}; /more writes on.")
        found = bill([answer], seconds=self._took, price=price_of(self.engine.source))
        told = self._console()
        told.print(live.short_receipt(found, told), soft_wrap=True)
        self.console.print()

    def _prompt(self, line: str) -> tuple[str, Sequence[int]]:
        """The text to continue and its tokens, by the model's chat template if it has one."""
        if not self._templated:
            return line, ()
        messages = [*self._messages, {"role": "user", "content": line}]
        try:
            chat = render_chat(messages, self._loaded.tokenizer)
            return chat.text, chat.tokens()
        except ChatRefused as error:
            raise LacyError("E112", why=str(error)) from error

    def _command(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        does: dict[str, Callable[[str], object]] = {
            "/policy": self._policy, "/source": self._source, "/why": self._why,
            "/more": self._more, "/receipt": self._receipt, "/save": self._save, "/new": self._new,
            "/help": self._help,
        }  # fmt: skip
        if word == "/quit":
            return False
        if word not in does:
            import difflib

            close = difflib.get_close_matches(word, COMMANDS, 1, 0.5)
            question_hint = f"Did you mean {close[0]}?" if close else "/help says which there are."
            self._say(f"There is no command {word}. {question_hint} (// begins a text with /)")
            return True
        does[word](rest.strip())
        return True

    def _policy(self, text: str) -> None:
        if text:
            self.engine = self.engine.variant(text)
            self._wanted = text
        self._say(f"Policy: {self.engine.policy}")

    def _source(self, name: str) -> None:
        if name:
            self.engine = self._engine([] if name == "none" else name.split())
        source = self.engine.source
        self._say(f"Source: {source.name if source else 'none'}; policy: {self.engine.policy}")

    def _why(self, which: str) -> None:
        if not self.answers:
            self._say("Nothing was said yet.")
            return
        if self._far:
            self._say(FAR)
            return
        calls = sum(step.called for step in self._steps)
        if which not in ("", "calls") and not (which.isdecimal() and 1 <= int(which) <= calls):
            numbers = f"1 to {calls}" if calls else "there were none"
            self._say(f"/why is followed by nothing, `calls`, or a call's number ({numbers}).")
            return
        if which:
            only = None if which == "calls" else int(which)
            why_output.show_calls(self.console, self._steps, self.palette, only)
            if not calls:
                self._say("The last answer made no call.")
        else:
            steps, note = why_output.with_marks(self._steps, self.answers[-1].text)
            why_output.show(self.console, steps, self.palette, notes=[note] * bool(note))
        self.console.print()

    def _receipt(self, _: str) -> None:
        found = bill(self.answers, seconds=self.seconds, price=price_of(self.engine.source))
        count = len(self.answers)
        self._say(f"{count} answer{'s' * (count != 1)}")
        shown = live.told_receipt(found, self.palette, self.console)
        self.console.print(shown, soft_wrap=True)

    def _save(self, name: str) -> None:
        if not name:
            self._say("Name a file: /save talk.jsonl")
            return
        import json

        from lacy.run import write_atomic

        path = Path(name).expanduser()
        if path.suffix == ".jsonl":
            lines = [json.dumps(to_dict(a), ensure_ascii=False) + "\n" for a in self.answers]
        else:
            lines = [answer.text + "\n\n" for answer in self.answers]
        try:
            write_atomic(path, "".join(lines))
        except OSError as error:
            raise LacyError("E19", path=path, why=error.strerror or str(error)) from error
        self._say(f"Saved {len(self.answers)} answers in {path}")

    def _new(self, _: str) -> None:
        self._messages.clear()
        self._say("Forgotten; the receipt goes on.")

    def _help(self, _: str) -> None:
        for name, (value, what) in COMMANDS.items():
            line = Text("  ").append(f"{name} {value}".ljust(18), "bold").append(what)
            self.console.print(line)
        self.console.print(live.shown_legend(self.palette, self.console))

    def _engine(self, names: Sequence[str]) -> Engine:
        """The model with a source, as ``lacy generate`` makes it; says what it chose."""
        prices = self.config.price if list(names) == list(self.config.source) else []
        source = open_sources(names, cache=self.config.cache, prices=prices)
        policy, why = choose_policy(self._wanted, source, self._loaded.meta)
        for sentence in (why, rankable(self._loaded.meta, source)):
            if sentence:
                self._say(sentence)
        return self._engine_of(
            self._loaded,
            source,
            policy,
            unit=self.config.unit,
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            seed=self.config.seed,
            # /policy may bring one that calls, even where the first never does
            calibration=calibration.from_source(
                self._loaded, None if self._far else names, self.config.calibrate
            ),
        )

    def _say(self, sentence: str) -> None:
        """What is no answer: dim in a terminal, on the standard error if answers are piped."""
        self._console().print(Text(sentence, style="dim"))

    def _console(self) -> Console:
        return self.console if self.console.is_terminal else Console(stderr=True)
