"""The model ``lacy`` of lm-eval: any model that lacy opens, alone or with a source.

Alone (``policy=never``), it is lm-eval's own class ``hf`` on the model without its ``<CALL>`` row,
so that tokenisation, truncation, batching and every number are the same. With a source, generation
and, if the model reads what its source says, log-likelihoods include calls (``with_calls``).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from lacy._require import require_one_of
from lacy.cascade import Engine, is_address, model_name, open_engine, parse_policy, split_policy
from lacy.errors import LacyError
from lacy.harness.identity import identity_of
from lacy.harness.text_model import open_text_model, text_tokenizer
from lacy.harness.with_calls import CallCounts, EngineAnswers
from lacy.model import load_model, without_call
from lacy.results import AnswerStore, answer_key

Likelihood = Literal["auto", "calls", "alone"]
"""What log-likelihoods are in a cascade: ``calls`` counts the values of the source, ``alone`` are
the model's own, and ``auto`` is ``calls`` for a model that reads what its source says."""


@register_model("lacy")
class LacyLM(HFLM):
    """lm-eval's interface to a model of lacy.

    Each request is a text of its own: a policy with a budget starts afresh for every request, so
    that answers depend neither on the order of the requests nor on the batch size.

    Args:
        pretrained: a model's folder, a run, a .gguf file, a short name (``smollm2``) or a Hub name;
            a policy may follow a colon.
        policy: when to call, such as ``never`` (the default without a source), ``threshold=0`` or
            ``budget=0.22``.
        source: what answers calls; several are separated by ``;``.
        likelihood: see ``Likelihood``. It does not change generation.
        begin: the token that begins every text. By default the tokenizer's files decide, as with
            ``hf``; ``auto`` is the token that lacy chooses for texts (``lacy data check MODEL``).
        unit: how much text one call returns.
        calibrate: number of the source's texts to calibrate on.
        price: prices of language models as sources; several are separated by ``;``.
        answers: a file that stores all answers, so that a run that was stopped goes on, or an open
            ``AnswerStore``.
        dtype: dtype of the weights, as with ``hf``; in a cascade, ``auto`` means float32.
        device: such as ``cpu`` or ``cuda``; by default a GPU if there is one.
        options: all other arguments of ``hf``, such as ``batch_size``, ``max_length``,
            ``add_bos_token``, ``prefix_token_id`` and ``chat_template_args``. Code in a model's
            folder never runs.

    Raises:
        LacyError: E242, a model behind a server; E12, an unknown ``likelihood``; E243,
            log-likelihoods with calls of a model that does not read; and the errors of
            ``lacy.cascade.open_engine``.
    """

    def __init__(
        self,
        pretrained: str,
        policy: str | None = None,
        source: str | Sequence[str] = (),
        likelihood: Likelihood = "auto",
        begin: str | None = None,
        unit: str = "value",
        calibrate: int = 100,
        price: str | Sequence[str] = (),
        answers: str | Path | AnswerStore | None = None,
        dtype: str | torch.dtype = "auto",
        device: str | None = None,
        **options: Any,
    ) -> None:
        name, named_policy = split_policy(str(pretrained))
        if is_address(name):
            raise LacyError("E242", model=name)
        require_one_of("likelihood", likelihood, get_args(Likelihood))
        sources = _several(source)
        policy = policy or named_policy or (None if sources else "never")
        self.engine: Engine | None = None
        self._call_id: int | None = None
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if policy is None or str(parse_policy(policy)) != "never":
            loaded = load_model(name)
            loaded.model.to(where)  # type: ignore[arg-type]
            model, place = loaded.model, Path(str(loaded.path))
            wanted = str(dtype).removeprefix("torch.")
            if wanted not in ("auto", "float32"):
                model.to(getattr(torch, wanted))
            self.engine = open_engine(
                loaded, sources, policy, calibration=calibrate, prices=_several(price), unit=unit
            )
            self._call_id = self.engine.call_id
        else:
            model, place = open_text_model(name, dtype)
            model.to(where)
        options["trust_remote_code"] = False  # whatever lm-eval's command line says
        with text_tokenizer(place, begin) as tokenizer:
            super().__init__(pretrained=model, tokenizer=tokenizer, **options)
        self.pretrained, self.tokenizer.name_or_path = str(place), str(place)
        self.name = model_name(name)
        self.likelihood: Literal["calls", "alone"] = self._likelihood(likelihood)
        self._with_calls = None if self.engine is None else EngineAnswers(self, self.engine)
        self.counts: list[CallCounts] = []
        """What was called for each generated answer, in a cascade."""
        store = answers if isinstance(answers, AnswerStore) else AnswerStore(answers)
        self._answers = store
        self._inner_hook: CacheHook = self.cache_hook
        self._identity: list[Any] | None = None
        self._asked: Counter[str] = Counter()
        self._chats: dict[str, list[dict[str, str]]] = {}

    @property
    def policy(self) -> str:
        """The policy in words."""
        return "never" if self.engine is None else str(self.engine.policy)

    @property
    def conditions(self) -> dict[str, str]:
        """How this model answers, for the conditions of results."""
        found = {
            "model": self.name,
            "policy": self.policy,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.device.type,
            "begin": str(self.tokenizer.decode(self.prefix_token_id)),
            "max_length": str(self.max_length),
            "batch_size": str(self.batch_size),
        }
        if self.engine is not None:
            found["source"] = self.engine.source.name if self.engine.source else "none"
            found["likelihood"] = "with calls" if self.likelihood == "calls" else "without calls"
        return found

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and whether decoding would produce it."""
        ask, quiet = super().loglikelihood, disable_tqdm or _no_terminal()
        found = self._stored("loglikelihood", requests, lambda rest: ask(rest, quiet))
        return [(float(likely), bool(greedy)) for likely, greedy in found]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-likelihood of whole texts, in windows of ``max_length`` tokens."""
        ask, quiet = super().loglikelihood_rolling, disable_tqdm or _no_terminal()
        return self._stored("loglikelihood_rolling", requests, lambda rest: ask(rest, quiet))

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return a continuation of each context, up to its first stop string."""
        if self._with_calls is None:
            ask: Callable[[list[Instance], bool], list[str]] = super().generate_until
        else:
            ask = self._with_calls.generate
        quiet = disable_tqdm or _no_terminal()
        return self._stored("generate_until", requests, lambda rest: ask(rest, quiet))

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render a chat as ``hf`` does; the messages are remembered for the source."""
        rendered: str = super().apply_chat_template(chat_history, add_generation_prompt)
        if add_generation_prompt:
            self._chats[rendered] = [dict(message) for message in chat_history]
        return rendered

    def chat_of(self, context: str) -> list[dict[str, str]]:
        """Return the messages of a rendered chat; empty for any other context."""
        return self._chats.get(context, [])

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Use lm-eval's own cache (``--use_cache``) beside the stored answers."""
        self._inner_hook = cache_hook

    def occurrences(self, kind: str, requests: Sequence[Instance]) -> list[int]:
        """Return how many equal requests were answered before each of these requests."""
        keys = [self._key(kind, request.args) for request in requests]
        seen = Counter(self._asked)
        found = []
        for key in keys:
            found.append(seen[key])
            seen[key] += 1
        return found

    def answered(self, kind: str, args: Any, answer: Any, counts: CallCounts | None = None) -> None:
        """Store an answer as soon as it is known.

        Args:
            kind: method of the request.
            args: the request's arguments.
            answer: as the method returns it.
            counts: what was called for it.
        """
        key = self._key(kind, args)
        number = self._asked[key]
        self._asked[key] += 1
        called = None if counts is None else counts.as_list()
        self._answers.put({f"{key}-{number}": [answer, called]})
        self._inner_hook.add_partial(kind, args, answer)

    def _model_call(
        self, inps: torch.Tensor, attn_mask: Any = None, labels: Any = None
    ) -> torch.Tensor:
        return without_call(super()._model_call(inps, attn_mask, labels), self._call_id)

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        quiet = disable_tqdm or _no_terminal()
        if self._with_calls is not None and self.likelihood == "calls":
            return self._with_calls.likelihoods(requests, quiet)
        return super()._loglikelihood_tokens(requests, quiet, override_bs)

    def _likelihood(self, wanted: Likelihood) -> Literal["calls", "alone"]:
        if wanted == "alone" or self.engine is None:
            return "alone"
        if self.engine.reader is None and wanted == "calls":
            raise LacyError("E243", model=self.name)
        return "alone" if self.engine.reader is None else "calls"

    def _stored(
        self, kind: str, requests: Sequence[Instance], ask: Callable[[list[Instance]], Any]
    ) -> list[Any]:
        """Return the stored answers of requests, after asking those that have none.

        Equal requests have answers of their own, because with sampling they differ.
        """
        keys, seen = [], Counter[str]()
        for request in requests:
            key = self._key(kind, request.args)
            keys.append(f"{key}-{seen[key]}")
            seen[key] += 1
        missing = [
            request for request, key in zip(requests, keys, strict=True) if key not in self._answers
        ]
        self._asked = Counter(key.rpartition("-")[0] for key in keys if key in self._answers)
        if missing:
            self.cache_hook = _StoreAnswers(self)
            ask(missing)
        found = [self._answers.get(key) for key in keys]
        if kind == "generate_until" and self.engine is not None:
            self.counts += [CallCounts(*called) for _, called in found]
        return [answer for answer, _ in found]

    def _key(self, kind: str, args: Iterable[Any]) -> str:
        if self._identity is None:
            self._identity = identity_of(self)
        return answer_key(self._identity, kind, _plain(list(args)))


class _StoreAnswers(CacheHook):
    """Stores each answer of ``hf`` when it is computed."""

    def __init__(self, lm: LacyLM) -> None:
        super().__init__(None)
        self._lm = lm

    def add_partial(self, attr: str, req: Iterable[Any], res: Any) -> None:
        self._lm.answered(attr, req, res)


def _no_terminal() -> bool:
    """True if nobody would see a progress bar."""
    return not sys.stderr.isatty()


def _several(given: str | Sequence[str]) -> list[str]:
    """Return names that are given as a list or as one text with semicolons."""
    parts = given.split(";") if isinstance(given, str) else given
    return [part for part in parts if part]


def _plain(value: Any) -> Any:
    """Return a request's arguments as plain data."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
