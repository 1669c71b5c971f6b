"""A causal language model in this process as a source: the partner of the paper's cascade (§5).

It has its own tokenizer; what passes to and fro is text. Each running text keeps its KV cache, so
that a call costs the tokens since the last call plus those it speaks, not the whole prefix again
(a cascade that recomputes prefixes pays a full forward pass per call).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lacy.errors import LacyError
from lacy.model.decode import context_of
from lacy.sources.text import TokenText, cut_unit, whole_words
from lacy.types import CALL_TOKEN, Candidate, Reply, Request, Unit

DEFAULT_MAX_TOKENS: dict[Unit, int] = {"token": 8, "word": 12, "value": 16}
"""Most partner tokens per call. A "token" may need several until its characters are whole."""

DEFAULT_STREAMS = 64
"""Running texts whose cache is kept; the longest unused one is forgotten first."""


@dataclass
class _Stream:
    """One running text in the partner's tokens, with the cache of what it has read."""

    ids: list[int] = field(default_factory=list)
    cache: Any = None


class LanguageModel:
    """A causal model that continues texts greedily.

    Args:
        model: a ``transformers`` causal model, or the folder or Hub name of one.
        tokenizer: its tokenizer; read from the same place if ``model`` is a name.
        name: who speaks; the folder's name or the model's class by default.
        max_tokens: most partner tokens per call, by unit or one number for all.
        streams: how many running texts keep their cache.
        device: where to put a model that is read from a folder.
        cost: cost of one partner token, in whatever unit the caller counts.

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
        device: str | torch.device | None = None,
        cost: float = 0.0,
    ) -> None:
        if isinstance(model, str | Path):
            name = name or Path(model).name
            model, tokenizer = _read(model, tokenizer)
            model = model.to(device) if device is not None else model
        elif tokenizer is None:
            raise TypeError("a model object needs its tokenizer: LanguageModel(model, tokenizer)")
        self.model = model.eval()
        self.name = name or type(model).__name__
        self.cost = cost
        self.tokens_read = 0
        self._text = TokenText(tokenizer)
        self._context = context_of(model)
        self._max_tokens = _limits(max_tokens)
        self._keep = streams
        self._streams: OrderedDict[int, _Stream] = OrderedDict()
        self._files = _files_of(str(getattr(model, "name_or_path", "")))
        self._bos = tokenizer.bos_token_id
        self._ends = {tokenizer.eos_token_id, *_listed(model.config.eos_token_id)} - {None}
        call = tokenizer.get_vocab().get(CALL_TOKEN)
        self._never = [] if call is None else [call]

    def settings(self) -> dict[str, Any]:
        """What the answers depend on: where the model was read from, its files, and the limits."""
        place = str(getattr(self.model, "name_or_path", ""))
        return {"model": place, "files": self._files, "max_tokens": self._max_tokens}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Continue each text by one unit; no candidate where the partner ends the text itself."""
        return [self._continue(request) for request in requests]

    def forget(self) -> None:
        """Drop all caches."""
        self._streams.clear()

    @torch.inference_mode()
    def _continue(self, request: Request) -> Reply:
        begin = time.perf_counter()
        limit = self._max_tokens[request.unit]
        stream = self._stream(request.stream)
        ids = self._text.encode(request.text)
        ids = ids if self._bos is None else [self._bos, *ids]
        if not ids:
            return Reply(error=f"{self.name}: it cannot begin a text (no start token)")
        room = self._context - limit
        if room < 1:
            why = f"its context ({self._context}) is too short to say {limit} tokens"
            return Reply(error=f"{self.name}: {why}")
        cut = len(ids) > room
        if cut:
            # The window moves in jumps of half its size, so that the next calls reuse the cache.
            jump = max(1, room // 2)
            ids = ids[-(-(len(ids) - room) // jump) * jump :]
        try:
            logits_V = self._read_up_to(stream, ids)
            text, spoken = self._speak(stream, logits_V, request.unit, limit)
        except BaseException:
            # The cache may hold half a step: it cannot be gone on with.
            self._streams.pop(request.stream, None)
            raise
        evidence = f"continued by {self.name}"
        evidence += f", which saw the last {len(ids)} tokens only" if cut else ""
        found = (Candidate(text, evidence),) if text else ()
        seconds = time.perf_counter() - begin
        return Reply(found, cost=self.cost * spoken, seconds=seconds)

    def _speak(
        self, stream: _Stream, logits_V: torch.Tensor, unit: Unit, limit: int
    ) -> tuple[str, int]:
        """Greedy text of one unit, and how many tokens were made for it."""
        out = self._text.stream()
        text = ""
        for spoken in range(1, limit + 1):
            if self._never:
                logits_V[self._never] = -torch.inf
            token = int(logits_V.argmax())
            if token in self._ends:
                return cut_unit(text, unit, ended=True), spoken
            text += out.add(token)
            if unit == "token" and text and out.whole:
                return text, spoken
            if unit != "token" and (done := cut_unit(text, unit, ended=False)):
                return done, spoken
            if spoken < limit:
                logits_V = self._feed(stream, [token])
        # The limit fell inside a unit: a half word would be worse than none.
        return cut_unit(text, unit, ended=False) or whole_words(text, unit), limit

    def _read_up_to(self, stream: _Stream, ids: list[int]) -> torch.Tensor:
        """Bring a stream's cache to ``ids``, reusing the longest common beginning."""
        common = 0
        for old, new in zip(stream.ids, ids, strict=False):
            if old != new:
                break
            common += 1
        common = min(common, len(ids) - 1)  # the last token is always read: its logits are needed
        if common == 0:
            stream.ids, stream.cache = [], _new_cache()
        elif common < len(stream.ids):
            stream.cache.crop(common - len(stream.ids))
            stream.ids = stream.ids[:common]
        return self._feed(stream, ids[common:])

    def _feed(self, stream: _Stream, tokens: list[int]) -> torch.Tensor:
        input_BT = torch.tensor([tokens], device=self.model.device)
        output = self.model(
            input_ids=input_BT, past_key_values=stream.cache, use_cache=True, logits_to_keep=1
        )
        stream.ids.extend(tokens)
        self.tokens_read += len(tokens)
        logits_V: torch.Tensor = output.logits[0, -1].float()
        return logits_V

    def _stream(self, number: int) -> _Stream:
        stream = self._streams.setdefault(number, _Stream())
        self._streams.move_to_end(number)
        while len(self._streams) > self._keep:
            self._streams.popitem(last=False)
        return stream


def _read(place: str | Path, tokenizer: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(place, use_safetensors=True)
        return model, tokenizer or AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LacyError("E69", path=place, why=lines[0]) from error


def _files_of(place: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's weights: a model trained anew answers otherwise."""
    found = [(path.name, path.stat()) for path in sorted(Path(place).glob("*.safetensors"))]
    return [(name, told.st_size, told.st_mtime_ns) for name, told in found] if place else []


def _new_cache() -> Any:
    from transformers import DynamicCache

    return DynamicCache()


def _listed(ids: Any) -> list[int]:
    return ids if isinstance(ids, list) else [ids]


def _limits(max_tokens: int | dict[Unit, int] | None) -> dict[Unit, int]:
    """Most tokens by unit, the defaults where nothing is said."""
    if isinstance(max_tokens, int):
        return {"token": max_tokens, "word": max_tokens, "value": max_tokens}
    return {**DEFAULT_MAX_TOKENS, **(max_tokens or {})}
