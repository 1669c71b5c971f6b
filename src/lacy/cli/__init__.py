"""The command line: find the command and run it.

``lacy --help`` should respond at once, so this file imports only light modules of the standard
library. Each command is a module with a dataclass ``FLAGS``, a text ``EXAMPLES`` and a function
``run(flags)``; it is imported only when the command runs. Exit codes: 0 success, 2 a mistake in the
command, 3 a problem in the data or a checkpoint, 4 a source failed, 130 stopped by Ctrl-C or a
signal, 141 the reader of the output is gone (as with ``head``).
"""

from __future__ import annotations

import os
import sys

from lacy._garbage import collect_garbage_less
from lacy.cli.process import (
    STOPPED,
    end_on_signals,
    lost_output,
    prepare_streams,
    reader_gone,
    unwritten,
)

TYPE_CHECKING = False  # importing typing would cost milliseconds
if TYPE_CHECKING:
    from lacy.errors import LacyError

COMMANDS: dict[str, dict[str, str]] = {
    "See it work": {
        "demo": "train and evaluate two small models offline, in two minutes",
    },
    "Make data": {
        "data world": "make a world of people whose every fact is known",
        "data clean": "leave out near-duplicates and texts of low quality",
        "data mark": "mark fact tokens in texts and pack them for training",
        "data check": "check texts, marks or a model before spending time on them",
        "data loop": "turn records of a served model into data for its next tuning",
    },
    "Make a model": {
        "tune": "teach a pretrained model to call, in minutes",
        "train": "train a small model that knows when to call",
        "distill": "train a model on the predictions of a larger one",
        "vocabulary build": "find the tokens that a task needs",
        "vocabulary show": "print what a vocabulary contains",
        "vocabulary check": "measure what a smaller vocabulary would lose",
        "compress": "make a model smaller by a plan, and measure every step",
        "blade pretrain": "continue the pretraining of a small model on a domain",
        "blade triples": "make questions with knowledge and answers, and filter them",
        "blade tune": "teach a small model to write knowledge for a black box",
        "blade optimise": "search the soft prompt with which a black box answers best",
        "safety train": "train a small classifier of harmful prompts and answers",
        "decide fit": "fit a head for typed decisions: yes or no, choice, score",
        "route fit": "make a router: which model or source should answer a text",
        "export": "write a model in the format of another engine",
        "federate simulate": "simulate whether many devices can train a model",
        "federate pretrain": "train one model with several workers that exchange little",
        "federate align": "align one model on samples that clients sanitise",
        "federate run": "train one model on texts that stay with their clients",
    },
    "Make a source": {
        "source build": "turn texts into a source that answers calls",
        "source map": "write a first mapping for the tables of a database",
        "source ask": "show what a source offers to continue a text",
    },
    "Use a model": {
        "generate": "continue texts, with a source that answers the calls",
        "chat": "talk to a model in the terminal",
        "why": "explain each step: speaker, signals, candidates",
        "decide ask": "answer a question with one of its options, with probabilities",
        "blade ask": "let a black box answer with knowledge from a small model",
        "route ask": "show which route a router chooses for a text, and why",
        "serve": "serve a model and its source through OpenAI's API",
        "route serve": "serve several models behind a router",
    },
    "Measure": {
        "evaluate": "measure which facts are right, or everything (--all)",
        "judge score": "measure how many facts of texts their pages support (FActScore)",
        "judge check": "hold a judge of facts against people's labels",
        "safety check": "measure a classifier of harmful texts on texts of other origin",
        "route bench": "measure routers on sources that they were not trained on",
        "blade check": "measure a black box alone and with knowledge",
        "compare": "compare two models by their scorecards, with tests",
        "study": "compare selection methods, seeds and sizes by one plan",
    },
    "Help": {
        "help config": "write the settings of a command as a commented file",
        "help error": "explain an error code and what to do about it",
        "help env": "print versions and machine, for a bug report",
    },
}
"""Commands by group, with their purposes. ``data mark`` is the module ``lacy.cli.data.mark``."""

PURPOSES = {name: purpose for group in COMMANDS.values() for name, purpose in group.items()}

FORMER = {
    "annotate": "data mark",
    "check": "data check",
    "config": "help config",
    "env": "help env",
    "explain": "help error",
    "world": "data world",
}
"""Former names of commands, to suggest the new ones."""

OWN = ("E48", "E52")
"""Errors of training that one of several processes may have alone: out of memory, others gone."""

QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
"""Environment variables that turn off telemetry and progress bars, unless the user has set them."""


def main(argv: list[str] | None = None) -> int:
    """Run ``lacy ARGV`` and return the exit code.

    Args:
        argv: the arguments after the program's name; by default those of the process.
    """
    prepare_streams()
    if argv is None:
        collect_garbage_less()
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
    except OSError as error:
        if not error.strerror:  # a bug that `_guarded` has reported already
            raise
        code = unwritten(error)  # help or a message could not be written
    except SystemExit:
        if lost := lost_output():
            return lost
        raise
    return lost_output() or code


