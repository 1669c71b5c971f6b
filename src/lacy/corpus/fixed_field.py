"""Read files whose format fixes the name of the text field, so that no flag can change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lacy.corpus.reading import read
from lacy.corpus.report import ReadReport
from lacy.errors import LacyError
from lacy.types import Document


def read_fixed_field(
    path: str | Path, field: str, code: str, report: ReadReport | None = None
) -> Iterator[Document]:
    """Yield the rows of a file as documents whose text is in ``field``.

    Args:
        path: a file or folder, as in ``read``.
        field: name of the text field.
        code: the error code to use, instead of E22, when no row has this field. Its entry takes
            the values ``where`` and ``why``.
        report: as in ``read``.

    Raises:
        LacyError: ``code``, no row has the field; and the other errors of ``read``.
    """
    try:
        yield from read(path, text_field=field, report=report)
    except LacyError as error:
        if error.code != "E22":
            raise
        why = f"there is no field {field!r}; it has: {error.values['fields']}"
        raise LacyError(code, where=path, why=why) from error
