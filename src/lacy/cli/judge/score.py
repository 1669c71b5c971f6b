"""``lacy judge score``: FActScore and recall of texts about topics."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.terminal import facts as print_facts
from lacy.cli.terminal import needs_extra, note, say, table
from lacy.config import Positional, Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lacy.factscore import FactScoreResult, PageRecall, RecallAtK, TopicResponse

LABELS = "labels"
"""The judge that takes the labels of the file."""


@dataclass
class ScoreConfig:
    """Score how many facts of texts the pages of their topics support (FActScore).

    Texts are split into sentences and these into atomic facts; a judge decides which of them the
    topic's page supports. What cannot be judged is counted and bounds the score. Answers are kept
    beside the results, so a run that was stopped goes on and asks nothing twice.
    """

    responses: Positional[Path]
    """Lines of {"topic": ..., "output": ...}, as FActScore takes them; its labelled data and its
    released predictions can be read, too (.gz as well)."""

    # [Judging]
    pages: Path | None = None
    """Pages by title: lines of {"title": ..., "text": ...}, a folder, an index of
    `lacy source build`, or FActScore's enwiki-20230401.db."""
    judge: str | None = None
    """A judge of `lacy judge check`, by default the one that comes with lacy; a model's folder or
    name; http://HOST/v1#MODEL; labels: the file's own labels, without pages."""
    agreement: Path | None = None
    """What `lacy judge check --judge NAME --out PATH` wrote, for judges that do not come with
    lacy."""
    facts: str = "auto"
    """How texts become facts: clauses (by a dependency parse), given (those in the file),
    http://HOST/v1#MODEL (by a model); auto takes those in the file if there are any."""
    labels: str = ""
    """Whose facts or labels to take from a file that has several: people, model, or the name of a
    judge, such as ChatGPT."""
    concurrency: int = 16
    """Number of requests to a server at a time."""

    # [Scoring]
    gamma: float = 10.0
    """Texts with fewer facts are penalised by exp(1 - gamma / facts); 0 for no penalty."""
    k: int | None = None
    """Number of supported facts that make a complete text, for F1@K; by default the median number
    of facts. Compare models with the same K only."""
    recall: bool = False
    """Also look for the facts of the pages in the texts."""
    abstention: Rare[Literal["lacy", "generic", "perplexity_ai", "none"]] = "lacy"
    """How texts that decline to answer are recognised; generic and perplexity_ai are FActScore's
    rules, none takes only empty texts."""
    titles: Literal["exact", "normal"] = "exact"
    """How a topic finds its page: by the same title, or without regard to case, accents, and an
    ending such as (musician)."""
    date_check: Rare[Literal["original", "strict", "off"]] = "original"
    """What happens to facts with a number or month that their sentence lacks: dropped, but not if
    others then miss (original); always dropped; kept."""
    repeats: Rare[Literal["drop", "keep"]] = "drop"
    """Whether a fact that a text repeats counts once or each time (FActScore)."""
    languages: Rare[Literal["check", "any"]] = "check"
    """Whether texts in other languages are left out or judged by a judge that reads English."""
    passages: Rare[int | None] = None
    """Number of passages of the page per fact; 0 for the whole page. By default 5 for language
    models and the whole page for lacy's judges."""
    limit: int | None = None
    """Score only this many texts."""
    seed: Rare[int] = 0
    """Random seed of the bootstrap for the intervals."""

    # [Output]
    out: Path | None = None
    """File for the results, in FActScore's format with more beside it; by default
    RESPONSES_factscore.json."""


FILE = False
FLAGS = ScoreConfig
EXAMPLES = """
lacy judge score outputs.jsonl --pages pages.jsonl.gz
lacy judge score outputs.jsonl --pages pages.jsonl.gz --facts given --judge overlap --out a.json
lacy judge score labelled.jsonl --judge labels
"""


