from .abstention import AbstentionRule, abstains
from .agreeing import KnownAgreement, known_agreement, read_agreement
from .asked_facts import AskedFacts
from .by_name import open_facts
from .clauses import ClauseSplitter
from .facts import DateCheck, FactMaker, Repeats, checked_facts, fact_sentences
from .files import original_output, output_data, write_output
from .measured import (
    FACT_COUNTS,
    FactDecision,
    FactScoreResult,
    ScoredResponse,
    length_penalty,
)
from .pages import (
    DatabasePages,
    IndexedPages,
    MappedPages,
    PageStore,
    TitledPages,
    TitleMatch,
    open_pages,
)
from .passages import PassageRanking, split_page
from .recall import PageRecall, RecallAtK, f1_at_k, page_recall, recall_at_k
from .responses import GivenFact, TopicResponse, read_responses
from .scoring import FactScoreSettings, score_labels, score_responses
from .sentences import split_sentences

__all__ = [
    "FACT_COUNTS",
    "AbstentionRule",
    "AskedFacts",
    "ClauseSplitter",
    "DatabasePages",
    "DateCheck",
    "FactDecision",
    "FactMaker",
    "FactScoreResult",
    "FactScoreSettings",
    "GivenFact",
    "IndexedPages",
    "KnownAgreement",
    "MappedPages",
    "PageRecall",
    "PageStore",
    "PassageRanking",
    "RecallAtK",
    "Repeats",
    "ScoredResponse",
    "TitleMatch",
    "TitledPages",
    "TopicResponse",
    "abstains",
    "checked_facts",
    "f1_at_k",
    "fact_sentences",
    "known_agreement",
    "length_penalty",
    "open_facts",
    "open_pages",
    "original_output",
    "output_data",
    "page_recall",
    "read_agreement",
    "read_responses",
    "recall_at_k",
    "score_labels",
    "score_responses",
    "split_page",
    "split_sentences",
    "write_output",
]
