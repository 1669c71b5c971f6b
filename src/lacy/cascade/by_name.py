"""Open an engine from names: a model, its sources, a policy and a calibration.

The command line, the server and Python programs all use ``open_engine``, so the same names give the
same engine everywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lacy.cascade.calibration import Calibration, calibrate, truncate_document
from lacy.cascade.engine import Engine
from lacy.cascade.hosted_model import Hosted, connect
from lacy.cascade.policy import Budget, Never, Policy, Threshold
from lacy.cascade.policy_text import parse_policy
from lacy.cascade.reader import can_read
from lacy.cascade.settings import RAW_ENTROPY
from lacy.errors import LacyError
from lacy.model import (
    Gate,
    Precision,
    context_of,
    gate_of,
    set_precision,
    taught_to_call,
)
from lacy.runtimes import open_local
from lacy.sources import DEFAULT_TIMEOUT, Source, open_sources, wrapped_sources
from lacy.types import Document

CALIBRATION_TEXTS = 100
"""Default number of texts that a model is calibrated on."""

READER_TEXTS, READER_LENGTH = 20, 160
"""Maximum number of texts, and of tokens per text, for calibrating a model that ranks after
reading."""

CHAIN_SHARE = 5 / 6
"""Share of the timeout that a chain of sources may use, so that it replies before the timeout."""

SourceLike: TypeAlias = str | Path | Source
"""A source, or its name as in ``lacy.sources.open_source``."""


def open_engine(
    model: str | Path | Any,
    sources: SourceLike | Sequence[SourceLike] | None = (),
    policy: Policy | str | None = None,
    *,
    calibration: Calibration | int | None = CALIBRATION_TEXTS,
    tokenizer: str | Path | None = None,
    begin: str | None = None,
    dtype: Precision = "fp32",
    cache: str | Path | None = None,
    prices: Sequence[str] = (),
    timeout: float | None = DEFAULT_TIMEOUT,
    **settings: Any,
) -> Engine:
    """Open a model with its sources, and choose policy and calibration if they are not given.

    ``Engine.notes`` explains each automatic choice in a sentence.

    Args:
        model: name of a model as in ``open_model``, or an open model. After a colon, the name may
            include a policy: ``"runs/mine:budget=0.22"``.
        sources: one or several sources, or their names; several are asked in order.
        policy: when to call; by default the policy in the model's name or ``default_policy``.
        calibration: a calibration, or the number of the sources' texts to calibrate on (see
            ``calibrate_on_sources``); 0 or None for none.
        tokenizer: local folder of the tokenizer of a model on a server.
        begin: the token that begins every text; by default lacy's choice (see ``load_model``).
        dtype: precision of the weights of a local model (see ``lacy.model.set_precision``).
        cache: file that caches the answers of language models.
        prices: prices of language models, as in ``lacy.sources.open_sources``.
        timeout: seconds to wait for the sources at each step; None for no limit.
        settings: other arguments of ``Engine``.

    Raises:
        LacyError: for the same reasons as ``open_model``, ``open_sources`` and ``Engine``; E200, a
            model on a server with a ``dtype``.
    """
    if isinstance(model, str | Path):
        name, named_policy = split_policy(str(model))
        policy = named_policy if policy is None else policy
        if is_address(name) and dtype != "fp32":
            raise LacyError("E200", model=name, dtype=dtype)
        loaded = open_model(name, tokenizer, begin=begin)
    else:
        loaded = model
    given = [sources] if isinstance(sources, str | Path | Source) else list(sources or ())
    seconds = {} if timeout is None else {"seconds": timeout * CHAIN_SHARE}
    source = open_sources(given, cache=cache, prices=prices, **seconds)
    notes = list(getattr(loaded, "notes", ()))
    if not isinstance(loaded, Hosted) and (note := set_precision(loaded.model, dtype)):
        notes.append(note)
    if isinstance(calibration, int):
        # A server does not report enough to calibrate a model on it.
        texts = 0 if isinstance(loaded, Hosted) else calibration
        calibration, calibrated = calibrate_on_sources(loaded, given, texts)
    else:
        calibrated = ""
    if policy is None:
        hosted = isinstance(loaded, Hosted)
        policy, why = default_policy(
            source,
            loaded.meta,
            gate=loaded.gate if hosted else gate_of(loaded.model),
            taught=hosted or taught_to_call(loaded.model),
            calibrated=calibration is not None,
        )
        notes.append(why)
    if warning := ranking_warning(source, loaded.meta):
        notes.append(warning)
    notes += [calibrated] * bool(calibrated)
    engine = Engine(loaded, source, policy, calibration=calibration, timeout=timeout, **settings)
    engine.notes = tuple(notes)
    return engine


def open_model(
    name: str | Path, tokenizer: str | Path | None = None, *, begin: str | None = None
) -> Any:
    """Open a model by its folder, its name on the Hub, or its address on a server.

    Args:
        name: a name as in ``load_model``, the folder of an ONNX export, or
            ``http://host:port/v1#NAME``.
        tokenizer: local folder of the tokenizer of a model on a server; by default NAME.
        begin: the token that begins every text of a local model (see ``load_model``).

    Raises:
        LacyError: for the same reasons as ``lacy.model.load_model`` or ``connect``.
    """
    if not is_address(str(name)):
        return open_local(name, begin=begin)
    url, _, model = str(name).partition("#")
    return connect(url, model, tokenizer)


def is_address(name: str) -> bool:
    """True if a model's name is an address on a server, as ``http://host:port/v1#name``."""
    return name.lower().startswith(("http://", "https://"))


