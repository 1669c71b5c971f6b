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
from .on_texts import TextMeasurements, measure_on_texts
from .openings import OpeningAnswers, OpeningsResult, evaluate_openings
from .provenance import SpanLookup, is_borrowed
from .questions import (
    MAX_ANSWER_TOKENS,
    QUESTION_COUNTS,
    QuestionAnswers,
    QuestionsResult,
    TestQuestion,
    ask,
    contains_answer,
    edited,
    evaluate_questions,
    facts_database,
    read_questions,
    without_fact,
    write_questions,
)
from .saturation import measure_saturation
from .saturation_results import SaturationResult
from .world import WorldAnswers, WorldResult, answer_all, evaluate_world

__all__ = [
    "ARTICLE_COUNTS",
    "BINS",
    "COUNTS",
    "MAX_ANSWER_TOKENS",
    "QUESTION_COUNTS",
    "ArticleAnswers",
    "ArticlesResult",
    "CalibrationBin",
    "CallCalibration",
    "ChoiceMade",
    "ChoicesResult",
    "Extract",
    "FactScores",
    "OpeningAnswers",
    "OpeningsResult",
    "QuestionAnswers",
    "QuestionsResult",
    "SaturationResult",
    "SpanLookup",
    "TestQuestion",
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
    "calibrate_on",
    "calibration_of",
    "choices_along",
    "contains_answer",
    "contains_value",
    "default_extract",
    "edited",
    "evaluate_articles",
    "evaluate_openings",
    "evaluate_questions",
    "evaluate_world",
    "facts_database",
    "is_borrowed",
    "measure_on_texts",
    "measure_saturation",
    "open_article_source",
    "oracle_rate",
    "person_counts",
    "read_questions",
    "score_facts",
    "summarize_choices",
    "with_calls",
    "without_fact",
    "write_questions",
]
