from .format import AnswerRecord, SpanRecord, Verdict, record_answer
from .log import RecordLog
from .reading import ReadRecords, RecordedAnswer, read_records

__all__ = [
    "AnswerRecord",
    "ReadRecords",
    "RecordLog",
    "RecordedAnswer",
    "SpanRecord",
    "Verdict",
    "read_records",
    "record_answer",
]
