"""A causal language model in this process as a source: the partner of the paper's cascade (§5).

It has its own tokenizer; what passes to and fro is text. Each running text keeps its KV cache, so
that a call costs the tokens since the last call plus those it speaks, not the whole prefix again
(a cascade that recomputes prefixes pays a full forward pass per call). The requests of one ``ask``
are answered together, in a thread that alone computes with this model: the event loop stays free,
and where nobody waits any more the computing ends before its next pass.

Together go models that take positions for each row (Llama, GPT-2 and most others). Those that do
not (BLOOM, MPT) are asked one text after the other; those that keep a state instead of a cache
(Mamba, Qwen3-Next) as well, and they read their text anew for every token.
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

from lacy.corpus import TextStream, TokenText, begin_end, choose_borders
from lacy.errors import LacyError
from lacy.model import (
    RaggedDecoder,
    Rereading,
    context_of,
    end_ids,
    keeps_keys_and_values,
    read_model,
    resolve,
)
from lacy.remote import RemoteError
from lacy.sources.models.answers import READING
from lacy.sources.models.base import limits_by_unit
from lacy.sources.models.partial import PartialCompletion
from lacy.sources.protocol import TokenPrice
from lacy.sources.units import whole_number
from lacy.types import CALL_TOKEN, Candidate, Reply, Request, Unit

DEFAULT_MAX_TOKENS: dict[Unit, int] = {"token": 8, "word": 12, "value": 16}
"""Most partner tokens per call. A "token" may need several until its characters are whole."""

DEFAULT_STREAMS = 64
"""Running texts whose cache is kept; the longest unused one is forgotten first."""

DEFAULT_BATCH = 32
"""Texts that are computed together, at most."""

READ_TOKENS = 4096
"""Tokens that several texts may read in one pass."""


class _Left(Exception):
    """Nobody waits for the answer any more."""


@dataclass(eq=False)
class _Text:
    """One request while it is answered."""

    request: Request
    ids: list[int]
    limit: int
    evidence: str
    out: TextStream
    said: str = ""
    """The text of the reply, once it is complete."""
    why: str = ""
    """Why there is no answer."""
    numbers: bool = False
    """Whether numbers are taken whole, because the caller has another tokenizer."""
    first: str | None = None
    """The first token's text, once its characters are complete."""
    spoken: int = 0
    token: int = -1
    reply: Reply | None = None

    def __post_init__(self) -> None:
        self.partial = PartialCompletion(self.request.text, self.request.unit, raw=True)

    def take(self, token: int, *, end: bool) -> bool:
        """Add a token; returns whether the answer is complete."""
        self.token = token
        self.spoken += 1
        complete = not end and self.partial.add(self.out.add(token))
        if self.request.unit == "token":
            return self._take_token(end=end)
        if not (complete or end or self.spoken == self.limit):
            return False
        self._end("" if complete else "stop" if end else "length")
        return True

    def _take_token(self, *, end: bool) -> bool:
        """``take`` for the unit ``token``: one token, or the whole number that it begins."""
        said, last = self.partial.answer, end or self.spoken == self.limit
        if self.first is None and said and self.out.whole:
            self.first = said
        if self.first is None or not self.numbers:
            if last or self.first is not None:
                self._end("length" if last and not end else "stop")
            return last or self.first is not None
        number = whole_number(said, self.first, ended=end)
        if number is None and not last:
            return False
        self.partial.answer = number or ""
        self._end("stop")
        if self.request.text[-1:].isdigit() and self.said[:1].isdigit():
            self.said, self.why = "", "it would continue the digits of another model's number"
        return True

    def _end(self, finish: str) -> None:
        try:
            self.said = self.partial.result(finish)
        except RemoteError as error:
            self.why = str(error)


