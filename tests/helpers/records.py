"""Records of answers and verdicts."""

from lacy.records import RecordLog, UserVerdict, record_answer
from lacy.types import Span

SPANS = (
    Span(" was born in", "slm", 3),
    Span(" Ulm", "book", 1, "asked (margin 3 > 0)",
         "Mara · birthplace · Ulm (book; similar to Marra)", 3.0, asked=True,
         relation="birthplace", subject="Mara", score=-0.2),
    Span(" on", "slm", 1, "asked; it does not know 'Geheim'", asked=True, missing="not found"),
    Span(" 3 May 1900.", "slm", 4),
)  # fmt: skip


def answer(number=0, texts=True, spans=SPANS, **how):
    about = {
        "id": f"cmpl-{number}", "choice": 0, "time": 1e9 + number, "model": "mine",
        "fingerprint": "0123456789abcdef", "policy": "threshold=0", "unit": "value",
        "finish": "stop", "prompt": "Geheim Mara", "subject": None,
    }  # fmt: skip
    return record_answer(spans, texts=texts, **about | how)


def verdict(number=0, what="wrong", start=None, end=None, correct=None):
    return UserVerdict(f"cmpl-{number}", 0, 2e9, what, start, end, correct)


def write_records(folder, *records, texts=True):
    """Write records as a server does; return the folder."""
    with RecordLog(folder, texts=texts) as log:
        assert all(log.add(record) for record in records)
    return folder
