from .asking import (
    AskedQuestions,
    BladeAnswer,
    ask_questions,
    box_prompt,
    score_questions,
)
from .black_box import BlackBox, BoxPrompt, BoxReply, Cap, Spent, Style, open_black_box
from .building import Filtered, consistent, table_triples, text_triples, written_triples
from .folder import Blade, load_blade
from .knowledge import (
    BothKnowledge,
    Knowledge,
    KnowledgeKind,
    KnowledgeProvider,
    NoKnowledge,
    RetrievedKnowledge,
    WrittenKnowledge,
    make_provider,
)
from .optimising import Optimised, Trial, optimise
from .search import BayesianSearch, RandomSearch, Search, expected_improvement, make_search
from .settings import OptimiseSettings, WriterSettings
from .soft_prompt import Projection, SoftPrompt
from .training import HoldMargins, TunedWriter, pretrain_domain, tune_writer
from .triples import Triple, is_right, read_triples, write_triples
from .writer import KnowledgeWriter, writer_prompt

__all__ = [
    "AskedQuestions",
    "BayesianSearch",
    "BlackBox",
    "Blade",
    "BladeAnswer",
    "BothKnowledge",
    "BoxPrompt",
    "BoxReply",
    "Cap",
    "Filtered",
    "HoldMargins",
    "Knowledge",
    "KnowledgeKind",
    "KnowledgeProvider",
    "KnowledgeWriter",
    "NoKnowledge",
    "OptimiseSettings",
    "Optimised",
    "Projection",
    "RandomSearch",
    "RetrievedKnowledge",
    "Search",
    "SoftPrompt",
    "Spent",
    "Style",
    "Trial",
    "Triple",
    "TunedWriter",
    "WriterSettings",
    "WrittenKnowledge",
    "ask_questions",
    "box_prompt",
    "consistent",
    "expected_improvement",
    "is_right",
    "load_blade",
    "make_provider",
    "make_search",
    "open_black_box",
    "optimise",
    "pretrain_domain",
    "read_triples",
    "score_questions",
    "table_triples",
    "text_triples",
    "tune_writer",
    "write_triples",
    "writer_prompt",
    "written_triples",
]