def run(config: ScoreConfig) -> int:
    """Score the texts, print and write the scores; return 0."""
    from lacy import factscore
    from lacy.judges import DEFAULT_JUDGE, open_judge
    from lacy.results import AnswerStore

    responses = factscore.read_responses(config.responses, labels=config.labels, limit=config.limit)
    settings = factscore.FactScoreSettings(
        gamma=config.gamma, passages=config.passages, abstention=config.abstention,
        titles=config.titles, date_check=config.date_check, repeats=config.repeats,
        languages=config.languages, seed=config.seed,
    )  # fmt: skip
    out = config.out or _default_out(config.responses)
    recall = None
    if config.judge == LABELS:
        measured = factscore.score_labels(responses, settings=settings)
    else:
        if config.pages is None:
            why, do = "a judge needs pages", "name them: --pages FILE; or take --judge labels"
            raise LacyError("E12", key="pages", value=None, why=why, do=do)
        judge = open_judge(config.judge or DEFAULT_JUDGE, concurrency=config.concurrency)
        agreement = None
        if config.agreement is not None:
            agreement = factscore.read_agreement(config.agreement, judge.name)
        pages = factscore.open_pages(config.pages)
        with needs_extra("spacy", "splitting sentences into facts"):
            maker = factscore.open_facts(
                _facts_name(config, responses), concurrency=config.concurrency
            )
            with AnswerStore(out.with_name(f"{out.stem}.answers.jsonl")) as store:
                measured = factscore.score_responses(
                    responses, pages, judge, maker, settings=settings, store=store,
                    agreement=agreement, progress=_progress(),
                )  # fmt: skip
                if config.recall:
                    splitter = maker or factscore.open_facts("clauses")
                    assert splitter is not None
                    recall = factscore.page_recall(
                        measured, pages, judge, splitter, titles=config.titles, store=store,
                        progress=_progress(),
                    )  # fmt: skip
    at_k = factscore.recall_at_k(measured, config.k)
    _print(measured, at_k, recall)
    factscore.write_output(out, measured, [at_k, *([recall] if recall else [])])
    say(f"Written: {out}")
    return 0


def _facts_name(config: ScoreConfig, responses: Sequence[TopicResponse]) -> str:
    """Return the fact maker's name; say which one ``auto`` chose."""
    if config.facts != "auto":
        return config.facts
    speaking = [r for r in responses if r.text.strip() and not r.abstained]
    given = bool(speaking) and all(response.facts is not None for response in speaking)
    name = "given" if given else "clauses"
    origin = "the file has them" if given else "no model is needed"
    note(f"Facts: {name}, because {origin} (--facts)")
    return name


def _default_out(responses: Path) -> Path:
    name = responses.name.removesuffix(".gz").removesuffix(".jsonl")
    return responses.with_name(f"{name}_factscore.json")


def _progress() -> Callable[[str, int, int], None]:
    """Return a function that shows progress on a terminal, at most ten times a second."""
    import time

    last = 0.0

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        if not sys.stderr.isatty() or (time.monotonic() - last < 0.1 and done < total):
            return
        last = time.monotonic()
        print(f"\r{done:,} of {total:,} {what}", end="\n" if done == total else "", file=sys.stderr)

    return show


def _print(measured: FactScoreResult, at_k: RecallAtK, recall: PageRecall | None) -> None:
    from lacy.report import format_score
    from lacy.results import METRICS

    results = [*measured.results(), *at_k.results(), *(recall.results() if recall else [])]
    shown = [
        (_label(METRICS[r.metric].label, at_k.k), format_score(r), r.n)
        for r in results
        if r.metric != "fact_precision"  # equal to the score before the length penalty
    ]
    title = "FActScore" if measured.may_be_called_factscore else "Facts that the pages support"
    table(f"{title} of {len(measured.responses):,} texts", shown, ("", "value", "topics"))
    conditions = measured.conditions()
    for name in ("judge", "agreement", "facts", "pages"):
        say(f"{name.capitalize()}: {conditions[name]}")
    if not measured.may_be_called_factscore:
        say("This judge agrees too little with people for its number to be called FActScore.")
    left_out = {**measured.without_facts(), **measured.unjudged(), **measured.counts}
    if left_out:
        print_facts("Not judged, and what else happened", left_out)
    for topic, nearest in list(measured.missing_pages().items())[:5]:
        similar = ", ".join(map(repr, nearest))
        say(f"No page is called {topic!r}; similar: {similar} (--titles normal)")
    print("In brackets: 95% interval over topics.")


def _label(label: str, k: int) -> str:
    return label.replace("at K", f"at K = {k}")