class LanguageModel:
    """A causal model that continues texts greedily.

    Args:
        model: a ``transformers`` causal model, or the folder or Hub name of one.
        tokenizer: its tokenizer; read from the same place if ``model`` is a name.
        name: who speaks; the folder's name or the model's class by default.
        max_tokens: most partner tokens per call, by unit or one number for all.
        streams: how many running texts keep their cache.
        batch: how many texts are computed together, at most; with ``streams`` it bounds the memory
            of caches. Answers are those of each alone, up to rounding.
        device: where to put a model that is read from a folder.
        price: US dollars per million tokens that it generates.

    Raises:
        LacyError: E69 if no causal model can be read from the given place.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        max_tokens: int | dict[Unit, int] | None = None,
        streams: int = DEFAULT_STREAMS,
        batch: int = DEFAULT_BATCH,
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
        self._price = TokenPrice(output=price)
        self.tokens_read = 0
        self._text = TokenText(tokenizer)
        self._context = context_of(model)
        self._max_tokens = limits_by_unit(max_tokens, DEFAULT_MAX_TOKENS)
        self._batch = max(1, batch) if _takes_rows(model) else 1
        self._keep = streams
        self._streams: OrderedDict[int, RaggedDecoder] = OrderedDict()
        self._files = _files_of(str(getattr(model, "name_or_path", "")))
        self._begin_id = begin_end(tokenizer)[0]
        self._ends = end_ids(tokenizer, model)
        call = tokenizer.get_vocab().get(CALL_TOKEN)
        self._never = [] if call is None else [call]

    def settings(self) -> dict[str, Any]:
        """What the answers depend on: where the model was read from, its files, and the limits."""
        place = str(getattr(self.model, "name_or_path", ""))
        limits = self._max_tokens
        return {"model": place, "files": self._files, "max_tokens": limits, "reading": READING}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Continue each text by one unit; no candidate where the partner ends the text itself."""
        if not requests:
            return []
        left = threading.Event()
        answer = _thread_of(self.model).submit(self._answer, list(requests), left)
        try:
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            left.set()
            raise

    def forget(self) -> None:
        """Drop all caches, after what is being computed."""
        _thread_of(self.model).submit(self._streams.clear)

    def _answer(self, requests: Sequence[Request], left: threading.Event) -> list[Reply]:
        """The replies, in the model's thread."""
        texts = [self._begin(request) for request in requests]
        going = [text for text in texts if text.reply is None]
        going.sort(key=lambda text: len(text.ids))  # rows of one batch are as long as its longest
        for first in range(0, len(going), self._batch):
            self._continue(going[first : first + self._batch], left)
        return [text.reply for text in texts if text.reply is not None]

    def _begin(self, request: Request) -> _Text:
        """A text in the partner's tokens; with a reply where it cannot be continued."""
        limit = self._max_tokens[request.unit]
        ids = self._text.encode(request.text)
        ids = ids if self._begin_id is None else [self._begin_id, *ids]
        room = self._context - limit
        evidence = f"continued by {self.name}"
        if len(ids) > room > 0:
            # The window moves in jumps of half its size, so that the next calls reuse the cache.
            jump = max(1, room // 2)
            ids = ids[-(-(len(ids) - room) // jump) * jump :]
            evidence += f", which saw the last {len(ids)} tokens only"
        text = _Text(request, ids, limit, evidence, self._text.stream())
        text.numbers = request.tokens not in ("", self._text.name)
        if not ids:
            text.reply = Reply(error=f"{self.name}: it cannot begin a text (no start token)")
        elif room < 1:
            why = f"its context ({self._context}) is too short to say {limit} tokens"
            text.reply = Reply(error=f"{self.name}: {why}")
        return text

    def _continue(self, texts: list[_Text], left: threading.Event) -> None:
        """Give these texts their replies: read them, then speak until each has its unit."""
        begin = time.perf_counter()
        batch, texts = self._read_up(texts, left)
        while True:
            tokens = self._best(batch.last_BV)
            going = []
            for row, (text, token) in enumerate(zip(texts, tokens, strict=True)):
                if not text.take(token, end=token in self._ends):
                    going.append(row)
                    continue
                self._remember(text, batch if batch.rows == 1 else batch.part([row]))
                found = (Candidate(text.said, text.evidence),) if text.said else ()
                why = f"{self.name}: {text.why}" if text.why else None
                seconds = time.perf_counter() - begin
                cost = self._price.cost(0, text.spoken)
                text.reply = Reply(found, cost=cost, seconds=seconds, error=why)
            if not going:
                return
            batch.keep(going)
            texts = [texts[row] for row in going]
            _still_wanted(left)
            batch.step([text.token for text in texts])
            self.tokens_read += len(texts)

    def _read_up(
        self, texts: Sequence[_Text], left: threading.Event
    ) -> tuple[RaggedDecoder, list[_Text]]:
        """A decoder that has read these texts, and the texts in the order of its rows.

        Their caches are taken out of ``_streams``: after a failed pass they may hold half a step.
        """
        begun = [(text, self._reused(text)) for text in texts]
        begun.sort(key=lambda pair: (pair[1].rows, _missing(*pair)))
        read: list[RaggedDecoder] = []
        for alike in _alike(begun):
            _still_wanted(left)
            new = [text.ids[len(text.ids) - _missing(text, old) :] for text, old in alike]
            part = alike[0][1]
            part.join([old for _, old in alike[1:]])
            part.read(new)
            self.tokens_read += sum(map(len, new))
            read.append(part)
        read[0].join(read[1:])
        return read[0], [text for text, _ in begun]

    def _reused(self, text: _Text) -> RaggedDecoder:
        """The cache of a text's stream, cut to what still stands in the text; or an empty one."""
        old = self._streams.pop(text.request.stream, None)
        common = 0
        for read, wanted in zip(old.tokens_BT[0] if old else [], text.ids[:-1], strict=False):
            if read != wanted:
                break
            common += 1  # the last token is always read: its logits are needed
        if old is None or not common:
            return (Rereading if _stateful(self.model) else RaggedDecoder)(self.model)
        old.rewind(old.length - common)
        return old

    def _best(self, logits_BV: torch.Tensor) -> list[int]:
        """The likeliest token of each row that may be spoken."""
        if self._never:
            never = torch.tensor(self._never, device=logits_BV.device)
            logits_BV = logits_BV.index_fill(1, never, -torch.inf)
        best: list[int] = logits_BV.argmax(-1).tolist()
        return best

    def _remember(self, text: _Text, decoder: RaggedDecoder) -> None:
        self._streams[text.request.stream] = decoder
        self._streams.move_to_end(text.request.stream)
        while len(self._streams) > self._keep:
            self._streams.popitem(last=False)


_THREADS: WeakKeyDictionary[Any, ThreadPoolExecutor] = WeakKeyDictionary()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_THREADS.clear)  # a fork has no threads


def _thread_of(model: Any) -> ThreadPoolExecutor:
    """The one thread that computes with a model, for all sources around it; it ends with it."""
    known = _THREADS.get(model)
    return known or _THREADS.setdefault(model, ThreadPoolExecutor(1, "lacy-partner"))


def _still_wanted(left: threading.Event) -> None:
    if left.is_set():
        raise _Left


def _missing(text: _Text, decoder: RaggedDecoder) -> int:
    """How many tokens of a text its cache has not read."""
    return len(text.ids) - decoder.length


def _alike(begun: Sequence[tuple[_Text, RaggedDecoder]]) -> Iterator[list[Any]]:
    """Sorted texts in parts for one pass each: new ones or begun ones, of similar width."""
    part: list[tuple[_Text, RaggedDecoder]] = []
    for text, old in begun:
        width = _missing(text, old)
        if part and (
            old.rows != part[0][1].rows
            or width > _missing(*part[0]) * 5 // 4 + 8  # padding is computed, too
            or width * (len(part) + 1) > READ_TOKENS
        ):
            yield part
            part = []
        part.append((text, old))
    yield part


def _stateful(model: Any) -> bool:
    """Whether a model keeps a state that cannot be taken back, rather than keys and values."""
    return bool(getattr(model, "_is_stateful", False)) or not keeps_keys_and_values(model)


def _takes_rows(model: Any) -> bool:
    """Whether a model can be told where each row of a batch begins."""
    known = inspect.signature(getattr(model, "forward", model)).parameters
    return {"attention_mask", "position_ids"} <= set(known) and not _stateful(model)


def _read(place: str | Path, tokenizer: Any) -> tuple[Any, Any]:
    """The stored weights and the tokenizer, without additions."""
    from lacy.corpus import open_tokenizer

    try:
        folder = resolve(place)
        model = read_model(folder, dtype="auto")
        if tokenizer is None:
            tokenizer = open_tokenizer(folder)
            if CALL_TOKEN not in tokenizer.get_vocab():
                choose_borders(tokenizer, str(place))
        return model, tokenizer
    except LacyError as error:
        if error.code in ("E13", "E55"):
            raise LacyError("E69", path=place, why=f"{error.what} ({error.do})") from error
        raise
    except Exception as error:  # a missing or damaged tokenizer raises various classes
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LacyError("E69", path=place, why=lines[0]) from error


def _files_of(place: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's weights: a model trained anew answers otherwise."""
    found = [(path.name, path.stat()) for path in sorted(Path(place).glob("*.safetensors"))]
    return [(name, told.st_size, told.st_mtime_ns) for name, told in found] if place else []
