"""A folder of records."""

import pytest

from lacy.records import RecordLog


@pytest.fixture
def kept(tmp_path):
    """Write records, and return their folder."""

    def write(*records, texts=True):
        with RecordLog(tmp_path / "logs", texts=texts) as log:
            assert all(log.add(record) for record in records)
        return tmp_path / "logs"

    return write
