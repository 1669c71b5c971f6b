"""Make a model compute only the logits of a task's tokens and of its context's.

``tailor`` replaces the output head of a model in memory by a ``TailoredHead`` and watches what the
model reads. ``Tailored.restore`` puts the head back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from lacy._require import require_at_least, require_one_of, require_share
from lacy.errors import LacyError
from lacy.model import Loaded, decodes_from_cache, read_head
from lacy.types import CALL_TOKEN
from lacy.vocabulary.head import Fallback, HeadUse, TailoredHead
from lacy.vocabulary.rows import ActiveRows, MemoryRows, RowTable
from lacy.vocabulary.screen import Screen
from lacy.vocabulary.stored import StoredEmbedding, drop_file_pages, stored_rows_of
from lacy.vocabulary.task import Vocabulary
from lacy.vocabulary.tokens import protected_ids

Mode = Literal["static", "dynamic", "hybrid", "context"]
"""Which tokens are active, besides special tokens, ``<CALL>`` and all bytes.

``static``: those of a task's vocabulary. ``dynamic``: those that the model has read in its current
contexts, such as the prompt and what a source returned. ``hybrid``: both (VocabTailor).
``context``: like ``dynamic``, but at most ``CONTEXT_TOKENS``, the latest ones.
"""

CONTEXT_TOKENS = 3_000
"""Maximum number of tokens of a context in the mode ``context``."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes and rows of a tailored head."""

    tokens: int
    """Number of all tokens."""
    active: int
    """Number of rows that are computed now."""
    whole_bytes: int
    """Bytes of embedding and head of the model as it was; a tied matrix counts once."""
    active_bytes: int
    """Bytes of the rows that are computed."""
    screen_bytes: int
    """Bytes of the copy for the fallback; 0 without one."""
    width: int
    """Length of a row."""

    @property
    def reduction(self) -> float:
        """Share of the bytes of embedding and head that need not be in memory.

        These are all but those of the active rows and of the fallback's copy; the other rows can
        stay in a file (``offload``).
        """
        return 1 - (self.active_bytes + self.screen_bytes) / self.whole_bytes

    @property
    def operations(self) -> float:
        """Floating point operations of the active rows per state, as a share of all rows'."""
        return self.active / self.tokens


