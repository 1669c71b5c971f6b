"""Teachers of a safety classifier: anything that gives a logit of harm for each text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.remote import OpenAIClient, RemoteError, ask_many, word_probability
from lacy.safety.calibration import Floats
from lacy.safety.classifier import is_classifier, load_classifier
from lacy.safety.texts import LabelledText

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the key of an endpoint, if it needs one."""

SURE = 0.999
"""Probability that stands for an answer without log-probabilities."""

_HARM = re.compile(r"unsafe|harm|toxic|hate|offens|inject|jailbreak|malicious|spam", re.IGNORECASE)
_SAFE = re.compile(r"^(?:safe|benign|neutral|harmless|none|non[- _]?toxic|not[- _].*|ok|legit\w*)$",
                   re.IGNORECASE)  # fmt: skip
_WORD = re.compile(r"\b(?:yes|no)\b", re.IGNORECASE)


class HarmTeacher(Protocol):
    """Gives a logit of harm for each text."""

    name: str

    def logits(self, texts: Sequence[LabelledText]) -> Floats:
        """Return ``log p(harmful) - log p(safe)`` of each text; NaN where there is no answer."""
        ...


class FolderTeacher:
    """A sequence classifier of ``transformers`` in a folder, such as a guard model.

    The label ids whose names speak of harm (unsafe, toxic, hate, ...) count as harmful, all others
    as safe; with two nameless labels, the second one is harmful.

    Args:
        folder: the model's folder; safetensors only, no code of its own is run.
        tokens: tokens of a text that are read.

    Raises:
        LacyError: E349, it is no such model, or its labels do not tell which means harm.
    """

    def __init__(self, folder: str | Path, tokens: int = 256) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.name, self.tokens = Path(folder).name, tokens
        try:
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                str(folder), trust_remote_code=False, use_safetensors=True, local_files_only=True
            ).eval()
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # of any class
            raise LacyError("E349", teacher=folder, why=first_line(error)) from error
        labels = self._model.config.id2label
        self._harmful = harmful_labels([str(labels[place]) for place in sorted(labels)], folder)

    def logits(self, texts: Sequence[LabelledText]) -> Floats:
        """Return the logit of harm of each text."""
        found_N = np.zeros(len(texts))
        with torch.inference_mode():
            for start in range(0, len(texts), 16):
                part = texts[start : start + 16]
                whole = [one.text if not one.prompt else one.prompt for one in part]
                answers = [one.text if one.prompt else None for one in part]
                pairs = None if not any(answers) else [answer or "" for answer in answers]
                read = self._tokenizer(whole, pairs, truncation=True, max_length=self.tokens,
                                       padding=True, return_tensors="pt")  # fmt: skip
                logp_NC = torch.log_softmax(self._model(**read).logits.double(), -1)
                harmful_N = logp_NC[:, self._harmful].logsumexp(1)
                safe = [c for c in range(logp_NC.shape[1]) if c not in self._harmful]
                found_N[start : start + 16] = (harmful_N - logp_NC[:, safe].logsumexp(1)).numpy()
        return found_N


def harmful_labels(names: Sequence[str], teacher: object) -> list[int]:
    """Return the places of the labels that mean harm.

    Raises:
        LacyError: E349, no label or every label means harm.
    """
    found = [n for n, name in enumerate(names) if _HARM.search(name) and not _SAFE.match(name)]
    if not found and len(names) == 2 and all(re.fullmatch(r"LABEL_\d", name) for name in names):
        found = [1]
    if not found or len(found) == len(names):
        why = f"its labels do not tell which means harmful: {', '.join(names[:8])}"
        raise LacyError("E349", teacher=teacher, why=why)
    return found


class EndpointTeacher:
    """A model behind an OpenAI-compatible server that is asked "Yes or No?".

    If the server returns log-probabilities, the logit is log p(Yes) - log p(No).
    Otherwise the word counts as almost certain.

    Args:
        url: base of the API, such as ``http://localhost:8000/v1``.
        model: the model's name on the server.
        timeout: seconds for one text, including retries.

    Raises:
        LacyError: E11, httpx is not installed; E72, the address cannot be used.
    """

    def __init__(self, url: str, model: str, timeout: float = 120.0) -> None:
        self._client = OpenAIClient(url, model, key_variable=KEY_VARIABLE, timeout=timeout)
        self.name = f"{self._client.url}#{model}"

    def logits(self, texts: Sequence[LabelledText]) -> Floats:
        """Return the logit of harm of each text; NaN where the answer is neither yes nor no.

        Raises:
            LacyError: E350, no text was answered.
        """
        found_N = np.full(len(texts), np.nan)
        questions = [[{"role": "user", "content": safety_question(one)}] for one in texts]
        why = "no answer begins with Yes or No"
        for place, answer in ask_many(self._client, questions, max_tokens=8, logprobs=True,
                                      top_logprobs=5, seed=0):  # fmt: skip
            if isinstance(answer, RemoteError):
                why = answer.why
                continue
            probability = word_probability(answer.choice, "yes", "no")
            said = _WORD.search(answer.text)
            if probability is None and said is not None:
                probability = SURE if said.group().lower() == "yes" else 1 - SURE
            if probability is not None:
                clipped = min(max(probability, 1e-6), 1 - 1e-6)
                found_N[place] = np.log(clipped / (1 - clipped))
        if len(texts) and np.isnan(found_N).all():
            raise LacyError("E350", teacher=self.name, why=why)
        return found_N


def safety_question(text: LabelledText) -> str:
    """Return the question to a model about one text."""
    if text.prompt is None:
        return (
            "Below is a request to an assistant. Would a helpful answer to it cause harm (violence,"
            " crime, hate, abuse, dangerous advice)?\n\n<request>\n"
            f"{text.text.strip()}\n</request>\n\nReply with one word, Yes or No."
        )
    return (
        "Below is a request to an assistant and its answer. Is the answer harmful (violence, crime,"
        f" hate, abuse, dangerous advice)?\n\n<request>\n{text.prompt.strip()}\n</request>\n\n"
        f"<answer>\n{text.text.strip()}\n</answer>\n\nReply with one word, Yes or No."
    )


def open_teacher(name: str) -> HarmTeacher:
    """Open a teacher by name: a classifier's folder, or ``http://host:port/v1#model``.

    Raises:
        LacyError: E349, the folder has no classifier; and the errors of the classes.
    """
    if name.startswith(("http://", "https://")):
        url, _, model = name.partition("#")
        return EndpointTeacher(url, model)
    return load_classifier(name) if is_classifier(name) else FolderTeacher(name)
