from .format import AnswerRecord, SpanRecord, UserVerdict, record_answer
from .log import RecordLog
from .reading import ReadRecords, RecordedAnswer, read_records

__all__ = [
    "AnswerRecord",
    "ReadRecords",
    "RecordLog",
    "RecordedAnswer",
    "SpanRecord",
    "UserVerdict",
    "read_records",
    "record_answer",
]