def model_name(name: str) -> str:
    """Return the short name of a model: that of its folder, or the part after # in an address."""
    if not is_address(name):
        return Path(name).resolve().name
    return Path(name.partition("#")[2]).name.removesuffix(".gguf")


def split_policy(model: str) -> tuple[str, str | None]:
    """Split ``my-model:budget=0.22`` into the model and the policy (None if there is none)."""
    address, separator, rest = model.rpartition("#")
    if "://" in model:  # a server's address contains colons of its own
        name, policy = split_policy(rest) if separator else (model, None)
        return address + separator + name if separator else name, policy
    if Path(model).exists() or ":" not in model:
        return model, None
    name, _, policy = model.rpartition(":")
    return name, policy


def default_policy(
    source: Source | None,
    meta: Mapping[str, Any] | None,
    *,
    gate: Gate = "softmax",
    taught: bool = True,
    calibrated: bool = False,
) -> tuple[Policy, str]:
    """Choose a policy; return it with a sentence that explains the choice.

    Args:
        source: the source that answers calls.
        meta: the contents of the model's ``lacy.json``.
        gate: how the model's ``<CALL>`` logit becomes a probability (``gate_of``).
        taught: False for a raw model, whose ``<CALL>`` was never trained.
        calibrated: True if a budget can start from the signals of a calibration.
    """
    if source is None:
        return Never(), "Policy: never call, as there is no --source."
    if not taught:
        policy: Policy = Threshold(RAW_ENTROPY, by="entropy")
        policy = Budget(0.22, by="entropy") if calibrated else policy
        return policy, (
            f"Policy: {policy}, calls where the model is unsure of the next word, because it was "
            "not taught to call (lacy tune MODEL --data DATA teaches it)."
        )
    if gate == "sigmoid":
        why = "calls where the gate's probability is 50% or more"
        return Threshold(0.0), f"Policy: threshold=0, {why}; change it by --policy."
    if is_lookup(source) and trained_not_to_call(meta):
        free = "a database costs nothing" if _is_database(source) else "texts cost nothing"
        why = f"calls where <CALL> is the likeliest token: {free}, and this model also"
        return Threshold(0.0), f"Policy: threshold=0, {why} learned where not to call."
    return parse_policy("budget=0.22"), "Policy: budget=0.22, the paper's; change it by --policy."


def lookup_policy(loaded: Any) -> Policy:
    """Return the default policy of a model with a database or an index as source.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
    """
    if not loaded.calls:
        return Threshold(RAW_ENTROPY, by="entropy")
    if gate_of(loaded.model) == "sigmoid" or trained_not_to_call(loaded.meta):
        return Threshold(0.0)
    return parse_policy("budget=0.22")


