"""A local language model as a judge, by the logits of True and False (no text is generated)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.judges.endpoint import verification_prompt
from lacy.judges.protocol import Claim, Judgment, not_judgeable

if TYPE_CHECKING:
    from torch import Tensor

    from lacy.model import Loaded

BATCH = 8
"""Number of claims per forward pass."""

NO_ROOM = "the passages do not fit into the model's context"


class CausalJudge:
    """Asks a local causal model "True or False?" and compares the logits of both words.

    This is what FActScore does with LLaMA. It needs a model of several billion parameters:
    SmolLM2-135M is no judge (``lacy judge check`` measures its agreement with people).

    Args:
        model: a loaded model.
        batch: number of claims per forward pass.
    """

    uses_response = False
    passages = 5

    def __init__(self, model: Loaded, *, batch: int = BATCH) -> None:
        from lacy.corpus import begin_end
        from lacy.model import model_fingerprint

        self._loaded, self._batch = model, batch
        self.name = model.name or str(model.path or "model")
        self.identity = ("causal", 1, model_fingerprint(model.model))
        self._begin = [token for token in begin_end(model.tokenizer)[:1] if token is not None]
        self._true, self._false = self._word_ids("True"), self._word_ids("False")

    @classmethod
    def open(cls, name: str | Path) -> CausalJudge:
        """Load a model's folder, GGUF file, short name or Hub name.

        Raises:
            LacyError: the model cannot be loaded.
        """
        from lacy.model import load_model

        return cls(load_model(name))

    def judge(self, claims: Sequence[Claim]) -> list[Judgment]:
        """Return one judgment per claim, in their order."""
        found: dict[int, Judgment] = {}
        prompts: dict[int, list[int]] = {}
        for place, claim in enumerate(claims):
            undecidable = not_judgeable(claim)
            ids = None if undecidable else self._ids(claim)
            if undecidable or ids is None:
                found[place] = undecidable or Judgment(None, None, NO_ROOM)
            else:
                prompts[place] = ids
        # By length, so that a batch has little padding; the order of judgments does not change.
        places = sorted(prompts, key=lambda place: (len(prompts[place]), place))
        for start in range(0, len(places), self._batch):
            chosen = places[start : start + self._batch]
            shares = self._true_shares([prompts[place] for place in chosen])
            found |= {
                place: Judgment(share > 0.5, share)
                for place, share in zip(chosen, shares, strict=True)
            }
        return [found[place] for place in range(len(claims))]

    def _word_ids(self, word: str) -> list[int]:
        """Return the first tokens of a word, with and without a space before it."""
        encode = self._loaded.tokenizer.encode
        ids = [encode(text, add_special_tokens=False)[0] for text in (word, f" {word}")]
        return sorted(set(ids))

    def _ids(self, claim: Claim) -> list[int] | None:
        """Return the prompt's tokens; passages are dropped from the least relevant one on."""
        from lacy.corpus import encode_texts

        for number in range(len(claim.passages), 0, -1):
            shorter = Claim(claim.text, claim.topic, claim.passages[:number])
            [encoding] = encode_texts(self._loaded.tokenizer, [verification_prompt(shorter)])
            if len(self._begin) + len(encoding.ids) <= self._loaded.context:
                return [*self._begin, *encoding.ids]
        return None

    def _true_shares(self, prompts: list[list[int]]) -> list[float]:
        """Return the probability of True against False after each prompt."""
        import torch

        width = max(map(len, prompts))
        ids_BT = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts])
        mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
        device = self._loaded.model.device
        with torch.inference_mode():
            logits_BV: Tensor = self._loaded.model(
                input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device),
                position_ids=(mask_BT.cumsum(-1) - 1).clamp(min=0).to(device), logits_to_keep=1,
            ).logits[:, -1].float()  # fmt: skip
        true_B = torch.logsumexp(logits_BV[:, self._true], -1)
        false_B = torch.logsumexp(logits_BV[:, self._false], -1)
        shares: list[float] = torch.sigmoid(true_B - false_B).tolist()
        return shares
