"""``lacy source``: texts become a source; any source is asked. And a source from one word."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import LacyError
from .verb import choose, facts, settings

if TYPE_CHECKING:
    from ..cascade.policy import Policy
    from ..sources import Source
    from ..types import Reply

DATABASES = (".sqlite", ".sqlite3", ".db")

WHAT = {
    "build": "make texts a source that needs no large model",
    "ask": "see what a source offers for the beginning of a text",
}

SHOWN = 5
"""Skipped documents that are listed."""


@dataclass
class BuildSource:
    """Indexes texts, so that the values in them can answer calls.

    Values are the texts' own marks, else what spaCy's rules find. Building again into the same
    folder adds new texts and replaces changed ones, by their ids.
    """

    texts: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXTS")]
    """Text, JSON lines or Parquet (a file or folder), hf:owner/name, a folder of `lacy world`."""
    out: Path
    """The folder of the index."""
    pipeline: str = "bundled"
    """spaCy pipeline for texts without marks: bundled, auto, a package or a folder."""
    text_field: str = "text"
    """Where the text stands in JSON lines and Parquet."""
    id_field: str = "id"
    """Where the id stands."""
    split: str = "train"
    """Which split of a Hub data set."""
    limit: int | None = None
    """Read so many documents only."""


@dataclass
class AskSource:
    """Shows what a source offers to continue a text, with its evidence."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of `lacy source build` or `lacy world`, a .sqlite file, a model's folder or name."""
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The beginning of a text, up to where a value is due."""
    subject: str | None = None
    """Whom or what it is about; by default whom it names first."""


BUILD_EXAMPLE = """
lacy source build texts/ --out kb
lacy source ask kb "Ada Lovelace was born in"
"""
ASK_EXAMPLE = 'lacy source ask kb "Ada Lovelace was born in"'


def main(argv: Sequence[str]) -> int:
    """Does what the second word names."""
    what, rest = choose("source", WHAT, argv)
    return {"build": _build, "ask": _ask}[what](rest)


def _build(argv: Sequence[str]) -> int:
    config = settings(BuildSource, argv, "source build", BUILD_EXAMPLE)
    from ..corpus.read import ReadReport, read
    from ..sources.documents import Documents
    from ..sources.index import BuildReport, finder

    texts = Path(config.texts)
    if (texts / "world.json").is_file():
        texts = texts / "train.jsonl"
    source = config.texts if config.texts.startswith("hf:") else texts
    seen, done = ReadReport(), BuildReport()
    documents = read(
        source,
        text_field=config.text_field,
        id_field=config.id_field,
        split=config.split,
        limit=config.limit,
        report=seen,
    )
    extract = None if config.pipeline == "bundled" else finder(config.pipeline)
    with Documents.build(documents, config.out, extract=extract, report=done) as built:
        counts = {
            "documents": len(built),
            "added": done.added,
            "replaced": done.replaced,
            "as they were": done.unchanged,
            "skipped": sum(seen.skipped.values()) + len(done.skipped),
            "kinds of value": ", ".join(sorted(built.alternatives)) or "none",
        }
    facts(f"Index of texts in {config.out}", counts)
    places = [f"{r}: {place}" for r, found in seen.places.items() for place in found]
    for line in [*places, *(f"{why}: {name}" for name, why in done.skipped)][:SHOWN]:
        print(f"skipped: {line}", file=sys.stderr)
    print(f'Next: lacy source ask {config.out} "..."')
    print(f"      lacy generate MODEL --source {config.out}")
    return 0


def _ask(argv: Sequence[str]) -> int:
    config = settings(AskSource, argv, "source ask", ASK_EXAMPLE)
    from ..sources import guarded
    from ..types import Request

    source = open_source(config.source)
    assert source is not None  # only None is nobody
    request = Request(config.text, subject=config.subject)
    [reply] = asyncio.run(guarded(source, [request], timeout=None))
    _print(reply)
    return 0


def _print(reply: Reply) -> None:
    """Candidates, each with its kind and its evidence below."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not reply.candidates:
        console.print(Text(f"No answer. {reply.error or ''}".strip()), soft_wrap=True)
    for candidate in reply.candidates:
        line = Text(candidate.text.strip(), style="bold")
        console.print(line.append(f"  {candidate.kind}", style="not bold"), soft_wrap=True)
        if candidate.evidence:
            console.print(Text(f"  {candidate.evidence}", style="dim"), soft_wrap=True)


