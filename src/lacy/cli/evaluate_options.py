"""Flags of ``lacy evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lacy.cli.options import SourceOptions
from lacy.config import Rare


@dataclass
class MeasureOptions(SourceOptions):
    """A model, what answers its calls, and measurements that need no truth."""

    # [lm-eval]
    tasks: list[str] = field(default_factory=list)
    """Tasks of lm-eval, by name or as YAML files of your own (docs/how-to/lm-eval.md), without
    calls and, with --source, with calls."""
    few_shot: Rare[int | None] = None
    """Number of examples before each question; by default the task's own."""
    limit: int | None = None
    """Ask only the first N documents of each task."""
    chat: bool = False
    """Ask with the model's chat template."""
    likelihood: Rare[Literal["auto", "calls", "alone"]] = "auto"
    """Whether log-likelihoods count calls, in a run with calls: calls, alone (the model's own), or
    auto, which is calls for a model that reads what its source says."""
    begin_token: Rare[str | None] = None
    """Token that begins every text of a task: auto for lacy's choice; by default the tokenizer's
    files decide, as with lm-eval's own model class hf."""
    batch_size: Rare[int] = 8
    """Number of requests that are computed together, for --tasks and --speed."""
    answers: Rare[Path | None] = None
    """File that stores every answer, so that a run that was stopped goes on; by default beside
    --out."""

    # [Saturation]
    saturation: Path | None = None
    """Texts on which to measure if the output head limits the model: rank, anisotropy, loss with a
    head of lower rank, and the share of the gradient that passes it."""
    train_heads: Rare[bool] = False
    """With --saturation: also train heads of lower rank, which takes minutes."""
    checkpoints: Rare[bool] = False
    """With --saturation: measure every checkpoint of a run."""

    # [Language]
    texts: Path | None = None
    """Texts of any kind: loss, perplexity and bits per byte, on and off fact tokens and, with
    --source, with calls."""
    window: Rare[int] = 1024
    """Number of tokens that are read together; longer texts are read in overlapping windows."""
    stride: Rare[int | None] = None
    """Number of tokens that each further window scores; by default half the window."""
    call_tokens: Rare[int] = 256
    """Number of tokens of each text that are read with calls."""

    # [Speed]
    speed: bool = False
    """Measure size, speed, memory, energy and price, without calls and, with --source, with calls;
    with --questions, also of a right answer."""
    prompt_tokens: Rare[int] = 128
    """Length of the prompts whose answers are timed."""
    new_tokens: Rare[int] = 64
    """Number of generated tokens per timed answer."""
    repeat: Rare[int] = 20
    """Number of timed answers."""
    dtype: Rare[Literal["fp32", "bf16", "auto"]] = "fp32"
    """Precision of the weights; for --saturation, of hidden states. bf16 is several times as fast
    where the CPU or GPU supports it, but rounding changes some words; auto uses it there."""
    reference: Rare[str | None] = None
    """Model or file with which the size is compared; by default the same weights in 32 bits."""
    rate: Rare[float | None] = None
    """US dollars for an hour of this machine, for the price of tokens and right answers."""


@dataclass
class EvaluateConfig(MeasureOptions):
    """Evaluate a model: one question at a time, or everything as a scorecard."""

    # [Data]
    all: bool = False
    """Measure everything for which you give data, alone and in cascade, and write a scorecard: one
    JSON, a page, and a section for the model card. The same command continues a stopped run."""
    world: Path | None = None
    """Folder of `lacy data world`: facts, calls, closed-book recall and stored bits are measured
    against exact truth; by default its own database is the source."""
    articles: Path | None = None
    """Held-out texts: the share of generated names, numbers and dates that the article contains."""
    people_facts: Rare[Path | None] = None
    """Database of facts about the people of --articles: truth for dates and places of birth and
    death, nationalities and occupations that the texts state; by default the articles are."""
    questions: Path | None = None
    """Questions with accepted answers (.json or .jsonl, or a folder of them; files of PopQA and
    EntityQuestions too): the share of right answers, alone and with --source."""
    own_facts: Rare[bool] = False
    """Answer the calls of --questions from the facts that they give themselves (subject, relation,
    answer), as they are and with each edited to another value."""
    audit: Path | None = None
    """Facts to delete and to edit, in a copy: a folder or .tar.gz of LMLMAudit's data, or a facts
    database. Measured are the answers with each fact in the database, deleted, edited, and without
    a source."""
    judge: str = ""
    """With --all: the judge of facts in free texts: overlap, http://host/v1#model, or a model's
    folder or name; by default the one that comes with lacy."""
    unknown: Rare[str] = ""
    """With --audit: what an answer says where no row has the fact, such as "I don't know."; by
    default the model answers in its own words."""
    people: int = 100
    """Number of people, articles, questions, or facts per database."""
    split: Literal["train", "valid", "fresh", "unseen"] = "valid"
    """Split of the world: valid is known people in new wording, fresh uses unknown phrasings,
    unseen has unknown people."""
    only: Rare[str | None] = None
    """Read only articles for which this field is true, for example is_biography."""
    encoding: Rare[str | None] = None
    """Encoding of articles that are not UTF-8, as in `lacy data mark`."""
    pipeline: Rare[str] = "auto"
    """spaCy pipeline that finds names, numbers and dates in articles."""

    # [Delegation]
    policies: list[str] = field(default_factory=list)
    """Policies to evaluate, one row of the table each; by default never, random and budget at
    --call-rate, and threshold=0 if the model also learned where not to call. A model that was not
    taught to call gets a budget by entropy."""
    call_rate: float = 0.22
    """Share of tokens from sources for the default policies (0.22 as in the paper)."""

    # [Generation]
    max_new_tokens: int = 192
    """Maximum number of generated tokens per text."""

    # [Output]
    seed: Rare[int] = 0
    """Random seed of the bootstrap for the intervals."""
    out: Path | None = None
    """Also write all results as JSON; with --all, the folder of the scorecard (scorecard/NAME)."""
    update_card: Rare[bool] = False
    """With --all: also write the results into the README of the model's folder."""
