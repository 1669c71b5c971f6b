"""The command line: finds the verb and runs it.

``lacy --help`` must feel instant, so this file imports nothing but the standard library's lightest
parts; each verb is a file of its own with ``main(argv)``, imported when it is called. Exit codes:
0 done, 2 a mistake in the command, 3 in the data or a checkpoint, 4 a source failed, 130 stopped
by Ctrl-C or a signal, 141 the reader of the output went away.
"""

from __future__ import annotations

import os
import sys

from lacy.cli.process import (
    STOPPED,
    Signals,
    lost_output,
    prepare_streams,
    reader_gone,
    unwritten,
)

TYPE_CHECKING = False  # typing itself costs milliseconds
if TYPE_CHECKING:
    from lacy.errors import LacyError

VERBS: dict[str, dict[str, str]] = {
    "See it work": {
        "demo": "train, ask and score two small models, offline, in two minutes",
    },
    "Make data": {
        "world": "make a world of people whose every fact is known",
        "annotate": "mark the words that carry facts, and pack them for training",
        "check": "look at marks, data or a model before spending time on them",
    },
    "Make a model": {
        "train": "train a small model that knows when to call",
        "export": "write a model in a format of another engine",
    },
    "Ask and score": {
        "source": "make texts a source that answers calls, and ask any source",
        "generate": "let a model speak, with a source that answers its calls",
        "chat": "talk to a model in the terminal, word by word",
        "why": "see for each word who said it, what led to it, what was offered",
        "serve": "let OpenAI clients ask a model and its source",
        "evaluate": "measure which facts came out right",
        "study": "compare methods, seeds and sizes as one plan that can be stopped",
    },
    "Find out": {
        "config": "write the settings of a verb as a commented file",
        "explain": "say what an error code means and what to do",
        "env": "print versions and machine, for a report",
    },
}
"""The verbs by group, with what each is for. ``lacy.cli.VERB`` holds ``main``."""

QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
"""Environment of the libraries below, where the user has not set it: no telemetry, one console."""


def main(argv: list[str] | None = None) -> int:
    """Runs ``lacy ARGV`` and returns the exit code.

    Args:
        argv: the arguments without the program's name; by default those of the process.
    """
    prepare_streams()
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
    except OSError as error:
        if not error.strerror:  # a bug, which `_guarded` has reported
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
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        from lacy import __version__

        print(f"lacy {__version__}")
        return 0
    verb = arguments[0]
    if not any(verb in group for group in VERBS.values()):
        print(_unknown(verb), file=sys.stderr)
        return 2
    return _guarded(verb, arguments[1:], debug)


def _guarded(verb: str, arguments: list[str], debug: bool) -> int:
    """Runs a verb; a user's mistake becomes a message and an exit code, a bug a traceback."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        if verb == "serve":  # its server has handlers of its own
            return _run(verb, arguments) or 0
        with Signals():
            return _run(verb, arguments) or 0
    except KeyboardInterrupt:
        if debug:
            raise
        print("\nStopped.", file=sys.stderr)
        return STOPPED
    except Exception as caught:
        if isinstance(caught, BrokenPipeError) and reader_gone():
            return unwritten(caught)  # `lacy config train | head`
        error = _for_the_user(caught)
        if error is None:
            print(
                f"This is a bug in lacy. Please report it with: lacy env\n{'-' * 60}",
                file=sys.stderr,
            )
            raise
        if debug:
            import traceback

            traceback.print_exc()
        print(str(error), file=sys.stderr)
        return int(error.exit_code)


def _run(verb: str, arguments: list[str]) -> int | None:
    import importlib

    done: int | None = importlib.import_module(f"lacy.cli.{verb}").main(arguments)
    return done


def _for_the_user(caught: Exception) -> LacyError | None:
    """The error to show without a traceback, or None for a bug."""
    from lacy.disk import refusal
    from lacy.errors import LacyError

    if isinstance(caught, LacyError):
        return caught
    if isinstance(caught, OSError) and caught.strerror:
        where = caught.filename or "the disk or network"
        return LacyError("E19", path=where, why=caught.strerror)
    return refusal(caught)


def _help() -> str:
    lines = ["Small language models that say what they know and call for the rest.", ""]
    lines += ["usage: lacy VERB ...        lacy VERB --help says more", ""]
    for group, verbs in VERBS.items():
        lines.append(f"{group}:")
        lines += [f"  {verb:<10}{purpose}" for verb, purpose in verbs.items()]
        lines.append("")
    lines += ["Everywhere: --debug shows tracebacks. First time here: lacy demo"]
    return "\n".join(lines)


def _unknown(verb: str) -> str:
    import difflib

    names = [name for group in VERBS.values() for name in group]
    close = difflib.get_close_matches(verb, names, 1, 0.5)
    hint = f" Did you mean: lacy {close[0]}" if close else " The verbs are: " + ", ".join(names)
    return f"There is no verb {verb!r}.{hint}"