class Tailored:
    """A model with a tailored head.

    Args:
        loaded: the model; its head is replaced until ``restore``.
        head: what stands in its place.
        seconds: how long it took.
        matrices: embedding and head, if they were freed.
    """

    def __init__(
        self,
        loaded: Loaded,
        head: TailoredHead,
        mode: Mode,
        seconds: float,
        matrices: Matrices | None = None,
    ) -> None:
        self.loaded, self.head, self.mode, self.seconds = loaded, head, mode, seconds
        self._matrices = matrices
        model: Any = loaded.model
        self._original = model.get_output_embeddings()
        self._hooks: list[Any] = []
        model.set_output_embeddings(head)
        if mode != "static":
            embedding = model.get_input_embeddings()
            watch = embedding.register_forward_pre_hook(self._read, with_kwargs=True)
            self._hooks.append(watch)
        if head.capped:
            self._hooks.append(model.register_forward_hook(self._hide))

    @property
    def use(self) -> HeadUse:
        """What the head has done."""
        return self.head.use

    def begin(self, contexts: Sequence[Sequence[int]] = (), *, apart: bool = False) -> None:
        """Forget the tokens of earlier contexts, before the texts of a new request.

        Without this, they stay active, which costs time and memory; with the fallback ``exact``
        the text is the same.

        Args:
            contexts: token ids of each prompt of the next batch; needed with ``apart``, as the
                model otherwise admits what it reads.
            apart: True if each text of the batch has a vocabulary of its own, so that its text
                does not depend on the others; by default all share one.
        """
        self.head.begin(contexts, apart=apart)

    def sizes(self) -> Sizes:
        """Return bytes and rows."""
        head, model = self.head, self.loaded.model
        rows, width = head.table.shape
        matrices = 1 if getattr(model.config, "tie_word_embeddings", False) else 2
        return Sizes(
            tokens=rows,
            active=len(head.active),
            whole_bytes=matrices * rows * width * head.table.dtype.itemsize,
            active_bytes=head.active.bytes,
            screen_bytes=head.screen.bytes if head.screen is not None else 0,
            width=width,
        )

    def restore(self) -> Loaded:
        """Put the model's own head back, and return the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if self._matrices is not None:
            self._matrices.restore()
        self.loaded.model.set_output_embeddings(self._original)
        return self.loaded

    def _read(self, module: Any, args: Any, kwargs: Any) -> None:
        """Admit the tokens that the model reads."""
        ids_BT = args[0] if args else kwargs["input"]
        self.head.admit(ids_BT.reshape(-1, ids_BT.shape[-1]).tolist())

    def _hide(self, module: Any, args: Any, output: Any) -> None:
        """Set logits that were not computed to -inf again, as a cap makes them finite."""
        if self.head.unknown_BV is not None:
            unknown = self.head.unknown_BV.view(output.logits.shape)
            output.logits = output.logits.masked_fill(unknown, -torch.inf)


def tailor(
    loaded: Loaded,
    vocabulary: Vocabulary | None = None,
    mode: Mode | None = None,
    *,
    fallback: Fallback = "exact",
    top: int = 1,
    offload: bool = False,
) -> Tailored:
    """Replace a model's head by one that computes only some tokens.

    Args:
        loaded: a model of any causal architecture; changed in place until ``Tailored.restore``.
        vocabulary: the tokens of a task, for ``static`` and ``hybrid``.
        mode: which tokens are active; by default ``hybrid`` with a vocabulary, else ``dynamic``.
        fallback: what becomes of the others, see ``Fallback``.
        top: with ``exact``, number of likeliest tokens that are exact: 1 for greedy decoding, twice
            the number of beams for a beam search, k for sampling from the k likeliest.
        offload: leave the rows of embedding and head in the model's file, except those that are
            computed, and free their memory.

    Raises:
        LacyError: E12, an invalid setting; E58, the logits of this architecture are more than a
            head with a scale and a cap; E271, the vocabulary belongs to another tokenizer; E275,
            the model's head is tailored already; E276, with ``offload``, the model is not as in
            its file.
    """
    mode = mode or ("hybrid" if vocabulary is not None else "dynamic")
    require_one_of("mode", mode, get_args(Mode))
    if isinstance(fallback, str):
        require_one_of("fallback", fallback, ("exact", "off"))
    else:
        require_share("fallback", fallback)
    require_at_least("top", top, 1, finite=True)
    if (vocabulary is None) == (mode in ("static", "hybrid")):
        why = "it needs a vocabulary" if vocabulary is None else "it uses no vocabulary"
        do = "give a vocabulary for static and hybrid, none for dynamic and context"
        raise LacyError("E12", key="mode", value=mode, why=why, do=do)
    model: Any = loaded.model
    whole = model.get_output_embeddings()
    if is_tailored(loaded):
        raise LacyError("E275", name=loaded.name or type(model).__name__)
    decodes_from_cache(model)  # it is found out once, which needs all logits
    begin = time.perf_counter()
    if vocabulary is not None:
        vocabulary.require(loaded.tokenizer)
    facts = read_head(model)
    matrices = Matrices(loaded) if offload else None
    rows: RowTable = MemoryRows(whole.weight) if matrices is None else matrices.head
    fixed = set(vocabulary.ids) if vocabulary is not None else set(protected_ids(loaded.tokenizer))
    call_id = loaded.tokenizer.get_vocab().get(CALL_TOKEN)
    call = call_id is not None and call_id < rows.shape[0]
    order = [call_id] * call + sorted(fixed - {call_id})
    most = {"static": 0, "context": CONTEXT_TOKENS}.get(mode, rows.shape[0])
    device = model.device
    bias_V = None if getattr(whole, "bias", None) is None else whole.bias.detach()
    active = ActiveRows(rows, bias_V, order, most, device)
    screen = None
    if fallback != "off":
        others = sorted(set(range(rows.shape[0])) - set(order))
        screen = Screen(rows, bias_V, others, device)
    head = TailoredHead(
        facts, None if offload else whole, rows, active, bias_V, call=call, fallback=fallback,
        screen=screen, top=int(top),
    )  # fmt: skip
    if matrices is not None:
        matrices.release()
    return Tailored(loaded, head, mode, time.perf_counter() - begin, matrices)


class Matrices:
    """Embedding and head of a model, which can leave its memory and come back from its file."""

    def __init__(self, loaded: Loaded) -> None:
        self._model: Any = loaded.model
        self._embedding = self._model.get_input_embeddings()
        self._output = self._model.get_output_embeddings()
        self._tied = self._output.weight is self._embedding.weight
        self.rows = stored_rows_of(loaded, self._embedding.weight)
        self.head = self.rows if self._tied else stored_rows_of(loaded, self._output.weight)
        scale = float(getattr(self._embedding, "embed_scale", 1.0))
        self._stored = StoredEmbedding(self.rows, scale, self._model.device)
        ids = torch.arange(8, device=self._model.device)
        with torch.no_grad():
            if not torch.allclose(self._stored(ids), self._embedding(ids)):
                raise LacyError("E276", why="its embedding does more than look up rows")

    def release(self) -> None:
        """Free the matrices, and look up embeddings in the file."""
        self._model.set_input_embeddings(self._stored)
        for module in (self._embedding, self._output):
            drop_file_pages(module.weight)
            module.weight = torch.nn.Parameter(module.weight.new_empty(0), requires_grad=False)
        self.rows.release()

    def restore(self) -> None:
        """Read the matrices into memory again."""
        embedding = torch.nn.Parameter(self._stored.weight.to(self._model.device))
        self._embedding.weight = embedding
        if self._tied:
            self._output.weight = embedding
        else:
            rows = torch.cat([rows_KD for _, rows_KD in self.head.blocks()])
            self._output.weight = torch.nn.Parameter(rows.to(self._model.device))
        self._model.set_input_embeddings(self._embedding)


def open_vocabulary(name: str, tokenizer: Any) -> tuple[Vocabulary | None, Mode]:
    """Return the vocabulary and the mode that a name on the command line stands for.

    Args:
        name: ``dynamic``, ``context``, or a file of ``Vocabulary.save``, for ``hybrid``.
        tokenizer: the model's tokenizer.

    Raises:
        LacyError: E13, there is no such file; E270, it is not a vocabulary; E271, it belongs to
            another tokenizer.
    """
    if name == "dynamic":
        return None, "dynamic"
    if name == "context":
        return None, "context"
    return Vocabulary.load(name, tokenizer), "hybrid"


def parse_fallback(text: str) -> Fallback:
    """Return the fallback that a text on the command line stands for.

    Raises:
        LacyError: E12, it is neither ``exact`` nor ``off`` nor a number from 0 to 1.
    """
    if text in ("exact", "off"):
        return "exact" if text == "exact" else "off"
    try:
        share = float(text)
    except ValueError:
        do = "choose exact or off, or give a number such as 0.01"
        raise LacyError("E12", key="fallback", value=text, why="not a fallback", do=do) from None
    require_share("fallback", share)
    return share


def is_tailored(loaded: Any) -> bool:
    """True if a model's head is tailored."""
    return isinstance(loaded.model.get_output_embeddings(), TailoredHead)
