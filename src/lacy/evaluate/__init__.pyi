from .article_counts import ARTICLE_COUNTS, article_counts
from .article_sources import article_prompts, open_article_source
from .articles import (
    ArticleAnswers,
    ArticlesResult,
    answer_articles,
    calibrate_on,
    evaluate_articles,
    oracle_rate,
)
from .audit import AUDIT_COUNTS, AUDIT_TOKENS, AuditResult, audit_counts, evaluate_audit
from .audit_asking import STATES, AuditAnswer
from .audit_data import database_to_audit, prompts_for, read_audit
from .audit_facts import FORMS, AuditedDatabase, AuditFact, states_value
from .calls import BINS, CalibrationBin, CallCalibration, calibration_of
from .choices import (
    ChoiceMade,
    ChoicesResult,
    TextWithCalls,
    choices_along,
    summarize_choices,
    with_calls,
)
from .closed_book import contains_value
from .entities import Extract, default_extract
from .facts import COUNTS, FactScores, Verdict, person_counts, score_facts
from .language import (
    LanguageMeasured,
    TextLosses,
    language_scores,
    measure_language,
    measure_with_calls,
    read_losses,
)
from .life_counts import (
    LIFE_COUNTS,
    LifeVerdict,
    life_counts,
    life_scores,
    life_verdicts,
)
from .life_facts import LifeStatement, by_relation, known_life, read_life
from .marking import marked_documents
from .on_texts import TextMeasurements, measure_on_texts
from .openings import (
    OpeningAnswers,
    OpeningsResult,
    evaluate_openings,
    evaluate_shipped_facts,
)
from .own_facts import EDITED_FACTS, OWN_FACTS, evaluate_own_facts
from .provenance import SpanLookup, is_borrowed
from .question_files import (
    ENTITY_QUESTIONS,
    facts_database,
    read_questions,
    with_own_facts,
    write_questions,
)
from .questions import (
    MAX_ANSWER_TOKENS,
    QUESTION_COUNTS,
    QuestionAnswers,
    QuestionsResult,
    TestQuestion,
    ask,
    ask_all,
    contains_answer,
    edited,
    evaluate_questions,
    without_fact,
)
from .saturation import measure_saturation
from .saturation_results import CheckpointsSaturation, SaturationResult
from .world import WorldAnswers, WorldResult, answer_all, evaluate_world

__all__ = [
    "ARTICLE_COUNTS",
    "AUDIT_COUNTS",
    "AUDIT_TOKENS",
    "BINS",
    "COUNTS",
    "EDITED_FACTS",
    "ENTITY_QUESTIONS",
    "FORMS",
    "LIFE_COUNTS",
    "MAX_ANSWER_TOKENS",
    "OWN_FACTS",
    "QUESTION_COUNTS",
    "STATES",
    "ArticleAnswers",
    "ArticlesResult",
    "AuditAnswer",
    "AuditFact",
    "AuditResult",
    "AuditedDatabase",
    "CalibrationBin",
    "CallCalibration",
    "CheckpointsSaturation",
    "ChoiceMade",
    "ChoicesResult",
    "Extract",
    "FactScores",
    "LanguageMeasured",
    "LifeStatement",
    "LifeVerdict",
    "OpeningAnswers",
    "OpeningsResult",
    "QuestionAnswers",
    "QuestionsResult",
    "SaturationResult",
    "SpanLookup",
    "TestQuestion",
    "TextLosses",
    "TextMeasurements",
    "TextWithCalls",
    "Verdict",
    "WorldAnswers",
    "WorldResult",
    "answer_all",
    "answer_articles",
    "article_counts",
    "article_prompts",
    "ask",
    "ask_all",
    "audit_counts",
    "by_relation",
    "calibrate_on",
    "calibration_of",
    "choices_along",
    "contains_answer",
    "contains_value",
    "database_to_audit",
    "default_extract",
    "edited",
    "evaluate_articles",
    "evaluate_audit",
    "evaluate_openings",
    "evaluate_own_facts",
    "evaluate_questions",
    "evaluate_shipped_facts",
    "evaluate_world",
    "facts_database",
    "is_borrowed",
    "known_life",
    "language_scores",
    "life_counts",
    "life_scores",
    "life_verdicts",
    "marked_documents",
    "measure_language",
    "measure_on_texts",
    "measure_saturation",
    "measure_with_calls",
    "open_article_source",
    "oracle_rate",
    "person_counts",
    "prompts_for",
    "read_audit",
    "read_life",
    "read_losses",
    "read_questions",
    "score_facts",
    "states_value",
    "summarize_choices",
    "with_calls",
    "with_own_facts",
    "without_fact",
    "write_questions",
]
