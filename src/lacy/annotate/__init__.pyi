from .align import encode, encode_many, strip_mark, token_spans
from .check import check_marks
from .config import RULES_VERSION, AnnotateConfig, Rules
from .judge_labels import read_labels
from .live import LiveJudge
from .packing import PackEstimate, PackSettings, estimate_packing, mark_and_pack
from .protocol import Annotator, merge_marks, validated_marks
from .shards import annotate_documents, attach_marks
from .spacy_rules import SpacyAnnotator

__all__ = [
    "RULES_VERSION",
    "AnnotateConfig",
    "Annotator",
    "LiveJudge",
    "PackEstimate",
    "PackSettings",
    "Rules",
    "SpacyAnnotator",
    "annotate_documents",
    "attach_marks",
    "check_marks",
    "encode",
    "encode_many",
    "estimate_packing",
    "mark_and_pack",
    "merge_marks",
    "read_labels",
    "strip_mark",
    "token_spans",
    "validated_marks",
]
