"""Connect to a model behind a server. Its tokenizer must be here; its weights need not be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lacy._parse import parse_json
from lacy.cascade.hosted_server import MAX_ANSWER_BYTES, CompletionServer
from lacy.cascade.policy import Policy
from lacy.corpus import TokenText, begin_end
from lacy.errors import LacyError
from lacy.model import Gate, end_ids
from lacy.remote import OpenAIClient, RemoteError, Retries
from lacy.types import CALL_TOKEN

PROBE = "In 1879 she'll  owe $1,234.50 — naïve?\n\n\t東京 x_y"
"""A text for comparing tokenizers: both sides must split it into the same number of tokens."""

_NO_GATE = (
    "the model's <CALL> is a separate gate, which only llama.cpp's own server reports, for a file "
    "written by lacy export --to gguf"
)

_REFUSED = (400, 422, 500)
"""Status codes of servers that do not understand a prompt of token ids (500: llama_cpp.server)."""

NO_LIMIT = 1 << 30
"""Value of ``context`` for a model without a known limit."""


@dataclass(slots=True)
class Hosted:
    """A model behind a server: its address, tokenizer and metadata, but not its weights."""

    server: CompletionServer
    tokenizer: Any
    call_id: int | None
    """The id of ``<CALL>``; None for a model without it."""
    gate: Gate
    """How the model reads its ``<CALL>`` logit."""
    end_ids: frozenset[int]
    """Tokens that end a text."""
    context: int
    """Maximum length of a text in tokens."""
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    guessed: int = 0
    """Number of decisions for which the server did not report the likelihood of ``<CALL>``. Its
    margin is then taken to be as large as possible."""

    def check_policy(self, policy: Policy) -> None:
        """Check that the server reports the signal that a policy reads.

        Raises:
            LacyError: E92, it does not.
        """
        why = ""
        if policy.signal in ("entropy", "gate+entropy"):
            why = "it reports only the likeliest tokens, but entropy needs all"
        elif self.gate == "sigmoid" and policy.signal in ("margin", "p_call"):
            why = _NO_GATE if self.server.reference_id is None else ""
        if why:
            raise LacyError("E92", policy=policy, why=why)


def connect(
    url: str,
    model: str = "",
    tokenizer: str | Path | None = None,
    *,
    top: int = 20,
    key_variable: str | None = "LACY_HOSTED_KEY",
    timeout: float = 120.0,
    concurrency: int = 32,
) -> Hosted:
    """Connect to a model behind a server and check that both sides use the same tokens.

    Args:
        url: base address of the API, such as ``http://127.0.0.1:8000/v1``.
        model: name of the model on the server; not needed if the server has only one.
        tokenizer: the model's local folder (weights in it are not read); by default ``model``.
        top: number of likeliest tokens to request; vLLM allows 20 by default.
        key_variable: environment variable with the server's key.
        timeout: seconds for one request, including retries.
        concurrency: maximum number of requests at the same time.

    Raises:
        LacyError: E11 if httpx is missing, E13 or E24 for a folder without tokenizer, E72 for an
            unusable address, E91 if the server cannot host this model, E93 if it does not answer.
    """
    from lacy.corpus import load_tokenizer

    client = OpenAIClient(
        url, model, key_variable=key_variable, timeout=timeout, concurrency=concurrency,
        retries=Retries(2), max_bytes=MAX_ANSWER_BYTES,
    )  # fmt: skip
    folder = Path(tokenizer or model)
    if not (folder / "tokenizer.json").is_file() and (folder / "model").is_dir():
        folder = folder / "model"
    if not (folder / "tokenizer.json").is_file():
        do = "give the local folder of the served model: --tokenizer runs/mine"
        raise LacyError("E13", path=folder / "tokenizer.json", do=do)
    tokens = load_tokenizer(folder)
    config, generation = _json(folder / "config.json"), _json(folder / "generation_config.json")
    begin, end = begin_end(tokens)
    ends = end_ids(
        tokens,
        SimpleNamespace(
            config=SimpleNamespace(**config), generation_config=SimpleNamespace(**generation)
        ),
    )
    call_id = tokens.get_vocab().get(CALL_TOKEN)
    gate: Gate = "sigmoid" if config.get("lacy_gate") == "sigmoid" else "softmax"
    server = CompletionServer(
        client, TokenText(tokens), call_id, end, begin, len(tokens), top, ends - {end},
        gated=gate == "sigmoid",
    )  # fmt: skip
    limits = (config.get("max_position_embeddings"), server.run(_probe(server)))
    context = min((limit for limit in limits if limit), default=NO_LIMIT)
    meta = _json(folder / "lacy.json")
    return Hosted(server, tokens, call_id, gate, ends, context, meta, folder)


def _json(file: Path) -> dict[str, Any]:
    try:
        data = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


async def _probe(server: CompletionServer) -> int | None:
    """Find out the model's name and the server's dialect, and check that both use the same tokens.

    Returns:
        The maximum length of a text in tokens, if the server reports it.

    Raises:
        LacyError: E91, this server cannot host the model; E93, it does not answer.
    """
    # No retries: some servers fail on token ids, and that is what the probe finds out.
    retries, server.client.retries = server.client.retries, Retries(0)
    try:
        served = _served_model(server.client, await server.client.models())
        server.client.model = str(served["id"])
        facts = served.get("meta") or {}
        longest = served.get("max_model_len") or facts.get("n_ctx")
        ids = server.token_text.encode(PROBE)
        ids = ids if server.begin_id is None else [server.begin_id, *ids]
        logprobs = await _probe_ids(server, ids)
        if "content" in logprobs:
            server.dialect = "llama"
            # The exported file of a model with a separate gate has one token more.
            if facts.get("n_vocab") == server.vocab_size + 1:
                server.reference_id = server.vocab_size
            await _check_tokens(server, len(ids))
        elif not str((logprobs.get("tokens") or [""])[0]).startswith("token_id:"):
            raise _takes_text(server, "it reports tokens as text, not as ids")
        return longest if isinstance(longest, int) else None
    except RemoteError as error:
        raise server.no_answer(error) from None
    finally:
        server.client.retries = retries


async def _probe_ids(server: CompletionServer, ids: list[int]) -> dict[str, Any]:
    """Return the log-probabilities that a server reports after a prompt of token ids."""
    fields = {"max_tokens": 1, "logprobs": 1, "return_tokens_as_token_ids": True}
    try:
        logprobs = (await server.client.complete(ids, **fields)).choice.get("logprobs")
    except RemoteError as error:
        if error.status not in _REFUSED:
            raise
        raise _takes_text(server, f"it does not take token ids ({error})") from None
    if not logprobs:
        do = "use vLLM, or llama.cpp's own server (pip install xllamacpp)"
        raise LacyError("E91", url=server.url, why="it gives no log-probabilities", do=do)
    return dict(logprobs)


def _takes_text(server: CompletionServer, why: str) -> LacyError:
    """Return the error for a server of texts, such as llama.cpp's Python server."""
    do = (
        "use vLLM, or serve a file of lacy export with llama.cpp's own server: pip install "
        "xllamacpp (docs/how-to/llama-cpp.md); llama_cpp.server takes only text"
    )
    return LacyError("E91", url=server.url, why=why, do=do)


async def _check_tokens(server: CompletionServer, own_length: int) -> None:
    """Check that the server splits a text as the tokenizer does."""
    answer = await server.client.complete(PROBE, max_tokens=1, logprobs=1)
    length = (answer.usage or {}).get("prompt_tokens")
    if length != own_length:
        why = f"it splits a text into {length} tokens, this tokenizer into {own_length}"
        do = "give the tokenizer of the model that is served there: --tokenizer FOLDER"
        raise LacyError("E91", url=server.url, why=why, do=do)


def _served_model(client: OpenAIClient, models: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the server's description of the requested model."""
    requested, names = client.model, [str(model.get("id", "")) for model in models]
    short_names = list(map(_short_name, names))
    if requested in names:
        place = names.index(requested)
    elif _short_name(requested) in short_names:
        place = short_names.index(_short_name(requested))
    elif len(names) == 1 and not requested:
        place = 0
    else:
        do = f"name one of: {', '.join(names) or '(none)'}"
        raise LacyError("E91", url=client.url, why=f"it has no model {requested!r}", do=do)
    return {**models[place], "id": names[place]}


def _short_name(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