def open_source(name: str | None) -> Source | None:
    """Opens whoever answers calls.

    Args:
        name: a ``.sqlite`` or ``.db`` file; a folder that ``lacy world`` wrote (its truth) or
            ``lacy source build`` (its texts); the folder or Hub name (``owner/name``) of a causal
            language model, or ``http://host:port/v1#name`` of one behind a server; None for nobody.

    Raises:
        LacyError: E12 for something that is none of these, and what the source itself raises.
    """
    if name is None:
        return None
    if name.lower().startswith(("http://", "https://")):
        return _behind_a_server(name)
    path = Path(name)
    if (path / "documents.sqlite").is_file():
        from ..sources.documents import Documents

        return Documents(path)
    if (path / "truth.sqlite").is_file():
        path = path / "truth.sqlite"
    if path.suffix in DATABASES:
        from ..sources import Database

        return Database(path)
    if (path / "config.json").is_file() or (not path.exists() and name.count("/") == 1):
        from ..sources import LanguageModel

        return LanguageModel(str(path))
    what = "is no folder of a model, a world or an index" if path.is_dir() else "is no source"
    do = (
        "give a .sqlite file, a folder of `lacy world` or `lacy source build`, a model's folder or "
        "Hub name, or http://HOST:PORT/v1#MODEL"
    )
    raise LacyError("E12", key="source", value=name, why=what, do=do)


def _behind_a_server(address: str) -> Source:
    """A model behind a server, left alone for a while when it fails again and again."""
    from ..sources.endpoint import Endpoint
    from ..sources.resilience import Breaker
    from ..sources.web import checked_url

    url, _, model = address.partition("#")
    url = checked_url(url)
    if not model:
        raise LacyError("E72", url=url, why=f"it names no model; write {url}#MODEL")
    return Breaker(Endpoint(url, model))


def split_policy(model: str) -> tuple[str, str | None]:
    """Splits ``my-model:budget=0.22`` into the model and the policy that travels with it."""
    if Path(model).exists() or ":" not in model:
        return model, None
    name, _, policy = model.rpartition(":")
    return name, policy


def choose_policy(
    policy: str | None, source: Source | None, meta: Mapping[str, Any] | None = None
) -> tuple[Policy, str]:
    """The policy, and a sentence on why where it was chosen automatically.

    Args:
        policy: what the user asked for.
        source: who answers.
        meta: what ``lacy.json`` says about the model.
    """
    from ..cascade import Never, parse_policy

    if policy is not None:
        return parse_policy(policy), ""
    if source is None:
        return Never(), "Policy: never call, as there is no --source."
    if looks_up(source) and held_down(meta):
        why = f"where <CALL> is the likeliest token: {_what(source)}, and this model was"
        return parse_policy("threshold=0"), f"Policy: threshold=0, {why} taught not to call."
    return parse_policy("budget=0.22"), "Policy: budget=0.22, the paper's; change it by --policy."


def looks_up(source: Source | None) -> bool:
    """Whether a source costs nothing and offers candidates that the model ranks."""
    from ..sources import Database
    from ..sources.documents import Documents

    return isinstance(source, Database | Documents)


def _what(source: Source | None) -> str:
    from ..sources import Database

    return "a database costs nothing" if isinstance(source, Database) else "texts cost nothing"


def told_policy(policy: str | None, source: Source | None, meta: Mapping[str, Any]) -> Policy:
    """``choose_policy``, with its reason and what speaks against the model said on stderr."""
    chosen, why = choose_policy(policy, source, meta)
    for line in (why, rankable(meta, source)):
        if line:
            print(line, file=sys.stderr)
    return chosen


def held_down(meta: Mapping[str, Any] | None) -> bool:
    """Whether a model was taught where *not* to call, so that a threshold of 0 means something."""
    settings = training_settings(meta)
    calling = settings.get("arm", "none") != "none"
    return calling and settings.get("call_negative") in ("softmax", "sigmoid")


def rankable(meta: Mapping[str, Any] | None, source: Source | None) -> str:
    """A warning where a model that forgot the kind of its values is to choose among candidates."""
    settings = training_settings(meta)
    forgot = settings.get("arm", "none") != "none" and settings.get("text_weight") == 0.0
    if not (forgot and looks_up(source)):
        return ""
    return (
        "This model was trained with --text-weight 0: it hardly knows which kind of value is due, "
        "and will choose badly among what a source offers. Train with 0.5, the default."
    )


def training_settings(meta: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The settings that a model was trained with; none where that is not known."""
    training = (meta or {}).get("training")
    settings = training.get("settings") if isinstance(training, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}