def _main(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if arguments in ([], ["help"]) or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        from lacy import __version__

        print(f"lacy {__version__}")
        return 0
    help_wanted = arguments[0] == "help" and " ".join(arguments[:2]) not in PURPOSES
    if help_wanted:  # `lacy help train` is `lacy train --help`
        arguments = arguments[1:]
    for length in (1, 2):
        name = " ".join(arguments[:length])
        if name in PURPOSES:
            return _guarded(name, ["--help"] if help_wanted else arguments[length:], debug)
    if _subcommands(arguments[0]) and arguments[1:] in ([], ["-h"], ["--help"]):
        print(_group_help(arguments[0]))
        return 0
    print(_unknown(arguments), file=sys.stderr)
    return 2


def _guarded(name: str, arguments: list[str], debug: bool) -> int:
    """Run a command; turn errors that a user can fix into a message and an exit code."""
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    try:
        if name == "serve":  # the server sets its own signal handlers
            return _run(name, arguments) or 0
        with end_on_signals():
            return _run(name, arguments) or 0
    except KeyboardInterrupt:
        if debug:
            raise
        print("\nStopped.", file=sys.stderr)
        return STOPPED
    except Exception as caught:
        if isinstance(caught, BrokenPipeError) and reader_gone():
            return unwritten(caught)  # `lacy help config train | head`
        error = _for_the_user(caught)
        if error is None:
            print(
                f"This is a bug in lacy. Please report it with: lacy help env\n{'-' * 60}",
                file=sys.stderr,
            )
            raise
        if debug:
            import traceback

            traceback.print_exc()
        if not _said_by_another(name, error):
            print(str(error), file=sys.stderr)
        return int(error.exit_code)


def _said_by_another(name: str, error: LacyError) -> bool:
    """True if the first of several processes (``torchrun``) prints this error of training, too."""
    if name != "train" or error.code in OWN:
        return False
    first = "LOCAL_RANK" if error.code == "E51" else "RANK"  # machines may differ
    return os.environ.get(first, "0") != "0"


def _run(name: str, arguments: list[str]) -> int | None:
    import importlib

    module = importlib.import_module(f"lacy.cli.{name.replace(' ', '.')}")
    from lacy.cli.flags import read_flags

    code: int | None = module.run(read_flags(module, name, arguments))
    return code


def _for_the_user(caught: Exception) -> LacyError | None:
    """Return the error to show without a traceback, or None for a bug."""
    from lacy.disk import disk_error
    from lacy.errors import LacyError

    if isinstance(caught, LacyError):
        return caught
    if isinstance(caught, OSError) and caught.strerror:
        where = caught.filename or "the disk or network"
        return LacyError("E19", path=where, why=caught.strerror)
    return disk_error(caught)


def _help() -> str:
    lines = ["Small language models that state what they know and call for the rest.", ""]
    lines += ["usage: lacy COMMAND ...        lacy COMMAND --help shows its flags", ""]
    for heading, commands in COMMANDS.items():
        width = max(14, *(len(name) + 2 for name in commands))
        lines.append(f"{heading}:")
        lines += [f"  {name:<{width}}{purpose}" for name, purpose in commands.items()]
        lines.append("")
    lines += ["Any command: --debug shows tracebacks. First time here: lacy demo"]
    return "\n".join(lines)


def _subcommands(group: str) -> dict[str, str]:
    """Return the subcommands of a group with their purposes."""
    names = (name for name in PURPOSES if name.startswith(f"{group} "))
    return {name.partition(" ")[2]: PURPOSES[name] for name in names}


def _group_help(group: str) -> str:
    lines = [f"usage: lacy {group} COMMAND ...", ""]
    lines += [f"  {name:<10}{purpose}" for name, purpose in _subcommands(group).items()]
    return "\n".join(lines)


def _unknown(arguments: list[str]) -> str:
    """Return the message for an unknown command, with the most similar command or all commands."""
    import shlex

    from lacy._text import closest
    from lacy.errors import one_line

    word, *rest = arguments
    if word == "check" and rest[:1] in (["data"], ["marks"], ["model"]):
        rest = rest[1:]  # `lacy check marks DATA` is `lacy data check DATA`
    group = _subcommands(word)
    if group and rest:
        typed, rest = f"{word} {rest[0]}", rest[1:]
        names = {name: f"{word} {name}" for name in group}
        similar = closest(arguments[1], names, cutoff=0.5)
    else:
        typed = word
        # A subcommand may have been typed without its group: `lacy mark` for `lacy data mark`.
        names = {name.rpartition(" ")[2]: name for name in PURPOSES} | FORMER
        names |= {name.partition(" ")[0]: name.partition(" ")[0] for name in PURPOSES}
        similar = closest(word, names, cutoff=0.5)
    if similar:
        meant = shlex.join([*names[similar].split(), *rest])
        return f"There is no command {one_line(typed)!r}. Did you mean: lacy {one_line(meant)}"
    listed = ", ".join(names.values() if group else PURPOSES)
    return f"There is no command {one_line(typed)!r}. The commands are: {listed}"
