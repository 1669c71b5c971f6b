"""Use a causal language model in this process as a source: the larger model of the paper (§5).

Requests and replies are text, so the model may have any tokenizer. It keeps a KV cache for each
text that is being generated; a call therefore computes only the tokens since the previous call and
those that it generates, not the whole prefix. The requests of one ``ask`` form a batch in the one
thread that computes with this model: the event loop stays free, and if the caller is cancelled, the
computation stops before its next forward pass.

Models that accept position ids for each row (Llama, GPT-2 and most others) answer in batches.
Models that do not (BLOOM, MPT) answer one text after the other. So do models with a recurrent state
instead of a cache (Mamba, Qwen3-Next); they read their whole text again for every token.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from lacy.corpus import TextStream, TokenText, begin_end, choose_begin_end, load_tokenizer_files
from lacy.errors import LacyError
from lacy.model import (
    Decoder,
    RecomputingDecoder,
    context_of,
    end_ids,
    keeps_keys_and_values,
    read_model,
    resolve,
)
from lacy.remote import RemoteError
from lacy.sources.models.answers import READING_VERSION
from lacy.sources.models.base import limits_by_unit
from lacy.sources.models.partial import PartialCompletion
from lacy.sources.protocol import TokenPrice
from lacy.sources.units import whole_number
from lacy.types import CALL_TOKEN, Candidate, Reply, Request, Unit

DEFAULT_MAX_TOKENS: dict[Unit, int] = {"token": 8, "word": 12, "value": 16}
"""Token limit of a call by unit. A "token" may need several until its characters are complete."""

DEFAULT_CACHES = 64

DEFAULT_BATCH_SIZE = 32

MAX_PREFILL_TOKENS = 4096
"""Maximum number of prompt tokens that several texts share in one forward pass."""


class _Abandoned(Exception):
    """Raised when the caller was cancelled, so nobody waits for the answer."""


@dataclass(eq=False)
class _Continuation:
    """One request while its continuation is generated."""

    request: Request
    ids: list[int]
    limit: int
    evidence: str
    out: TextStream
    unit: str = ""
    """The text of the reply, set when it is complete."""
    error: str = ""
    whole_numbers: bool = False
    """True if a token that begins a number is extended to the whole number, because the caller's
    tokenizer may split numbers differently."""
    first: str | None = None
    """The text of the first token, set when its characters are complete."""
    generated: int = 0
    token: int = -1
    reply: Reply | None = None

    def __post_init__(self) -> None:
        self.partial = PartialCompletion(self.request.text, self.request.unit, raw=True)

    def take(self, token: int, *, end: bool) -> bool:
        """Add a token; return True if the answer is complete."""
        self.token = token
        self.generated += 1
        complete = not end and self.partial.add(self.out.add(token))
        if self.request.unit == "token":
            return self._take_token(end=end)
        if not (complete or end or self.generated == self.limit):
            return False
        self._finish("" if complete else "stop" if end else "length")
        return True

    def _take_token(self, *, end: bool) -> bool:
        """Add a token for the unit ``token``: one token, or the whole number that it begins."""
        text, last = self.partial.answer, end or self.generated == self.limit
        if self.first is None and text and self.out.whole:
            self.first = text
        if self.first is None or not self.whole_numbers:
            if last or self.first is not None:
                self._finish("length" if last and not end else "stop")
            return last or self.first is not None
        number = whole_number(text, self.first, ended=end)
        if number is None and not last:
            return False
        self.partial.answer = number or ""
        self._finish("stop")
        if self.request.text[-1:].isdigit() and self.unit[:1].isdigit():
            self.unit, self.error = "", "it would continue a number begun by another model"
        return True

    def _finish(self, finish: str) -> None:
        try:
            self.unit = self.partial.result(finish)
        except RemoteError as error:
            self.error = str(error)


class LanguageModel:
    """A causal model that continues texts greedily.

    Args:
        model: a ``transformers`` causal model, or the folder or Hub name of one.
        tokenizer: its tokenizer; loaded with the model if ``model`` is a name.
        name: the speaker in spans; by default the folder's name or the model's class.
        max_tokens: token limit of a call, by unit or one number for all units.
        caches: number of KV caches to keep, one per text; the least recently used is dropped.
        batch_size: number of texts that are computed together; this and ``caches`` bound memory.
            Answers are the same as for each text alone, up to rounding.
        device: device for a model that is loaded from a folder.
        price: US dollars per million generated tokens.

    Raises:
        LacyError: E69, no causal model can be loaded.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        max_tokens: int | dict[Unit, int] | None = None,
        caches: int = DEFAULT_CACHES,
        batch_size: int = DEFAULT_BATCH_SIZE,
        device: str | torch.device | None = None,
        price: float = 0.0,
    ) -> None:
        if isinstance(model, str | Path):
            name = name or Path(model).name
            model, tokenizer = _read(model, tokenizer)
            model = model.to(device) if device is not None else model
        elif tokenizer is None:
            raise TypeError("a model object needs its tokenizer: LanguageModel(model, tokenizer)")
        self.model = model.eval()
        self.name = name or type(model).__name__
        self.max_tokens = limits_by_unit(max_tokens, DEFAULT_MAX_TOKENS)
        self.batch_size = max(1, batch_size) if _takes_positions(model) else 1
        self.tokens_read = 0
        self._price = TokenPrice(output=price)
        self._token_text = TokenText(tokenizer)
        self._context = context_of(model)
        self._max_caches = caches
        self._caches: OrderedDict[int, Decoder] = OrderedDict()
        self._files = _weight_files(str(getattr(model, "name_or_path", "")))
        self._begin_id = begin_end(tokenizer)[0]
        self._end_ids = end_ids(tokenizer, model)
        self._call_id = tokenizer.get_vocab().get(CALL_TOKEN)

    def settings(self) -> dict[str, Any]:
        """Return everything that influences the answers: the model, its files and the limits."""
        return {
            "model": str(getattr(self.model, "name_or_path", "")), "files": self._files,
            "max_tokens": self.max_tokens, "reading": READING_VERSION,
        }  # fmt: skip

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Continue each text by one unit; no candidate if the model ends the text."""
        if not requests:
            return []
        abandoned = threading.Event()
        replies = _thread_of(self.model).submit(self._answer, list(requests), abandoned)
        try:
            return await asyncio.wrap_future(replies)
        except asyncio.CancelledError:
            abandoned.set()
            raise

    def forget(self) -> None:
        """Drop all caches after the current computation."""
        _thread_of(self.model).submit(self._caches.clear)

    def _answer(self, requests: Sequence[Request], abandoned: threading.Event) -> list[Reply]:
        """Return the replies; this runs in the model's thread."""
        texts = [self._begin(request) for request in requests]
        waiting = [text for text in texts if text.reply is None]
        waiting.sort(key=lambda text: len(text.ids))  # similar lengths together need less padding
        for first in range(0, len(waiting), self.batch_size):
            self._generate(waiting[first : first + self.batch_size], abandoned)
        return [text.reply for text in texts if text.reply is not None]

    def _begin(self, request: Request) -> _Continuation:
        """Encode a request; if it cannot be continued, its reply is set here."""
        limit = self.max_tokens[request.unit]
        ids = self._token_text.encode(request.text)
        ids = ids if self._begin_id is None else [self._begin_id, *ids]
        room = self._context - limit
        evidence = f"continued by {self.name}"
        if len(ids) > room > 0:
            # Move the window in jumps of half its size, so that the next calls can reuse the cache.
            jump = max(1, room // 2)
            ids = ids[-(-(len(ids) - room) // jump) * jump :]
            evidence += f", which saw only the last {len(ids)} tokens"
        text = _Continuation(request, ids, limit, evidence, self._token_text.stream())
        text.whole_numbers = request.tokens not in ("", self._token_text.name)
        if not ids:
            text.reply = Reply(error=f"{self.name}: it cannot begin a text (no start token)")
        elif room < 1:
            why = f"its context ({self._context}) is too short to generate {limit} tokens"
            text.reply = Reply(error=f"{self.name}: {why}")
        return text

    def _generate(self, texts: list[_Continuation], abandoned: threading.Event) -> None:
        """Prefill these texts, then generate until each has its reply."""
        begin = time.perf_counter()
        decoder, texts = self._prefill(texts, abandoned)
        while True:
            unfinished = []
            for row, (text, token) in enumerate(
                zip(texts, self._most_likely(decoder.last_BV), strict=True)
            ):
                if not text.take(token, end=token in self._end_ids):
                    unfinished.append(row)
                    continue
                self._remember(text, decoder if decoder.rows == 1 else decoder.part([row]))
                text.reply = Reply(
                    (Candidate(text.unit, text.evidence),) if text.unit else (),
                    cost=self._price.cost(0, text.generated),
                    seconds=time.perf_counter() - begin,
                    error=f"{self.name}: {text.error}" if text.error else None,
                )
            if not unfinished:
                return
            decoder.keep(unfinished)
            texts = [texts[row] for row in unfinished]
            _raise_if_abandoned(abandoned)
            decoder.step([text.token for text in texts])
            self.tokens_read += len(texts)

    def _prefill(
        self, texts: Sequence[_Continuation], abandoned: threading.Event
    ) -> tuple[Decoder, list[_Continuation]]:
        """Return a decoder that has read these texts, and the texts in the order of its rows.

        Their caches are removed from ``_caches``, because a failed pass may leave them
        inconsistent.
        """
        cached = [(text, self._reusable_cache(text)) for text in texts]
        cached.sort(key=lambda pair: (pair[1].rows, _unread(*pair)))
        decoders: list[Decoder] = []
        for group in _groups(cached):
            _raise_if_abandoned(abandoned)
            new = [text.ids[len(text.ids) - _unread(text, cache) :] for text, cache in group]
            decoder = group[0][1]
            decoder.join([cache for _, cache in group[1:]])
            decoder.read(new)
            self.tokens_read += sum(map(len, new))
            decoders.append(decoder)
        decoders[0].join(decoders[1:])
        return decoders[0], [text for text, _ in cached]

    def _reusable_cache(self, text: _Continuation) -> Decoder:
        """Return the text's cache, cut to the tokens that it shares with the text; or a new one."""
        cache = self._caches.pop(text.request.stream, None)
        common = 0
        for read, wanted in zip(cache.tokens_BT[0] if cache else [], text.ids[:-1], strict=False):
            if read != wanted:
                break
            common += 1  # always read the last token, because its logits are needed
        if cache is None or not common:
            return (RecomputingDecoder if _has_state(self.model) else Decoder)(self.model)
        cache.rewind(cache.length - common)
        return cache

    def _most_likely(self, logits_BV: torch.Tensor) -> list[int]:
        """Return the most likely token of each row except ``<CALL>``."""
        if self._call_id is not None:
            call = torch.tensor([self._call_id], device=logits_BV.device)
            logits_BV = logits_BV.index_fill(1, call, -torch.inf)
        tokens: list[int] = logits_BV.argmax(-1).tolist()
        return tokens

    def _remember(self, text: _Continuation, decoder: Decoder) -> None:
        self._caches[text.request.stream] = decoder
        self._caches.move_to_end(text.request.stream)
        while len(self._caches) > self._max_caches:
            self._caches.popitem(last=False)


_THREADS: WeakKeyDictionary[Any, ThreadPoolExecutor] = WeakKeyDictionary()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_THREADS.clear)  # fork() does not copy threads


def _thread_of(model: Any) -> ThreadPoolExecutor:
    """Return the only thread that computes with a model, shared by all sources that use it."""
    known = _THREADS.get(model)
    return known or _THREADS.setdefault(model, ThreadPoolExecutor(1, "lacy-language-model"))


def _raise_if_abandoned(abandoned: threading.Event) -> None:
    if abandoned.is_set():
        raise _Abandoned


def _unread(text: _Continuation, cache: Decoder) -> int:
    """Return the number of tokens of the text that its cache does not contain."""
    return len(text.ids) - cache.length


def _groups(
    cached: Sequence[tuple[_Continuation, Decoder]],
) -> Iterator[list[tuple[_Continuation, Decoder]]]:
    """Split sorted texts into groups; each group is one forward pass.

    A group contains either new or cached texts, with similar numbers of unread tokens.
    """
    group: list[tuple[_Continuation, Decoder]] = []
    for text, cache in cached:
        width = _unread(text, cache)
        if group and (
            cache.rows != group[0][1].rows
            or width > _unread(*group[0]) * 5 // 4 + 8  # limit padding to about a quarter
            or width * (len(group) + 1) > MAX_PREFILL_TOKENS
        ):
            yield group
            group = []
        group.append((text, cache))
    yield group


def _has_state(model: Any) -> bool:
    """True if a model has a recurrent state, which cannot be rewound, instead of a KV cache."""
    return bool(getattr(model, "_is_stateful", False)) or not keeps_keys_and_values(model)


def _takes_positions(model: Any) -> bool:
    """True if a model accepts position ids for each row of a batch."""
    known = inspect.signature(getattr(model, "forward", model)).parameters
    return {"attention_mask", "position_ids"} <= set(known) and not _has_state(model)


def _read(place: str | Path, tokenizer: Any) -> tuple[Any, Any]:
    """Load the model and the tokenizer as stored, without adding ``<CALL>``."""
    try:
        folder = resolve(place)
        model = read_model(folder, dtype="auto")
        if tokenizer is None:
            tokenizer = load_tokenizer_files(folder)
            if CALL_TOKEN not in tokenizer.get_vocab():
                choose_begin_end(tokenizer, str(place))
        return model, tokenizer
    except LacyError as error:
        if error.code in ("E13", "E55"):
            raise LacyError("E69", path=place, why=f"{error.what} ({error.do})") from error
        raise
    except Exception as error:  # a missing or damaged tokenizer raises exceptions of any class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LacyError("E69", path=place, why=lines[0]) from error


def _weight_files(folder: str) -> list[tuple[str, int, int]]:
    """Return names, sizes and modification times of the weight files, to detect retraining."""
    found = [(path.name, path.stat()) for path in sorted(Path(folder).glob("*.safetensors"))]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found] if folder else []
