from .align import encode, encode_many, held, trimmed
from .check import check_marks
from .config import RULES_VERSION, AnnotateConfig, Rules
from .judge import read_labels
from .live import LiveJudge
from .protocol import Annotator, merge_marks, validated_marks
from .shards import annotate_documents, attach
from .spacy_rules import SpacyAnnotator

__all__ = [
    "RULES_VERSION",
    "AnnotateConfig",
    "Annotator",
    "LiveJudge",
    "Rules",
    "SpacyAnnotator",
    "annotate_documents",
    "attach",
    "check_marks",
    "encode",
    "encode_many",
    "held",
    "merge_marks",
    "read_labels",
    "trimmed",
    "validated_marks",
]
