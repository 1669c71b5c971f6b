from .align import encode, encode_many, strip_mark, token_spans
from .check import check_marks
from .config import RULES_VERSION, AnnotateConfig, Rules
from .judge_labels import LabelReport, read_labels
from .language import language_of, language_warning
from .live import LiveJudge
from .packing import PackEstimate, PackSettings, estimate_packing, mark_and_pack
from .protocol import Annotator, merge_marks, validated_marks
from .rule_report import ParsedDocuments, agreement, calibrate_rules, rule_shares
from .shards import annotate_documents, attach_marks
from .spacy_rules import SpacyAnnotator

__all__ = [
    "RULES_VERSION",
    "AnnotateConfig",
    "Annotator",
    "LabelReport",
    "LiveJudge",
    "PackEstimate",
    "PackSettings",
    "ParsedDocuments",
    "Rules",
    "SpacyAnnotator",
    "agreement",
    "annotate_documents",
    "attach_marks",
    "calibrate_rules",
    "check_marks",
    "encode",
    "encode_many",
    "estimate_packing",
    "language_of",
    "language_warning",
    "mark_and_pack",
    "merge_marks",
    "read_labels",
    "rule_shares",
    "strip_mark",
    "token_spans",
    "validated_marks",
]
