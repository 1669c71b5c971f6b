"""One connection for several callers: cancelling one interrupts only its own query."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest

from lacy.sources.db import QueryWorker
from lacy.types import Reply, Request

COUNT = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT ?) SELECT COUNT(*) FROM c"
)
LONG, SHORT = "2000000", "1000"


@pytest.fixture
def ask():
    """A function that counts to the number in each text, in SQLite."""
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as db:

        def answer(request):
            try:
                [counted] = db.execute(COUNT, (int(request.text),)).fetchone()
            except sqlite3.Error as error:
                return Reply(error=str(error), fault=True)
            return Reply(speaker=str(counted))

        worker = QueryWorker(db.interrupt)
        yield lambda *texts: worker.ask(answer, [Request(text) for text in texts])


def test_cancelling_a_waiting_caller_interrupts_nothing(ask):
    async def both():
        first = asyncio.create_task(ask(LONG))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(ask(SHORT))
        await asyncio.sleep(0.05)
        assert not first.done()
        second.cancel()
        return await first

    assert asyncio.run(both()) == [Reply(speaker=LONG)]


def test_cancelling_a_running_caller_interrupts_its_query_only(ask):
    async def both():
        first = asyncio.create_task(ask("3000000000", LONG))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(ask(SHORT, SHORT))
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    begin = time.perf_counter()
    assert asyncio.run(both()) == [Reply(speaker=SHORT)] * 2
    assert time.perf_counter() - begin < 30