def is_lookup(source: Source | None) -> bool:
    """True if the first source is a database or an index: free, and the model ranks its values."""
    from lacy.sources.texts import Documents

    return _is_database(source) or isinstance(_first_source(source), Documents)


def _is_database(source: Source | None) -> bool:
    from lacy.sources.db import Database

    return isinstance(_first_source(source), Database)


def _first_source(source: Source | None) -> Source | None:
    """Return the source that is asked first, without its wrappers."""
    return next((s for s in wrapped_sources(source) if not getattr(s, "inner", ())), None)


def trained_not_to_call(meta: Mapping[str, Any] | None) -> bool:
    """True if training also taught where *not* to call; otherwise threshold 0 calls too often."""
    settings = training_settings(meta)
    calls = settings.get("method", "none") != "none"
    return calls and settings.get("call_negative") in ("softmax", "sigmoid")


def ranking_warning(source: Source | None, meta: Mapping[str, Any] | None) -> str:
    """Return a warning if the model would rank candidates without having learned their kinds."""
    settings = training_settings(meta)
    forgot = settings.get("method", "none") != "none" and settings.get("text_weight") == 0.0
    if not (forgot and is_lookup(source)):
        return ""
    return (
        "This model was trained with --text-weight 0: it hardly knows which kind of value is due, "
        "and will choose badly among what a source offers. Train with 0.5, the default."
    )


def training_settings(meta: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the settings that a model was trained with; empty if unknown."""
    training = (meta or {}).get("training")
    settings = training.get("settings") if isinstance(training, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}


def calibrate_on_sources(
    loaded: Any, sources: Sequence[SourceLike], texts: int = CALIBRATION_TEXTS
) -> tuple[Calibration | None, str]:
    """Calibrate a model on texts of the first source that has any.

    Args:
        loaded: the model.
        sources: sources or their names. Only folders of ``lacy data world`` and indexes of
            ``lacy source build`` have texts.
        texts: maximum number of texts to use; 0 for no calibration.

    Returns:
        The calibration and a note for the user; None and "" if no source has texts.
    """
    if texts <= 0:
        return None, ""
    for source in sources:
        if (documents := _texts_of(source, texts, loaded)) is not None:
            calibration = calibrate(loaded, documents, kinds=not can_read(loaded))
            what = "training texts" if _is_world(source) else "texts"
            where = getattr(source, "path", source)
            return calibration, calibration_note(calibration, f"{len(documents)} {what} of {where}")
    return None, ""


def calibration_note(calibration: Calibration, where: str) -> str:
    """Return a sentence about an automatic calibration: its texts, purpose and values."""
    kinds = ", ".join(f"{kind} {fit.n}" for kind, fit in sorted(calibration.kinds.items()))
    values = f"; values read: {kinds}" if kinds else ""
    why = "so that budgets hold from the first word"
    if kinds:
        why = "so that kinds of values can be compared and budgets hold from the first word"
    return f"Calibration: on {where}, {why}{values} (--calibrate 0 turns it off)."


def _texts_of(source: SourceLike, texts: int, loaded: Any) -> list[Document] | None:
    """Return marked texts of a source; None if it has none."""
    from lacy.sources.texts import Documents

    if not isinstance(source, str | Path):
        indexes = [s for s in wrapped_sources(source) if isinstance(s, Documents)]
        return _beginnings(indexes[0], texts, loaded) if indexes else None
    if (Path(source) / "documents.sqlite").is_file():
        with Documents(source) as index:
            return _beginnings(index, texts, loaded)
    if not _is_world(source):
        return None
    from lacy.world import load_world

    return list(itertools.islice(load_world(source).documents("train"), texts))


def _is_world(source: SourceLike) -> bool:
    return isinstance(source, str | Path) and (Path(source) / "world.json").is_file()


def _beginnings(index: Any, texts: int, loaded: Any) -> list[Document]:
    """Return indexed documents, cut to the model's context.

    A model that ranks after reading needs no calibration of kinds, only some signals for a budget.
    """
    length = context_of(loaded.model)
    if can_read(loaded):
        texts, length = min(texts, READER_TEXTS), min(length, READER_LENGTH)
    return [truncate_document(d, loaded.tokenizer, length) for d in index.documents(texts)]
